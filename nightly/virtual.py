# SPDX-License-Identifier: BSD-3-Clause
"""The soak of asyncio on virtual time (tests/virtual_soak.py) over many seeds, odd ones with scarce
memory.

--seeds N: how many (500). --first N: the first of them (1000). A seed that fails is told with its
error, and the job ends with status 1.
"""

from __future__ import annotations

import argparse
import collections
import sys
import time

from virtual_soak import soak


def main() -> int:
    """Print the table; 1 if a seed failed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=500)
    parser.add_argument("--first", type=int, default=1000)
    args = parser.parse_args()
    counts: collections.Counter[str] = collections.Counter()
    failures: list[str] = []
    begin = time.monotonic()
    for seed in range(args.first, args.first + args.seeds):
        try:
            counts.update(soak(seed, scarce=seed % 2 == 1)[1])
        except BaseException as error:
            if isinstance(error, KeyboardInterrupt):
                raise
            failures.append(f"seed {seed}: {type(error).__name__}: {str(error)[:500]}")
            print(failures[-1], file=sys.stderr)
    print(f"{args.seeds} seeds from {args.first}, 50 connections each,", end=" ")
    print(f"{time.monotonic() - begin:.0f} s; {len(failures)} failed.\n")
    print("| what connections did | how many |\n|---|---|")
    for what, count in sorted(counts.items()):
        print(f"| {what} | {count} |")
    for failure in failures:
        print(f"\n    {failure}")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
