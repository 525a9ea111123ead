# SPDX-License-Identifier: BSD-3-Clause
"""UDP through asyncio: create_datagram_endpoint on a stack, as asyncio documents it."""

import asyncio
import errno
import socket
from collections.abc import Callable
from typing import Any

import pytest
from two import CLIENT, NOBODY, SERVER, run

from ustack.process import Place

pytestmark = pytest.mark.usefixtures("base")

Address = tuple[Any, ...]


class Mailbox(asyncio.DatagramProtocol):
    """Keeps what comes."""

    def __init__(self) -> None:
        self.letters: asyncio.Queue[tuple[bytes, Address]] = asyncio.Queue()
        self.errors: asyncio.Queue[Exception] = asyncio.Queue()
        self.made = 0
        self.lost: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self.made += 1

    def datagram_received(self, data: bytes, addr: Address) -> None:
        assert self.made == 1
        self.letters.put_nowait((data, addr))

    def error_received(self, exc: Exception) -> None:
        self.errors.put_nowait(exc)

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost.set_result(exc)


class Echo(Mailbox):
    """Sends back what comes."""

    def datagram_received(self, data: bytes, addr: Address) -> None:
        self.transport.sendto(data, addr)


async def endpoint(
    factory: Callable[[], Any] = Mailbox, **options: Any
) -> tuple[Any, Any, Address]:
    """Return transport, protocol and our address."""
    loop = asyncio.get_running_loop()
    transport, protocol = await loop.create_datagram_endpoint(factory, **options)
    return transport, protocol, transport.get_extra_info("sockname")


def test_datagrams_go_there_and_back_whole_and_in_order() -> None:
    letters = [bytes([number]) * size for number, size in enumerate((0, 1, 1472, 1473, 60_000))]

    async def main() -> None:
        server, _, where = await endpoint(Echo, local_addr=(SERVER, 0))
        client, box, _ = await endpoint(remote_addr=where)
        for letter in letters:
            client.sendto(letter)
        assert [await box.letters.get() for _ in letters] == [(one, where) for one in letters]
        server.close()
        client.close()
        assert await box.lost is None

    assert run(main) == []


def test_an_unconnected_endpoint_sends_to_any_address_and_hears_from_any() -> None:
    async def main() -> None:
        server, box, where = await endpoint(local_addr=(SERVER, 5353))
        assert where == (SERVER, 5353)
        first, _, one = await endpoint(local_addr=(CLIENT, 0))
        second, _, two = await endpoint(local_addr=(CLIENT, 0))
        first.sendto(b"a", where)
        second.sendto(b"b", where)
        assert {await box.letters.get(), await box.letters.get()} == {(b"a", one), (b"b", two)}
        for transport in (server, first, second):
            transport.close()

    assert run(main) == []


def test_what_came_before_the_protocol_was_there_is_not_lost() -> None:
    async def main() -> None:
        client, _, _ = await endpoint(local_addr=(CLIENT, 0))

        def late() -> Mailbox:
            client.sendto(b"early", (SERVER, 5353))
            return Mailbox()

        server, box, _ = await endpoint(late, local_addr=(SERVER, 5353))
        assert (await box.letters.get())[0] == b"early"
        server.close()
        client.close()

    assert run(main) == []


def test_a_port_where_nobody_listens_is_told_to_error_received() -> None:
    async def main() -> None:
        client, box, _ = await endpoint(remote_addr=(SERVER, 9))
        client.sendto(b"anybody?")
        assert isinstance(await box.errors.get(), ConnectionRefusedError)
        client.sendto(bytes(70_000))
        assert (await box.errors.get()).errno == errno.EMSGSIZE  # type: ignore[attr-defined]
        client.close()

    assert run(main) == []


def test_a_connected_endpoint_refuses_another_peer() -> None:
    async def main() -> None:
        client, _, _ = await endpoint(remote_addr=(SERVER, 9))
        with pytest.raises(ValueError, match="one peer only"):
            client.sendto(b"x", (SERVER, 10))
        with pytest.raises(ValueError, match="one peer only"):
            client.sendto(b"x", ("example.org", 10))
        with pytest.raises(OverflowError, match="70000"):
            client.sendto(b"x", (SERVER, 70_000))
        with pytest.raises(TypeError, match="address is"):
            client.sendto(b"x", SERVER)
        client.close()

    assert run(main) == []


def test_an_exception_in_a_callback_goes_to_the_loop_and_the_endpoint_lives_on() -> None:
    class Clumsy(Echo):
        def datagram_received(self, data: bytes, addr: Address) -> None:
            if data == b"bad":
                raise ZeroDivisionError
            super().datagram_received(data, addr)

    async def main() -> None:
        server, _, where = await endpoint(Clumsy, local_addr=(SERVER, 0))
        client, box, _ = await endpoint(remote_addr=where)
        client.sendto(b"bad")
        client.sendto(b"good")
        assert (await box.letters.get())[0] == b"good"
        server.close()
        client.close()

    (complaint,) = run(main)
    assert isinstance(complaint["exception"], ZeroDivisionError)


def test_after_close_nothing_is_sent_and_nothing_comes() -> None:
    async def main() -> None:
        server, box, where = await endpoint(local_addr=(SERVER, 0))
        client, other, _ = await endpoint(remote_addr=where)
        client.sendto(b"last")
        await box.letters.get()
        client.close()
        client.close()
        assert client.is_closing()
        client.sendto(b"too late")
        assert await other.lost is None
        again, _, _ = await endpoint(remote_addr=where)
        again.sendto(b"another")
        assert (await box.letters.get())[0] == b"another"
        server.abort()
        again.close()
        assert client.get_extra_info("peername") == where
        assert client.get_protocol() is None

    assert run(main) == []


def test_its_socket_shows_names_and_options() -> None:
    async def main() -> None:
        transport, _, where = await endpoint(local_addr=(SERVER, 0), allow_broadcast=True)
        sock = transport.get_extra_info("socket")
        assert (sock.type, sock.proto, sock.family) == (
            socket.SOCK_DGRAM,
            socket.IPPROTO_UDP,
            socket.AF_INET,
        )
        assert sock.getsockname() == where
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST) == 1
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_TYPE) == socket.SOCK_DGRAM
        with pytest.raises(OSError, match="not connected"):
            sock.getpeername()
        assert transport.get_extra_info("peername") is None
        assert transport.get_write_buffer_size() == 0
        transport.close()

    assert run(main) == []


def test_a_taken_port_fails_by_name_and_a_harmless_option_is_kept() -> None:
    async def main() -> None:
        transport, _, where = await endpoint(local_addr=(SERVER, 0))
        with pytest.raises(OSError, match=f"bind to {where[0]}:{where[1]}") as taken:
            await endpoint(local_addr=where)
        assert taken.value.errno == errno.EADDRINUSE
        other, _, _ = await endpoint(local_addr=(SERVER, 0), reuse_port=True)
        reuse = socket.SOL_SOCKET, socket.SO_REUSEPORT
        assert other.get_extra_info("socket").getsockopt(*reuse) == 1
        assert transport.get_extra_info("socket").getsockopt(*reuse) == 0
        other.close()
        transport.close()

    assert run(main) == []


def test_a_factory_that_raises_leaves_no_socket_behind() -> None:
    def fail() -> Any:
        raise ZeroDivisionError

    async def main() -> None:
        with pytest.raises(ZeroDivisionError):
            await endpoint(fail, local_addr=(SERVER, 5353))
        transport, _, _ = await endpoint(local_addr=(SERVER, 5353))
        transport.close()

    assert run(main) == []


def test_closing_the_loop_with_an_open_endpoint_ends_it() -> None:
    async def main() -> None:
        transport, _, _ = await endpoint(local_addr=(SERVER, 0))
        loop: Any = asyncio.get_running_loop()
        for stack in list(loop._stacks):
            loop.detach(stack)
        transport.sendto(b"x", (CLIENT, 9))
        assert transport.is_closing()

    assert run(main) == []


def test_the_kernels_endpoints_live_in_the_same_loop() -> None:
    async def main() -> None:
        server, _, where = await endpoint(Echo, local_addr=("127.0.0.1", 0))
        client, box, _ = await endpoint(remote_addr=where)
        client.sendto(b"kernel")
        assert await box.letters.get() == (b"kernel", where)
        server.close()
        client.close()

    assert run(main) == []


def test_a_peer_that_is_not_there_is_told_to_error_received() -> None:
    async def main() -> None:
        client, box, _ = await endpoint(remote_addr=(NOBODY, 9))
        client.sendto(b"hello?")
        assert (await box.errors.get()).errno == errno.EHOSTUNREACH  # type: ignore[attr-defined]
        client.close()

    assert run(main, settings={"neigh.retrans_ms": 10}) == []


def test_an_endpoint_closed_when_it_is_made_is_lost() -> None:
    class Shy(Mailbox):
        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            transport.close()

    async def main() -> None:
        _, box, _ = await endpoint(Shy, local_addr=(SERVER, 0))
        assert await box.lost is None

    assert run(main) == []


def test_cancelled_while_it_is_made_an_endpoint_gives_its_port_back() -> None:
    async def main() -> None:
        for _ in range(2):
            making = asyncio.ensure_future(endpoint(local_addr=(SERVER, 9)))
            await asyncio.sleep(0)
            making.cancel()
            with pytest.raises(asyncio.CancelledError):
                await making

    assert run(main) == []


# ----------------------------------------------------------------------------- wildcards

LOCAL = "127.0.0.1"


class Says(Mailbox):
    """Keeps what comes, and answers."""

    def datagram_received(self, data: bytes, addr: Address) -> None:
        super().datagram_received(data, addr)
        self.transport.sendto(b"re: " + data, addr)


async def exchange(host: str, port: int, **options: Any) -> bytes:
    """Send a datagram and return the answer, which must come from there."""
    client, box, _ = await endpoint(remote_addr=(host, port), **options)
    client.sendto(b"hello")
    data, source = await box.letters.get()
    assert source[:2] == (host, port)
    client.close()
    return bytes(data)


@pytest.mark.parametrize("host", ["0.0.0.0", "::"])
def test_an_endpoint_on_a_wildcard_hears_of_the_kernel_and_of_every_stack(host: str) -> None:
    async def main() -> None:
        server, box, where = await endpoint(Says, local_addr=(host, 0))
        assert where[0] == host
        for address in (SERVER, CLIENT, LOCAL):
            assert await exchange(address, where[1]) == b"re: hello"
            data, source = await box.letters.get()
            assert data == b"hello"
            shape = (2, "") if host == "0.0.0.0" else (4, "::ffff:")
            assert (len(source), source[0].startswith(shape[1])) == (shape[0], True)
        server.close()
        assert await box.lost is None
        assert server.is_closing()
        server.sendto(b"too late", (LOCAL, 9))

    assert run(main) == []


def test_what_answers_nothing_goes_by_whoever_reaches_its_address() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        for options in ({"local_addr": ("0.0.0.0", 0)}, {"family": socket.AF_INET}):
            server, _, where = await endpoint(**options)  # type: ignore[arg-type]
            for address in (SERVER, LOCAL):
                _, box, there = await endpoint(local_addr=(address, 0))
                server.sendto(b"unasked", there)
                data, source = await box.letters.get()
                assert (data, source[1]) == (b"unasked", where[1])
                box.transport.close()
            server.close()
        with pytest.raises(ValueError):
            await loop.create_datagram_endpoint(Mailbox)

    assert run(main) == []


def test_an_answer_goes_where_its_question_came_in() -> None:
    """Though the stack reaches the address, too: the kernel may be asked from anywhere."""

    async def main() -> None:
        loop: Any = asyncio.get_running_loop()
        loop._stack_to = lambda host, port=0: next(iter(loop._stacks))  # which reaches all
        server, _, where = await endpoint(Says, local_addr=("0.0.0.0", 0))
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.settimeout(10)
            sock.sendto(b"hello", (LOCAL, where[1]))
            assert await loop.run_in_executor(None, sock.recv, 100) == b"re: hello"
        server.close()

    assert run(main) == []


@pytest.mark.parametrize("whose", ["ustack", "kernel"])
def test_a_wildcard_endpoint_can_be_the_stacks_alone_or_the_kernels(whose: str) -> None:
    async def main() -> None:
        loop: Any = asyncio.get_running_loop()
        loop._wildcard = Place.parse("wildcard", whose)
        server, box, where = await endpoint(Says, local_addr=("0.0.0.0", 0))
        for address in (SERVER, CLIENT, LOCAL):
            client, theirs, _ = await endpoint(remote_addr=(address, where[1]))
            client.sendto(b"hello")
            if (address == LOCAL) == (whose == "kernel"):
                assert (await theirs.letters.get())[0] == b"re: hello"
            else:
                assert isinstance(await theirs.errors.get(), ConnectionRefusedError)
            client.close()
        server.close()
        assert await box.lost is None

    assert run(main) == []


def test_the_socket_of_an_endpoint_on_a_wildcard_is_all_of_its_sockets() -> None:
    async def main() -> None:
        server, box, where = await endpoint(local_addr=("0.0.0.0", 0), allow_broadcast=True)
        sock = server.get_extra_info("socket")
        assert sock.getsockname() == where
        assert (sock.family, sock.type) == (socket.AF_INET, socket.SOCK_DGRAM)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 70_000)
        for half in server._halves:
            one = half.transport.get_extra_info("socket")
            assert one.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) in (70_000, 140_000)
            assert one.getsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST)
        assert server.get_extra_info("peername", 5) in (None, 5)
        assert server.get_write_buffer_size() == 0
        assert server.get_protocol() is box
        server.abort()
        assert await box.lost is None

    assert run(main) == []


def test_a_port_that_is_taken_on_one_of_them_is_refused_and_given_back() -> None:
    async def main() -> None:
        taken, _, where = await endpoint(local_addr=(CLIENT, 0))
        with pytest.raises(OSError) as caught:
            await endpoint(local_addr=("0.0.0.0", where[1]))
        assert caught.value.errno == errno.EADDRINUSE
        taken.close()
        await asyncio.sleep(0)
        server, box, _ = await endpoint(Says, local_addr=("0.0.0.0", where[1]))
        assert await exchange(SERVER, where[1]) == b"re: hello"
        server.close()
        await box.lost

    assert run(main) == []


def test_an_exception_in_a_wildcard_endpoints_callback_goes_to_the_loop() -> None:
    class Clumsy(Says):
        def datagram_received(self, data: bytes, addr: Address) -> None:
            super().datagram_received(data, addr)
            raise ZeroDivisionError

    async def main() -> None:
        server, _, where = await endpoint(Clumsy, local_addr=("0.0.0.0", 0))
        for address in (SERVER, LOCAL):
            await exchange(address, where[1])
        server.close()

    complaints = run(main)
    assert [type(c["exception"]) for c in complaints] == [ZeroDivisionError] * 2


def test_cancelled_while_it_is_made_a_wildcard_endpoint_leaves_nothing() -> None:
    async def main() -> None:
        probe, _, where = await endpoint(local_addr=("0.0.0.0", 0))
        probe.close()
        for turns in range(6):
            making = asyncio.ensure_future(endpoint(local_addr=("0.0.0.0", where[1])))
            for _ in range(turns):
                await asyncio.sleep(0)
            if not making.done():
                making.cancel()
            try:
                transport, _, _ = await making
                transport.close()
            except asyncio.CancelledError:
                pass
            for _ in range(3):
                await asyncio.sleep(0)
        last, box, _ = await endpoint(local_addr=("0.0.0.0", where[1]))
        last.close()
        await box.lost

    assert run(main) == []
