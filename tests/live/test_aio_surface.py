# SPDX-License-Identifier: BSD-3-Clause
"""What libraries rely on without asyncio promising it: names, classes, orders."""

from __future__ import annotations

import asyncio
import socket as kernel
import ssl
from typing import Any

import pytest
import trustme
from two import BASE, SERVER, Recorder, connect, payload, run

from ustack import Stack, aio, socket
from ustack._aio import Transport

pytestmark = pytest.mark.usefixtures("base")


@pytest.fixture(scope="module")
def contexts() -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """Return the server's context and that of a client who trusts it."""
    authority = trustme.CA()
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    client = ssl.create_default_context()
    authority.issue_cert(SERVER).configure_cert(server)
    authority.configure_trust(client)
    return server, client


# -------------------------------------------------------------------------------- TLS


def test_a_transport_says_that_tls_can_be_put_on_it() -> None:
    """asyncio's start_tls() and aiohttp's connector look at the attribute first."""

    async def main() -> None:
        server, client = await connect()
        assert server.transport._start_tls_compatible is True
        assert client.transport._start_tls_compatible is True
        client.transport.close()
        await server.lost

    assert run(main) == []


def test_asyncios_own_start_tls_takes_our_transport(contexts: Any) -> None:
    """A library may call what it knows from the standard library, not what a loop overrides."""

    async def main() -> None:
        loop: Any = asyncio.get_running_loop()
        server, client = await connect()
        start = asyncio.BaseEventLoop.start_tls
        below, above = await asyncio.gather(
            start(loop, server.transport, server, contexts[0], server_side=True),
            start(loop, client.transport, client, contexts[1], server_hostname=SERVER),
        )
        assert below is not None and above is not None
        above.write(b"hello")
        assert await server.received(5) == b"hello"
        above.close()
        await asyncio.gather(server.lost, client.lost)

    assert run(main) == []


def test_tls_goes_over_tls(contexts: Any) -> None:
    """As through a proxy that speaks TLS itself: what start_tls() gave can be given to it again."""

    async def main() -> None:
        loop = asyncio.get_running_loop()
        server, client = await connect()
        ends: list[Any] = [server.transport, client.transport]
        for _ in range(2):
            ends = await asyncio.gather(
                loop.start_tls(ends[0], server, contexts[0], server_side=True),
                loop.start_tls(ends[1], client, contexts[1], server_hostname=SERVER),
            )
        data = payload(300_000)
        ends[0].write(data)
        assert await client.received(len(data)) == data
        ends[1].close()
        await asyncio.gather(server.lost, client.lost)

    assert run(main) == []


def test_an_ssl_protocol_of_a_librarys_own_can_break_the_connection() -> None:
    """SSL protocols end what cannot go on by _force_close(), with an exception for the app."""

    async def main() -> None:
        server, client = await connect()
        server.transport._force_close(ZeroDivisionError())
        assert isinstance(await server.lost, ZeroDivisionError)
        assert isinstance(await client.lost, ConnectionResetError | None)

    assert run(main) == []


# ----------------------------------------------------------------- buffered protocols


class Buffered:
    """A buffered protocol that is no subclass of any, as uvloop's SSL protocol is."""

    def __init__(self) -> None:
        self.room = bytearray(100)
        self.data = bytearray()
        self.wanted: list[int] = []
        self.lost: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def get_buffer(self, sizehint: int) -> bytearray:
        self.wanted.append(sizehint)
        return self.room

    def buffer_updated(self, nbytes: int) -> None:
        self.data += self.room[:nbytes]

    def data_received(self, data: bytes) -> None:
        raise AssertionError("a buffered protocol gets no bytes objects")

    def eof_received(self) -> None:
        pass

    def connection_lost(self, exc: Any) -> None:
        self.lost.set_result(exc)


def test_who_has_get_buffer_is_a_buffered_protocol_and_is_told_a_size() -> None:
    """uvloop's takes an unsigned size: with asyncio's -1, for any, its TLS would hang."""

    async def main() -> None:
        server, client = await connect(Buffered)
        client.transport.write(payload(1000))
        client.transport.close()
        assert await server.lost is None
        assert server.data == payload(1000)
        assert all(size > 0 for size in server.wanted)

    assert run(main) == []


def test_a_plain_protocol_that_happens_to_have_get_buffer_stays_plain() -> None:
    class Odd(Recorder):
        def get_buffer(self, sizehint: int) -> bytearray:
            raise AssertionError("asked for a buffer")

    async def main() -> None:
        server, client = await connect(Odd)
        client.transport.write(b"hello")
        assert await server.received(5) == b"hello"
        client.transport.close()
        await server.lost

    assert run(main) == []


# ----------------------------------------------------------------------- socket.socket


class Counting(socket.socket):
    """A program's own socket class: a constructor, an attribute, a method that calls ours."""

    def __init__(self, *arguments: Any, label: str = "none", **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.label, self.sent = label, 0

    def send(self, data: Any, flags: int = 0, /) -> int:
        count = super().send(data, flags)
        self.sent += count
        return count


def two_ends(label: str = "client") -> tuple[Any, Any]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        near = Counting(kernel.AF_INET, kernel.SOCK_STREAM, label=label)
        near.settimeout(20)
        near.connect(listener.getsockname())
        far, _ = listener.accept()
        far.settimeout(20)
        return near, far


def test_methods_called_on_the_class_reach_the_stack(process_stack: Stack) -> None:
    """asyncio and hypercorn read socket.socket.sendmsg; others wrap socket.socket.send(sock, …)."""
    near, far = two_ends()
    with near, far:
        assert near.endpoint is not None
        cls, buffer = socket.socket, bytearray(10)
        assert cls.send(near, b"send") == 4
        assert near.sent == 0  # the base's own, not the subclass's
        assert cls.recv(far, 10) == b"send"
        cls.sendall(near, b"all")
        assert cls.recv_into(far, buffer) == 3
        assert cls.sendmsg(near, [b"m", b"sg"]) == 3
        assert cls.recvmsg(far, 10)[0] == b"msg"
        assert cls.sendto(near, b"to", near.getpeername()) == 2
        assert cls.recvfrom(far, 10)[0] == b"to"
        cls.sendmsg(near, [b"into"])
        assert cls.recvmsg_into(far, [buffer])[0] == 4
        cls.shutdown(near, kernel.SHUT_WR)
        assert cls.recv(far, 10) == b""


def test_methods_called_on_the_class_reach_the_kernel(process_stack: Stack) -> None:
    near, far = socket.socketpair()
    with near, far:
        assert type(near) is socket.socket
        assert socket.socket.send(near, b"send") == 4
        assert socket.socket.recv(far, 10) == b"send"
        assert socket.socket.sendmsg(near, [b"m", b"sg"]) == 3
        assert socket.socket.recvmsg(far, 10)[0] == b"msg"


def test_a_subclass_of_socket_keeps_its_state_and_its_methods(process_stack: Stack) -> None:
    near, far = two_ends("mine")
    with near, far:
        assert isinstance(near, kernel.socket)
        assert (near.label, near.sent) == ("mine", 0)
        near.send(b"counted")
        assert near.sent == 7
        assert far.recv(10) == b"counted"
        with near.dup() as other:
            assert type(other) is Counting
            other.sendall(b"dup")
            assert far.recv(10) == b"dup"


def test_a_loop_takes_a_subclass_of_socket(process_stack: Stack) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        listener = Counting(kernel.AF_INET, kernel.SOCK_STREAM, label="server")
        listener.bind(("127.0.0.1", 0))
        accepted = loop.create_future()

        def accept() -> Recorder:
            protocol = Recorder()
            accepted.set_result(protocol)
            return protocol

        server = await loop.create_server(accept, sock=listener)
        sock = Counting(kernel.AF_INET, kernel.SOCK_STREAM)
        sock.setblocking(False)
        await loop.sock_connect(sock, listener.getsockname())
        await loop.sock_sendall(sock, b"hello")
        theirs = await accepted
        assert await theirs.received(5) == b"hello"
        transport, protocol = await loop.create_connection(Recorder, sock=sock)
        theirs.transport.write(b"you, too")
        assert await protocol.received(8) == b"you, too"
        assert type(transport) is type(theirs.transport) is Transport
        assert transport.get_extra_info("socket").getsockname() == sock.getsockname()
        transport.close()
        await theirs.lost
        server.close()

    aio.run(main(), process_stack, base=BASE.get())


# -------------------------------------------------------------------- equal deadlines


def order_of(loop: Any, timers: int) -> list[int]:
    """Return in which order timers of one deadline are called."""
    called: list[int] = []

    async def main() -> None:
        over, when = loop.create_future(), loop.time() + 0.02
        for number in range(timers):
            loop.call_at(when, called.append, number)
        loop.call_at(when + 0.02, over.set_result, None)
        await over

    loop.run_until_complete(main())
    return called


@pytest.mark.parametrize("timers", [2, 40])
def test_timers_of_one_deadline_are_called_in_the_base_loops_order(timers: int) -> None:
    """uvloop's: as they were made. asyncio's keeps a heap: so for two, not for more."""
    if BASE.get() == "asyncio":
        plain: Any = asyncio.SelectorEventLoop()
    else:
        import uvloop

        plain = uvloop.new_event_loop()
    with Stack("loop:") as stack:
        ours = aio.new_event_loop(stack, base=BASE.get())
        pairs = [(order_of(ours, timers), order_of(plain, timers)) for _ in range(5)]
        ours.close()
    plain.close()
    assert all(sorted(seen) == list(range(timers)) for seen, _ in pairs)
    # uvloop counts milliseconds from now: one may pass while the timers are made
    assert any(seen == plain_seen and (timers > 2 or seen == [0, 1]) for seen, plain_seen in pairs)


def test_datagrams_and_writes_of_one_moment_arrive_in_order() -> None:
    """They wait in the engine's queues, never in the loop's heap of timers."""
    letters = [number.to_bytes(2, "big") for number in range(50)]

    async def main() -> None:
        loop = asyncio.get_running_loop()
        server, client = await connect()
        got: list[bytes] = []
        everything = loop.create_future()

        class Box(asyncio.DatagramProtocol):
            def datagram_received(self, data: bytes, addr: Any) -> None:
                got.append(data)
                if len(got) == len(letters):
                    everything.set_result(None)

        box, _ = await loop.create_datagram_endpoint(Box, local_addr=(SERVER, 0))
        sender, _ = await loop.create_datagram_endpoint(
            asyncio.DatagramProtocol, remote_addr=box.get_extra_info("sockname")
        )
        for letter in letters:
            sender.sendto(letter)
            client.transport.write(letter)
        await everything
        assert got == letters
        assert await server.received(2 * len(letters)) == b"".join(letters)
        for transport in (box, sender, client.transport):
            transport.close()
        await server.lost

    assert run(main) == []
