# SPDX-License-Identifier: BSD-3-Clause
"""The C extension as the Python of the control plane and the socket API sees it.

Everything here is thin: addresses to and from their 16 bytes, negative errno values to
OSError, and the one loop that lets a blocking call be interrupted.
"""

import errno
import importlib.machinery
import importlib.util
import os
import socket
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

from ustack import _ustack
from ustack._ustack import ffi, lib

__all__ = ["SLICE_NS", "check", "end", "ffi", "format_address", "insist", "lib", "load_module"]
__all__ += ["own_worker", "pack_address", "unpack_address"]

type_of_address = ffi.typeof("struct ust_addr *")

#: No call into C blocks for longer than this, so that Python can run signal handlers between.
SLICE_NS = 50_000_000

#: What a blocking call may answer when it has to be tried again.
NOT_YET = frozenset({-errno.EAGAIN, -errno.EINTR, -errno.ENOBUFS})

_MAPPED = bytes(10) + b"\xff\xff"

_ending: int | None = None  # the thread that ends the process

#: Whether this process is the child of a fork that a stack did not survive.
forked = False
FORKED = "a stack stays with the process that opened it; open another in the child of a fork"


def load_module(name: str) -> None:
    """Import a module that lives in the shared object of ustack._ustack, as `name` from then on.

    The import system looks for the initializer by the module's name, so one file can hold several
    modules; it only has to be told which file.
    """
    if name in sys.modules:
        return
    path = _ustack.__file__
    loader = importlib.machinery.ExtensionFileLoader(name, path)
    spec = importlib.util.spec_from_file_location(name, path, loader=loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    loader.exec_module(module)


def check(result: int, what: str) -> int:
    """Return result; raise OSError when it is a negative errno value. what: "connect to …"."""
    if result < 0:
        if _ending is not None and threading.get_ident() != _ending:
            threading.Event().wait()  # for the end of the process
        why = f" ({FORKED})" if forked and result == -errno.EBADF else ""
        raise OSError(-result, f"{os.strerror(-result)}: {what}{why}")
    return result


def end() -> None:
    """Let no other thread hear of what fails from now on: the program is over, and they daemons."""
    global _ending
    _ending = threading.get_ident()


_ended: list[Any] = []  # workers that have ended, whose memory is still there


def own_worker(worker: Any) -> Any:
    """Return a `struct ust_worker *` as one that ends when nothing refers to it any more.

    A stack and its sockets that are collected together are finalized in any order: a socket may
    still call the worker, which answers with EBADF. So its memory is freed by the next of these.
    """
    while _ended:
        lib.ust_worker_free(_ended.pop())  # law 3: once a worker
    stop, keep = lib.ust_worker_stop, _ended.append  # they outlive this module's names

    def end(worker: Any) -> None:
        stop(worker)
        keep(worker)

    return ffi.gc(worker, end)


def pack_address(host: str) -> Any:
    """Return an IPv4 or IPv6 literal as a new `struct ust_addr *`; "" is the wildcard.

    Raises ValueError for anything else: ustack resolves no names.
    """
    addr = ffi.new(type_of_address)
    addr.b = _to_bytes(host)
    return addr


def _to_bytes(host: str) -> bytes:
    if not isinstance(host, str):
        raise TypeError(f"host must be a str, got {type(host).__name__}")
    try:
        if ":" in host:
            return socket.inet_pton(socket.AF_INET6, host)
        return _MAPPED + socket.inet_pton(socket.AF_INET, host or "0.0.0.0")
    except OSError:
        raise ValueError(
            f"host must be an IPv4 or IPv6 address, got {host!r}; resolve names first"
        ) from None


def unpack_address(addr: Any) -> str:
    """Return a `struct ust_addr` as text, a mapped one as IPv4."""
    raw = bytes(addr.b)
    if raw.startswith(_MAPPED):
        return socket.inet_ntop(socket.AF_INET, raw[12:])
    return socket.inet_ntop(socket.AF_INET6, raw)


def format_address(host: str, port: int) -> str:
    """Return "10.9.0.2:80" or "[2001:db8::1]:80"."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def insist(result: int, timeout: float | None, call: Callable[[int], int]) -> int:
    """Repeat a call that was not done within its first slice until it is, or time is up.

    result: what the first slice gave. timeout: seconds, None for ever. call(ns) tries for ns
    nanoseconds. Returns its result; -EAGAIN, -EINTR or -ENOBUFS when timeout is over.
    """
    deadline = None
    if timeout is not None:
        used = 0 if result == -errno.EINTR else SLICE_NS
        deadline = time.monotonic_ns() + int(timeout * 1e9) - used
    while result in NOT_YET:
        left = SLICE_NS
        if deadline is not None:
            left = min(left, deadline - time.monotonic_ns())
            if left <= 0:
                break
        result = call(left)
    return result
