# SPDX-License-Identifier: BSD-3-Clause
"""What transports and servers show as their sockets: names and options, no data."""

import errno
import os
import socket
from typing import TYPE_CHECKING, Any

from ustack import _options

if TYPE_CHECKING:
    from ustack._aio import DatagramTransport, Listener, Transport

__all__ = ["DatagramSocket", "ListenerSocket", "TransportSocket"]

# Kept and given back: a port has one owner on a stack, who may well say that others could share it.
_REUSEPORT = socket.SOL_SOCKET, socket.SO_REUSEPORT


class _View:
    """A socket without a descriptor."""

    __slots__ = ("_kept", "_sockname", "_transport")

    type = socket.SOCK_STREAM
    proto = socket.IPPROTO_TCP

    def __init__(
        self, transport: "Transport | DatagramTransport | Listener", sockname: tuple[Any, ...]
    ) -> None:
        self._transport = transport
        self._sockname = sockname
        self._kept: dict[tuple[int, int], int | bytes] = {}

    @property
    def family(self) -> socket.AddressFamily:
        """AF_INET or AF_INET6."""
        return socket.AF_INET if len(self._sockname) == 2 else socket.AF_INET6

    def fileno(self) -> int:
        """Return -1: the kernel does not know this socket."""
        return -1

    def getsockname(self) -> tuple[Any, ...]:
        """Return our address, also after the end."""
        return self._sockname

    def gettimeout(self) -> float:
        """Return 0: it does not block."""
        return 0.0

    def setsockopt(self, level: int, optname: int, value: int | bytes) -> None:
        """Set an option; OSError(ENOPROTOOPT) for one that ustack does not have."""
        if (level, optname) == _REUSEPORT:
            self._kept[_REUSEPORT] = value
            return
        option = _options.look_up(level, optname, to_set=True)
        self._transport._setopt(option.number, _options.unpack(level, optname, value))

    def getsockopt(self, level: int, optname: int, buflen: int = 0) -> int | bytes:
        """Return an option as an int, or as at most buflen bytes."""
        value: Any
        if (level, optname) == _REUSEPORT:
            value = self._kept.get(_REUSEPORT, 0)
        elif (level, optname) == (socket.SOL_SOCKET, socket.SO_DOMAIN):
            value = int(self.family)
        elif (level, optname) == (socket.SOL_SOCKET, socket.SO_TYPE):
            value = int(self.type)
        elif (level, optname) == (socket.SOL_SOCKET, socket.SO_PROTOCOL):
            value = self.proto
        else:
            value = self._transport._getopt(_options.look_up(level, optname).number)
        return _options.pack(level, optname, value, buflen)

    def __repr__(self) -> str:
        return f"<ustack.aio.{type(self).__name__} {self._sockname}>"


class ListenerSocket(_View):
    """The listening socket of a server."""

    __slots__ = ()

    def __init__(self, listener: "Listener") -> None:
        super().__init__(listener, listener.sockname)


class TransportSocket(_View):
    """A connection's socket, as get_extra_info("socket") gives it."""

    __slots__ = ("_bell", "_peername", "_rung")

    _transport: "Transport | DatagramTransport"

    def __init__(self, transport: "Transport | DatagramTransport") -> None:
        super().__init__(transport, transport.get_extra_info("sockname"))
        self._peername: tuple[Any, ...] | None = transport.get_extra_info("peername")
        self._bell = -1  # an eventfd, made when somebody asks
        self._rung = False

    def fileno(self) -> int:
        """Return a descriptor that can be polled: it is readable if there was anything to read,
        the end or an error among it, when fileno() was last called.

        HTTP clients ask so whether a connection that they kept is still good.
        """
        if self._bell < 0:
            self._bell = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        readable = self._transport._readable()
        if readable != self._rung:
            if readable:
                os.eventfd_write(self._bell, 1)
            else:
                os.eventfd_read(self._bell)
            self._rung = readable
        return self._bell

    def __del__(self) -> None:
        if getattr(self, "_bell", -1) >= 0:
            os.close(self._bell)

    def getpeername(self) -> tuple[Any, ...]:
        """Return the peer's address, also after the end; OSError(ENOTCONN) without a peer."""
        if self._peername is None:
            raise OSError(errno.ENOTCONN, os.strerror(errno.ENOTCONN))
        return self._peername


class DatagramSocket(TransportSocket):
    """The same of a UDP socket."""

    __slots__ = ()

    type = socket.SOCK_DGRAM
    proto = socket.IPPROTO_UDP
