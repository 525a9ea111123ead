# SPDX-License-Identifier: BSD-3-Clause
"""The one stack of a process, for programs that name none.

`ustack.socket`, `ustack run` and `ustack.new_event_loop` work on it. It is the one that `install`
was given, or else made on first use from the environment: USTACK_IO, the packet port's URL;
USTACK_ADDRESS and USTACK_GATEWAY, each one or several with commas between; USTACK_LOOPBACK, 1 for
one that owns 127.0.0.0/8 and ::1, too.

Which addresses are the stack's and which the kernel's is said here, too: those that it owns and
those that it has routes to are its. The wildcard is both's, unless `place` or USTACK_BIND says
ustack or kernel.
"""

import atexit
import contextlib
import ipaddress
import os
import socket
import threading
from enum import Enum
from typing import Any

from ustack._native import end
from ustack._whose import Rules
from ustack.errors import ConfigError
from ustack.stack import Stack

__all__ = ["Place", "close_at_exit", "current", "from_environment", "install", "installed"]
__all__ += ["io_and_addresses", "place"]
__all__ += ["place_of_peer", "place_to_bind", "ruled"]

_lock = threading.Lock()
_installed: Stack | None = None


class Place(Enum):
    """Whose an address is."""

    USTACK = "ustack"
    KERNEL = "kernel"
    BOTH = "both"

    @classmethod
    def parse(cls, name: str, value: str) -> "Place":
        """Return what a setting of this name says; ConfigError for what it cannot."""
        return _parse(name, value)


_wildcard: Place | None = None
_rules = Rules()


def current() -> Stack:
    """Return the process's stack; made from the environment if there is none yet.

    One that is made here is closed when the program ends. Raises ConfigError without USTACK_IO,
    PortError when the port cannot be opened.
    """
    global _installed
    with _lock:
        if _installed is None or _installed.closed:
            _installed = from_environment()
            close_at_exit(_installed)
        return _installed


def install(stack: Stack | None) -> None:
    """Make stack the process's; None: have none. It stays the caller's to close.

    Raises RuntimeError while there is another that is open: what works on it would lose it.
    """
    global _installed
    with _lock:
        now = _installed
        if stack is not None and now is not None and now is not stack and not now.closed:
            raise RuntimeError(f"{now!r} is this process's stack; close it, or install(None) first")
        _installed = stack


def installed() -> Stack | None:
    """Return the process's stack if there is one and it is open."""
    stack = _installed
    return None if stack is None or stack.closed else stack


def from_environment(
    io: str | None = None, address: str | None = None, gateway: str | None = None, **options: Any
) -> Stack:
    """Return a new stack; what is None is read from the environment. options: Stack's others.

    Raises ConfigError without io, PortError when it cannot be opened.
    """
    io, addresses = io_and_addresses(io, address)
    gateways = _several(gateway, "USTACK_GATEWAY")
    if os.environ.get("USTACK_LOOPBACK"):
        options.setdefault("loopback", _flag("USTACK_LOOPBACK"))
    return Stack(io, addresses=addresses, gateways=gateways, **options)


def io_and_addresses(io: Any, address: str | None) -> tuple[Any, list[str]]:
    """Return the packet port and our addresses; what is None is read from the environment.

    Raises ConfigError without io.
    """
    io = io or os.environ.get("USTACK_IO")
    if not io:
        raise ConfigError("no packet port: give io, or set USTACK_IO; for example to ring:demo")
    return io, _several(address, "USTACK_ADDRESS")


def place(*, wildcard: str | None = None, rules: Rules | None = None) -> None:
    """Say whose connections are, where it is not their addresses alone that decide.

    wildcard: who hears of connections to a socket that is bound to every address, "both", "ustack"
    or "kernel"; None: what USTACK_BIND says, both without it. rules: what stands above all; None:
    nothing. Raises ConfigError for another wildcard.
    """
    global _wildcard, _rules
    _wildcard = None if wildcard is None else _parse("wildcard", wildcard)
    _rules = Rules() if rules is None else rules


def ruled(host: str, port: int) -> Place | None:
    """Return whose the rules say that a numeric address is; None: they say nothing."""
    whose = _rules.whose(host, port)
    return None if whose is None else Place(whose)


def place_to_bind(host: str, port: int = 0) -> Place:
    """Return whose a numeric local address is."""
    by_rule = ruled(host, port)
    if by_rule is not None:
        return by_rule
    if ipaddress.ip_address(host).is_unspecified:
        return _wildcard or _parse("USTACK_BIND", os.environ.get("USTACK_BIND") or "both")
    return Place.USTACK if current().owns(host) else Place.KERNEL


def place_of_peer(host: str, port: int = 0) -> Place:
    """Return who reaches a numeric address; the unspecified one is the local host's."""
    if ipaddress.ip_address(host).is_unspecified:
        host = "127.0.0.1"
    by_rule = ruled(host, port)
    if by_rule is not None:
        return by_rule
    return Place.USTACK if current().reaches(host) else Place.KERNEL


def _parse(name: str, value: str) -> Place:
    for place in Place:
        if place.value == value:
            return place
    raise ConfigError(f"{name} must be {', '.join(p.value for p in Place)}, got {value!r}")


def _several(given: str | None, variable: str) -> list[str]:
    text = os.environ.get(variable, "") if given is None else given
    return [part.strip() for part in text.split(",") if part.strip()]


def _flag(variable: str) -> bool:
    text = os.environ[variable]
    if text not in ("0", "1"):
        raise ConfigError(f"{variable} must be 0 or 1, got {text!r}")
    return text == "1"


def close_at_exit(stack: Stack) -> None:
    """Close a stack when the program is over; what it has sent is delivered first."""
    atexit.register(_close, stack, os.getpid())


def _close(stack: Stack, pid: int) -> None:
    """Let peers hear of the end, and daemon threads stop where they are, as with the kernel."""
    if os.getpid() != pid or stack.closed:
        return
    end()
    for sock in list(stack._sockets):
        with contextlib.suppress(OSError):
            sock.shutdown(socket.SHUT_RDWR)
    stack.close()
