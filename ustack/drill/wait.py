# SPDX-License-Identifier: BSD-3-Clause
"""Calls on several descriptors: poll() and epoll."""

from __future__ import annotations

import errno
from dataclasses import dataclass, field

from ustack.drill.arguments import number_of
from ustack.drill.calls import NO_HANDLE, Attempt, Calls, Fd, Mismatch
from ustack.drill.script import ScriptError, Struct

__all__ = ["AllCalls"]

_ALWAYS = 8 | 16  # POLLERR, POLLHUP: reported whether asked for or not
_EDGE, _ONE_SHOT = 1 << 31, 1 << 30
_NORMAL = 0x40 | 0x100  # POLLRDNORM, POLLWRNORM: reported only if asked for
MS = 10**6


@dataclass
class Watch:
    """One row of an epoll instance. seen: the readiness reported last, for EPOLLET."""

    fd: Fd
    events: int
    data: int
    seen: int = 0


@dataclass
class Epoll(Fd):
    """An epoll instance's descriptor."""

    watches: list[Watch] = field(default_factory=list)


class AllCalls(Calls):
    """Calls, and those that wait for several sockets."""

    deadline: int | None = None  # when the attempt at hand gives up waiting

    def do_poll(self, fds: object, count: object, timeout: object, *, expected: object) -> Attempt:
        """poll(), comparing revents."""
        rows = [item for item in fds if isinstance(item, Struct)] if isinstance(fds, list) else []
        limit = self._limit(number_of(timeout))

        def attempt() -> int:
            ready = 0
            got = []
            for row in rows:
                fd = self.fds.get(number_of(row.get("fd")))
                asked = number_of(row.get("events"))
                bits = self._ready(fd, asked) if fd else 0x20  # POLLNVAL
                got.append(bits)
                ready += bits != 0
            if not ready and self._wait(limit):
                raise BlockingIOError(errno.EAGAIN, "poll")
            for row, bits in zip(rows, got, strict=True):
                wanted = row.get("revents")
                if isinstance(wanted, int) and wanted != bits:
                    raise Mismatch(f"revents {wanted:#x}", f"{bits:#x}")
            return ready

        return attempt

    def do_epoll_create(self, size: object, *, expected: object) -> Attempt:
        """epoll_create()."""
        return lambda: self._new(expected, Epoll(NO_HANDLE))

    do_epoll_create1 = do_epoll_create

    def do_epoll_ctl(
        self, epoll: Fd, operation: object, number: object, event: object, *, expected: object
    ) -> Attempt:
        """epoll_ctl()."""
        fd = self.fds.get(number_of(number))

        def attempt() -> int:
            if not isinstance(epoll, Epoll) or fd is None:
                raise OSError(errno.EBADF, "epoll_ctl")
            watches = [watch for watch in epoll.watches if watch.fd is not fd]
            if operation == 1 and len(watches) < len(epoll.watches):
                raise OSError(errno.EEXIST, "epoll_ctl")
            if operation != 1 and len(watches) == len(epoll.watches):
                raise OSError(errno.ENOENT, "epoll_ctl")
            if operation != 2 and isinstance(event, Struct):
                data = [number_of(v) for k, v in event.fields if k not in (None, "events")]
                events = number_of(event.get("events"))
                watches.append(Watch(fd, events, data[0] if data else 0))
            epoll.watches = watches
            return 0

        return attempt

    def do_epoll_wait(
        self, epoll: Fd, events: object, most: object, timeout: object, *, expected: object
    ) -> Attempt:
        """epoll_wait(), comparing what it tells."""
        if not isinstance(epoll, Epoll):
            raise ScriptError("epoll_wait() needs what epoll_create() gave")
        limit = self._limit(number_of(timeout))

        def attempt() -> int:
            got = [found for watch in epoll.watches if (found := self._report(watch))]
            got = got[: number_of(most) or 1]
            if not got and self._wait(limit):
                raise BlockingIOError(errno.EAGAIN, "epoll_wait")
            rows = events if isinstance(events, list) else [events]
            for row, (bits, data) in zip(rows, got, strict=False):
                if isinstance(row, Struct):
                    self._compare(row, bits, data)
            return len(got)

        return attempt

    @staticmethod
    def _compare(row: Struct, bits: int, data: int) -> None:
        for name, wanted in row.fields:
            got = bits if name == "events" else data
            if isinstance(wanted, int) and wanted != got:
                raise Mismatch(f"{name} {wanted:#x}", f"{got:#x}")

    def _report(self, watch: Watch) -> tuple[int, int] | None:
        bits = self._ready(watch.fd, watch.events & 0xFFFF)
        fresh = bits & ~watch.seen if watch.events & _EDGE else bits
        watch.seen = bits
        if fresh and watch.events & _ONE_SHOT:
            watch.events = 0
        return (bits, watch.data) if fresh else None

    def _ready(self, fd: Fd, asked: int) -> int:
        bits = self.backend.poll(fd.handle)
        return bits & (asked | _ALWAYS) & ~(_NORMAL & ~asked)

    def _limit(self, timeout_ms: int) -> int | None:
        """When a call gives up; None for never."""
        return None if timeout_ms < 0 else self.backend.now + timeout_ms * MS

    def _wait(self, limit: int | None) -> bool:
        """Is there still time? Then the runner may go up to the deadline."""
        self.deadline = limit
        return limit is None or self.backend.now < limit
