# SPDX-License-Identifier: BSD-3-Clause
"""A loop that is closed over live connections: what their peers see, on the kernel and on a stack.

The peer is a blocking socket of the kernel's, or of another stack, and sees the same of both.
"""

from __future__ import annotations

import asyncio
import gc
import select
import threading
import time
import warnings
import weakref
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest
from two import BASE, CLIENT, NOBODY, SERVER, Recorder, payload, two_stacks

import ustack
from pair import ring_url
from stopwatch import Stopwatch
from ustack import ConfigError, Stack, aio
from ustack._aio import Dispatcher
from ustack._native import ffi
from ustack.apps.echo import Echo

pytestmark = pytest.mark.usefixtures("base")

PATIENCE = 20.0
Act = Callable[[Any, Any], Awaitable[None]]


class Place:
    """Where a program runs."""

    host = "127.0.0.1"
    stacks: tuple[Stack, ...] = ()

    def __init__(self, *stacks: Stack) -> None:
        if stacks:
            self.stacks, self.host = stacks, SERVER

    def new_event_loop(self) -> asyncio.AbstractEventLoop:
        return aio.new_event_loop(*self.stacks[:1], base=BASE.get())

    def connect(self, address: Any) -> Any:
        import socket

        if self.stacks:
            return self.stacks[1].connect(address, timeout=PATIENCE)
        return socket.create_connection(address, timeout=PATIENCE)


@pytest.fixture
def places() -> Iterator[tuple[Place, Place]]:
    with two_stacks() as stacks:
        yield Place(), Place(*stacks)


def run_and_close(place: Place, act: Act) -> tuple[Any, list[Any]]:
    """Run a server's half of a connection and close the loop over it; the peer, and the calls that
    its protocol got.
    """
    loop = place.new_event_loop()

    async def main() -> tuple[Any, Any]:
        made = loop.create_future()

        class Protocol(Recorder):
            keep_open = True

            def connection_made(self, transport: Any) -> None:
                super().connection_made(transport)
                made.set_result(self)

        server = await loop.create_server(Protocol, place.host, 0)
        address = server.sockets[0].getsockname()
        peer = await loop.run_in_executor(None, place.connect, address)
        protocol = await made
        protocol.keep_open = True
        await act(protocol, peer)
        return peer, protocol

    try:
        peer, protocol = loop.run_until_complete(main())
    finally:
        loop.close()
    calls = protocol.calls
    del protocol  # where the loop does not close its connections, their end does
    gc.collect()
    return peer, calls


def all_of(peer: Any) -> tuple[bytes, str]:
    """Read to the end; the bytes, and how it ended."""
    got = bytearray()
    with peer:
        while True:
            try:
                data = peer.recv(65536)
            except OSError as error:
                return bytes(got), type(error).__name__
            if not data:
                return bytes(got), "the end"
            got += data


async def until_readable(protocol: Any) -> None:
    sock = protocol.transport.get_extra_info("socket")
    while not select.select([sock], [], [], 0)[0]:
        await asyncio.sleep(0.001)


# --------------------------------------------------------------------- what the peer sees


async def nothing(protocol: Any, peer: Any) -> None:
    pass


async def write_some(protocol: Any, peer: Any) -> None:
    protocol.transport.write(payload(5000))


async def write_and_shut(protocol: Any, peer: Any) -> None:
    protocol.transport.write(payload(5000))
    protocol.transport.write_eof()


async def read_some(protocol: Any, peer: Any) -> None:
    await asyncio.get_running_loop().run_in_executor(None, peer.sendall, b"hello")
    await protocol.received(5)


async def read_to_the_end(protocol: Any, peer: Any) -> None:
    peer.shutdown(1)
    await protocol.until(lambda: "eof" in protocol.calls)


async def leave_unread(protocol: Any, peer: Any) -> None:
    protocol.transport.pause_reading()
    peer.sendall(b"hello")
    await until_readable(protocol)


CASES = (nothing, write_some, write_and_shut, read_some, read_to_the_end, leave_unread)


@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.parametrize("act", CASES, ids=lambda act: act.__name__)
def test_connections_of_a_closed_loop_end_as_the_kernels_do(places: Any, act: Act) -> None:
    """Kernel: close(2) sends what it has and FIN; RST if there is anything unread."""
    seen = []
    for place in places:
        peer, calls = run_and_close(place, act)
        seen.append((*all_of(peer), calls))
    kernels, ours = seen
    assert ours == kernels
    assert ours[1] == ("ConnectionResetError" if act is leave_unread else "the end")
    assert "lost" not in ours[2]


@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_what_the_loop_had_not_given_away_is_lost_and_the_end_is_seen_all_the_same(
    places: Any,
) -> None:
    data = payload(20_000_000)

    async def write_too_much(protocol: Any, peer: Any) -> None:
        protocol.transport.write(data)
        assert protocol.transport.get_write_buffer_size() > 0

    for place in places:
        peer, _ = run_and_close(place, write_too_much)
        got, end = all_of(peer)
        assert end == "the end"
        assert 0 < len(got) < len(data)
        assert data.startswith(got)


def test_a_transport_that_nobody_closed_is_warned_of(places: Any) -> None:
    for place in places:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", ResourceWarning)
            peer, _ = run_and_close(place, nothing)
            peer.close()
        about = [str(w.message) for w in caught if "ransport" in str(w.message)]
        assert len(about) == 1
        assert about[0].startswith("unclosed ")


def test_a_transport_that_was_closed_is_not_warned_of(places: Any) -> None:
    async def close(protocol: Any, peer: Any) -> None:
        protocol.transport.close()

    for place in places:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", ResourceWarning)
            peer, _ = run_and_close(place, close)
            assert all_of(peer) == (b"", "the end")
        assert not [w for w in caught if "ransport" in str(w.message)]


def test_nor_is_one_that_was_closed_with_bytes_left_to_send(places: Any) -> None:
    async def write_too_much_and_close(protocol: Any, peer: Any) -> None:
        protocol.transport.write(payload(20_000_000))
        protocol.transport.close()
        assert protocol.transport.get_write_buffer_size() > 0

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", ResourceWarning)
        peer, _ = run_and_close(places[1], write_too_much_and_close)
        peer.close()
    assert not [w for w in caught if "ransport" in str(w.message)]


# ------------------------------------------------------------------------- nothing is left


@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_a_closed_loop_leaves_nothing_behind() -> None:
    """Neither objects nor connections nor buffers, whatever the connections were doing."""
    kept: list[weakref.ref[Any]] = []
    under_way: set[Any] = set()

    async def main() -> None:
        loop: Any = asyncio.get_running_loop()
        server = await loop.create_server(Recorder, SERVER, 7)
        for number in range(8):
            transport, protocol = await loop.create_connection(Recorder, SERVER, 7)
            kept.extend(map(weakref.ref, (transport, protocol)))
            transport.write(payload((0, 100, 3_000_000, 50_000)[number % 4]))
            if number % 2:
                transport.write_eof()
        box, _ = await loop.create_datagram_endpoint(
            asyncio.DatagramProtocol, local_addr=(SERVER, 0)
        )
        under_way.add(loop.create_task(loop.create_connection(Recorder, NOBODY, 9)))
        await asyncio.sleep(0)
        kept.append(weakref.ref(box))
        server.close()

    with two_stacks() as stacks:
        idle = [stack.usage() for stack in stacks]
        loop = aio.new_event_loop(*stacks, base=BASE.get())
        loop.run_until_complete(main())
        loop.close()
        del loop
        under_way.clear()
        gc.collect()
        assert [ref() for ref in kept if ref() is not None] == []
        names = ("tcbs", "orphans", "listeners", "requests", "udp_socks", "mbufs_large")
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            for stack in stacks:
                stack.run_once()
            usage = [stack.usage() for stack in stacks]
            if all(u[n] <= i[n] for u, i in zip(usage, idle, strict=True) for n in names):
                break
        for u, i in zip(usage, idle, strict=True):
            assert {n: u[n] for n in names} == {n: i[n] for n in names}
            assert u["mbufs_ref"] == 0


def test_a_loop_that_is_dropped_leaves_the_engine_nobody_to_call() -> None:
    class Loop:
        def call_soon(self, *args: Any) -> None:
            pass

    async def main() -> bytes:
        loop = asyncio.get_running_loop()
        await loop.create_server(Echo, SERVER, 7)
        _, client = await loop.create_connection(Recorder, SERVER, 7)
        client.transport.write(b"hello")
        data = await client.received(5)
        client.transport.close()
        return data

    with two_stacks() as stacks:
        worker, engine = (
            int(ffi.cast("uintptr_t", p)) for p in (stacks[0]._worker, stacks[0]._engine)
        )
        loop: Any = Loop()
        loop.dispatcher = Dispatcher(worker, engine, loop, stacks[0])
        sock = stacks[0].listen((SERVER, 0))
        loop.dispatcher.watch(sock._handle, print)
        gone = weakref.ref(loop)
        del loop
        gc.collect()
        assert gone() is None
        peer = stacks[1].connect(sock.getsockname(), timeout=PATIENCE)  # an event of nobody's
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ResourceWarning)
            assert aio.run(main(), *stacks, base=BASE.get()) == b"hello"
        sock.accept()[0].close()
        assert all_of(peer) == (b"", "the end")
        sock.close()


# -------------------------------------------------------------------------------- run()


@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_the_end_of_run_delivers_what_the_stack_has_taken() -> None:
    """Bytes that need several round trips, to a peer that begins to read after the program."""
    url, data, got = ring_url(), payload(60_000), []
    serving, over = threading.Event(), threading.Event()
    port: list[int] = []

    async def main() -> None:
        loop = asyncio.get_running_loop()
        made = loop.create_future()

        class Serves(asyncio.Protocol):
            def connection_made(self, transport: Any) -> None:
                transport.set_write_buffer_limits(0)
                made.set_result(transport)

        server = await loop.create_server(Serves, SERVER, 0)
        port.append(server.sockets[0].getsockname()[1])
        serving.set()
        transport = await made
        transport.write(data)
        while transport.get_write_buffer_size():
            await asyncio.sleep(0)
        threading.Timer(0.3, over.set).start()  # there has been no acknowledgement so far

    with Stack(url, f"{CLIENT}/24", guardian=False) as theirs:

        def read() -> None:
            serving.wait(PATIENCE)
            peer = theirs.connect((SERVER, port[0]), timeout=PATIENCE)
            over.wait(PATIENCE)
            got.append(all_of(peer))

        reader = threading.Thread(target=read)
        reader.start()
        ustack.run(main, io=url, address=f"{SERVER}/24", base=BASE.get(), linger=PATIENCE)
        reader.join(PATIENCE)
    assert got == [(data, "the end")]


def test_a_stack_lingers_as_long_as_it_is_told() -> None:
    """A peer that never closes its half keeps a connection in FIN-WAIT-2."""
    url = ring_url()
    with Stack(url, f"{CLIENT}/24") as theirs:
        for linger in (0.0, 0.3):
            ours = Stack(url, f"{SERVER}/24", linger=linger)
            with ours.listen((SERVER, 7)) as listener:
                peer = theirs.connect((SERVER, 7), timeout=PATIENCE)
                listener.accept()
            started = time.monotonic()
            ours.close()
            assert time.monotonic() - started >= linger
            peer.abort()
    watch = Stopwatch()
    Stack(url, f"{SERVER}/24", linger=PATIENCE).close()  # there is nobody to linger for
    assert watch.own_seconds < PATIENCE / 2
    with pytest.raises(ConfigError, match=r"linger must be 0\.\.3600 seconds, got -1"):
        Stack("loop:", linger=-1)
