# SPDX-License-Identifier: BSD-3-Clause
"""A hundred repeats of every script of the public suites give the same verdicts and traces.

Run by dev.py nightly drill. With -- N: so many repeats. Needs the suites' scripts; see
tests/drill/public_suites.py.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests" / "drill"))

import public_suites as suites

from ustack.drill import Mode
from ustack.drill.command import play


def main() -> int:
    """Print a line for each list; 1 when something differs or does not pass."""
    repeats = int(sys.argv[1]) if len(sys.argv) > 1 else 100
    print(f"| list | scripts × IP versions | pass | the same {repeats} times | seconds a run |")
    print("|---|---|---|---|---|")
    wrong = 0
    for mode in Mode:
        cases = suites.cases(mode)
        if not cases:
            print("the suites' scripts are not here: set USTACK_SHARED", file=sys.stderr)
            return 1
        begin = time.monotonic()
        first = [play(str(suites.SHARED / name), mode, ip) for name, ip in cases]
        took = time.monotonic() - begin
        texts = [verdict.to_json() for verdict in first]
        same = set(range(len(cases)))
        for _ in range(repeats - 1):
            for i, (name, ip) in enumerate(cases):
                if play(str(suites.SHARED / name), mode, ip).to_json() != texts[i]:
                    same.discard(i)
        passed = sum(verdict.passed for verdict in first)
        print(f"| {mode.value} | {len(cases)} | {passed} | {len(same)} | {took:.2f} |")
        wrong += len(cases) - min(passed, len(same))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
