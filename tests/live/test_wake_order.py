# SPDX-License-Identifier: BSD-3-Clause
"""A loop that frames have woken serves them first, and only then makes system calls of its own."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import pytest

from ustack.aio.selector import StackSelector
from ustack.aio.uv import _Turn


class Recorder:
    """A dispatcher that has slept, and whose descriptor is readable."""

    spin_ns = 0

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.fd = os.eventfd(1)

    def fileno(self) -> int:
        return self.fd

    def poll(self, idle_ns: int, turn_ns: int) -> int:
        self.calls.append("poll")
        return 0

    def sleep(self) -> bool:
        self.calls.append("sleep")
        return True

    def wake(self) -> None:
        self.calls.append("wake")

    def when_called(self, callback: object) -> None:
        pass


class Loop:
    """What a turn asks of uvloop's loop."""

    def __init__(self) -> None:
        self.reader: Callable[[], None] = lambda: None
        self.soon: list[Any] = []

    def add_reader(self, fd: int, callback: Callable[[], None]) -> None:
        self.reader = callback

    def _call_soon(self, callback: object) -> None:
        self.soon.append(callback)


@pytest.fixture
def dispatcher() -> Recorder:
    return Recorder()


def test_a_selector_serves_before_it_disarms(dispatcher: Recorder) -> None:
    stack: Any = dispatcher
    with StackSelector() as selector:
        selector.add(stack)
        assert selector.select(10) == []
    os.close(dispatcher.fd)
    assert dispatcher.calls[-3:] == ["sleep", "poll", "wake"]


def test_a_turn_on_uvloop_serves_before_it_disarms(dispatcher: Recorder) -> None:
    loop, stack = Loop(), dispatcher
    turn = _Turn(loop, stack, 0)  # type: ignore[arg-type]
    turn()
    loop.reader()
    os.close(dispatcher.fd)
    assert dispatcher.calls == ["poll", "sleep", "poll", "wake"]
    assert loop.soon == [turn, turn]


def test_a_turn_that_is_interrupted_is_awake_all_the_same(dispatcher: Recorder) -> None:
    def interrupted(idle_ns: int, turn_ns: int) -> int:
        raise KeyboardInterrupt

    loop, stack = Loop(), dispatcher
    turn = _Turn(loop, stack, 0)  # type: ignore[arg-type]
    turn()
    stack.poll = interrupted  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        loop.reader()
    os.close(dispatcher.fd)
    assert dispatcher.calls[-1] == "wake"
