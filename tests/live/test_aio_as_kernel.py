# SPDX-License-Identifier: BSD-3-Clause
"""What goes wrong, or ends, does so on a stack as on the kernel under the loop that is extended.

Each case is a program that writes down what it sees: callbacks, exceptions by type and errno. It
runs over the kernel's loopback on the base loop as it is, and over two stacks on ours; both must
have seen the same. docs/asyncio.md says where that is not so.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from two import BASE, SERVER, Recorder, payload, two_stacks

from ustack import aio

pytestmark = pytest.mark.usefixtures("base")

PATIENCE = 30.0
UNOWNED = "192.0.2.1"
RESET = struct.pack("ii", 1, 0)  # a linger of none


class Place:
    """Where a case happens."""

    def __init__(self, stacks: Any = None) -> None:
        self.stacks = stacks
        self.host = "127.0.0.1" if stacks is None else SERVER

    def socket(self, *, server: bool = False) -> Any:
        sock = self.stacks[not server].socket() if self.stacks else socket.socket()
        sock.setblocking(False)
        if server:
            sock.bind((self.host, 0))
        return sock

    async def connection(self, factory: Any = Recorder, theirs: Any = Recorder) -> tuple[Any, Any]:
        """Return the protocols of a new connection: the server's and the client's."""
        loop = asyncio.get_running_loop()
        accepted = loop.create_future()

        def accept() -> Any:
            protocol = factory()
            accepted.set_result(protocol)
            return protocol

        async with await loop.create_server(accept, self.host, 0) as server:
            port = server.sockets[0].getsockname()[1]  # type: ignore[attr-defined]
            _, client = await loop.create_connection(theirs, self.host, port)
            protocol = await accepted
            await protocol.made
            return protocol, client

    async def sockets(self) -> tuple[Any, Any]:
        """Return the sockets of a new connection: the server's and the client's."""
        loop = asyncio.get_running_loop()
        listening, client = self.socket(server=True), self.socket()
        listening.listen(8)
        await loop.sock_connect(client, listening.getsockname())
        conn, _ = await loop.sock_accept(listening)
        listening.close()
        return conn, client


Case = Callable[[Place], Awaitable[list[Any]]]
CASES: list[Case] = []


def case(function: Case) -> Case:
    CASES.append(function)
    return function


def told(error: BaseException | None) -> Any:
    """Return what a program can tell an exception by."""
    if isinstance(error, OSError):
        return type(error).__name__, error.errno
    return None if error is None else type(error).__name__


async def outcome(making: Any) -> Any:
    """Return what awaiting or calling gives: told() of an exception, else the value."""
    try:
        return await making if isinstance(making, Awaitable) else making()
    except (Exception, asyncio.CancelledError) as error:
        return told(error)


# ------------------------------------------------------------------------------ transports


@case
async def reading_after_the_end(place: Place) -> list[Any]:
    server, client = await place.connection()
    client.keep_open = True
    server.transport.write(b"last")
    server.transport.write_eof()
    await client.until(lambda: "eof" in client.calls)
    client.transport.write(b"answer")
    await server.received(6)
    client.transport.close()
    return [told(await client.lost), told(await server.lost), client.calls, server.calls]


@case
async def the_end_without_keeping_open(place: Place) -> list[Any]:
    server, client = await place.connection()
    server.transport.write_eof()
    lost = [told(await client.lost), told(await server.lost)]
    return [lost, client.calls, server.calls]


@case
async def writing_after_close(place: Place) -> list[Any]:
    server, client = await place.connection()
    client.transport.write(b"before")
    client.transport.close()
    seen = [client.transport.is_closing()]
    await client.lost
    for call in (
        lambda: client.transport.write(b"after"),
        lambda: client.transport.writelines([b"after"]),
        client.transport.close,
        client.transport.abort,
        client.transport.is_closing,
        client.transport.is_reading,
        client.transport.get_write_buffer_size,
    ):
        seen.append(await outcome(call))
    await server.lost
    return [seen, bytes(server.data), client.calls, server.calls]


@case
async def writing_after_write_eof(place: Place) -> list[Any]:
    server, client = await place.connection()
    server.keep_open = True
    client.transport.write_eof()
    seen = [await outcome(lambda: client.transport.write(b"after"))]
    seen.append(await outcome(client.transport.write_eof))
    await server.until(lambda: "eof" in server.calls)
    server.transport.close()
    return [seen, told(await client.lost), told(await server.lost), bytes(server.data)]


@case
async def writing_to_a_peer_that_has_gone(place: Place) -> list[Any]:
    server, client = await place.connection()
    client.keep_open = True
    server.transport.close()
    await client.until(lambda: "eof" in client.calls)
    while not client.lost.done():
        client.transport.write(b"into the void")
        await asyncio.sleep(0.001)
    return [isinstance(await client.lost, ConnectionError), client.calls]


@case
async def a_peer_that_resets(place: Place) -> list[Any]:
    server, client = await place.connection()
    sock = server.transport.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    server.transport.abort()
    return [told(await client.lost), client.calls, told(await server.lost)]


@case
async def a_peer_that_leaves_bytes_unread(place: Place) -> list[Any]:
    server, client = await place.connection()
    server.transport.pause_reading()
    client.transport.write(payload(1000))
    sock = server.transport.get_extra_info("socket")
    while not await _readable(sock):
        await asyncio.sleep(0.001)
    server.transport.close()
    return [told(await client.lost), client.calls, server.calls]


async def _readable(sock: Any) -> bool:
    import select

    return bool(select.select([sock.fileno()], [], [], 0)[0])


@case
async def a_half_closed_peer_that_is_answered(place: Place) -> list[Any]:
    server, client = await place.connection()
    server.keep_open = True
    client.transport.write(b"question")
    client.transport.write_eof()
    await server.until(lambda: "eof" in server.calls)
    server.transport.write(payload(500_000))
    server.transport.close()
    lost = [told(await client.lost), told(await server.lost)]
    calls = [[c for c in p.calls if c not in ("pause", "resume")] for p in (client, server)]
    return [lost, client.data == payload(500_000), calls]


@case
async def both_halves_closed_at_once(place: Place) -> list[Any]:
    server, client = await place.connection()
    server.keep_open = client.keep_open = True
    for protocol in (server, client):
        protocol.transport.write_eof()
    for protocol in (server, client):
        await protocol.until(lambda p=protocol: "eof" in p.calls)
        protocol.transport.close()
    return [told(await server.lost), told(await client.lost), server.calls, client.calls]


@case
async def a_protocol_that_closes_in_each_callback(place: Place) -> list[Any]:
    seen = []
    for where in ("connection_made", "data_received", "eof_received"):

        class Closes(Recorder):
            pass

        def close(self: Any, *args: Any, name: str = where) -> Any:
            result = getattr(Recorder, name)(self, *args)
            self.transport.close()
            return result

        setattr(Closes, where, close)
        server, client = await place.connection(Closes)
        client.transport.write(b"x")
        if where == "eof_received":
            client.transport.write_eof()
        seen.append([told(await server.lost), server.calls])
        await client.lost
    return seen


@case
async def a_callback_that_raises(place: Place) -> list[Any]:
    class Clumsy(Recorder):
        def data_received(self, data: bytes) -> None:
            raise ZeroDivisionError

    server, client = await place.connection(Clumsy)
    client.transport.write(b"x")
    return [told(await server.lost), server.calls, await client.lost is None]


@case
async def paused_reading_sees_no_end(place: Place) -> list[Any]:
    server, client = await place.connection()
    client.transport.pause_reading()
    server.transport.write(b"last")
    server.transport.close()
    await server.lost
    before = list(client.calls)
    client.transport.resume_reading()
    return [before, told(await client.lost), client.calls, bytes(client.data)]


# ------------------------------------------------------------------------------ connecting


@case
async def a_refused_connection(place: Place) -> list[Any]:
    loop = asyncio.get_running_loop()
    taken = place.socket(server=True)
    port = taken.getsockname()[1]
    seen = [await outcome(loop.create_connection(Recorder, place.host, port))]
    seen.append(await outcome(asyncio.open_connection(place.host, port)))
    taken.close()
    return seen


@case
async def a_source_that_is_not_ours(place: Place) -> list[Any]:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Recorder, place.host, 0)
    port = server.sockets[0].getsockname()[1]  # type: ignore[attr-defined]
    making = loop.create_connection(Recorder, place.host, port, local_addr=(UNOWNED, 0))
    seen = [await outcome(making), await outcome(loop.create_server(Recorder, UNOWNED, 0))]
    making = loop.create_datagram_endpoint(asyncio.DatagramProtocol, local_addr=(UNOWNED, 0))
    seen.append(await outcome(making))
    server.close()
    return seen


@case
async def an_address_in_use(place: Place) -> list[Any]:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Recorder, place.host, 0)
    address = server.sockets[0].getsockname()  # type: ignore[attr-defined]
    seen = [await outcome(loop.create_server(Recorder, *address))]
    server.close()
    return seen


@case
async def a_backlog_that_is_full(place: Place) -> list[Any]:
    """Who finds no room waits, may be cancelled, and costs the others nothing."""
    loop = asyncio.get_running_loop()
    listening = place.socket(server=True)
    listening.listen(1)
    address, made, seen = listening.getsockname(), [], []
    for _ in range(4):
        try:
            async with asyncio.timeout(0.3):
                made.append((await loop.create_connection(Recorder, *address))[1])
            seen.append("connected")
        except TimeoutError:
            seen.append("waits")
    for protocol in made:
        conn, _ = await loop.sock_accept(listening)
        await loop.sock_sendall(conn, b"hello")
        conn.close()
        seen.append(bytes(await protocol.received(5)))
        seen.append(told(await protocol.lost))
    listening.close()
    return seen


@case
async def a_listener_that_closes_on_those_who_wait(place: Place) -> list[Any]:
    loop = asyncio.get_running_loop()
    listening = place.socket(server=True)
    listening.listen(8)
    _, protocol = await loop.create_connection(Recorder, *listening.getsockname())
    listening.close()
    return [told(await protocol.lost), protocol.calls]


@case
async def a_connect_that_is_cancelled(place: Place) -> list[Any]:
    loop = asyncio.get_running_loop()
    accepted: list[Any] = []

    def accept() -> Any:
        accepted.append(Recorder())
        return accepted[-1]

    server = await loop.create_server(accept, place.host, 0)
    address = server.sockets[0].getsockname()  # type: ignore[attr-defined]
    making = asyncio.ensure_future(loop.create_connection(Recorder, *address))
    await asyncio.sleep(0)
    making.cancel()
    seen = [await outcome(making), making.cancelled()]
    _, protocol = await loop.create_connection(Recorder, *address)  # the server is well
    protocol.transport.close()
    await protocol.lost
    while accepted and not all(p.lost.done() for p in accepted):
        await asyncio.sleep(0.001)
    server.close()
    return [*seen, [p.calls[-1:] for p in accepted][-1:]]


# --------------------------------------------------------------------------------- sock_*()


@case
async def sockets_after_the_end(place: Place) -> list[Any]:
    loop = asyncio.get_running_loop()
    conn, client = await place.sockets()
    conn.shutdown(socket.SHUT_WR)
    seen = [await outcome(loop.sock_recv(client, 10)) for _ in range(3)]
    seen.append(await outcome(loop.sock_sendall(conn, b"x")))
    await loop.sock_sendall(client, b"still")
    seen.append(await loop.sock_recv(conn, 10))
    conn.close()
    seen.append(await outcome(lambda: conn.recv(1)))
    client.close()
    return seen


@case
async def sockets_of_a_peer_that_resets(place: Place) -> list[Any]:
    loop = asyncio.get_running_loop()
    conn, client = await place.sockets()
    conn.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    conn.close()
    seen = [await outcome(loop.sock_recv(client, 10)), await outcome(loop.sock_recv(client, 10))]
    seen.append(await outcome(loop.sock_sendall(client, b"x")))
    client.close()
    return seen


@case
async def socket_calls_that_are_cancelled(place: Place) -> list[Any]:
    loop = asyncio.get_running_loop()
    conn, client = await place.sockets()
    receiving = asyncio.ensure_future(loop.sock_recv(client, 10))
    await asyncio.sleep(0)
    receiving.cancel()
    seen = [await outcome(receiving)]
    await loop.sock_sendall(conn, b"hello")
    seen.append(await loop.sock_recv(client, 10))
    conn.close()
    client.close()
    return seen


@case
async def sockets_that_are_not_connected(place: Place) -> list[Any]:
    loop = asyncio.get_running_loop()
    sock = place.socket(server=True)
    seen = [await outcome(loop.sock_recv(sock, 1)), await outcome(loop.sock_sendall(sock, b"x"))]
    seen.append(await outcome(loop.sock_accept(sock)))
    seen.append(
        await outcome(loop.sock_connect(place.socket(), (place.host, sock.getsockname()[1])))
    )
    sock.close()
    return seen


# ------------------------------------------------------------------------------------ streams


async def streams(place: Place, serve: Any, **options: Any) -> tuple[Any, Any, Any]:
    server = await asyncio.start_server(serve, place.host, 0)
    port = server.sockets[0].getsockname()[1]
    reader, writer = await asyncio.open_connection(place.host, port, **options)
    return server, reader, writer


@case
async def draining_to_a_peer_that_has_gone(place: Place) -> list[Any]:
    async def serve(reader: Any, writer: Any) -> None:
        sock = writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        writer.transport.abort()

    server, reader, writer = await streams(place, serve)
    seen = [await outcome(reader.read())]
    seen.append(isinstance(reader.exception(), ConnectionError))

    async def insist() -> None:
        while True:
            writer.write(b"x" * 1000)
            await writer.drain()
            await asyncio.sleep(0.001)

    with contextlib.suppress(ConnectionError):
        await insist()
    seen.append(isinstance(await outcome(writer.drain()), tuple))
    writer.close()
    with contextlib.suppress(ConnectionError):
        await writer.wait_closed()
    server.close()
    return seen


@case
async def drain_waits_for_a_reader_that_goes(place: Place) -> list[Any]:
    gone = asyncio.get_running_loop().create_future()

    async def serve(reader: Any, writer: Any) -> None:
        writer.transport.pause_reading()
        await gone
        writer.transport.abort()

    server, _, writer = await streams(place, serve)
    writer.write(payload(20_000_000))
    draining = asyncio.ensure_future(writer.drain())
    await asyncio.sleep(0)
    seen = [draining.done()]
    gone.set_result(None)
    with contextlib.suppress(ConnectionError):
        await draining
    seen.append(draining.exception() is not None)
    server.close()
    return seen


@case
async def lines_and_limits(place: Place) -> list[Any]:
    async def serve(reader: Any, writer: Any) -> None:
        writer.write(b"line\n" + b"x" * 5000 + b"\n" + b"rest")
        writer.close()

    server, reader, writer = await streams(place, serve, limit=1000)
    seen = [await reader.readline()]
    for making in (
        reader.readuntil(b"\n"),
        reader.readexactly(5001),
        reader.readexactly(10),
        reader.readuntil(b"\n"),
    ):
        found = await outcome(making)
        seen.append(len(found) if isinstance(found, bytes) else found)
    seen += [reader.at_eof(), await reader.read()]
    writer.close()
    await writer.wait_closed()
    server.close()
    return seen


# ---------------------------------------------------------------------------------------- run

#: uvloop raises RuntimeError when a transport that is gone is written to; ours ignore that.
AS_ASYNCIO = [writing_after_close, draining_to_a_peer_that_has_gone]


def run_case(run: Case, place: Place, factory: Callable[[], Any]) -> Any:
    complaints: list[Any] = []

    async def main() -> list[Any]:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(
            lambda _, context: complaints.append(told(context.get("exception")))
        )
        async with asyncio.timeout(PATIENCE):
            return await run(place)

    with asyncio.Runner(loop_factory=factory) as runner:
        return runner.run(main()), complaints


def kernels_loop(run: Case) -> Any:
    if BASE.get() == "asyncio" or run in AS_ASYNCIO:
        return asyncio.SelectorEventLoop()
    import uvloop

    return uvloop.new_event_loop()


@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.parametrize("run", CASES, ids=lambda run: run.__name__)
def test_a_stack_does_as_the_kernel_does(run: Case) -> None:
    kernels = run_case(run, Place(), lambda: kernels_loop(run))
    with two_stacks() as stacks:
        ours = run_case(run, Place(stacks), lambda: aio.new_event_loop(*stacks, base=BASE.get()))
    assert ours == kernels
