# SPDX-License-Identifier: BSD-3-Clause
"""The stack's TCP connects to the kernel's."""

from __future__ import annotations

import hashlib
import socket
import threading
from collections.abc import Iterator

import pytest

from netlab import KERNEL4, OURS4, PATIENCE, pattern, receive_all, sysctl
from ustack import Socket, Stack

MEGABYTES = pattern(10_000_000)


@pytest.fixture
def stack(request: pytest.FixtureRequest) -> Iterator[Stack]:
    """A stack without a loop, for blocking calls."""
    with Stack(f"tap:us0{getattr(request, 'param', '')}", f"{OURS4}/24") as stack:
        yield stack


@pytest.fixture
def listener(stack: Stack) -> Iterator[socket.socket]:
    """The kernel's."""
    with socket.create_server((KERNEL4, 8000), backlog=1024) as listener:
        listener.settimeout(PATIENCE)
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, b"cubic")
        yield listener


def connect(stack: Stack) -> Socket:
    return stack.connect((KERNEL4, 8000), timeout=PATIENCE)


both = pytest.mark.parametrize("stack", ["?offload=1", "?offload=0"], indirect=True)


@both
def test_ten_megabytes_arrive_at_the_kernel(stack: Stack, listener: socket.socket) -> None:
    got: list[str] = []

    def serve() -> None:
        with listener.accept()[0] as conn:
            got.append(hashlib.sha256(receive_all(conn)).hexdigest())

    server = threading.Thread(target=serve)
    server.start()
    with connect(stack) as sock:
        sock.sendall(MEGABYTES)
        sock.shutdown(socket.SHUT_WR)
        assert sock.recv(1) == b""
    server.join()
    assert got == [hashlib.sha256(MEGABYTES).hexdigest()]


@both
def test_ten_megabytes_arrive_from_the_kernel(stack: Stack, listener: socket.socket) -> None:
    def serve() -> None:
        with listener.accept()[0] as conn:
            conn.sendall(MEGABYTES)

    server = threading.Thread(target=serve)
    server.start()
    digest = hashlib.sha256()
    with connect(stack) as sock:
        while piece := sock.recv(1 << 18):
            digest.update(piece)
    server.join()
    assert digest.digest() == hashlib.sha256(MEGABYTES).digest()


def test_a_port_that_is_closed_at_the_kernel_refuses(stack: Stack) -> None:
    with pytest.raises(ConnectionRefusedError, match=rf"{KERNEL4}:81"):
        stack.connect((KERNEL4, 81), timeout=PATIENCE)


def test_the_kernel_sees_where_we_come_from(stack: Stack, listener: socket.socket) -> None:
    with connect(stack) as sock:
        conn, peer = listener.accept()
        with conn:
            assert peer == sock.getsockname()
            assert sock.getpeername() == (KERNEL4, 8000)


def test_a_kernel_that_resets_is_a_reset(stack: Stack, listener: socket.socket) -> None:
    with connect(stack) as sock:
        conn, _ = listener.accept()
        sock.sendall(b"unread")
        assert conn.recv(1) == b"u"
        conn.close()  # with bytes unread: a RST
        with pytest.raises(ConnectionResetError):
            sock.recv(1)


def test_a_thousand_connections_at_once_get_their_own_bytes(
    stack: Stack, listener: socket.socket
) -> None:
    count = 1000
    conns = []

    def serve() -> None:
        for _ in range(count):
            conns.append(listener.accept()[0])
        for conn in conns:
            conn.sendall(conn.recv(100))
            conn.close()

    server = threading.Thread(target=serve)
    server.start()
    socks = [connect(stack) for _ in range(count)]
    for number, sock in enumerate(socks):
        sock.sendall(b"%d" % number)
    for number, sock in enumerate(socks):
        assert sock.recv(100) == b"%d" % number
        assert sock.recv(1) == b""
        sock.close()
    server.join()
    while stack.usage()["tcbs"] > 0:  # until our FINs are acknowledged
        assert stack.run_once(PATIENCE)


def test_a_kernel_that_wants_ecn_is_met_without(stack: Stack, listener: socket.socket) -> None:
    sysctl("net.ipv4.tcp_ecn", 1)
    with connect(stack) as sock:
        conn, _ = listener.accept()
        with conn:
            conn.sendall(b"hello")
            assert sock.recv(5) == b"hello"
