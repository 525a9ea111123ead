# SPDX-License-Identifier: BSD-3-Clause
"""Small messages: a burst of them is received and answered together, which nobody may notice."""

import asyncio
import contextvars
import socket
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from two import Recorder, connect, run

from ustack.apps.echo import Echo

pytestmark = pytest.mark.usefixtures("base")


async def several(
    n: int, factory: Callable[[], Any], client: Callable[[], Any] = Recorder
) -> tuple[list[Any], list[Any]]:
    """Return the servers' and the clients' protocols of so many connections."""
    pairs = [await connect(factory, client) for _ in range(n)]
    return [server for server, _ in pairs], [client for _, client in pairs]


def write_all(protocols: list[Any], data: bytes) -> None:
    """Write to all at once, so that what they write comes as one burst."""
    for protocol in protocols:
        protocol.transport.write(data)


async def close_all(servers: list[Any], clients: list[Any]) -> None:
    for client in clients:
        client.transport.close()
    for server in servers:
        await server.lost


def test_a_message_that_a_protocol_keeps_is_not_written_over() -> None:
    """A bytes object that nobody has kept takes the next message; here every second is kept."""
    kept: list[Any] = []

    class Keeps(Recorder):
        def data_received(self, data: bytes) -> None:
            number = int(data)
            if number % 2:
                kept.append({data: number} if number % 4 == 1 else memoryview(data))
            super().data_received(b"x")

    async def main() -> None:
        server, client = await connect(Keeps)
        for number in range(100):
            client.transport.write(b"%040d" % number)
            await server.received(number + 1)
        for i, data in enumerate(kept):
            number = 2 * i + 1
            text = b"%040d" % number
            assert data == {text: number} if isinstance(data, dict) else bytes(data) == text
        client.transport.close()
        await server.lost

    assert run(main) == []


def test_messages_have_their_own_length_and_hash() -> None:
    heard: dict[bytes, int] = {}

    class Hears(Recorder):
        def data_received(self, data: bytes) -> None:
            heard[bytes(bytearray(data))] = hash(data)
            super().data_received(data)

    async def main() -> None:
        server, client = await connect(Hears)
        texts = [bytes([65 + i]) * length for i, length in enumerate((40, 41, 33, 40, 1, 2, 1, 47))]
        for text in texts:
            before = len(server.data)
            client.transport.write(text)
            await server.received(before + len(text))
        assert heard == {text: hash(text) for text in texts}
        client.transport.close()
        await server.lost

    assert run(main) == []


def test_every_connection_of_a_burst_has_its_own_context() -> None:
    var: contextvars.ContextVar[int] = contextvars.ContextVar("var", default=0)
    counted: list[int] = []

    async def count() -> None:
        counted.append(var.get())

    class Counts(Recorder):
        def data_received(self, data: bytes) -> None:
            var.set(var.get() + 1)
            super().data_received(b"%d" % var.get())
            if var.get() == 3:
                self.task = asyncio.get_running_loop().create_task(count())

    async def main() -> None:
        servers, clients = await several(4, Counts)
        for turn in range(3):
            write_all(clients, b"x")
            for server in servers:
                await server.received(turn + 1)
        await asyncio.gather(*(server.task for server in servers))
        assert [bytes(server.data) for server in servers] == [b"123"] * 4
        assert counted == [3] * 4 and var.get() == 0
        await close_all(servers, clients)

    assert run(main) == []


class Meddler(Recorder):
    """Whoever hears first of a burst does something to the others."""

    others: list["Meddler"]
    meddle: Callable[["Meddler"], None]
    done = False

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if not Meddler.done:
            Meddler.done = True
            for other in self.others:
                if other is not self:
                    Meddler.meddle(other)


@pytest.fixture(autouse=True)
def keep_nobody() -> Iterator[None]:
    """Other tests count what is left of all connections."""
    yield
    Meddler.others = []


async def meddled(meddle: Callable[[Any], None]) -> tuple[list[Any], list[Any], Any]:
    """Return servers, clients, and which server was first: it has met the others before."""
    servers, clients = await several(3, Meddler)
    Meddler.others, Meddler.meddle, Meddler.done = servers, staticmethod(meddle), False
    write_all(clients, b"hello")
    while not Meddler.done:
        await asyncio.sleep(0)
    return servers, clients, next(server for server in servers if server.data)


def test_pausing_another_of_the_burst_keeps_its_message_for_later() -> None:
    """Also when the protocol has changed meanwhile, to one that has a buffer of its own."""

    class Buffered(asyncio.BufferedProtocol):
        def __init__(self) -> None:
            self.buffer, self.data = bytearray(2), bytearray()

        def get_buffer(self, sizehint: int) -> bytearray:
            return self.buffer

        def buffer_updated(self, n: int) -> None:
            self.data += self.buffer[:n]

    async def main() -> None:
        servers, clients, first = await meddled(lambda other: other.transport.pause_reading())
        one, two = (server for server in servers if server is not first)
        for _ in range(10):
            await asyncio.sleep(0)
        assert (bytes(one.data), bytes(two.data)) == (b"", b"")
        write_all(clients, b" you")
        one.transport.resume_reading()
        assert await one.received(9) == b"hello you"
        buffered = Buffered()
        two.transport.set_protocol(buffered)
        two.transport.resume_reading()
        while len(buffered.data) < 9:
            await asyncio.sleep(0)
        assert buffered.data == b"hello you"
        two.transport.set_protocol(two)
        await close_all(servers, clients)

    assert run(main) == []


def test_a_protocol_that_another_of_the_burst_has_set_gets_the_message() -> None:
    heirs: list[Recorder] = []

    def bequeath(other: Any) -> None:
        heirs.append(Recorder())
        other.transport.set_protocol(heirs[-1])

    async def main() -> None:
        _, clients, first = await meddled(bequeath)
        for heir in heirs:
            assert await heir.received(5) == b"hello"
        for client in clients:
            client.transport.close()
        for heir in [first, *heirs]:
            await heir.lost

    assert run(main) == []


def test_closing_another_of_the_burst_resets_it_for_it_has_not_read_all() -> None:
    """As the kernel's close(2) does; and what it had written is lost, as there."""

    async def main() -> None:
        servers, clients, first = await meddled(lambda other: other.transport.close())
        lost = [
            client.lost
            for client, server in zip(clients, servers, strict=True)
            if server is not first
        ]
        for exc in await asyncio.gather(*lost):
            assert isinstance(exc, ConnectionResetError)
        first.transport.close()
        for server in servers:
            await server.lost
        assert [bytes(server.data) for server in servers if server is not first] == [b"", b""]

    assert run(main) == []


@pytest.mark.parametrize("end", ["close", "abort", "write_eof"])
def test_what_a_callback_writes_comes_before_its_end(end: str) -> None:
    class Last(Recorder):
        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            for i in range(10):
                self.transport.write(b"%d" % i)
            assert self.transport.get_write_buffer_size() == 0
            self.transport.write(b".")
            getattr(self.transport, end)()

    async def main() -> None:
        servers, clients = await several(3, Last)
        write_all(clients, b"x")
        for client in clients:
            assert await client.received(11) == b"0123456789."
            await client.until(lambda client=client: "eof" in client.calls)
        await close_all(servers, clients)

    assert run(main) == []


def test_small_and_large_writes_of_a_callback_stay_in_order() -> None:
    pieces = [b"a" * n for n in (1, 60, 3000, 2, 900, 900, 900, 300_000, 5, 70_000, 1)]
    pieces = [bytes([65 + i]) * len(piece) for i, piece in enumerate(pieces)]

    class Writes(Recorder):
        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            for i, piece in enumerate(pieces):
                self.transport.write(bytearray(piece) if i % 3 == 1 else piece)

    async def main() -> None:
        servers, clients = await several(2, Writes)
        write_all(clients, b"x")
        whole = b"".join(pieces)
        for client in clients:
            assert await client.received(len(whole)) == whole
        await close_all(servers, clients)

    assert run(main) == []


@pytest.mark.parametrize("size", [0, 1])
def test_small_writes_that_find_no_room_pause_the_protocol_and_are_kept(size: int) -> None:
    """A peer that does not read, and answers that are all small, but for the smallest buffer."""
    rounds = 3000

    def length(number: int) -> int:
        return 100 + number * 37 % 411

    class Floods(Recorder):
        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            for _ in range(4):  # of many lengths, so that there is room for part of some
                self.transport.write(bytes([len(self.data) % 251]) * length(len(self.data)))

    async def main() -> None:
        server, client = await connect(Floods)
        server.transport.set_write_buffer_limits(high=0)
        if size:
            sock = server.transport.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, size)
        client.transport.pause_reading()
        for number in range(rounds):
            client.transport.write(b"x")
            await server.received(number + 1)
            if server.transport.get_write_buffer_size() > 5000:
                break
        assert "pause" in server.calls
        count = len(server.data)
        client.transport.resume_reading()
        whole = b"".join(bytes([i % 251]) * 4 * length(i) for i in range(1, count + 1))
        assert await client.received(len(whole)) == whole
        await server.until(lambda: server.calls[-1] == "resume")
        client.transport.close()
        await server.lost

    assert run(main) == []


def test_a_callback_that_ends_the_loop_leaves_the_rest_of_the_burst_to_its_next_turn() -> None:

    class Stop(KeyboardInterrupt):
        pass

    class Raises(Echo):
        count = 0

        def data_received(self, data: bytes) -> None:
            Raises.count += 1
            super().data_received(data)
            if Raises.count == 2:
                raise Stop

    async def main() -> None:
        _, clients = await several(3, Raises)
        write_all(clients, b"x")
        for client in clients:
            await client.received(1)

    with pytest.raises(Stop):
        run(main)
    assert Raises.count == 3


def test_a_longer_message_is_not_written_into_a_shorter_ones_memory() -> None:
    """Of 9 and 24 bytes the sizes are near, and the memory that Python has for them is not."""
    seen: list[tuple[int, int]] = []

    class Notes(Recorder):
        def data_received(self, data: bytes) -> None:
            seen.append((len(data), id(data)))
            self._note("data")

    async def main() -> None:
        server, client = await connect(Notes)
        for length in (9, 24) * 20:
            client.transport.write(bytes(length))
            await server.until(lambda: len(seen) > 0 and seen[-1][0] == length)  # noqa: B023
        await close_all([server], [client])

    assert run(main) == []
    assert [length for length, _ in seen] == [9, 24] * 20
    for (_, before), (_, where) in zip(seen[::2], seen[1::2], strict=True):
        assert where != before
