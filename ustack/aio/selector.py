# SPDX-License-Identifier: BSD-3-Clause
"""The selector that gives stacks their turn: where the event loop polls, spins and sleeps.

Busy, it makes no system call but a look at the kernel's descriptors now and then, by the clock.
Idle, it spins for a while, since what comes soon is cheaper met awake; then it arms every stack's
descriptor, looks once more, and sleeps until a descriptor, a stack's next deadline or timeout.
"""

import selectors
import time

from ustack._aio import Dispatcher

__all__ = ["StackSelector"]

ROUNDS = 16  # bursts with events in one turn
LOOK_NS = 500_000  # between two looks at the kernel's descriptors while busy
LOOK_RARELY_NS = 30_000_000  # the same when there is none but the loop's own, for signals
SHORTEST_SLEEP = 1e-3  # seconds; epoll's clock is no finer, so nearer deadlines are spun for

_OURS = object()  # data of the descriptors that only wake us


class StackSelector(selectors.EpollSelector):
    """An epoll selector whose select() first runs the stacks, which call back directly."""

    def __init__(self, spin: float) -> None:
        """spin: seconds to poll without work before sleeping."""
        super().__init__()
        self._dispatchers: list[Dispatcher] = []
        self._spin_ns = int(spin * 1e9)
        self._next_look = 0

    def add(self, dispatcher: Dispatcher) -> None:
        """Drive one more stack."""
        self.register(dispatcher.fileno(), selectors.EVENT_READ, _OURS)
        self._dispatchers.append(dispatcher)

    def remove(self, dispatcher: Dispatcher) -> None:
        """Drive it no longer."""
        self._dispatchers.remove(dispatcher)
        self.unregister(dispatcher.fileno())

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """Run the stacks; return the kernel's descriptors that are ready, if it was their turn."""
        at_once = timeout is not None and timeout <= 0
        if self._run(0 if at_once else self._spin(timeout)) or at_once:
            now = time.monotonic_ns()
            if now < self._next_look and self._dispatchers:
                return []
            alone = len(self._dispatchers) + 1 >= len(self.get_map())
            self._next_look = now + (LOOK_RARELY_NS if alone else LOOK_NS)
            return self._kernel(0)
        return self._sleep(timeout)

    def _spin(self, timeout: float | None) -> int:
        return self._spin_ns if timeout is None else min(self._spin_ns, int(timeout * 1e9))

    def _run(self, spin_ns: int) -> int:
        """Give every stack its turn until one had work; return how many bursts there were."""
        if len(self._dispatchers) == 1:
            return self._dispatchers[0].poll(ROUNDS, spin_ns)
        end = time.monotonic_ns() + spin_ns
        while True:
            busy = sum([dispatcher.poll(ROUNDS) for dispatcher in self._dispatchers])
            if busy or not self._dispatchers or time.monotonic_ns() >= end:
                return busy

    def _sleep(self, timeout: float | None) -> list[tuple[selectors.SelectorKey, int]]:
        try:
            for dispatcher in self._dispatchers:
                seconds = dispatcher.sleep()
                if seconds is not None and (timeout is None or seconds < timeout):
                    timeout = seconds if seconds >= SHORTEST_SLEEP else 0
            return self._kernel(timeout)
        finally:
            for dispatcher in self._dispatchers:
                dispatcher.wake()

    def _kernel(self, timeout: float | None) -> list[tuple[selectors.SelectorKey, int]]:
        return [event for event in super().select(timeout) if event[0].data is not _OURS]
