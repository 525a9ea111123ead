# SPDX-License-Identifier: BSD-3-Clause
"""create_datagram_endpoint(), over a stack's UDP socket, the kernel's, or both.

An endpoint on a wildcard, or without any address, is every stack's of the loop and the kernel's, on
one port (wild.py), unless the loop's setting says otherwise (`wildcard`).
"""

import asyncio
import errno
import functools
import itertools
import os
import socket
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ustack._native import format_address
from ustack.aio.ours import check_kind, twin_of
from ustack.aio.routing import AddrInfo
from ustack.aio.sockets import SocketCalls
from ustack.aio.wild import Half, WildDatagrams
from ustack.process import Place

if TYPE_CHECKING:
    from ustack.stack import Stack

__all__ = ["Datagrams"]

_WILDCARDS = ("0.0.0.0", "::")
_WILD: dict[int, str] = {socket.AF_INET: "0.0.0.0", socket.AF_INET6: "::"}
_TRIES = 8  # ports that the kernel picks, until one is free on the stacks as well
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
        """Return (transport, protocol) of a UDP socket of a stack, of the kernel, or of both.

        sock: one of either. options: allow_broadcast, and reuse_port, which is for the kernel: on
        a stack a port has one owner. Raises OSError(EADDRINUSE) and the like.
        """
        ours, twin = None, twin_of(sock)
        if self._endpoint(sock) is not None:
            _check_sole(local_addr, remote_addr, family, proto, flags, options)
            check_kind(sock, socket.SOCK_DGRAM)
            ours = sock
        elif sock is None and self._stacks:
            kind = {"family": family, "proto": proto, "flags": flags}
            places = await self._datagram_places(local_addr, remote_addr, kind)
            wild = self._wild_place(places)
            if wild is not None:
                return await self._open_wild(protocol_factory, wild, options)
            ours = self._open_datagrams(places, options)
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
            if twin is not None:
                return await self._open_wild(protocol_factory, None, {}, ours, twin)
            return await self._start_datagrams(ours, protocol_factory(), options)
        except BaseException:
            if sock is None:
                ours.close()
            raise

    def _open_datagrams(self, places: list[_Place], options: dict[str, Any]) -> Any:
        """Return a socket of a stack for the first of these that can be had; None: the kernel's."""
        failures: list[OSError] = []
        for place in places:
            found = self._datagram_stack(*place)
            if found is None:
                return None
            try:
                return self._bound(found, *place, options)
            except OSError as error:
                failures.append(error)
        if failures:
            raise failures[0]
        return None

    # ---------------------------------------------------------------------- every address

    def _wild_place(self, places: list[_Place]) -> AddrInfo | None:
        """Return the wildcard that several sockets are for; None if it is one's alone."""
        if not places or places[0][1] is not None:
            return None
        local = places[0][0]
        if local is None or local[4][0] not in _WILDCARDS:
            return None
        whose = self._whose_wildcard(local[4][1])
        several = whose is Place.BOTH or (whose is Place.USTACK and len(self._stacks) > 1)
        return local if several else None

    async def _open_wild(
        self,
        factory: Callable[[], Any],
        place: AddrInfo | None,
        options: dict[str, Any],
        sock: Any = None,
        twin: Any = None,
    ) -> tuple[Any, asyncio.BaseProtocol]:
        """Return (transport, protocol) over all sockets of a wildcard, or over the two given."""
        protocol = factory()
        whole = WildDatagrams(protocol, self._stack_to)
        try:
            if place is None:
                half = functools.partial(Half, whole, None)
                await super().create_datagram_endpoint(half, sock=twin)
                await self._start_datagrams(sock, Half(whole, sock.endpoint.stack), options)
            else:
                await self._bind_wild(whole, place, options)
            made = self.create_future()
            self.call_soon(protocol.connection_made, whole)
            self.call_soon(whole._begin)
            self.call_soon(_settle, made)
            await made
        except BaseException:
            whole.close()
            raise
        return whole, protocol

    async def _bind_wild(
        self, whole: WildDatagrams, place: AddrInfo, options: dict[str, Any]
    ) -> None:
        host, wanted = place[4][:2]
        is_kernels = self._whose_wildcard(wanted) is Place.BOTH
        half = functools.partial(Half, whole, None)
        for turn in itertools.count(1):
            port, socks = wanted, []
            if is_kernels:
                theirs, _ = await super().create_datagram_endpoint(
                    half, (host, wanted), family=place[0], **options
                )
                port = theirs.get_extra_info("sockname")[1]
            try:
                for stack in self._stacks:
                    info = (*place[:4], (host, port, *place[4][2:]))
                    socks.append(self._bound(stack, info, None, options))
                    port = socks[-1].getsockname()[1]
                break
            except OSError as error:
                for sock in socks:
                    sock.close()
                whole.close()
                again = wanted == 0 and is_kernels and error.errno == errno.EADDRINUSE
                if not again or turn == _TRIES:
                    raise
        try:
            for sock in socks:
                await self._start_datagrams(sock, Half(whole, sock.stack), options)
        except BaseException:
            for sock in socks:
                sock.close()
            raise

    async def _datagram_places(self, local: Any, remote: Any, kind: dict[str, int]) -> list[_Place]:
        """Return the pairs of addresses of one family that the endpoint may have, best first."""
        if not (local or remote):
            host, kinds = _WILD.get(kind["family"]), (kind["family"], socket.SOCK_DGRAM)
            return [] if host is None else [((*kinds, kind["proto"], "", (host, 0)), None)]
        if isinstance(local, str) or isinstance(remote, str):
            return []  # AF_UNIX
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
        self, sock: Any, protocol: asyncio.BaseProtocol, options: dict[str, Any]
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
            if options.get("reuse_port"):
                transport.get_extra_info("socket").setsockopt(*_REUSEPORT, 1)
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
