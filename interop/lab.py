# SPDX-License-Identifier: BSD-3-Clause
"""A stack on a tap, driven by an event loop in a thread; netlab.py has what is beside it."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Callable, Coroutine
from typing import Any, Self, TypeVar

from netlab import OURS4, PATIENCE, kernel_connect
from ustack import Stack, aio

_T = TypeVar("_T")


class Lab:
    """The stack, its loop, and what tests want of both sides; a context manager."""

    def __init__(self, query: str = "", **options: Any) -> None:
        self.stack = Stack(f"tap:us0{query}", f"{OURS4}/24", **options)
        self.loop = aio.new_event_loop(self.stack)
        self.complaints: list[dict[str, Any]] = []
        self.loop.set_exception_handler(lambda _, context: self.complaints.append(context))
        self._thread = threading.Thread(target=self.loop.run_forever)
        self._thread.start()

    def run(self, work: Coroutine[Any, Any, _T]) -> _T:
        """Run a coroutine on the stack's loop; its result."""
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(PATIENCE)

    def call(self, function: Callable[..., _T], *args: Any) -> _T:
        """Call a function on the stack's loop, as transports want it."""

        async def call() -> _T:
            return function(*args)

        return self.run(call())

    def serve(self, factory: Callable[[], asyncio.BaseProtocol], port: int = 80) -> None:
        """Serve on the stack."""
        self.run(self.loop.create_server(factory, OURS4, port, backlog=1024))

    def connection(self) -> tuple[socket.socket, Peer]:
        """A new connection: the kernel's socket and the stack's protocol."""
        peers: list[Peer] = []

        def accept() -> Peer:
            peers.append(Peer())
            return peers[-1]

        server = self.run(self.loop.create_server(accept, OURS4, 0))
        sock = kernel_connect(server.sockets[0].getsockname()[1])  # type: ignore[attr-defined]
        self.until(lambda: bool(peers and peers[0].transport))
        self.call(server.close)
        return sock, peers[0]

    def until(self, condition: Callable[[], bool]) -> None:
        """Wait until something is so."""

        async def wait() -> None:
            async with asyncio.timeout(PATIENCE):
                while not condition():
                    await asyncio.sleep(0.001)

        self.run(wait())

    def counter(self, name: str) -> int:
        return self.stack.counters()[name]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join()
        self.loop.close()
        self.stack.close(linger=0)
        assert self.complaints == []


class Peer(asyncio.Protocol):
    """The stack's end of a connection: it keeps what comes."""

    def __init__(self) -> None:
        self.transport: Any = None
        self.data = bytearray()
        self.got_eof = self.is_lost = False
        self.error: Exception | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.data += data

    def eof_received(self) -> bool:
        self.got_eof = True
        return True  # leaves our side open

    def connection_lost(self, exc: Exception | None) -> None:
        self.is_lost, self.error = True, exc
