# SPDX-License-Identifier: BSD-3-Clause
"""asyncio under everything that connections can do, on virtual time: see virtual_soak.py."""

from __future__ import annotations

import pytest

from virtual_soak import soak


@pytest.mark.parametrize("seed", range(4))
def test_connections_that_do_everything_are_byte_exact_and_leave_nothing(seed: int) -> None:
    _, counts = soak(seed)
    assert counts["complete"] > 10
    assert counts["give_up"] > 5


@pytest.mark.parametrize("seed", range(4))
def test_the_same_when_memory_is_scarce(seed: int) -> None:
    _, counts = soak(seed, scarce=True)
    assert counts["give_up"] > 5


def test_a_soak_repeats_to_the_byte() -> None:
    assert soak(100, connections=20) == soak(100, connections=20)
