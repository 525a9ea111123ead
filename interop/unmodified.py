# SPDX-License-Identifier: BSD-3-Clause
"""What the tests of unmodified programs share: a program on a stack, and the kernel's ends.

A program runs in a process of its own that owns the tap, by `ustack run` or by import swap
(swapped.py); the other end of its connections is this process's kernel.
"""

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

from netlab import KERNEL4, OURS4

BODY = hashlib.shake_128(b"ustack").digest(1_000_000)
PATIENCE = 60.0  # seconds; a busy machine starts Python slowly
LOOPS = ["asyncio", "uvloop"]
WAYS = {"run": ["-m", "ustack", "run"], "swap": [str(Path(__file__).with_name("swapped.py"))]}
both_ways = pytest.mark.parametrize("way", WAYS)


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


# ----------------------------------------------------------- servers of the kernel


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
