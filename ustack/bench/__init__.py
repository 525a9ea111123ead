# SPDX-License-Identifier: BSD-3-Clause
"""ustack bench rpc|bulk: what the stack does, beside what one would use instead.

All sides do the same work in the same run, in turns, so that their ratio means something on a
machine whose speed drifts. The parts: server.py (a process of its own), load.py (the client, which
is C), sides.py (who is compared), rpc.py and bulk.py (what is measured), report.py (how it is
told).
"""

import argparse
import os
from typing import TypeVar

from ustack.bench import bulk, inside, report, rpc
from ustack.bench.sides import Work, choose_sides, pinned
from ustack.errors import ConfigError
from ustack.io import TapUrl, parse_url, userns

__all__ = ["add_arguments", "main"]

BENCHES = {"rpc": rpc, "bulk": bulk}
PEERS = ("uvloop", "asyncio", "none")

_Number = TypeVar("_Number", int, float)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what `ustack bench` understands."""
    parser.add_argument("bench", choices=sorted(BENCHES), help="what to measure")
    parser.add_argument("--io", metavar="URL", help="ring:NAME[?…] (default) or tap:NAME[?…]")
    parser.add_argument("--connections", type=int, metavar="N", help="rpc: 64, bulk: 1")
    parser.add_argument(
        "--size", type=int, metavar="S", help="bytes of a request (64) or of a write (131072)"
    )
    parser.add_argument(
        "--requests", type=int, metavar="N", help="end a repetition after so many, not by time"
    )
    parser.add_argument("--seconds", type=float, metavar="S", help="length of a repetition (1)")
    parser.add_argument("--repetitions", type=int, metavar="R", help="of each cell (3)")
    parser.add_argument("--vs", choices=PEERS, default="uvloop", help="the peer (uvloop)")
    parser.add_argument(
        "--server",
        choices=[*inside.SERVERS, "both"],
        help="rpc: of a server in this process, as a Protocol, in C or both, time the turns",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def main(args: argparse.Namespace) -> int:
    """Measure and print; the exit status."""
    bench = BENCHES[args.bench]
    work = Work(
        connections=_within("--connections", args.connections, 1, 1 << 20) or bench.CONNECTIONS,
        size=_within("--size", args.size, 1, 1 << 24) or bench.SIZE,
        requests=_within("--requests", args.requests, 1, 1 << 40) or 0,
        seconds=_within("--seconds", args.seconds, 0.01, 3600.0) or 1.0,
        repetitions=_within("--repetitions", args.repetitions, 1, 1000) or 3,
    )
    io = args.io or f"ring:bench-{os.getpid()}"
    if isinstance(parse_url(io), TapUrl):
        userns.isolate()
    if args.server and args.bench != "rpc":
        raise ConfigError(f"--server is for rpc, got {args.bench}; leave it out")
    sides, notes = (
        (inside.choose(args.server), [inside.NOTE]) if args.server else choose_sides(io, args.vs)
    )
    steps = len(sides) * len(bench.KINDS) * work.repetitions
    with report.Progress(args.bench, steps) as progress, pinned(notes):
        samples = report.interleave(work, sides, bench.KINDS, progress)
    found = bench.summarize(samples)
    settings = {"bench": args.bench, "io": io} | work.describe()
    if args.json:
        print(report.as_json(settings, found, notes))
    else:
        print(report.as_table(settings, bench.rows(found), notes))
    return 0


def _within(name: str, value: _Number | None, low: _Number, high: _Number) -> _Number | None:
    """Return value, or None when it was not given."""
    if value is not None and not low <= value <= high:
        raise ConfigError(f"{name} must be {low}..{high}, got {value}; leave it out for a default")
    return value
