# SPDX-License-Identifier: BSD-3-Clause
"""One stack, both ends: a client and a server of the same process over its loopback."""

from __future__ import annotations

import asyncio
import hashlib
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from two import Recorder, payload

from pair import ring_url
from stopwatch import Stopwatch
from ustack import Stack, aio

TIMEOUT = 20.0
OURS = "10.9.0.2"


@pytest.fixture(scope="module")
def alone() -> Iterator[Stack]:
    """A stack without an outside."""
    with Stack("loop:") as stack:
        yield stack


@pytest.fixture
def stack() -> Iterator[Stack]:
    """A stack with an outside, where nobody is."""
    with Stack(ring_url(), f"{OURS}/24", loopback=True) as stack:
        yield stack


def echo(conn: socket.socket) -> None:
    with conn:
        conn.settimeout(TIMEOUT)
        while data := conn.recv(1 << 16):
            conn.sendall(data)


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", OURS])
def test_bulk_through_a_blocking_server_in_a_thread(stack: Stack, host: str) -> None:
    """8 MB and its echo, whole."""
    data, got = payload(8 << 20), hashlib.sha256()
    with stack.listen((host, 0)) as listener, ThreadPoolExecutor() as pool:
        served = pool.submit(lambda: echo(listener.accept()[0]))
        with stack.connect(listener.getsockname()[:2], timeout=TIMEOUT) as conn:
            sent = pool.submit(lambda: (conn.sendall(data), conn.shutdown(socket.SHUT_WR)))
            while piece := conn.recv(1 << 20):
                got.update(piece)
            sent.result(TIMEOUT)
        served.result(TIMEOUT)
    assert got.digest() == hashlib.sha256(data).digest()
    assert stack.counters()["port.tx_frames"] <= 3  # announcements of its address


def test_a_thousand_connections_at_once(alone: Stack) -> None:
    conns = []
    with alone.listen(("127.0.0.1", 0), backlog=64) as listener:
        for i in range(1000):
            near = alone.connect(listener.getsockname(), timeout=TIMEOUT)
            far, _ = listener.accept()
            near.sendall(b"%d" % i)
            conns.append((near, far))
        for i, (near, far) in enumerate(conns):
            far.sendall(far.recv(100) + b"!")
            assert near.recv(100) == b"%d!" % i
            near.close()
            assert far.recv(100) == b""
            far.close()


def test_nobody_listening_is_refused_at_once(alone: Stack) -> None:
    before = alone.counters()["tcp.rexmt.syn"]
    for host in ("127.0.0.1", "::1"):
        with pytest.raises(ConnectionRefusedError):
            alone.connect((host, 9), timeout=TIMEOUT)
    assert alone.counters()["tcp.rexmt.syn"] == before


def test_datagrams_and_their_refusal(alone: Stack) -> None:
    with alone.udp(("127.0.0.1", 0)) as server, alone.udp() as client:
        client.settimeout(TIMEOUT)
        client.connect(server.getsockname())
        for i in range(100):
            client.send(b"%d" % i)
            data, peer = server.recvfrom(100)
            server.sendto(data, peer)
            assert client.recv(100) == b"%d" % i
        server.close()
        client.send(b"?")
        with pytest.raises(ConnectionRefusedError):
            client.recv(100)


def test_nothing_waits_while_only_non_blocking_calls_are_made(alone: Stack) -> None:
    """Each call of a socket is a turn of the stack."""
    with alone.listen(("127.0.0.1", 0)) as listener, alone.socket() as near:
        listener.setblocking(False)
        near.setblocking(False)
        assert near.connect_ex(listener.getsockname()) != 0
        far = eventually(listener.accept)[0]
        far.setblocking(False)
        assert eventually(lambda: near.send(b"hello")) == 5
        assert eventually(lambda: far.recv(10)) == b"hello"
        far.close()


def eventually(call, turns=20):  # type: ignore[no-untyped-def]
    """The result of a non-blocking call, when it has one within so many turns."""
    for _ in range(turns):
        try:
            return call()
        except BlockingIOError:
            pass
    raise AssertionError(f"{call} would block")


def test_what_is_sent_wakes_who_sleeps(alone: Stack) -> None:
    """A driver that sleeps on its ports hears of a frame that never sees one."""
    with alone.udp(("127.0.0.1", 0)) as server, alone.udp() as client:
        server.settimeout(TIMEOUT)
        woken: list[bytes] = []
        thread = threading.Thread(target=lambda: woken.append(server.recv(10)))
        thread.start()
        time.sleep(0.1)  # it sleeps by now
        watch = Stopwatch()
        client.sendto(b"wake", server.getsockname())
        thread.join(TIMEOUT)
        assert watch.own_seconds < 1
        assert woken == [b"wake"]


@pytest.mark.quiet
def test_an_idle_loopback_uses_no_processor(alone: Stack) -> None:
    with alone.udp(("127.0.0.1", 0)) as server:
        server.settimeout(0.5)
        used = time.process_time()
        with pytest.raises(TimeoutError):
            server.recv(10)
        assert time.process_time() - used < 0.25


@pytest.mark.parametrize("base", ["asyncio", "uvloop"])
def test_asyncio_server_and_client_on_one_loop(alone: Stack, base: str) -> None:
    pytest.importorskip(base)
    data = payload(1 << 20)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while piece := await reader.read(1 << 16):
            writer.write(piece)
            await writer.drain()
        writer.close()

    async def ask(port: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(data)
        writer.write_eof()
        assert await reader.read(-1) == data
        writer.close()
        await writer.wait_closed()

    async def main() -> None:
        async with (
            asyncio.timeout(TIMEOUT),
            await asyncio.start_server(serve, "127.0.0.1", 0) as server,
        ):
            port = server.sockets[0].getsockname()[1]
            await asyncio.gather(*(ask(port) for _ in range(5)))
            protocol = (
                await asyncio.get_running_loop().create_connection(Recorder, "127.0.0.1", port)
            )[1]
            protocol.transport.write(b"ping")
            assert await protocol.received(4) == b"ping"
            protocol.transport.abort()
            await protocol.lost
            with pytest.raises(ConnectionRefusedError):
                await asyncio.open_connection("127.0.0.1", 9)

    before = alone.counters()["loop.in"]
    aio.run(main(), alone, base=base)
    assert alone.counters()["loop.in"] > before + 100


def test_by_default_127_stays_the_kernels() -> None:
    with Stack(ring_url(), f"{OURS}/24") as stack:
        assert not stack.owns("127.0.0.1")
        assert not stack.reaches("::1")
        assert [str(a) for a in stack.addresses] == [f"{OURS}/24"]


def test_a_stack_that_owns_the_loopback_says_so(stack: Stack, alone: Stack) -> None:
    assert stack.owns("127.0.0.1") and stack.owns("127.8.9.10") and stack.owns("::1")
    assert [(str(a), a.port) for a in stack.addresses][1:] == [
        ("127.0.0.1/8", "loop:"),
        ("::1/128", "loop:"),
    ]
    assert [str(a) for a in alone.addresses] == ["127.0.0.1/8", "::1/128"]


def test_a_stack_without_an_outside_can_have_addresses_of_its_own() -> None:
    with Stack("loop:", addresses=["10.9.0.2/24", "fd00::2/64"]) as stack:
        for host in ("10.9.0.2", "fd00::2", "127.0.0.1"):
            with stack.listen((host, 0)) as listener:
                stack.connect(listener.getsockname()[:2], timeout=TIMEOUT).close()
        with pytest.raises(OSError, match="unreachable"):
            stack.connect(("192.0.2.1", 80), timeout=TIMEOUT)
