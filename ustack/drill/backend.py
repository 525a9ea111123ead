# SPDX-License-Identifier: BSD-3-Clause
"""What runs a script's calls and packets: the interface that the runner needs of a stack.

There are two: the engine on virtual time (engine.py) and this machine's Linux (linux.py). Every
socket call is made without waiting; BlockingIOError says that it would wait, and the runner calls
again when something has happened. Options and messages have Linux's numbers.
"""

from __future__ import annotations

import ipaddress
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

__all__ = ["MS", "SECOND", "Backend", "Host", "Sent"]

MS = 10**6
SECOND = 10**9


@dataclass
class Host:
    """What surrounds the script: addresses, ports, and the stack's configuration.

    sysctls: as Linux names them. segmentation: may the stack's segments be larger than the MSS
    (TSO)?
    """

    version: int = 4
    mapped: bool = False  # sockets are IPv6 sockets that speak IPv4
    mtu: int = 1500
    local: str = "192.168.0.1"
    remote: str = "192.0.2.1"
    gateway: str = "192.168.0.2"
    prefix: int = 16
    bind_port: int = 8080
    connect_port: int = 8080
    sysctls: dict[str, str] = field(default_factory=dict)
    segmentation: bool = True

    @classmethod
    def of(cls, version: int) -> Host:
        """The usual addresses of a version."""
        if version == 6:
            net = "fd3d:a0b:17d6::"
            return cls(6, False, 1500, f"{net}1", "fd3d:fa7b:d17d::1", f"{net}2", 48)
        return cls()

    @property
    def local_bytes(self) -> bytes:
        """Our address, packed."""
        return ipaddress.ip_address(self.local).packed

    @property
    def remote_bytes(self) -> bytes:
        """The peer's address, packed."""
        return ipaddress.ip_address(self.remote).packed


@dataclass(frozen=True)
class Sent:
    """An IP packet that the stack has sent, and when."""

    at: int
    packet: bytes


class Backend(Protocol):
    """A stack under test. Times are ns of its own clock; handles are its own, too."""

    host: Host
    sent: deque[Sent]  # what the runner has not taken yet
    patience: int  # how long to wait for what may not come, in ns
    unknown: list[str]  # sysctls of the host that the stack has nothing like

    @property
    def now(self) -> int:
        """The time."""

    def inject(self, packet: bytes) -> None:
        """An IP packet from the wire."""

    def advance(self, until: int, stop: Callable[[], bool]) -> bool:
        """Let time pass; True as soon as stop() says so, asked whenever something happened."""

    def sysctl(self, key: str, value: str) -> bool:
        """Change a setting; False when the stack has none like it."""

    def socket(self, family: int, kind: int) -> int:
        """A new socket: AF_INET or AF_INET6, SOCK_STREAM or SOCK_DGRAM."""

    def bind(self, handle: int, address: str, port: int) -> None:
        """Bind."""

    def listen(self, handle: int, backlog: int) -> None:
        """Listen."""

    def accept(self, handle: int) -> int:
        """The next connection."""

    def connect(self, handle: int, address: str, port: int) -> None:
        """Begin to connect: BlockingIOError(EINPROGRESS) when it is under way."""

    def send(self, handle: int, data: bytes, flags: int, to: tuple[str, int] | None = None) -> int:
        """How many bytes were taken."""

    def recv(self, handle: int, size: int, flags: int) -> bytes:
        """Bytes; none at the end."""

    def shutdown(self, handle: int, how: int) -> None:
        """End one direction or both."""

    def close(self, handle: int) -> None:
        """Close."""

    def setsockopt(self, handle: int, level: int, name: int, value: int | bytes) -> None:
        """Set an option."""

    def getsockopt(self, handle: int, level: int, name: int, size: int) -> int | bytes:
        """An option's value: a number when size is 0."""

    def ioctl(self, handle: int, request: int) -> int:
        """SIOCINQ and its like: the number."""

    def poll(self, handle: int) -> int:
        """The POLL… bits of this moment."""

    def names(self, handle: int) -> tuple[str, int, str, int]:
        """Address and port of both ends; port 0 where there is none."""

    def tcp_info(self, handle: int) -> bytes:
        """Linux's struct tcp_info."""

    def state(self, local_port: int, remote: str, remote_port: int) -> str:
        """The state of a flow, as "FIN_WAIT_1"; CLOSED when there is none."""

    def describe(self, local_port: int, remote: str, remote_port: int) -> str:
        """All there is to know of a flow, in one line."""

    def finish(self) -> str:
        """The end of the script: "", or what is wrong with the stack."""

    def free(self) -> None:
        """Give back what it holds."""
