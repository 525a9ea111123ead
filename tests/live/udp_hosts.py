# SPDX-License-Identifier: BSD-3-Clause
"""Two hosts on one link, and the table of what UDP sockets do between them; see udp_behaviours.py.

A behaviour is a small function that runs on any two hosts with Python's socket API: it takes a
`Hosts` and returns what happened, in values that are the same wherever it runs: bytes, names of
errors, hosts, but never a port that was chosen by chance.
"""

from __future__ import annotations

import errno
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

IP_MTU_DISCOVER, IP_MTU, IPV6_MTU_DISCOVER, IPV6_MTU, UDP_SEGMENT = 10, 14, 23, 24, 103
DONT, WANT, DO, PROBE = range(4)
TIMEOUT = 2.0
ISLAND = {4: "192.0.2.1", 6: "2001:db8::1"}  # nobody has a route there


@dataclass
class Hosts:
    """Two hosts on one link, and how to make a socket on each."""

    version: int
    near: str
    far: str
    make_near: Callable[[int], Any]
    make_far: Callable[[int], Any]

    def __post_init__(self) -> None:
        self.sockets: list[Any] = []

    @property
    def family(self) -> int:
        return socket.AF_INET6 if self.version == 6 else socket.AF_INET

    @property
    def any(self) -> str:
        return "::" if self.version == 6 else "0.0.0.0"

    @property
    def nobody(self) -> str:
        """An address of our network that no host has."""
        return "fd09::77" if self.version == 6 else "10.9.0.77"

    def a(self, family: int | None = None) -> Any:
        """Make a socket on the near host."""
        return self._keep(self.make_near(self.family if family is None else family))

    def b(self, family: int | None = None) -> Any:
        """Make a socket on the far host."""
        return self._keep(self.make_far(self.family if family is None else family))

    def server(self, port: int = 7000) -> Any:
        """Make a socket on the far host that is bound to its address."""
        sock = self.b()
        sock.bind((self.far, port))
        return sock

    def pair(self) -> tuple[Any, Any]:
        """Make two sockets, each connected to the other."""
        a, b = self.a(), self.b()
        a.bind((self.near, 6000))
        b.bind((self.far, 7000))
        a.connect((self.far, 7000))
        b.connect((self.near, 6000))
        return a, b

    def refused(self) -> Any:
        """Make a near socket that has just been told that nobody holds its peer's port."""
        sock = self.a()
        sock.connect((self.far, 7999))
        sock.send(b"x")
        settle()
        return sock

    def close(self) -> None:
        for sock in self.sockets:
            sock.close()

    def _keep(self, sock: Any) -> Any:
        sock.settimeout(TIMEOUT)
        self.sockets.append(sock)
        return sock


def settle() -> None:
    """Wait until what was sent, and the answer to it, has arrived."""
    time.sleep(0.03)


def outcome(call: Callable[..., Any], *args: Any) -> Any:
    """Return what a call returns, or the name of its error."""
    try:
        return call(*args)
    except TimeoutError:
        return "timeout"
    except socket.gaierror:
        return "gaierror"
    except OSError as error:
        return errno.errorcode[error.errno or 0]
    except Exception as error:
        return type(error).__name__


def now(sock: Any, size: int = 65535) -> Any:
    """Receive what is there at once."""
    sock.setblocking(False)
    try:
        return outcome(sock.recv, size)
    finally:
        sock.settimeout(TIMEOUT)


def host_of(address: Any) -> Any:
    """Return an address without a port chosen by chance."""
    return (address[0], *address[2:])


BEHAVIOURS: dict[str, Callable[[Hosts], Any]] = {}
ONLY: dict[str, tuple[int, ...]] = {}


def behaviour(*versions: int) -> Callable[[Callable[[Hosts], Any]], Callable[[Hosts], Any]]:
    def add(function: Callable[[Hosts], Any]) -> Callable[[Hosts], Any]:
        BEHAVIOURS[function.__name__] = function
        ONLY[function.__name__] = versions or (4, 6)
        return function

    return add


def cases() -> list[tuple[str, int]]:
    return [(name, version) for name in BEHAVIOURS for version in ONLY[name]]


def perform(near: Callable[[int], Any], far: Callable[[int], Any]) -> dict[tuple[str, int], Any]:
    """Do everything between two hosts; the outcomes. near, far: make a socket of a family."""
    outcomes = {}
    for name, version in cases():
        ends = ("fd09::1", "fd09::2") if version == 6 else ("10.9.0.1", "10.9.0.2")
        hosts = Hosts(version, *ends, near, far)
        outcomes[name, version] = outcome(BEHAVIOURS[name], hosts)
        hosts.close()
        settle()
    return outcomes
