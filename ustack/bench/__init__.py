# SPDX-License-Identifier: BSD-3-Clause
"""ustack bench: what the stack does, beside what one would use instead (docs/bench.md).

All sides do the same work in the same run, in turns, so that their ratio means something on a
machine whose speed drifts. The parts: what is measured (rpc.py, bulk.py, conn.py, http.py, mem.py,
scale.py, loss.py, cores.py, each a definition.Bench), who (sides.py, peers.py, inside.py, veth.py,
nginx.py), by what (load.py, wrk.py and server.py, programs.py, core.py: processes of their own),
when (rounds.py, machine.py), how it is told (report.py). targets.py runs many of them (table.py).
"""

import argparse
import os
from dataclasses import dataclass
from typing import Any, TypeVar

from ustack._progress import Progress
from ustack.bench import (
    bulk,
    conn,
    cores,
    http,
    inside,
    loss,
    mem,
    peers,
    report,
    rounds,
    rpc,
    scale,
    targets,
)
from ustack.bench.definition import Bench, Work
from ustack.bench.sides import Side, pinned
from ustack.errors import ConfigError, PortError, UstackError
from ustack.io import TapUrl, parse_url, userns

__all__ = ["BENCHES", "Result", "add_arguments", "main", "measure"]

BENCHES: dict[str, Bench] = {
    "rpc": rpc.BENCH,
    "conn": conn.BENCH,
    "bulk": bulk.BENCH,
    "http": http.BENCH,
    "mem": mem.BENCH,
    "scale": scale.BENCH,
    "loss": loss.BENCH,
    "cores": cores.BENCH,
}

#: Those with sides of their own.
ALONE = {"loss": loss.sides, "cores": cores.sides}

#: Runs of many of these.
WHOLE = {"targets": targets.run_targets, "grid": targets.run_grid}

_Number = TypeVar("_Number", int, float)


@dataclass(frozen=True)
class Result:
    """What a run has found. settings: what it was of; notes: what to know."""

    bench: Bench
    settings: dict[str, Any]
    found: rounds.Found
    notes: list[str]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what `ustack bench` understands."""
    parser.add_argument(
        "bench", choices=[*BENCHES, *WHOLE], help="what to measure; targets: the table of them"
    )
    parser.add_argument("--io", metavar="URL", help="ring:NAME[?…] (default) or tap:NAME[?…]")
    parser.add_argument(
        "--server", metavar="HOW", help="protocol (default), c; streams, sockets; uvicorn, aiohttp"
    )
    parser.add_argument("--connections", type=int, metavar="N", help="64; bulk: 1")
    parser.add_argument(
        "--size", type=int, metavar="S", help="bytes of a request (64), a write (131072), a body"
    )
    parser.add_argument(
        "--requests", type=int, metavar="N", help="end a repetition after so many, not by time"
    )
    parser.add_argument("--seconds", type=float, metavar="S", help="length of a repetition (1)")
    parser.add_argument("--repetitions", type=int, metavar="R", help="of each cell (3)")
    parser.add_argument(
        "--vs",
        choices=peers.PEERS,
        action="append",
        default=[],
        help="a peer on the kernel, again for more (uvloop; epoll is in C; nginx for http)",
    )
    parser.add_argument(
        "--client", choices=("c", "wrk"), help="http over tap: who asks: our own in C (default)"
    )
    parser.add_argument(
        "--peer-cmd",
        action="append",
        default=[],
        metavar="NAME=COMMAND",
        help="a peer that prints the same JSON",
    )
    parser.add_argument(
        "--ends", action="store_true", help="scale: the fewest and the most connections alone"
    )
    parser.add_argument(
        "--inside", action="store_true", help="rpc: time a server's turns; mem: both ends"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--record", metavar="FILE", help="targets: write the table, in Markdown")
    parser.add_argument("--plot", metavar="FILE", help="draw it: out.svg, .png or .pdf")


def main(args: argparse.Namespace) -> int:
    """Measure and print; the exit status."""
    if args.bench in WHOLE:
        kept = {"as_json": args.json, "record": args.record, "peers": args.peer_cmd}
        return WHOLE[args.bench](_of_each_run(args), **kept)
    _refuse(args, "record")
    result = measure(args)
    if args.plot:
        report.plot(args.plot, result.settings, result.bench, result.found)
    if args.json:
        print(report.as_json(result.settings, result.found, result.notes))
    else:
        print(report.as_table(result.settings, result.bench, result.found, result.notes))
    return 0


def _of_each_run(args: argparse.Namespace) -> list[str]:
    """Return the arguments that may be given with targets and grid."""
    given: list[str] = []
    for name, value in vars(args).items():
        flag = "--" + name.replace("_", "-")
        if name in ("seconds", "repetitions", "requests") and value is not None:
            given += [flag, str(value)]
        elif name in ("record", "peer_cmd") and args.bench == "targets":
            continue
        elif name not in ("bench", "json") and value:
            raise ConfigError(f"{flag} is for one benchmark, got {args.bench}; leave it out")
    return given


def measure(args: argparse.Namespace) -> Result:
    """Do what the arguments say."""
    bench = BENCHES[args.bench]
    work = _work(args, bench)
    io = args.io or f"ring:bench-{os.getpid()}"
    sides, notes = _sides(args, io, bench, work)
    if args.client == "wrk":
        notes.append(peers.let_wrk_ask(sides, io, bench, work))
    io = bench.alone or io
    if not any(side.can(task) for side in sides for task in bench.tasks(work).values()):
        raise UstackError("nobody can do this")
    if any(side.apart for side in sides):
        _isolate(io)
    settings = {"bench": args.bench, "io": io, "server": work.server} | _described(bench, work)
    with (
        Progress(args.bench, rounds.steps(bench, work, sides)) as progress,
        pinned(notes),
    ):
        cells = rounds.interleave(bench, work, sides, progress)
    found = rounds.summarize(bench, cells)
    if args.inside and args.bench == "rpc":
        found |= inside.share(cells[""])
    return Result(bench, settings, found, notes)


def _isolate(io: str) -> None:
    """Enter a network namespace of our own. io: of ustack's side."""
    try:
        userns.isolate()
    except PortError as error:
        if isinstance(parse_url(io), TapUrl):
            raise
        raise UstackError(f"a veth pair: {str(error).removeprefix('tap: ')}") from None


def _work(args: argparse.Namespace, bench: Bench) -> Work:
    if args.bench != "scale":
        _refuse(args, "ends")
    server = args.server or bench.servers[0]
    if server not in bench.servers:
        known = ", ".join(bench.servers)
        raise ConfigError(f"--server of {args.bench} must be one of {known}, got {server}")
    most = inside.MOST if args.inside else 1 << 20
    return Work(
        connections=_within("--connections", args.connections, 1, most),
        size=_within("--size", args.size, 1, 1 << 24),
        requests=_within("--requests", args.requests, 1, 1 << 40) or 0,
        seconds=_within("--seconds", args.seconds, 0.01, 3600.0) or 1.0,
        repetitions=_within("--repetitions", args.repetitions, 1, 1000) or 3,
        server=server,
        ends=args.ends,
    )


def _sides(
    args: argparse.Namespace, io: str, bench: Bench, work: Work
) -> tuple[list[Side], list[str]]:
    if bench.alone:
        _refuse(args, "io", "vs", "peer_cmd", "client", "inside")
        return ALONE[args.bench]()
    if not args.inside:
        return peers.choose_sides(io, bench, work, args.vs, args.peer_cmd)
    if args.bench == "mem":
        _refuse(args, "vs", "peer_cmd", "io")
        return [inside.BothIdle("both")], [inside.MEM_NOTE]
    if args.bench != "rpc":
        raise ConfigError(f"--inside is for rpc and mem, got {args.bench}; leave it out")
    return [inside.Inside(name) for name in inside.SERVERS], [inside.NOTE]


def _refuse(args: argparse.Namespace, *names: str) -> None:
    for name in names:
        if getattr(args, name):
            flag = "--" + name.replace("_", "-")
            raise ConfigError(f"{flag} means nothing to {args.bench}; leave it out")


def _described(bench: Bench, work: Work) -> dict[str, Any]:
    """Return what all tasks have in common, and how long and how often they are done."""
    tasks = bench.tasks(work).values()
    common: dict[str, Any] = {}
    for name in ("connections", "size"):
        values = {getattr(task, name) for task in tasks}
        if len(values) == 1:
            common[name] = values.pop()
    return common | work.describe()


def _within(name: str, value: _Number | None, low: _Number, high: _Number) -> _Number | None:
    """Return value, or None when it was not given."""
    if value is not None and not low <= value <= high:
        raise ConfigError(f"{name} must be {low}..{high}, got {value}; leave it out for a default")
    return value
