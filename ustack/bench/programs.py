# SPDX-License-Identifier: BSD-3-Clause
"""What the server of a measurement runs: the same code on a stack and on the kernel.

Each program is a coroutine that takes a place to listen and the size of its answers, and returns
the port once it listens.
"""

import asyncio
import contextlib
import socket
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, cast

import httptools

from ustack.apps.echo import Echo
from ustack.stack import Stack

__all__ = ["PROGRAMS", "Place", "answer"]

CHUNK = 256 * 1024


@dataclass(frozen=True)
class Place:
    """Where to listen: a kernel's listening socket, or (None) an address of the stack's."""

    sock: socket.socket | None
    stack: Stack | None
    host: str
    backlog: int

    def where(self) -> dict[str, Any]:
        """Return it as asyncio's create_server() takes it."""
        if self.sock is not None:
            return {"sock": self.sock, "backlog": self.backlog}
        return {"host": self.host, "port": 0, "backlog": self.backlog}


class Sink(asyncio.Protocol):
    """Takes what comes."""

    def data_received(self, data: bytes) -> None:
        """Forget it."""


class Source(asyncio.Protocol):
    """Sends as much as is taken."""

    data = bytes(CHUNK)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        self._transport = cast(asyncio.Transport, transport)
        self.resume_writing()

    def pause_writing(self) -> None:
        """Stop: enough is buffered."""
        self._paused = True

    def resume_writing(self) -> None:
        """Write until there is enough again."""
        self._paused = False
        while not self._paused and not self._transport.is_closing():
            self._transport.write(self.data)


def answer(size: int) -> bytes:
    """Return an HTTP response with a body of so many bytes."""
    return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size + bytes(size)


class MiniHttp(asyncio.Protocol):
    """Parses requests with httptools, and has one answer."""

    def __init__(self, body: bytes) -> None:
        """body: of every answer."""
        self._body = body

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Start to parse."""
        self._transport = cast(asyncio.Transport, transport)
        self._parser = httptools.HttpRequestParser(self)

    def data_received(self, data: bytes) -> None:
        """Parse it."""
        self._parser.feed_data(data)

    def on_url(self, url: bytes) -> None:
        """Remember what is asked for, as a real server would."""
        self.url = url

    def on_message_complete(self) -> None:
        """Answer."""
        head = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(self._body)
        self._transport.write(head + self._body)


# ------------------------------------------------------------------------------ protocols


def _protocol(factory: Callable[[int], Callable[[], asyncio.Protocol]]) -> "Program":
    async def run(place: Place, size: int) -> int:
        loop = asyncio.get_running_loop()
        return _port(await loop.create_server(factory(size), **place.where()))

    return run


def _mini_http(size: int) -> Callable[[], asyncio.Protocol]:
    body = bytes(size)
    return lambda: MiniHttp(body)


_running: set[Any] = set()  # nothing that serves may be garbage


def _port(server: Any) -> int:
    _running.add(server)
    return int(server.sockets[0].getsockname()[1])


# ------------------------------------------------------------------------------ echoes


async def _streams(place: Place, size: int) -> int:
    """asyncio's streams."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.CancelledError, OSError):  # the bench is over
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
        writer.close()

    return _port(await asyncio.start_server(serve, **place.where()))


async def _sockets(place: Place, size: int) -> int:
    """A task for each connection, which awaits the loop's calls for sockets."""
    loop = asyncio.get_running_loop()
    listener: Any = place.sock
    if place.stack is not None:
        listener = place.stack.listen((place.host, 0), backlog=place.backlog)
    listener.setblocking(False)

    async def serve(sock: socket.socket) -> None:
        with sock, contextlib.suppress(asyncio.CancelledError, OSError):
            while data := await loop.sock_recv(sock, 65536):
                await loop.sock_sendall(sock, data)

    async def accept() -> None:
        while True:
            sock, _ = await loop.sock_accept(listener)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            task = asyncio.create_task(serve(sock))
            _running.add(task)
            task.add_done_callback(_running.discard)

    _running.add(asyncio.create_task(accept()))
    return int(listener.getsockname()[1])


# ------------------------------------------------------------------------------ frameworks


async def _uvicorn(place: Place, size: int) -> int:
    """uvicorn with httptools, an ASGI application of one answer."""
    import uvicorn

    body = bytes(size)
    headers = [(b"content-length", b"%d" % size), (b"content-type", b"application/octet-stream")]

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    config = uvicorn.Config(
        app,
        host=place.host,
        port=0,
        http="httptools",
        lifespan="off",
        access_log=False,
        log_level="error",
        backlog=place.backlog,
    )
    server = uvicorn.Server(config)
    config.load()
    server.lifespan = config.lifespan_class(config)
    await server.startup(sockets=None if place.sock is None else [place.sock])
    _running.add(asyncio.create_task(server.main_loop()))
    return _port(server.servers[0])


async def _aiohttp(place: Place, size: int) -> int:
    """aiohttp's server, a handler of one answer."""
    from aiohttp import web

    body = bytes(size)

    async def handle(request: web.BaseRequest) -> web.Response:
        return web.Response(body=body)

    runner = web.ServerRunner(web.Server(handle))
    await runner.setup()
    site: web.BaseSite
    if place.sock is not None:
        site = web.SockSite(runner, place.sock, backlog=place.backlog)
    else:
        site = web.TCPSite(runner, place.host, 0, backlog=place.backlog)
    await site.start()
    _running.add(runner)
    return int(runner.addresses[0][1])


Program = Callable[[Place, int], Awaitable[int]]

#: By what is served, and --server.
PROGRAMS: dict[tuple[str, str], Program] = {
    ("echo", "protocol"): _protocol(lambda size: Echo),
    ("echo", "streams"): _streams,
    ("echo", "sockets"): _sockets,
    ("sink", "protocol"): _protocol(lambda size: Sink),
    ("source", "protocol"): _protocol(lambda size: Source),
    ("http", "protocol"): _protocol(_mini_http),
    ("http", "uvicorn"): _uvicorn,
    ("http", "aiohttp"): _aiohttp,
}
