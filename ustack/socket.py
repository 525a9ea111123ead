# SPDX-License-Identifier: BSD-3-Clause
"""The standard library's socket module, over the process's stack: `from ustack import socket`.

Everything that `socket` has is here under its name. `socket.socket` is a subclass of the standard
library's, and a socket of the kernel until it names an address that is the stack's: by bind to
one that the stack owns, by connect or sendto to one that it has a route to. From then on it is the
stack's; options that were set before are set again. A socket bound to the wildcard hears of both,
unless told otherwise. See `ustack.process` for which stack, and whose which address is.

A socket of the stack has no descriptor until fileno() is called. That makes a doorbell: it polls
as the socket does, for select, selectors, other event loops, but cannot be read or written.

Not here: the calls that move bytes (hotsocket.c), what the sockets of a stack can do (stream.py,
datagram.py), waiting for many of them without doorbells (selectors.py).
"""

import errno
import os
import select
import socket as _stdlib
import time
import types
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

__all__ = list(_stdlib.__all__)

# The names of the standard library, private ones too: functions below are run in this module.
globals().update({k: v for k, v in vars(_stdlib).items() if not k.startswith("__")})

_BOTH_TRIES = 8  # free ports of the kernel that the stack might use already
_HARMLESS = {  # options that the stack has no use for; they are kept and given back
    (_stdlib.SOL_SOCKET, _stdlib.SO_REUSEPORT),
    (_stdlib.SOL_SOCKET, _stdlib.SO_PRIORITY),
    (_stdlib.SOL_SOCKET, _stdlib.SO_SNDLOWAT),
    (_stdlib.SOL_SOCKET, _stdlib.SO_DONTROUTE),
    (_stdlib.IPPROTO_IP, 24),  # IP_BIND_ADDRESS_NO_PORT
    (_stdlib.IPPROTO_IP, 11),  # IP_RECVERR
    (_stdlib.IPPROTO_IPV6, 25),  # IPV6_RECVERR
}


class socket(HotSocket):
    """A socket of the kernel, or of the process's stack once it names an address of that."""

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

    # -------------------------------------------------------------------- addresses

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

    # ------------------------------------------------------------------------- data

    def _timed(self, call: Callable[[], Any]) -> Any:
        """Say "timed out" as the standard library does."""
        try:
            return call()
        except TimeoutError as error:
            if error.errno is None:
                raise TimeoutError("timed out") from None
            raise

    def _either(self, call: Callable[[Any], Any]) -> Any:
        """Make a call of whichever half has something first."""
        timeout = self.gettimeout()
        end = None if timeout is None else time.monotonic() + timeout
        while True:
            for half in (self._endpoint, self._twin):
                try:
                    return call(half)
                except BlockingIOError:
                    if timeout == 0 and half is self._twin:
                        raise
            poll = select.poll()
            poll.register(self.fileno(), select.POLLIN)
            left = None if end is None else end - time.monotonic()
            if left is not None and left <= 0:
                raise TimeoutError("timed out")
            poll.poll(None if left is None else left * 1000 + 1)

    def _take(self, name: str, *arguments: Any) -> Any:
        """Receive by a method of this name, the kernel's, the endpoint's, or either's."""
        if self._endpoint is None:
            return getattr(super(), name)(*arguments)
        if self._twin is not None:
            return self._either(lambda half: getattr(half, name)(*arguments))
        return self._timed(lambda: getattr(self._endpoint, name)(*arguments))

    def _recv(self, bufsize: int, flags: int = 0, /) -> bytes:
        if bufsize < 0:
            raise ValueError("negative buffersize in recv")
        data: bytes = self._take("recv", bufsize, flags)
        return data

    def _recv_into(self, buffer: Any, nbytes: int = 0, flags: int = 0) -> int:
        return int(self._take("recv_into", _arguments.writable(buffer, nbytes), 0, flags))

    def _send(self, data: Any, flags: int = 0, /) -> int:
        return int(self._timed(lambda: self._endpoint.send(data, flags)))

    def _sendall(self, data: Any, flags: int = 0, /) -> None:
        if self.type == _stdlib.SOCK_DGRAM:
            self._send(data, flags)
        else:
            self._timed(lambda: self._endpoint.sendall(data, flags))

    def recvfrom(self, bufsize: int, flags: int = 0, /) -> tuple[bytes, Any]:
        """Return (data, address of the sender); None for the address of a connected peer."""
        if self._endpoint is None:
            return super().recvfrom(bufsize, flags)
        if bufsize < 0:
            raise ValueError("negative buffersize in recvfrom")
        if self.type == _stdlib.SOCK_STREAM:
            return self._recv(bufsize, flags), None
        data, address = self._take("recvfrom", bufsize, flags)
        return data, address

    def recvfrom_into(self, buffer: Any, nbytes: int = 0, flags: int = 0) -> tuple[int, Any]:
        """Fill a buffer; (bytes, address of the sender)."""
        if self._endpoint is None:
            return super().recvfrom_into(buffer, nbytes, flags)
        view = _arguments.writable(buffer, nbytes)
        if self.type == _stdlib.SOCK_STREAM:
            return self._recv_into(view, 0, flags), None
        n, address = self._take("recvfrom_into", view, 0, flags)
        return n, address

    def recvmsg(self, bufsize: int, ancbufsize: int = 0, flags: int = 0, /) -> Any:
        """Return (data, ancillary data, msg_flags, address)."""
        if self._endpoint is None:
            return super().recvmsg(bufsize, ancbufsize, flags)
        if bufsize < 0:
            raise ValueError("negative buffer size in recvmsg()")
        _arguments.check_ancillary_size(ancbufsize, "recvmsg")
        return self._take("recvmsg", bufsize, ancbufsize, flags)

    def recvmsg_into(self, buffers: Any, ancbufsize: int = 0, flags: int = 0, /) -> Any:
        """Fill buffers; (bytes, ancillary data, msg_flags, address)."""
        if self._endpoint is None:
            return super().recvmsg_into(buffers, ancbufsize, flags)
        views = [_arguments.writable(buffer) for buffer in buffers]
        data, *rest = self.recvmsg(sum(map(len, views)), ancbufsize, flags)
        done = 0
        for view in views:
            part = data[done : done + len(view)]
            view[: len(part)] = part
            done += len(part)
        return len(data), *rest

    def sendto(self, data: Any, *arguments: Any) -> int:
        """Send data to an address: sendto(data, address) or sendto(data, flags, address)."""
        if self._endpoint is None and self._is_dgram_to(arguments):
            self._aim_dgram(arguments[-1])
        if self._endpoint is None:
            return super().sendto(data, *arguments)
        if len(arguments) not in (1, 2):
            raise TypeError(f"sendto() takes 2 or 3 arguments ({len(arguments) + 1} given)")
        _arguments.check_bytes(data)
        if not isinstance(arguments[-1], tuple):
            raise TypeError(f"an address is a tuple, not {type(arguments[-1]).__name__}")
        half, target = self._half_for(arguments[-1])
        return int(self._timed(lambda: half.sendto(data, *arguments[:-1], target)))

    def _is_dgram_to(self, arguments: tuple[Any, ...]) -> bool:
        return self.type == _stdlib.SOCK_DGRAM and bool(arguments)

    def _aim_dgram(self, address: Any) -> None:
        if self._is_plain() and super().fileno() >= 0:
            self._aim(address)

    def _half_for(self, address: Any) -> tuple[Any, Any]:
        """Return whoever sends to an address, and the address with its host as a number."""
        target = self._numeric(address) or address
        if self._twin is not None and process.place_of_peer(*target[:2]) is Place.KERNEL:
            return self._twin, target
        return self._endpoint, target

    def sendmsg(
        self, buffers: Any, ancdata: Any = (), flags: int = 0, address: Any = None, /
    ) -> int:
        """Send the bytes of several buffers, as one datagram where there are datagrams."""
        if self._endpoint is None and address is not None:
            self._aim_dgram(address)
        if self._endpoint is None:
            return super().sendmsg(buffers, ancdata, flags, address)
        data = b"".join([memoryview(buffer) for buffer in buffers])
        messages = [_arguments.parse_message(*message) for message in ancdata]
        if address is not None and not isinstance(address, tuple):
            raise TypeError(f"an address is a tuple, not {type(address).__name__}")
        if self.type == _stdlib.SOCK_STREAM:
            for level, kind, _ in messages:
                raise OSError(errno.EINVAL, f"ancillary data {kind} of level {level}")
            return self._send(data, flags)
        half, target = (self._endpoint, None) if address is None else self._half_for(address)
        return int(self._timed(lambda: half.sendmsg([data], messages, flags, target)))

    def _sendfile_use_sendfile(self, file: Any, offset: int = 0, count: int | None = None) -> int:
        """Send a regular file; there is no descriptor that the kernel could copy it to."""
        if self._endpoint is None:
            return int(super()._sendfile_use_sendfile(file, offset, count))  # type: ignore[misc]
        self._check_sendfile_params(file, offset, count)  # type: ignore[attr-defined]
        try:
            size = os.fstat(file.fileno()).st_size
        except (AttributeError, OSError) as error:
            raise _stdlib._GiveupOnSendfile(error) from None  # type: ignore[attr-defined]
        if not size:
            return 0
        return int(self._sendfile_use_send(file, offset, count))  # type: ignore[attr-defined]

    def shutdown(self, how: int, /) -> None:
        """End sending, receiving, or both."""
        if self._endpoint is None:
            super().shutdown(how)
        else:
            self._endpoint.shutdown(how)

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
        if (level, optname) in _HARMLESS:
            value = self._options.get((level, optname), (0,))[0]
            return value if not arguments else int(value).to_bytes(4, "little")[: arguments[0]]
        return self._endpoint.getsockopt(level, optname, *arguments)

    def settimeout(self, value: float | None, /) -> None:
        """Let calls last value seconds; None: for ever, 0: do not block."""
        self._let_block(lambda: super(socket, self).settimeout(value))

    def setblocking(self, flag: bool, /) -> None:
        """Block for ever, or not at all."""
        self._let_block(lambda: super(socket, self).setblocking(flag))

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
            other, endpoint.family, endpoint.type, 0, fd if spare is None else spare.detach()
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
        names = f"laddr={self.getsockname()}"
        try:
            names += f", raddr={self.getpeername()}"
        except OSError:
            pass
        return (
            f"<{type(self).__module__}.{type(self).__qualname__} fd={super().fileno()},"
            f" family={self.family!s}, type={self.type!s}, proto={self.proto}, {names}>"
        )


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
