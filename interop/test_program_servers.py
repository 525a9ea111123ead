# SPDX-License-Identifier: BSD-3-Clause
"""Servers unmodified on a stack, whose clients are the kernel's; see unmodified.py.

Each moves a megabyte there and back where its protocol has bodies.
"""

import shutil
import socket
from pathlib import Path

import pytest

from netlab import OURS4
from unmodified import (
    BODY,
    LOOPS,
    PATIENCE,
    both_ways,
    certificate,
    check_http,
    exchange,
    kernel_connect,
    program,
    tls_exchange,
)


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


@pytest.mark.parametrize("worker", [*LOOPS, "trio"])
def test_hypercorn(tmp_path: Path, worker: str) -> None:
    """It makes its sockets itself, and accepts on them."""
    pytest.importorskip("hypercorn")
    pytest.importorskip(worker)
    authority, cert = certificate(tmp_path)
    shutil.copy(Path(__file__).with_name("asgi_mirror.py"), tmp_path)
    where = f"--bind {OURS4}:443 --insecure-bind {OURS4}:80 --certfile {cert} --keyfile {cert}"
    words = f"-m hypercorn -w 0 -k {worker} {where} asgi_mirror:app"
    with program(tmp_path, *words.split()) as process:
        check_http(process)
        check_http(process, port=443, authority=authority)
