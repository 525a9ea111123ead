# SPDX-License-Identifier: BSD-3-Clause
"""RESP, the protocol of Redis: requests in, replies out (versions 2 and 3).

A request is an array of bulk strings, *2\\r\\n$3\\r\\nGET\\r\\n$1\\r\\nk\\r\\n, or a line of words.
What breaks the rules is told in Redis' words, and ends the connection.

Always: a parser holds at most `Limits.request` bytes and one piece more, whatever a header
promises. hiredis parses about five times faster, but takes what is no request (`*1\\r\\n+x\\r\\n`)
and reserves as much as a header says.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

__all__ = ["NO_ARRAY", "OK", "Limits", "Parser", "Raw", "RequestError", "encode", "encode_error"]

_INLINE = 64 * 1024  # bytes of a line
_MAX_WORDS = 1024 * 1024  # in one request


@dataclass(frozen=True, slots=True)
class Limits:
    """What clients may make a server hold.

    memory: bytes of all keys and values, by estimate. request: bytes of one request, a
    transaction, or a value. reply: bytes of one reply. clients: connections.
    """

    memory: int = 256 << 20
    request: int = 16 << 20
    reply: int = 64 << 20
    clients: int = 10_000


class RequestError(Exception):
    """What came is no request; the connection cannot go on."""


# ---------------------------------------------------------------------------------- requests


class Parser:
    """Takes bytes as they come; returns requests, each a list of at least one word."""

    __slots__ = ("_buffer", "_length", "_limits", "_missing", "_taken", "_words", "error")

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._buffer = bytearray()
        self._words: list[bytes] = []  # of the request that is coming in
        self._missing = 0  # words that it still lacks
        self._length = -1  # of the word that comes next; -1: its header comes next
        self._taken = 0  # bytes in _words
        self.error: RequestError | None = None  # after which nothing is parsed

    @property
    def held(self) -> int:
        """Bytes of a request that is not complete."""
        return len(self._buffer) + self._taken

    def feed(self, data: bytes) -> list[list[bytes]]:
        """Return the requests that are now complete; see `error` afterwards."""
        if self.error is not None:
            return []
        requests: list[list[bytes]] = []
        if not self._buffer and not self._missing:
            data = _take_plain(data, requests, self._limits.request)
        if data:
            self._buffer += data
            try:
                while self._step(requests):
                    pass
                if self.held > self._limits.request:
                    raise RequestError(f"request of more than {self._limits.request} bytes")
            except RequestError as error:
                self.error = error
        return requests

    def _step(self, requests: list[list[bytes]]) -> bool:
        """Take one line or one word off the buffer; whether there was any."""
        if self._length >= 0:
            return self._take_word(requests)
        line = self._take_line()
        if line is None:
            return False
        if self._missing:
            self._length = _number(line, b"$", self._limits.request, "bulk length")
        elif line.startswith(b"*"):
            self._missing = max(_number(line, b"*", _MAX_WORDS, "multibulk length"), 0)
            self._words, self._taken = [], 0
        elif words := _split(line):
            requests.append(words)
        return True

    def _take_line(self) -> bytes | None:
        end = self._buffer.find(b"\n", 0, _INLINE)
        if end < 0:
            if len(self._buffer) >= _INLINE:
                raise RequestError(f"too big {self._name_line()}")
            return None
        line = bytes(self._buffer[:end])
        del self._buffer[: end + 1]
        return line[:-1] if line.endswith(b"\r") else line

    def _name_line(self) -> str:
        if self._missing:
            return "bulk count string"
        return "mbulk count string" if self._buffer.startswith(b"*") else "inline request"

    def _take_word(self, requests: list[list[bytes]]) -> bool:
        if len(self._buffer) < self._length + 2:
            return False
        self._words.append(bytes(self._buffer[: self._length]))
        del self._buffer[: self._length + 2]
        self._taken += self._length
        self._length = -1
        self._missing -= 1
        if self._taken > self._limits.request:
            raise RequestError(f"request of more than {self._limits.request} bytes")
        if not self._missing:
            requests.append(self._words)
            self._words, self._taken = [], 0
        return True


_ARRAYS = {b"*%d" % n: 2 * n for n in range(1, 1025)}  # header → lines that follow it
_BULKS = {b"$%d" % n: n for n in range(1025)}


def _take_plain(data: bytes, requests: list[list[bytes]], limit: int) -> bytes:
    """Take the whole, short requests off data's front; what is left has to be parsed by hand.

    Most requests are a few lines, and cut at line ends in one go: about three times faster.
    """
    if len(data) > limit:
        return data
    lines = data.split(b"\r\n")
    at, n_lines = 0, len(lines) - 1
    while at < n_lines:
        n = _ARRAYS.get(lines[at])
        if n is None or at + n >= n_lines:
            break
        end = at + n + 1
        words = lines[at + 2 : end : 2]
        for header, word in zip(lines[at + 1 : end : 2], words, strict=True):
            if _BULKS.get(header) != len(word):
                return b"\r\n".join(lines[at:])
        requests.append(words)
        at = end
    return b"\r\n".join(lines[at:])


def _number(line: bytes, mark: bytes, most: int, what: str) -> int:
    """Return the number of a header; of an array's it may be negative, which means none."""
    if not line.startswith(mark):
        got = line[:1].decode("latin-1")
        raise RequestError(f"expected '{mark.decode()}', got '{got}'")
    digits = line[1:]
    if not re.fullmatch(rb"-?[0-9]{1,10}", digits):
        raise RequestError(f"invalid {what}")
    number = int(digits)
    if number > most or (number < 0 and mark == b"$"):
        raise RequestError(f"invalid {what}")
    return number


_WORD = re.compile(
    rb"""\s*(?:"((?:[^"\\]|\\.)*)"|'((?:[^'\\]|\\')*)'|([^\s"']+))(?=\s|$)""", re.DOTALL
)
_ESCAPE = re.compile(rb"\\(x[0-9a-fA-F]{2}|.)", re.DOTALL)
_ESCAPES = {b"n": b"\n", b"r": b"\r", b"t": b"\t", b"b": b"\b", b"a": b"\a"}


def _split(line: bytes) -> list[bytes]:
    """Return the words of a line, which may be quoted as in redis-cli."""
    words, at, line = [], 0, line.rstrip()
    while at < len(line):
        match = _WORD.match(line, at)
        if match is None:
            raise RequestError("unbalanced quotes in request")
        double, single, plain = match.groups()
        if double is not None:
            words.append(_ESCAPE.sub(_unescape, double))
        else:
            words.append(plain if single is None else single.replace(b"\\'", b"'"))
        at = match.end()
    return words


def _unescape(match: re.Match[bytes]) -> bytes:
    escape = match[1]
    if len(escape) == 3:
        return bytes([int(escape[1:], 16)])
    return _ESCAPES.get(escape, escape)


# ----------------------------------------------------------------------------------- replies


class Raw(bytes):
    """A reply that is encoded already."""


class _NoArray:
    """What stands for no array at all, where a reply is otherwise one."""


OK = Raw(b"+OK\r\n")
NO_ARRAY = _NoArray()


def encode(value: Any, version: int) -> bytes:
    """Return a reply in RESP version 2 or 3.

    bytes and str are bulk strings, int integers, None null, float doubles, list arrays, dict maps
    and set sets; version 2 has arrays for these two, and strings for doubles.
    """
    kind = type(value)
    if kind is bytes:
        return b"$%d\r\n%b\r\n" % (len(value), value)
    if kind is Raw:
        return bytes(value)
    if kind is int:
        return b":%d\r\n" % value
    return _ENCODERS[kind](value, version)


def encode_error(text: str) -> bytes:
    """Return an error's reply: a code in capitals and a sentence, in one line."""
    return b"-%b\r\n" % text.replace("\r", " ").replace("\n", " ").encode()


def format_double(value: float) -> bytes:
    """Return a score as Redis writes it: whole numbers without a fraction."""
    if value.is_integer() and abs(value) < 1e17:
        return b"%d" % int(value)
    return repr(value).encode()


def _encode_none(value: None, version: int) -> bytes:
    return b"$-1\r\n" if version == 2 else b"_\r\n"


def _encode_no_array(value: _NoArray, version: int) -> bytes:
    return b"*-1\r\n" if version == 2 else b"_\r\n"


def _encode_str(value: str, version: int) -> bytes:
    return encode(value.encode(), version)


def _encode_float(value: float, version: int) -> bytes:
    digits = format_double(value)
    return b",%b\r\n" % digits if version == 3 else encode(digits, version)


def _encode_list(value: list[Any], version: int) -> bytes:
    return b"*%d\r\n" % len(value) + b"".join([encode(item, version) for item in value])


def _encode_set(value: set[Any], version: int) -> bytes:
    mark = b"*" if version == 2 else b"~"
    return mark + b"%d\r\n" % len(value) + b"".join([encode(item, version) for item in value])


def _encode_dict(value: dict[Any, Any], version: int) -> bytes:
    head = b"*%d\r\n" % (2 * len(value)) if version == 2 else b"%%%d\r\n" % len(value)
    parts = [encode(item, version) for pair in value.items() for item in pair]
    return head + b"".join(parts)


_ENCODERS: dict[type, Callable[[Any, int], bytes]] = {
    type(None): _encode_none,
    _NoArray: _encode_no_array,
    str: _encode_str,
    float: _encode_float,
    list: _encode_list,
    set: _encode_set,
    dict: _encode_dict,
}
