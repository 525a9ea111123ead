# SPDX-License-Identifier: BSD-3-Clause
"""TCP Fast Open (RFC 7413) and urgent data between us and Linux, each as client and as server."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from netlab import KERNEL4, OURS4, PATIENCE, driven, sysctl
from ustack import Socket, Stack

SYN_DATA = 32  # TCPI_OPT_SYN_DATA


@pytest.fixture
def stack() -> Iterator[Stack]:
    sysctl("net.ipv4.tcp_fastopen", 3)
    with Stack("tap:us0", f"{OURS4}/24", settings={"tcp.fastopen": 3}) as stack:
        yield stack


def syn_data(sock: socket.socket | Socket) -> bool:
    """Was text in the SYN taken?"""
    info = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 104)
    assert isinstance(info, bytes)
    return bool(info[5] & SYN_DATA)


def test_we_open_fast_to_linux(stack: Stack) -> None:
    with socket.create_server((KERNEL4, 8000)) as listener, driven(stack):
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_FASTOPEN, 5)
        for fast in (False, True, True):
            with stack.socket() as sock:
                sock.settimeout(PATIENCE)
                assert sock.sendto(b"hello", socket.MSG_FASTOPEN, (KERNEL4, 8000)) == 5
                conn, _ = listener.accept()
                with conn:
                    assert conn.recv(10) == b"hello"
                    conn.sendall(b"world")
                assert sock.recv(10) == b"world"
                assert sock.recv(10) == b""
                assert syn_data(sock) is fast


def test_linux_opens_fast_to_us(stack: Stack) -> None:
    with stack.listen((OURS4, 8000)) as listener:
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_FASTOPEN, 5)
        listener.settimeout(PATIENCE)
        for fast in (False, True, True):
            with socket.socket() as sock, driven(stack):
                assert sock.sendto(b"hello", socket.MSG_FASTOPEN, (OURS4, 8000)) == 5
                conn, _ = listener.accept()
                conn.settimeout(PATIENCE)
                assert conn.recv(10) == b"hello"
                conn.sendall(b"world")
                conn.close()
                assert sock.recv(10) == b"world"
                assert sock.recv(10) == b""
                assert syn_data(sock) is fast
        assert stack.counters()["tcp.fastopen.passive"] == 2


def test_linux_with_an_old_cookie_gets_a_new_one(stack: Stack) -> None:
    """Its text arrives all the same, behind the handshake."""
    with stack.listen((OURS4, 8000)) as listener:
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_FASTOPEN, 5)
        listener.settimeout(PATIENCE)
        for period, fast in ((86400, False), (86400, True), (60, False), (60, True)):
            stack.settings["tcp.fastopen_key_s"] = period  # and so the keys are others
            with socket.socket() as sock, driven(stack):
                sock.sendto(b"hello", socket.MSG_FASTOPEN, (OURS4, 8000))
                conn, _ = listener.accept()
                with conn:
                    conn.settimeout(PATIENCE)
                    assert conn.recv(10) == b"hello"
                assert sock.recv(10) == b""
                assert syn_data(sock) is fast


def test_urgent_bytes_are_seen_by_both(stack: Stack) -> None:
    """RFC 6093: Linux and we put the pointer behind the byte."""
    with socket.create_server((KERNEL4, 8000)) as listener, driven(stack):
        sock = stack.connect((KERNEL4, 8000), timeout=PATIENCE)
        conn, _ = listener.accept()  # which blocks: a timeout would poll for bytes in line
        with sock, conn:
            sock.send(b"ab!", socket.MSG_OOB)
            assert conn.recv(10) == b"ab"
            assert conn.recv(1, socket.MSG_OOB) == b"!"
            conn.send(b"cd?", socket.MSG_OOB)
            assert sock.recv(10) == b"cd"
            assert sock.recv(1, socket.MSG_OOB) == b"?"
