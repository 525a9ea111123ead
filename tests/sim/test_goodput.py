# SPDX-License-Identifier: BSD-3-Clause
"""The table of nightly/results/goodput.md, rows at the length that virtual time makes cheap.

Linux's own figure is of that file: to measure it takes real time.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

import goodput_rows as goodput
from goodput_rows import Row

RESULT = Path(__file__).parents[2] / "nightly" / "results" / "goodput.md"


@pytest.mark.parametrize("row", goodput.ROWS, ids=lambda row: row.__name__)
def test_the_row_holds(row: Callable[[], Row]) -> None:
    if not goodput.possible(row):
        pytest.skip(f"there is no congestion control {goodput.NEEDS[row]} yet")
    found = row()
    assert found.ok, f"{found.claim}: {found.found}"


def test_random_loss_costs_what_it_costs_linux() -> None:
    """1 % at 50 ms, 20 seeds × 60 s: within 15 % of Linux's mean in the committed table."""
    mean, _ = goodput.mean_and_interval(goodput.random_loss())
    linux = re.search(r"Linux's CUBIC on the same link.*?\| ([0-9.]+) ±", RESULT.read_text())
    assert linux is not None
    assert mean == pytest.approx(float(linux[1]) * 1e6, rel=0.15)
