# SPDX-License-Identifier: BSD-3-Clause
"""Blocking and non-blocking TCP sockets on a stack, in the manner of the standard library's.

A call takes the engine's lock, does its work, sends what is due and returns: one call into C.
Where it would block, the calling thread drives the engine until there is something; several
threads may wait at once. Every blocking call notices Ctrl-C and its timeout within 100 ms.

Failures are OSErrors with Linux's errno, and so of the right subclass: ConnectionRefusedError,
BrokenPipeError, BlockingIOError … A call that outlasts settimeout() raises TimeoutError.

Not here: what UDP sockets have, too (_endpoint.py); name resolution, file descriptors (a socket
has none).
"""

import errno
import os
import socket
import time
from typing import TYPE_CHECKING, Any

from ustack import _ancillary, _options
from ustack._endpoint import Endpoint, message_flags
from ustack._native import NOT_YET, SLICE_NS, check, ffi, insist, lib
from ustack._sockaddr import Address, read_address, show_address
from ustack.tcp_info import TcpInfo

if TYPE_CHECKING:
    from typing_extensions import Buffer

    from ustack.stack import Stack

__all__ = ["Address", "Socket"]

_DEFAULT: Any = object()


class Socket(Endpoint):
    """A TCP socket of a stack; see `Stack.socket`, `Stack.listen` and `Stack.connect`.

    Threads may share it. Closing it while another thread waits on it ends that wait with EBADF.
    """

    __slots__ = ("_inq",)

    _kind = socket.SOCK_STREAM
    _protocol = socket.IPPROTO_TCP

    def _open(self) -> int:
        return int(lib.ust_worker_socket(self._worker))

    def __init__(
        self, stack: "Stack", family: int = socket.AF_INET, *, handle: int | None = None
    ) -> None:
        """Make a new socket, or take over one that `detach` gave away."""
        self._inq = False
        super().__init__(stack, family, handle=handle)

    # ------------------------------------------------------------------ connections

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
        conn = type(self)(self._stack, self._family, handle=handle)
        return conn, self._address(addr, port[0])

    def connect(self, address: Address) -> None:
        """Open a connection and return when it is established.

        Raises ConnectionRefusedError on RST, TimeoutError when nothing answers (in the time of
        settimeout(), or as often as tcp.syn_retries says), BlockingIOError(EINPROGRESS) in
        non-blocking mode, OSError(EADDRNOTAVAIL) when the local ports are used up.
        """
        err = self._connect(address)
        if err == errno.EAGAIN:
            raise TimeoutError(
                f"connect to {show_address(address)} timed out after {self._timeout:g} s"
            )
        check(-err, f"connect to {show_address(address)}")

    def connect_ex(self, address: Address) -> int:
        """Do as `connect`, but return the errno, 0 for success; EAGAIN after a timeout."""
        return self._connect(address)

    def _connect(self, address: Address) -> int:
        addr, port = read_address(address, self._family)
        result = lib.ust_worker_connect(self._worker, self._handle, addr, port)
        if result != -errno.EINPROGRESS or self._timeout == 0:
            return -int(result)
        return self._await_connection()

    def _await_connection(self) -> int:
        """Wait until connect() is done: 0, or the errno; EAGAIN after the timeout."""

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

    def abort(self) -> None:
        """Close at once, with a RST; unsent data is dropped."""
        lib.ust_worker_abort(self._worker, self.detach())

    # ------------------------------------------------------------------------- data

    def _recv(self, buf: Any, size: int, flags: int) -> int:
        if flags & socket.MSG_WAITALL:
            return self._recv_all(buf, size, flags & ~socket.MSG_WAITALL)
        wait = self._slice
        if flags:
            wait = 0 if flags & (socket.MSG_DONTWAIT | socket.MSG_OOB) else wait
            flags = message_flags(flags, but=socket.MSG_MORE)
        n: int = lib.ust_worker_recv(self._worker, self._handle, buf, size, flags, wait)
        if n >= 0:
            return n

        def recv(ns: int) -> int:
            return int(lib.ust_worker_recv(self._worker, self._handle, buf, size, flags, ns))

        return self._insist(n, "recv", recv, self._timeout if wait else 0)

    def _recv_all(self, buf: Any, size: int, flags: int) -> int:
        """Wait for all, and do with less only at the end, an error, or after the timeout."""
        end = time.monotonic() + self._timeout if self._timeout else None
        done = 0
        while done < size:
            before, done = done, 0 if flags & socket.MSG_PEEK else done
            try:
                n = self._recv(buf + done, size - done, flags)
            except OSError:
                if before == 0:
                    raise
                return before
            done += n
            stuck = n == 0 or (flags & socket.MSG_PEEK and not self._more_than(done, end))
            if stuck or self._timeout == 0 or flags & socket.MSG_DONTWAIT:
                break
        return done

    def _more_than(self, have: int, end: float | None) -> bool:
        """Wait until more bytes than so many can be read; False at the end of the stream."""
        while self._get(lib.UST_OPT_INQ, "SIOCINQ") <= have:
            if self.tcp_info().fin_received or (end is not None and time.monotonic() >= end):
                return False
            lib.ust_worker_idle(self._worker, self._slice)  # law 3: once a slice of waiting
        return True

    def recvmsg(
        self, bufsize: int, ancbufsize: int = 0, flags: int = 0
    ) -> tuple[bytes, list[tuple[int, int, bytes]], int, None]:
        """Return (data, ancillary data, msg_flags, None).

        With TCP_INQ set, the ancillary data says how many bytes are left to read; 1 when there
        is only the end of the stream.
        """
        data = self.recv(bufsize, flags)
        ancdata: list[tuple[int, int, bytes]] = []
        if self._inq:
            info = self.tcp_info()
            left = self._get(lib.UST_OPT_INQ, "SIOCINQ") or info.fin_received
            ancdata.append(
                (socket.IPPROTO_TCP, _options.TCP_INQ[1], int(left).to_bytes(4, "little"))
            )
        fitting, cut = _ancillary.fit(ancdata, ancbufsize)
        shown = flags & (socket.MSG_OOB | socket.MSG_TRUNC)
        return data, fitting, shown | (socket.MSG_CTRUNC if cut else 0), None

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

    def sendto(self, data: "Buffer", *arguments: Any) -> int:
        """Send as `send` does; with MSG_FASTOPEN to an address, connect by it (RFC 7413).

        sendto(data, address) or sendto(data, flags, address). The address counts only with
        MSG_FASTOPEN; without it the socket must be connected, as for `send`. The text goes in the
        SYN if the server has given us a cookie; else the SYN asks for one, and a call that does
        not block raises BlockingIOError(EINPROGRESS).
        """
        if len(arguments) not in (1, 2):
            raise TypeError(f"sendto() takes 2 or 3 arguments ({len(arguments) + 1} given)")
        flags = arguments[0] if len(arguments) == 2 else 0
        if not flags & socket.MSG_FASTOPEN:
            return self.send(data, flags)
        addr, port = read_address(arguments[-1], self._family)
        with ffi.from_buffer("uint8_t[]", data) as buf:
            return self._fastopen(buf, len(buf), flags & ~socket.MSG_FASTOPEN, addr, port)

    def _fastopen(self, buf: Any, size: int, flags: int, addr: Any, port: int) -> int:
        waits = self._timeout != 0 and not flags & socket.MSG_DONTWAIT
        n = int(lib.ust_worker_fastopen(self._worker, self._handle, addr, port, buf, size))
        if n < 0 and not (n == -errno.EINPROGRESS and waits):
            check(n, "sendto with MSG_FASTOPEN")
        if not waits:
            return n
        err = self._await_connection()
        if err:
            raise OSError(err, f"{os.strerror(err)}: sendto with MSG_FASTOPEN")
        done = max(n, 0)
        return done + (self._send(buf + done, size - done, flags) if done < size else 0)

    def _send(self, buf: Any, size: int, flags: int, timeout: Any = _DEFAULT) -> int:
        wait = self._slice
        if timeout is _DEFAULT:
            timeout = self._timeout
        elif timeout is not None:
            wait = min(wait, int(timeout * 1e9))
        if flags:
            wait = 0 if flags & socket.MSG_DONTWAIT else wait
            flags = message_flags(flags)
        n: int = lib.ust_worker_send(self._worker, self._handle, buf, size, flags, wait)
        if n >= 0:
            return n

        def send(ns: int) -> int:
            return int(lib.ust_worker_send(self._worker, self._handle, buf, size, flags, ns))

        return self._insist(n, "send", send, timeout if wait else 0)

    def close(self) -> None:
        """Close in order: what was sent is still delivered. Closing twice is harmless.

        With SO_LINGER it returns when the peer has everything, or after that many seconds; a
        linger of 0 resets the connection.
        """
        try:
            if not self.closed and not self._stack.closed:
                self._linger()
        finally:
            super().close()

    def _linger(self) -> None:
        value = ffi.new("int64_t *")
        handle = self._handle
        lib.ust_worker_getopt(self._worker, handle, lib.UST_OPT_LINGER, value)
        if value[0] <= 0 or self._get(lib.UST_OPT_INQ, "SIOCINQ") > 0:
            return

        def linger(ns: int) -> int:
            return int(lib.ust_worker_linger(self._worker, handle, ns))

        insist(linger(SLICE_NS), float(value[0]), linger)

    # ------------------------------------------------------------------- looking in

    def setsockopt(
        self, level: int, optname: int, value: "int | Buffer | None", optlen: int | None = None
    ) -> None:
        """Set an option, by the numbers of the standard library's socket module.

        Raises OSError(ENOPROTOOPT) for one that ustack does not have: none is ignored.
        """
        if (level, optname) != _options.TCP_INQ:
            super().setsockopt(level, optname, value, optlen)
            return
        on = value if isinstance(value, int) else int.from_bytes(bytes(value or b"")[:4], "little")
        if on not in (0, 1):
            raise OSError(errno.EINVAL, f"{os.strerror(errno.EINVAL)}: TCP_INQ is 0 or 1, not {on}")
        self._inq = bool(on)

    def getsockopt(self, level: int, optname: int, buflen: int = 0) -> int | bytes:
        """Return an option as an int, or as at most buflen bytes when buflen is not 0."""
        if (level, optname) == _options.TCP_INQ:
            return int(self._inq).to_bytes(4, "little")[:buflen] if buflen else int(self._inq)
        if (level, optname) == _options.TCP_INFO and 0 < buflen <= 1024:
            return self.tcp_info().to_linux()[:buflen]
        return super().getsockopt(level, optname, buflen)

    def getpeername(self) -> Address:
        """Return the peer's address; OSError(ENOTCONN) without one, as after a RST."""
        peer = super().getpeername()
        if self.tcp_info().state == lib.UST_CLOSED:
            raise OSError(errno.ENOTCONN, f"{os.strerror(errno.ENOTCONN)}: getpeername")
        return peer

    def tcp_info(self) -> TcpInfo:
        """Return everything the engine knows about the connection, as of now."""
        raw = ffi.new("struct ust_tcp_info *")
        check(lib.ust_worker_tcp_info(self._worker, self._handle, raw), "TCP_INFO")
        return TcpInfo.read(raw)

    def _state(self) -> str:
        return f" {self.tcp_info().state_name}"
