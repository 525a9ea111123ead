# SPDX-License-Identifier: BSD-3-Clause
"""An HTTP/1.1 server (RFC 9112): ustack serve http --io URL --address CIDR [--root DIR].

GET and HEAD of files below a directory; `/bytes/N`, a generated body of N bytes; PUT and POST to
`/upload`, answered with the SHA-256 of what came. Connections are kept alive, requests may be
pipelined, and no body is ever in memory as a whole: reading and writing wait for the peer.
"""

import asyncio
import email.utils
import functools
import hashlib
import mimetypes
import os
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path
from typing import Any
from urllib.parse import unquote_to_bytes

import httptools

__all__ = ["PORT", "Http", "pattern", "serve"]

PORT = 80

_CHUNK = 64 * 1024
_MAX_HEAD = 1024 * 1024  # bytes of a request's head, roughly
_MAX_QUEUE = 64  # pipelined requests not yet answered
_PATTERN = bytes(range(251)) * (_CHUNK // 251)  # 251 is prime: a lost block shows


def pattern(length: int) -> Iterator[bytes]:
    """Yield the body of /bytes/length in pieces: byte i is i mod 251."""
    while length > len(_PATTERN):
        yield _PATTERN
        length -= len(_PATTERN)
    yield _PATTERN[:length]


@dataclass
class Request:
    """One request as far as it has been parsed."""

    target: bytes = b""
    expects_continue: bool = False
    is_parsed: bool = False
    digest: Any = field(default_factory=hashlib.sha256)


@dataclass
class Response:
    """A status and a body of known length, in pieces."""

    status: HTTPStatus
    length: int
    body: Iterable[bytes]
    content_type: str = "text/plain; charset=utf-8"
    headers: str = ""
    close: bool = False

    def head(self) -> bytes:
        """Return status line and headers."""
        connection = "close" if self.close else "keep-alive"
        return (
            f"HTTP/1.1 {self.status.value} {self.status.phrase}\r\n"
            f"Date: {_date(int(time.time()))}\r\n"
            f"Content-Type: {self.content_type}\r\n"
            f"Content-Length: {self.length}\r\n"
            f"Connection: {connection}\r\n{self.headers}\r\n"
        ).encode("latin-1")


@functools.lru_cache(maxsize=1)
def _date(second: int) -> str:
    return email.utils.formatdate(second, usegmt=True)


def _text(status: HTTPStatus, body: str | None = None, headers: str = "") -> Response:
    raw = (f"{status.value} {status.phrase}\n" if body is None else body).encode()
    return Response(status, len(raw), [raw], headers=headers)


# ------------------------------------------------------------------------------------ resources


class Site:
    """What there is to get: `respond` maps a request to a response."""

    def __init__(self, root: Path | None = None) -> None:
        """root: the directory of the files; None for none."""
        self._root = None if root is None else root.resolve()

    def respond(self, method: str, request: Request) -> Response:
        """Return the response to a request whose body has been read."""
        try:
            path = unquote_to_bytes(httptools.parse_url(request.target).path or b"/").decode()
        except (httptools.HttpParserError, UnicodeDecodeError):
            return _text(HTTPStatus.BAD_REQUEST)
        if path == "/upload":
            allowed, respond = ("PUT", "POST"), self._uploaded
        else:
            allowed, respond = ("GET", "HEAD"), self._get
        if method not in allowed:
            return _text(HTTPStatus.METHOD_NOT_ALLOWED, headers=f"Allow: {', '.join(allowed)}\r\n")
        response = respond(path, request)
        if method == "HEAD":
            response.body = ()
        return response

    def _uploaded(self, path: str, request: Request) -> Response:
        return _text(HTTPStatus.OK, request.digest.hexdigest() + "\n")

    def _get(self, path: str, request: Request) -> Response:
        if path.startswith("/bytes/"):
            return self._generated(path.removeprefix("/bytes/"))
        if self._root is not None:
            return self._file(self._root, path)
        return _text(HTTPStatus.OK, "hello, world\n") if path == "/" else _not_found()

    def _generated(self, count: str) -> Response:
        if not (count.isascii() and count.isdecimal() and len(count) < 16):
            return _not_found()
        length = int(count)
        return Response(HTTPStatus.OK, length, pattern(length), "application/octet-stream")

    def _file(self, root: Path, path: str) -> Response:
        """Return a file that is below root even after following links."""
        try:
            place = (root / path.lstrip("/")).resolve(strict=True)
            place = place / "index.html" if place.is_dir() else place
            if not place.is_relative_to(root) or not place.is_file():
                return _not_found()
            if not os.access(place, os.R_OK):
                return _text(HTTPStatus.FORBIDDEN)
            length = place.stat().st_size
        except (OSError, ValueError, RuntimeError):  # not there, a NUL in it, a loop of links
            return _not_found()
        kind = mimetypes.guess_type(place.name)[0] or "application/octet-stream"
        return Response(HTTPStatus.OK, length, _read(place, length), kind)


def _not_found() -> Response:
    return _text(HTTPStatus.NOT_FOUND)


def _read(place: Path, length: int) -> Iterator[bytes]:
    """Yield exactly length bytes of a file; EOFError when it has become shorter."""
    with place.open("rb") as file:
        while length > 0:
            piece = file.read(min(_CHUNK, length))
            if not piece:
                raise EOFError(f"{place} shrank by {length} bytes while it was sent")
            length -= len(piece)
            yield piece


# ----------------------------------------------------------------------------------- connection


class Http(asyncio.Protocol):
    """One connection: a parser, a queue of responses in the order of the requests, a pump."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._parser = httptools.HttpRequestParser(self)
        self._request = Request()
        self._queue: deque[Response] = deque()
        self._body: Iterator[bytes] | None = None  # what is left of the response being sent
        self._closing = False  # after the response being sent, or the last in the queue
        self._writable = True
        self._head_len = 0
        self._transport: Any = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Remember where to answer."""
        self._transport = transport

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop in the middle of whatever was being sent."""
        self._queue.clear()
        self._body = None
        self._closing = True

    def data_received(self, data: bytes) -> None:
        """Parse; the on_… methods are called from within."""
        if self._closing:
            return
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:  # we stay with HTTP/1.1, but the parser does not
            self._finish()
        except httptools.HttpParserError:
            self._refuse(HTTPStatus.BAD_REQUEST)
        if not self._request.is_parsed:
            self._head_len += len(data)
        if self._head_len > _MAX_HEAD:
            self._refuse(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)
        self._pump()

    # ------------------------------------------------------------- called by the parser

    def on_message_begin(self) -> None:
        """Start a request."""
        self._request = Request()
        self._head_len = 0

    def on_url(self, target: bytes) -> None:
        """Collect the target, which may come in parts."""
        self._request.target += target

    def on_header(self, name: bytes, value: bytes) -> None:
        """Look for the one header that the parser does not obey itself."""
        if name.lower() == b"expect" and value.lower() == b"100-continue":
            self._request.expects_continue = True

    def on_headers_complete(self) -> None:
        """Ask for the body, if the client waits to be asked."""
        self._request.is_parsed = True
        self._head_len = 0
        if self._request.expects_continue and not self._queue and self._body is None:
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def on_body(self, data: bytes) -> None:
        """Hash the body as it comes."""
        self._request.digest.update(data)

    def on_message_complete(self) -> None:
        """Queue the response."""
        if self._closing:
            return
        response = self._site.respond(self._parser.get_method().decode(), self._request)
        response.close = not self._parser.should_keep_alive()
        self._closing = response.close
        self._queue.append(response)

    def _refuse(self, status: HTTPStatus) -> None:
        """Answer what cannot be parsed, after all that came before it."""
        if not self._closing:
            self._queue.append(_text(status))
            self._finish()

    def _finish(self) -> None:
        self._closing = True
        if self._queue:
            self._queue[-1].close = True

    # ------------------------------------------------------------------------- sending

    def pause_writing(self) -> None:
        """Stop sending: the client does not keep up."""
        self._writable = False

    def resume_writing(self) -> None:
        """Go on."""
        self._writable = True
        self._pump()

    def _pump(self) -> None:
        """Send as much as the client takes."""
        try:
            while self._writable and self._send_piece():
                pass
        except (OSError, EOFError):  # of the file; the length has been promised
            self._transport.abort()
            return
        if self._closing and self._body is None and not self._queue:
            self._transport.close()
        elif len(self._queue) >= _MAX_QUEUE:
            self._transport.pause_reading()
        elif not self._closing:
            self._transport.resume_reading()

    def _send_piece(self) -> bool:
        """Send one piece of a body, or the next head; whether there was any."""
        if self._body is None:
            if not self._queue:
                return False
            response = self._queue.popleft()
            self._body = iter(response.body)
            self._transport.write(response.head() + next(self._body, b""))
            return True
        piece = next(self._body, None)
        if piece is None:
            self._body = None
        else:
            self._transport.write(piece)
        return True


async def serve(host: str, port: int = PORT, root: Path | None = None) -> asyncio.AbstractServer:
    """Return an HTTP server that is listening. root: the directory of its files."""
    site = Site(root)
    factory: Callable[[], Http] = functools.partial(Http, site)
    return await asyncio.get_running_loop().create_server(factory, host, port)
