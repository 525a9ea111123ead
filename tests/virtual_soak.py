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
import random
import sys
import weakref
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

from ustack import sim
from ustack._native import lib
from virtual_ends import (
    ABORTS,
    ANSWERS,
    ENDS_FIRST,
    HEADER,
    READS_LATE,
    RUDE,
    SIZES,
    Buffered,
    Chatter,
    End,
    Head,
    Plain,
    Rude,
    keep_alive,
    pattern,
)

LENGTHS = [0, 1, 500, 5000, 60_000, 300_000]
SCARCE = {  # tables that are much too small
    "mbuf.small": [300, 1100],
    "mbuf.large": [0, 4],
    "mbuf.refs": [64, 512],
    "tcp.max_tcbs": [8, 20],
    "tcp.max_syn_backlog": [1, 4],
    "tcp.max_tw_buckets": [1, 4],
    "tcp.max_reass": [1, 3],
    "tcp.rmem": [2304, 8192],
    "tcp.wmem": [4608, 8192],
    "tcp.max_cc_states": [1, 4],
    "tcp.max_orphans": [0, 2],
    "tcp.sent_records": [0, 16],
    "tcp.max_flights": [4, 16],
    "tcp.max_extras": [8, 32],
    "tcp.idle_flights": [0, 1],
    "tcp.max_ooo_ranges": [1, 4],
}
ALLOWED = (errno.ETIMEDOUT, errno.ECONNRESET, errno.EPIPE, errno.EHOSTUNREACH)
ALLOWED += (errno.ENOBUFS, errno.ENFILE, errno.ENOMEM, errno.EADDRNOTAVAIL)  # when it is scarce
SPREAD = 20.0  # seconds in which connections begin
PATIENCE = 20_000.0  # seconds of virtual time in which all must be over
PORT, STREAMS, CLOSED = 7, 8, 9


class Soak:
    """One run; see soak()."""

    def __init__(self, seed: int, connections: int, *, scarce: bool) -> None:
        self.seed, self.connections, self.scarce = seed, connections, scarce
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
        self.server = self.net.host("server", settings=self._settings())
        self.clients = [self.net.host(f"client{n}", settings=self._settings()) for n in range(3)]
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

    def _settings(self) -> dict[str, int]:
        """Return what is different with a host."""
        if not self.scarce:
            return {}
        names = self.rng.sample(sorted(SCARCE), self.rng.randrange(5))
        return {"mbuf.reserve": 16} | {name: self.rng.choice(SCARCE[name]) for name in names}

    # --------------------------------------------------------------------- book-keeping

    def made(self, protocol: Any) -> None:
        self.open.add(protocol)
        self.watched += [weakref.ref(protocol), weakref.ref(protocol.transport)]
        if not isinstance(protocol, Chatter):
            keep_alive(protocol.transport)

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

    def complain(self, loop: Any, context: dict[str, Any]) -> None:
        """Take note of what the loop's exception handler is told, but for what is meant."""
        if isinstance(context.get("exception"), Rude):
            self.count("exceptions")
        else:
            self.complaints.append(context)

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
        if flags & ANSWERS:
            await end.until(float("inf"))
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
        acts = [self.talk, self.give_up, self.offend, self.refused, self.streams, self.chat]
        act = rng.choices(acts, [10, 6, 4, 1, 3, 2])[0]
        with rng.choice(self.clients):
            await self.excused(act(number, rng))
        self.count(act.__name__)

    async def excused(self, act: Coroutine[Any, Any, None]) -> None:
        """Do something that a bad network may make impossible."""
        try:
            await act
        except OSError as error:
            assert error.errno in ALLOWED or isinstance(error, TimeoutError), repr(error)
            self.count(type(error).__name__)

    async def connect(
        self, number: int, rng: random.Random, port: int = PORT, *, rude: bool = False
    ) -> Any:
        def make() -> End:
            end = rng.choice([Plain, Buffered])(self, server=False, number=number)
            if rude:
                end.manners = rng
                if rng.random() < 0.05:
                    raise Rude(number)
            return end

        return (await asyncio.get_running_loop().create_connection(make, "server", port))[1]

    async def refused(self, number: int, rng: random.Random) -> None:
        """Nobody listens."""
        with contextlib.suppress(ConnectionRefusedError):
            await self.connect(number, rng, CLOSED)
            raise AssertionError("somebody listens")

    async def offend(self, number: int, rng: random.Random) -> None:
        """Have no manners, as a client, a server, or both."""
        with contextlib.suppress(Rude):
            await self.talk(number, rng, flags=rng.choice([0, RUDE]), rude=rng.random() < 0.6)

    async def talk(
        self, number: int, rng: random.Random, *, flags: int | None = None, rude: bool = False
    ) -> None:
        """Exchange bytes both ways at once; nobody loses patience unless flags say so."""
        to_server, to_client = rng.choice(LENGTHS), rng.choice(LENGTHS)
        if flags is None:
            flags = rng.choice([0, ENDS_FIRST, ANSWERS]) | rng.choice([0, READS_LATE])
        end = await self.connect(number, rng, rude=rude)
        try:
            end.transport.write(HEADER.pack(number, to_server, to_client, flags))
            ends = flags & ANSWERS or rng.random() < 0.5
            length = float("inf") if flags & ANSWERS else to_client
            reading = self.start(self.read(end, length, rng))
            await end.write(to_server, rng)
            if ends and end.usable:
                end.transport.write_eof()
            await reading
        except asyncio.CancelledError:
            rng.choice([end.leave, end.transport.abort])()
            raise
        end.transport.close()
        while end.state == "open":
            await asyncio.sleep(0.1)
        self.judge(end, number, to_server, to_client, flags)

    async def read(self, end: End, length: float, rng: random.Random) -> None:
        if rng.random() < 0.3 and end.usable:
            end.transport.pause_reading()
            await asyncio.sleep(rng.uniform(0, 3))
            end.transport.resume_reading()
        await end.until(length)

    def judge(self, end: End, number: int, to_server: int, to_client: int, flags: int) -> None:
        """Both have got all, unless somebody aborted or the network was too bad for too long."""
        server = self.servers.get(number)
        rude = end.rude or (server is not None and server.rude)
        if flags & ABORTS or rude or end.error or server is None or server.error:
            self.count("cut")
            return
        assert end.got == to_client, (number, end.got, to_client)
        self.count("complete")

    async def give_up(self, number: int, rng: random.Random) -> None:
        """Be cancelled at some time, while connecting or talking; or meet an abort."""
        flags = rng.choice([0, ABORTS, ABORTS | READS_LATE])
        task = self.start(self.excused(self.talk(number, rng, flags=flags)))
        await asyncio.wait([task], timeout=rng.choice([0.0, 0.05, 0.5, 5.0]) * rng.random())
        task.cancel()
        await asyncio.wait([task])

    async def streams(self, number: int, rng: random.Random) -> None:
        """Talk to an echo through asyncio's streams."""
        reader, writer = await asyncio.open_connection("server", STREAMS)
        self.watched.append(weakref.ref(writer.transport))
        keep_alive(writer.transport)
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

    async def chat(self, number: int, rng: random.Random) -> None:
        """Send datagrams, of which some come back; or to nobody."""
        loop = asyncio.get_running_loop()
        transport, chatter = await loop.create_datagram_endpoint(
            lambda: Chatter(self, number), remote_addr=("server", rng.choice([PORT, PORT, CLOSED]))
        )
        for _ in range(rng.randrange(30)):
            data = rng.randbytes(rng.choice([1, 100, 1472, 1473, 9000]))
            chatter.sent.add(data)
            transport.sendto(data)
            await asyncio.sleep(rng.choice([0, 0.01, 0.3]))
        rng.choice([transport.close, transport.abort])()

    async def echo(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        keep_alive(writer.transport)
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
        loop.set_exception_handler(self.complain)
        with self.server:
            servers = [
                await loop.create_server(lambda: Head(self), self.server.address, PORT),
                await asyncio.start_server(self.echo, self.server.address, STREAMS),
            ]
            echoes, _ = await loop.create_datagram_endpoint(
                lambda: Chatter(self), (self.server.address, PORT)
            )
        for host in self.net.hosts if self.scarce else ():
            every = self.rng.choice([0, 0, 100, 1000])  # 0: none
            lib.ust_engine_fail_alloc(host.engine, every, 1)
        for number in range(self.connections):
            self.start(self.client(number))
        while self.tasks:
            await asyncio.wait(list(self.tasks), timeout=PATIENCE)
            assert loop.time() < PATIENCE, f"these wait for ever: {self.tasks}"
            self.net.check()
        for server in [*servers, echoes]:
            server.close()
        while self.open:  # ends whose peers are gone hear of it in time
            assert loop.time() < PATIENCE, f"connection_lost never came: {self.open}"
            await asyncio.sleep(1)
        await asyncio.sleep(1)
        assert sum(turn.endpoints for turn, _ in loop._turns.values()) == 0

    def finish(self) -> None:
        """Look for what remains."""
        for host in self.net.hosts:
            lib.ust_engine_fail_alloc(host.engine, 0, 0)
        self.net.run(1000)  # the last retransmissions and TIME-WAIT
        self.net.check()
        for host in self.net.hosts:
            usage = host.stack.usage()
            left = {name: usage[name] for name in usage if name in GONE and usage[name]}
            assert not left, (host.name, left)
        assert not self.complaints, self.complaints
        self.servers.clear()
        gc.collect()
        remain = [thing() for thing in self.watched if thing() is not None]
        assert not remain, remain
        assert not self.complaints, self.complaints


GONE = ("tcbs", "requests", "timewaits", "orphans", "mbufs_small", "mbufs_large", "mbufs_ref")
GONE += ("udp_socks", "frags", "reass", "cc_states", "sents", "flows", "ready", "outq")


@contextlib.contextmanager
def unraisable(handle: Callable[[Any], None]) -> Iterator[None]:
    """Tell of exceptions that have nowhere to go."""
    before, sys.unraisablehook = sys.unraisablehook, handle
    try:
        yield
    finally:
        sys.unraisablehook = before


def soak(seed: int, connections: int = 50, *, scarce: bool = False) -> tuple[str, dict[str, int]]:
    """Run one seed; return the digest of all frames, and what came of the connections.

    scarce: with tables that are too small, and buffers that fail to be had.
    """
    run = Soak(seed, connections, scarce=scarce)
    with unraisable(lambda told: run.complaints.append((told.exc_value, told.object))):
        run.net.run_until_complete(run.main())
        run.finish()
    return run.net.digest(), run.counts
