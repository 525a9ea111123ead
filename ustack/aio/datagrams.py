# SPDX-License-Identifier: BSD-3-Clause
"""create_datagram_endpoint(), over a stack's UDP socket or the kernel's.

An endpoint on a wildcard is the kernel's, or ours if the loop's setting says so (`wildcard`): it is
one socket.
"""

import asyncio
import errno
import os
import socket
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ustack._native import format_address
from ustack.aio.ours import check_kind
from ustack.aio.routing import AddrInfo
from ustack.aio.sockets import SocketCalls
from ustack.process import Place

if TYPE_CHECKING:
    from ustack.stack import Stack

__all__ = ["Datagrams"]

_WILDCARDS = ("0.0.0.0", "::")
_REUSEPORT = socket.SOL_SOCKET, socket.SO_REUSEPORT
_Place = tuple[AddrInfo | None, AddrInfo | None]  # local, remote


class Datagrams(SocketCalls):
    """The part of a loop that sends and receives datagrams."""

    async def create_datagram_endpoint(  # type: ignore[override]
        self,
        protocol_factory: Callable[[], Any],
        local_addr: tuple[str, int] | None = None,
        remote_addr: tuple[str, int] | None = None,
        *,
        family: int = 0,
        proto: int = 0,
        flags: int = 0,
        sock: Any = None,
        **options: Any,
    ) -> tuple[Any, asyncio.BaseProtocol]:
        """Return (transport, protocol) of a UDP socket of a stack, or else of the kernel.

        sock: one of either. options: allow_broadcast, and reuse_port, which is for the kernel: on
        a stack a port has one owner. Raises OSError(EADDRINUSE) and the like.
        """
        ours = None
        if self._endpoint(sock) is not None:
            _check_sole(local_addr, remote_addr, family, proto, flags, options)
            check_kind(sock, socket.SOCK_DGRAM)
            ours = sock
        elif sock is None and self._stacks:
            kind = {"family": family, "proto": proto, "flags": flags}
            ours = await self._open_datagrams(local_addr, remote_addr, kind, options)
        if ours is None:
            theirs: tuple[Any, asyncio.BaseProtocol] = await super().create_datagram_endpoint(
                protocol_factory,
                local_addr,
                remote_addr,
                family=family,
                proto=proto,
                flags=flags,
                sock=sock,
                **options,
            )
            return theirs
        try:
            made = await self._start_datagrams(ours, protocol_factory())
            if options.get("reuse_port"):
                made[0].get_extra_info("socket").setsockopt(*_REUSEPORT, 1)
            return made
        except BaseException:
            if sock is None:
                ours.close()
            raise

    async def _open_datagrams(
        self, local: Any, remote: Any, kind: dict[str, int], options: dict[str, Any]
    ) -> Any:
        """Return a socket of a stack for these addresses; None if it is the kernel's to make."""
        if not local and not remote:
            stack = (
                next(iter(self._stacks))
                if self._whose_wildcard(0) is Place.USTACK and kind["family"]
                else None
            )
            return stack.socket(kind["family"], socket.SOCK_DGRAM) if stack else None
        if isinstance(local, str) or isinstance(remote, str):
            return None  # AF_UNIX
        failures: list[OSError] = []
        for place in await self._datagram_places(local, remote, kind):
            found = self._datagram_stack(*place)
            if found is None:
                return None
            try:
                return self._bound(found, *place, options)
            except OSError as error:
                failures.append(error)
        raise failures[0]

    async def _datagram_places(self, local: Any, remote: Any, kind: dict[str, int]) -> list[_Place]:
        """Return the pairs of addresses of one family that the endpoint may have, best first."""
        rows: list[list[AddrInfo]] = []
        for address in (local, remote):
            if address:
                if not isinstance(address, tuple) or len(address) != 2:
                    raise TypeError("2-tuple is expected")
                rows.append(await self._resolve(*address, socket.SOCK_DGRAM, **kind))
        if not (local and remote):
            return [(info, None) if local else (None, info) for info in rows[0]]
        pairs = [(ours, theirs) for ours in rows[0] for theirs in rows[1] if ours[0] == theirs[0]]
        if not pairs:
            raise ValueError("can not get address information")
        return list(pairs)

    def _datagram_stack(self, local: AddrInfo | None, remote: AddrInfo | None) -> "Stack | None":
        if local is not None and local[4][0] not in _WILDCARDS:
            return self._owner(*local[4][:2])
        if remote is not None:
            return self._stack_to(*remote[4][:2])
        whose = self._whose_wildcard(0 if local is None else local[4][1])
        return next(iter(self._stacks)) if whose is Place.USTACK else None

    def _bound(
        self,
        stack: "Stack",
        local: AddrInfo | None,
        remote: AddrInfo | None,
        options: dict[str, Any],
    ) -> Any:
        """Return a new socket with these addresses; OSError says which one cannot be."""
        info = local or remote
        assert info is not None
        sock = stack.socket(info[0], socket.SOCK_DGRAM)
        verb, where = "bind to", info[4]
        try:
            if options.get("allow_broadcast"):
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
            if local is not None:
                sock.bind(local[4])
            if remote is not None:
                verb, where = "connect to", remote[4]
                if where[1] == 0:
                    raise OSError(errno.EINVAL, "")
                sock.connect(where)
        except OSError as error:
            sock.close()
            text = os.strerror(error.errno or 0)
            raise OSError(error.errno, f"{text}: {verb} {format_address(*where[:2])}") from None
        return sock

    async def _start_datagrams(
        self, sock: Any, protocol: asyncio.BaseProtocol
    ) -> tuple[Any, asyncio.BaseProtocol]:
        endpoint = self._endpoint(sock)
        assert endpoint is not None
        self._check_unused(endpoint)
        sock.setblocking(False)
        transport = self._dispatcher_of(endpoint).adopt_datagrams(endpoint._handle, sock)
        self._users[endpoint] = transport
        made = self.create_future()
        self.call_soon(protocol.connection_made, transport)  # type: ignore[arg-type]
        self.call_soon(transport._start, protocol)
        self.call_soon(_settle, made)
        try:
            await made
        except BaseException:
            transport.close()
            raise
        return transport, protocol


def _settle(made: asyncio.Future[None]) -> None:
    if not made.done():
        made.set_result(None)


def _check_sole(*others: Any) -> None:
    """Raise ValueError when something is asked of a socket that is made already."""
    *values, options = others
    if any(values) or any(options.values()):
        raise ValueError("socket modifier keyword arguments can not be used when sock is specified")
