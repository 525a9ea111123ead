# SPDX-License-Identifier: BSD-3-Clause
"""Clients: create_connection(), by whichever stack reaches the peer, or by the kernel.

A peer of one address is connected to directly. Of several, each is tried in turn, by the stack or
the kernel that it is for, or with happy_eyeballs_delay each after that many seconds (RFC 8305), and
the first that answers is taken.
"""

import asyncio
import functools
import ipaddress
import itertools
import os
import socket
from asyncio import staggered
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from ustack._native import format_address, pack_address
from ustack.aio import tls
from ustack.aio.ours import check_kind
from ustack.aio.routing import AddrInfo
from ustack.aio.sockets import SocketCalls

if TYPE_CHECKING:
    from ustack.stack import Stack

__all__ = ["Connecting"]

_Factory = Callable[[], asyncio.BaseProtocol]
_Made = tuple[Any, asyncio.BaseProtocol]


class Connecting(SocketCalls):
    """The part of a loop that opens connections."""

    async def create_connection(  # type: ignore[override]
        self,
        protocol_factory: _Factory,
        host: Any = None,
        port: Any = None,
        *,
        family: int = 0,
        proto: int = 0,
        flags: int = 0,
        sock: Any = None,
        local_addr: tuple[str, int] | None = None,
        happy_eyeballs_delay: float | None = None,
        interleave: int | None = None,
        all_errors: bool = False,
        **secure: Any,
    ) -> _Made:
        """Return (transport, protocol) of a new connection, by the stack that reaches the host.

        sock: one that is connected, of a stack or the kernel. secure: ssl, server_hostname,
        ssl_handshake_timeout and ssl_shutdown_timeout. Raises ConnectionRefusedError, TimeoutError
        and the like, naming the peer; an ExceptionGroup of all with all_errors.
        """
        tls.check_client(secure, host)
        if sock is not None or host is None:
            if self._endpoint(sock) is None or host is not None or port is not None:
                return await self._kernels_connection(
                    protocol_factory, host, port, family, proto, flags, sock, local_addr, secure
                )
            check_kind(sock, socket.SOCK_STREAM)
            return await self._adopt(sock, protocol_factory, **secure)
        options = {"family": family, "proto": proto, "flags": flags}
        infos = await self._resolve(host, port, socket.SOCK_STREAM, **options)
        infos = [self._nearer(info) for info in infos]
        if len(infos) == 1 and local_addr is None:
            stack = self._stack_to(*infos[0][4][:2])
            if stack is not None:
                made = self._connect(stack, infos[0], protocol_factory, host, secure)
                return await _grouped(made, all_errors)
        if local_addr is None and not any(self._stack_to(*info[4][:2]) for info in infos):
            if happy_eyeballs_delay is None and not all_errors and _is_number(host):
                return await self._kernels_connection(
                    protocol_factory, host, port, family, proto, flags, None, None, secure
                )
        locals_ = await self._locals(local_addr, infos, options)
        if interleave is None and happy_eyeballs_delay is not None:
            interleave = 1
        if interleave:
            infos = _interleaved(infos, interleave)
        found = await self._first_of(infos, locals_, happy_eyeballs_delay, all_errors)
        if secure.get("ssl") and secure.get("server_hostname") is None:
            secure["server_hostname"] = host
        return await self._over(found, protocol_factory, secure)

    async def connect_accepted_socket(  # type: ignore[override]
        self, protocol_factory: _Factory, sock: Any, **secure: Any
    ) -> _Made:
        """Return (transport, protocol) of a connection that was accepted outside of the loop.

        secure: ssl, ssl_handshake_timeout and ssl_shutdown_timeout.
        """
        if self._endpoint(sock) is None:
            made: _Made = await super().connect_accepted_socket(protocol_factory, sock, **secure)
            return made
        tls.check_server(secure, "connect_accepted_socket")
        check_kind(sock, socket.SOCK_STREAM)
        context = secure.pop("ssl", None)
        if context is None:
            return await self._start(sock, protocol_factory())
        secured = tls.Secured(self, protocol_factory, context, None, secure, server_side=True)
        transport, _ = await self._start(sock, secured.below())
        return await secured.finish(transport)

    async def _kernels_connection(
        self,
        factory: _Factory,
        host: Any,
        port: Any,
        family: int,
        proto: int,
        flags: int,
        sock: Any,
        local_addr: Any,
        secure: dict[str, Any],
    ) -> _Made:
        made: _Made = await super().create_connection(
            factory,
            host,
            port,
            family=family,
            proto=proto,
            flags=flags,
            sock=sock,
            local_addr=local_addr,
            **secure,
        )
        return made

    # ------------------------------------------------------------------ one address

    async def _connect(
        self, stack: "Stack", info: AddrInfo, factory: _Factory, host: Any, secure: dict[str, Any]
    ) -> _Made:
        """Connect to the only address that there is: in C, without a socket in between."""
        secured = tls.of_client(self, factory, host, secure)
        if secured is None:
            return await self._open(stack, info, factory)
        transport, _ = await self._open(stack, info, secured.below)
        return await secured.finish(transport)

    async def _open(self, stack: "Stack", info: AddrInfo, factory: _Factory) -> _Made:
        waiter: asyncio.Future[_Made] = self.create_future()
        host, port = info[4][:2]
        try:
            transport = self._stacks[stack].connect(
                bytes(pack_address(host).b), _port(port), factory, waiter
            )
            try:
                return await waiter
            except asyncio.CancelledError:
                transport.abort()
                raise
        except OSError as error:
            if error.errno is None:
                raise
            text = os.strerror(error.errno)
            where = format_address(host, port)
            raise OSError(error.errno, f"{text}: connect to {where}") from None

    # ------------------------------------------------------------- several addresses

    async def _first_of(
        self,
        infos: Sequence[AddrInfo],
        locals_: Sequence[AddrInfo] | None,
        delay: float | None,
        all_errors: bool,
    ) -> Any:
        """Return a socket that is connected to the first address that answers."""
        errors: list[Exception] = []
        tries = [functools.partial(self._try, info, locals_, errors) for info in infos]
        if delay is None:
            for attempt in tries:
                try:
                    return await attempt()
                except OSError:
                    pass
        else:
            found, _, raised = await staggered.staggered_race(tries, delay)
            if found is not None:
                return found
            for exc in raised:
                if exc is not None and not isinstance(exc, OSError):
                    raise exc
        raise _merged(errors, all_errors)

    async def _try(
        self, info: AddrInfo, locals_: Sequence[AddrInfo] | None, errors: list[Exception]
    ) -> Any:
        """Return a socket that is connected to one address; what fails is noted, too."""
        stack = self._stack_to(*info[4][:2])
        try:
            if stack is None:
                return await self._kernels_socket(info, locals_)
            sock = stack.socket(info[0])
            return await _connected(sock, info, locals_, self._connect_socket)
        except OSError as error:
            errors.append(error)
            raise

    async def _kernels_socket(self, info: AddrInfo, locals_: Sequence[AddrInfo] | None) -> Any:
        """Return a socket of the kernel that is connected to one address."""
        sock = socket.socket(info[0], socket.SOCK_STREAM, info[2])
        return await _connected(sock, info, locals_, super().sock_connect)

    async def _locals(
        self, local_addr: Any, infos: Sequence[AddrInfo], options: dict[str, Any]
    ) -> Sequence[AddrInfo] | None:
        if local_addr is None:
            return None
        host, port = local_addr
        return await self._resolve(host, port, socket.SOCK_STREAM, **options)

    # -------------------------------------------------------------- a socket that is

    async def _over(self, sock: Any, factory: _Factory, secure: dict[str, Any]) -> _Made:
        """Return (transport, protocol) over a socket that is connected."""
        if self._endpoint(sock) is not None:
            return await self._adopt(sock, factory, **secure)
        made: _Made = await super().create_connection(factory, sock=sock, **secure)
        return made

    async def _adopt(self, sock: Any, factory: _Factory, **secure: Any) -> _Made:
        """The same, over a stack's."""
        secured = tls.of_client(self, factory, "", secure)
        if secured is None:
            return await self._start(sock, factory())
        transport, _ = await self._start(sock, secured.below())
        return await secured.finish(transport)

    async def _start(self, sock: Any, protocol: asyncio.BaseProtocol) -> _Made:
        endpoint = self._endpoint(sock)
        assert endpoint is not None
        self._check_unused(endpoint)
        sock.setblocking(False)
        transport = self._dispatcher_of(endpoint).adopt(endpoint._handle, sock)
        self._users[endpoint] = transport
        transport._start(protocol)
        made = self.create_future()
        self.call_soon(protocol.connection_made, transport)  # type: ignore[arg-type]
        self.call_soon(transport.resume_reading)
        self.call_soon(_settle, made)
        try:
            await made
        except BaseException:
            transport.close()
            raise
        return transport, protocol


async def _connected(
    sock: Any, info: AddrInfo, locals_: Sequence[AddrInfo] | None, connect: Callable[..., Any]
) -> Any:
    """Return the socket, bound and connected; it is closed if that fails."""
    try:
        sock.setblocking(False)
        if locals_ is not None:
            _bind(sock, info[0], locals_)
        await connect(sock, info[4])
    except BaseException:
        sock.close()
        raise
    return sock


def _is_number(host: Any) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _settle(made: asyncio.Future[None]) -> None:
    if not made.done():
        made.set_result(None)


def _port(port: Any) -> int:
    number = int(port)
    if not 0 <= number <= 0xFFFF:
        raise OverflowError(f"port must be 0..65535, got {port}")
    return number


def _bind(sock: Any, family: int, locals_: Sequence[AddrInfo]) -> None:
    """Bind a socket to the first local address of its family that can be had."""
    failure: OSError | None = None
    for info in locals_:
        if info[0] == family:
            try:
                sock.bind(info[4])
                return
            except OSError as error:
                text = f"error while attempting to bind on address {info[4]!r}: {error.strerror}"
                failure = failure or OSError(error.errno, text)
    raise failure or OSError(f"no matching local address with {family=} found")


async def _grouped(made: Any, all_errors: bool) -> _Made:
    """Await a connection; with all_errors its failure is a group of one."""
    try:
        found: _Made = await made
        return found
    except OSError as error:
        if all_errors:
            raise _merged([error], True) from None
        raise


def _merged(errors: list[Exception], all_errors: bool) -> Exception:
    """Return what to raise for the failures of all addresses."""
    if all_errors:
        return ExceptionGroup("create_connection failed", errors)
    if len({str(error) for error in errors}) == 1:
        return errors[0]
    return OSError(f"Multiple exceptions: {', '.join(map(str, errors))}")


def _interleaved(infos: Sequence[AddrInfo], first: int) -> list[AddrInfo]:
    """Return the addresses with families taking turns, after `first` of the first family (8305 4).

    Families come in the order in which they first do.
    """
    families: dict[int, list[AddrInfo]] = {}
    for info in infos:
        families.setdefault(info[0], []).append(info)
    rows = list(families.values())
    head, rows[0] = rows[0][: first - 1], rows[0][first - 1 :]
    turns = itertools.chain.from_iterable(itertools.zip_longest(*rows))
    return head + [info for info in turns if info is not None]
