# SPDX-License-Identifier: BSD-3-Clause
"""Connections that open, talk, half-close, abort and cancel at random leave nothing behind.

--seconds S: on each base (600). --connections N: at once (500). --seed N. --base asyncio|uvloop:
on that alone.
"""

from __future__ import annotations

import argparse
import os
import sys

import soaking


def main() -> int:
    """Print the table; 1 when something was wrong."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=600.0)
    parser.add_argument("--connections", type=int, default=500)
    parser.add_argument("--seed", type=int, default=20261121)
    parser.add_argument("--base", choices=["asyncio", "uvloop"])
    args = parser.parse_args()
    soaks = {}
    for base in [args.base] if args.base else ["asyncio", "uvloop"]:
        print(f"soak: {args.seconds:g} s on {base}", file=sys.stderr)
        soaks[base] = soaking.run(args.seed, args.seconds, args.connections, base)
    print(f"Seed {args.seed}, {args.connections} connections at once, over ring:, ", end="")
    print(f"load average {os.getloadavg()[2]:.1f}.\n")
    print("| base | s | connections | MB compared | errors | leaks | RSS at a tenth, at the end |")
    print("|---|---:|---:|---:|---|---|---|")
    for base, soak in soaks.items():
        told = "; ".join(soak.errors) or "none", "; ".join(map(str, soak.leaks.items())) or "none"
        early, late = (f"{kib / 1024:.0f} MB" for kib in soak.rss_kib)
        print(
            f"| {base} | {soak.seconds:.0f} | {soak.done.total():,} | {soak.bytes / 1e6:,.0f} |"
            f" {told[0]} | {told[1]} | {early}, {late} |"
        )
    print("\n| what a connection did | " + " | ".join(soaks) + " |")
    print("|---|" + "---:|" * len(soaks))
    for kind in sorted(set().union(*(soak.done for soak in soaks.values()))):
        print(f"| {kind} | " + " | ".join(f"{s.done[kind]:,}" for s in soaks.values()) + " |")
    return int(not all(soak.ok for soak in soaks.values()))


if __name__ == "__main__":
    sys.exit(main())
