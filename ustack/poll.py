# SPDX-License-Identifier: BSD-3-Clause
"""Waiting for many sockets at once, in the manner of select.poll.

Level-triggered: a socket is reported for as long as it is ready. A round looks at every
registered socket, which suits hundreds; for more, use asyncio.
"""

import errno
import select
from typing import TYPE_CHECKING, Any

from ustack._native import SLICE_NS, check, ffi, insist, lib

if TYPE_CHECKING:
    from ustack._endpoint import Endpoint
    from ustack.stack import Stack

__all__ = ["Poll"]

OVER = -4096  # beyond all errnos: the descriptor is readable
_DEFAULT = select.POLLIN | select.POLLOUT
_WANTED = select.POLLIN | select.POLLRDNORM, select.POLLOUT | select.POLLWRNORM


class Poll:
    """Sockets of one stack and what to wait for; made by `Stack.poll`."""

    __slots__ = ("_arrays", "_masks", "_stack")

    def __init__(self, stack: "Stack") -> None:
        self._stack = stack
        self._masks: dict[Endpoint, int] = {}
        self._arrays: tuple[list[tuple[Endpoint, int]], Any] | None = None

    def register(self, sock: "Endpoint", eventmask: int = _DEFAULT) -> None:
        """Wait for sock, too: any of POLLIN, POLLPRI, POLLOUT. Again: change what to wait for.

        POLLHUP, POLLERR and POLLNVAL (closed) are always reported.
        """
        if sock.stack is not self._stack:
            raise ValueError(f"{sock} belongs to another stack; poll each stack on its own")
        self._masks[sock] = eventmask
        self._arrays = None

    def modify(self, sock: "Endpoint", eventmask: int) -> None:
        """Change what to wait for; FileNotFoundError if sock is not registered."""
        if sock not in self._masks:
            raise FileNotFoundError(errno.ENOENT, f"{sock} is not registered")
        self.register(sock, eventmask)

    def unregister(self, sock: "Endpoint") -> None:
        """Stop waiting for sock; KeyError if it is not registered."""
        del self._masks[sock]
        self._arrays = None

    def poll(self, timeout: float | None = None) -> list[tuple["Endpoint", int]]:
        """Return the sockets that are ready, each with its POLL* mask; [] after the timeout.

        timeout: in milliseconds as select.poll has it; None or negative: for ever.
        """
        return self._poll(timeout, -1)

    def _poll(self, timeout: float | None, fd: int) -> list[tuple["Endpoint", int]]:
        """Do so, but return [] when a descriptor polls readable, too; -1 for none."""
        entries, handles, wanted, ready = self._prepare()
        seconds = None if timeout is None or timeout < 0 else timeout / 1000
        worker = self._stack._worker

        def wait(slice_ns: int) -> int:
            count = len(entries)
            n = lib.ust_worker_wait_many(worker, handles, wanted, ready, count, fd, slice_ns)
            return int(n) or (OVER if fd >= 0 and _is_readable(fd) else -errno.EAGAIN)

        n = wait(SLICE_NS if seconds is None else min(int(seconds * 1e9), SLICE_NS))
        if n < 0 and seconds != 0:
            n = insist(n, seconds, wait)
        if n in (-errno.EAGAIN, -errno.EINTR, OVER):
            return []
        check(n, "poll")
        return [(sock, _mask(ready[i], mask)) for i, (sock, mask) in enumerate(entries) if ready[i]]

    def _prepare(self) -> tuple[list[tuple["Endpoint", int]], Any, Any, Any]:
        """Return the registered sockets, their handles of now, what they want, and a result."""
        arrays = self._arrays
        if arrays is None:
            entries = list(self._masks.items())
            wanted = ffi.new("uint32_t[]", [_readiness(mask) for _, mask in entries])
            arrays = self._arrays = entries, wanted
        entries, wanted = arrays
        handles = ffi.new("ust_handle[]", [sock._handle for sock, _ in entries])
        return entries, handles, wanted, ffi.new("int32_t[]", len(entries))


def _is_readable(fd: int) -> bool:
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    return bool(poll.poll(0))


def _readiness(mask: int) -> int:
    """Return POLLIN and POLLOUT as enum ust_ready."""
    wanted = lib.UST_READABLE if mask & _WANTED[0] else 0
    wanted |= lib.UST_URGENT if mask & select.POLLPRI else 0
    return int(wanted | (lib.UST_WRITABLE if mask & _WANTED[1] else 0))


def _mask(ready: int, mask: int) -> int:
    """Return enum ust_ready, or a negative errno, as POLL* bits."""
    if ready < 0:
        return select.POLLNVAL
    result = 0
    if ready & lib.UST_READABLE:
        result |= mask & _WANTED[0]
    if ready & lib.UST_WRITABLE:
        result |= mask & _WANTED[1]
    if ready & lib.UST_URGENT:
        result |= mask & select.POLLPRI
    if ready & lib.UST_HUP:
        result |= select.POLLHUP
    if ready & lib.UST_ERROR:
        result |= select.POLLERR
    return result
