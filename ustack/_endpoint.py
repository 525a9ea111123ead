# SPDX-License-Identifier: BSD-3-Clause
"""What TCP and UDP sockets have in common: a handle, a family, a timeout, options and names.

Not here: connections and byte streams (stream.py), datagrams (datagram.py), addresses as the engine
takes them (_sockaddr.py).
"""

import errno
import os
import socket
import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar, Self

from ustack import _options
from ustack._native import NOT_YET, SLICE_NS, check, ffi, insist, lib
from ustack._sockaddr import Address, make_address, read_address, show_address

if TYPE_CHECKING:
    from typing_extensions import Buffer

    from ustack.stack import Stack

__all__ = ["CLOSED", "Endpoint", "length_within", "message_flags", "scratch"]

CLOSED = -1

_MSG_FLAGS = {
    socket.MSG_PEEK: lib.UST_MSG_PEEK,
    socket.MSG_MORE: lib.UST_MSG_MORE,
    socket.MSG_DONTWAIT: 0,
    socket.MSG_NOSIGNAL: 0,
    socket.MSG_WAITALL: 0,
    socket.MSG_OOB: lib.UST_MSG_OOB,
    socket.MSG_TRUNC: lib.UST_MSG_TRUNC,
}

_SCRATCH_LEN = 256 * 1024
_allocate = ffi.new_allocator(should_clear_after_alloc=False)


class scratch:
    """A buffer that recv() fills before it makes bytes of it; kept for the next one.

    A list's pop and append are atomic, so that threads and signal handlers can use it any time.
    """

    __slots__ = ("_buf", "_size")

    _spare: ClassVar[list[Any]] = []

    def __init__(self, size: int) -> None:
        self._size = size

    def __enter__(self) -> Any:
        if self._size > _SCRATCH_LEN:
            self._buf = _allocate("uint8_t[]", self._size)
        else:
            try:
                self._buf = self._spare.pop()
            except IndexError:
                self._buf = _allocate("uint8_t[]", _SCRATCH_LEN)
        return self._buf

    def __exit__(self, *exc_info: object) -> None:
        if self._size <= _SCRATCH_LEN:
            self._spare.append(self._buf)


class Endpoint:
    """A socket of a stack, of whatever protocol.

    Threads may share it. Closing it while another thread waits on it ends that wait with EBADF.
    """

    __slots__ = ("__weakref__", "_family", "_handle", "_slice", "_stack", "_timeout", "_worker")

    _kind: ClassVar[socket.SocketKind]
    _protocol: ClassVar[int]

    def __init__(
        self, stack: "Stack", family: int = socket.AF_INET, *, handle: int | None = None
    ) -> None:
        """Make a new socket, or take over one that `detach` gave away.

        Raises OSError(ENFILE or ENOBUFS) when the stack's sockets are used up.
        """
        self._handle = CLOSED
        self._stack = stack
        self._worker = stack._worker
        self._family = socket.AddressFamily(family)
        if family not in (socket.AF_INET, socket.AF_INET6):
            raise OSError(
                errno.EAFNOSUPPORT,
                f"{os.strerror(errno.EAFNOSUPPORT)}: {family}; AF_INET and AF_INET6 are",
            )
        self.settimeout(None)
        self._handle = check(self._open(), "socket") if handle is None else handle
        stack._sockets.add(self)

    def _open(self) -> int:
        """Return the handle of a new socket, or a negative errno."""
        raise NotImplementedError

    def bind(self, address: Address) -> None:
        """Take a local address; host "" is every address of the stack, port 0 a free port."""
        addr, port = read_address(address, self._family)
        result = lib.ust_worker_bind(self._worker, self._handle, addr, port)
        check(result, f"bind to {show_address(address)}")

    def shutdown(self, how: int) -> None:
        """End sending (SHUT_WR), receiving (SHUT_RD) or both (SHUT_RDWR)."""
        check(lib.ust_worker_shutdown(self._worker, self._handle, how), "shutdown")

    def close(self) -> None:
        """Close in order: what was sent is still delivered. Closing twice is harmless."""
        lib.ust_worker_close(self._worker, self.detach())

    def detach(self) -> int:
        """Give the socket away without closing it: the handle, -1 if there is none.

        A new socket with `handle=…` takes it over.
        """
        handle, self._handle = self._handle, CLOSED
        self._stack._sockets.discard(self)
        return handle

    @property
    def closed(self) -> bool:
        """Whether close(), abort() or detach() was called."""
        return self._handle == CLOSED

    # ------------------------------------------------------------------------- data

    def recv(self, size: int, flags: int = 0) -> bytes:
        """Return at most size bytes, as soon as there are any; b"" at the end of a stream."""
        if size < 0:
            raise ValueError(f"size must be at least 0, got {size}")
        with scratch(size) as buf:
            return bytes(ffi.buffer(buf, min(self._recv(buf, size, flags), size)))

    def recv_into(self, buffer: "Buffer", nbytes: int = 0, flags: int = 0) -> int:
        """Fill a writable buffer, its first nbytes if not 0; the number of bytes, 0 at the end."""
        with ffi.from_buffer("uint8_t[]", buffer, require_writable=True) as buf:
            return self._recv(buf, length_within(buf, nbytes), flags)

    def send(self, data: "Buffer", flags: int = 0) -> int:
        """Send bytes, waiting until there is room; how many were taken."""
        if type(data) is bytes:
            return self._send(data, len(data), flags)
        with ffi.from_buffer("uint8_t[]", data) as buf:
            return self._send(buf, len(buf), flags)

    def _recv(self, buf: Any, size: int, flags: int) -> int:
        raise NotImplementedError

    def _send(self, buf: Any, size: int, flags: int) -> int:
        raise NotImplementedError

    def _insist(
        self, result: int, verb: str, call: Callable[[int], int], timeout: float | None
    ) -> int:
        """Go on with a call that failed at first; its result, or an exception that says why."""
        if timeout != 0 and result in NOT_YET:
            result = insist(result, timeout, call)
            if result in NOT_YET:
                raise TimeoutError(f"{verb} on {self} timed out after {self._timeout:g} s")
        return result if result >= 0 else check(result, f"{verb} on {self}")

    # ---------------------------------------------------------------------- waiting

    def settimeout(self, value: float | None) -> None:
        """Let blocking calls last value seconds; None: for ever, 0: do not block."""
        if value is not None and not value >= 0:
            raise ValueError(f"timeout must be at least 0 seconds, got {value}")
        self._timeout = value if value is None else float(value)
        self._slice = SLICE_NS if value is None else min(int(value * 1e9), SLICE_NS)

    def gettimeout(self) -> float | None:
        """Return the timeout in seconds; None: for ever, 0: does not block."""
        return self._timeout

    def setblocking(self, flag: bool) -> None:
        """Block for ever (True) or not at all (False)."""
        self.settimeout(None if flag else 0.0)

    def getblocking(self) -> bool:
        """Return whether calls may block."""
        return self._timeout != 0

    # ---------------------------------------------------------------------- options

    def setsockopt(
        self, level: int, optname: int, value: "int | Buffer | None", optlen: int | None = None
    ) -> None:
        """Set an option, by the numbers of the standard library's socket module.

        Raises OSError(ENOPROTOOPT) for one that ustack does not have: none is ignored.
        """
        if value is None or optlen is not None:
            raise TypeError("setsockopt takes an int or a buffer")
        option = _options.look_up(level, optname, to_set=True, family=self._family)
        number = _options.unpack(level, optname, value)  # type: ignore[arg-type]
        result = lib.ust_worker_setopt(self._worker, self._handle, option.number, number)
        check(result, f"option {optname} of level {level} to {number}")

    def getsockopt(self, level: int, optname: int, buflen: int = 0) -> int | bytes:
        """Return an option as an int, or as at most buflen bytes when buflen is not 0."""
        if not 0 <= buflen <= 1024:
            raise OSError(errno.EINVAL, f"buflen must be 0..1024, got {buflen}")
        return _options.pack(level, optname, self._getsockopt(level, optname), buflen)

    def _getsockopt(self, level: int, optname: int) -> int:
        fixed = {
            socket.SO_DOMAIN: int(self._family),
            socket.SO_TYPE: int(self._kind),
            socket.SO_PROTOCOL: self.proto,
        }
        if level == socket.SOL_SOCKET and optname in fixed:
            return fixed[optname]
        option = _options.look_up(level, optname, family=self._family)
        return self._get(option.number, f"option {optname} of level {level}")

    def _get(self, number: int, what: str) -> int:
        value = ffi.new("int64_t *")
        check(lib.ust_worker_getopt(self._worker, self._handle, number, value), what)
        return int(value[0])

    def ioctl(self, request: int) -> int:
        """Return what SIOCINQ, SIOCOUTQ, SIOCOUTQNSD or SIOCATMARK tells, by Linux's numbers.

        Bytes to read; bytes that are not acknowledged; those of them that are not sent; whether
        the next byte to read is the urgent one. OSError(ENOTTY) for any other.
        """
        if request not in _options.IOCTLS:
            raise OSError(errno.ENOTTY, f"{os.strerror(errno.ENOTTY)}: request {request:#x}")
        return self._get(_options.IOCTLS[request], f"ioctl {request:#x}")

    # ------------------------------------------------------------------------ names

    def getsockname(self) -> Address:
        """Return our address: (host, port), with two more numbers for IPv6."""
        return self._names()[0]

    def getpeername(self) -> Address:
        """Return the peer's address; OSError(ENOTCONN) when there is none."""
        peer = self._names()[1]
        if not self._is_peer(peer):
            raise OSError(errno.ENOTCONN, f"{os.strerror(errno.ENOTCONN)}: getpeername")
        return peer

    def _is_peer(self, remote: Address) -> bool:
        return remote[1] != 0

    def _names(self) -> tuple[Address, Address]:
        addrs, ports = ffi.new("struct ust_addr[2]"), ffi.new("uint16_t[2]")
        result = lib.ust_worker_names(
            self._worker, self._handle, addrs, ports, addrs + 1, ports + 1
        )
        check(result, "getsockname")
        return self._address(addrs[0], ports[0]), self._address(addrs[1], ports[1])

    def _address(self, addr: Any, port: int, iface: int = -1) -> Address:
        return make_address(self._family, addr, port, iface)

    @property
    def stack(self) -> "Stack":
        """The stack that the socket belongs to."""
        return self._stack

    @property
    def family(self) -> socket.AddressFamily:
        """AF_INET or AF_INET6; an IPv6 socket shows IPv4 addresses as ::ffff:10.9.0.1."""
        return self._family

    @property
    def type(self) -> socket.SocketKind:
        """SOCK_STREAM or SOCK_DGRAM."""
        return self._kind

    @property
    def proto(self) -> int:
        """IPPROTO_TCP, IPPROTO_UDP, or of a ping socket IPPROTO_ICMP or IPPROTO_ICMPV6."""
        return self._protocol

    def __repr__(self) -> str:
        name = f"ustack.{type(self).__name__}"
        if self.closed:
            return f"<{name} closed>"
        try:
            local, remote = self._names()
            state = self._state()
        except OSError:
            return f"<{name} gone>"
        peer = f" -> {show_address(remote)}" if self._is_peer(remote) else ""
        return f"<{name} {show_address(local)}{peer}{state}>"

    def _state(self) -> str:
        """Return what repr() says of the protocol's state, after a space."""
        return ""

    # --------------------------------------------------------------------- lifetime

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def __del__(self) -> None:
        if getattr(self, "_handle", CLOSED) != CLOSED:
            warnings.warn(f"unclosed {self!r}", ResourceWarning, stacklevel=2, source=self)
            self.close()


def length_within(buf: Any, nbytes: int) -> int:
    """Return how much of a buffer to fill: nbytes, all of it for 0."""
    if not 0 <= nbytes <= len(buf):
        raise ValueError(f"nbytes must be 0..{len(buf)}, got {nbytes}")
    return nbytes or len(buf)


def message_flags(flags: int, but: int = 0) -> int:
    """Return Linux's MSG_* flags as the engine's; OSError(EOPNOTSUPP) for others, and for but."""
    result, known = 0, 0
    for flag, ours in _MSG_FLAGS.items():
        known |= flag
        if flags & flag:
            result |= ours
    known &= ~but
    if flags & ~known:
        raise OSError(
            errno.EOPNOTSUPP,
            f"{os.strerror(errno.EOPNOTSUPP)}: flags {flags:#x}; ustack knows {known:#x}",
        )
    return result
