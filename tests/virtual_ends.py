# SPDX-License-Identifier: BSD-3-Clause
"""The ends of the connections of virtual_soak.py: they check what asyncio does to protocols."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import functools
import hashlib
import random
import socket
import struct
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from virtual_soak import Soak

HEADER = struct.Struct("!IIIB")  # number, bytes to the server, bytes to the client, what it does
ABORTS, READS_LATE, ENDS_FIRST, RUDE, ANSWERS = 1, 2, 4, 8, 16  # what a server does
SIZES = [1, 10, 100, 1000, 1448, 5000, 20_000, 100_000]
PERIOD = 1 << 16  # of a pattern


@functools.cache
def _period(number: int, to_server: bool) -> bytes:
    return hashlib.shake_128(repr((number, to_server)).encode()).digest(PERIOD)


def pattern(number: int, to_server: bool, start: int, length: int) -> bytes:
    """Return these bytes of a direction of a connection."""
    first = start % PERIOD
    repeated = _period(number % 16, to_server) * ((first + length) // PERIOD + 1)
    return repeated[first : first + length]


class Rude(Exception):
    """What a protocol without manners raises: the loop's exception handler must be told."""


class End:
    """One end of a connection: holds asyncio to its order, and bytes to the pattern."""

    def __init__(self, soak: Soak, *, server: bool, number: int = -1) -> None:
        self.soak, self.server, self.number = soak, server, number
        self.got = 0
        self.state = "new"
        self.eof = False
        self.error: Exception | None = None
        self.rude = False
        self.manners: random.Random | None = None  # of one that has none
        self.news, self.room = asyncio.Event(), asyncio.Event()
        self.room.set()

    def misbehave(self) -> None:
        """End the connection inside of a callback, now and then, in one way or another."""
        if self.manners is None or self.manners.random() > 0.1:
            return
        self.rude = True
        how = self.manners.randrange(4)
        if how == 0:
            raise Rude(self.number)
        if how == 1:
            self.transport.abort()
        elif how == 2:
            self.leave()
        else:
            sock = self.transport.get_extra_info("socket")  # an RST, so that nobody hears them
            if option(sock, socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)):
                with contextlib.suppress(RuntimeError):  # after write_eof()
                    self.transport.write(b"last words")
            self.transport.abort()

    def connection_made(self, transport: Any) -> None:
        assert self.state == "new", self.state
        self.state, self.transport = "open", transport
        self.soak.made(self)
        self.misbehave()

    def take(self, data: bytes) -> None:
        """Look at bytes that have come."""
        assert data, "no bytes"
        assert self.state == "open" and not self.eof, (self.state, self.eof)
        assert not self.transport.is_closing(), "bytes after close()"
        assert self.transport.is_reading(), "bytes while reading is paused"
        assert data == pattern(self.number, self.server, self.got, len(data)), self.got
        self.got += len(data)
        self.news.set()
        self.misbehave()

    def eof_received(self) -> bool:
        assert self.state == "open" and not self.eof, (self.state, self.eof)
        self.eof = True
        self.news.set()
        self.misbehave()
        return True

    def pause_writing(self) -> None:
        assert self.room.is_set(), "paused twice"
        self.room.clear()
        self.misbehave()

    def resume_writing(self) -> None:
        assert not self.room.is_set(), "resumed without a pause"
        self.room.set()
        self.misbehave()

    def connection_lost(self, exc: Exception | None) -> None:
        assert self.state == "open", self.state
        self.state, self.error = "lost", exc
        self.soak.lost(self)
        self.news.set()
        self.room.set()

    def leave(self) -> None:
        """Close, with bytes still to be sent; if the peer did so, too, nobody reads them."""
        self.transport.close()
        asyncio.get_running_loop().call_later(120, self.transport.abort)

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
        self.misbehave()
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
        if plan[-1] & RUDE:
            end.manners = random.Random(f"{self.soak.seed} manners {number}")
        end.state, end.transport = "open", self.transport
        self.soak.switched(self, end)
        self.transport.set_protocol(end)
        if rest := self.data[HEADER.size :]:
            end.take(rest)
        self.soak.start(self.soak.serve(end, *plan))

    def connection_lost(self, exc: Exception | None) -> None:
        self.soak.lost(self)


def keep_alive(transport: Any) -> None:
    """Let TCP notice that the peer is gone, whose RST may have been lost."""
    sock = transport.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    if option(sock, socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 30):
        option(sock, socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 10)


def option(sock: Any, level: int, name: int, value: Any) -> bool:
    """Set an option that takes memory; whether there was some (tcp.max_extras)."""
    try:
        sock.setsockopt(level, name, value)
    except OSError as error:
        assert error.errno == errno.ENOBUFS
        return False
    return True


class Chatter(asyncio.DatagramProtocol):
    """Either end of datagrams: the server's sends them back, a client's knows what it has sent."""

    def __init__(self, soak: Soak, number: int | None = None) -> None:
        self.soak, self.number = soak, number
        self.sent: set[bytes] = set()
        self.state = "new"

    def connection_made(self, transport: Any) -> None:
        assert self.state == "new", self.state
        self.state, self.transport = "open", transport
        self.soak.made(self)

    def datagram_received(self, data: bytes, addr: Any) -> None:
        assert self.state == "open" and not self.transport.is_closing()
        if self.number is None:
            self.transport.sendto(data, addr)
        else:
            assert data in self.sent, len(data)
            self.soak.count("datagrams")

    def error_received(self, exc: OSError) -> None:
        assert self.state == "open"
        assert exc.errno in (errno.ECONNREFUSED, errno.ENOBUFS, errno.EMSGSIZE), exc

    def connection_lost(self, exc: Exception | None) -> None:
        assert self.state == "open" and exc is None
        self.state = "lost"
        self.soak.lost(self)
