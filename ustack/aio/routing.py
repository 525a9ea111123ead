# SPDX-License-Identifier: BSD-3-Clause
"""Which connections are ours: what a loop asks before it makes one.

A server's, or a datagram endpoint's, when a stack owns its (local) address; on a wildcard a server
is both ours and the kernel's, or one's (`Routing.wildcard`). A client's, when a stack
reaches the peer: by the longest prefix of their networks and routes where several do, and rather
by one that does not own the address itself. The kernel's loopback is the kernel's, unless a stack
owns the address. Names are the kernel's resolver's. `sock=` decides by its type (ours.py).
"""

import asyncio
import ipaddress
import socket
from typing import TYPE_CHECKING, Any, TypeAlias

from ustack import process
from ustack._endpoint import Endpoint
from ustack.aio.ours import endpoint_of
from ustack.process import Place

if TYPE_CHECKING:
    from ustack._aio import Dispatcher
    from ustack.stack import Stack

__all__ = ["AddrInfo", "Routing"]

#: As getaddrinfo() gives it: (family, type, proto, canonname, address).
AddrInfo: TypeAlias = tuple[int, int, int, str, tuple[Any, ...]]

_LOOPBACK = {"0.0.0.0": "127.0.0.1", "::": "::1"}


class Routing(asyncio.AbstractEventLoop):
    """The part of a loop that knows which stack an address is of."""

    _stacks: "dict[Stack, Dispatcher]"
    _owned: "list[Stack]"

    _ssl_protocol: Any  # the class that speaks TLS between a transport and a protocol

    _wildcard: Place | None

    @property
    def wildcard(self) -> Place:
        """Whose servers on 0.0.0.0, :: or no host are; the process's setting if none was given."""
        return self._wildcard or process.place_to_bind("0.0.0.0")

    def _ruled(self, host: str, port: int) -> Place | None:
        """Return whose --only and --also of `ustack run` say that an address is; None: nothing."""
        stack = process.installed()
        return process.ruled(host, port) if stack in self._stacks else None

    def _whose_wildcard(self, port: int) -> Place:
        return self._ruled("0.0.0.0", port) or self.wildcard

    def _owner(self, host: object, port: int = 0) -> "Stack | None":
        """Return the stack that owns an address, or must have it all the same."""
        if not isinstance(host, str):
            return None
        ruled = self._ruled(host, port)
        if ruled is Place.KERNEL:
            return None
        found = next((stack for stack in self._stacks if stack.owns(host)), None)
        return process.installed() if found is None and ruled is Place.USTACK else found

    def _stack_to(self, address: str, port: int = 0) -> "Stack | None":
        """Return the stack that connections to a numeric address go over; None: the kernel's."""
        if self._ruled(address, port) is Place.KERNEL:
            return None
        stacks = [stack for stack in self._stacks if stack.reaches(address)]
        if not stacks or ipaddress.ip_address(address).is_loopback:
            return self._owner(address, port)
        if len(stacks) == 1:
            return stacks[0]
        return min(stacks, key=lambda stack: (stack.owns(address), -_prefix(stack, address)))

    def _endpoint(self, sock: Any) -> Endpoint | None:
        """Return the stack's socket that an application's is; None: it is the base loop's to do.

        That is one of ustack.socket, too, if this loop does not drive its stack: it can be polled.
        """
        endpoint = endpoint_of(sock)
        if endpoint is None or isinstance(sock, Endpoint) or endpoint.stack in self._stacks:
            return endpoint
        return None

    async def _resolve(
        self, host: object, port: Any, kind: int, *, family: int = 0, proto: int = 0, flags: int = 0
    ) -> list[AddrInfo]:
        """Return where a host is, without asking anybody if it is an address with a port.

        Who means no host in particular to connect to means the loopback, as Linux has it; it is
        shown as that where a stack owns it.
        """
        if isinstance(host, bytes):
            host = host.decode("idna")
        known = _numeric(host, port, kind, family, proto)
        if known is None:
            known = await self.getaddrinfo(  # type: ignore[assignment]
                host,  # type: ignore[arg-type]
                port,
                family=family,
                type=kind,
                proto=proto,
                flags=flags,
            )
        if not known:
            raise OSError("getaddrinfo() returned empty list")
        return known

    def _nearer(self, info: AddrInfo) -> AddrInfo:
        """Return the loopback address for a wildcard that is connected to, if a stack owns it."""
        host = _LOOPBACK.get(info[4][0])
        if host is None or self._owner(host) is None:
            return info
        return (*info[:4], (host, *info[4][1:]))


def _numeric(host: object, port: Any, kind: int, family: int, proto: int) -> list[AddrInfo] | None:
    if not isinstance(host, str) or not isinstance(port, int) or "%" in host:
        return None
    try:
        version = ipaddress.ip_address(host).version
    except ValueError:
        return None
    found = socket.AF_INET if version == 4 else socket.AF_INET6
    if family not in (0, found):
        return None  # the resolver knows what to say
    proto = proto or (socket.IPPROTO_TCP if kind == socket.SOCK_STREAM else socket.IPPROTO_UDP)
    address = (host, port) if version == 4 else (host, port, 0, 0)
    return [(found, kind, proto, "", address)]


def _prefix(stack: "Stack", address: str) -> int:
    """Return how many bits of an address the best network or route of a stack shares."""
    ip = ipaddress.ip_address(address)
    networks = [a.interface.network for a in stack.addresses] + [r.network for r in stack.routes]
    return max((network.prefixlen for network in networks if ip in network), default=-1)
