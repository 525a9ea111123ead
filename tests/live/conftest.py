# SPDX-License-Identifier: BSD-3-Clause
"""Fixtures of the tests that need real time."""

from collections.abc import Iterator

import pytest
import two

from ustack import Stack, process


@pytest.fixture(params=["asyncio", "uvloop"])
def base(request: pytest.FixtureRequest) -> Iterator[str]:
    """Have two.run() extend asyncio's loop, then uvloop's."""
    if request.param == "uvloop":
        pytest.importorskip("uvloop")
    token = two.BASE.set(request.param)
    yield request.param
    two.BASE.reset(token)


@pytest.fixture
def process_stack() -> Iterator[Stack]:
    """The process's stack, which has nothing but a loopback."""
    process.install(None)
    with Stack("loop:") as stack:
        process.install(stack)
        yield stack
        stack.close(linger=0)
    process.install(None)
