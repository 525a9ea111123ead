# SPDX-License-Identifier: BSD-3-Clause
"""TLS over a stack's connections, on either base loop."""

import asyncio
import contextlib
import ssl
from typing import Any

import pytest
import trustme
from two import NOBODY, SERVER, Recorder, connect, payload, run

from ustack.apps.echo import Echo

pytestmark = pytest.mark.usefixtures("base")


@pytest.fixture(scope="module")
def contexts() -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """Return the server's context and that of a client who trusts it."""
    authority = trustme.CA()
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    client = ssl.create_default_context()
    authority.issue_cert(SERVER, "server.test").configure_cert(server)
    authority.configure_trust(client)
    return server, client


@contextlib.asynccontextmanager
async def serving(factory: Any, **options: Any) -> Any:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(factory, SERVER, 0, **options)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()  # without waiting: from Python 3.12 on that is for its connections, too


def test_a_megabyte_is_echoed_under_tls(contexts: Any) -> None:
    data = payload(1_000_000)

    async def main() -> None:
        async with serving(Echo, ssl=contexts[0]) as port:
            reader, writer = await asyncio.open_connection(SERVER, port, ssl=contexts[1])
            writer.write(data)
            assert await reader.readexactly(len(data)) == data
            assert writer.get_extra_info("peername") == (SERVER, port)
            assert writer.get_extra_info("cipher") is not None
            assert writer.get_extra_info("ssl_object").version() == "TLSv1.3"
            writer.close()
            await writer.wait_closed()

    assert run(main) == []


def test_the_name_of_the_certificate_is_checked(contexts: Any) -> None:
    async def main() -> None:
        async with serving(Echo, ssl=contexts[0]) as port:
            with pytest.raises(ssl.SSLCertVerificationError, match="other"):
                await asyncio.open_connection(
                    SERVER, port, ssl=contexts[1], server_hostname="other.test"
                )
            with pytest.raises(ssl.SSLCertVerificationError):
                await asyncio.open_connection(SERVER, port, ssl=True)

    run(main)  # the server's complaint about the client's alert is its base loop's affair


def test_a_client_that_speaks_no_tls_costs_only_its_own_connection(contexts: Any) -> None:
    async def main() -> None:
        async with serving(Echo, ssl=contexts[0]) as port:
            reader, writer = await asyncio.open_connection(SERVER, port)
            writer.write(b"GET / HTTP/1.1\r\n\r\n")
            with contextlib.suppress(ConnectionError):
                while await reader.read(1000):
                    pass
            writer.close()
            reader, writer = await asyncio.open_connection(SERVER, port, ssl=contexts[1])
            writer.write(b"hello")
            assert await reader.readexactly(5) == b"hello"
            writer.close()

    run(main)


def test_an_open_connection_is_secured_on_both_sides_by_start_tls(contexts: Any) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        server, client = await connect()
        data = payload(300_000)
        above: Any
        below: Any
        below, above = await asyncio.gather(
            loop.start_tls(server.transport, server, contexts[0], server_side=True),
            loop.start_tls(client.transport, client, contexts[1], server_hostname=SERVER),
        )
        below.write(data)
        above.write(data)
        assert await client.received(len(data)) == data
        assert await server.received(len(data)) == data
        above.close()
        await asyncio.gather(server.lost, client.lost)

    assert run(main) == []


def test_a_handshake_that_hangs_times_out(contexts: Any) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        async with serving(Recorder) as port:
            with pytest.raises(ConnectionAbortedError, match="handshake"):
                await loop.create_connection(
                    Recorder, SERVER, port, ssl=contexts[1], ssl_handshake_timeout=0.05
                )

    run(main)


def test_options_that_make_no_sense_are_refused_by_name(contexts: Any) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        with pytest.raises(ValueError, match="server_hostname"):
            await loop.create_connection(Recorder, NOBODY, 1, server_hostname="x")
        with pytest.raises(ValueError, match="ssl_handshake_timeout"):
            await loop.create_server(Recorder, SERVER, 0, ssl_handshake_timeout=1)
        with pytest.raises(TypeError, match="SSLContext"):
            await loop.create_server(Recorder, SERVER, 0, ssl=True)  # type: ignore[call-overload]
        server, client = await connect()
        with pytest.raises(TypeError, match="SSLContext"):
            await loop.start_tls(client.transport, client, None)  # type: ignore[arg-type]
        client.transport.close()
        await server.lost

    assert run(main) == []
