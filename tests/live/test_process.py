# SPDX-License-Identifier: BSD-3-Clause
"""The stack of a process: made from the environment, or installed; loops work on it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

import ustack
from pair import ring_url
from ustack import ConfigError, Stack, process


@pytest.fixture(autouse=True)
def nothing_installed() -> Iterator[None]:
    process.install(None)
    yield
    process.install(None)


def stacks_of_the_loop() -> list[Stack]:
    async def main() -> list[Stack]:
        loop: Any = asyncio.get_running_loop()
        return list(loop._stacks)

    return ustack.run(main)


def test_the_first_use_makes_it_from_the_environment(monkeypatch: Any) -> None:
    monkeypatch.setenv("USTACK_IO", ring_url())
    monkeypatch.setenv("USTACK_ADDRESS", "10.9.0.2/24")
    assert process.installed() is None
    with process.current() as stack:
        assert process.current() is process.installed() is stack
        assert stack.owns("10.9.0.2")
    assert process.installed() is None


def test_without_a_port_the_way_out_is_said(monkeypatch: Any) -> None:
    monkeypatch.delenv("USTACK_IO", raising=False)
    with pytest.raises(ConfigError, match="USTACK_IO"):
        process.current()


def test_a_second_stack_is_not_installed_over_an_open_one() -> None:
    with Stack(ring_url(), "10.9.0.2/24") as one, Stack(ring_url(), "10.9.0.2/24") as other:
        process.install(one)
        with pytest.raises(RuntimeError, match="install"):
            process.install(other)
        one.close()
        process.install(other)
        assert process.current() is other


def test_a_loop_takes_the_installed_stack_and_leaves_it_open() -> None:
    with Stack(ring_url(), "10.9.0.2/24") as stack:
        process.install(stack)
        assert stacks_of_the_loop() == [stack]
        assert not stack.closed


def test_a_stack_that_a_loop_made_is_the_processs_until_the_loop_closes(monkeypatch: Any) -> None:
    monkeypatch.setenv("USTACK_IO", ring_url())
    monkeypatch.setenv("USTACK_ADDRESS", "10.9.0.2/24")
    (stack,) = stacks_of_the_loop()
    assert stack.closed
    assert process.installed() is None
