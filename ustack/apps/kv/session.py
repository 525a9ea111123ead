# SPDX-License-Identifier: BSD-3-Clause
"""One client's state between its requests, and how a request becomes a reply."""

import itertools
import time
from dataclasses import dataclass, field
from typing import Any

from ustack.apps.kv.resp import NO_ARRAY, Limits, Raw, encode, encode_error
from ustack.apps.kv.store import KvError, Store
from ustack.apps.kv.table import COMMANDS, Command

__all__ = ["Service", "Session", "TooLong"]

_NUMBERS = itertools.count(1)
_OOM = "OOM command not allowed when used memory > 'maxmemory'."


class TooLong(Exception):
    """A transaction's replies are longer than the limit; the connection has to end."""


@dataclass(slots=True)
class Service:
    """What all clients share: the store, the limits and some counts."""

    limits: Limits
    store: Store
    started: float = field(default_factory=time.monotonic)
    clients: int = 0  # connected now
    accepted: int = 0
    refused: int = 0
    processed: int = 0  # commands
    pending: int = 0  # bytes of requests and transactions that are not complete


class Session:
    """A client: its RESP version, its name, its transaction."""

    def __init__(self, service: Service) -> None:
        self.service = service
        self.store = service.store
        self.limits = service.limits
        self.number = next(_NUMBERS)
        self.version = 2
        self.name = b""
        self.is_leaving = False  # the connection is to be closed behind the reply
        self.queue: list[tuple[Command, list[bytes]]] | None = None  # since MULTI
        self.queued = 0  # bytes in it
        self.is_spoilt = False  # EXEC has to fail: a command was not understood
        self.is_stale = False  # EXEC has to do nothing: a watched key changed
        self.watching: set[bytes] = set()

    def answer(self, words: list[bytes]) -> bytes:
        """Return the reply to a request, encoded."""
        self.service.processed += 1
        try:
            row = COMMANDS.get(words[0]) or COMMANDS.get(words[0].upper())
            if row is None:
                raise _unknown(words)
            if not row.takes(len(words)):
                raise KvError(f"ERR wrong number of arguments for '{row.name}' command")
            if row.adds and self.store.used > self.limits.memory:
                raise KvError(_OOM)
            if self.queue is not None and row.queued:
                return self._put_off(row, words)
        except KvError as error:
            self.is_spoilt = True
            return encode_error(str(error))
        return self._perform(row, words)

    def _perform(self, row: Command, words: list[bytes]) -> bytes:
        try:
            return encode(row.handler(self, words), self.version)
        except KvError as error:
            return encode_error(str(error))

    def check_reply(self, size: int) -> None:
        """Raise KvError for a reply that may not be so long."""
        if size > self.limits.reply:
            raise KvError(f"ERR reply of {size} bytes is longer than {self.limits.reply}")

    def status(self, text: str) -> Raw:
        """Return a simple string as a reply."""
        return Raw(b"+%b\r\n" % text.encode())

    # ---------------------------------------------------------------- transactions

    def _put_off(self, row: Command, words: list[bytes]) -> bytes:
        assert self.queue is not None
        size = sum(map(len, words)) + 64 * len(words)
        if self.queued + size > self.limits.request:
            raise KvError(f"ERR transaction of more than {self.limits.request} bytes")
        self.queue.append((row, words))
        self.queued += size
        self.service.pending += size
        return b"+QUEUED\r\n"

    def begin(self) -> None:
        """Put commands off from now on."""
        self.queue, self.is_spoilt = [], False

    def perform_all(self) -> Any:
        """Perform what was put off; the reply. Raises TooLong when that gets too long."""
        queue, is_spoilt, is_stale = self.queue or [], self.is_spoilt, self.is_stale
        self.discard()
        if is_spoilt:
            raise KvError("EXECABORT Transaction discarded because of previous errors.")
        if is_stale:
            return NO_ARRAY
        replies, size = [], 0
        for row, words in queue:
            replies.append(self._perform(row, words))
            size += len(replies[-1])
            if size > self.limits.reply:
                raise TooLong
        return Raw(b"*%d\r\n" % len(replies) + b"".join(replies))

    def discard(self) -> None:
        """Forget what was put off, and watch nothing any more."""
        self.service.pending -= self.queued
        self.queue, self.queued, self.is_spoilt = None, 0, False
        self.unwatch()

    def watch(self, key: bytes) -> None:
        """Let EXEC do nothing when a key changes before it."""
        self.store.get(key)  # so that one that has expired is no change
        self.store.watch(key, self)
        self.watching.add(key)

    def unwatch(self) -> None:
        """Watch nothing any more."""
        self.store.unwatch(self.watching, self)
        self.watching.clear()
        self.is_stale = False


def _unknown(words: list[bytes]) -> KvError:
    arguments = "".join(f"'{_printable(word)}' " for word in words[1:9])
    return KvError(
        f"ERR unknown command '{_printable(words[0])}', with args beginning with: {arguments}"
    )


def _printable(word: bytes) -> str:
    return word[:128].decode("latin-1").encode("ascii", "backslashreplace").decode()
