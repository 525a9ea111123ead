# SPDX-License-Identifier: BSD-3-Clause
"""A datagram endpoint on every address: one transport over sockets of stacks and the kernel's.

All are bound to one port. The protocol hears of each; an answer goes out where the datagram that
it answers came in, and what answers nothing goes by whoever reaches its address.

Always: the protocol's connection_made() comes before all else, and its connection_lost() once,
after the last half's.
Not here: who binds the sockets, and whether there are several (datagrams.py).
"""

import asyncio
import ipaddress
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ustack.stack import Stack

__all__ = ["Half", "WildDatagrams"]

_REMEMBERED = 4096  # sources, of which the oldest are forgotten

_Address = tuple[Any, ...]


class Half(asyncio.DatagramProtocol):
    """The protocol of one of the sockets: all is the whole's to hear."""

    transport: Any = None

    def __init__(self, whole: "WildDatagrams", stack: "Stack | None") -> None:
        """stack: whose socket it is; None: the kernel's."""
        self._whole = whole
        self.stack = stack

    def connection_made(self, transport: Any) -> None:
        """Be one of the whole's."""
        self.transport = transport
        self._whole._halves.append(self)

    def datagram_received(self, data: bytes, addr: _Address) -> None:
        """Hand it on, and remember where it came in."""
        self._whole._received(self, data, addr)

    def error_received(self, exc: Exception) -> None:
        """Hand it on."""
        self._whole._protocol.error_received(exc)

    def pause_writing(self) -> None:
        """Hand it on."""
        self._whole._protocol.pause_writing()

    def resume_writing(self) -> None:
        """Hand it on."""
        self._whole._protocol.resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        """Be none of the whole's any more."""
        self._whole._half_lost(self, exc)


class WildDatagrams(asyncio.DatagramTransport):
    """Datagrams to and from whoever reaches us, by the kernel or by a stack."""

    def __init__(self, protocol: Any, stack_to: Callable[[str, int], "Stack | None"]) -> None:
        """stack_to: says which stack reaches a numeric address and port; None: the kernel."""
        super().__init__()
        self._protocol = protocol
        self._stack_to = stack_to
        self._halves: list[Half] = []
        self._came_by: dict[_Address, Half] = {}
        self._early: list[tuple[Half, bytes, _Address]] | None = []  # None: it has begun
        self._lost = False

    def _begin(self) -> None:
        """Let the protocol hear from now on."""
        early, self._early = self._early or [], None
        for one in early:
            self._received(*one)
        if not self._halves:
            self._end(None)  # it was closed before

    def _received(self, half: Half, data: bytes, addr: _Address) -> None:
        if self._early is not None:
            self._early.append((half, data, addr))
            return
        if self._came_by.get(addr) is not half:
            if len(self._came_by) >= _REMEMBERED:
                del self._came_by[next(iter(self._came_by))]
            self._came_by[addr] = half
        self._protocol.datagram_received(data, addr)

    def _half_lost(self, half: Half, exc: Exception | None) -> None:
        if half in self._halves:
            self._halves.remove(half)
        self._came_by = {a: h for a, h in self._came_by.items() if h is not half}
        if not self._halves and self._early is None:
            self._end(exc)

    def _end(self, exc: Exception | None) -> None:
        if not self._lost:
            self._lost = True
            self._protocol.connection_lost(exc)

    def _half_to(self, addr: Any) -> Half:
        """Return the half that has heard of an address, or that reaches it."""
        try:
            if (known := self._came_by.get(addr)) is not None:
                return known
            ip = ipaddress.ip_address(addr[0])
            mapped = ip.ipv4_mapped if isinstance(ip, ipaddress.IPv6Address) else None
            stack = self._stack_to(str(mapped or ip), addr[1])
        except (TypeError, ValueError, IndexError):
            stack = None  # a name, or nothing that can be: the kernel knows what to say
        return next((half for half in self._halves if half.stack is stack), self._halves[0])

    # ------------------------------------------------------------------------- asyncio's

    def sendto(self, data: Any, addr: Any = None) -> None:
        """Send a datagram to addr, by the half that has heard of it, or that reaches it."""
        if self._halves:
            self._half_to(addr).transport.sendto(data, addr)

    def close(self) -> None:
        """Close all sockets; connection_lost(None) follows."""
        for half in list(self._halves):
            half.transport.close()
        if self._early is not None:
            self._halves.clear()  # nobody is to hear of it

    def abort(self) -> None:
        """Do so without sending what is buffered."""
        for half in list(self._halves):
            half.transport.abort()

    def is_closing(self) -> bool:
        """Return whether it was closed."""
        return all(half.transport.is_closing() for half in self._halves)

    def get_write_buffer_size(self) -> int:
        """Return the bytes that wait for the kernel; a stack keeps none waiting."""
        return sum(half.transport.get_write_buffer_size() for half in self._halves)

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        """Give later callbacks to another protocol."""
        self._protocol = protocol

    def get_protocol(self) -> asyncio.BaseProtocol:
        """Return the protocol."""
        found: asyncio.BaseProtocol = self._protocol
        return found

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """Return what the first socket says, which is the kernel's if it has one.

        "socket": a view of all, whose options are set on each.
        """
        if not self._halves:
            return default
        first = self._halves[0].transport.get_extra_info(name, default)
        if name != "socket" or first is default:
            return first
        return _Sockets([half.transport.get_extra_info(name) for half in self._halves])

    def __repr__(self) -> str:
        return f"<ustack.aio.WildDatagrams over {[half.transport for half in self._halves]}>"


class _Sockets:
    """The sockets of an endpoint: what the first says; what is set is set on all."""

    def __init__(self, socks: list[Any]) -> None:
        self._socks = socks

    def setsockopt(self, *args: Any) -> None:
        """Set an option of each; OSError(ENOPROTOOPT) if one of them lacks it."""
        for sock in self._socks:
            sock.setsockopt(*args)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._socks[0], name)
