# SPDX-License-Identifier: BSD-3-Clause
"""TLS on a stack's connections: the base loop's own SSL protocol, between transport and app.

uvloop's, in C, under uvloop; asyncio's otherwise (`StackLoop._ssl_protocol`).
"""

import asyncio
import ssl
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ustack.aio.network import StackLoop

__all__ = ["Secured", "of_client", "of_server", "start"]

_Factory = Callable[[], asyncio.BaseProtocol]
_TIMEOUTS = ("ssl_handshake_timeout", "ssl_shutdown_timeout")


def of_server(loop: "StackLoop", factory: _Factory, options: dict[str, Any]) -> _Factory:
    """Return the factory of what a server puts on each connection: the app's, or TLS around it."""
    context, timeouts = options.get("ssl"), _timeouts(options)
    if context is None:
        return factory
    if not isinstance(context, ssl.SSLContext):
        raise TypeError(f"ssl must be an SSLContext or None, got {context!r}")
    return lambda: _ssl_protocol(loop, factory(), context, None, timeouts, server_side=True)


def of_client(
    loop: "StackLoop", factory: _Factory, host: str, options: dict[str, Any]
) -> "Secured | None":
    """Return a client's TLS, None if it wants none."""
    context, name = options.get("ssl"), options.get("server_hostname")
    timeouts = _timeouts(options)
    if not context:
        if name is not None:
            raise ValueError("server_hostname is only meaningful with ssl")
        return None
    if context is True:
        context = ssl.create_default_context()
    return Secured(loop, factory, context, host if name is None else name, timeouts)


class Secured:
    """One client connection that TLS goes over."""

    def __init__(
        self,
        loop: "StackLoop",
        factory: _Factory,
        context: ssl.SSLContext,
        server_hostname: str,
        timeouts: dict[str, Any],
    ) -> None:
        """server_hostname: what the certificate must be for; "" for no name."""
        self._done: asyncio.Future[None] = loop.create_future()
        self._protocol = factory()
        self._ssl = _ssl_protocol(
            loop,
            self._protocol,
            context,
            self._done,
            timeouts,
            server_side=False,
            server_hostname=server_hostname or None,
        )

    def below(self) -> asyncio.BaseProtocol:
        """Return the protocol that the connection itself gets."""
        protocol: asyncio.BaseProtocol = self._ssl
        return protocol

    async def finish(self, transport: Any) -> tuple[Any, asyncio.BaseProtocol]:
        """Wait for the handshake; (transport, protocol) above TLS."""
        await _handshake(self._done, transport)
        return self._ssl._get_app_transport(), self._protocol


async def start(
    loop: "StackLoop",
    transport: Any,
    protocol: asyncio.BaseProtocol,
    context: ssl.SSLContext,
    options: dict[str, Any],
) -> Any:
    """Put TLS on an open connection, as loop.start_tls does; the transport above it."""
    if not isinstance(context, ssl.SSLContext):
        raise TypeError(f"sslcontext must be an SSLContext, got {context!r}")
    done: asyncio.Future[None] = loop.create_future()
    above = _ssl_protocol(
        loop,
        protocol,
        context,
        done,
        _timeouts(options),
        server_side=options.get("server_side", False),
        server_hostname=options.get("server_hostname"),
        call_connection_made=False,
    )
    transport.pause_reading()
    transport.set_protocol(above)
    loop.call_soon(above.connection_made, transport)
    loop.call_soon(transport.resume_reading)
    await _handshake(done, transport)
    return above._get_app_transport()


async def _handshake(done: asyncio.Future[None], transport: Any) -> None:
    try:
        await done
    except BaseException:
        transport.close()
        raise


def _ssl_protocol(
    loop: "StackLoop",
    protocol: asyncio.BaseProtocol,
    context: ssl.SSLContext,
    waiter: asyncio.Future[None] | None,
    timeouts: dict[str, Any],
    **options: Any,
) -> Any:
    return loop._ssl_protocol(loop, protocol, context, waiter, **options, **timeouts)


def _timeouts(options: dict[str, Any]) -> dict[str, Any]:
    given = {name: options[name] for name in _TIMEOUTS if options.get(name) is not None}
    if given and not options.get("ssl") and "server_side" not in options:
        raise ValueError(f"{next(iter(given))} is only meaningful with ssl")
    return given
