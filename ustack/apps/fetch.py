# SPDX-License-Identifier: BSD-3-Clause
"""An HTTP client for demos and tests: one GET, the body hashed and not kept."""

import asyncio
import hashlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import httptools

__all__ = ["Fetched", "fetch"]


@dataclass
class Fetched:
    """What came back: status, body length in bytes, SHA-256 in hex, and the seconds it took."""

    status: int
    length: int
    sha256: str
    seconds: float


class _Client(asyncio.Protocol):
    """One request, one response."""

    def __init__(self, request: bytes, progress: Callable[[int], None] | None) -> None:
        self._request = request
        self._progress = progress
        self._parser = httptools.HttpResponseParser(self)
        self._digest = hashlib.sha256()
        self._length = 0
        self._started = time.monotonic()
        self.transport: Any = None
        self.done: asyncio.Future[Fetched] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        self.transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            self._fail(ConnectionError(f"the server does not speak HTTP/1.1: {error}"))

    def on_body(self, data: bytes) -> None:
        self._digest.update(data)
        self._length += len(data)
        if self._progress is not None:
            self._progress(self._length)

    def on_message_complete(self) -> None:
        status = self._parser.get_status_code()
        seconds = time.monotonic() - self._started
        if not self.done.done():
            self.done.set_result(Fetched(status, self._length, self._digest.hexdigest(), seconds))
        self.transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        self._fail(exc or ConnectionError("the server closed before the end of the body"))

    def _fail(self, exc: Exception) -> None:
        if not self.done.done():
            self.done.set_exception(exc)
            if self.transport is not None:
                self.transport.abort()


async def fetch(
    host: str, port: int, path: str = "/", progress: Callable[[int], None] | None = None
) -> Fetched:
    """GET http://host:port/path and return what came.

    progress: called with the length of the body so far, as it comes.

    Raises OSError when there is no connection, ConnectionError when it ends too soon.
    """
    request = f"GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode()
    loop = asyncio.get_running_loop()
    _, client = await loop.create_connection(lambda: _Client(request, progress), host, port)
    try:
        return await client.done
    finally:
        client.transport.abort()
