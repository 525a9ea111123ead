# SPDX-License-Identifier: BSD-3-Clause
"""A soak: many connections that open, talk, half-close, abort and cancel at random, on one loop.

Everything that a connection does is drawn from a seed and its number, and every byte that arrives
is compared with what must come there. At the end nothing may be left.
"""

from __future__ import annotations

import asyncio
import collections
import contextlib
import gc
import os
import random
import resource
import socket
import struct
import time
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any

from ustack import Stack, aio

SERVER, CLIENT, PORT, NOBODY = "10.9.0.2", "10.9.0.1", 80, 81
PATIENCE = 300.0  # seconds for one connection: 19 round trips on a machine that is busy
HEADER = struct.Struct("!cIQ")  # what to do, a length, the seed of the bytes
SETTINGS: dict[str, int | str] = {
    "tcp.timewait_ms": 500,
    "tcp.fin_timeout_ms": 5000,
    "mbuf.small": 65536,
    "mbuf.refs": 65536,
    "mbuf.large": 1024,
}
BLOCK = random.Random(5).randbytes(1 << 20)  # all bytes are of here

#: Objects of ours and of asyncio's that live as long as a connection, and no longer.
MORTALS = ("Transport", "Listener", "Peer", "StreamReader", "StreamWriter", "StreamReaderProtocol")


def text(seed: int, length: int) -> bytes:
    """Return the bytes of a connection."""
    start = seed % (len(BLOCK) - length)
    return BLOCK[start : start + length]


@dataclass
class Soak:
    """What a soak did, and what was wrong."""

    seed: int
    done: collections.Counter[str] = field(default_factory=collections.Counter)
    errors: list[str] = field(default_factory=list)
    leaks: dict[str, Any] = field(default_factory=dict)
    bytes: int = 0
    seconds: float = 0.0
    rss_kib: tuple[int, int] = (0, 0)  # the most so far, after a tenth of the time and at the end

    @property
    def ok(self) -> bool:
        """Whether nothing was wrong."""
        return not self.errors and not self.leaks


# ---------------------------------------------------------------------------------- the server


async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Do what a connection's first bytes ask for."""
    try:
        verb, length, seed = HEADER.unpack(await reader.readexactly(HEADER.size))
        await SERVICES[verb](reader, writer, length, seed)
    except (ConnectionError, asyncio.IncompleteReadError, TimeoutError):
        pass  # the client's doing
    finally:
        writer.close()


def reset(writer: Any) -> None:
    """Abort with an RST, whether there is something left to send or not."""
    sock = writer.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


async def echo(reader: Any, writer: Any, length: int, seed: int) -> None:
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()


async def abort(reader: Any, writer: Any, length: int, seed: int) -> None:
    await reader.readexactly(length)
    reset(writer)


async def give(reader: Any, writer: Any, length: int, seed: int) -> None:
    """Send all, say so, and read on to the end."""
    writer.write(text(seed, length))
    writer.write_eof()
    while await reader.read(65536):
        pass


async def count(reader: Any, writer: Any, length: int, seed: int) -> None:
    """Read to the end, then tell whether all was right."""
    got = await reader.read(-1)
    writer.write(b"y" if got == text(seed, length) else b"n")


SERVICES = {b"e": echo, b"a": abort, b"g": give, b"c": count}


# --------------------------------------------------------------------------------- the clients


class Peer(asyncio.Protocol):
    """A client without streams: pauses now and then, and compares what comes."""

    def __init__(self, rng: random.Random, wanted: bytes) -> None:
        self.rng, self.wanted, self.got = rng, wanted, bytearray()
        self.over: asyncio.Future[Exception | None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        transport.write(HEADER.pack(b"e", len(self.wanted), 0))
        transport.write(self.wanted)
        transport.write_eof()

    def data_received(self, data: bytes) -> None:
        self.got += data
        if self.rng.random() < 0.2:
            self.transport.pause_reading()
            asyncio.get_running_loop().call_later(self.rng.random() / 100, self._resume)

    def _resume(self) -> None:
        if not self.transport.is_closing():
            self.transport.resume_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        self.over.set_result(exc)


class Clients:
    """What a connection may do; each takes its own generator and counts its bytes."""

    def __init__(self, soak: Soak) -> None:
        self.soak = soak

    async def talk(self, rng: random.Random) -> None:
        """Write and read by turns."""
        reader, writer = await open_with(b"e", 0, 0)
        for _ in range(rng.randrange(1, 20)):
            data = text(rng.getrandbits(30), size(rng))
            writer.write(data)
            self.expect(await reader.readexactly(len(data)), data)
        await end(writer)

    async def half_close(self, rng: random.Random) -> None:
        """Write all, end, and read the verdict."""
        length, seed = size(rng), rng.getrandbits(30)
        reader, writer = await open_with(b"c", length, seed)
        writer.write(text(seed, length))
        writer.write_eof()
        self.expect(await reader.read(-1), b"y")
        self.soak.bytes += length
        await end(writer)

    async def be_half_closed(self, rng: random.Random) -> None:
        """Read to the end, then write on."""
        length, seed = size(rng), rng.getrandbits(30)
        reader, writer = await open_with(b"g", length, seed)
        self.expect(await reader.read(-1), text(seed, length))
        writer.write(text(seed, size(rng)))
        await end(writer)

    async def abort(self, rng: random.Random) -> None:
        """Reset in the middle of an echo."""
        _, writer = await open_with(b"e", 0, 0)
        writer.write(text(1, size(rng)))
        await asyncio.sleep(rng.random() / 200)
        reset(writer)
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()

    async def be_aborted(self, rng: random.Random) -> None:
        """Be reset by the server."""
        length = size(rng)
        reader, writer = await open_with(b"a", length, 0)
        writer.write(text(2, length))
        try:
            if await reader.read(-1):
                self.soak.errors.append("an aborting server has sent something")
            self.soak.errors.append("an abort was seen as an end")
        except ConnectionError:
            pass
        with contextlib.suppress(ConnectionError):
            await end(writer)

    async def leave(self, rng: random.Random) -> None:
        """Close without reading what comes."""
        _, writer = await open_with(b"e", 0, 0)
        writer.write(text(3, size(rng)))
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()

    async def cancel_connect(self, rng: random.Random) -> None:
        """Lose interest while connecting."""
        task = asyncio.create_task(open_with(b"e", 0, 0))
        await asyncio.sleep(rng.choice((0, 0, rng.random() / 1000)))
        task.cancel()
        try:
            _, writer = await task
        except asyncio.CancelledError:
            return
        await end(writer)

    async def cancel_read(self, rng: random.Random) -> None:
        """Lose interest while waiting, then go on and be right."""
        reader, writer = await open_with(b"e", 0, 0)
        task = asyncio.create_task(reader.readexactly(1000))
        await asyncio.sleep(rng.random() / 500)
        task.cancel()
        await asyncio.wait([task])
        data = text(rng.getrandbits(30), 1000)
        writer.write(data)
        self.expect(await reader.readexactly(1000), data)
        await end(writer)

    async def be_refused(self, rng: random.Random) -> None:
        """Connect to where nobody listens."""
        try:
            _, writer = await asyncio.open_connection(SERVER, NOBODY)
        except ConnectionRefusedError:
            return
        self.soak.errors.append("nobody has accepted")
        writer.close()

    async def protocol(self, rng: random.Random) -> None:
        """Echo without streams, pausing."""
        loop = asyncio.get_running_loop()
        wanted = text(rng.getrandbits(30), size(rng))
        _, peer = await loop.create_connection(lambda: Peer(rng, wanted), SERVER, PORT)
        if (error := await peer.over) is not None:
            self.soak.errors.append(f"protocol: {error!r}")
        self.expect(bytes(peer.got), wanted)

    def expect(self, got: bytes, wanted: bytes) -> None:
        """Note when what came is not what must come."""
        self.soak.bytes += len(got)
        if got != wanted:
            self.soak.errors.append(f"{len(got)} bytes came that are not the {len(wanted)} sent")


def size(rng: random.Random) -> int:
    """Return a length: small ones more often."""
    return int(2 ** rng.uniform(0, 17))


async def open_with(verb: bytes, length: int, seed: int) -> Any:
    """Connect and say what the server shall do."""
    reader, writer = await asyncio.open_connection(SERVER, PORT)
    writer.write(HEADER.pack(verb, length, seed))
    return reader, writer


async def end(writer: asyncio.StreamWriter) -> None:
    """Close and wait for it."""
    writer.close()
    await writer.wait_closed()


# ------------------------------------------------------------------------------------ the soak


def run(seed: int, seconds: float, connections: int, base: str) -> Soak:
    """Soak for so long; what came of it."""
    soak = Soak(seed)
    io = f"ring:soak-{os.getpid()}-{base}"
    with (
        Stack(io, f"{SERVER}/24", settings=SETTINGS) as server,
        Stack(io, f"{CLIENT}/24", settings=SETTINGS) as client,
    ):
        before = [usage(stack) for stack in (server, client)]
        started = time.monotonic()
        aio.run(_main(soak, seconds, connections), server, client, base=base)
        soak.seconds = time.monotonic() - started
        gc.collect()
        soak.leaks |= _mortals()
        for name, stack, was in zip(("server", "client"), (server, client), before, strict=True):
            _settle(stack, was)
            soak.leaks |= {
                f"{name} {key}": value for key, value in usage(stack).items() if value != was[key]
            }
    return soak


async def _main(soak: Soak, seconds: float, connections: int) -> None:
    loop: Any = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: soak.errors.append(f"unhandled: {context}"))
    listener = await asyncio.start_server(serve, SERVER, PORT, backlog=2 * connections)
    end_at = time.monotonic() + seconds
    await asyncio.gather(
        _watch(soak, seconds), *(_client(soak, i, end_at) for i in range(connections))
    )
    listener.close()
    await listener.wait_closed()
    deadline = time.monotonic() + 30
    while sum(dispatcher.endpoints for dispatcher in loop._stacks.values()):
        await asyncio.sleep(0.01)
        if time.monotonic() > deadline:
            soak.errors.append("connections are left")
            return
    while len(asyncio.all_tasks()) > 1 and time.monotonic() < deadline:
        await asyncio.sleep(0.01)
    soak.rss_kib = soak.rss_kib[0], _rss()


async def _watch(soak: Soak, seconds: float) -> None:
    await asyncio.sleep(seconds / 10)
    soak.rss_kib = _rss(), 0


def _rss() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


async def _client(soak: Soak, number: int, end_at: float) -> None:
    rng = random.Random(f"{soak.seed}/{number}")
    clients = Clients(soak)
    kinds: list[Callable[[random.Random], Awaitable[None]]] = [
        clients.talk, clients.half_close, clients.be_half_closed, clients.abort,
        clients.be_aborted, clients.leave, clients.cancel_connect, clients.cancel_read,
        clients.be_refused, clients.protocol,
    ]  # fmt: skip
    while time.monotonic() < end_at and len(soak.errors) < 20:
        kind = rng.choice(kinds)
        await _attempt(soak, kind.__name__, kind(rng))  # type: ignore[arg-type]


async def _attempt(soak: Soak, name: str, what: Coroutine[Any, Any, None]) -> None:
    try:
        async with asyncio.timeout(PATIENCE):
            await what
        soak.done[name] += 1
    except Exception as error:
        soak.errors.append(f"{name}: {error!r}")


def usage(stack: Stack) -> dict[str, int]:
    """Return what a stack holds that a connection could leak."""
    found = stack.usage()
    return {
        key: value
        for key, value in found.items()
        if not key.endswith("_max") and key not in ("bytes", "neighs", "timers", "pmtus")
    }


def _settle(stack: Stack, wanted: dict[str, int]) -> None:
    """Give TIME-WAIT and the like their time."""
    end_at = time.monotonic() + 20
    while usage(stack) != wanted and time.monotonic() < end_at:
        stack.run_once(0.05)


def _mortals() -> dict[str, int]:
    kinds = collections.Counter(type(thing).__name__ for thing in gc.get_objects())
    return {name: kinds[name] for name in MORTALS if kinds[name]}
