# SPDX-License-Identifier: BSD-3-Clause
"""Two stacks joined by a ring, on one event loop: what the asyncio tests talk over."""

import asyncio
import contextlib
import contextvars
import hashlib
import itertools
import os
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

from ustack import Stack, aio

SERVER, CLIENT, NOBODY = "10.9.0.2", "10.9.0.1", "10.9.0.77"
TIMEOUT = 60.0  # seconds for a whole test, on a machine that is busy

BASE = contextvars.ContextVar("BASE", default="asyncio")  # the loop that is extended

_numbers = itertools.count()


@contextlib.contextmanager
def two_stacks(**options: Any) -> Iterator[tuple[Stack, Stack]]:
    """Open the server's stack and the client's."""
    io = f"ring:test-{os.getpid()}-{next(_numbers)}"
    with (
        Stack(io, f"{SERVER}/24", **options) as server,
        Stack(io, f"{CLIENT}/24", **options) as client,
    ):
        yield server, client


def run(main: Callable[[], Coroutine[Any, Any, None]], **options: Any) -> list[dict[str, Any]]:
    """Run main() on a loop with both stacks; return what the loop's exception handler got.

    At the end the loop must know no connection and no listener any more.
    """
    complaints: list[dict[str, Any]] = []

    async def supervised() -> None:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: complaints.append(context))
        async with asyncio.timeout(TIMEOUT):
            await main()
            while endpoints(loop):
                await asyncio.sleep(0)

    with two_stacks(**options) as stacks:
        aio.run(supervised(), *stacks, base=BASE.get())
    return complaints


def endpoints(loop: Any) -> int:
    """Return how many transports and listeners the engines know."""
    return sum(dispatcher.endpoints for dispatcher in loop._stacks.values())


class Recorder(asyncio.Protocol):
    """Writes down every callback; bytes are joined."""

    def __init__(self) -> None:
        self.calls: list[Any] = []
        self.data = bytearray()
        self.keep_open = False
        self.made: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self.lost: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._waiting: list[tuple[Callable[[], bool], asyncio.Future[None]]] = []

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self._note("made")
        self.made.set_result(transport)

    def data_received(self, data: bytes) -> None:
        assert type(data) is bytes
        self.data += data
        self._note("data")

    def eof_received(self) -> bool:
        self._note("eof")
        return self.keep_open

    def pause_writing(self) -> None:
        self._note("pause")

    def resume_writing(self) -> None:
        self._note("resume")

    def connection_lost(self, exc: Exception | None) -> None:
        self._note("lost")
        self.lost.set_result(exc)

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait until a callback makes the condition true."""
        if not condition():
            waiter = asyncio.get_running_loop().create_future()
            self._waiting.append((condition, waiter))
            await waiter

    async def received(self, length: int) -> bytes:
        """Wait for so many bytes in all."""
        await self.until(lambda: len(self.data) >= length)
        return bytes(self.data)

    def _note(self, call: str) -> None:
        if call != "data" or self.calls[-1:] != ["data"]:
            self.calls.append(call)
        for condition, waiter in self._waiting:
            if condition() and not waiter.done():
                waiter.set_result(None)


async def connect(
    factory: Callable[[], Any] = Recorder, client: Callable[[], Any] = Recorder
) -> tuple[Any, Any]:
    """Return the two protocols of a new connection: the server's and the client's.

    The listener is gone again.
    """
    loop = asyncio.get_running_loop()
    accepted: asyncio.Future[Any] = loop.create_future()

    def accept() -> Any:
        protocol = factory()
        accepted.set_result(protocol)
        return protocol

    server = await loop.create_server(accept, SERVER, 0)
    try:
        port = server.sockets[0].getsockname()[1]  # type: ignore[attr-defined]
        _, theirs = await loop.create_connection(client, SERVER, port)
        return await accepted, theirs
    finally:
        server.close()  # without waiting: from Python 3.12 on that is for its connections, too


def payload(length: int) -> bytes:
    """Return bytes that repeat nowhere soon."""
    return hashlib.shake_128(b"ustack").digest(length)
