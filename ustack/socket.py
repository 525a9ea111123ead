# SPDX-License-Identifier: BSD-3-Clause
"""Blocking and non-blocking TCP sockets on a stack, in the manner of the standard library's.

A call takes the engine's lock, does its work, sends what is due and returns: one call into C.
Where it would block, the calling thread drives the engine until there is something; several
threads may wait at once. Every blocking call notices Ctrl-C and its timeout within 100 ms.

Failures are OSErrors with Linux's errno, and so of the right subclass: ConnectionRefusedError,
BrokenPipeError, BlockingIOError … A call that outlasts settimeout() raises TimeoutError.

Not here: name resolution, file descriptors (a socket has none), UDP.
"""

import errno
import os
import socket
import time
import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Self, TypeAlias

from ustack import _options
from ustack._native import (
    NOT_YET,
    SLICE_NS,
    check,
    ffi,
    format_address,
    insist,
    lib,
    pack_address,
    unpack_address,
)
from ustack.tcp_info import TcpInfo

if TYPE_CHECKING:
    from typing_extensions import Buffer

    from ustack.stack import Stack

__all__ = ["Address", "Socket"]

#: (host, port); IPv6 also as (host, port, flowinfo, scope_id), of which the last two must be 0.
Address: TypeAlias = tuple[str, int] | tuple[str, int, int, int]

_CLOSED = -1
_DEFAULT: Any = object()

_MSG_FLAGS = {
    socket.MSG_PEEK: lib.UST_MSG_PEEK,
    socket.MSG_MORE: lib.UST_MSG_MORE,
    socket.MSG_DONTWAIT: 0,
    socket.MSG_NOSIGNAL: 0,
    socket.MSG_WAITALL: 0,
}

# Buffers that recv() fills before it makes bytes of them. A list's pop and append are atomic, so
# that threads and signal handlers can use it at any time.
_SCRATCH_LEN = 256 * 1024
_allocate = ffi.new_allocator(should_clear_after_alloc=False)
_scratch: list[Any] = []


class Socket:
    """A TCP socket of a stack; see `Stack.socket`, `Stack.listen` and `Stack.connect`.

    Threads may share it. Closing it while another thread waits on it ends that wait with EBADF.
    """

    __slots__ = ("__weakref__", "_family", "_handle", "_slice", "_stack", "_timeout", "_worker")

    def __init__(
        self, stack: "Stack", family: int = socket.AF_INET, *, handle: int | None = None
    ) -> None:
        """Make a new socket, or take over one that `detach` gave away.

        Raises OSError(ENFILE or ENOBUFS) when the stack's sockets are used up.
        """
        self._handle = _CLOSED
        self._stack = stack
        self._worker = stack._worker
        self._family = socket.AddressFamily(family)
        self.settimeout(None)
        if handle is None:
            handle = check(lib.ust_worker_socket(self._worker), "socket")
        self._handle = handle
        stack._sockets.add(self)

    # ------------------------------------------------------------------ connections

    def bind(self, address: Address) -> None:
        """Take a local address; host "" is every address of the stack, port 0 a free port."""
        addr, port = _parse(address)
        result = lib.ust_worker_bind(self._worker, self._handle, addr, port)
        check(result, f"bind to {_text(address)}")
        self._family = _family_of(address)

    def listen(self, backlog: int = 128) -> None:
        """Wait for connections. backlog: how many may wait to be accepted."""
        check(lib.ust_worker_listen(self._worker, self._handle, max(backlog, 0)), "listen")

    def accept(self) -> tuple["Socket", Address]:
        """Return the next connection, which blocks, and the address of its peer."""
        addr, port = ffi.new("struct ust_addr *"), ffi.new("uint16_t *")

        def accept(slice_ns: int) -> int:
            return int(lib.ust_worker_accept(self._worker, self._handle, addr, port, slice_ns))

        handle = accept(self._slice)
        if handle < 0:
            handle = self._insist(handle, "accept", accept, self._timeout)
        conn = type(self)._adopt(self._stack, handle)
        peer = _address(addr, port[0])
        conn._family = _family_of(peer)
        return conn, peer

    def connect(self, address: Address) -> None:
        """Open a connection and return when it is established.

        Raises ConnectionRefusedError on RST, TimeoutError when nothing answers (in the time of
        settimeout(), or as often as tcp.syn_retries says), BlockingIOError(EINPROGRESS) in
        non-blocking mode, OSError(EADDRNOTAVAIL) when the local ports are used up.
        """
        err = self._connect(address)
        if err == errno.EAGAIN:
            raise TimeoutError(f"connect to {_text(address)} timed out after {self._timeout:g} s")
        check(-err, f"connect to {_text(address)}")

    def connect_ex(self, address: Address) -> int:
        """Do as `connect`, but return the errno, 0 for success; EAGAIN after a timeout."""
        return self._connect(address)

    def _connect(self, address: Address) -> int:
        addr, port = _parse(address)
        result = lib.ust_worker_connect(self._worker, self._handle, addr, port)
        if result == 0 or result == -errno.EINPROGRESS:
            self._family = _family_of(address)
        if result != -errno.EINPROGRESS or self._timeout == 0:
            return -int(result)

        def wait(slice_ns: int) -> int:
            ready = lib.ust_worker_wait(self._worker, self._handle, lib.UST_CONNECTED, slice_ns)
            return int(ready) or -errno.EAGAIN

        ready = insist(wait(self._slice), self._timeout, wait)
        if ready in NOT_YET:
            return errno.EAGAIN
        if ready < 0:
            return -ready
        err = self._get(lib.UST_OPT_ERROR, "SO_ERROR")
        return err or (0 if ready & lib.UST_CONNECTED else errno.ECONNABORTED)

    def shutdown(self, how: int) -> None:
        """End sending (SHUT_WR), receiving (SHUT_RD) or both (SHUT_RDWR)."""
        check(lib.ust_worker_shutdown(self._worker, self._handle, how), "shutdown")

    def close(self) -> None:
        """Close in order: what was sent is still delivered. Closing twice is harmless."""
        lib.ust_worker_close(self._worker, self.detach())

    def abort(self) -> None:
        """Close at once, with a RST; unsent data is dropped."""
        lib.ust_worker_abort(self._worker, self.detach())

    def detach(self) -> int:
        """Give the connection away without closing it: the handle, -1 if there is none.

        `Socket(stack, handle=…)` takes it over.
        """
        handle, self._handle = self._handle, _CLOSED
        self._stack._sockets.discard(self)
        return handle

    @property
    def closed(self) -> bool:
        """Whether close(), abort() or detach() was called."""
        return self._handle == _CLOSED

    # ------------------------------------------------------------------------- data

    def recv(self, size: int, flags: int = 0) -> bytes:
        """Return at most size bytes, as soon as there are any; b"" at the end of the stream."""
        if size < 0:
            raise ValueError(f"size must be at least 0, got {size}")
        if size > _SCRATCH_LEN:
            buf = _allocate("uint8_t[]", size)
            return bytes(ffi.buffer(buf, self._recv(buf, size, flags)))
        try:
            buf = _scratch.pop()
        except IndexError:
            buf = _allocate("uint8_t[]", _SCRATCH_LEN)
        try:
            return bytes(ffi.buffer(buf, self._recv(buf, size, flags)))
        finally:
            _scratch.append(buf)

    def recv_into(self, buffer: "Buffer", nbytes: int = 0, flags: int = 0) -> int:
        """Fill a writable buffer, its first nbytes if not 0; the number of bytes, 0 at the end."""
        with ffi.from_buffer("uint8_t[]", buffer, require_writable=True) as buf:
            if not 0 <= nbytes <= len(buf):
                raise ValueError(f"nbytes must be 0..{len(buf)}, got {nbytes}")
            return self._recv(buf, nbytes or len(buf), flags)

    def _recv(self, buf: Any, size: int, flags: int) -> int:
        wait = self._slice
        if flags:
            if flags & socket.MSG_WAITALL and not flags & socket.MSG_PEEK:
                return self._recv_all(buf, size, flags & ~socket.MSG_WAITALL)
            wait = 0 if flags & socket.MSG_DONTWAIT else wait
            flags = _message_flags(flags)
        n: int = lib.ust_worker_recv(self._worker, self._handle, buf, size, flags, wait)
        if n >= 0:
            return n

        def recv(ns: int) -> int:
            return int(lib.ust_worker_recv(self._worker, self._handle, buf, size, flags, ns))

        return self._insist(n, "recv", recv, self._timeout if wait else 0)

    def _recv_all(self, buf: Any, size: int, flags: int) -> int:
        done = 0
        while done < size:
            n = self._recv(buf + done, size - done, flags)
            if n == 0:
                break
            done += n
        return done

    def send(self, data: "Buffer", flags: int = 0) -> int:
        """Queue bytes to be sent, waiting until there is room for one; how many were taken."""
        if type(data) is bytes:
            return self._send(data, len(data), flags)
        with ffi.from_buffer("uint8_t[]", data) as buf:
            return self._send(buf, len(buf), flags)

    def sendall(self, data: "Buffer", flags: int = 0) -> None:
        """Queue all of any buffer, without a copy of it in between.

        The timeout covers the whole. After an exception it is not known how much was taken.
        """
        with ffi.from_buffer("uint8_t[]", data) as buf:
            size = len(buf)
            end = time.monotonic() + self._timeout if self._timeout else None
            done = self._send(buf, size, flags)
            while done < size:
                left = self._timeout if end is None else max(end - time.monotonic(), 1e-9)
                done += self._send(buf + done, size - done, flags, left)

    def _send(self, buf: Any, size: int, flags: int, timeout: Any = _DEFAULT) -> int:
        wait = self._slice
        if timeout is _DEFAULT:
            timeout = self._timeout
        elif timeout is not None:
            wait = min(wait, int(timeout * 1e9))
        if flags:
            wait = 0 if flags & socket.MSG_DONTWAIT else wait
            flags = _message_flags(flags)
        n: int = lib.ust_worker_send(self._worker, self._handle, buf, size, flags, wait)
        if n >= 0:
            return n

        def send(ns: int) -> int:
            return int(lib.ust_worker_send(self._worker, self._handle, buf, size, flags, ns))

        return self._insist(n, "send", send, timeout if wait else 0)

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
        option = _options.look_up(level, optname, to_set=True)
        number = _options.unpack(level, optname, value)  # type: ignore[arg-type]
        result = lib.ust_worker_setopt(self._worker, self._handle, option.number, number)
        check(result, f"option {optname} of level {level} to {number}")

    def getsockopt(self, level: int, optname: int, buflen: int = 0) -> int | bytes:
        """Return an option as an int, or as at most buflen bytes when buflen is not 0."""
        if not 0 <= buflen <= 1024:
            raise OSError(errno.EINVAL, f"buflen must be 0..1024, got {buflen}")
        if (level, optname) == _options.TCP_INFO and buflen:
            return self.tcp_info().to_linux()[:buflen]
        if (level, optname) == (socket.SOL_SOCKET, socket.SO_DOMAIN):
            value = int(self._family)
        elif (level, optname) in _options.FIXED:
            value = _options.FIXED[level, optname]
        else:
            option = _options.look_up(level, optname)
            value = self._get(option.number, f"option {optname} of level {level}")
        return _options.pack(level, optname, value, buflen)

    def _get(self, number: int, what: str) -> int:
        value = ffi.new("int64_t *")
        check(lib.ust_worker_getopt(self._worker, self._handle, number, value), what)
        return int(value[0])

    def tcp_info(self) -> TcpInfo:
        """Return everything the engine knows about the connection, as of now."""
        raw = ffi.new("struct ust_tcp_info *")
        check(lib.ust_worker_tcp_info(self._worker, self._handle, raw), "TCP_INFO")
        return TcpInfo.read(raw)

    # ------------------------------------------------------------------------ names

    def getsockname(self) -> Address:
        """Return our address: (host, port), with two more zeros for IPv6."""
        return self._names()[0]

    def getpeername(self) -> Address:
        """Return the peer's address; OSError(ENOTCONN) when there is none."""
        peer = self._names()[1]
        if peer[1] == 0:
            raise OSError(errno.ENOTCONN, f"{os.strerror(errno.ENOTCONN)}: getpeername")
        return peer

    def _names(self) -> tuple[Address, Address]:
        addrs, ports = ffi.new("struct ust_addr[2]"), ffi.new("uint16_t[2]")
        result = lib.ust_worker_names(
            self._worker, self._handle, addrs, ports, addrs + 1, ports + 1
        )
        check(result, "getsockname")
        return self._address(addrs[0], ports[0]), self._address(addrs[1], ports[1])

    def _address(self, addr: Any, port: int) -> Address:
        if self._family == socket.AF_INET and bytes(addr.b) == bytes(16):
            return "0.0.0.0", port
        return _address(addr, port)

    @property
    def stack(self) -> "Stack":
        """The stack that the socket belongs to."""
        return self._stack

    @property
    def family(self) -> socket.AddressFamily:
        """AF_INET or AF_INET6, as the last address bound or connected to."""
        return self._family

    @property
    def type(self) -> socket.SocketKind:
        """SOCK_STREAM."""
        return socket.SOCK_STREAM

    @property
    def proto(self) -> int:
        """IPPROTO_TCP."""
        return socket.IPPROTO_TCP

    def __repr__(self) -> str:
        if self.closed:
            return "<ustack.Socket closed>"
        try:
            local, remote = self._names()
            state = self.tcp_info().state_name
        except OSError:
            return "<ustack.Socket gone>"
        peer = f" -> {_text(remote)}" if remote[1] else ""
        return f"<ustack.Socket {_text(local)}{peer} {state}>"

    # --------------------------------------------------------------------- lifetime

    @classmethod
    def _adopt(cls, stack: "Stack", handle: int) -> Self:
        """Make a socket of a handle that nobody else has; it blocks."""
        return cls(stack, handle=handle)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def __del__(self) -> None:
        if getattr(self, "_handle", _CLOSED) != _CLOSED:
            warnings.warn(f"unclosed {self!r}", ResourceWarning, stacklevel=2, source=self)
            self.close()


def _parse(address: Address) -> tuple[Any, int]:
    """Return address and port for the engine; TypeError, ValueError or OverflowError if bad."""
    if not isinstance(address, tuple) or len(address) not in (2, 4):
        raise TypeError(f"address must be a tuple (host, port), got {address!r}")
    host, port = address[:2]
    if not isinstance(port, int):
        raise TypeError(f"port must be an int, got {type(port).__name__}")
    if not 0 <= port <= 0xFFFF:
        raise OverflowError(f"port must be 0..65535, got {port}")
    if any(address[2:]):
        raise ValueError(f"flowinfo and scope_id must be 0, got {address[2:]}")
    return pack_address(host), port


def _address(addr: Any, port: int) -> Address:
    host = unpack_address(addr)
    return (host, port, 0, 0) if ":" in host else (host, port)


def _family_of(address: Address) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in address[0] else socket.AF_INET


def _text(address: Address) -> str:
    return format_address(address[0], address[1])


def _message_flags(flags: int) -> int:
    """Return Linux's MSG_* flags as the engine's; OSError(EOPNOTSUPP) for others."""
    result, known = 0, 0
    for flag, ours in _MSG_FLAGS.items():
        known |= flag
        if flags & flag:
            result |= ours
    if flags & ~known:
        raise OSError(
            errno.EOPNOTSUPP,
            f"{os.strerror(errno.EOPNOTSUPP)}: flags {flags:#x}; ustack knows {known:#x}",
        )
    return result
