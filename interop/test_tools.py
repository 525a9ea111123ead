# SPDX-License-Identifier: BSD-3-Clause
"""Tools and servers that everybody knows, on the kernel's side of a tap, with what runs on ours.

Each must end without one error: curl, wrk, ab and openssl with uvicorn, aiohttp, the http app and
the TLS example; redis-benchmark, redis-cli and redis-py with kv; our clients with nginx.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import hashlib
import os
import socket
import ssl
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from lab import Lab
from netlab import KERNEL4, OURS4, PATIENCE, need, pattern, program, running, until
from ustack.apps import http, kv
from ustack.apps.proxy import Proxy

ROOT = Path(__file__).parent.parent
CURL = ["curl", "-q", "-sS", "--fail", "--noproxy", "*", "--max-time", f"{PATIENCE:.0f}"]
BODY = pattern(5_000_000)


@dataclass
class Keys:
    """Files of a certificate for OURS4 and KERNEL4, and of whoever says that it is good."""

    authority: str
    cert: str
    key: str


@pytest.fixture
def keys(tmp_path: Path) -> Keys:
    authority = pytest.importorskip("trustme").CA()
    cert = authority.issue_cert(OURS4, KERNEL4)
    keys = Keys(*(str(tmp_path / name) for name in ("ca.pem", "cert.pem", "key.pem")))
    authority.cert_pem.write_to_path(keys.authority)
    cert.cert_chain_pems[0].write_to_path(keys.cert)
    cert.private_key_pem.write_to_path(keys.key)
    return keys


@contextlib.contextmanager
def python(*argv: str, port: int) -> Iterator[None]:
    """Run a server that is a Python program with a stack of its own; it may tell of no error."""
    env = {**os.environ, "USTACK_IO": "tap:us0", "USTACK_ADDRESS": f"{OURS4}/24"}
    process = subprocess.Popen(
        [sys.executable, *argv], env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    try:
        until(functools.partial(answers, port), f"{argv} answers")
        yield
    finally:
        process.send_signal(2)
        said = process.communicate(timeout=PATIENCE)[0].decode()
    assert "Traceback" not in said and "rror" not in said, said


def answers(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection((OURS4, port), timeout=0.5):
        return True
    return False


# -------------------------------------------------------------------------------------- http


@contextlib.contextmanager
def http_app(keys: Keys) -> Iterator[str]:
    with Lab() as lab:
        lab.serve(functools.partial(http.Http, http.Site()))
        yield f"http://{OURS4}/"


@contextlib.contextmanager
def aiohttp_app(keys: Keys) -> Iterator[str]:
    web = pytest.importorskip("aiohttp.web")

    async def get(request: Any) -> Any:
        return web.Response(text="hello, world\n")

    async def post(request: Any) -> Any:
        return web.Response(text=hashlib.sha256(await request.read()).hexdigest() + "\n")

    async def start() -> Any:
        app = web.Application(client_max_size=1 << 24)
        app.add_routes([web.get("/", get), web.post("/", post)])
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        await web.TCPSite(runner, OURS4, 80).start()
        return runner

    with Lab() as lab:
        runner = lab.run(start())
        yield f"http://{OURS4}/"
        lab.run(runner.cleanup())


@contextlib.contextmanager
def uvicorn_app(keys: Keys) -> Iterator[str]:
    """As docs/apps.md has it, under TLS."""
    pytest.importorskip("uvicorn")
    argv = ["-m", "uvicorn", "--app-dir", str(ROOT / "examples"), "asgi:app", "--host", OURS4]
    argv += ["--port", "443", "--loop", "ustack:new_event_loop", "--log-level", "warning"]
    with python(*argv, "--ssl-keyfile", keys.key, "--ssl-certfile", keys.cert, port=443):
        yield f"https://{OURS4}/"


@contextlib.contextmanager
def tls_example(keys: Keys) -> Iterator[str]:
    pytest.importorskip("aiohttp")
    example = str(ROOT / "examples" / "tls_server.py")
    with python(example, "--cert", keys.cert, "--key", keys.key, port=443):
        yield f"https://{OURS4}/"


@pytest.mark.parametrize(
    ("server", "upload"),
    [(http_app, "upload"), (aiohttp_app, ""), (uvicorn_app, ""), (tls_example, None)],
    ids=["http", "aiohttp", "uvicorn-tls", "tls-example"],
)
def test_http_tools_meet_no_error(server: Any, upload: str | None, keys: Keys) -> None:
    curl = [*CURL, "--cacert", keys.authority]
    with server(keys) as url:
        page = program(*curl, url)
        assert len(page) > 10
        got = program(*curl, "-Z", "--parallel-max", "50", *[url] * 200)
        assert got == page * 200
        if upload is not None:
            answer = program(*curl, "--data-binary", "@-", url + upload, data=BODY)
            assert answer.decode().strip() == hashlib.sha256(BODY).hexdigest()
        check_wrk(url)
        check_ab(url, "-k")
        check_ab(url)
        if url.startswith("https"):
            for version in ("-tls1_2", "-tls1_3"):
                check_openssl(version, page, keys)


def check_wrk(url: str) -> None:
    said = program("wrk", "-t", "1", "-c", "32", "-d", "1s", url).decode()
    (n_requests,) = (line.split()[0] for line in said.splitlines() if " requests in " in line)
    assert int(n_requests) > 50
    assert "Socket errors" not in said and "Non-2xx" not in said, said


def check_ab(url: str, *options: str) -> None:
    said = program("ab", "-q", *options, "-n", "400", "-c", "20", url).decode()
    lines = dict(line.split(":", 1) for line in said.splitlines() if ":" in line)
    assert lines["Complete requests"].strip() == "400"
    assert lines["Failed requests"].strip() == "0", said
    assert "Non-2xx responses" not in lines, said


def check_openssl(version: str, page: bytes, keys: Keys) -> None:
    request = f"GET / HTTP/1.1\r\nHost: {OURS4}\r\nConnection: close\r\n\r\n".encode()
    options = ["-CAfile", keys.authority, "-verify_return_error", "-verify_ip", OURS4, "-quiet"]
    said = program(
        *["openssl", "s_client", "-connect", f"{OURS4}:443", version, *options], data=request
    )
    assert said.startswith(b"HTTP/1.1 200 ") and said.endswith(page)


# ---------------------------------------------------------------------------------------- kv


@pytest.fixture
def service(lab: Lab) -> Lab:
    lab.run(kv.serve(OURS4))
    return lab


def test_redis_benchmark_meets_no_error(service: Lab) -> None:
    """Its default tests, one by one and in pipelines; -e tells of errors in answers."""
    for options in (["-n", "400", "-c", "20"], ["-n", "2000", "-c", "20", "-P", "16"]):
        said = program("redis-benchmark", "-h", OURS4, "-e", "--csv", *options).decode()
        names = [line.split(",")[0].strip('"') for line in said.splitlines()]
        assert "rror" not in said, said
        assert {"PING_INLINE", "SET", "LPUSH", "ZPOPMIN", "MSET (10 keys)"} <= {*names}, said
        assert any(name.startswith("LRANGE_600") for name in names), said


def test_redis_cli_does_what_it_does_with_redis(service: Lab) -> None:
    cli = ["redis-cli", "-h", OURS4]
    assert program(*cli, "-x", "SET", "big", data=BODY) == b"OK\n"
    assert program(*cli, "--raw", "GET", "big") == BODY + b"\n"
    mass = b"*3\r\n$6\r\nINCRBY\r\n$1\r\nn\r\n$1\r\n2\r\n" * 5000
    said = program(*cli, "--pipe", data=mass).decode()
    assert "errors: 0, replies: 5000" in said
    assert program(*cli, "GET", "n") == b"10000\n"
    assert {*program(*cli, "-3", "--scan").split()} == {b"n", b"big"}
    assert b"used_memory" in program(*cli, "INFO", "memory")


def test_redis_py_with_a_body_of_megabytes(service: Lab) -> None:
    redis = pytest.importorskip("redis")
    for version in (2, 3):
        with redis.Redis(host=OURS4, protocol=version, socket_timeout=PATIENCE) as client:
            assert client.set("big", BODY)
            assert client.get("big") == BODY
            with client.pipeline() as pipe:
                for i in range(1000):
                    pipe.rpush("l", i)
                assert pipe.execute()[-1] == 1000
            assert client.lrange("l", -2, -1) == [b"998", b"999"]
            assert client.flushall()


# ------------------------------------------------------------------------- the kernel serves

NGINX = """
daemon off;
master_process off;
pid {where}/pid;
error_log stderr warn;
events {{ worker_connections 512; }}
http {{
    access_log off;
    client_body_temp_path {where}/body;
    proxy_temp_path {where}/proxy;
    fastcgi_temp_path {where}/fastcgi;
    uwsgi_temp_path {where}/uwsgi;
    scgi_temp_path {where}/scgi;
    server {{
        listen {host}:80;
        listen {host}:443 ssl;
        ssl_certificate {keys.cert};
        ssl_certificate_key {keys.key};
        root {where};
    }}
}}
"""


@pytest.fixture
def nginx(tmp_path: Path, keys: Keys, lab: Lab) -> Iterator[Lab]:
    """A stack, and nginx behind it, which has a file `body`."""
    need("nginx")
    (tmp_path / "body").write_bytes(BODY)
    config = tmp_path / "nginx.conf"
    config.write_text(NGINX.format(where=tmp_path, keys=keys, host=KERNEL4))
    with running("nginx", "-p", tmp_path, "-e", "stderr", "-c", config):
        until(lambda: is_listening(443), "nginx listens")
        yield lab


def is_listening(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection((KERNEL4, port)):
        return True
    return False


def test_our_client_gets_from_nginx(nginx: Lab, keys: Keys) -> None:
    httpx = pytest.importorskip("httpx")

    async def fetch(url: str, context: ssl.SSLContext) -> None:
        async with httpx.AsyncClient(verify=context, trust_env=False, timeout=PATIENCE) as client:
            answers = await asyncio.gather(*(client.get(url) for _ in range(10)))
            assert [answer.content for answer in answers] == [BODY] * 10

    context = ssl.create_default_context(cafile=keys.authority)
    for scheme in ("http", "https"):
        nginx.run(fetch(f"{scheme}://{KERNEL4}/body", context))
    assert nginx.counter("tcp.opens.active") >= 20


def test_curl_reaches_nginx_by_the_proxy_and_the_stack(nginx: Lab, keys: Keys) -> None:
    """From the kernel by SOCKS 5 to the stack, over the tap, to the kernel again."""
    listener = socket.create_server(("127.0.0.1", 0))
    listener.setblocking(False)
    port = listener.getsockname()[1]

    async def start() -> Proxy:
        proxy = Proxy(nginx.stack)
        await proxy.socks(listener)
        return proxy

    proxy = nginx.run(start())
    curl = [*CURL[:4], "--cacert", keys.authority, "--socks5-hostname", f"127.0.0.1:{port}"]
    for scheme in ("http", "https"):
        got = program(*curl, f"{scheme}://{KERNEL4}/body")
        assert hashlib.sha256(got).hexdigest() == hashlib.sha256(BODY).hexdigest()
    assert nginx.counter("tcp.opens.active") == 2
    nginx.call(proxy.close)
