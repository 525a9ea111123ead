# SPDX-License-Identifier: BSD-3-Clause
"""Namespaces, the kernel's programs in them, and a stack beside them: what interop tests stand on.

A test runs in a process and a network namespace of its own (see conftest.py), where it is root, and
touches no interface of the machine. The kernel's end of a tap is in that namespace; more namespaces
are made with `Net`, which moves the calling thread alone. A stack on an event loop: lab.py.
"""

from __future__ import annotations

import contextlib
import ctypes
import hashlib
import os
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ustack import Stack
from ustack.datagram import UdpSocket

OURS4, OURS6 = "10.9.0.2", "fd09::2"
KERNEL4, KERNEL6 = "10.9.0.1", "fd09::1"
FAMILIES = {4: socket.AF_INET, 6: socket.AF_INET6}
OURS = {4: OURS4, 6: OURS6}
KERNEL = {4: KERNEL4, 6: KERNEL6}
PATIENCE = 40.0  # seconds after which something is broken

CLONE_NEWNET = 0x40000000

# A preloaded sanitizer is meant for Python; in other programs it may do harm.
ENV = {name: value for name, value in os.environ.items() if name != "LD_PRELOAD"}

_libc = ctypes.CDLL(None, use_errno=True)


# ------------------------------------------------------------------------- the kernel's side


class Net:
    """A network namespace; inside `with`, the calling thread and what it starts are in it."""

    def __init__(self) -> None:
        before = _current()
        try:
            _call(_libc.unshare, CLONE_NEWNET)
            self.fd = _current()
            with contextlib.suppress(OSError):
                ip("link", "set", "lo", "up")
        finally:
            _call(_libc.setns, before, CLONE_NEWNET)
            os.close(before)

    def __enter__(self) -> Net:
        self._before = _current()
        _call(_libc.setns, self.fd, CLONE_NEWNET)
        return self

    def __exit__(self, *exc_info: object) -> None:
        _call(_libc.setns, self._before, CLONE_NEWNET)
        os.close(self._before)

    @property
    def path(self) -> str:
        """A name for it that other programs understand while this one lives."""
        return f"/proc/{os.getpid()}/fd/{self.fd}"


def _current() -> int:
    return os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)


def _call(function: Callable[..., int], *args: int) -> None:
    if function(*args) != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))


def ip(*args: object) -> str:
    """Run `ip` and return what it says."""
    return run("ip", *args)


def run(*argv: object, check: bool = True, timeout: float = PATIENCE) -> str:
    """Run a program to its end and return what it printed; skip when it is not installed."""
    words = [need(str(argv[0])), *map(str, argv[1:])]
    done = subprocess.run(words, capture_output=True, text=True, timeout=timeout, env=ENV)
    said = done.stdout + done.stderr
    assert done.returncode == 0 or not check, f"{' '.join(words)}: {done.returncode}\n{said}"
    return said


def program(*argv: object, data: bytes | None = None) -> bytes:
    """Run a program that must succeed and return its output. data: its input."""
    words = [need(str(argv[0])), *map(str, argv[1:])]
    done = subprocess.run(words, input=data, capture_output=True, timeout=PATIENCE, env=ENV)
    assert done.returncode == 0, (done.stderr or done.stdout).decode()
    return done.stdout


def need(name: str) -> str:
    """Return a program's path; skip the test when it is not installed."""
    path = shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")
    if path is None:
        pytest.skip(f"not installed: {name}")
    return path


def sysctl(name: str, value: object) -> None:
    """Write one of the kernel's settings, in the calling thread's namespace."""
    try:
        Path("/proc/sys", name.replace(".", "/")).write_text(str(value))
    except OSError as error:
        pytest.skip(f"no privilege: sysctl {name} ({error.strerror})")


@contextlib.contextmanager
def running(*argv: object) -> Iterator[subprocess.Popen[str]]:
    """Keep a program running; it is ended, and only it."""
    words = [need(str(argv[0])), *map(str, argv[1:])]
    process = subprocess.Popen(
        words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=ENV
    )
    try:
        yield process
    finally:
        process.terminate()
        process.communicate(timeout=PATIENCE)


def until(condition: Callable[[], Any], what: str, patience: float = PATIENCE) -> Any:
    """Return the condition's first true value."""
    end = time.monotonic() + patience
    while not (value := condition()):
        assert time.monotonic() < end, f"never: {what}"
        time.sleep(0.01)
    return value


def kernel_udp(host: str, port: int = 0) -> socket.socket:
    """Return a socket of the kernel, bound, that waits with patience."""
    sock = socket.socket(_family(host), socket.SOCK_DGRAM)
    sock.bind((host, port))
    sock.settimeout(PATIENCE)
    return sock


def kernel_listener(host: str, port: int) -> socket.socket:
    """Return a listening socket of the kernel that waits with patience."""
    sock = socket.create_server((host, port), family=_family(host))
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, b"cubic")
    sock.settimeout(PATIENCE)
    return sock


def kernel_connect(port: int = 80) -> socket.socket:
    """Connect the kernel to the stack; by CUBIC, as no default of the system's."""
    sock = socket.socket()
    sock.settimeout(PATIENCE)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, b"cubic")
    sock.connect((OURS4, port))
    return sock


def receive_all(sock: socket.socket) -> bytes:
    """Receive until the end."""
    data = bytearray()
    while piece := sock.recv(1 << 20):
        data += piece
    return bytes(data)


@contextlib.contextmanager
def echoing(sock: socket.socket) -> Iterator[None]:
    """Let a thread send every datagram back, to whoever sent it."""
    over = threading.Event()
    sock.settimeout(0.02)

    def echo() -> None:
        while not over.is_set():
            with contextlib.suppress(TimeoutError):
                data, sender = sock.recvfrom(65535)
                sock.sendto(data, sender)

    thread = threading.Thread(target=echo)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def _family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET


# ---------------------------------------------------------------------------------- our side


@contextlib.contextmanager
def stack(io: str = "tap:us0", **options: Any) -> Iterator[Stack]:
    """Open a stack with both versions' addresses on a tap, driven by a thread of its own.

    Its addresses are used at once, without detection of duplicates.
    """
    options["settings"] = {"ip6.dad_transmits": 0} | options.get("settings", {})
    with Stack(io, addresses=[f"{OURS4}/24", f"{OURS6}/64"], **options) as ours, driven(ours):
        yield ours


@contextlib.contextmanager
def driven(ours: Stack) -> Iterator[None]:
    """Let a thread answer for the stack."""
    over = threading.Event()

    def drive() -> None:
        while not over.is_set():
            ours.run_once(0.02)

    thread = threading.Thread(target=drive)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def our_udp(ours: Stack, version: int, port: int = 0) -> UdpSocket:
    """Return a UDP socket of the stack, bound to every address, that waits with patience."""
    sock = ours.udp(("::" if version == 6 else "0.0.0.0", port))
    sock.settimeout(PATIENCE)
    return sock


def connected(ours: Stack, host: str, net: Net | None = None) -> tuple[Any, Any]:
    """Connect to a listener of the kernel, which may be in another namespace; both sockets."""
    with net or contextlib.nullcontext(), kernel_listener(host, 5000) as listener:
        sock = ours.socket(_family(host))
        sock.settimeout(PATIENCE)
        sock.connect((host, 5000))
        accepted, _ = listener.accept()
    accepted.settimeout(PATIENCE)
    return sock, accepted


# -------------------------------------------------------------------------------- transfers

PIECE = 1 << 18


def push(sock: Any, data: bytes) -> None:
    """Send it all, and the end."""
    sock.sendall(data)
    sock.shutdown(socket.SHUT_WR)


def pull(sock: Any) -> str:
    """Receive until the end; the SHA-256 of what came."""
    digest = hashlib.sha256()
    while piece := sock.recv(PIECE):
        digest.update(piece)
    return digest.hexdigest()


def transfer(sender: Any, receiver: Any, data: bytes) -> None:
    """Move data from one socket to the other, and see that it is the same."""
    thread = threading.Thread(target=push, args=(sender, data))
    thread.start()
    got = pull(receiver)
    thread.join()
    assert got == hashlib.sha256(data).hexdigest()


def pattern(length: int) -> bytes:
    """Return bytes that repeat nowhere soon."""
    return hashlib.shake_128(b"interop").digest(length)
