# SPDX-License-Identifier: BSD-3-Clause
"""What waits for its time to be over: SO_LINGER in close(), MSG_WAITALL in recv()."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator

import pytest

from pair import Pair

pytestmark = pytest.mark.quiet

LINGER = (1).to_bytes(4, "little")


@pytest.fixture
def pair() -> Iterator[Pair]:
    with Pair() as pair:
        yield pair


def test_waitall_gives_what_there_is_when_the_wait_is_over(pair: Pair) -> None:
    near, far = pair.connect()
    near.send(b"abc")
    pair.pump()
    far.settimeout(0.02)
    assert far.recv(10, socket.MSG_WAITALL) == b"abc"
    near.send(b"abc")
    pair.pump()
    assert far.recv(10, socket.MSG_WAITALL | socket.MSG_PEEK) == b"abc"
    assert far.recv(10, socket.MSG_WAITALL | socket.MSG_DONTWAIT) == b"abc"


def test_close_lingers_until_the_peer_has_it_all(pair: Pair) -> None:
    """socket(7) SO_LINGER: here nobody drives the peer, so the time runs out."""
    near, far = pair.connect()
    near.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\1\0\0\0")
    near.send(b"x")
    begin = time.monotonic()
    near.close()
    assert time.monotonic() - begin >= 0.9
    pair.pump()
    assert far.recv(10) == b"x"


def test_close_returns_when_the_peer_has_it_all(pair: Pair) -> None:
    near, far = pair.connect()
    near.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER + (20).to_bytes(4, "little"))
    near.send(b"x")
    over = threading.Event()

    def drive() -> None:
        while not over.is_set():
            pair.server.run_once(0.01)

    thread = threading.Thread(target=drive)
    thread.start()
    begin = time.monotonic()
    near.close()
    took = time.monotonic() - begin
    over.set()
    thread.join()
    assert took < 19  # of 20 that it may linger
    assert far.recv(10) == b"x"


def test_a_blocking_recv_waits_for_so_much_as_so_rcvlowat_says(pair: Pair) -> None:
    near, far = pair.connect()
    far.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, 5)
    near.send(b"abc")
    pair.pump()
    far.settimeout(0.02)
    with pytest.raises(TimeoutError):
        far.recv(10)
    near.send(b"de")
    pair.pump()
    assert far.recv(10) == b"abcde"
    near.send(b"f")
    pair.pump()
    far.setblocking(False)
    assert far.recv(10) == b"f"
