# SPDX-License-Identifier: BSD-3-Clause
"""What the sender achieves on simulated links, and Linux's CUBIC on the same lossy link.

--seconds S: of each run of the kernel (30). --runs N: how many (10). --no-linux: simulate only.
"""

from __future__ import annotations

import argparse
import statistics
import sys

import goodput_rows as goodput
import kernel_link
from goodput_rows import LOSSY, LOSSY_BACK, Row, mean_and_interval

SEEDS = range(1, 31)
RTTS = ("rtt", "min_rtt")


def lossy(args: argparse.Namespace) -> list[Row]:
    """The simulated mean, and Linux's, whose interval it has to fit with 15 %."""
    ours = goodput.random_loss(SEEDS, 60)
    mean, half = mean_and_interval(ours)
    told = f"{mean / 1e6:.3f} ± {half / 1e6:.3f} Mbit/s, {len(ours)} seeds × 60 virtual s"
    rows = [Row("CUBIC at 1 % random loss, 50 ms", told, True, {"goodput": mean})]
    if args.no_linux:
        return rows
    print(f"goodput: {args.runs} runs of the kernel, {args.seconds:g} s", file=sys.stderr)
    outcomes = kernel_link.run(LOSSY, LOSSY_BACK, pairs=args.runs, seconds=args.seconds)
    linux, linux_half = mean_and_interval([outcome.goodput for outcome in outcomes])
    rtt, least = (statistics.mean(getattr(o, name) for o in outcomes) for name in RTTS)
    told = (
        f"{linux / 1e6:.3f} ± {linux_half / 1e6:.3f} Mbit/s, {args.runs} runs × {args.seconds:g} s,"
        f" SRTT {rtt * 1e3:.1f} ms, least RTT {least * 1e3:.1f} ms, frames"
        f" {outcomes[0].late * 1e3:.2f} ms late"
    )
    rows.append(Row("Linux's CUBIC on the same link, over taps", told, True))
    ratio = mean / linux
    told = f"{ratio:.3f}, with both intervals {_low(mean, half, linux, linux_half)}"
    rows.append(Row("ustack / Linux is within 15 %", told, abs(ratio - 1) <= 0.15))
    return rows


def _low(a: float, a_half: float, b: float, b_half: float) -> str:
    return f"{(a - a_half) / (b + b_half):.3f} … {(a + a_half) / (b - b_half):.3f}"


def main() -> int:
    """Print the table; 1 when a row is not as claimed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--runs", type=int, default=10)
    parser.add_argument("--no-linux", action="store_true")
    rows = lossy(parser.parse_args())
    rows += [row() for row in goodput.ROWS if goodput.possible(row)]
    print("| claim | found | |\n| --- | --- | --- |")
    for row in rows:
        print(f"| {row.claim} | {row.found} | {'yes' if row.ok else '**no**'} |", flush=True)
    return int(not all(row.ok for row in rows))


if __name__ == "__main__":
    sys.exit(main())
