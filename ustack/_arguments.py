# SPDX-License-Identifier: BSD-3-Clause
"""What the calls of `ustack.socket` are given, checked as the standard library checks it."""

import operator
import socket
from typing import Any

__all__ = ["check_ancillary_size", "check_bytes", "parse_message", "to_ns", "to_number"]
__all__ += ["writable"]


def to_number(host: str, family: int) -> str:
    """Return a host as a numeric address, by the kernel's resolver where it is a name."""
    if host == "":
        return "::" if family == socket.AF_INET6 else "0.0.0.0"
    if host == "<broadcast>" and family == socket.AF_INET:
        return "255.255.255.255"
    try:
        socket.inet_pton(family, host)
    except OSError:
        return str(socket.getaddrinfo(host, None, family)[0][4][0])
    return host


def to_ns(timeout: float | None) -> int:
    """Return a timeout in nanoseconds, -1 for none; only 0 itself is 0."""
    if timeout is None:
        return -1
    return max(int(timeout * 1e9), 1) if timeout else 0


def writable(buffer: Any, nbytes: int = 0) -> memoryview:
    """Return the bytes of a buffer that are to be filled: nbytes, all of it for 0."""
    view = memoryview(buffer).cast("B")
    if view.readonly:
        raise TypeError("a writable buffer is needed")
    if nbytes < 0:
        raise ValueError("negative buffersize in recv_into")
    if nbytes > len(view):
        raise ValueError("buffer too small for requested bytes")
    return view[: nbytes or len(view)]


def check_bytes(data: Any) -> None:
    try:
        memoryview(data)
    except TypeError:
        kind = type(data).__name__
        raise TypeError(f"a bytes-like object is required, not '{kind}'") from None


def parse_message(level: Any, kind: Any, data: Any) -> tuple[int, int, bytes]:
    """Return an item of ancillary data if it is one."""
    return operator.index(level), operator.index(kind), bytes(memoryview(data))


def check_ancillary_size(size: int, verb: str) -> None:
    if not isinstance(size, int):
        raise TypeError(f"ancbufsize must be an int, got {type(size).__name__}")
    if not 0 <= size <= 0x7FFFFFFF:
        raise ValueError(f"invalid ancillary data buffer length in {verb}()")
