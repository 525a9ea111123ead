# SPDX-License-Identifier: BSD-3-Clause
"""Targets: what this project wants to be, beside what it is on this machine, in one table.

Each run of table.py is a process of its own, so that none inherits another's memory or pinning.
"""

import json
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ustack._progress import Progress
from ustack.bench.machine import describe
from ustack.bench.report import aligned
from ustack.bench.table import GRID, TARGETS, Target, beside, judge
from ustack.errors import UstackError

__all__ = ["run_grid", "run_targets"]

PATIENCE = 600.0  # seconds for one run
HEAD = ["work", "", "ustack", "least…most", "must", "goal", "", "cores"]


def run_targets(
    extra: list[str], *, as_json: bool, record: str | None = None, peers: Sequence[str] = ()
) -> int:
    """Measure every row and print the table; extra: arguments for each run.

    record: a file that the table is written to, in Markdown. peers: NAME=COMMAND, stacks to be
    compared with in rows of their own.
    """
    started = time.monotonic()
    if record is not None:
        _write(record, "")  # not after a quarter of an hour
    rows: list[dict[str, Any]] = []
    wanted = [(target, "") for target in TARGETS]
    wanted += [(t, peer) for peer in peers for t in beside(peer.partition("=")[0])]
    seen: dict[tuple[str, str], dict[str, Any] | str] = {}
    with Progress("targets", len({(target.argv, peer) for target, peer in wanted})) as progress:
        for target, peer in wanted:
            run = target.argv, peer
            if run not in seen:
                progress.step(target.argv)
                seen[run] = _run(target.argv, [*extra, *(["--peer-cmd", peer] if peer else [])])
            rows.append(_row(target, seen[run]))
    took = time.monotonic() - started
    if as_json:
        print(json.dumps({"targets": rows, "machine": describe(), "seconds": took}, indent=2))
    else:
        print("\n".join(_table(rows, took)))
    if record is not None:
        command = " ".join(["ustack bench targets", *extra])
        _write(record, _markdown(rows, command, took))
    return 0


def run_grid(
    extra: list[str], *, as_json: bool, record: str | None = None, peers: Sequence[str] = ()
) -> int:
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
        value, low, high = target.figure(found)
    except KeyError as missing:  # as uvloop, where it is not installed
        return row | {"error": f"no figure: {missing}"}
    row |= {"value": value, "spread": [low, high], "reached": judge(target, value)}
    return row | {"placement": ", ".join(sorted(_placements(found)))}


def _placements(found: Any) -> set[str]:
    """Return every placement of the cores that is told of, at any depth."""
    if not isinstance(found, dict):
        return set()
    here = {str(found["placement"])} if "placement" in found else set()
    return here.union(*(_placements(part) for part in found.values()))


# ------------------------------------------------------------------------------ how it is told


def _cells(row: dict[str, Any]) -> list[str]:
    bounds = [_figure(row[name]) for name in ("must", "goal")]
    spread = "…".join(_figure(end) for end in row.get("spread", ()))
    word = row.get("reached", row.get("error", ""))
    value, placement = _figure(row.get("value")), row.get("placement", "")
    return [row["work"], row["what"], value, spread, *bounds, word, placement]


def _table(rows: list[dict[str, Any]], took: float) -> list[str]:
    cells = [HEAD, *(_cells(row) for row in rows)]
    machine = ", ".join(str(value) for value in describe().values())
    lines = [line.rstrip() for line in aligned(cells)]
    about = "peers are on the kernel's loopback or a veth pair of this machine, in the same run"
    return [*lines, "", about, f"on {machine}; medians; {took:.0f} s"]


def _markdown(rows: list[dict[str, Any]], command: str, took: float) -> str:
    """Return the table as a document of its own."""
    m = describe()
    facts = [m["date"], f"commit {m['commit']}", m["cpu"], f"{m['cores']} cores", m["system"]]
    facts += [f"Python {m['python']}", f"load average {m['load']}", f"`{command}`", f"{took:.0f} s"]
    lines = [
        "# What ustack wants to be, beside what it is: medians, least and most",
        "",
        ", ".join(facts),
        "",
        "Peers are on the kernel's loopback or a veth pair of the same machine, in the same run;"
        " docs/bench.md says what each row is.",
        "",
        "| " + " | ".join([*HEAD, "command"]) + " |",
        "| --- | --- |" + " ---: |" * 4 + " --- | --- | --- |",
    ]
    lines += ["| " + " | ".join([*_cells(row), f"`{row['command']}`"]) + " |" for row in rows]
    return "\n".join(lines) + "\n"


def _write(path: str, text: str) -> None:
    """Put text into a file, or with none see that it could be. Raises UstackError."""
    try:
        with Path(path).open("a" if not text else "w") as file:
            file.write(text)
    except OSError as error:
        raise UstackError(f"--record {path}: {error.strerror}") from None


def _figure(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.2f}"
