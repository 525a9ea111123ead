# SPDX-License-Identifier: BSD-3-Clause
"""Two connections joined to one: what one peer sends, the other gets.

Always: a side is read from only while what was read can be written on the other side, so a relay
holds at most two write buffers and two pieces; an end of one side's data ends the other side's, and
the way back stays open; a side that breaks off breaks the other off.
"""

import asyncio
import contextlib
import os
import socket
import struct
from collections.abc import Awaitable, Callable
from typing import Any

from ustack._aio import Transport

__all__ = ["Far", "Near", "Relay", "Side"]

BUFFER = 256 * 1024  # bytes that wait to be written on one side, before the other one waits
HANDSHAKE = 10.0  # seconds for what comes before the second connection
_RESET = struct.pack("ii", 1, 0)  # SO_LINGER of zero: close() sends an RST

Factory = Callable[[], asyncio.BaseProtocol]
Connect = Callable[[Factory], Awaitable[Any]]


class Side(asyncio.Protocol):
    """One of the two connections."""

    def __init__(self, relay: "Relay") -> None:
        self.relay = relay
        self.transport: Any = None
        self.other: Side | None = None  # since both are connected
        self.got_eof = False
        self.is_lost = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Bound what waits to be written."""
        self.transport = transport
        self.transport.set_write_buffer_limits(BUFFER)

    def data_received(self, data: bytes) -> None:
        """Pass it on."""
        self.relay.touch()
        if self.other is not None and not self.other.transport.is_closing():
            self.other.transport.write(data)

    def eof_received(self) -> bool:
        """Pass the end on; the way back stays open until its own end."""
        self.got_eof = True
        if self.other is not None:
            self.pass_eof()
        return True

    def pass_eof(self) -> None:
        """End what the other side sends; close both when both have come to their ends."""
        other = self.other
        if other is None or other.transport.is_closing():
            return
        if other.got_eof:
            other.transport.close()
            self.transport.close()
        else:
            other.transport.write_eof()

    def pause_writing(self) -> None:
        """This peer is slow: let the other one wait."""
        if self.other is not None and not self.other.transport.is_closing():
            self.other.transport.pause_reading()

    def resume_writing(self) -> None:
        """Go on."""
        self.relay.touch()
        if self.other is not None and not self.other.transport.is_closing():
            self.other.transport.resume_reading()

    def abort(self) -> None:
        """Break off with an RST, which a socket has to be asked for."""
        sock = self.transport.get_extra_info("socket")
        with contextlib.suppress(OSError):
            if isinstance(self.transport, Transport):
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            else:  # what uvloop shows has no setsockopt()
                with socket.socket(fileno=os.dup(sock.fileno())) as own:
                    own.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        self.transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """Break off the other side, or close it if this one was closed in good order."""
        self.is_lost = True
        if self.other is not None and not self.other.is_lost:
            if exc is None:
                self.other.transport.close()
            else:
                self.other.abort()
        self.relay.side_lost()


class Near(Side):
    """The connection that was accepted; it is not read from before the other one is made.

    A piece may come all the same: uvloop reads once although connection_made() paused it.
    """

    def __init__(self, relay: "Relay") -> None:
        super().__init__(relay)
        self.early = b""  # what came before the other connection was made

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Make the other connection, if there is room for one more."""
        super().connection_made(transport)
        self.transport.pause_reading()
        if self.relay.enter():
            self.relay.dial()

    def data_received(self, data: bytes) -> None:
        """Pass it on, or keep it until that is possible."""
        if self.other is None:
            self.early += data
            self.transport.pause_reading()
        else:
            super().data_received(data)

    def linked(self, far: Side) -> None:
        """Begin: the other connection is made."""
        self.other = far
        self.transport.resume_reading()
        if self.early:
            far.transport.write(self.early)
            self.early = b""
        if self.got_eof:
            self.pass_eof()

    def failed(self, error: Exception) -> None:
        """The other connection cannot be made: break off."""
        self.abort()


class Far(Side):
    """The connection that is made for it."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Join the two."""
        super().connection_made(transport)
        self.relay.link()


class Relay:
    """The two sides, who connects, and how long nothing may happen.

    room: the relays there are, this one among them from its first connection to its last;
    complain: told what went wrong. Times in seconds; 0 for ever.
    """

    def __init__(
        self,
        room: "Room",
        complain: Callable[[str], None],
        connect: Connect | None = None,
        near: type[Near] = Near,
    ) -> None:
        self.connect = connect
        self.near = near(self)
        self.far = Far(self)
        self._room = room
        self._complain = complain
        self._task: asyncio.Task[None] | None = None
        self._loop = asyncio.get_running_loop()
        self._patience = HANDSHAKE
        self._touched = self._loop.time()
        self._timer: asyncio.TimerHandle | None = None

    def enter(self) -> bool:
        """Count this relay; False, and its end, if there are too many."""
        if not self._room.enter(self):
            self._complain(f"more than {self._room.limit} connections; one was refused")
            self.near.abort()
            return False
        self._watch()
        return True

    def dial(self) -> None:
        """Make the second connection."""
        self._task = self._loop.create_task(self._dial())

    async def _dial(self) -> None:
        assert self.connect is not None
        self._patience = 0.0
        try:
            async with asyncio.timeout(self._room.connect_timeout or None):
                await self.connect(lambda: self.far)
        except (OSError, ValueError) as error:  # a TimeoutError, too, and no name at all
            if isinstance(error, TimeoutError) and not error.args:
                error = TimeoutError(f"no answer within {self._room.connect_timeout:g} s")
            self.complain(getattr(error, "strerror", None) or str(error))
            if not self.near.is_lost:
                self.near.failed(error)

    def link(self) -> None:
        """Join the sides: both are connected."""
        if self.near.is_lost:
            self.far.abort()
            return
        self._patience = self._room.idle
        self.touch()
        self._watch()
        self.far.other = self.near
        self.near.linked(self.far)

    def complain(self, text: str) -> None:
        """Tell what went wrong."""
        self._complain(text)

    def touch(self) -> None:
        """Note that something happened."""
        self._touched = self._loop.time()

    def side_lost(self) -> None:
        """Leave when nothing is connected any more."""
        if self.near.is_lost and (self.far.transport is None or self.far.is_lost):
            if self._task is not None:
                self._task.cancel()
            if self._timer is not None:
                self._timer.cancel()
            self._room.leave(self)

    def abort(self) -> None:
        """Break both sides off."""
        for side in (self.far, self.near):
            if side.transport is not None and not side.is_lost:
                side.abort()

    def _watch(self) -> None:
        """Break off when nothing has happened for too long; look again in time."""
        if self._timer is not None:
            self._timer.cancel()
        if self._patience:
            left = self._touched + self._patience - self._loop.time()
            if left <= 0:
                self.complain(f"nothing came for {self._patience:g} s")
                self.abort()
            else:
                self._timer = self._loop.call_later(left, self._watch)


class Room:
    """The relays that there are, and what bounds them."""

    def __init__(self, limit: int, idle: float, connect_timeout: float) -> None:
        self.limit = limit
        self.idle = idle
        self.connect_timeout = connect_timeout
        self.relays: set[Relay] = set()
        self.entered = 0  # so far
        self._emptied = asyncio.Event()

    def enter(self, relay: Relay) -> bool:
        """Take a relay in; False when there is no room."""
        if len(self.relays) >= self.limit:
            return False
        self.relays.add(relay)
        self.entered += 1
        self._emptied.clear()
        return True

    def leave(self, relay: Relay) -> None:
        """Let it go."""
        self.relays.discard(relay)
        if not self.relays:
            self._emptied.set()

    async def empty(self, grace: float) -> int:
        """Wait until all relays have ended, so many seconds at most; how many were broken off."""
        try:
            async with asyncio.timeout(grace):
                while self.relays:
                    await self._emptied.wait()
        except TimeoutError:
            pass
        left = [*self.relays]
        for relay in left:
            relay.abort()
        while self.relays:
            await self._emptied.wait()
        return len(left)
