# SPDX-License-Identifier: BSD-3-Clause
"""The system calls of a script, on a backend's sockets.

Calls.start() reads a call's arguments and gives an attempt: a function that makes the call without
waiting and returns its result. While it raises BlockingIOError the call would block; the runner
tries again when something has happened. What a call gives back through its arguments is compared
there and then: Mismatch.

Not here: when a call may block and for how long (runner.py), several sockets at once (wait.py).
"""

from __future__ import annotations

import errno
import socket as linux
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ustack.drill import tcpinfo
from ustack.drill.arguments import iovec, number_of, option_value, refuse_control
from ustack.drill.backend import Backend
from ustack.drill.expression import CONSTANTS, evaluate
from ustack.drill.flow import pattern
from ustack.drill.script import Call, ScriptError, Struct

if TYPE_CHECKING:
    from ustack.drill.flow import Flow

__all__ = ["NO_HANDLE", "READERS", "Attempt", "Calls", "Fd", "Mismatch"]

Attempt = Callable[[], int]

#: Calls whose result the comparator `api` looks at.
READERS = frozenset({"recv", "read", "recvfrom", "recvmsg", "readv"})

_LINGER = (1, 13)
_MSG_FASTOPEN = 0x20000000
_CONGESTION = (6, 13)
_STRINGS = {_CONGESTION}
_TCP_INFO = (6, 11)
_TCP_INQ = (6, 36)
SIOCINQ = 0x541B

NO_HANDLE = -1  # of descriptors that are the script's own: epoll instances, pipes


class Mismatch(Exception):
    """A call gave something else than the script demands."""

    def __init__(self, expected: str, got: str) -> None:
        super().__init__(f"expected {expected}, got {got}")
        self.expected, self.got = expected, got


@dataclass
class Fd:
    """What a script's descriptor stands for. flow: of its connection, once it is known."""

    handle: int
    kind: int = linux.SOCK_STREAM
    nonblocking: bool = False
    flow: Flow | None = None
    tells_inq: bool = False  # TCP_INQ is on


class Calls:
    """The descriptors of one script, and what can be done with them."""

    def __init__(self, backend: Backend, names: Mapping[str, int]) -> None:
        self.backend, self.host = backend, backend.host
        self.names = names
        self.fds: dict[int, Fd] = {}
        self.on_connect: Callable[[Fd, str, int], None] = lambda fd, address, port: None
        self.on_accept: Callable[[Fd], None] = lambda fd: None
        self.on_listen: Callable[[Fd], None] = lambda fd: None

    def start(self, call: Call) -> tuple[Attempt, Fd | None]:
        """An attempt at a call, and the descriptor that it may wait for.

        Raises ScriptError for a call that there is not.
        """
        method = getattr(self, f"do_{call.name}", None)
        if method is None:
            raise ScriptError(f"{call.name}() is not supported")
        args = [evaluate(arg, self.names) for arg in call.args]
        expected = evaluate(call.result, self.names)
        fd = None
        if call.name not in ("socket", "pipe", "poll", "epoll_create"):
            number = args[0] if args else None
            fd = self.fds.get(number) if isinstance(number, int) else None
            if fd is None:
                return bad_descriptor, None
            args[0] = fd
        try:
            return method(*args, expected=expected), fd
        except TypeError as error:
            if f"do_{call.name}" not in str(error):
                raise
            raise ScriptError(f"{call.name}() does not take {len(args)} arguments") from None

    def _new(self, expected: object, fd: Fd) -> int:
        """File a new descriptor under the number that the script expects."""
        number = (
            expected
            if isinstance(expected, int) and expected >= 0
            else max(self.fds, default=2) + 1
        )
        self.fds[number] = fd
        return number

    # ---------------------------------------------------------- making sockets

    def do_socket(
        self, domain: object, kind: object, protocol: object, *, expected: object
    ) -> Attempt:
        """socket(): `...` for the domain is the version of IP that the script runs over."""
        if domain is ...:
            six = self.host.version == 6 or self.host.mapped
            domain = linux.AF_INET6 if six else linux.AF_INET
        family, number = number_of(domain), number_of(kind)

        def attempt() -> int:
            handle = self.backend.socket(family, number & 0xF)
            return self._new(expected, Fd(handle, number & 0xF, bool(number & linux.SOCK_NONBLOCK)))

        return attempt

    def do_bind(self, fd: Fd, address: object, size: object, *, expected: object) -> Attempt:
        """bind(): `...` is our address and the port that scripts listen on."""
        host, port = self._address(address, self.host.local, self.host.bind_port)
        return done(lambda: self.backend.bind(fd.handle, host, port))

    def do_listen(self, fd: Fd, backlog: object, *, expected: object) -> Attempt:
        """listen()."""

        def attempt() -> int:
            self.backend.listen(fd.handle, number_of(backlog))
            self.on_listen(fd)
            return 0

        return attempt

    def do_accept(self, fd: Fd, address: object, size: object, *, expected: object) -> Attempt:
        """accept()."""
        return self.do_accept4(fd, address, size, 0, expected=expected)

    def do_accept4(
        self, fd: Fd, address: object, size: object, flags: object, *, expected: object
    ) -> Attempt:
        """accept4()."""

        def attempt() -> int:
            nonblocking = bool(number_of(flags) & linux.SOCK_NONBLOCK)
            new = Fd(self.backend.accept(fd.handle), fd.kind, nonblocking)
            self.on_accept(new)
            return self._new(expected, new)

        return attempt

    def do_connect(self, fd: Fd, address: object, size: object, *, expected: object) -> Attempt:
        """connect(): `...` is the peer and the port that scripts connect to."""
        host, port = self._address(address, self.host.remote, self.host.connect_port)
        begun = False

        def attempt() -> int:
            nonlocal begun
            if not begun:
                begun = True
                try:
                    self.backend.connect(fd.handle, host, port)
                finally:
                    self.on_connect(fd, host, port)
                return 0
            ready = self.backend.poll(fd.handle)
            if not ready & (4 | 8):  # POLLOUT, POLLERR
                raise BlockingIOError(errno.EINPROGRESS, "Operation now in progress")
            error = number_of(self.backend.getsockopt(fd.handle, 1, 4, 0))
            if error:
                raise OSError(error, "connect")
            return 0

        return attempt

    def _address(self, address: object, host: str, port: int) -> tuple[str, int]:
        if not isinstance(address, Struct):
            return host, port
        for name, value in address.fields:
            if name in ("sin_port", "sin6_port") and isinstance(value, int):
                port = value
            elif name in ("sin_addr", "sin6_addr"):
                host = value if isinstance(value, str) else "::" if ":" in host else "0.0.0.0"
        return host, port

    def do_close(self, fd: Fd, *, expected: object) -> Attempt:
        """close()."""

        def attempt() -> int:
            self.fds = {number: other for number, other in self.fds.items() if other is not fd}
            if fd.handle != NO_HANDLE:
                self.backend.close(fd.handle)
            return 0

        return attempt

    def do_shutdown(self, fd: Fd, how: object, *, expected: object) -> Attempt:
        """shutdown()."""
        return done(lambda: self.backend.shutdown(fd.handle, number_of(how)))

    # ------------------------------------------------------------------ writing

    def do_write(self, fd: Fd, data: object, size: object, *, expected: object) -> Attempt:
        """write()."""
        return self._sender(fd, self._data(fd, data, number_of(size)), 0)

    def do_send(
        self, fd: Fd, data: object, size: object, flags: object, *, expected: object
    ) -> Attempt:
        """send()."""
        return self._sender(fd, self._data(fd, data, number_of(size)), number_of(flags))

    def do_sendto(
        self, fd: Fd, data: object, size: object, flags: object, address: object, length: object,
        *, expected: object,
    ) -> Attempt:  # fmt: skip
        """sendto()."""
        to = self._destination(fd, address, number_of(flags))
        whole = self._data(fd, data, number_of(size))
        return self._sender(fd, whole, number_of(flags), to)

    def do_writev(self, fd: Fd, vector: object, count: object, *, expected: object) -> Attempt:
        """writev()."""
        return self._sender(fd, self._gather(fd, vector), 0)

    def do_sendmsg(self, fd: Fd, message: object, flags: object, *, expected: object) -> Attempt:
        """sendmsg(), without control messages."""
        if not isinstance(message, Struct):
            raise ScriptError("sendmsg() takes a structure")
        refuse_control(message)
        address = self._destination(fd, message.get("msg_name"), number_of(flags))
        data = self._gather(fd, message.get("msg_iov"))
        return self._sender(fd, data, number_of(flags), address)

    def _destination(self, fd: Fd, address: object, flags: int) -> tuple[str, int] | None:
        """Where a datagram, or the SYN of a fast open, goes; other text goes to the peer."""
        if address is None or (fd.kind == linux.SOCK_STREAM and not flags & _MSG_FASTOPEN):
            return None
        return self._address(address, self.host.remote, self.host.connect_port)

    def _gather(self, fd: Fd, vector: object) -> bytes:
        offset, parts = fd.flow.written if fd.flow else 0, []
        for data, size in iovec(vector):
            parts.append(data if isinstance(data, bytes) else pattern(offset, size))
            offset += size
            if isinstance(data, bytes) and fd.flow:
                fd.flow.checked = False
        return b"".join(parts)

    def _data(self, fd: Fd, data: object, size: int) -> bytes:
        if isinstance(data, bytes):
            if fd.flow:
                fd.flow.checked = False
            return data[:size].ljust(size, b"\0")
        return pattern(fd.flow.written if fd.flow else 0, size)

    def _sender(
        self, fd: Fd, data: bytes, flags: int, to: tuple[str, int] | None = None
    ) -> Attempt:
        """A write that, on a blocking socket, goes on until everything is taken."""
        taken, begun = 0, False

        def attempt() -> int:
            nonlocal taken, begun
            while True:
                now_to, now_flags = (None, flags & ~_MSG_FASTOPEN) if begun else (to, flags)
                begun = begun or bool(flags & _MSG_FASTOPEN)
                try:
                    got = self.backend.send(fd.handle, data[taken:], now_flags, now_to)
                except BlockingIOError:
                    if taken and (fd.nonblocking or flags & linux.MSG_DONTWAIT):
                        return taken
                    raise
                finally:
                    if now_to is not None:
                        self.on_connect(fd, *now_to)
                taken += got
                if fd.flow:
                    fd.flow.written += got
                if taken >= len(data) or got == 0:
                    return taken

        return no_wait(attempt, fd, flags)

    # ------------------------------------------------------------------ reading

    def do_read(self, fd: Fd, data: object, size: object, *, expected: object) -> Attempt:
        """read()."""
        return self._reader(fd, number_of(size), 0, data)

    def do_recv(
        self, fd: Fd, data: object, size: object, flags: object, *, expected: object
    ) -> Attempt:
        """recv()."""
        return self._reader(fd, number_of(size), number_of(flags), data)

    def do_recvfrom(
        self, fd: Fd, data: object, size: object, flags: object, address: object, length: object,
        *, expected: object,
    ) -> Attempt:  # fmt: skip
        """recvfrom()."""
        return self._reader(fd, number_of(size), number_of(flags), data)

    def do_readv(self, fd: Fd, vector: object, count: object, *, expected: object) -> Attempt:
        """readv()."""
        return self._reader(fd, sum(size for _, size in iovec(vector)), 0, ...)

    def do_recvmsg(self, fd: Fd, message: object, flags: object, *, expected: object) -> Attempt:
        """recvmsg(); of control messages there is only TCP_CM_INQ."""
        if not isinstance(message, Struct):
            raise ScriptError("recvmsg() takes a structure")
        inq = self._wanted_inq(fd, message)
        total = sum(size for _, size in iovec(message.get("msg_iov")))
        read = self._reader(fd, total, number_of(flags), ...)

        def attempt() -> int:
            got = read()
            if inq is not None:
                self._differs("TCP_CM_INQ", inq, self.backend.ioctl(fd.handle, SIOCINQ))
            return got

        return attempt

    @staticmethod
    def _wanted_inq(fd: Fd, message: Struct) -> int | None:
        """What a TCP_CM_INQ message is to say; None if the script expects none."""
        control = message.get("msg_control")
        if not fd.tells_inq or not isinstance(control, list) or len(control) != 1:
            refuse_control(message)
            return None
        row = control[0]
        if not isinstance(row, Struct) or row.get("cmsg_type") != CONSTANTS["TCP_CM_INQ"]:
            refuse_control(message)
            return None
        return number_of(row.get("cmsg_data"))

    def _reader(self, fd: Fd, size: int, flags: int, want: object) -> Attempt:
        got = b""

        def attempt() -> int:
            nonlocal got
            piece = self.backend.recv(fd.handle, size - len(got), flags)
            self._check_read(fd, piece, flags)
            got += piece
            if flags & linux.MSG_WAITALL and piece and len(got) < size:
                raise BlockingIOError(errno.EAGAIN, "recv")
            if isinstance(want, bytes) and want != got:
                raise Mismatch(repr(want), repr(got))
            return len(got)

        return no_wait(attempt, fd, flags)

    @staticmethod
    def _check_read(fd: Fd, data: bytes, flags: int) -> None:
        """What is read must be what the peer's segments had in them."""
        flow = fd.flow
        if flow is None or not flow.checked or flags & linux.MSG_TRUNC:
            return
        if data != pattern(flow.read, len(data)):
            raise Mismatch("the bytes that came in", f"other bytes at offset {flow.read}")
        if not flags & linux.MSG_PEEK:
            flow.read += len(data)

    # ------------------------------------------------------------------ options

    def do_setsockopt(
        self, fd: Fd, level: object, name: object, value: object, size: object, *, expected: object
    ) -> Attempt:
        """setsockopt()."""
        key = number_of(level), number_of(name)
        raw = option_value(key, value)
        if key == _TCP_INQ:
            fd.tells_inq = bool(raw)
            return lambda: 0
        return done(lambda: self.backend.setsockopt(fd.handle, *key, raw))

    def do_getsockopt(
        self, fd: Fd, level: object, name: object, value: object, size: object, *, expected: object
    ) -> Attempt:
        """getsockopt(), and the value that it gives."""
        key = number_of(level), number_of(name)

        def attempt() -> int:
            if key == _TCP_INFO:
                tcpinfo.compare(self.backend.tcp_info(fd.handle), value, self._differs)
                return 0
            if key == _LINGER:
                raw = self.backend.getsockopt(fd.handle, *key, 8)
                self._differs("SO_LINGER", option_value(key, value), raw)
                return 0
            wanted = value[0] if isinstance(value, list) and value else value
            size = 16 if key in _STRINGS else 0
            got = self.backend.getsockopt(fd.handle, *key, size)
            if isinstance(got, bytes) and isinstance(wanted, bytes):
                got = got.rstrip(b"\0")
            self._differs("the option", wanted, got)
            return 0

        return attempt

    @staticmethod
    def _differs(what: str, wanted: object, got: object) -> None:
        if wanted is not ... and wanted != got:
            raise Mismatch(f"{what} {wanted}", f"{got}")

    def do_fcntl(self, fd: Fd, command: object, value: object = 0, *, expected: object) -> Attempt:
        """fcntl(F_GETFL, F_SETFL)."""
        nonblock = CONSTANTS["O_NONBLOCK"]
        if command == CONSTANTS["F_GETFL"]:
            return lambda: CONSTANTS["O_RDWR"] | (nonblock if fd.nonblocking else 0)
        if command != CONSTANTS["F_SETFL"]:
            raise ScriptError(f"fcntl({command}) is not supported; F_GETFL and F_SETFL are")

        def attempt() -> int:
            fd.nonblocking = bool(number_of(value) & nonblock)
            return 0

        return attempt

    def do_ioctl(
        self, fd: Fd, request: object, value: object = ..., *, expected: object
    ) -> Attempt:
        """ioctl() for how much is queued."""
        number = number_of(request)

        def attempt() -> int:
            if number == CONSTANTS["FIONBIO"]:
                fd.nonblocking = value == [1]
                return 0
            wanted = value[0] if isinstance(value, list) and value else ...
            self._differs("ioctl's value", wanted, self.backend.ioctl(fd.handle, number))
            return 0

        return attempt


# ----------------------------------------------------------------- small helpers


def bad_descriptor() -> int:
    """A call on a descriptor that there is not."""
    raise OSError(errno.EBADF, "Bad file descriptor")


def done(action: Callable[[], None]) -> Attempt:
    """An attempt whose result is 0."""

    def attempt() -> int:
        action()
        return 0

    return attempt


def no_wait(attempt: Attempt, fd: Fd, flags: int) -> Attempt:
    """An attempt that, with MSG_DONTWAIT, fails instead of waiting."""
    if not flags & linux.MSG_DONTWAIT:
        return attempt

    def impatient() -> int:
        try:
            return attempt()
        except BlockingIOError as error:
            raise OSError(-(error.errno or errno.EAGAIN), "would block") from None

    return impatient
