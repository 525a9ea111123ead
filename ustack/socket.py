# SPDX-License-Identifier: BSD-3-Clause
"""The standard library's socket module, over the process's stack: `from ustack import socket`.

Everything that `socket` has is here under its name. `socket.socket` is a subclass of the standard
library's, and a socket of the kernel until it names an address that is the stack's: by bind to
one that the stack owns, by connect or sendto to one that it has a route to. From then on it is the
stack's; options that were set before are set again. A socket bound to the wildcard hears of both,
unless told otherwise. See `ustack.process` for which stack, and whose which address is.

A socket of the stack has no descriptor until fileno() is called. That makes a doorbell: it polls
as the socket does, for select, selectors, other event loops, but cannot be read or written.

Here are the calls that take addresses, and the module's functions. Not here: whose a socket is, its
options and descriptors (_placed_socket.py), the calls that move data (hotsocket.c, _data_calls.py),
what the sockets of a stack can do (stream.py, datagram.py), waiting for many of them without
doorbells (selectors.py).
"""

import errno
import socket as _stdlib
import types
from typing import Any

from ustack import _sharing, process
from ustack._data_calls import DataCalls
from ustack._sharing import Shared
from ustack.process import Place

__all__ = list(_stdlib.__all__)

# The names of the standard library, private ones too: functions below are run in this module.
globals().update({k: v for k, v in vars(_stdlib).items() if not k.startswith("__")})

_BOTH_TRIES = 8  # free ports of the kernel that the stack might use already


class socket(DataCalls):
    """A socket of the kernel, or of the process's stack once it names an address of that."""

    __slots__ = ()

    def bind(self, address: Any) -> None:
        """Take a local address, and be whoever's whose it is."""
        target = self._numeric(address)
        if self._endpoint is not None and target is not None:
            self._endpoint.bind(target)
            return
        place = Place.KERNEL if target is None else process.place_to_bind(*target[:2])
        if place is Place.BOTH:
            self._bind_both(target)
            return
        endpoint = self._new_endpoint() if place is Place.USTACK else None
        if endpoint is None:
            super().bind(address)
            return
        try:
            endpoint.bind(target)
        except BaseException:
            endpoint.close()
            raise
        self._become(endpoint)

    def _bind_both(self, target: Any) -> None:
        for left in reversed(range(_BOTH_TRIES)):
            twin = _stdlib.socket(self.family, self.type, self.proto)
            endpoint = self._new_endpoint()
            try:
                for (level, name), arguments in self._options.items():
                    twin.setsockopt(level, name, *arguments)
                twin.bind(target)
                if endpoint is not None:
                    endpoint.bind((target[0], twin.getsockname()[1]))
                    self._become(endpoint, twin)
                return
            except BaseException as error:
                twin.close()
                if endpoint is not None:
                    endpoint.close()
                taken = isinstance(error, OSError) and error.errno == errno.EADDRINUSE
                if target[1] != 0 or not taken or left == 0:
                    raise

    def listen(self, backlog: int = min(_stdlib.SOMAXCONN, 128), /) -> None:
        """Wait for connections. backlog: how many may wait to be accepted."""
        if self._endpoint is None and self._numeric(("", 0)) and super().getsockname()[1] == 0:
            self.bind(("", 0))
        if self._endpoint is None:
            super().listen(backlog)
            return
        if not isinstance(backlog, int):
            raise TypeError(f"backlog must be an int, got {type(backlog).__name__}")
        if self._twin is not None:
            self._twin.listen(backlog)
        self._endpoint.listen(backlog)

    def accept(self) -> tuple[_stdlib.socket, Any]:
        """Return the next connection, as a socket, and the address of its peer."""
        if self._endpoint is None:
            conn, address = super().accept()
            return socket(fileno=conn.detach()), address
        if self._twin is None:
            conn, address = self._timed(self._endpoint.accept)
        else:
            conn, address = self._either(lambda half: half.accept())
        if not isinstance(conn, Shared):
            return socket(fileno=conn.detach()), address
        accepted = self._sibling(conn, socket)
        accepted.settimeout(_stdlib.getdefaulttimeout())
        return accepted, address

    def connect(self, address: Any) -> None:
        """Connect, and be whoever's who reaches the address."""
        target = self._aim(address)
        if self._endpoint is None or target is None:
            super().connect(address)
        else:
            self._timed(lambda: self._endpoint.connect(target))

    def connect_ex(self, address: Any) -> int:
        """Do as `connect`, but return the errno, 0 for success."""
        target = self._aim(address)
        if self._endpoint is None or target is None:
            return super().connect_ex(address)
        return int(self._endpoint.connect_ex(target))

    def getsockname(self) -> Any:
        """Return our address."""
        return super().getsockname() if self._endpoint is None else self._endpoint.getsockname()

    def getpeername(self) -> Any:
        """Return the peer's address."""
        return super().getpeername() if self._endpoint is None else self._endpoint.getpeername()


def _here(function: types.FunctionType) -> Any:
    """Return a function of the standard library that makes sockets of this module."""
    own = types.FunctionType(
        function.__code__,
        globals(),
        function.__name__,
        function.__defaults__,
        function.__closure__,
    )
    own.__kwdefaults__ = function.__kwdefaults__
    own.__doc__ = function.__doc__
    own.__module__ = __name__
    return own


def close(fd: int) -> None:
    """Close a socket's descriptor; a doorbell's with the socket of the stack."""
    doorbell = _sharing.find(fd)
    if doorbell is not None and doorbell.fd == fd:
        doorbell.endpoint.close()
        doorbell.close()
    _stdlib.close(fd)


create_connection = _here(_stdlib.create_connection)  # type: ignore[arg-type]
create_server = _here(_stdlib.create_server)  # type: ignore[arg-type]
has_dualstack_ipv6 = _here(_stdlib.has_dualstack_ipv6)  # type: ignore[arg-type]
fromfd = _here(_stdlib.fromfd)  # type: ignore[arg-type]
socketpair = _here(_stdlib.socketpair)  # type: ignore[arg-type]
