# SPDX-License-Identifier: BSD-3-Clause
"""asyncio.Server over a stack's listening socket."""

import asyncio
from typing import TYPE_CHECKING

from ustack._aio import Listener
from ustack.aio.sock import ListenerSocket

if TYPE_CHECKING:
    from ustack.aio.network import StackLoop

__all__ = ["Server"]


class Server(asyncio.AbstractServer):
    """A listening socket and whether it serves; made by `StackLoop.create_server`."""

    def __init__(self, loop: "StackLoop", listener: Listener, backlog: int) -> None:
        self._loop = loop
        self._listener: Listener | None = listener
        self._backlog = backlog
        self._sockets = (ListenerSocket(listener),)
        self._serving = False
        self._closed = loop.create_future()

    @property
    def sockets(self) -> tuple[ListenerSocket, ...]:
        """The listening socket; nothing once closed."""
        return self._sockets if self._listener is not None else ()

    def get_loop(self) -> "StackLoop":
        """Return the loop that it serves on."""
        return self._loop

    def is_serving(self) -> bool:
        """Return whether connections are accepted."""
        return self._serving

    def close(self) -> None:
        """Stop listening; connections that were accepted live on."""
        if self._listener is None:
            return
        self._listener.close()
        self._listener = None
        self._serving = False
        if not self._closed.done():
            self._closed.set_result(None)

    async def start_serving(self) -> None:
        """Accept connections; harmless when it does so already."""
        self._start()

    def _start(self) -> None:
        if self._listener is None:
            raise RuntimeError(f"server {self!r} is closed")
        if not self._serving:
            self._listener.listen(self._backlog)
            self._serving = True

    async def serve_forever(self) -> None:
        """Accept connections until cancelled or closed, then close."""
        self._start()
        try:
            await asyncio.shield(self._closed)
        finally:
            self.close()

    async def wait_closed(self) -> None:
        """Wait until close() was called."""
        await asyncio.shield(self._closed)

    def __repr__(self) -> str:
        return f"<ustack.aio.Server sockets={self.sockets}>"
