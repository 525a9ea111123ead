# SPDX-License-Identifier: BSD-3-Clause
"""System calls of an echo server over 10^6 messages at 64 connections, by strace -c.

--messages N (1000000). --connections N (64). --io ring|tap: over that alone.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from pathlib import Path

import tracing
from tracing import Traced
from ustack.io import userns

FEW = 1000  # messages of a run whose calls are those of start and end


def between(io: str, base: str, args: argparse.Namespace) -> Traced:
    """Return what the messages alone cost."""
    with tempfile.TemporaryDirectory() as place:
        few, many = (
            vars(tracing.count(io.format(n), base, args.connections, n, Path(place) / f"{n}"))
            for n in (FEW, FEW + args.messages)
        )
    return Traced(**{name: many[name] - few[name] for name in few})


def main() -> int:
    """Print the table; 1 when a claim does not hold."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--messages", type=int, default=1_000_000)
    parser.add_argument("--connections", type=int, default=64)
    parser.add_argument("--io", choices=["ring", "tap"])
    args = parser.parse_args()
    ports = {"ring": f"ring:syscalls-{os.getpid()}-{{}}", "tap": "tap:sys{}"}
    if args.io:
        ports = {args.io: ports[args.io]}
    print(f"{args.messages:,} messages of 64 bytes, {args.connections} connections, ", end="")
    print(f"load average {os.getloadavg()[0]:.1f}.\n", flush=True)
    print(
        "| port | base | calls/message | bursts | frames in, out/burst | port's calls/burst | s |"
    )
    print("|---|---|---:|---:|---:|---:|---:|", flush=True)
    failed = False
    for name, io in ports.items():
        if name == "tap":
            userns.isolate()
        for base in ("asyncio", "uvloop"):
            t = between(io, base, args)
            per_message = t.syscalls / args.messages
            per_burst = max(t.port_syscalls - t.vain, 0) / t.bursts
            print(
                f"| {name} | {base} | {per_message:.4f} | {t.bursts:,} |"
                f" {t.rx_frames / t.bursts:.1f}, {t.tx_frames / t.bursts:.1f} |"
                f" {per_burst:.2f} | {t.seconds:.1f} |",
                flush=True,
            )
            failed |= name == "ring" and per_message >= 0.01
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
