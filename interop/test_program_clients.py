# SPDX-License-Identifier: BSD-3-Clause
"""Clients unmodified on a stack, whose servers are the kernel's; see unmodified.py.

Each moves a megabyte there and back where its protocol has bodies.
"""

from pathlib import Path

import pytest

from netlab import KERNEL4, OURS4, until
from servers import REDIS, REDIS_TLS, redis_server
from unmodified import (
    BODY,
    LOOPS,
    both_ways,
    echoes,
    exchange,
    finish,
    http_mirrors,
    kernel_connect,
    program,
    tap_is_up,
    tls_exchange,
)

REQUESTS = f"""
import hashlib, requests, sys

input()
body = hashlib.shake_128(b"ustack").digest(1_000_000)
with requests.Session() as session:
    session.trust_env = False
    session.verify = sys.argv[1]
    for url in ["http://{KERNEL4}:8080/", "https://{KERNEL4}:8443/"] * 2:
        answer = session.post(url, data=body, timeout=20)
        assert answer.status_code == 200 and answer.content == body
    try:
        session.get("http://{KERNEL4}:1/", timeout=20)
    except requests.ConnectionError as error:
        assert "refused" in str(error), error
    else:
        assert False
"""


@both_ways
def test_requests(tmp_path: Path, way: str) -> None:
    """Over connections that are kept, and one that is refused."""
    pytest.importorskip("requests")
    with (
        http_mirrors(tmp_path) as trust,
        program(tmp_path, trust, code=REQUESTS, way=way) as process,
    ):
        finish(process)


REDIS_PY = f"""
import hashlib, redis, sys

body = hashlib.shake_128(b"ustack").digest(1_000_000)

def use(port, **options):
    options |= {{"socket_keepalive": True, "socket_timeout": 20}}
    with redis.Redis({KERNEL4!r}, port, **options) as client:
        assert client.set("body", body) and client.get("body") == body
        with client.pipeline() as pipe:
            for number in range(1000):
                pipe.incrby("sum", number)
            assert pipe.execute()[-1] == sum(range(1000))
        client.delete("sum")
        subscriber = client.pubsub()
        subscriber.subscribe("news")
        subscriber.get_message(timeout=20)
        assert client.publish("news", body) == 1
        assert subscriber.get_message(timeout=20)["data"] == body

authority = input()
use({REDIS})
use({REDIS_TLS}, ssl=True, ssl_ca_certs=authority)
"""


def test_redis_py(tmp_path: Path) -> None:
    pytest.importorskip("redis")
    with program(tmp_path, code=REDIS_PY) as process:
        until(tap_is_up, "a tap")
        with redis_server() as place:
            finish(process, str(place.path / "ca.pem"))


TRIO_CLIENT = f"""
import hashlib, ssl, sys, trio

input()
body = hashlib.shake_128(b"ustack").digest(1_000_000)

async def receive(stream, data):
    while len(data) < len(body):
        data += await stream.receive_some()

async def talk(stream):
    data = bytearray()
    async with stream, trio.open_nursery() as nursery:
        nursery.start_soon(receive, stream, data)
        await stream.send_all(body)
    assert data == body

async def main():
    context = ssl.create_default_context(cafile=sys.argv[1])
    with trio.fail_after(20):
        await talk(await trio.open_tcp_stream({KERNEL4!r}, 7))
        await talk(await trio.open_ssl_over_tcp_stream({KERNEL4!r}, 443, ssl_context=context))
        try:
            await trio.open_tcp_stream({KERNEL4!r}, 1)
        except OSError as error:
            pass
        else:
            assert False

trio.run(main)
"""


def test_trio_connects(tmp_path: Path) -> None:
    pytest.importorskip("trio")
    with (
        echoes(tmp_path) as (_, _, trust),
        program(tmp_path, trust, code=TRIO_CLIENT) as process,
    ):
        finish(process)


AIOHTTP_CLIENT = f"""
import aiohttp, asyncio, hashlib, ssl, sys

body = hashlib.shake_128(b"ustack").digest(1_000_000)

async def main():
    context = ssl.create_default_context(cafile=sys.argv[2])
    async with aiohttp.ClientSession() as session:
        for url in ["http://{KERNEL4}:8080/", "https://{KERNEL4}:8443/"] * 2:
            async with session.post(url, data=body, ssl=context) as answer:
                assert answer.status == 200 and await answer.read() == body
        try:
            await session.get("http://{KERNEL4}:1/")
        except aiohttp.ClientConnectorError as error:
            pass
        else:
            assert False

input()
if sys.argv[1] == "uvloop":
    import uvloop
    uvloop.run(main())
else:
    asyncio.run(main())
"""


@pytest.mark.parametrize("base", LOOPS)
def test_aiohttp_client(tmp_path: Path, base: str) -> None:
    """It connects its sockets itself (happy eyeballs), and gives them to the loop."""
    pytest.importorskip("aiohttp")
    pytest.importorskip(base)
    with (
        http_mirrors(tmp_path) as trust,
        program(tmp_path, base, trust, code=AIOHTTP_CLIENT) as process,
    ):
        finish(process)


ANYIO = f"""
import anyio, hashlib, ssl, sys
from anyio.streams.tls import TLSListener

body = hashlib.shake_128(b"ustack").digest(1_000_000)

async def receive(stream, data):
    while len(data) < len(body):
        data += await stream.receive()

async def talk(stream):
    data = bytearray()
    async with stream, anyio.create_task_group() as group:
        group.start_soon(receive, stream, data)
        await stream.send(body)
    assert data == body

async def back(stream):
    async with stream:
        async for data in stream:
            await stream.send(data)

async def main(cert, trust):
    ours = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    ours.load_cert_chain(cert)
    theirs = ssl.create_default_context(cafile=trust)
    await talk(await anyio.connect_tcp({KERNEL4!r}, 7))
    await talk(await anyio.connect_tcp({KERNEL4!r}, 443, ssl_context=theirs))
    plain = await anyio.create_tcp_listener(local_host={OURS4!r}, local_port=7)
    secure = await anyio.create_tcp_listener(local_host={OURS4!r}, local_port=443)
    async with anyio.create_task_group() as group:
        group.start_soon(plain.serve, back)
        group.start_soon(TLSListener(secure, ours).serve, back)

backend, *words = sys.argv[1:]
options = {{"use_uvloop": True}} if backend == "uvloop" else {{}}
backend = "trio" if backend == "trio" else "asyncio"
anyio.run(main, *words, backend=backend, backend_options=options)
"""


@pytest.mark.parametrize("backend", [*LOOPS, "trio"])
def test_anyio(tmp_path: Path, backend: str) -> None:
    """Clients, then listeners; it accepts on its sockets, and gives the loop what it gets."""
    pytest.importorskip("anyio")
    pytest.importorskip(backend)
    with (
        echoes(tmp_path) as (authority, cert, trust),
        program(tmp_path, backend, cert, trust, code=ANYIO) as process,
    ):
        with kernel_connect(process, 7) as sock:
            assert exchange(sock, BODY) == BODY
        assert tls_exchange(kernel_connect(process, 443), authority) == BODY
