# SPDX-License-Identifier: BSD-3-Clause
"""Sockets of ustack.socket that are bound to both, the stack and the kernel, given to a loop."""

from __future__ import annotations

import asyncio
import errno
import gc
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

import pytest
from two import BASE, CLIENT, SERVER, Recorder, two_stacks

from ustack import Stack, aio, process, socket
from ustack.apps.echo import Echo

pytestmark = pytest.mark.usefixtures("base")

LOCAL = "127.0.0.1"
PATIENCE = 20.0


class Mailbox(asyncio.DatagramProtocol):
    """Keeps what comes, and answers."""

    def __init__(self) -> None:
        self.letters: asyncio.Queue[tuple[bytes, Any]] = asyncio.Queue()
        self.lost: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def datagram_received(self, data: bytes, addr: Any) -> None:
        self.letters.put_nowait((data, addr))
        if not data.startswith(b"re: "):
            self.transport.sendto(b"re: " + data, addr)

    def connection_lost(self, exc: Any) -> None:
        self.lost.set_result(exc)


@pytest.fixture
def stacks() -> Iterator[tuple[Stack, Stack]]:
    process.install(None)
    with two_stacks() as both:
        process.install(both[0])
        yield both
    process.install(None)


def run(stacks: Any, main: Callable[[], Coroutine[Any, Any, None]]) -> list[Any]:
    complaints: list[Any] = []

    async def supervised() -> None:
        asyncio.get_running_loop().set_exception_handler(
            lambda _, context: complaints.append(context)
        )
        async with asyncio.timeout(PATIENCE):
            await main()

    aio.run(supervised(), *stacks, base=BASE.get())
    return complaints


def bound(kind: int, port: int = 0) -> Any:
    sock = socket.socket(socket.AF_INET, kind)
    sock.bind(("0.0.0.0", port))
    sock.setblocking(False)
    assert sock.endpoint is not None
    assert sock._twin is not None
    return sock


async def exchange(host: str, port: int, source: str) -> bytes:
    """Send a datagram from an address of the client's and return the answer."""
    loop = asyncio.get_running_loop()
    transport, box = await loop.create_datagram_endpoint(Mailbox, (source, 0), (host, port))
    transport.sendto(b"hello")
    data, sender = await box.letters.get()
    assert sender[:2] == (host, port)
    transport.close()
    return data


def test_a_datagram_endpoint_over_it_hears_of_both_and_answers_by_either(stacks: Any) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        sock = bound(socket.SOCK_DGRAM)
        where = sock.getsockname()
        transport, box = await loop.create_datagram_endpoint(Mailbox, sock=sock)
        for host, source in ((SERVER, CLIENT), (LOCAL, LOCAL)):
            assert await exchange(host, where[1], source) == b"re: hello"
            data, sender = await box.letters.get()
            assert (data, sender[0]) == (b"hello", source)
        assert transport.get_extra_info("sockname") == where
        assert transport.get_extra_info("socket").getsockname() == where
        transport.close()
        assert await box.lost is None
        assert transport.is_closing()
        again = bound(socket.SOCK_DGRAM, where[1])  # neither half keeps the port
        again.close()

    assert run(stacks, main) == []


def test_what_it_sends_unasked_goes_by_whoever_reaches_the_address(stacks: Any) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        transport, box = await loop.create_datagram_endpoint(Mailbox, sock=bound(socket.SOCK_DGRAM))
        for address in (CLIENT, LOCAL):
            theirs, peer = await loop.create_datagram_endpoint(Mailbox, (address, 0))
            transport.sendto(b"unasked", theirs.get_extra_info("sockname"))
            data, sender = await peer.letters.get()
            assert data == b"unasked"
            assert sender[1] == transport.get_extra_info("sockname")[1]
            assert (await box.letters.get())[0] == b"re: unasked"
            theirs.close()
        transport.close()
        await box.lost

    assert run(stacks, main) == []


def test_what_makes_no_sense_beside_it_is_refused_and_leaves_it_whole(stacks: Any) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        sock = bound(socket.SOCK_DGRAM)
        for options in ({"local_addr": (SERVER, 0)}, {"allow_broadcast": True}):
            with pytest.raises(ValueError, match="sock is specified"):
                await loop.create_datagram_endpoint(Mailbox, sock=sock, **options)
        with pytest.raises(ValueError, match="Stream Socket was expected"):
            await loop.create_server(Echo, sock=sock)

        def clumsy() -> Mailbox:
            raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            await loop.create_datagram_endpoint(clumsy, sock=sock)
        transport, box = await loop.create_datagram_endpoint(Mailbox, sock=sock)
        assert await exchange(SERVER, sock.getsockname()[1], CLIENT) == b"re: hello"
        transport.close()
        await box.lost

    assert run(stacks, main) == []


def test_a_datagram_endpoint_over_it_ends_with_the_loop(stacks: Any) -> None:
    ports: list[int] = []

    async def main() -> None:
        sock = bound(socket.SOCK_DGRAM)
        ports.append(sock.getsockname()[1])
        await asyncio.get_running_loop().create_datagram_endpoint(Mailbox, sock=sock)

    with pytest.warns(ResourceWarning):
        run(stacks, main)
        gc.collect()
    with stacks[0].socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("0.0.0.0", ports[0]))
        with pytest.raises(OSError) as caught, stacks[0].socket(type=socket.SOCK_DGRAM) as other:
            other.bind(("0.0.0.0", ports[0]))
        assert caught.value.errno == errno.EADDRINUSE


def test_a_server_over_it_accepts_from_both(stacks: Any) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        sock = bound(socket.SOCK_STREAM)
        where = sock.getsockname()
        server = await loop.create_server(Echo, sock=sock)
        for host in (SERVER, LOCAL):
            transport, protocol = await loop.create_connection(Recorder, host, where[1])
            transport.write(b"hello")
            assert await protocol.received(5) == b"hello"
            transport.close()
            await protocol.lost
        server.close()
        await server.wait_closed()
        for host in (SERVER, LOCAL):
            with pytest.raises(ConnectionRefusedError):
                await loop.create_connection(Recorder, host, where[1])

    assert run(stacks, main) == []


def test_sock_accept_gives_what_comes_first_from_either(stacks: Any) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        listener = bound(socket.SOCK_STREAM)
        listener.listen(8)
        for host in (SERVER, LOCAL):
            accepting = asyncio.ensure_future(loop.sock_accept(listener))
            await asyncio.sleep(0)
            transport, protocol = await loop.create_connection(
                Recorder, host, listener.getsockname()[1]
            )
            conn, address = await accepting
            assert address == transport.get_extra_info("sockname")
            assert (conn.endpoint is not None) == (host == SERVER)
            conn.setblocking(False)
            await loop.sock_sendall(conn, b"hello")
            assert await protocol.received(5) == b"hello"
            conn.close()
            await protocol.lost
        listener.close()

    assert run(stacks, main) == []


def test_datagrams_are_received_of_either_by_socket_calls(stacks: Any) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        sock, buffer = bound(socket.SOCK_DGRAM), bytearray(10)
        port = sock.getsockname()[1]
        for host, source in ((SERVER, CLIENT), (LOCAL, LOCAL)):
            receiving = [asyncio.ensure_future(loop.sock_recvfrom(sock, 10))]
            await asyncio.sleep(0)
            theirs, box = await loop.create_datagram_endpoint(Mailbox, (source, 0), (host, port))
            theirs.sendto(b"1")
            data, peer = await receiving[0]
            assert (data, peer) == (b"1", theirs.get_extra_info("sockname"))
            theirs.sendto(b"2")
            assert await loop.sock_recv(sock, 10) == b"2"
            theirs.sendto(b"3")
            assert await loop.sock_recvfrom_into(sock, buffer) == (1, peer)
            assert await loop.sock_sendto(sock, b"re: 4", peer) == 5
            assert (await box.letters.get())[0] == b"re: 4"
            theirs.close()
        sock.settimeout(None)
        with pytest.raises(BlockingIOError):
            sock.recv(1, socket.MSG_DONTWAIT)
        sock.close()

    assert run(stacks, main) == []


def test_a_reader_is_called_while_either_half_is_readable(stacks: Any) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        listener = bound(socket.SOCK_STREAM)
        listener.listen(8)
        for host in (SERVER, LOCAL):
            called: asyncio.Queue[int] = asyncio.Queue()
            loop.add_reader(listener, called.put_nowait, 1)
            making = asyncio.ensure_future(
                loop.create_connection(Recorder, host, listener.getsockname()[1])
            )
            for _ in range(3):  # level-triggered
                await called.get()
            conn, _ = listener.accept()
            assert loop.remove_reader(listener)
            assert not loop.remove_reader(listener)
            conn.close()
            _, protocol = await making
            await protocol.lost
        listener.close()

    assert run(stacks, main) == []
