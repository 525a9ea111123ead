# SPDX-License-Identifier: BSD-3-Clause
"""ustack.selectors: sockets of a stack without doorbells, beside whatever has a descriptor."""

from __future__ import annotations

import os
import socket as kernel
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from stopwatch import Stopwatch
from ustack import Stack, selectors, socket
from ustack.selectors import EVENT_READ, EVENT_WRITE, DefaultSelector

pytestmark = pytest.mark.quiet

PATIENCE = 20.0


@pytest.fixture
def selector(process_stack: Stack) -> Iterator[DefaultSelector]:
    with DefaultSelector() as selector:
        yield selector


def connection() -> tuple[Any, Any]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        near = socket.create_connection(listener.getsockname())
        return near, listener.accept()[0]


def test_a_socket_of_a_stack_gets_no_descriptor(selector: DefaultSelector) -> None:
    near, far = connection()
    with near, far:
        key = selector.register(far, EVENT_READ, "data")
        assert (key.fileobj, key.fd, key.events, key.data) == (far, -1, EVENT_READ, "data")
        assert selector.get_key(far) == key
        assert selector.select(0) == []
        near.sendall(b"x")
        assert selector.select(PATIENCE) == [(key, EVENT_READ)]
        assert selector.select(PATIENCE) == [(key, EVENT_READ)]  # as long as it can be read
        assert far.recv(1) == b"x"
        assert selector.select(0) == []
        assert "fd=-1" in repr(far)


def test_what_is_wanted_can_change(selector: DefaultSelector) -> None:
    near, far = connection()
    with near, far:
        selector.register(far, EVENT_READ)
        key = selector.modify(far, EVENT_READ | EVENT_WRITE, 7)
        assert selector.select(PATIENCE) == [(key, EVENT_WRITE)]
        assert selector.unregister(far) == key
        with pytest.raises(KeyError):
            selector.unregister(far)


def test_kernels_descriptors_stand_beside_them(selector: DefaultSelector) -> None:
    near, far = connection()
    ours, theirs = kernel.socketpair()
    with near, far, ours, theirs:
        a = selector.register(far, EVENT_READ)
        b = selector.register(ours, EVENT_READ)
        assert len(selector.get_map()) == 2
        theirs.send(b"x")
        assert selector.select(PATIENCE) == [(b, EVENT_READ)]
        near.sendall(b"x")
        assert sorted(selector.select(PATIENCE), key=lambda row: row[0].fd) == [
            (a, EVENT_READ),
            (b, EVENT_READ),
        ]


def test_a_descriptor_wakes_who_sleeps_for_the_stack(selector: DefaultSelector) -> None:
    near, far = connection()
    read, write = os.pipe()
    with near, far:
        selector.register(far, EVENT_READ)
        key = selector.register(read, EVENT_READ)
        timer = threading.Timer(0.05, os.write, (write, b"x"))
        timer.start()
        watch = Stopwatch()
        assert selector.select(PATIENCE) == [(key, EVENT_READ)]
        assert watch.own_seconds < 1
        timer.join()
    os.close(read)
    os.close(write)


def test_a_timeout_is_kept(selector: DefaultSelector) -> None:
    near, far = connection()
    with near, far:
        selector.register(far, EVENT_READ)
        watch = Stopwatch()
        assert selector.select(0.1) == []
        assert watch.seconds >= 0.1
        assert watch.own_seconds < 0.2


def test_a_socket_registered_before_it_was_the_stacks_is_followed(
    selector: DefaultSelector,
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener, socket.socket() as near:
        near.setblocking(False)
        selector.register(near, EVENT_WRITE)
        near.connect_ex(listener.getsockname())
        ((key, events),) = selector.select(PATIENCE)
        assert (key.fileobj, key.fd, events) == (near, -1, EVENT_WRITE)
        assert near.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0


def test_the_end_of_a_connection_can_be_read(selector: DefaultSelector) -> None:
    near, far = connection()
    with near, far:
        key = selector.register(far, EVENT_READ)
        near.close()
        assert selector.select(PATIENCE) == [(key, EVENT_READ)]
        assert far.recv(1) == b""


def test_bad_events_and_strangers_are_refused(selector: DefaultSelector) -> None:
    near, far = connection()
    with near, far:
        with pytest.raises(ValueError, match="events"):
            selector.register(far, 0)
        with pytest.raises(KeyError):
            selector.get_key(far)
        selector.register(far, EVENT_READ)
        with pytest.raises(KeyError):
            selector.register(far, EVENT_READ)
    assert selectors.SelectSelector is not None
