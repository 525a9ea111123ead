# SPDX-License-Identifier: BSD-3-Clause
"""The engine and the model of RFC 9293, side by side: 2,000 runs of 60 steps.

Usage: model.py [runs]
"""

from __future__ import annotations

import collections
import sys

from hypothesis import settings
from hypothesis.stateful import run_state_machine_as_test

import modelled
from properties import test_model
from ustack.tcp.model import Segment

STEPS = 60


def main(runs: int = 2000) -> None:
    """Run the state machine of tests/properties/test_model.py; count what it met."""
    met: collections.Counter[tuple[str, str]] = collections.Counter()
    compared = 0
    arrive, compare = modelled.Pair.arrive, modelled.Pair.compare

    def counted_arrive(self: modelled.Pair, seg: Segment, **more: object) -> None:
        before = self.model.state.value
        arrive(self, seg, **more)  # type: ignore[arg-type]
        met[before, self.model.state.value] += 1

    def counted_compare(self: modelled.Pair) -> None:
        nonlocal compared
        compare(self)
        compared += 1

    modelled.Pair.arrive, modelled.Pair.compare = counted_arrive, counted_compare  # type: ignore[method-assign, assignment]
    run_state_machine_as_test(
        test_model.Machine,
        settings=settings(
            test_model.SETTINGS, max_examples=runs, stateful_step_count=STEPS, derandomize=False
        ),
    )
    print(f"{runs} runs of {STEPS} steps agree: {compared} comparisons.\n")
    print("| before | after a segment | times |\n|---|---|---:|")
    for (before, after), times in sorted(met.items()):
        print(f"| {before} | {after} | {times} |")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
