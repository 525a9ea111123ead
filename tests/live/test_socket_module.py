# SPDX-License-Identifier: BSD-3-Clause
"""ustack.socket: the standard library's module over the process's stack."""

from __future__ import annotations

import select
import socket as kernel
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from pair import ring_url
from ustack import Stack, process, socket

OURS, PEERS = "10.9.0.2", "10.9.0.1"
PATIENCE = 20.0


@pytest.fixture
def peer() -> Iterator[Stack]:
    """A stack on the other side of the process's."""
    url = ring_url()
    process.install(None)
    with Stack(url, f"{OURS}/24") as ours, Stack(url, f"{PEERS}/24") as peers:
        process.install(ours)
        yield peers
    process.install(None)


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(8) as pool:
        yield pool


def connected(peer: Stack, pool: ThreadPoolExecutor, port: int = 80) -> tuple[Any, Any]:
    """Return the two ends of a connection: ours, accepted, and the peer's."""
    with socket.create_server((OURS, port)) as listener:
        near = pool.submit(peer.connect, (OURS, port), PATIENCE)
        conn, address = listener.accept()
        assert address[0] == PEERS
        return conn, near.result(PATIENCE)


def test_it_has_every_name_of_the_standard_librarys() -> None:
    assert [name for name in kernel.__all__ if not hasattr(socket, name)] == []
    assert issubclass(socket.socket, kernel.socket)


def test_it_is_the_kernels_until_it_names_an_owned_address(peer: Stack) -> None:
    with socket.socket() as sock:
        assert sock.endpoint is None
        sock.bind(("127.0.0.1", 0))
        assert sock.endpoint is None
        assert sock.getsockname()[0] == "127.0.0.1"
    with socket.socket() as sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.bind((OURS, 0))
        assert sock.endpoint is not None
        assert sock.getsockname()[0] == OURS
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) == 1


def test_bytes_go_both_ways(peer: Stack, pool: ThreadPoolExecutor) -> None:
    ours, theirs = connected(peer, pool)
    with ours, theirs:
        theirs.sendall(b"question")
        assert ours.recv(100) == b"question"
        ours.sendall(b"answer")
        assert theirs.recv(100) == b"answer"


def test_a_doorbell_polls_as_the_socket_does(peer: Stack, pool: ThreadPoolExecutor) -> None:
    ours, theirs = connected(peer, pool)
    with ours, theirs:
        assert select.select([ours], [ours], [], 0) == ([], [ours], [])
        theirs.sendall(b"x")
        assert select.select([ours], [], [], PATIENCE)[0] == [ours]
        assert ours.recv(100) == b"x"
        assert select.select([ours], [], [], 0)[0] == []


def test_a_timeout_is_kept(peer: Stack, pool: ThreadPoolExecutor) -> None:
    ours, theirs = connected(peer, pool)
    with ours, theirs:
        ours.settimeout(0.1)
        begin = time.monotonic()
        with pytest.raises(TimeoutError, match="timed out"):
            ours.recv(1)
        assert 0.1 <= time.monotonic() - begin < 0.2


def test_a_listener_of_both_that_is_polled_accepts_from_both(
    peer: Stack, pool: ThreadPoolExecutor
) -> None:
    with socket.create_server(("", 0)) as listener:
        port = listener.getsockname()[1]
        listener.settimeout(PATIENCE)
        assert select.select([listener], [], [], 0)[0] == []
        with kernel.create_connection(("127.0.0.1", port)):
            assert select.select([listener], [], [], PATIENCE)[0] == [listener]
            conn, address = listener.accept()
            assert address[0] == "127.0.0.1"
            conn.close()
        near = pool.submit(peer.connect, (OURS, port), PATIENCE)
        assert select.select([listener], [], [], PATIENCE)[0] == [listener]
        conn, address = listener.accept()
        assert address[0] == PEERS
        conn.close()
        near.result(PATIENCE).close()
