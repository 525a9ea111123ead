# SPDX-License-Identifier: BSD-3-Clause
"""A soak of asyncio on virtual time: connections that do at random all that connections can do.

Each connection is a client's task with a random generator of its own, so a seed replays to the
byte. The bytes of a direction are known from the connection's number, which its first bytes tell,
so the receiver checks each of them as it comes. `soak(seed)` raises AssertionError for

- a callback out of asyncio's order, or bytes while reading is paused or after close();
- a byte that is not the right one, or a stream that ended early without anybody's abort;
- anything that the loop's exception handler or sys.unraisablehook is told;
- a connection whose connection_lost never comes;
- an endpoint, a TCB, an mbuf or a Python object that remains, or a broken invariant of an engine.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import functools
import gc
import hashlib
import random
import struct
import sys
import weakref
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

from ustack import sim

HEADER = struct.Struct("!IIIB")  # number, bytes to the server, bytes to the client, what it does
ABORTS, READS_LATE, ENDS_FIRST = 1, 2, 4  # what a server does
SIZES = [1, 10, 100, 1000, 1448, 5000, 20_000, 100_000]
LENGTHS = [0, 1, 500, 5000, 60_000, 300_000]
PERIOD = 1 << 16  # of a pattern
SPREAD = 20.0  # seconds in which connections begin
PORT, STREAMS, CLOSED = 7, 8, 9


@functools.cache
def _period(number: int, to_server: bool) -> bytes:
    return hashlib.shake_128(repr((number, to_server)).encode()).digest(PERIOD)


def pattern(number: int, to_server: bool, start: int, length: int) -> bytes:
    """Return these bytes of a direction of a connection."""
    first = start % PERIOD
    repeated = _period(number % 16, to_server) * ((first + length) // PERIOD + 1)
    return repeated[first : first + length]


class End:
    """One end of a connection: holds asyncio to its order, and bytes to the pattern."""

    def __init__(self, soak: Soak, *, server: bool, number: int = -1) -> None:
        self.soak, self.server, self.number = soak, server, number
        self.got = 0
        self.state = "new"
        self.eof = False
        self.error: Exception | None = None
        self.news, self.room = asyncio.Event(), asyncio.Event()
        self.room.set()

    def connection_made(self, transport: Any) -> None:
        assert self.state == "new", self.state
        self.state, self.transport = "open", transport
        self.soak.made(self)

    def take(self, data: bytes) -> None:
        """Look at bytes that have come."""
        assert data, "no bytes"
        assert self.state == "open" and not self.eof, (self.state, self.eof)
        assert not self.transport.is_closing(), "bytes after close()"
        assert self.transport.is_reading(), "bytes while reading is paused"
        assert data == pattern(self.number, self.server, self.got, len(data)), self.got
        self.got += len(data)
        self.news.set()

    def eof_received(self) -> bool:
        assert self.state == "open" and not self.eof, (self.state, self.eof)
        self.eof = True
        self.news.set()
        return True

    def pause_writing(self) -> None:
        assert self.room.is_set(), "paused twice"
        self.room.clear()

    def resume_writing(self) -> None:
        assert not self.room.is_set(), "resumed without a pause"
        self.room.set()

    def connection_lost(self, exc: Exception | None) -> None:
        assert self.state == "open", self.state
        self.state, self.error = "lost", exc
        self.soak.lost(self)
        self.news.set()
        self.room.set()

    @property
    def usable(self) -> bool:
        """Whether it can still write."""
        return self.state == "open" and not self.transport.is_closing()

    async def until(self, length: float) -> None:
        """Wait for so many bytes, the end of the stream, or that of the connection."""
        while self.got < length and not self.eof and self.state == "open":
            self.news.clear()
            await self.news.wait()

    async def write(self, length: int, rng: random.Random) -> None:
        """Write so many bytes in pieces, mostly as flow control lets us."""
        sent = 0
        while sent < length and self.usable:
            size = min(rng.choice(SIZES), length - sent)
            piece = pattern(self.number, not self.server, sent, size)
            sent += size
            how = rng.randrange(3)
            if how == 0:
                self.transport.writelines([piece[:7], memoryview(piece)[7:]])
            else:
                self.transport.write(piece if how == 1 else bytearray(piece))
            if rng.random() < 0.8:
                await self.room.wait()
            if rng.random() < 0.2:
                await asyncio.sleep(rng.uniform(0, 0.2))


class Plain(End, asyncio.Protocol):
    """A Protocol."""

    def data_received(self, data: bytes) -> None:
        assert type(data) is bytes
        self.take(data)


class Buffered(End, asyncio.BufferedProtocol):
    """A BufferedProtocol, whose buffer has any size."""

    def get_buffer(self, sizehint: int) -> bytearray:
        self.buffer = bytearray(self.soak.rng.choice(SIZES))
        return self.buffer

    def buffer_updated(self, nbytes: int) -> None:
        self.take(bytes(self.buffer[:nbytes]))


class Head(asyncio.Protocol):
    """A server's first protocol: reads who is there, then lets another take over."""

    def __init__(self, soak: Soak) -> None:
        self.soak = soak
        self.data = b""

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self.soak.made(self)

    def data_received(self, data: bytes) -> None:
        self.data += data
        if len(self.data) < HEADER.size:
            return
        number, *plan = HEADER.unpack(self.data[: HEADER.size])
        kind = Buffered if number % 3 == 0 else Plain
        end = kind(self.soak, server=True, number=number)
        end.state, end.transport = "open", self.transport
        self.soak.switched(self, end)
        self.transport.set_protocol(end)
        if rest := self.data[HEADER.size :]:
            end.take(rest)
        self.soak.start(self.soak.serve(end, *plan))

    def connection_lost(self, exc: Exception | None) -> None:
        self.soak.lost(self)


class Soak:
    """One run; see soak()."""

    def __init__(self, seed: int, connections: int) -> None:
        self.seed, self.connections = seed, connections
        self.rng = random.Random(f"soak {seed}")
        self.net = sim.Network(seed=seed)
        self.open: set[Any] = set()
        self.servers: dict[int, End] = {}
        self.watched: list[weakref.ref[Any]] = []
        self.tasks: set[asyncio.Task[None]] = set()
        self.complaints: list[Any] = []
        self.counts: dict[str, int] = {}
        self._build()

    def _build(self) -> None:
        switch = self.net.switch("switch")
        self.server = self.net.host("server")
        self.clients = [self.net.host(f"client{n}") for n in range(3)]
        for host in [self.server, *self.clients]:
            link = self.net.link(
                host,
                switch,
                rate=self.rng.choice([2e6, 20e6, 1e9]),
                delay=self.rng.choice([0.0001, 0.01, 0.05]),
                jitter=self.rng.choice([0.0, 0.002]),
                loss=self.rng.choice([0.0, 0.01, 0.05]),
                reorder=self.rng.choice([0.0, 0.01]),
                reorder_delay=0.005,
                duplicate=self.rng.choice([0.0, 0.005]),
                corrupt=self.rng.choice([0.0, 0.002]),
                queue=sim.DropTail(frames=self.rng.choice([20, 1000])),
            )
            if self.rng.random() < 0.3:
                when, length = self.rng.uniform(0, SPREAD), self.rng.uniform(0, 5)
                self.net.at(when, functools.partial(link.down, length))

    # --------------------------------------------------------------------- book-keeping

    def made(self, protocol: Any) -> None:
        self.open.add(protocol)
        self.watched += [weakref.ref(protocol), weakref.ref(protocol.transport)]

    def switched(self, old: Any, new: End) -> None:
        self.open.remove(old)
        self.open.add(new)
        self.servers[new.number] = new
        self.watched.append(weakref.ref(new))

    def lost(self, protocol: Any) -> None:
        self.open.remove(protocol)

    def start(self, coroutine: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(coroutine)
        self.tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[None]) -> None:
        self.tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            self.complaints.append(task.exception())

    def count(self, what: str) -> None:
        self.counts[what] = self.counts.get(what, 0) + 1

    # --------------------------------------------------------------------------- server

    async def serve(self, end: End, to_server: int, to_client: int, flags: int) -> None:
        rng = random.Random(f"{self.seed} server {end.number}")
        if flags & READS_LATE:
            end.transport.pause_reading()
            await asyncio.sleep(rng.uniform(0, 3))
            end.transport.resume_reading()
        if flags & ABORTS:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(end.until(float("inf")), rng.uniform(0, 2))
            end.transport.abort()
            return
        await end.write(to_client, rng)
        if flags & ENDS_FIRST and end.usable:
            end.transport.write_eof()
            await end.until(float("inf"))
        else:
            await end.until(to_server)
        end.transport.close()

    # -------------------------------------------------------------------------- clients

    async def client(self, number: int) -> None:
        rng = random.Random(f"{self.seed} client {number}")
        await asyncio.sleep(rng.uniform(0, SPREAD))
        act = rng.choices([self.talk, self.give_up, self.refused, self.streams], [10, 6, 1, 3])[0]
        with rng.choice(self.clients):
            try:
                await act(number, rng)
                self.count(act.__name__)
            except OSError as error:
                allowed = (errno.ETIMEDOUT, errno.ECONNRESET, errno.EPIPE, errno.EHOSTUNREACH)
                assert error.errno in allowed or isinstance(error, TimeoutError), repr(error)
                self.count(type(error).__name__)

    async def connect(self, number: int, rng: random.Random, port: int = PORT) -> Any:
        kind = rng.choice([Plain, Buffered])
        loop = asyncio.get_running_loop()
        _, end = await loop.create_connection(
            lambda: kind(self, server=False, number=number), "server", port
        )
        return end

    async def refused(self, number: int, rng: random.Random) -> None:
        """Nobody listens."""
        with contextlib.suppress(ConnectionRefusedError):
            await self.connect(number, rng, CLOSED)
            raise AssertionError("somebody listens")

    async def talk(self, number: int, rng: random.Random, *, flags: int | None = None) -> None:
        """Exchange bytes both ways at once; nobody loses patience unless flags say so."""
        to_server, to_client = rng.choice(LENGTHS), rng.choice(LENGTHS)
        if flags is None:
            flags = rng.choice([0, ENDS_FIRST]) | rng.choice([0, READS_LATE])
        end = await self.connect(number, rng)
        try:
            end.transport.write(HEADER.pack(number, to_server, to_client, flags))
            reading = self.start(self.read(end, to_client, rng))
            await end.write(to_server, rng)
            if rng.random() < 0.5 and end.usable:
                end.transport.write_eof()
            await reading
        except asyncio.CancelledError:
            rng.choice([end.transport.close, end.transport.abort])()
            raise
        end.transport.close()
        while end.state == "open":
            await asyncio.sleep(0.1)
        self.judge(end, number, to_server, to_client, flags)

    async def read(self, end: End, length: int, rng: random.Random) -> None:
        if rng.random() < 0.3 and end.usable:
            end.transport.pause_reading()
            await asyncio.sleep(rng.uniform(0, 3))
            end.transport.resume_reading()
        await end.until(length)

    def judge(self, end: End, number: int, to_server: int, to_client: int, flags: int) -> None:
        """Both have got all, unless somebody aborted or the network was too bad for too long."""
        server = self.servers.get(number)
        if flags & ABORTS or end.error or server is None or server.error:
            self.count("cut")
            return
        assert end.got == to_client, (number, end.got, to_client)
        self.count("complete")

    async def give_up(self, number: int, rng: random.Random) -> None:
        """Be cancelled at some time, while connecting or talking; or meet an abort."""
        flags = rng.choice([0, ABORTS, ABORTS | READS_LATE])
        task = self.start(self.talk(number, rng, flags=flags))
        await asyncio.wait([task], timeout=rng.choice([0.0, 0.05, 0.5, 5.0]) * rng.random())
        task.cancel()
        await asyncio.wait([task])

    async def streams(self, number: int, rng: random.Random) -> None:
        """Talk to an echo through asyncio's streams."""
        reader, writer = await asyncio.open_connection("server", STREAMS)
        self.watched.append(weakref.ref(writer.transport))
        try:
            for _ in range(rng.randrange(5)):
                data = pattern(number, True, 0, rng.choice(SIZES))
                writer.write(data)
                await writer.drain()
                assert await reader.readexactly(len(data)) == data
        except asyncio.IncompleteReadError as error:
            raise ConnectionResetError(errno.ECONNRESET, "cut") from error
        finally:
            writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()

    async def echo(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(10_000):
                writer.write(data)
                await writer.drain()
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()

    # ------------------------------------------------------------------------- the whole

    async def main(self) -> None:
        loop: Any = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: self.complaints.append(context))
        with self.server:
            servers = [
                await loop.create_server(lambda: Head(self), self.server.address, PORT),
                await asyncio.start_server(self.echo, self.server.address, STREAMS),
            ]
        for number in range(self.connections):
            self.start(self.client(number))
        while self.tasks:
            await asyncio.wait(list(self.tasks))
            self.net.check()
        for server in servers:
            server.close()
        while self.open:  # ends whose peers are gone hear of it in time
            assert loop.time() < 5000, f"connection_lost never came: {self.open}"
            await asyncio.sleep(1)
        await asyncio.sleep(1)
        assert sum(turn.endpoints for turn, _ in loop._turns.values()) == 0

    def finish(self) -> None:
        """Look for what remains."""
        self.net.run(1000)  # the last retransmissions and TIME-WAIT
        self.net.check()
        for host in self.net.hosts:
            usage = host.stack.usage()
            left = {name: usage[name] for name in usage if name in GONE and usage[name]}
            assert not left, (host.name, left)
        self.servers.clear()
        gc.collect()
        remain = [thing() for thing in self.watched if thing() is not None]
        assert not remain, remain
        assert not self.complaints, self.complaints


GONE = ("tcbs", "requests", "timewaits", "orphans", "mbufs_small", "mbufs_large", "mbufs_ref")
GONE += ("reass", "cc_states", "sents", "flows", "ready", "outq")


@contextlib.contextmanager
def unraisable(handle: Callable[[Any], None]) -> Iterator[None]:
    """Tell of exceptions that have nowhere to go."""
    before, sys.unraisablehook = sys.unraisablehook, handle
    try:
        yield
    finally:
        sys.unraisablehook = before


def soak(seed: int, connections: int = 50) -> tuple[str, dict[str, int]]:
    """Run one seed; return the digest of all frames, and what came of the connections."""
    run = Soak(seed, connections)
    with unraisable(lambda told: run.complaints.append((told.exc_value, told.object))):
        run.net.run_until_complete(run.main())
        run.finish()
    return run.net.digest(), run.counts
