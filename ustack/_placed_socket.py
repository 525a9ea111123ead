# SPDX-License-Identifier: BSD-3-Clause
"""Whose a socket is, the kernel's or a stack's: what lies below `ustack.socket.socket`.

It begins as the kernel's. Naming an address of the stack makes it the stack's (`_aim`, and bind):
it then has an endpoint, with the options that were set before. Bound to the wildcard it has both,
an endpoint and a twin of the kernel's, until it names a peer (`_choose`).

Always: without an endpoint there is neither twin nor doorbell; what HotSocket's fast calls use
(`_own`) is this endpoint's; endpoint and twin never block while there are both.

Here is also what must know both halves: options, timeouts, descriptors, the end. Not here: whose
an address is (process.py), the calls that take addresses (socket.py) or move data (_data_calls.py).
"""

import contextlib
import errno
import operator
import os
import select
import socket as _stdlib
import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Self

from ustack import _arguments, _sharing, process
from ustack._native import ffi, load_module
from ustack._sharing import Doorbell, Shared
from ustack.process import Place

load_module("ustack._hotsocket")

from ustack._hotsocket import HotSocket  # noqa: E402

if TYPE_CHECKING:
    from ustack.datagram import UdpSocket
    from ustack.stream import Socket

__all__ = ["PlacedSocket"]

_HARMLESS = {  # options that the stack has no use for; they are kept and given back
    (_stdlib.SOL_SOCKET, _stdlib.SO_REUSEPORT),
    (_stdlib.SOL_SOCKET, _stdlib.SO_PRIORITY),
    (_stdlib.SOL_SOCKET, _stdlib.SO_SNDLOWAT),
    (_stdlib.SOL_SOCKET, _stdlib.SO_DONTROUTE),
    (_stdlib.IPPROTO_IP, 24),  # IP_BIND_ADDRESS_NO_PORT
    (_stdlib.IPPROTO_IP, 11),  # IP_RECVERR
    (_stdlib.IPPROTO_IPV6, 25),  # IPV6_RECVERR
}


class PlacedSocket(HotSocket):
    """A socket of the kernel's, or of the process's stack, or for a while of both."""

    __slots__ = ("_bell", "_endpoint", "_options", "_stack", "_twin")

    _endpoint: Any  # the Shared, or None
    _twin: Any  # the kernel's half of what is bound to both, or None
    _bell: Any  # the Doorbell, once fileno() was called
    _options: dict[tuple[int, int], tuple[Any, ...]]  # what setsockopt was given
    _stack: Any  # that it belongs to: alive while this is

    def __init__(
        self, family: int = -1, type: int = -1, proto: int = -1, fileno: int | None = None
    ) -> None:
        """Make a new socket, or take over a descriptor, a doorbell's too."""
        self._clear()
        found = None if fileno is None else _sharing.claim(fileno)
        if found is not None:
            family, type, proto = found[0].family, found[0].type, 0
        super().__init__(family, type, proto, fileno)
        if found is not None:
            self._become(found[0])
            self._bell = found[1] or Doorbell(found[0], super().fileno())

    def _clear(self) -> None:
        self._endpoint = self._twin = self._bell = self._stack = None
        self._options = {}

    # ------------------------------------------------------------------ whose it is

    @property
    def endpoint(self) -> "Socket | UdpSocket | None":
        """The socket of the stack that this is; None while it is the kernel's."""
        return self._endpoint  # type: ignore[no-any-return]

    def _become(self, endpoint: Shared, twin: _stdlib.socket | None = None) -> None:
        """Be a socket of the stack from now on, and with a twin of the kernel, too."""
        self._endpoint, self._twin, self._stack = endpoint, twin, endpoint.stack
        worker = int(ffi.cast("uintptr_t", endpoint._worker))
        is_udp = endpoint.type == _stdlib.SOCK_DGRAM
        self._own(worker, endpoint._handle, is_udp, twin is not None)
        self._share_timeout()

    def _new_endpoint(self) -> Shared | None:
        """Return a socket of the stack with this one's options; None if it cannot have one."""
        endpoint = _sharing.open_endpoint(
            process.current(), self.family, self.type & 0xF, self.proto
        )
        try:
            for (level, name), arguments in self._options.items():
                if endpoint is not None and (level, name) not in _HARMLESS:
                    endpoint.setsockopt(level, name, *arguments)
        except BaseException:
            endpoint.close()  # type: ignore[union-attr]
            raise
        return endpoint

    def _numeric(self, address: Any) -> Any:
        """Return address with its host as a number; None if it can only be the kernel's.

        Raises socket.gaierror for a name that the kernel's resolver does not know.
        """
        if self.family not in (_stdlib.AF_INET, _stdlib.AF_INET6) or not self._is_plain():
            return None
        if not isinstance(address, tuple) or not 2 <= len(address) <= 4:
            return None
        host, port = address[:2]
        if not isinstance(port, int) or not 0 <= port <= 0xFFFF or any(address[2:3]):
            return None
        if isinstance(host, bytes | bytearray):
            host = host.decode("ascii")
        if not isinstance(host, str) or "\0" in host:
            return None
        return _arguments.to_number(host, self.family), *address[1:]

    def _is_plain(self) -> bool:
        return self.type in (_stdlib.SOCK_STREAM, _stdlib.SOCK_DGRAM)

    def _aim(self, address: Any) -> Any:
        """Become whoever's who reaches a peer; its address for an endpoint, None for the kernel."""
        target = self._numeric(address)
        if target is None or (self._endpoint is not None and self._twin is None):
            return target
        ours = process.place_of_peer(*target[:2]) is Place.USTACK
        if self._twin is not None:
            self._choose(ours)
        elif ours and super().getsockname()[1] == 0:
            endpoint = self._new_endpoint()
            if endpoint is not None:
                self._become(endpoint)
        return target if self._endpoint is not None else None

    def _choose(self, ours: bool) -> None:
        """Be one half only of what was bound to both."""
        endpoint, twin = self._endpoint, self._twin
        assert endpoint is not None and twin is not None
        self._twin = None
        if ours:
            twin.close()
            self._become(endpoint)
            return
        self._forget()
        endpoint.close()
        os.dup2(twin.fileno(), super().fileno(), os.get_inheritable(super().fileno()))
        twin.close()
        super().settimeout(super().gettimeout())

    def _forget(self) -> None:
        """Be the kernel's again; what the endpoint was is the caller's."""
        bell, self._bell, self._endpoint = self._bell, None, None
        self._own(0, 0, False, False)
        if bell is not None:
            fd = bell.fd
            bell.close()
            if fd != super().fileno():
                os.close(fd)

    # ------------------------------------------------------------ options and times

    def setsockopt(self, level: int, optname: int, *arguments: Any) -> None:
        """Set an option; what the stack has no use for is kept, what it cannot do is refused."""
        if self._endpoint is None:
            super().setsockopt(level, optname, *arguments)
        elif (level, optname) not in _HARMLESS:
            self._endpoint.setsockopt(level, optname, *arguments)
            if self._twin is not None:
                self._twin.setsockopt(level, optname, *arguments)
        self._options[level, optname] = arguments

    def getsockopt(self, level: int, optname: int, *arguments: Any) -> Any:
        """Return an option as an int, or as at most so many bytes."""
        if self._endpoint is None:
            return super().getsockopt(level, optname, *arguments)
        if (operator.index(level), operator.index(optname)) not in _HARMLESS:
            return self._endpoint.getsockopt(level, optname, *arguments)
        value = self._options.get((level, optname), (0,))[0]
        raw = value.to_bytes(4, "little") if isinstance(value, int) else bytes(value)
        return raw[: arguments[0]] if any(arguments) else int.from_bytes(raw[:4], "little")

    def settimeout(self, value: float | None, /) -> None:
        """Let calls last value seconds; None: for ever, 0: do not block."""
        self._let_block(lambda: super(PlacedSocket, self).settimeout(value))

    def setblocking(self, flag: bool, /) -> None:
        """Block for ever, or not at all."""
        self._let_block(lambda: super(PlacedSocket, self).setblocking(flag))

    def _let_block(self, call: Callable[[], None]) -> None:
        try:
            call()
        except OSError:  # it has taken the value; only, there is no descriptor
            if self._endpoint is None or super().fileno() != -1:
                raise
        self._share_timeout()

    def _share_timeout(self) -> None:
        timeout = self.gettimeout()
        self._set_timeout_ns(_arguments.to_ns(timeout))
        if self._endpoint is not None:
            self._endpoint.settimeout(timeout if self._twin is None else 0)
        if self._twin is not None:
            self._twin.settimeout(0)

    # ------------------------------------------------------------------ descriptors

    def fileno(self) -> int:
        """Return a descriptor: the kernel's socket, or a doorbell. -1 once closed."""
        if self._endpoint is None or self._bell is not None or self._endpoint.closed:
            return super().fileno()
        if self._twin is not None:
            self._bell = Doorbell(self._endpoint)
            with select.epoll() as both:
                both.register(self._twin.fileno(), select.EPOLLIN)
                both.register(self._bell.fd, select.EPOLLIN)
                os.dup2(both.fileno(), super().fileno(), inheritable=False)
        else:
            self._bell = Doorbell(self._endpoint, super().fileno())
            timeout = self.gettimeout()
            if super().fileno() < 0:
                super().__init__(self.family, self.type, self.proto, self._bell.fd)
            super().settimeout(timeout)
        return super().fileno()

    def _sibling(self, endpoint: Shared, kind: "type[Self]") -> Self:
        """Return another object, without a descriptor so far, for a socket of the stack."""
        other = kind.__new__(kind)
        other._clear()
        fd = super().fileno() if self._twin is None else -1  # that may be an epoll's
        spare = _stdlib.socket(endpoint.family, endpoint.type) if fd < 0 else None
        HotSocket.__init__(
            other,
            endpoint.family,
            endpoint.type,
            self.proto,
            fd if spare is None else spare.detach(),
        )
        gone = _stdlib.socket.detach(other)
        other._closed = False  # type: ignore[attr-defined]
        if spare is not None:
            os.close(gone)
        other._become(endpoint)
        return other

    def dup(self) -> Self:
        """Return another object for the same socket."""
        if self._endpoint is None:
            return super().dup()
        if self._twin is not None:
            raise OSError(errno.EOPNOTSUPP, "dup of a socket bound to both kernel and stack")
        other = self._sibling(self._endpoint.share(), type(self))
        other.settimeout(self.gettimeout())
        return other

    def detach(self) -> int:
        """Give the socket away; its descriptor, by which socket(fileno=…) finds it again."""
        if self._endpoint is None:
            return super().detach()
        self.fileno()
        bell, self._bell, self._endpoint = self._bell, None, None
        if bell is not None:
            _sharing.leave(bell)
        self._own(0, 0, False, False)
        return super().detach()

    def _real_close(self, *arguments: Any) -> None:
        endpoint, twin = self._endpoint, self._twin
        if endpoint is not None:
            self._forget()
            self._twin = None
            endpoint.close()
        if twin is not None:
            twin.close()
        super()._real_close(*arguments)  # type: ignore[misc]

    def __del__(self) -> None:
        if getattr(self, "_endpoint", None) is None:
            return super().__del__()  # type: ignore[misc,no-any-return]
        warnings.warn(f"unclosed {self!r}", ResourceWarning, stacklevel=1, source=self)
        return self._real_close()

    def __repr__(self) -> str:
        if self._endpoint is None or self._endpoint.closed:
            return super().__repr__()
        names = ""
        with contextlib.suppress(OSError):  # that it has no peer, or that the stack is gone
            names += f", laddr={self.getsockname()}"
            names += f", raddr={self.getpeername()}"
        return (
            f"<{type(self).__module__}.{type(self).__qualname__} fd={super().fileno()},"
            f" family={self.family!s}, type={self.type!s}, proto={self.proto}{names}>"
        )
