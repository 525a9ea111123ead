# SPDX-License-Identifier: BSD-3-Clause
"""The proxy between the kernel's loopback and a stack, with another stack behind it."""

import asyncio
import contextlib
import socket
import struct
from collections.abc import AsyncIterator, Coroutine
from typing import Any

import pytest
from two import CLIENT, NOBODY, SERVER, payload, run

from ustack import Stack
from ustack.apps import echo, http
from ustack.apps.proxy import Place, Proxy

pytestmark = pytest.mark.usefixtures("base")

BODY = payload(3_000_000)
CONNECT = b"\5\1\0" + b"\5\1\0\1" + socket.inet_aton(SERVER)  # and a port
GRANTED = b"\5\0" + b"\5\0\0\1" + socket.inet_aton(CLIENT)  # and a port


def stack_of_client() -> Stack:
    loop: Any = asyncio.get_running_loop()
    stack: Stack = next(stack for stack in loop._stacks if stack.owns(CLIENT))
    return stack


@contextlib.asynccontextmanager
async def proxying(**options: Any) -> AsyncIterator[tuple[Proxy, list[str]]]:
    """A proxy, and what it complained of; in the end it must have no connection any more."""
    complaints: list[str] = []
    proxy = Proxy(stack_of_client(), complain=complaints.append, **options)
    yield proxy, complaints
    proxy.close()
    assert await proxy.room.empty(5) == 0


def kernel_listener() -> socket.socket:
    listener = socket.create_server(("127.0.0.1", 0))
    listener.setblocking(False)
    return listener


async def kernel_connect(listener: socket.socket) -> tuple[asyncio.StreamReader, Any]:
    """Connect to a listener of the kernel's by the kernel, whoever owns 127.0.0.1."""
    sock = socket.create_connection(listener.getsockname())

    sock.setblocking(False)
    return await asyncio.open_connection(sock=sock)


async def mirrored(reader: asyncio.StreamReader, writer: Any, data: bytes) -> bytes:
    """Send data and its end while receiving; what came back up to the end."""
    writer.write(data)
    writer.write_eof()
    got = await reader.read(-1)
    writer.close()
    return got


def play(main: Coroutine[Any, Any, None]) -> None:
    async def call() -> None:
        await main

    assert run(call) == []


def test_the_kernel_reaches_a_stack() -> None:
    """Ends are passed on one by one: the echo comes back behind the end of what was sent."""

    async def main() -> None:
        server, listener = await echo.serve(SERVER), kernel_listener()
        async with proxying() as (proxy, complaints):
            await proxy.to_stack(listener, Place(SERVER, 7))
            ends = [await kernel_connect(listener) for _ in range(5)]
            got = await asyncio.gather(*(mirrored(*end, BODY) for end in ends))
            assert got == [BODY] * 5
            assert (proxy.room.entered, complaints) == (5, [])
        server.close()

    play(main())


def test_a_stack_reaches_the_kernel() -> None:
    async def main() -> None:
        loop, listener = asyncio.get_running_loop(), kernel_listener()
        server = await loop.create_server(echo.Echo, sock=listener)
        async with proxying() as (proxy, complaints):
            await proxy.from_stack(Place(None, 80), Place(*listener.getsockname()))
            assert await mirrored(*await asyncio.open_connection(CLIENT, 80), BODY) == BODY
            assert complaints == []
        server.close()

    play(main())


def test_socks_reaches_what_its_client_asks_for() -> None:
    """RFC 1928: greeting, request and text in one go; the text waits for the connection."""

    async def main() -> None:
        server, listener = await echo.serve(SERVER), kernel_listener()
        async with proxying() as (proxy, _):
            await proxy.socks(listener)
            reader, writer = await kernel_connect(listener)
            got = await mirrored(reader, writer, CONNECT + b"\0\7" + BODY)
            assert got.startswith(GRANTED)
            assert got[len(GRANTED) + 2 :] == BODY
        server.close()

    play(main())


@pytest.mark.parametrize(
    ("host", "port", "code"), [(SERVER, 9, 5), (NOBODY, 9, 4), ("127.0.0.1", 9, 3)]
)
def test_socks_tells_why_it_cannot(host: str, port: int, code: int) -> None:
    """RFC 1928 6: refused, host unreachable, network unreachable."""

    async def main() -> None:
        listener = kernel_listener()
        async with proxying(connect_timeout=0.3 if host == NOBODY else 30) as (proxy, complaints):
            await proxy.socks(listener)
            reader, writer = await kernel_connect(listener)
            request = b"\5\1\0" + b"\5\1\0\1" + socket.inet_aton(host) + port.to_bytes(2, "big")
            writer.write(request)
            assert await reader.read(-1) == b"\5\0\5" + bytes([code]) + b"\0\1" + bytes(6)
            writer.close()
            assert len(complaints) == 1

    play(main())


def test_a_client_without_a_connection_is_broken_off() -> None:
    async def main() -> None:
        listener = kernel_listener()
        async with proxying() as (proxy, complaints):
            await proxy.to_stack(listener, Place(SERVER, 9))
            reader, writer = await kernel_connect(listener)
            with pytest.raises(ConnectionResetError):
                await reader.read(-1)
            writer.close()
            assert "refused" in complaints[0].lower()

    play(main())


def test_a_slow_reader_makes_the_sender_wait() -> None:
    """What is under way is bounded: buffers of four sockets and of the relay."""
    length = 50_000_000

    async def main() -> None:
        server, listener = await http.serve(SERVER), kernel_listener()
        async with proxying() as (proxy, _):
            await proxy.to_stack(listener, Place(SERVER, 80))
            reader, writer = await kernel_connect(listener)
            writer.write(b"GET /bytes/%d HTTP/1.0\r\n\r\n" % length)
            await reader.readuntil(b"\r\n\r\n")
            (relay,) = proxy.room.relays
            await asyncio.sleep(0.2)
            assert relay.near.transport.get_write_buffer_size() < 2_000_000
            assert not relay.far.transport.is_reading()
            got = await reader.read(-1)
            assert got == b"".join(http.pattern(length))
            writer.close()
        server.close()

    play(main())


def test_a_reset_is_passed_on() -> None:
    async def main() -> None:
        listener, loop = kernel_listener(), asyncio.get_running_loop()
        resets: list[Exception | None] = []

        class Server(asyncio.Protocol):
            def connection_made(self, transport: asyncio.BaseTransport) -> None:
                transport.write(b"hello")  # type: ignore[attr-defined]

            def connection_lost(self, exc: Exception | None) -> None:
                resets.append(exc)

        server = await loop.create_server(Server, SERVER, 80)
        async with proxying() as (proxy, _):
            await proxy.to_stack(listener, Place(SERVER, 80))
            with socket.create_connection(listener.getsockname()) as sock:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                sock.setblocking(False)
                assert await loop.sock_recv(sock, 9) == b"hello"
            while not resets:
                await asyncio.sleep(0.001)
            assert isinstance(resets[0], ConnectionResetError)
        server.close()

    play(main())


def test_idle_connections_end_and_too_many_are_refused() -> None:
    async def main() -> None:
        server, listener = await echo.serve(SERVER), kernel_listener()
        async with proxying(idle=0.1, limit=1) as (proxy, complaints):
            await proxy.to_stack(listener, Place(SERVER, 7))
            reader, writer = await kernel_connect(listener)
            writer.write(b"x")
            assert await reader.readexactly(1) == b"x"
            other, _ = await kernel_connect(listener)
            for one in (other, reader):
                with contextlib.suppress(ConnectionResetError):
                    assert await one.read(-1) == b""
            assert [text.split(": ")[1][:12] for text in complaints] == [
                "more than 1 ",
                "nothing came",
            ]
        server.close()

    play(main())
