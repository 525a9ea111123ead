# SPDX-License-Identifier: BSD-3-Clause
"""asyncio.Server over listening sockets of stacks, and over the kernel's server beside them."""

import asyncio
import socket
import sys
from asyncio import trsock
from typing import TYPE_CHECKING, Any

from ustack._aio import Listener
from ustack.aio.sock import ListenerSocket

if TYPE_CHECKING:
    from ustack._aio import Transport
    from ustack.aio.network import StackLoop

__all__ = ["Server"]

# Since 3.12 wait_closed() waits for connections even when close() was called before.
_WAITS_FOR_CLIENTS = sys.version_info >= (3, 12)


class Server(asyncio.AbstractServer):
    """Listening sockets and whether they serve; made by `StackLoop.create_server`."""

    def __init__(self, loop: Any, backlog: int) -> None:
        self._loop: StackLoop = loop
        self._backlog = backlog
        self._listeners: list[Listener] = []
        self._kernels: Any = None  # the server of the base loop
        self._views: tuple[Any, ...] = ()
        self._clients: set[Transport] = set()
        self._waiters: list[asyncio.Future[None]] | None = []  # None: there is nothing to wait for
        self._forever: asyncio.Future[None] | None = None
        self._serving = self._closed = False
        self._loop._servers.add(self)

    # ---------------------------------------------------------------- while it is made

    def add(self, listener: Listener, sock: Any = None) -> None:
        """Have one more socket. sock: the application's, if it gave one."""
        listener._count_by(self)
        self._listeners.append(listener)
        given = isinstance(sock, socket.socket)
        self._views += (trsock.TransportSocket(sock) if given else ListenerSocket(listener),)

    def add_kernels(self, server: Any) -> None:
        """Have what the base loop serves on."""
        self._kernels = server

    @property
    def alone(self) -> asyncio.AbstractServer:
        """The kernel's server if it is all that there is, else this one."""
        kernels: asyncio.AbstractServer | None = self._kernels
        return self if kernels is None or self._listeners else kernels

    def turn_on(self, option: int) -> None:
        """Set one of SOL_SOCKET's options on every socket."""
        for sock in self.sockets:
            sock.setsockopt(socket.SOL_SOCKET, option, 1)

    # ------------------------------------------------------------------------- asyncio's

    @property
    def sockets(self) -> tuple[Any, ...]:
        """The listening sockets; nothing once closed."""
        if self._closed:
            return ()
        return self._views + tuple(self._kernels.sockets if self._kernels is not None else ())

    @property
    def _sockets(self) -> list[Any] | None:
        """What asyncio's has: None once closed."""
        return None if self._closed else list(self.sockets)

    def get_loop(self) -> "StackLoop":
        """Return the loop that it serves on."""
        return self._loop

    def is_serving(self) -> bool:
        """Return whether connections are accepted."""
        return self._serving

    def close(self) -> None:
        """Stop listening; connections that were accepted live on."""
        if self._closed:
            return
        self._closed = True
        self._serving = False
        if self._kernels is not None:  # first: a listener that is both's closes the kernel's half
            self._kernels.close()
        for listener in self._listeners:
            listener.close()
        if self._forever is not None and not self._forever.done():
            self._forever.cancel()
        self._wake_up()

    def stop_listening(self) -> None:
        """Take no new connections, and let nobody who waits for the end know."""
        for listener in self._listeners:
            listener.close()
        if self._kernels is not None:
            self._kernels.close()

    @property
    def busy(self) -> bool:
        """Whether connections are left that the stacks have accepted."""
        return bool(self._clients)

    def close_clients(self) -> None:
        """Close the connections that were accepted, when what was written to them is sent."""
        for transport in list(self._clients):
            transport.close()
        if hasattr(self._kernels, "close_clients"):
            self._kernels.close_clients()

    def abort_clients(self) -> None:
        """Reset the connections that were accepted."""
        for transport in list(self._clients):
            transport.abort()
        if hasattr(self._kernels, "abort_clients"):
            self._kernels.abort_clients()

    async def start_serving(self) -> None:
        """Accept connections; harmless when it does so already."""
        if self._closed:
            raise RuntimeError(f"server {self!r} is closed")
        if not self._serving:
            self._serving = True
            for listener in self._listeners:
                listener.listen(self._backlog)
            if self._kernels is not None:
                await self._kernels.start_serving()

    async def serve_forever(self) -> None:
        """Accept connections until cancelled, or closed, which raises CancelledError, too."""
        if self._forever is not None:
            raise RuntimeError(f"server {self!r} is already being awaited on serve_forever()")
        await self.start_serving()
        self._forever = self._loop.create_future()
        try:
            await self._forever
        except asyncio.CancelledError:
            self.close()
            await self.wait_closed()
            raise
        finally:
            self._forever = None

    async def wait_closed(self) -> None:
        """Wait until close() was called and no connection is left.

        Before Python 3.12 it returns at once if close() was called before, as asyncio's does.
        """
        if self._waiters is None or (self._closed and not _WAITS_FOR_CLIENTS):
            return
        waiter = self._loop.create_future()
        self._waiters.append(waiter)
        await waiter
        if self._kernels is not None:
            await self._kernels.wait_closed()

    # ------------------------------------------------------------------- of transports

    def _attach(self, transport: "Transport") -> None:
        self._clients.add(transport)

    def _detach(self, transport: "Transport") -> None:
        self._clients.discard(transport)
        self._wake_up()

    def _wake_up(self) -> None:
        if self._closed and not self._clients:
            waiters, self._waiters = self._waiters, None
            for waiter in waiters or ():
                if not waiter.done():
                    waiter.set_result(None)

    def __repr__(self) -> str:
        return f"<ustack.aio.Server sockets={self.sockets}>"
