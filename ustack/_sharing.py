# SPDX-License-Identifier: BSD-3-Clause
"""Sockets of a stack that several objects share, and the descriptors that stand for them.

What `ustack.socket` is made of: dup() gives a second object for the same socket, which is closed
with the last; a doorbell is a descriptor that polls as a socket does, by which the socket can be
found again (socket.fromfd, socket.socket(fileno=…)).

Not here: the socket objects of programs (socket.py).
"""

import os
import socket
import stat
import threading
import weakref
from typing import TYPE_CHECKING, Any, Self

from ustack._endpoint import Endpoint
from ustack._native import check, ffi, lib
from ustack.datagram import PING_PROTOCOLS, PingSocket, UdpSocket
from ustack.stream import Socket

if TYPE_CHECKING:
    from ustack.stack import Stack

__all__ = ["Doorbell", "Shared", "adopt", "claim", "find", "leave", "open_endpoint"]


class Shared(Endpoint):
    """An endpoint that is closed with the last of those who share it.

    It does not complain when it is lost unclosed: that is for the object of the program to do.
    """

    __slots__ = ()

    _sharers: list[None]  # as many as there are

    def __init__(
        self, stack: "Stack", family: int = socket.AF_INET, *, handle: int | None = None
    ) -> None:
        self._sharers = [None]  # type: ignore[misc]  # a slot of each subclass
        super().__init__(stack, family, handle=handle)

    def share(self) -> Self:
        """Return another object for the same socket."""
        other = type(self)(self._stack, self._family, handle=self._handle)
        other._sharers = self._sharers  # type: ignore[misc]
        self._sharers.append(None)
        return other

    def close(self) -> None:
        """Close the socket if nobody else has it."""
        if self.closed:
            return
        self._sharers.pop()
        if self._sharers:
            self.detach()
        else:
            super().close()

    def __del__(self) -> None:
        if getattr(self, "_handle", -1) != -1:
            self.close()


class _Stream(Shared, Socket):
    __slots__ = ("_sharers",)


class _Datagrams(Shared, UdpSocket):
    __slots__ = ("_sharers",)


class _Ping(Shared, PingSocket):
    __slots__ = ("_sharers",)


def open_endpoint(stack: "Stack", family: int, kind: int, proto: int) -> Shared | None:
    """Return a new socket of the stack; None for what only the kernel has."""
    if family not in (socket.AF_INET, socket.AF_INET6):
        return None
    if kind == socket.SOCK_STREAM and proto in (0, socket.IPPROTO_TCP):
        return _Stream(stack, family)
    if kind == socket.SOCK_DGRAM and proto in (0, socket.IPPROTO_UDP):
        return _Datagrams(stack, family)
    if kind == socket.SOCK_DGRAM and proto == PING_PROTOCOLS[family]:
        return _Ping(stack, family)
    return None


def adopt(sock: Socket) -> Shared:
    """Return a stack's socket as one that can be shared; sock itself is closed."""
    return _Stream(sock.stack, sock.family, handle=sock.detach())


class Doorbell:
    """A descriptor that polls as an endpoint does."""

    __slots__ = ("__weakref__", "_inode", "_raw", "endpoint", "fd")

    def __init__(self, endpoint: Shared, fd: int = -1) -> None:
        """fd: a descriptor that becomes it; -1: a new one. Close it yourself, after close()."""
        err = ffi.new("int *")
        self._raw = lib.ust_doorbell_new(endpoint._worker, endpoint._handle, fd, err)
        if self._raw == ffi.NULL:
            check(err[0], f"doorbell of {endpoint}")
        self.endpoint = endpoint
        self.fd = int(lib.ust_doorbell_fd(self._raw))
        self._inode = os.fstat(self.fd).st_ino
        _doorbells[self._inode] = self

    def close(self) -> None:
        """Let it ring no more; before the descriptor is closed."""
        if _doorbells.get(self._inode) is self:
            del _doorbells[self._inode]
        raw, self._raw = self._raw, ffi.NULL
        lib.ust_doorbell_free(raw)


_doorbells: weakref.WeakValueDictionary[int, Doorbell] = weakref.WeakValueDictionary()
_left: dict[int, Doorbell] = {}
_lock = threading.Lock()


def leave(doorbell: Doorbell) -> None:
    """Keep a doorbell, with its endpoint, until somebody claims its descriptor."""
    with _lock:
        _left[doorbell._inode] = doorbell


def find(fd: Any) -> Doorbell | None:
    """Return the doorbell that a descriptor is of, by whatever number; None for other ones."""
    if not isinstance(fd, int) or fd < 0 or not (_doorbells or _left):
        return None
    try:
        about = os.fstat(fd)
    except OSError:
        return None
    return _doorbells.get(about.st_ino) if stat.S_ISSOCK(about.st_mode) else None


def claim(fd: Any) -> tuple[Shared, Doorbell | None] | None:
    """Return the endpoint that a descriptor stands for, None if it is nobody's.

    With its doorbell if the descriptor was left; else the endpoint is a shared one, and the
    descriptor rings only until the first object is closed.
    """
    doorbell = find(fd)
    if doorbell is None:
        return None
    with _lock:
        if doorbell.fd == fd and _left.pop(doorbell._inode, None) is doorbell:
            return doorbell.endpoint, doorbell
    return doorbell.endpoint.share(), None
