# SPDX-License-Identifier: BSD-3-Clause
"""The table of targets, and the grid of everything there is to vary; targets.py runs them.

Each row is a run of `ustack bench`, whose JSON gives the figure. A "must" or a "goal" with a ÷ is a
ratio to a peer of the same run; others are figures of ustack alone. Rows of one command share its
run. {ring} and {tap} stand for names.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

from ustack.bench.inside import SHARE

__all__ = ["GRID", "TARGETS", "Target", "Value", "beside", "judge"]


class Value(NamedTuple):
    """A figure, and what it was at least and at most."""

    middle: float
    low: float
    high: float


@dataclass(frozen=True)
class Target:
    """One row. argv: of ustack bench, figure: from its JSON; at_most: less is better."""

    work: str
    argv: str
    what: str  # the figure is
    figure: Callable[[dict[str, Any]], Value]
    must: float | None
    goal: float | None
    at_most: bool = False


def judge(target: Target, value: float) -> str:
    """Return what is reached: "goal", "must", "missed", or nothing if nothing is asked for."""

    def reached(bound: float | None) -> bool:
        return bound is not None and (value <= bound if target.at_most else value >= bound)

    if reached(target.goal):
        return "goal"
    if reached(target.must):
        return "must"
    return "" if target.must is None and target.goal is None else "missed"


# ------------------------------------------------------------------------------ figures


def _ratio(peer: str, *path: str) -> Callable[[dict[str, Any]], Value]:
    """Return what takes the ratio to a peer; path: of the task, where there are several."""

    def take(found: dict[str, Any]) -> Value:
        middle, ends = (_at(found, name, peer, *path) for name in ("ratio", "ratio_spread"))
        return Value(middle, *ends)

    return take


def _ours(figure: str, *path: str) -> Callable[[dict[str, Any]], Value]:
    return lambda found: _told(_at(found, "ustack", *path), figure)


def _times(figure: str, label: str, base: str) -> Callable[[dict[str, Any]], Value]:
    """Return what takes a figure at one task over that at another; ends: of the spreads."""

    def take(found: dict[str, Any]) -> Value:
        above, below = (_told(found["ustack"][name], figure) for name in (label, base))
        return Value(above.middle / below.middle, above.low / below.high, above.high / below.low)

    return take


def _pythons_share(found: dict[str, Any]) -> Value:
    middle, ends = (found[name] for name in SHARE)
    return Value(middle, *ends)


def _told(told: dict[str, Any], figure: str) -> Value:
    return Value(told[figure], *told[f"{figure}_spread"])


def _at(found: dict[str, Any], *path: str) -> Any:
    here: Any = found
    for name in path:
        here = here[name]
    return here


# ------------------------------------------------------------------------------ targets


def _at_most(
    work: str,
    argv: str,
    what: str,
    figure: Callable[[dict[str, Any]], Value],
    must: float | None,
    goal: float | None = None,
) -> Target:
    return Target(work, argv, what, figure, must, goal, at_most=True)


U, E, V, W = "÷ uvloop", "÷ epoll", "÷ veth-uvloop", "÷ veth-epoll"

MANY = "scale --connections 65536 --vs none"
MOST = "scale --server c --connections 1000000 --ends --vs none"
ONE = "rpc --connections 1 --vs none"
SUMS = "bulk --server c --vs none --io ring:{ring}?offload=0"
IDLE = "mem --connections 100000 --vs none --repetitions 1"
BULK_C = "bulk --server c --vs uvloop"
TAP = "--io tap:{tap}"
TAP_BULK = f"bulk {TAP} --vs veth-uvloop"
TAP_BULK_C = f"bulk {TAP} --server c --vs veth-epoll"
RATE, COST, SEGMENT = "requests_per_s", "server_ns_per_request", "ns_per_segment"

TARGETS = (
    Target("echo 64 B × 64, Protocol", "rpc", U, _ratio("uvloop"), 10, 15),
    Target("at 4,096, of that at 64", MANY, "share", _times(RATE, "4,096", "64"), 0.6, 0.8),
    Target("at 65,536, of that at 64", MANY, "share", _times(RATE, "65,536", "64"), 0.35, 0.6),
    _at_most("the Protocol's part of a request", "rpc --inside", "ns", _pythons_share, 100),
    Target("echo 64 B × 64, C", "rpc --server c", E, _ratio("epoll"), None, None),
    _at_most("the same", "rpc --server c", "server ns", _ours(COST), 260, 170),
    _at_most("echo on one connection, Protocol", ONE, "p50 µs", _ours("p50_us"), 3, 1.5),
    _at_most("the same", ONE, "p99 µs", _ours("p99_us"), 10),
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
    Target("bulk in, C, MTU 1500", BULK_C, U, _ratio("uvloop", "in"), 1, None),
    Target("the same", BULK_C, "Gb/s", _ours("gbps", "in"), 51, 80),
    Target("bulk in, Protocol", "bulk", U, _ratio("uvloop", "in"), 1, None),
    Target("the same", "bulk", "Gb/s", _ours("gbps", "in"), None, 60),
    Target("bulk out, Protocol", "bulk", U, _ratio("uvloop", "out"), 1, None),
    Target("bulk in, C, checksums done", SUMS, "Gb/s", _ours("gbps", "in"), 28, 43),
    Target("HTTP 64 B, httptools", "http --size 64", U, _ratio("uvloop"), 3, 5),
    Target("HTTP 64 B, uvicorn", "http --size 64 --server uvicorn", U, _ratio("uvloop"), 1.3, 2),
    Target("HTTP 64 B, aiohttp", "http --size 64 --server aiohttp", U, _ratio("uvloop"), 1.2, 1.5),
    _at_most(
        "idle connection, C", f"{IDLE} --server c", "bytes", _ours("process_bytes", "100,000"), 512
    ),
    _at_most("idle connection, Protocol", IDLE, "bytes", _ours("process_bytes", "100,000"), 1200),
    _at_most("request at 10^6 ÷ at 64, C", MOST, "times", _times(COST, "1,000,000", "64"), 4, 2.5),
    _at_most("segment at 1 % loss ÷ at none", "loss", "times", _times(SEGMENT, "1 %", "0 %"), None),
    Target("two engines on two cores", "cores", "÷ one", _ratio("one"), 1.8, 1.95),
    Target(
        "tap: echo 64 B × 64, Protocol",
        f"rpc {TAP} --vs veth-uvloop",
        V,
        _ratio("veth-uvloop"),
        1.3,
        1.5,
    ),
    Target("tap: bulk in, C", TAP_BULK_C, W, _ratio("veth-epoll", "in"), 0.6, 1),
    Target("tap: bulk out, C", TAP_BULK_C, W, _ratio("veth-epoll", "out"), 0.6, 1),
    Target("tap: bulk in, Protocol", TAP_BULK, V, _ratio("veth-uvloop", "in"), 0.6, 1),
    Target("tap: bulk out, Protocol", TAP_BULK, V, _ratio("veth-uvloop", "out"), 0.6, 1),
)


def beside(name: str) -> tuple[Target, ...]:
    """Return the rows in which we are compared with another stack in user space, a --peer-cmd."""
    what, each = f"÷ {name}", "--vs none"
    return (
        Target("echo 64 B × 64, Protocol", f"rpc {each}", what, _ratio(name), 0.7, 1),
        Target("echo 64 B × 64, C", f"rpc --server c {each}", what, _ratio(name), 1, 1.5),
        Target("bulk in, C", f"bulk --server c {each}", what, _ratio(name, "in"), 1, None),
        Target("bulk in, C, checksums done", SUMS, what, _ratio(name, "in"), 1.3, 2),
        Target("tap: echo 64 B × 64, Protocol", f"rpc {TAP} {each}", what, _ratio(name), None, 1),
    )


# ------------------------------------------------------------------------------ the grid

ON_LOOPBACK, ON_VETH = "--vs uvloop --vs epoll", "--vs veth-uvloop --vs veth-epoll"

#: Everything there is to vary.
GRID = (
    *(
        f"rpc --server {server} --connections {n} --size {size} --vs {peer} --vs asyncio"
        for server, peer in (("protocol", "uvloop"), ("streams", "uvloop"), ("c", "epoll"))
        for n in (1, 64, 512, 4096, 65_536)
        for size in (64, 1024, 16_384)
    ),
    *(
        f"rpc --server {server} --connections {n} {TAP} {ON_VETH}"
        for server in ("protocol", "c")
        for n in (1, 64, 512)
    ),
    *(f"conn --server {server} {ON_LOOPBACK}" for server in ("protocol", "c")),
    *(f"conn --server {server} {TAP} {ON_VETH}" for server in ("protocol", "c")),
    *(
        f"bulk --server {server} --connections {n} --io {io} {peers}"
        for server in ("protocol", "c")
        for n in (1, 8)
        for io, peers in (
            ("ring:{ring}?mtu=1500", ON_LOOPBACK),
            ("ring:{ring}?mtu=9000", ON_LOOPBACK),
            ("ring:{ring}?mtu=1500&offload=0", ON_LOOPBACK),
            ("ring:{ring}?mtu=9000&offload=0", ON_LOOPBACK),
            ("tap:{tap}?mtu=1500", ON_VETH),
            ("tap:{tap}?mtu=9000", ON_VETH),
            ("tap:{tap}?mtu=1500&offload=0", ON_VETH),
        )
    ),
    *(f"http --server {server}" for server in ("uvicorn", "aiohttp")),
    *(f"http --server {server} {ON_LOOPBACK} --vs nginx" for server in ("protocol", "c")),
    f"http {TAP} --client wrk {ON_VETH}",
    *(f"mem --server {server}" for server in ("protocol", "streams", "c")),
    *(f"mem --server {server} --connections 1000000 --vs none" for server in ("protocol", "c")),
    "mem --inside --connections 1000000",
    *(f"scale --server {server} --connections 1000000" for server in ("protocol", "c")),
    "loss",
    "cores",
    "rpc --inside",
)
