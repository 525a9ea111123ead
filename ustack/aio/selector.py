# SPDX-License-Identifier: BSD-3-Clause
"""The selector that gives stacks their turn: where the event loop polls, spins and sleeps.

Busy, it makes no system call but a look at the kernel's descriptors now and then, by the clock.
Idle, it spins for a while, since what comes soon is cheaper met awake; then it arms every stack's
descriptor, looks once more, and sleeps until a descriptor, a stack's next deadline or timeout.
"""

import selectors
import time

from ustack._aio import Dispatcher

__all__ = ["SLICE_NS", "TURN_NS", "StackSelector"]

TURN_NS = 500_000  # that a stack may work before the loop looks at anything else
SLICE_NS = 500_000  # that it may spin before
LOOK_NS = 1_000_000  # between two looks at the kernel's descriptors while busy
LOOK_RARELY_NS = 30_000_000  # the same when there is none but the loop's own, for signals

_FOR_EVER = 1 << 62
_OURS = object()  # data of the descriptors that only wake us

_Events = list[tuple[selectors.SelectorKey, int]]


class StackSelector(selectors.EpollSelector):
    """An epoll selector whose select() first runs the stacks, which call back directly."""

    def __init__(self, spin_ns: int | None = None) -> None:
        """spin_ns: how long to poll without work before sleeping; None: as the stacks say."""
        super().__init__()
        self._dispatchers: list[Dispatcher] = []
        self._given_ns, self._spin_ns = spin_ns, 0
        self._next_look = 0

    def add(self, dispatcher: Dispatcher) -> None:
        """Drive one more stack."""
        self.register(dispatcher.fileno(), selectors.EVENT_READ, _OURS)
        self._dispatchers.append(dispatcher)
        self._choose_spin()

    def remove(self, dispatcher: Dispatcher) -> None:
        """Drive it no longer."""
        self._dispatchers.remove(dispatcher)
        self.unregister(dispatcher.fileno())
        self._choose_spin()

    def _choose_spin(self) -> None:
        wanted = [dispatcher.spin_ns for dispatcher in self._dispatchers]
        self._spin_ns = max(wanted, default=0) if self._given_ns is None else self._given_ns

    def select(self, timeout: float | None = None) -> _Events:
        """Run the stacks; return the kernel's descriptors that are ready, if it was their turn."""
        if timeout is not None and timeout <= 0:
            self._run(0, 0)
            return self._look()
        start = now = time.monotonic_ns()
        end = start + (_FOR_EVER if timeout is None else int(timeout * 1e9))
        spin_end = min(start + self._spin_ns, end)
        while True:
            if self._run(min(max(spin_end - now, 0), SLICE_NS), min(end - now, TURN_NS)):
                return self._look()
            now = time.monotonic_ns()
            if now >= spin_end:
                break
            if found := self._kernel(0):
                return found
        return self._sleep(None if timeout is None else max(end - now, 0) / 1e9)

    def _run(self, idle_ns: int, turn_ns: int) -> int:
        """Give every stack its turn until one had work; return how many bursts there were."""
        if len(self._dispatchers) == 1:
            return self._dispatchers[0].poll(idle_ns, turn_ns)
        end = time.monotonic_ns() + idle_ns
        while True:
            busy = sum([dispatcher.poll(0, 0) for dispatcher in self._dispatchers])
            if busy or not self._dispatchers or time.monotonic_ns() >= end:
                return busy

    def _look(self) -> _Events:
        """Return the kernel's descriptors that are ready, or nothing if we looked lately."""
        now = time.monotonic_ns()
        if now < self._next_look and self._dispatchers:
            return []
        alone = len(self._dispatchers) + 1 >= len(self.get_map())
        self._next_look = now + (LOOK_RARELY_NS if alone else LOOK_NS)
        return self._kernel(0)

    def _sleep(self, timeout: float | None) -> _Events:
        try:
            if not all(dispatcher.sleep() for dispatcher in self._dispatchers):
                timeout = 0
            found = self._kernel(timeout)
            if not found:  # what has come waits for nothing else
                self._run(0, 0)
            return found
        finally:
            for dispatcher in self._dispatchers:
                dispatcher.wake()

    def _kernel(self, timeout: float | None) -> _Events:
        return [event for event in super().select(timeout) if event[0].data is not _OURS]
