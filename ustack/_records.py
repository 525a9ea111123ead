# SPDX-License-Identifier: BSD-3-Clause
"""TLS over a socket of a stack: OpenSSL between two memory buffers, and who carries the records.

A Records stands where the standard library's SSLSocket keeps the object of the module _ssl, which
needs a descriptor of the kernel. What is always so:

- No byte is taken from the socket beyond the record that OpenSSL is waiting for. What comes behind
  is there for poll, and, after unwrap(), for whoever reads the socket next.
- A call of a socket that does not block takes no more text than the socket has room for, so that
  nothing is left behind that would need another call to leave. What is all the same, since buffers
  ran out meanwhile, leaves first in the next call.
- A call ends with TimeoutError when it has lasted longer than the socket's timeout, all of it
  together, as the standard library's does.

One thread may read while another writes; a lock each for OpenSSL and for either direction.

Not here: the socket object of programs (tls.py).
"""

import errno
import ssl
import threading
import time
import weakref
from collections.abc import Callable
from contextlib import suppress
from socket import MSG_DONTWAIT
from typing import Any

from ustack._native import NOT_YET, SLICE_NS, check, insist, lib

__all__ = ["Records"]

_HEADER = 5  # bytes of a record's header (RFC 8446 5.1)
_TEXT = 16384  # bytes of text in a record
_OVERHEAD = 256  # bytes that a record, or two, may be larger than its text
_MOST = 4 * _TEXT  # bytes of text that one call takes
_TYPES = range(20, 25)  # of records


class Records:
    """One TLS connection's _ssl object. Attributes that are not here are OpenSSL's."""

    def __init__(self, sock: Any, context: ssl.SSLContext, server_side: bool, name: Any) -> None:
        """sock: the program's socket, whose `endpoint` carries the records. name: for SNI."""
        self._sock, self._endpoint = weakref.ref(sock), sock.endpoint
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._ssl: Any = context._wrap_bio(  # type: ignore[attr-defined]
            self._incoming,
            self._outgoing,
            server_side=server_side,
            server_hostname=name,
            owner=sock,
        )
        self._lock, self._reading, self._writing = (threading.Lock() for _ in range(3))
        self._left = memoryview(b"")  # that could not be sent
        self._header = b""  # as much as there is of the record's that comes in
        self._body = 0  # bytes of it that are still to come
        self._filled = 0  # how often something came in

    def __getattr__(self, name: str) -> Any:
        return getattr(self._ssl, name)

    @property
    def context(self) -> ssl.SSLContext:
        """The SSLContext in use; a server's may be changed during the handshake."""
        return self._ssl.context  # type: ignore[no-any-return]

    @context.setter
    def context(self, context: ssl.SSLContext) -> None:
        self._ssl.context = context

    @property
    def session(self) -> Any:
        """The session of a client, to resume."""
        return self._ssl.session

    @session.setter
    def session(self, session: Any) -> None:
        self._ssl.session = session

    # ------------------------------------------------------------------------- calls

    def do_handshake(self) -> None:
        """Shake hands."""
        self._drive(self._ssl.do_handshake, "handshake")

    def read(self, len: int = 1024, buffer: Any = None) -> Any:
        """Return up to len bytes of text; with a buffer, how many were put there."""
        if buffer is None:
            return self._drive(lambda: self._ssl.read(len), "read")
        return self._drive(lambda: self._ssl.read(len, buffer), "read")

    def write(self, data: Any) -> int:
        """Send data, or what there is room for if the socket does not block; how many bytes."""
        with memoryview(data) as view, view.cast("B") as text:
            done = self._write_some(text)
            while done < len(text) and self._timeout() != 0:
                with text[done:] as rest:
                    done += self._write_some(rest)
            return done

    def _write_some(self, text: memoryview) -> int:
        most = self._room() if len(text) else 0
        with text[:most] as part:
            return int(self._drive(lambda: self._ssl.write(part), "write"))

    def shutdown(self) -> Any:
        """Say that no more text comes, and wait until the peer has said so; the socket."""
        self._drive(self._ssl.shutdown, "shutdown")
        return self._sock()

    def _timeout(self) -> float | None:
        sock = self._sock()
        return 0.0 if sock is None else sock.gettimeout()

    def _drive(self, call: Callable[[], Any], what: str) -> Any:
        """Call OpenSSL, carrying records, until it has what it wants."""
        timeout = self._timeout()
        end = time.monotonic() + timeout if timeout else timeout
        try:
            while True:
                filled = self._filled
                try:
                    with self._lock:
                        result = call()
                except ssl.SSLWantReadError:
                    self._flush(end, skip=what == "read")
                    self._fill(filled, end)
                else:
                    self._flush(end, skip=what == "read", leave=True)
                    return result
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            raise
        except ssl.SSLError:
            self._say_why()
            raise
        except TimeoutError as error:
            if error.errno is not None:
                raise
            raise TimeoutError(f"The {what} operation timed out") from None

    def _say_why(self) -> None:
        """Let the peer have an alert, if that is possible at once."""
        with suppress(OSError):
            self._flush(0, skip=True, leave=True)

    # ---------------------------------------------------------------------- records out

    def _flush(self, end: float | None, *, skip: bool = False, leave: bool = False) -> None:
        """Send what OpenSSL has for the peer.

        skip: not while another thread sends, which will look again. leave: what cannot be sent
        now by one who may not wait stays for the next call, and is no error.
        """
        while self._left or self._outgoing.pending:
            if not self._writing.acquire(blocking=not skip):
                return
            try:
                self._send_all(end)
            except ssl.SSLWantWriteError:
                if leave:
                    return
                raise
            finally:
                self._writing.release()

    def _send_all(self, end: float | None) -> None:
        while self._left or self._outgoing.pending:
            if not self._left:
                with self._lock:
                    self._left = memoryview(self._outgoing.read())
            self._send(end)

    def _send(self, end: float | None) -> None:
        try:
            sent = self._endpoint.send(self._left, MSG_DONTWAIT)
        except BlockingIOError:
            if end == 0:
                raise _want_write() from None
            self._wait(lib.UST_WRITABLE, end)
        else:
            self._left = self._left[sent:]

    def _room(self) -> int:
        """Return how much text may be encrypted; what was left behind leaves first."""
        if self._timeout() != 0:
            return _MOST
        self._flush(0)
        room = self._endpoint._get(lib.UST_OPT_SNDROOM, "room to send")
        records = room // (_TEXT + _OVERHEAD)
        text = records * _TEXT + max(room % (_TEXT + _OVERHEAD) - _OVERHEAD, 0)
        if text == 0:
            raise _want_write()
        return int(min(text, _MOST))

    # ----------------------------------------------------------------------- records in

    def _fill(self, filled: int, end: float | None) -> None:
        """Give OpenSSL more, unless another thread has since it asked."""
        with self._reading:
            if self._filled != filled:
                return
            while self._take(self._receive(end)):
                pass
            self._filled += 1

    def _wanted(self) -> int:
        """Return how many bytes of the record are missing, of its header to begin with."""
        return self._body or _HEADER - len(self._header)

    def _receive(self, end: float | None) -> bytes:
        while True:
            try:
                data: bytes = self._endpoint.recv(self._wanted(), MSG_DONTWAIT)
                return data
            except BlockingIOError:
                if end == 0:
                    raise _want_read() from None
                self._wait(lib.UST_READABLE, end)

    def _take(self, data: bytes) -> bool:
        """Hand over what came; whether the rest of the record is to be fetched at once."""
        with self._lock:
            if not data:
                self._incoming.write_eof()
                return False
            self._incoming.write(data)
        if self._body:
            self._body -= len(data)
            return self._body > 0
        self._header += data
        if len(self._header) < _HEADER:
            return True
        header, self._header = self._header, b""
        self._body = int.from_bytes(header[3:], "big")
        return header[0] in _TYPES and header[1] == 3 and self._body > 0

    def _wait(self, wanted: int, end: float | None) -> None:
        """Drive the stack until the socket is ready; TimeoutError at the end."""
        left = None if end is None else end - time.monotonic()
        if left is not None and left <= 0:
            raise TimeoutError
        worker, handle = self._endpoint._worker, self._endpoint._handle

        def wait(ns: int) -> int:
            return int(lib.ust_worker_wait(worker, handle, wanted, ns)) or -errno.EAGAIN

        first = SLICE_NS if left is None else min(SLICE_NS, int(left * 1e9))
        ready = insist(wait(first), left, wait)
        if ready in NOT_YET:
            raise TimeoutError
        check(ready, "TLS")


def _want_read() -> ssl.SSLWantReadError:
    return ssl.SSLWantReadError(ssl.SSL_ERROR_WANT_READ, "The operation did not complete (read)")


def _want_write() -> ssl.SSLWantWriteError:
    return ssl.SSLWantWriteError(ssl.SSL_ERROR_WANT_WRITE, "The operation did not complete (write)")
