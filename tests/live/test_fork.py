# SPDX-License-Identifier: BSD-3-Clause
"""A stack stays with its process: the child of a fork is told so, and the parent goes on."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from two import run

import ustack._native
from pair import CLIENT, SERVER, Pair, ring_url
from ustack import Stack

KNOWN = "stays with the process that opened it"


def in_child(body: Callable[[], object]) -> str:
    """Fork; what the child's body raised, as text, "" for nothing."""
    reader, writer = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # there are threads
        child = os.fork()
    if child == 0:
        try:
            body()
            text = ""
        except BaseException as error:
            text = f"{type(error).__name__}: {error}"
        os.write(writer, text.encode())
        os._exit(0)
    os.close(writer)
    with open(reader, "rb") as pipe:
        text = pipe.read().decode()
    os.waitpid(child, 0)
    return text


CALLS: dict[str, Callable[[Any], object]] = {
    "accept": lambda t: t.listener.accept(),
    "recv": lambda t: t.far.recv(1),
    "recv_into": lambda t: t.far.recv_into(bytearray(1)),
    "send": lambda t: t.far.send(b"x"),
    "sendall": lambda t: t.far.sendall(b"x"),
    "shutdown": lambda t: t.far.shutdown(2),
    "getsockname": lambda t: t.far.getsockname(),
    "getsockopt": lambda t: t.far.getsockopt(1, 4),
    "setsockopt": lambda t: t.far.setsockopt(1, 9, 1),
    "tcp_info": lambda t: t.far.tcp_info(),
    "socket": lambda t: t.pair.server.socket(),
    "udp": lambda t: t.pair.server.udp(),
    "recvfrom": lambda t: t.udp.recvfrom(1),
    "sendto": lambda t: t.udp.sendto(b"x", (CLIENT, 9)),
    "listen": lambda t: t.pair.server.listen((SERVER, 81)),
    "connect": lambda t: t.pair.server.connect((CLIENT, 80)),
    "run_once": lambda t: t.pair.server.run_once(),
    "counters": lambda t: t.pair.server.counters(),
    "add_address": lambda t: t.pair.server.add_address("10.9.1.1/24"),
    "set": lambda t: t.pair.server.set("tcp.syn_retries", 3),
}


class Things:
    """One of everything that can be called."""

    def __init__(self, pair: Pair) -> None:
        self.pair = pair
        self.near, self.far = pair.connect()
        self.listener = pair.listen(82)
        self.udp = pair.server.udp((SERVER, 9))
        for sock in (self.far, self.listener, self.udp):
            sock.settimeout(None)

    def close(self) -> None:
        for sock in (self.near, self.far, self.listener, self.udp):
            sock.close()


def test_every_call_of_a_child_fails_and_says_why_and_the_parent_goes_on() -> None:
    with Pair(guardian=True) as pair:
        things = Things(pair)
        told = {name: in_child(partial(call, things)) for name, call in CALLS.items()}
        assert {name: text for name, text in told.items() if KNOWN not in text} == {}
        things.near.send(b"still here")
        pair.pump()
        assert things.far.recv(100) == b"still here"
        things.close()


def test_a_child_may_close_everything_and_end() -> None:
    with Pair() as pair:
        things = Things(pair)

        def close() -> None:
            things.close()
            pair.close()

        assert in_child(close) == ""
        things.near.send(b"still here")
        pair.pump()
        assert things.far.recv(100) == b"still here"
        assert pair.server.ports[0].info.link_up
        things.close()


def test_a_child_can_open_a_stack_of_its_own() -> None:
    url = ring_url()

    def talk() -> None:
        with Stack(url, f"{CLIENT}/24") as stack, stack.connect((SERVER, 80), 10) as conn:
            conn.sendall(b"from the child")

    with Stack(url, f"{SERVER}/24") as stack, stack.listen((SERVER, 80)) as listener:
        assert in_child(talk) == ""
        conn, _ = listener.accept()
        with conn:
            assert conn.recv(100) == b"from the child"


def test_a_child_that_goes_on_in_the_loop_is_told(base: str) -> None:
    async def main() -> None:
        loop: Any = asyncio.get_running_loop()
        dispatcher = next(iter(loop._stacks.values()))
        assert KNOWN in in_child(lambda: dispatcher.poll(0, 0))
        process = await asyncio.create_subprocess_exec(sys.executable, "-c", "print(1)", stdout=-1)
        assert (await process.communicate())[0] == b"1\n"

    assert run(main) == []


def test_a_subprocess_inherits_nothing() -> None:
    command = [sys.executable, "-c", "import os; print(os.listdir('/proc/self/fd'))"]

    def inherited(close_fds: bool) -> bytes:
        return subprocess.run(command, close_fds=close_fds, stdout=-1, check=True).stdout

    before = [inherited(False), inherited(True)]
    with Pair(guardian=True) as pair:
        near, far = pair.connect()
        assert [inherited(False), inherited(True)] == before
        near.send(b"still here")
        pair.pump()
        assert far.recv(100) == b"still here"


def test_only_a_child_says_that_it_is_one() -> None:
    assert not ustack._native.forked
    with Pair() as pair, pair.client.socket() as sock:
        sock.close()
        with pytest.raises(OSError, match="Bad file descriptor") as caught:
            sock.send(b"x")
        assert KNOWN not in str(caught.value)
