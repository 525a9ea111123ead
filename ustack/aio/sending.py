# SPDX-License-Identifier: BSD-3-Clause
"""loop.sendfile() and loop.sock_sendfile(): a file over a stack's connection.

There is no system call for it, so a file is read piece by piece, in the loop's executor, and
written with flow control. What asks for the system call only (fallback=False) is refused by a
socket, as asyncio refuses it where the kernel has none; a transport does it all the same.
"""

import asyncio
import socket
from typing import Any, BinaryIO

from ustack._aio import Transport
from ustack.aio.sockets import SocketCalls

__all__ = ["SendingFiles"]

_PIECE = 256 * 1024  # bytes of one read


class SendingFiles(SocketCalls):
    """The part of a loop that sends files."""

    async def sendfile(  # type: ignore[override]
        self,
        transport: Any,
        file: BinaryIO,
        offset: int = 0,
        count: int | None = None,
        *,
        fallback: bool = True,
    ) -> int:
        """Send a file's bytes from offset on, count of them or all; how many there were.

        Raises RuntimeError for a transport that is closing, ConnectionError when it is lost
        meanwhile. The file's position is behind the last byte sent.
        """
        if not isinstance(transport, Transport):
            sent: int = await super().sendfile(transport, file, offset, count, fallback=fallback)
            return sent
        if transport.is_closing():
            raise RuntimeError("Transport is closing")
        _check(file, offset, count)
        try:
            return await self._sendfile_native(transport, file, offset, count)
        except asyncio.SendfileNotAvailableError:
            if not fallback:
                raise
        return await self._send_pieces(transport, file, offset, count)

    async def _sendfile_native(self, transport: Any, file: Any, offset: int, count: Any) -> int:
        """Do what asyncio has a system call for; tests of it put others in its place."""
        if not isinstance(transport, Transport):
            sent: int = await super()._sendfile_native(transport, file, offset, count)  # type: ignore[misc]
            return sent
        return await self._send_pieces(transport, file, offset, count)

    async def _send_pieces(
        self, transport: Transport, file: BinaryIO, offset: int, count: int | None
    ) -> int:
        sending = _Sending(self, transport)
        try:
            return await self._pieces(file, offset, count, sending.write)
        finally:
            sending.end()

    async def sock_sendfile(  # type: ignore[override]
        self,
        sock: Any,
        file: BinaryIO,
        offset: int = 0,
        count: int | None = None,
        *,
        fallback: bool | None = True,
    ) -> int:
        """Do as `sendfile`, over a socket that does not block."""
        if self._endpoint(sock) is None:
            sent: int = await super().sock_sendfile(sock, file, offset, count, fallback=fallback)
            return sent
        self._ours(sock)
        if sock.type != socket.SOCK_STREAM:
            raise ValueError("only SOCK_STREAM type sockets are supported")
        _check(file, offset, count)
        if not fallback:
            raise asyncio.SendfileNotAvailableError(f"a stack has no sendfile() for {sock!r}")

        async def write(piece: memoryview) -> None:
            await self.sock_sendall(sock, piece)

        return await self._pieces(file, offset, count, write)

    async def _pieces(self, file: BinaryIO, offset: int, count: int | None, write: Any) -> int:
        file.seek(offset)
        buffer = memoryview(bytearray(min(count or _PIECE, _PIECE)))
        done = 0
        try:
            while count is None or done < count:
                view = buffer if count is None else buffer[: count - done]
                n = await self.run_in_executor(None, file.readinto, view)  # type: ignore[attr-defined]
                if not n:
                    break
                await write(view[:n])
                done += n
        finally:
            if done:
                file.seek(offset + done)
        return done


class _Sending(asyncio.Protocol):
    """What a transport's protocol is while a file goes out: it keeps reading from disturbing."""

    def __init__(self, loop: Any, transport: Transport) -> None:
        self._loop = loop
        self._transport = transport
        self._protocol: Any = transport.get_protocol()
        self._was_reading = transport.is_reading()
        self._room: asyncio.Future[None] | None = None
        self._lost = False
        transport.pause_reading()
        transport.set_protocol(self)
        transport._hold(True)
        self._was_paused = transport._protocol_paused
        if self._was_paused:
            self.pause_writing()

    async def write(self, piece: memoryview) -> None:
        """Write when there is room."""
        if self._room is not None:
            await self._room
        if self._lost or self._transport.is_closing():
            raise ConnectionError("Connection closed by peer")
        self._transport._hold(False)
        self._transport.write(piece)
        self._transport._hold(True)

    def end(self) -> None:
        """Let the protocol have its transport back."""
        self._transport._hold(False)
        if self._lost:
            return
        self._transport.set_protocol(self._protocol)
        if self._was_reading:
            self._transport.resume_reading()
        paused = self._room is not None
        if paused and not self._was_paused:
            self._protocol.pause_writing()
        elif self._was_paused and not paused:
            self._protocol.resume_writing()

    def pause_writing(self) -> None:
        """Wait from now on."""
        if self._room is None:
            self._room = self._loop.create_future()

    def resume_writing(self) -> None:
        """Wait no more."""
        room, self._room = self._room, None
        if room is not None and not room.done():
            room.set_result(None)

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell whoever sends, and the protocol."""
        self._lost = True
        if self._room is not None and not self._room.done():
            error = exc or ConnectionError("Connection is closed by peer")
            self._room.set_exception(error)
        self._protocol.connection_lost(exc)


def _check(file: Any, offset: Any, count: Any) -> None:
    """Raise ValueError or TypeError, as asyncio does, for what cannot be sent."""
    if "b" not in getattr(file, "mode", "b"):
        raise ValueError("file should be opened in binary mode")
    if count is not None:
        if not isinstance(count, int):
            raise TypeError(f"count must be a positive integer (got {count!r})")
        if count <= 0:
            raise ValueError(f"count must be a positive integer (got {count!r})")
    if not isinstance(offset, int):
        raise TypeError(f"offset must be a non-negative integer (got {offset!r})")
    if offset < 0:
        raise ValueError(f"offset must be a non-negative integer (got {offset!r})")
