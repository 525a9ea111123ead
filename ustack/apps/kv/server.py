# SPDX-License-Identifier: BSD-3-Clause
"""The server: a protocol that turns bytes into requests and replies into bytes.

What one piece of bytes asks for is answered by one write. A client that does not read its replies
is not read from either.
"""

import asyncio
import functools
import logging
from collections import deque
from typing import Any

from ustack.apps.kv import connection, containers, strings  # noqa: F401  (they fill the table)
from ustack.apps.kv.resp import Limits, Parser, encode_error
from ustack.apps.kv.session import Service, Session, TooLong
from ustack.apps.kv.store import Store

__all__ = ["PORT", "Kv", "new_service", "serve"]

PORT = 6379

_PIECE = 64 * 1024  # bytes of replies that are written at once, about
_TICK, _REST = 0.1, 1.0  # seconds to the next look for expired keys, with and without deadlines
_EXPIRE_AT_ONCE = 1000  # keys

log = logging.getLogger(__name__)


def new_service(limits: Limits | None = None) -> Service:
    """Return an empty store and its limits."""
    limits = limits or Limits()
    return Service(limits, Store(limits.memory))


class Kv(asyncio.Protocol):
    """One client."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._session = Session(service)
        self._parser = Parser(service.limits)
        self._held = 0  # bytes of ours in service.pending
        self._todo: deque[list[bytes]] = deque()
        self._writable = True
        self._closing = False
        self._got_eof = False
        self._transport: Any = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Let the client in, if there is room."""
        self._transport = transport
        service = self._service
        service.accepted += 1
        service.clients += 1
        if service.clients > service.limits.clients:
            service.refused += 1
            self._refuse("ERR max number of clients reached")

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the client."""
        self._closing = True
        self._todo.clear()
        self._session.discard()
        self._service.clients -= 1
        self._service.pending -= self._held

    def data_received(self, data: bytes) -> None:
        """Answer what is complete."""
        if self._closing:
            return
        self._todo.extend(self._parser.feed(data))
        held = self._parser.held
        if held != self._held:
            self._service.pending += held - self._held
            self._held = held
        self._answer()
        if self._service.pending > self._service.limits.memory and self._held:
            self._refuse("OOM too much memory is held by requests that are not complete")

    def eof_received(self) -> bool:
        """Answer first what is still to be answered."""
        self._got_eof = True
        return bool(self._todo)  # False: the transport closes itself

    def pause_writing(self) -> None:
        """The client does not read: neither do we."""
        self._writable = False
        self._transport.pause_reading()

    def resume_writing(self) -> None:
        """Go on."""
        self._writable = True
        self._answer()
        if self._writable and not self._closing:
            self._transport.resume_reading()

    def _answer(self) -> None:
        todo, answer, session = self._todo, self._session.answer, self._session
        while todo and self._writable and not self._closing:
            replies, size = [], 0
            try:
                while todo and size < _PIECE and not session.is_leaving:
                    replies.append(answer(todo.popleft()))
                    size += len(replies[-1])
            except TooLong:
                log.warning("client %d: its replies are too long", session.number)
                self._transport.abort()
                self._closing = True
                return
            self._transport.write(b"".join(replies))
            if session.is_leaving:
                self._close()
        if not todo and not self._closing:
            self._look_at_the_end()

    def _look_at_the_end(self) -> None:
        if self._parser.error is not None:
            self._refuse(f"ERR Protocol error: {self._parser.error}")
        elif self._got_eof:
            self._close()

    def _refuse(self, text: str) -> None:
        if not self._closing:
            self._transport.write(encode_error(text))
            self._close()

    def _close(self) -> None:
        self._closing = True
        self._todo.clear()
        self._transport.close()


async def serve(host: str, port: int = PORT, limits: Limits | None = None) -> Any:
    """Return a server that is listening; its keys are its own."""
    service = new_service(limits)
    loop = asyncio.get_running_loop()
    server = await loop.create_server(functools.partial(Kv, service), host, port)
    _collect(loop, server, service.store)
    return server


def _collect(loop: asyncio.AbstractEventLoop, server: Any, store: Store) -> None:
    """Delete what expires, as long as the server listens."""
    if not server.sockets:
        return
    busy = store.has_deadlines() and store.collect(_EXPIRE_AT_ONCE) == _EXPIRE_AT_ONCE
    pause = _TICK if store.has_deadlines() else _REST
    loop.call_later(0.0 if busy else pause, _collect, loop, server, store)
