# SPDX-License-Identifier: BSD-3-Clause
"""TLS on a stack's connections: the base loop's own SSL protocol, between transport and app.

uvloop's, in C, under uvloop; asyncio's otherwise (`Routing._ssl_protocol`).
"""

import asyncio
import functools
import ssl
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ustack.aio.routing import Routing

__all__ = ["Secured", "check_client", "check_server", "of_client", "of_server", "start"]

_Factory = Callable[[], asyncio.BaseProtocol]
_TIMEOUTS = ("ssl_handshake_timeout", "ssl_shutdown_timeout")


def check_client(options: dict[str, Any], host: Any) -> None:
    """Raise TypeError or ValueError, as asyncio does, for what makes no sense of a client's TLS."""
    _check_names(options, "create_connection", "ssl", "server_hostname", *_TIMEOUTS)
    name, secured = options.get("server_hostname"), options.get("ssl")
    if name is not None and not secured:
        raise ValueError("server_hostname is only meaningful with ssl")
    if name is None and secured and not host:
        raise ValueError("You must set server_hostname when using ssl without a host")
    _timeouts(options)


def check_server(options: dict[str, Any], what: str = "create_server") -> None:
    """Do the same for a server's."""
    _check_names(options, what, "ssl", *_TIMEOUTS)
    if isinstance(options.get("ssl"), bool):
        raise TypeError("ssl argument must be an SSLContext or None")
    if not isinstance(options.get("ssl"), ssl.SSLContext | None):
        raise TypeError(f"ssl must be an SSLContext or None, got {options['ssl']!r}")
    _timeouts(options)


def _check_names(options: dict[str, Any], what: str, *known: str) -> None:
    for name in options:
        if name not in known:
            raise TypeError(f"{what}() got an unexpected keyword argument {name!r}")


def of_server(loop: "Routing", factory: _Factory, options: dict[str, Any]) -> _Factory:
    """Return the factory of what a server puts on each connection: the app's, or TLS around it."""
    context, timeouts = options.get("ssl"), _timeouts(options)
    if context is None:
        return factory
    return lambda: _ssl_protocol(loop, factory(), context, None, timeouts, server_side=True)


def of_client(
    loop: "Routing", factory: _Factory, host: str, options: dict[str, Any]
) -> "Secured | None":
    """Return a client's TLS, None if it wants none."""
    context, name = options.get("ssl"), options.get("server_hostname")
    timeouts = _timeouts(options)
    if not context:
        return None
    name = host if name is None else name
    if context is True:
        context = ssl.create_default_context()
        if not name:
            context.check_hostname = False
    return Secured(loop, factory, context, name, timeouts)


class Secured:
    """One connection that TLS goes over."""

    def __init__(
        self,
        loop: "Routing",
        factory: _Factory,
        context: ssl.SSLContext,
        server_hostname: str | None,
        timeouts: dict[str, Any],
        *,
        server_side: bool = False,
    ) -> None:
        """server_hostname: what a server's certificate must be for; "" or None for no name."""
        self._done: asyncio.Future[None] = loop.create_future()
        self._protocol = factory()
        self._make = functools.partial(
            _ssl_protocol,
            loop,
            self._protocol,
            context,
            self._done,
            timeouts,
            server_side=server_side,
            server_hostname=server_hostname or None,
        )
        self._ssl: Any = None

    def below(self) -> asyncio.BaseProtocol:
        """Return the protocol that the connection itself gets, once it is there."""
        self._ssl = self._make()
        protocol: asyncio.BaseProtocol = self._ssl
        return protocol

    async def finish(self, transport: Any) -> tuple[Any, asyncio.BaseProtocol]:
        """Wait for the handshake; (transport, protocol) above TLS."""
        await _handshake(self._done, transport)
        return self._ssl._get_app_transport(), self._protocol


async def start(
    loop: "Routing",
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
    loop: "Routing",
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
