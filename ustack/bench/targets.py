# SPDX-License-Identifier: BSD-3-Clause
"""Targets: what this project wants to be, beside what it is on this machine, in one table.

Each row is a run of `ustack bench` in a process of its own, whose JSON gives the figure. A "must"
or a "goal" with a ÷ is a ratio to a peer of the same run; others are figures of ustack alone.
"""

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ustack._progress import Progress
from ustack.bench.machine import describe
from ustack.bench.report import aligned

__all__ = ["GRID", "TARGETS", "Target", "judge", "run_grid", "run_targets"]

PATIENCE = 600.0  # seconds for one run


@dataclass(frozen=True)
class Target:
    """One row. argv: of ustack bench, figure: from its JSON; at_most: less is better."""

    work: str
    argv: str
    what: str  # the figure is
    figure: Callable[[dict[str, Any]], float]
    must: float | None
    goal: float | None
    at_most: bool = False


def _ratio(peer: str, *path: str) -> Callable[[dict[str, Any]], float]:
    return lambda found: float(_at(found, "ratio", peer, *path))


def _ours(*path: str) -> Callable[[dict[str, Any]], float]:
    return lambda found: float(_at(found, "ustack", *path))


def _at(found: dict[str, Any], *path: str) -> Any:
    here: Any = found
    for name in path:
        here = here[name]
    return here


def _growth(found: dict[str, Any]) -> float:
    """Return how much dearer a request is at the most connections than at the fewest."""
    costs = [told["server_ns_per_request"] for told in found["ustack"].values()]
    return float(costs[-1] / costs[0])


def _share(found: dict[str, Any]) -> float:
    """Return the rate at the most connections over that at the fewest."""
    rates = [told["requests_per_s"] for told in found["ustack"].values()]
    return float(rates[-1] / rates[0])


U, E = "÷ uvloop", "÷ epoll"

TARGETS = (
    Target("echo 64 B × 64, Protocol", "rpc", U, _ratio("uvloop"), 10, 15),
    Target(
        "the same at 4,096, of that at 64",
        "scale --connections 4096 --vs none",
        "share",
        _share,
        0.6,
        0.8,
    ),
    Target("the same at 65,536", "scale --connections 65536 --vs none", "share", _share, 0.35, 0.6),
    Target("echo 64 B × 64, C", "rpc --server c", E, _ratio("epoll"), None, None),
    Target(
        "the same",
        "rpc --server c --vs none",
        "server ns",
        _ours("server_ns_per_request"),
        260,
        170,
        at_most=True,
    ),
    Target(
        "echo on one connection, Protocol",
        "rpc --connections 1 --vs none",
        "p50 µs",
        _ours("p50_us"),
        3,
        1.5,
        at_most=True,
    ),
    Target(
        "the same",
        "rpc --connections 1 --vs none",
        "p99 µs",
        _ours("p99_us"),
        10,
        None,
        at_most=True,
    ),
    Target("echo, streams", "rpc --server streams", U, _ratio("uvloop"), 3, 6),
    Target("short connections, Protocol", "conn", U, _ratio("uvloop"), 6, 10),
    Target(
        "short connections, C",
        "conn --server c --vs none",
        "1/s",
        _ours("connections_per_s"),
        400_000,
        800_000,
    ),
    Target(
        "bulk in, C, MTU 1500", "bulk --server c --vs uvloop", U, _ratio("uvloop", "in"), 1, None
    ),
    Target("the same", "bulk --server c --vs none", "Gb/s", _ours("in", "gbps"), 51, 80),
    Target("bulk in, Protocol", "bulk", U, _ratio("uvloop", "in"), 1, None),
    Target("bulk out, Protocol", "bulk", U, _ratio("uvloop", "out"), 1, None),
    Target(
        "bulk in, C, checksums done",
        "bulk --server c --vs none --io ring:{ring}?offload=0",
        "Gb/s",
        _ours("in", "gbps"),
        28,
        43,
    ),
    Target("HTTP 64 B, httptools", "http --size 64", U, _ratio("uvloop"), 3, 5),
    Target("HTTP 64 B, uvicorn", "http --size 64 --server uvicorn", U, _ratio("uvloop"), 1.3, 2),
    Target("HTTP 64 B, aiohttp", "http --size 64 --server aiohttp", U, _ratio("uvloop"), 1.2, 1.5),
    Target(
        "idle connection, C",
        "mem --connections 100000 --server c --vs none --repetitions 1",
        "bytes",
        _ours("100,000", "process_bytes"),
        512,
        None,
        at_most=True,
    ),
    Target(
        "idle connection, Protocol",
        "mem --connections 100000 --vs none --repetitions 1",
        "bytes",
        _ours("100,000", "process_bytes"),
        1200,
        None,
        at_most=True,
    ),
    Target(
        "request at 65,536 ÷ at 64, C",
        "scale --server c --vs none",
        "times the cost",
        _growth,
        4,
        2.5,
        at_most=True,
    ),
    Target("tap: echo 64 B × 64, Protocol", "rpc --io tap:{tap}", U, _ratio("uvloop"), 1.3, 1.5),
    Target("tap: bulk in, Protocol", "bulk --io tap:{tap}", U, _ratio("uvloop", "in"), 0.6, 1),
    Target("tap: bulk out, Protocol", "bulk --io tap:{tap}", U, _ratio("uvloop", "out"), 0.6, 1),
)

#: Everything there is to vary.
GRID = (
    *(
        f"rpc --server {server} --connections {n} --size {size} --vs {peer} --vs asyncio"
        for server, peer in (("protocol", "uvloop"), ("streams", "uvloop"), ("c", "epoll"))
        for n in (1, 64, 512, 4096, 65_536)
        for size in (64, 1024, 16_384)
    ),
    *(f"conn --server {server} --vs uvloop --vs epoll" for server in ("protocol", "c")),
    *(
        f"bulk --server {server} --connections {n} --io {io} --vs uvloop --vs epoll"
        for server in ("protocol", "c")
        for n in (1, 8)
        for io in (
            "ring:{ring}?mtu=1500",
            "ring:{ring}?mtu=9000",
            "ring:{ring}?mtu=1500&offload=0",
            "ring:{ring}?mtu=9000&offload=0",
            "tap:{tap}?mtu=1500",
            "tap:{tap}?mtu=9000",
            "tap:{tap}?mtu=1500&offload=0",
        )
    ),
    *(f"http --server {server}" for server in ("protocol", "uvicorn", "aiohttp", "c")),
    *(f"mem --server {server}" for server in ("protocol", "streams", "c")),
    *(f"scale --server {server} --connections 1000000" for server in ("protocol", "c")),
    "rpc --inside",
)


def judge(target: Target, value: float) -> str:
    """Return what is reached: "goal", "must", "missed", or nothing if nothing is asked for."""

    def reached(bound: float | None) -> bool:
        return bound is not None and (value <= bound if target.at_most else value >= bound)

    if reached(target.goal):
        return "goal"
    if reached(target.must):
        return "must"
    return "" if target.must is None and target.goal is None else "missed"


def run_targets(extra: list[str], *, as_json: bool) -> int:
    """Measure every row and print the table; extra: arguments for each run."""
    rows: list[dict[str, Any]] = []
    seen: dict[str, dict[str, Any] | str] = {}
    runs = len({target.argv for target in TARGETS})
    with Progress("targets", runs) as progress:
        for target in TARGETS:
            if target.argv not in seen:
                progress.step(target.argv)
                seen[target.argv] = _run(target.argv, extra)
            rows.append(_row(target, seen[target.argv]))
    if as_json:
        print(json.dumps({"targets": rows, "machine": describe()}, indent=2))
    else:
        print("\n".join(_table(rows)))
    return 0


def run_grid(extra: list[str], *, as_json: bool) -> int:
    """Measure the whole grid; print each table, or all of it as one JSON list, at the end."""
    every = []
    with Progress("grid", len(GRID)) as progress:
        for argv in GRID:
            progress.step(argv)
            every.append({"command": f"ustack bench {argv}", "found": _run(argv, extra)})
            if not as_json:
                print(f"\n$ ustack bench {argv}\n{_run_as_text(every.pop())}", flush=True)
    if as_json:
        print(json.dumps(every, indent=2))
    return 0


def _run_as_text(run: dict[str, Any]) -> str:
    found = run["found"]
    return found if isinstance(found, str) else json.dumps(found, indent=1)


def _run(argv: str, extra: list[str]) -> dict[str, Any] | str:
    """Return the JSON of one run, or why there is none."""
    words = argv.format(ring="bench-targets", tap="ustbench").split()
    command = [sys.executable, "-m", "ustack", "bench", *words, *extra, "--json"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE)
    except subprocess.TimeoutExpired:
        return f"no result in {PATIENCE:.0f} s"
    if done.returncode:
        said = done.stderr.strip().splitlines() or ["no word on stderr"]
        return said[-1].removeprefix("ustack: ")
    return dict(json.loads(done.stdout))


def _row(target: Target, found: dict[str, Any] | str) -> dict[str, Any]:
    row: dict[str, Any] = {
        "work": target.work,
        "command": f"ustack bench {target.argv}",
        "what": target.what,
        "must": target.must,
        "goal": target.goal,
    }
    if isinstance(found, str):
        return row | {"error": found}
    try:
        value = target.figure(found)
    except KeyError as missing:  # as uvloop, where it is not installed
        return row | {"error": f"no figure: {missing}"}
    return row | {"value": value, "reached": judge(target, value)}


def _table(rows: list[dict[str, Any]]) -> list[str]:
    cells = [["work", "", "ustack", "must", "goal", ""]]
    for row in rows:
        bounds = [_figure(row[name]) for name in ("must", "goal")]
        value, word = _figure(row.get("value")), row.get("reached", row.get("error", ""))
        cells.append([row["work"], row["what"], value, *bounds, word])
    machine = ", ".join(str(value) for value in describe().values())
    lines = [line.rstrip() for line in aligned(cells)]
    return [*lines, "", "the peers are on the kernel's loopback, in the same run", f"on {machine}"]


def _figure(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:,.0f}" if value >= 100 else f"{value:.2f}"
