# SPDX-License-Identifier: BSD-3-Clause
"""The event loop on uvloop, and how stacks are driven by a loop whose polling is its own.

Each stack has a turn that schedules itself again while there is work and for a while after; then
it arms the stack's descriptor and lets the loop sleep, until that or a deadline, or a call of the
application's for the stack, wakes it.
"""

import asyncio
import time
from typing import TYPE_CHECKING, Any

import uvloop
from uvloop.loop import SSLProtocol

from ustack._aio import Dispatcher
from ustack.aio.network import StackLoop
from ustack.aio.selector import ROUNDS, SHORTEST_SLEEP

if TYPE_CHECKING:
    from ustack.stack import Stack

__all__ = ["UvEventLoop"]


class UvEventLoop(StackLoop, uvloop.Loop):
    """A uvloop event loop that drives the stacks attached to it."""

    _ssl_protocol = SSLProtocol

    def __init__(self, *, spin: float = 50e-6) -> None:
        """spin: seconds to poll without work before sleeping."""
        super().__init__()
        self._stacks: dict[Stack, Dispatcher] = {}
        self._owned: list[Stack] = []
        self._turns: dict[Dispatcher, _Turn] = {}
        self._spin_ns = int(spin * 1e9)
        loop: Any = self
        loop.call_soon = Dispatcher.noting(super().call_soon)

    def _drive(self, dispatcher: Dispatcher) -> None:
        self._turns[dispatcher] = _Turn(self, dispatcher, self._spin_ns)

    def _undrive(self, dispatcher: Dispatcher) -> None:
        self._turns.pop(dispatcher).end()


class _Turn:
    """One stack's place among the callbacks of a loop."""

    def __init__(self, loop: UvEventLoop, dispatcher: Dispatcher, spin_ns: int) -> None:
        self._loop, self._dispatcher, self._spin_ns = loop, dispatcher, spin_ns
        self._timer: asyncio.TimerHandle | None = None
        self._asleep = self._ended = False
        self._spin_until = 0
        dispatcher.when_called(self.wake)
        loop.add_reader(dispatcher.fileno(), self.wake)
        loop.call_soon(self)

    def __call__(self) -> None:
        """Run the stack for some rounds; then be called again, or sleep."""
        if self._ended:
            return
        try:
            busy = self._dispatcher.poll(ROUNDS)
        except BaseException:  # KeyboardInterrupt ends the loop's run, which may have another
            self._loop.call_soon(self)
            raise
        if busy:
            self._spin_until = time.monotonic_ns() + self._spin_ns
        elif time.monotonic_ns() >= self._spin_until and self._sleeps():
            return
        self._loop.call_soon(self)

    def _sleeps(self) -> bool:
        seconds = self._dispatcher.sleep()
        if seconds is not None and seconds < SHORTEST_SLEEP:
            self._dispatcher.wake()
            return False
        if seconds is not None:
            self._timer = self._loop.call_later(seconds, self.wake)
        self._asleep = True
        return True

    def wake(self) -> None:
        """Take turns again."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._asleep and not self._ended:
            self._asleep = False
            self._dispatcher.wake()
            self._spin_until = time.monotonic_ns() + self._spin_ns
            self._loop.call_soon(self)

    def end(self) -> None:
        """Take no turn any more."""
        self.wake()
        self._ended = True
        self._loop.remove_reader(self._dispatcher.fileno())
        self._dispatcher.when_called(None)
