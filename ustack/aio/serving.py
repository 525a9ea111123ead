# SPDX-License-Identifier: BSD-3-Clause
"""Servers: create_server(), on addresses of stacks, of the kernel, or both.

On a wildcard, or with no host, a server listens on every stack of the loop, and on the kernel, too,
at the same port, unless the loop's setting says otherwise (`wildcard`). As asyncio has it, a socket
on :: takes IPv6 alone; no host means both versions, each by a socket of its own.
"""

import asyncio
import errno
import functools
import itertools
import os
import socket
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from ustack.aio import tls
from ustack.aio.ours import check_kind, twin_of
from ustack.aio.routing import AddrInfo
from ustack.aio.server import Server
from ustack.aio.sockets import SocketCalls
from ustack.process import Place

if TYPE_CHECKING:
    from ustack._aio import Listener
    from ustack.stack import Stack

__all__ = ["Serving"]

_Factory = Callable[[], asyncio.BaseProtocol]
_WILDCARDS = ("0.0.0.0", "::")
_TRIES = 8  # ports that the kernel picks, until one is free on the stacks as well


class Serving(SocketCalls):
    """The part of a loop that serves."""

    async def create_server(  # type: ignore[override]
        self,
        protocol_factory: _Factory,
        host: Any = None,
        port: Any = None,
        *,
        family: int = socket.AF_UNSPEC,
        flags: int = socket.AI_PASSIVE,
        sock: Any = None,
        backlog: int = 100,
        keep_alive: bool | None = None,
        start_serving: bool = True,
        reuse_address: bool | None = None,
        reuse_port: bool | None = None,
        **secure: Any,
    ) -> asyncio.AbstractServer:
        """Return a server on addresses of stacks, of the kernel, or both.

        host: a name, an address, several of them, or None for all. sock: one that is bound.
        secure: ssl, ssl_handshake_timeout and ssl_shutdown_timeout. reuse_address and reuse_port
        are for the kernel: a stack lets an address be taken again at once, and by one only.

        Raises OSError(EADDRINUSE) and the like.
        """
        tls.check_server(secure)
        theirs = {"family": family, "flags": flags, "backlog": backlog, **secure}
        theirs |= {"reuse_address": reuse_address, "reuse_port": reuse_port}
        server = Server(self, backlog)
        try:
            factory = tls.of_server(self, protocol_factory, secure)
            if self._endpoint(sock) is not None:
                if host is not None or port is not None:
                    raise ValueError("host/port and sock can not be specified at the same time")
                server.add(self._adopt_listener(sock, factory), sock)
                twin = twin_of(sock)
                if twin is not None:
                    theirs |= {"sock": twin, "start_serving": False}
                    server.add_kernels(await super().create_server(protocol_factory, **theirs))
            else:
                plan = None
                if sock is None and (host is not None or port is not None) and self._stacks:
                    plan = self._plan(await self._places(host, port, family, flags))
                if plan is None or plan.kernels_alone:
                    server.add_kernels(
                        await super().create_server(
                            protocol_factory, host, port, sock=sock, start_serving=False, **theirs
                        )
                    )
                else:
                    make = functools.partial(super().create_server, protocol_factory, **theirs)
                    await self._bind_all(server, plan, factory, make)
            if keep_alive:
                server.turn_on(socket.SO_KEEPALIVE)
            if reuse_port:
                server.turn_on(socket.SO_REUSEPORT)
            if start_serving:
                await server.start_serving()
        except BaseException:
            server.close()
            raise
        return server.alone

    async def _places(self, host: Any, port: Any, family: int, flags: int) -> list[AddrInfo]:
        """Return the addresses that a server is for, each once."""
        hosts = [host]
        if not isinstance(host, str | bytes) and isinstance(host, Iterable):
            hosts = list(host)
        options: dict[str, Any] = {"family": family, "flags": flags}
        found: dict[AddrInfo, None] = {}
        for one in hosts:
            infos = await self._resolve(one or None, port or 0, socket.SOCK_STREAM, **options)
            found.update(dict.fromkeys(infos))
        return list(found)

    def _plan(self, infos: list[AddrInfo]) -> "_Plan":
        """Say whose each address is."""
        plan = _Plan(infos[0][4][1])
        for info in infos:
            host, port = info[4][:2]
            stack = None
            if host in _WILDCARDS:
                whose = self._whose_wildcard(port)
            else:
                stack = self._owner(host, port)
                whose = Place.KERNEL if stack is None else Place.USTACK
            if stack is not None:
                plan.ours.append((stack, info[4]))
            elif whose is not Place.KERNEL:
                plan.wild.append(host)
            if whose is not Place.USTACK:
                plan.kernels.append(host)
        return plan

    async def _bind_all(
        self, server: Server, plan: "_Plan", factory: _Factory, kernels: Callable[..., Any]
    ) -> None:
        for stack, address in plan.ours:
            server.add(self._listen(stack, address, factory))
        for turn in itertools.count(1):
            port, added = plan.port, []
            if plan.kernels:
                theirs = await kernels(plan.kernels, port, start_serving=False)
                port = port or theirs.sockets[0].getsockname()[1]
            try:
                for stack, host in itertools.product(self._stacks, plan.wild):
                    added.append(self._listen(stack, (host, port), factory))
                    port = added[-1].sockname[1]
                break
            except OSError as error:
                for listener in added:
                    listener.close()
                if plan.kernels:
                    theirs.close()
                again = plan.port == 0 and plan.kernels and error.errno == errno.EADDRINUSE
                if not again or turn == _TRIES:
                    raise
        for listener in added:
            server.add(listener)
        if plan.kernels:
            server.add_kernels(theirs)

    def _listen(self, stack: "Stack", address: tuple[Any, ...], factory: _Factory) -> "Listener":
        """Return a listener on an address of a stack, which does not listen yet."""
        sock = stack.socket(socket.AF_INET6 if ":" in address[0] else socket.AF_INET)
        try:
            if sock.family == socket.AF_INET6:
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind(address)
        except OSError as error:
            sock.close()
            text = os.strerror(error.errno or 0).lower()
            where = tuple(address[:2])
            raise OSError(
                error.errno, f"error while attempting to bind on address {where}: {text}"
            ) from None
        try:
            return self._adopt_listener(sock, factory)
        except BaseException:
            sock.close()
            raise

    def _adopt_listener(self, sock: Any, factory: _Factory) -> "Listener":
        check_kind(sock, socket.SOCK_STREAM)
        endpoint = self._endpoint(sock)
        assert endpoint is not None
        self._check_unused(endpoint)
        sock.setblocking(False)
        listener = self._dispatcher_of(endpoint).adopt_listener(endpoint._handle, sock, factory)
        self._users[endpoint] = listener
        return listener


class _Plan:
    """Where a server listens: on addresses of stacks, on all of every stack, on the kernel's."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.ours: list[tuple[Stack, tuple[Any, ...]]] = []
        self.wild: list[str] = []
        self.kernels: list[str] = []

    @property
    def kernels_alone(self) -> bool:
        """Whether no stack has a part in it."""
        return not self.ours and not self.wild
