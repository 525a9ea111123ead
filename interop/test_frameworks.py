# SPDX-License-Identifier: BSD-3-Clause
"""Servers and clients that know nothing of ustack, unchanged on its event loop, on either base.

Server and client live in one loop, each on a stack of its own; the namespace around the test has
no network, so a connection that the kernel got by mistake ends in an error. Each sends a megabyte
there and back where its protocol has bodies, and again under TLS where it has TLS.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import ssl
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

import pytest

from asgi_mirror import app as mirror
from ustack import Stack, aio

SERVER = "10.9.0.2"
BODY = hashlib.shake_128(b"ustack").digest(1_000_000)
PATIENCE = 110  # seconds; a test here may take 120

pytestmark = pytest.mark.parametrize("base", ["asyncio", "uvloop"])


def play(base: str, main: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Run main() on a loop with the server's stack and the client's."""
    pytest.importorskip(base)

    async def limited() -> None:
        async with asyncio.timeout(PATIENCE):
            await main()

    url = f"ring:frameworks-{os.getpid()}"
    with Stack(url, f"{SERVER}/24") as server, Stack(url, "10.9.0.1/24") as client:
        aio.run(limited(), server, client, base=base)


def contexts() -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """Return a server's context, and a client's that trusts it."""
    trustme = pytest.importorskip("trustme")
    authority = trustme.CA()
    ours = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    theirs = ssl.create_default_context()
    authority.issue_cert(SERVER).configure_cert(ours)
    authority.configure_trust(theirs)
    return ours, theirs


@contextlib.asynccontextmanager
async def uvicorn_serving(app: Any, **options: Any) -> AsyncIterator[None]:
    uvicorn = pytest.importorskip("uvicorn")
    config = uvicorn.Config(
        app, host=SERVER, port=80, log_level="warning", lifespan="off", **options
    )
    server = uvicorn.Server(config)
    serving = asyncio.create_task(server.serve())
    while not server.started:
        await asyncio.sleep(0)
    yield
    server.should_exit = True
    await serving


async def check_http(scheme: str, port: int, context: ssl.SSLContext | bool = True) -> None:
    httpx = pytest.importorskip("httpx")
    async with httpx.AsyncClient(verify=context, timeout=PATIENCE, trust_env=False) as client:
        for _ in range(2):
            answer = await client.post(f"{scheme}://{SERVER}:{port}/", content=BODY)
            assert answer.status_code == 200 and answer.content == BODY


def test_uvicorn_and_httpx(base: str) -> None:
    async def main() -> None:
        async with uvicorn_serving(mirror):
            await check_http("http", 80)

    play(base, main)


def test_uvicorn_and_httpx_under_tls(base: str) -> None:
    trustme = pytest.importorskip("trustme")

    async def main() -> None:
        authority, context = trustme.CA(), ssl.create_default_context()
        authority.configure_trust(context)
        with authority.issue_cert(SERVER).private_key_and_cert_chain_pem.tempfile() as path:
            async with uvicorn_serving(mirror, ssl_keyfile=path, ssl_certfile=path):
                await check_http("https", 80, context)

    play(base, main)


def test_fastapi(base: str) -> None:
    fastapi = pytest.importorskip("fastapi")
    app = fastapi.FastAPI()

    async def back(request: Any) -> Any:
        return fastapi.Response(await request.body())

    back.__annotations__["request"] = fastapi.Request  # the module imports it late
    app.post("/")(back)

    async def main() -> None:
        async with uvicorn_serving(app):
            await check_http("http", 80)

    play(base, main)


def test_aiohttp_server(base: str) -> None:
    web = pytest.importorskip("aiohttp.web")

    async def back(request: Any) -> Any:
        return web.Response(body=await request.read())

    async def main() -> None:
        ours, theirs = contexts()
        app = web.Application(client_max_size=1 << 21)
        app.router.add_post("/", back)
        runner = web.AppRunner(app)
        await runner.setup()
        await web.TCPSite(runner, SERVER, 80).start()
        await web.TCPSite(runner, SERVER, 443, ssl_context=ours).start()
        await check_http("http", 80)
        await check_http("https", 443, theirs)
        await runner.cleanup()

    play(base, main)


def test_websockets(base: str) -> None:
    websockets = pytest.importorskip("websockets")

    async def back(socket: Any) -> None:
        async for message in socket:
            await socket.send(message)

    async def main() -> None:
        ours, theirs = contexts()
        options: dict[str, Any] = {"max_size": 1 << 21}
        for scheme, tls in (("ws", {}), ("wss", {"ssl": ours})):
            client = {"ssl": theirs} if tls else {}
            async with websockets.serve(back, SERVER, 80, **options, **tls):
                url = f"{scheme}://{SERVER}:80"
                async with websockets.connect(url, proxy=None, **options, **client) as socket:
                    await socket.send(BODY)
                    assert await socket.recv() == BODY

    play(base, main)


def test_grpclib(base: str) -> None:
    server_module = pytest.importorskip("grpclib.server")
    import grpclib.client
    from grpclib.const import Cardinality, Handler

    class Raw:
        __content_subtype__ = "raw"

        def encode(self, message: bytes, kind: Any) -> bytes:
            return message

        def decode(self, data: bytes, kind: Any) -> bytes:
            return data

    class Service:
        async def back(self, stream: Any) -> None:
            await stream.send_message(await stream.recv_message())

        def __mapping__(self) -> dict[str, Any]:
            return {"/s/Back": Handler(self.back, Cardinality.UNARY_UNARY, bytes, bytes)}

    async def main() -> None:
        ours, theirs = contexts()
        for context in (ours, theirs):
            context.set_alpn_protocols(["h2"])
        for port, tls, client in ((80, None, None), (443, ours, theirs)):
            server = server_module.Server([Service()], codec=Raw())
            await server.start(SERVER, port, ssl=tls)
            channel = grpclib.client.Channel(SERVER, port, codec=Raw(), ssl=client)
            method = grpclib.client.UnaryUnaryMethod(channel, "/s/Back", bytes, bytes)
            assert await method(BODY) == BODY
            channel.close()
            server.close()
            await server.wait_closed()

    play(base, main)


def test_aiosmtpd_with_starttls(base: str) -> None:
    smtp = pytest.importorskip("aiosmtpd.smtp")
    letters: list[bytes] = []

    class Box:
        async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:
            letters.append(envelope.content)
            return "250 kept"

    async def main() -> None:
        ours, theirs = contexts()
        loop = asyncio.get_running_loop()
        server = await loop.create_server(
            lambda: smtp.SMTP(Box(), hostname="mx", tls_context=ours), SERVER, 25
        )
        reader, writer = await asyncio.open_connection(SERVER, 25)

        async def say(line: bytes, code: bytes) -> None:
            if line:
                writer.write(line + b"\r\n")
            answer = await reader.readline()
            while answer[3:4] == b"-":
                answer = await reader.readline()
            assert answer.startswith(code), answer

        await say(b"", b"220")
        await say(b"EHLO me", b"250")
        await say(b"STARTTLS", b"220")
        await writer.start_tls(theirs, server_hostname=SERVER)
        await say(b"EHLO me", b"250")
        await say(b"MAIL FROM:<a@example.org>", b"250")
        await say(b"RCPT TO:<b@example.org>", b"250")
        await say(b"DATA", b"354")
        writer.write(b"a line\r\n" * 100_000)
        await say(b".", b"250")
        assert letters == [b"a line\r\n" * 100_000]
        writer.close()
        server.close()

    play(base, main)


def test_asyncssh(base: str) -> None:
    asyncssh = pytest.importorskip("asyncssh")

    class Open(asyncssh.SSHServer):  # type: ignore[misc,name-defined]
        def begin_auth(self, username: str) -> bool:
            return False

    async def back(process: Any) -> None:
        process.stdout.write(await process.stdin.read())
        process.exit(0)

    async def main() -> None:
        key = asyncssh.generate_private_key("ssh-ed25519")
        server = await asyncssh.listen(
            SERVER,
            22,
            server_host_keys=[key],
            process_factory=back,
            server_factory=Open,
            encoding=None,
        )
        async with asyncssh.connect(SERVER, 22, known_hosts=None, username="me") as client:
            done = await client.run("", input=BODY, encoding=None)
            assert done.stdout == BODY
        server.close()
        await server.wait_closed()

    play(base, main)
