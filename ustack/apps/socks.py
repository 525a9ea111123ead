# SPDX-License-Identifier: BSD-3-Clause
"""SOCKS 5 (RFC 1928), the server's side: CONNECT, without authentication.

BIND and UDP ASSOCIATE are refused with the code that is meant for it.
"""

import asyncio
import errno
import ipaddress
import socket
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ustack.apps.relay import Connect, Near, Relay, Side

__all__ = ["Dial", "Refusal", "Socks", "parse_greeting", "parse_request"]

VERSION = 5
CONNECT = 1
NO_AUTHENTICATION, NO_METHOD = 0, 0xFF
IPV4, NAME, IPV6 = 1, 3, 4

#: RFC 1928 6: what a reply may say.
SUCCEEDED, FAILED, NETWORK, HOST, REFUSED, COMMAND, KIND = 0, 1, 3, 4, 5, 7, 8

_CODES = {
    errno.ECONNREFUSED: REFUSED,
    errno.ENETUNREACH: NETWORK,
    errno.EHOSTUNREACH: HOST,
    errno.ETIMEDOUT: HOST,
}

Dial = Callable[[str, int], Connect]  # (host, port) → what connects there


class Refusal(Exception):
    """A request that is not granted. code: of the reply; None for no reply at all."""

    def __init__(self, text: str, code: int | None) -> None:
        super().__init__(text)
        self.code = code


@dataclass(frozen=True, slots=True)
class Request:
    """CONNECT to a host, an address or a name. length: of the request in bytes."""

    host: str
    port: int
    length: int


def parse_greeting(data: bytes) -> tuple[int, int] | None:
    """Return (method, length) of a greeting; None while it is not complete."""
    if data and data[0] != VERSION:
        raise Refusal(f"not SOCKS 5: it begins with {data[:1]!r}", None)
    if len(data) < 2 or len(data) < 2 + data[1]:
        return None
    methods = data[2 : 2 + data[1]]
    return NO_AUTHENTICATION if NO_AUTHENTICATION in methods else NO_METHOD, 2 + data[1]


def parse_request(data: bytes) -> Request | None:
    """Return a request; None while it is not complete."""
    if len(data) < 5:
        return None
    version, command, _, kind, first = data[:5]
    if version != VERSION:
        raise Refusal(f"not SOCKS 5: a request begins with {data[:1]!r}", None)
    if command != CONNECT:
        raise Refusal(f"command {command} is not supported; CONNECT is", COMMAND)
    if kind not in (IPV4, NAME, IPV6):
        raise Refusal(f"address type {kind} is not supported", KIND)
    start, length = (5, first) if kind == NAME else (4, 4 if kind == IPV4 else 16)
    end = start + length
    if len(data) < end + 2:
        return None
    host = _name(data[start:end]) if kind == NAME else str(ipaddress.ip_address(data[start:end]))
    return Request(host, int.from_bytes(data[end : end + 2], "big"), end + 2)


def _name(data: bytes) -> str:
    if not data or not data.isascii() or b"\0" in data:
        raise Refusal(f"no host's name: {data!r}", FAILED)
    return data.decode()


def reply(code: int, bound: Any = None) -> bytes:
    """Return a reply. bound: our (host, port) of the connection that was made."""
    host, port = bound[:2] if bound else ("0.0.0.0", 0)
    address = ipaddress.ip_address(host.partition("%")[0])
    kind = IPV4 if address.version == 4 else IPV6
    return bytes([VERSION, code, 0, kind]) + address.packed + port.to_bytes(2, "big")


class Socks(Near):
    """The client's side: a greeting, a request, then whatever it likes to send."""

    dial: Dial  # set by `speaking`

    def __init__(self, relay: Relay) -> None:
        super().__init__(relay)
        self._parse: Callable[[], bool] | None = self._greeting

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Wait for the greeting, if there is room for one more."""
        Side.connection_made(self, transport)
        self.relay.enter()

    def data_received(self, data: bytes) -> None:
        """Parse what comes before the connection; pass on what comes later."""
        if self.other is not None:
            super().data_received(data)
            return
        self.early += data
        try:
            while self._parse is not None and self._parse():
                pass
        except Refusal as refusal:
            self._refuse(str(refusal), refusal.code)

    def eof_received(self) -> bool:
        """Keep what is half closed only once a request was made."""
        super().eof_received()
        return self._parse is None

    def linked(self, far: Side) -> None:
        """Tell the client, before anything else comes."""
        self.transport.write(reply(SUCCEEDED, far.transport.get_extra_info("sockname")))
        super().linked(far)

    def failed(self, error: Exception) -> None:
        """Tell the client why."""
        self._parse = None
        if isinstance(error, (socket.gaierror, TimeoutError)):
            code = HOST
        else:
            code = _CODES.get(getattr(error, "errno", None) or 0, FAILED)
        self.transport.write(reply(code))
        self.transport.close()

    def _greeting(self) -> bool:
        found = parse_greeting(self.early)
        if found is None:
            return False
        method, length = found
        self.early = self.early[length:]
        self.transport.write(bytes([VERSION, method]))
        if method == NO_METHOD:
            self._refuse("it insists on authentication, which there is not", None)
            return False
        self._parse = self._request
        return True

    def _request(self) -> bool:
        request = parse_request(self.early)
        if request is None:
            return False
        self.early = self.early[request.length :]
        self._parse = None
        self.transport.pause_reading()
        self.relay.connect = self.dial(request.host, request.port)
        self.relay.dial()
        return False

    def _refuse(self, text: str, code: int | None) -> None:
        self._parse = None
        self.relay.complain(text)
        if code is not None:
            self.transport.write(reply(code))
        self.transport.close()


def speaking(dial: Dial) -> type[Socks]:
    """Return a side that speaks SOCKS and connects by dial."""
    return type("Socks", (Socks,), {"dial": staticmethod(dial)})
