# SPDX-License-Identifier: BSD-3-Clause
"""Fixtures of the tests that need real time."""

from collections.abc import Iterator

import pytest
import two


@pytest.fixture(params=["asyncio", "uvloop"])
def base(request: pytest.FixtureRequest) -> Iterator[str]:
    """Have two.run() extend asyncio's loop, then uvloop's."""
    if request.param == "uvloop":
        pytest.importorskip("uvloop")
    token = two.BASE.set(request.param)
    yield request.param
    two.BASE.reset(token)
