# SPDX-License-Identifier: BSD-3-Clause
"""What makes a loop's TCP and UDP go over stacks: a mixin above a loop that knows the kernel's.

Which connections are ours? A server's, or a datagram endpoint's, when a stack owns its (local)
host; a client's, when a stack reaches the peer by its networks or routes (one that does not own
the address itself, if there is one). 127.0.0.1 and ::1 are the kernel's unless a stack owns them.
All else, `sock=` among it, is the base loop's.

Not here: when a stack gets its turn (loop.py, uv.py); what happens then (the C of this directory).
"""

import asyncio
import errno
import ipaddress
import os
import socket
import ssl
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ustack._aio import DatagramTransport, Dispatcher, Transport
from ustack._native import ffi, format_address, pack_address
from ustack.aio import tls
from ustack.aio.server import Server

if TYPE_CHECKING:
    from ustack.stack import Stack

__all__ = ["StackLoop"]

_Factory = Callable[[], asyncio.BaseProtocol]


class StackLoop(asyncio.AbstractEventLoop):
    """The part of an event loop that knows stacks; mixed into one that knows the kernel.

    Callbacks of ustack's connections are called directly, in the loop's thread, between the
    loop's own turns. The stack's blocking sockets may be used in other threads meanwhile.
    """

    _stacks: "dict[Stack, Dispatcher]"
    _owned: "list[Stack]"
    _ssl_protocol: Any  # the class that speaks TLS between a transport and a protocol

    def _drive(self, dispatcher: Dispatcher) -> None:
        """Give a stack its turns from now on."""
        raise NotImplementedError

    def _undrive(self, dispatcher: Dispatcher) -> None:
        """Give it none any more."""
        raise NotImplementedError

    # ---------------------------------------------------------------------- stacks

    def attach(self, stack: "Stack", *, own: bool = False) -> None:
        """Drive a stack from now on.

        own: close it with the loop; otherwise it stays the caller's to close, after the loop.
        """
        if stack in self._stacks:
            raise ValueError(f"{stack!r} is attached already")
        worker, engine = (int(ffi.cast("uintptr_t", p)) for p in (stack._worker, stack._engine))
        owner = (stack, stack._worker, stack._engine)  # good even if the stack is closed first
        dispatcher = Dispatcher(worker, engine, self, owner)
        self._drive(dispatcher)
        self._stacks[stack] = dispatcher
        if own:
            self._owned.append(stack)

    def detach(self, stack: "Stack") -> None:
        """Drive it no longer; its listeners are closed and its connections reset."""
        dispatcher = self._stacks.pop(stack)
        self._undrive(dispatcher)
        dispatcher.detach()

    def close(self) -> None:
        """Close the loop: detach every stack first."""
        if self.is_running():
            raise RuntimeError("Cannot close a running event loop")
        for stack in list(self._stacks):
            self.detach(stack)
        super().close()
        while self._owned:
            self._owned.pop().close()

    # ------------------------------------------------------------------ connections

    async def create_server(  # type: ignore[override]
        self, protocol_factory: _Factory, host: Any = None, port: Any = None, **options: Any
    ) -> asyncio.AbstractServer:
        """Return a server on an address of a stack, or else on the kernel's.

        Raises OSError(EADDRINUSE) and the like. Of the options, backlog and start_serving mean
        something to ustack, and those of TLS.
        """
        stack = self._owner(host) if options.get("sock") is None else None
        if stack is None:
            server: asyncio.AbstractServer = await super().create_server(
                protocol_factory, host, port, **options
            )
            return server
        factory = tls.of_server(self, protocol_factory, options)
        where = (_to_bytes(host), _to_port(port or 0))
        try:
            listener = self._stacks[stack].bind(*where, factory)
        except OSError as error:
            raise _explained(error, "listen on", host, port) from None
        server = Server(self, listener, options.get("backlog", 100))
        if options.get("start_serving", True):
            await server.start_serving()
        return server

    async def create_connection(  # type: ignore[override]
        self, protocol_factory: _Factory, host: Any = None, port: Any = None, **options: Any
    ) -> tuple[Any, asyncio.BaseProtocol]:
        """Return (transport, protocol) of a new connection, by the stack that reaches the host.

        Raises ConnectionRefusedError, TimeoutError and the like, naming the peer. Of the options,
        local_addr means something to ustack, and those of TLS.
        """
        route = await self._route(host, port) if options.get("sock") is None else None
        if route is None:
            kernels: tuple[Any, asyncio.BaseProtocol]
            kernels = await super().create_connection(protocol_factory, host, port, **options)
            return kernels
        secured = tls.of_client(self, protocol_factory, host, options)
        if secured is None:
            return await self._connect(*route, port, protocol_factory, options)
        transport, _ = await self._connect(*route, port, secured.below, options)
        return await secured.finish(transport)

    async def _connect(
        self, stack: "Stack", address: str, port: Any, factory: _Factory, options: dict[str, Any]
    ) -> tuple[Any, asyncio.BaseProtocol]:
        waiter: asyncio.Future[tuple[Any, asyncio.BaseProtocol]] = self.create_future()
        local = options.get("local_addr")
        source = () if local is None else (_to_bytes(local[0]), _to_port(local[1]))
        try:
            transport = self._stacks[stack].connect(
                _to_bytes(address), _to_port(port), factory, waiter, *source
            )
            try:
                return await waiter
            except asyncio.CancelledError:
                transport.abort()
                raise
        except OSError as error:
            raise _explained(error, "connect to", address, port) from None

    async def start_tls(
        self,
        transport: Any,
        protocol: asyncio.BaseProtocol,
        sslcontext: ssl.SSLContext,
        **options: Any,
    ) -> Any:
        """Secure a connection that is open; return the transport for what follows."""
        if not isinstance(transport, Transport):
            return await super().start_tls(transport, protocol, sslcontext, **options)
        return await tls.start(self, transport, protocol, sslcontext, options)

    # -------------------------------------------------------------------- datagrams

    async def create_datagram_endpoint(  # type: ignore[override]
        self,
        protocol_factory: Callable[[], Any],
        local_addr: tuple[str, int] | None = None,
        remote_addr: tuple[str, int] | None = None,
        **options: Any,
    ) -> tuple[Any, asyncio.BaseProtocol]:
        """Return (transport, protocol) of a UDP socket of a stack, or else of the kernel.

        Raises OSError(EADDRINUSE) and the like. Of the options, allow_broadcast means something to
        ustack; reuse_port raises OSError(ENOPROTOOPT).
        """
        sock = options.get("sock")
        stack, remote = await self._datagram_stack(sock, local_addr, remote_addr)
        if stack is None:
            kernels: tuple[Any, asyncio.BaseProtocol]
            kernels = await super().create_datagram_endpoint(
                protocol_factory, local_addr, remote_addr, **options
            )
            return kernels
        if options.get("reuse_port"):
            raise OSError(errno.ENOPROTOOPT, "a stack has no reuse_port; leave it out")
        broadcast = bool(options.get("allow_broadcast"))
        transport = self._open_datagrams(stack, local_addr, remote, broadcast)
        try:
            protocol = protocol_factory()
        except BaseException:
            transport.close()
            raise
        made = self.create_future()
        self.call_soon(protocol.connection_made, transport)
        self.call_soon(transport._start, protocol)
        self.call_soon(_settle, made)
        try:
            await made
        except BaseException:
            transport.close()
            raise
        return transport, protocol

    async def _datagram_stack(
        self, sock: Any, local: Any, remote: Any
    ) -> "tuple[Stack | None, tuple[str, int] | None]":
        """Return the stack of an endpoint, None for the kernel, and the peer's numeric address."""
        if sock is not None or not (local or remote):
            return None, None
        route = await self._route(remote[0], remote[1], socket.SOCK_DGRAM) if remote else None
        stack = self._owner(local[0]) if local else route and route[0]
        if stack is None or remote is None:
            return stack, None
        host, port = remote[:2]
        found = route[1] if route else (await self._resolve(host, port, socket.SOCK_DGRAM))[0]
        return stack, (found, port)

    def _open_datagrams(
        self, stack: "Stack", local: Any, remote: Any, broadcast: bool
    ) -> DatagramTransport:
        (ours, our_port), (theirs, their_port) = _end(local), _end(remote)
        inet6 = ":" in (local or remote)[0]
        try:
            return self._stacks[stack].datagrams(
                ours, our_port, theirs, their_port, inet6, broadcast
            )
        except OSError as error:
            verb = "bind to" if local else "connect to"
            raise _explained(error, verb, *(local or remote)[:2]) from None

    # ---------------------------------------------------------------- which is ours

    def _owner(self, host: object) -> "Stack | None":
        """Return the stack that owns an address."""
        if not isinstance(host, str):
            return None
        return next((stack for stack in self._stacks if stack.owns(host)), None)

    async def _route(
        self, host: object, port: Any, kind: int = socket.SOCK_STREAM
    ) -> "tuple[Stack, str] | None":
        """Return the stack that reaches a host, and the address that it does so by."""
        if not self._stacks or not isinstance(host, str):
            return None
        for address in await self._resolve(host, port, kind):
            stacks = [stack for stack in self._stacks if stack.reaches(address)]
            if stacks:
                return min(stacks, key=lambda stack: stack.owns(address)), address
        return None

    async def _resolve(self, host: str, port: Any, kind: int) -> list[str]:
        try:
            return [str(ipaddress.ip_address(host))]
        except ValueError:
            found = await self.getaddrinfo(host, port, type=kind)
            return [str(info[4][0]) for info in found]


def _settle(made: asyncio.Future[None]) -> None:
    if not made.done():
        made.set_result(None)


def _to_bytes(host: str) -> bytes:
    return bytes(pack_address(host).b)


def _end(address: Any) -> tuple[bytes | None, int]:
    """Return (host, port) as the engine takes it; nothing for None."""
    return (_to_bytes(address[0]), _to_port(address[1])) if address else (None, 0)


def _to_port(port: Any) -> int:
    number = int(port)
    if not 0 <= number <= 0xFFFF:
        raise OverflowError(f"port must be 0..65535, got {port}")
    return number


def _explained(error: OSError, verb: str, host: str, port: Any) -> OSError:
    """Return the error with what was tried in its text."""
    if error.errno is None:
        return error
    text = os.strerror(error.errno)
    return OSError(error.errno, f"{text}: {verb} {format_address(host, port or 0)}")
