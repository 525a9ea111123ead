# SPDX-License-Identifier: BSD-3-Clause
"""Whose socket is it? An application's socket as a loop gets it: a stack's or the kernel's.

A stack's own (`Stack.socket`), or one of `ustack.socket`, which is a stack's once it has named an
address; one that is bound to both is told by its twin, the kernel's half.
"""

import socket
import ssl
from typing import Any

from ustack._endpoint import Endpoint

__all__ = ["aim", "check_kind", "check_open", "endpoint_of", "twin_of"]


def endpoint_of(sock: Any) -> Endpoint | None:
    """Return the stack's socket that an application's is; None: it is something of the kernel's."""
    if isinstance(sock, Endpoint):
        return sock
    found = getattr(sock, "endpoint", None) if isinstance(sock, socket.socket) else None
    return found if isinstance(found, Endpoint) else None


def twin_of(sock: Any) -> socket.socket | None:
    """Return the kernel's half of a socket that is both's."""
    found = getattr(sock, "_twin", None)
    return found if isinstance(found, socket.socket) else None


def aim(sock: Any, address: Any) -> None:
    """Let a socket that is nobody's yet become whoever's who reaches an address."""
    if isinstance(sock, socket.socket) and hasattr(sock, "_aim"):
        sock._aim(address)


def check_kind(sock: Any, kind: int) -> None:
    """Raise ValueError, as asyncio does, unless it is a stream or a datagram socket."""
    if isinstance(sock, ssl.SSLSocket):
        raise TypeError("Socket cannot be of type SSLSocket")
    if sock.type != kind:
        name = "Stream" if kind == socket.SOCK_STREAM else "Datagram"
        raise ValueError(f"A {name} Socket was expected, got {sock!r}")


def check_open(endpoint: Endpoint) -> None:
    """Raise ValueError, as asyncio does, for a socket that is closed."""
    if endpoint.closed:
        raise ValueError(f"Invalid file object: {endpoint!r}")
