# SPDX-License-Identifier: BSD-3-Clause
"""The event loop on uvloop, and how stacks are driven by a loop whose polling is its own.

Each stack has a turn that schedules itself again while there is work and for a while after; then
it arms the stack's descriptor and lets the loop sleep, until that, which knows the stack's next
deadline, too, or a call of the application's for the stack wakes it.
"""

import signal
import threading
import time
from typing import TYPE_CHECKING, Any

import uvloop
from uvloop.loop import SSLProtocol

from ustack._aio import Dispatcher
from ustack._idle import Spin, parse_spin
from ustack.aio.network import StackLoop
from ustack.aio.selector import SLICE_NS, TURN_NS

if TYPE_CHECKING:
    from ustack.stack import Stack

__all__ = ["UvEventLoop"]


class UvEventLoop(StackLoop, uvloop.Loop):
    """A uvloop event loop that drives the stacks attached to it."""

    _ssl_protocol = SSLProtocol

    def __init__(self, *, spin: Spin | None = None, wildcard: str | None = None) -> None:
        """spin: how long to poll without work before sleeping; None: as each stack says.

        wildcard: as StackLoop has it.
        """
        self._stacks: dict[Stack, Dispatcher] = {}
        self._owned: list[Stack] = []
        super().__init__(wildcard=wildcard)
        self._turns: dict[Dispatcher, _Turn] = {}
        self._spin_ns = None if spin is None else parse_spin(spin)
        loop: Any = self
        self._call_soon = super().call_soon  # unnoted
        loop.call_soon = Dispatcher.noting(self._call_soon)

    def _drive(self, dispatcher: Dispatcher) -> None:
        spin_ns = dispatcher.spin_ns if self._spin_ns is None else self._spin_ns
        self._turns[dispatcher] = _Turn(self, dispatcher, spin_ns)

    def _undrive(self, dispatcher: Dispatcher) -> None:
        self._turns.pop(dispatcher).end()

    def close(self) -> None:
        """Close the loop, and give up its signals, as asyncio's does.

        uvloop 0.23 keeps them, since it removes handlers only while it runs: the process would go
        on to hold the loop, and all that its handlers hold, and not hear of the signals.
        """
        super().close()
        if threading.current_thread() is not threading.main_thread():
            return
        for sig in signal.valid_signals():
            if getattr(signal.getsignal(sig), "__self__", None) is self:
                is_int = sig == signal.SIGINT
                signal.signal(sig, signal.default_int_handler if is_int else signal.SIG_DFL)


class _Turn:
    """One stack's place among the callbacks of a loop."""

    def __init__(self, loop: UvEventLoop, dispatcher: Dispatcher, spin_ns: int) -> None:
        self._loop, self._dispatcher, self._spin_ns = loop, dispatcher, spin_ns
        self._slice_ns = min(spin_ns, SLICE_NS)  # of spinning, then the loop has its turn
        self._asleep = self._ended = False
        self._spin_until = 0
        dispatcher.when_called(self.wake)
        loop.add_reader(dispatcher.fileno(), self._come)
        loop._call_soon(self)

    def __call__(self) -> None:
        """Run the stack for some rounds; then be called again, or sleep."""
        if self._ended:
            return
        try:
            busy = self._dispatcher.poll(self._slice_ns, TURN_NS)
        except BaseException:  # KeyboardInterrupt ends the loop's run, which may have another
            self._loop._call_soon(self)
            raise
        if busy:
            self._spin_until = time.monotonic_ns() + self._spin_ns - self._slice_ns
        elif time.monotonic_ns() >= self._spin_until and self._dispatcher.sleep():
            self._asleep = True
            return
        self._loop._call_soon(self)

    def _come(self) -> None:
        """Serve what has come, which waits for nothing else; then take turns again."""
        if self._asleep and not self._ended:
            try:
                self._dispatcher.poll(0, 0)
            finally:
                self.wake()

    def wake(self) -> None:
        """Take turns again."""
        if self._asleep and not self._ended:
            self._asleep = False
            self._dispatcher.wake()
            self._spin_until = time.monotonic_ns() + self._spin_ns - self._slice_ns
            self._loop._call_soon(self)

    def end(self) -> None:
        """Take no turn any more."""
        self.wake()
        self._ended = True
        self._loop.remove_reader(self._dispatcher.fileno())
        self._dispatcher.when_called(None)
