# SPDX-License-Identifier: BSD-3-Clause
"""Programs unmodified on a stack: by `ustack run`, and by import swap (swapped.py).

Each runs in a process of its own that owns the tap; the other end of its connections is this
process's kernel. Each moves a megabyte there and back where its protocol has bodies.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import http.client
import http.server
import os
import socket
import socketserver
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from netlab import KERNEL4, OURS4, until
from servers import REDIS, REDIS_TLS, redis_server

BODY = hashlib.shake_128(b"ustack").digest(1_000_000)
PATIENCE = 30.0
WAYS = {"run": ["-m", "ustack", "run"], "swap": [str(Path(__file__).with_name("swapped.py"))]}


@contextlib.contextmanager
def program(
    tmp_path: Path, *words: str, code: str = "", way: str = "run"
) -> Iterator[subprocess.Popen[str]]:
    """Keep a program running on a stack: `python WORDS…`, or a script of this code.

    way: "run", by `ustack run`, or "swap", with ustack.socket in the place of socket.
    """
    if code:
        script = tmp_path / "program.py"
        script.write_text(code)
        words = (str(script), *words)
    env = os.environ | {"USTACK_IO": "tap:us0", "USTACK_ADDRESS": f"{OURS4}/24"}
    process = subprocess.Popen(
        [sys.executable, *WAYS[way], *words],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=env,
        cwd=tmp_path,
    )
    try:
        yield process
    finally:
        process.kill()
        said = process.communicate()[0]
        print(said)  # pytest shows it if the test fails
        assert "Traceback" not in said


def tap_is_up() -> bool:
    """The kernel's end of it."""
    with socket.socket() as sock, contextlib.suppress(OSError):
        sock.bind((KERNEL4, 0))
        return True
    return False


def finish(process: subprocess.Popen[str], line: str = "") -> str:
    """Give the program the line that its input() waits for, and wait for its end; what it said."""
    said = process.communicate(line + "\n", timeout=PATIENCE)[0]
    assert process.returncode == 0, said
    return said


def kernel_connect(process: subprocess.Popen[str], port: int) -> socket.socket:
    """A connection of the kernel's to the program, once that listens."""
    end = time.monotonic() + PATIENCE
    while True:
        assert process.poll() is None and time.monotonic() < end, "the program does not listen"
        with contextlib.suppress(OSError):
            return socket.create_connection((OURS4, port), PATIENCE)
        time.sleep(0.02)


def exchange(sock: socket.socket, data: bytes) -> bytes:
    """Send it all and the end; what comes back."""
    sender = threading.Thread(target=lambda: (sock.sendall(data), sock.shutdown(socket.SHUT_WR)))
    sender.start()
    answer = b"".join(iter(lambda: sock.recv(1 << 18), b""))
    sender.join()
    return answer


def certificate(tmp_path: Path) -> tuple[Any, str]:
    """Return an authority, and the file with a key and a certificate of its for OURS4."""
    authority = pytest.importorskip("trustme").CA()
    path = tmp_path / "cert.pem"
    authority.issue_cert(OURS4, KERNEL4).private_key_and_cert_chain_pem.write_to_path(path)
    return authority, str(path)


def trust_file(tmp_path: Path, authority: Any) -> str:
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    return str(tmp_path / "ca.pem")


def server_context(cert: str) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(cert)
    return context


def tls_exchange(sock: socket.socket, authority: Any) -> bytes:
    """Send BODY under TLS; as much as comes back.

    By asyncio: an SSLSocket must not be used by two threads at once before Python 3.13.
    """
    context = ssl.create_default_context()
    authority.configure_trust(context)

    async def exchange() -> bytes:
        reader, writer = await asyncio.open_connection(
            sock=sock, ssl=context, server_hostname=OURS4
        )
        writer.write(BODY)
        data = await reader.readexactly(len(BODY))
        writer.close()
        await writer.wait_closed()
        return data

    return asyncio.run(asyncio.wait_for(exchange(), PATIENCE))


def check_http(
    process: subprocess.Popen[str],
    method: str = "POST",
    path: str = "/",
    authority: Any = None,
    port: int = 80,
) -> None:
    """Send requests as the kernel, over one connection if the server keeps it.

    authority: who is to be trusted, for TLS.
    """
    kernel_connect(process, port).close()
    client = http.client.HTTPConnection(OURS4, port, timeout=PATIENCE)
    if authority is not None:
        context = ssl.create_default_context()
        authority.configure_trust(context)
        client = http.client.HTTPSConnection(OURS4, port, timeout=PATIENCE, context=context)
    for _ in range(3):
        client.request(method, path, BODY if method == "POST" else None)
        answer = client.getresponse()
        assert (answer.status, answer.read()) == (200, BODY)
    client.close()


# ------------------------------------------------------------------------------------- servers


both_ways = pytest.mark.parametrize("way", WAYS)


@both_ways
def test_http_server(tmp_path: Path, way: str) -> None:
    (tmp_path / "body").write_bytes(BODY)
    with program(tmp_path, "-m", "http.server", "--bind", OURS4, "80", way=way) as process:
        check_http(process, "GET", "/body")


HTTPS_SERVER = f"""
import http.server, ssl, sys

context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
context.load_cert_chain(sys.argv[1])
server = http.server.ThreadingHTTPServer(({OURS4!r}, 80), http.server.SimpleHTTPRequestHandler)
server.socket = context.wrap_socket(server.socket, server_side=True)
server.serve_forever()
"""


def test_http_server_under_tls(tmp_path: Path) -> None:
    """As the standard library's documentation does it: the listener is wrapped."""
    authority, cert = certificate(tmp_path)
    (tmp_path / "body").write_bytes(BODY)
    with program(tmp_path, cert, code=HTTPS_SERVER) as process:
        check_http(process, "GET", "/body", authority)


FLASK = """
from flask import Flask, request

app = Flask("mirror")

@app.post("/")
def mirror():
    return request.get_data()
"""


@pytest.mark.parametrize("threaded", [True, False])
def test_flask(tmp_path: Path, threaded: bool) -> None:
    pytest.importorskip("flask")
    code = f"{FLASK}\napp.run({OURS4!r}, 80, threaded={threaded})"
    with program(tmp_path, code=code) as process:
        check_http(process)


def test_flask_under_tls(tmp_path: Path) -> None:
    pytest.importorskip("flask")
    authority, cert = certificate(tmp_path)
    code = f"{FLASK}\napp.run({OURS4!r}, 80, ssl_context=({cert!r}, {cert!r}))"
    with program(tmp_path, code=code) as process:
        check_http(process, authority=authority)


def test_waitress(tmp_path: Path) -> None:
    """An event loop on poll() over descriptors, with threads that answer."""
    pytest.importorskip("waitress")
    code = f"{FLASK}\nimport waitress\nwaitress.serve(app, listen='{OURS4}:80')"
    with program(tmp_path, code=code) as process:
        check_http(process)


SOCKETSERVER = f"""
import socketserver, threading

class Tcp(socketserver.BaseRequestHandler):
    def handle(self):
        while data := self.request.recv(65536):
            self.request.sendall(data)

class Udp(socketserver.BaseRequestHandler):
    def handle(self):
        data, sock = self.request
        sock.sendto(data, self.client_address)

udp = socketserver.UDPServer(({OURS4!r}, 7), Udp)
threading.Thread(target=udp.serve_forever).start()
socketserver.ThreadingTCPServer(({OURS4!r}, 7), Tcp).serve_forever()
"""


def test_socketserver(tmp_path: Path) -> None:
    """TCP with a thread for each connection, and UDP."""
    with program(tmp_path, code=SOCKETSERVER) as process:
        socks = [kernel_connect(process, 7) for _ in range(4)]
        for sock in socks:
            assert exchange(sock, BODY) == BODY
            sock.close()
        with socket.socket(type=socket.SOCK_DGRAM) as sock:
            sock.settimeout(PATIENCE)
            sock.sendto(b"hello", (OURS4, 7))
            assert sock.recv(100) == b"hello"


TRIO = """
import ssl, sys, trio

async def back(stream):
    async with stream:
        async for data in stream:
            await stream.send_all(data)

async def main():
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(sys.argv[1])
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.serve_tcp, back, 7)
        nursery.start_soon(trio.serve_ssl_over_tcp, back, 443, context)

trio.run(main)
"""


def test_trio_serves(tmp_path: Path) -> None:
    """On the wildcard, that is to both, the stack and the kernel."""
    pytest.importorskip("trio")
    authority, cert = certificate(tmp_path)
    with program(tmp_path, cert, code=TRIO) as process:
        socks = [kernel_connect(process, 7) for _ in range(4)]
        for sock in socks:
            assert exchange(sock, BODY) == BODY
            sock.close()
        assert tls_exchange(kernel_connect(process, 443), authority) == BODY


# ------------------------------------------------------------------------------------- clients


class Mirror(http.server.BaseHTTPRequestHandler):
    """The kernel's HTTP server: it answers with the request's body."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        data = self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *args: Any) -> None: ...


@contextlib.contextmanager
def serving(server: Any) -> Iterator[None]:
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@contextlib.contextmanager
def http_mirrors(tmp_path: Path) -> Iterator[str]:
    """Serve HTTP at 8080, and under TLS at 8443; the file of whom to trust."""
    authority, cert = certificate(tmp_path)
    plain, secure = (http.server.ThreadingHTTPServer(("", port), Mirror) for port in (8080, 8443))
    secure.socket = server_context(cert).wrap_socket(secure.socket, server_side=True)
    with serving(plain), serving(secure):
        yield trust_file(tmp_path, authority)


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


class Echo(socketserver.BaseRequestHandler):
    """The kernel's echo server; under TLS if it has a context."""

    def handle(self) -> None:
        sock: Any = self.request
        if context := getattr(self.server, "context", None):
            sock = context.wrap_socket(sock, server_side=True)
        while data := sock.recv(1 << 16):
            sock.sendall(data)
        if context:
            with contextlib.suppress(OSError):  # for who does not wait for our end
                sock.unwrap()


@contextlib.contextmanager
def echoes(tmp_path: Path) -> Iterator[tuple[Any, str, str]]:
    """Serve echo at 7, under TLS at 443; an authority, its certificate's file, whom to trust."""
    authority, cert = certificate(tmp_path)
    plain, secure = (socketserver.ThreadingTCPServer(("", port), Echo) for port in (7, 443))
    secure.context = server_context(cert)  # type: ignore[attr-defined]
    with serving(plain), serving(secure):
        yield authority, cert, trust_file(tmp_path, authority)


def test_trio_connects(tmp_path: Path) -> None:
    pytest.importorskip("trio")
    with (
        echoes(tmp_path) as (_, _, trust),
        program(tmp_path, trust, code=TRIO_CLIENT) as process,
    ):
        finish(process)


# ----------------------------------------------------- event loops, and what runs on several

LOOPS = ["asyncio", "uvloop"]

ASGI = """
async def app(scope, receive, send):
    assert scope["type"] == "http"
    body, more = b"", True
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
    headers = [(b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})
"""


@pytest.mark.parametrize("worker", [*LOOPS, "trio"])
def test_hypercorn(tmp_path: Path, worker: str) -> None:
    """It makes its sockets itself, and accepts on them."""
    pytest.importorskip("hypercorn")
    pytest.importorskip(worker)
    authority, cert = certificate(tmp_path)
    (tmp_path / "mirror.py").write_text(ASGI)
    where = f"--bind {OURS4}:443 --insecure-bind {OURS4}:80 --certfile {cert} --keyfile {cert}"
    words = f"-m hypercorn -w 0 -k {worker} {where} mirror:app"
    with program(tmp_path, *words.split()) as process:
        check_http(process)
        check_http(process, port=443, authority=authority)


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
