# SPDX-License-Identifier: BSD-3-Clause
"""Several event loops on one stack: one at a time has connections; the others are told."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from two import BASE, CLIENT, SERVER, Recorder, payload, two_stacks

from ustack import Stack, aio
from ustack.apps.echo import Echo

pytestmark = pytest.mark.usefixtures("base")

PATIENCE = 20.0
OTHERS = "another event loop has connections or servers on this stack: .*EventLoop.*; close it, or"


class Serving:
    """An echo server of a stack on a loop in a thread of its own."""

    def __init__(self, stack: Stack) -> None:
        self._stack, self._base = stack, BASE.get()
        self._over: Any = None
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()
        assert self._ready.wait(PATIENCE)

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=self._factory) as runner:
            runner.run(self._main())

    def _factory(self) -> Any:
        return aio.new_event_loop(self._stack, base=self._base)

    async def _main(self) -> None:
        self.loop = asyncio.get_running_loop()
        self._over = asyncio.Event()
        async with await self.loop.create_server(Echo, SERVER, 7) as server:
            self.port = server.sockets[0].getsockname()[1]  # type: ignore[attr-defined]
            self._ready.set()
            await self._over.wait()

    def stop(self) -> None:
        if self._thread.is_alive():
            self.loop.call_soon_threadsafe(self._over.set)
            self._thread.join(PATIENCE)
        assert not self._thread.is_alive()


@pytest.fixture
def stacks() -> Iterator[tuple[Stack, Stack]]:
    with two_stacks() as both:
        yield both


async def fails_everywhere(stack: Stack) -> None:
    """Try all that gives a loop a part of a stack."""
    loop: Any = asyncio.get_running_loop()
    for kind in socket.SOCK_STREAM, socket.SOCK_DGRAM:
        with stack.socket(socket.AF_INET, kind) as sock:
            sock.setblocking(False)
            with pytest.raises(RuntimeError, match=OTHERS):
                loop.add_reader(sock, print)
    for making in (
        loop.create_connection(Recorder, CLIENT, 9),
        loop.create_server(Echo, SERVER, 0),
        loop.create_datagram_endpoint(asyncio.DatagramProtocol, local_addr=(SERVER, 0)),
        loop.create_datagram_endpoint(asyncio.DatagramProtocol, remote_addr=(CLIENT, 9)),
    ):
        with pytest.raises(RuntimeError, match=OTHERS):
            await making


def test_a_second_loop_is_told_that_the_stack_is_anothers(stacks: Any) -> None:
    ours, theirs = stacks
    before = ours.usage()
    serving = Serving(ours)
    try:
        aio.run(fails_everywhere(ours), ours, base=BASE.get())
        with theirs.connect((SERVER, 7), timeout=PATIENCE) as peer:  # the first loop goes on
            peer.sendall(b"hello")
            assert peer.recv(100) == b"hello"
    finally:
        serving.stop()
    after = ours.usage()
    for name in ("listeners", "udp_socks"):
        assert after[name] == before[name]


def test_what_the_first_loop_gives_up_the_second_may_have(stacks: Any) -> None:
    ours, theirs = stacks
    serving = Serving(ours)

    async def main() -> None:
        loop = asyncio.get_running_loop()
        with pytest.raises(RuntimeError, match=OTHERS):
            await loop.create_server(Echo, SERVER, 8)
        await loop.run_in_executor(None, serving.stop)
        async with await loop.create_server(Echo, SERVER, 7):

            def talk() -> bytes:
                with theirs.connect((SERVER, 7), timeout=PATIENCE) as peer:
                    peer.sendall(b"hello")
                    return bytes(peer.recv(100))

            assert await loop.run_in_executor(None, talk) == b"hello"

    try:
        aio.run(main(), ours, base=BASE.get())
    finally:
        serving.stop()


def test_a_loop_that_only_runs_disturbs_nobody(stacks: Any) -> None:
    """Its turns, its sleep and its attempts beside another's traffic: every byte is echoed."""
    ours, theirs = stacks
    serving, data = Serving(ours), payload(300_000)

    def talk() -> bytes:
        got = bytearray()
        with theirs.connect((SERVER, 7), timeout=PATIENCE) as peer:
            for start in range(0, len(data), 3000):
                piece = data[start : start + 3000]
                peer.sendall(piece)
                while len(got) < start + len(piece):
                    got += peer.recv(65536)
        return bytes(got)

    async def main() -> list[bytes]:
        loop = asyncio.get_running_loop()
        talking = [loop.run_in_executor(pool, talk) for _ in range(2)]
        refused = 0
        while not all(t.done() for t in talking):
            await asyncio.sleep(0.001 if refused % 2 else 0)
            with pytest.raises(RuntimeError, match=OTHERS):
                await loop.create_connection(Recorder, CLIENT, 9)
            refused += 1
        return [await t for t in talking]

    try:
        with ThreadPoolExecutor(2) as pool:
            assert aio.run(main(), ours, base=BASE.get()) == [data, data]
    finally:
        serving.stop()


def test_two_loops_in_one_thread_take_turns(stacks: Any) -> None:
    """The second may have connections once the first has none; closed or not."""
    first, second = (aio.new_event_loop(*stacks, base=BASE.get()) for _ in range(2))

    async def main() -> bytes:
        loop = asyncio.get_running_loop()
        server = await loop.create_server(Echo, SERVER, 7)
        _, protocol = await loop.create_connection(Recorder, SERVER, 7)
        protocol.transport.write(b"hello")
        data = await protocol.received(5)
        protocol.transport.close()
        server.close()
        for dispatcher in loop._stacks.values():  # type: ignore[attr-defined]
            while dispatcher.endpoints:
                await asyncio.sleep(0)
        return data

    for loop in (first, second, first):
        assert loop.run_until_complete(main()) == b"hello"
    first.close()
    second.close()
