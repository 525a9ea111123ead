# SPDX-License-Identifier: BSD-3-Clause
"""TLS on ustack.socket, by SSLContext.wrap_socket: what the standard library's sockets do.

Each test is played over the stack and over the kernel, with the very same code.
"""

from __future__ import annotations

import http.client
import http.server
import io
import select
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import pytest
import trustme
from two import payload

from ustack import Stack, process, tls
from ustack import socket as socket

TIMEOUT = 30.0
OURS, KERNELS = "10.9.0.2", "127.0.0.1"
NAME = "server.example"


class Tls:
    """Where to listen, and contexts that trust each other."""

    def __init__(self, host: str) -> None:
        self.host = host
        self.server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        CA.issue_cert(NAME, host).configure_cert(self.server)
        self.client = ssl.create_default_context()
        CA.configure_trust(self.client)
        self.pool = ThreadPoolExecutor()

    def pair(self, timeout: float | None = TIMEOUT) -> tuple[socket.socket, socket.socket]:
        """Both ends of a new connection, without TLS so far."""
        with socket.create_server((self.host, 0)) as listener:
            near = socket.create_connection(listener.getsockname(), TIMEOUT)
            far, _ = listener.accept()
        near.settimeout(timeout)
        far.settimeout(timeout)
        return near, far

    def wrap_server(self, far: socket.socket, **options: Any) -> Future[ssl.SSLSocket]:
        """The server's end in a thread of its own, which shakes hands."""
        return self.pool.submit(self.server.wrap_socket, far, server_side=True, **options)

    def secured(self, timeout: float | None = TIMEOUT) -> tuple[ssl.SSLSocket, ssl.SSLSocket]:
        """Both ends of a new connection, after the handshake."""
        near, far = self.pair(timeout)
        server = self.wrap_server(far)
        client = self.client.wrap_socket(near, server_hostname=NAME)
        return client, server.result(TIMEOUT)


CA = trustme.CA()


@pytest.fixture(scope="module", autouse=True)
def stack() -> Iterator[Stack]:
    with Stack("loop:", f"{OURS}/24", loopback=False) as stack:
        process.install(stack)
        tls.install()
        yield stack
        tls.uninstall()
        process.install(None)


@pytest.fixture(params=[OURS, KERNELS], ids=["stack", "kernel"])
def peers(request: pytest.FixtureRequest) -> Iterator[Tls]:
    peers = Tls(request.param)
    yield peers
    peers.pool.shutdown()


def test_text_passes_both_ways_and_both_sides_know_with_whom(peers: Tls) -> None:
    peers.client.set_alpn_protocols(["h2", "http/1.1"])
    peers.server.set_alpn_protocols(["http/1.1"])
    client, server = peers.secured()
    with client, server:
        assert isinstance(client, ssl.SSLSocket) and isinstance(server, socket.socket) is (
            peers.host == OURS
        )
        client.sendall(b"question")
        assert server.recv(100) == b"question"
        assert server.send(b"answer") == 6
        assert client.recv(3) == b"ans"
        assert client.pending() == 3
        assert client.read(100) == b"wer"
        assert client.version() == server.version() == "TLSv1.3"
        assert client.cipher() == server.cipher()
        assert client.selected_alpn_protocol() == "http/1.1"
        assert client.cipher() in server.shared_ciphers()  # type: ignore[operator]
        assert client.shared_ciphers() is None and client.compression() is None
        assert ("DNS", NAME) in client.getpeercert()["subjectAltName"]  # type: ignore[index,operator]
        assert client.getpeercert(True).startswith(b"\x30")  # type: ignore[union-attr]
        assert server.getpeercert() is None
        assert (client.server_side, server.server_side) == (False, True)
        assert client.server_hostname == NAME
        assert client.getpeername() == server.getsockname()
        assert client.gettimeout() == TIMEOUT
        assert not client.session_reused


def test_a_thread_reads_while_another_writes(peers: Tls) -> None:
    """Both ways at once, more than all buffers hold."""
    data = payload(3 << 20)
    client, server = peers.secured()
    with client, server:
        sent = [peers.pool.submit(end.sendall, memoryview(data)) for end in (client, server)]
        got = [peers.pool.submit(read_exactly, end, len(data)) for end in (client, server)]
        assert [future.result(TIMEOUT) == data for future in got] == [True, True]
        for future in sent:
            future.result(TIMEOUT)


def read_exactly(sock: ssl.SSLSocket, size: int) -> bytes:
    data, at = bytearray(size), 0
    while at < size:
        n = sock.recv_into(memoryview(data)[at:])
        assert n > 0
        at += n
    return bytes(data)


def test_unwrap_ends_tls_and_leaves_what_comes_behind(peers: Tls) -> None:
    client, server = peers.secured()
    with client, server:
        client.sendall(b"secret")

        def serve() -> bytes:
            assert server.recv(100) == b"secret"
            assert server.recv(100) == b""
            server.unwrap().sendall(b"in the clear")
            return server.recv(100)

        served = peers.pool.submit(serve)
        plain = client.unwrap()
        assert plain.recv(100) == b"in the clear"
        plain.sendall(b"me too")
        assert served.result(TIMEOUT) == b"me too"
        assert client.version() is None
        with pytest.raises(ValueError):
            client.unwrap()


def test_what_the_peer_leaves_open_is_an_end_or_an_error_as_asked(peers: Tls) -> None:
    """A connection that ends without a word of TLS."""
    for ragged, expected in ((True, b""), (False, ssl.SSLEOFError)):
        near, far = peers.pair()
        server = peers.wrap_server(far)
        client = peers.client.wrap_socket(near, server_hostname=NAME, suppress_ragged_eofs=ragged)
        with client:
            server.result(TIMEOUT).close()
            if expected == b"":
                assert client.recv(100) == b""
            else:
                with pytest.raises(ssl.SSLEOFError):
                    client.recv(100)


def test_a_timeout_covers_handshake_read_and_write(peers: Tls) -> None:
    near, far = peers.pair(0.1)
    with far, pytest.raises(TimeoutError, match="handshake operation timed out"):
        peers.client.wrap_socket(near, server_hostname=NAME)
    client, server = peers.secured()
    with client, server:
        client.settimeout(0.1)
        began = time.monotonic()
        with pytest.raises(TimeoutError, match="read operation timed out"):
            client.recv(100)
        assert 0.09 < time.monotonic() - began < TIMEOUT
        with pytest.raises(TimeoutError, match="write operation timed out"):
            client.sendall(bytes(64 << 20))


def test_who_drips_does_not_stretch_the_timeout(peers: Tls) -> None:
    """It is for the whole call."""
    near, far = peers.pair(0.3)
    done = threading.Event()

    def drip() -> None:
        with suppress(OSError):
            for byte in b"\x16\x03\x03\x10\x00" + bytes(1000):
                if done.wait(0.05):
                    return
                far.send(bytes([byte]))

    dripping = peers.pool.submit(drip)
    began = time.monotonic()
    with far, near, pytest.raises((TimeoutError, ssl.SSLError)):
        peers.client.wrap_socket(near, server_hostname=NAME)
    assert time.monotonic() - began < 25  # of 50 that it drips
    done.set()
    dripping.result(TIMEOUT)


def test_a_certificate_that_is_not_trusted_fails_on_both_sides(peers: Tls) -> None:
    for context, name in ((ssl.create_default_context(), NAME), (peers.client, "other.example")):
        near, far = peers.pair()
        server = peers.wrap_server(far)
        with pytest.raises(ssl.SSLCertVerificationError):
            context.wrap_socket(near, server_hostname=name)
        with pytest.raises((ssl.SSLError, ConnectionError)):
            server.result(TIMEOUT).recv(1)  # TLS 1.3: a server may be done by then
    assert near.fileno() == -1


def test_a_client_shows_its_certificate_or_is_turned_away(peers: Tls) -> None:
    peers.server.verify_mode = ssl.CERT_REQUIRED
    CA.configure_trust(peers.server)
    near, far = peers.pair()
    server = peers.wrap_server(far)
    client = peers.client.wrap_socket(near, server_hostname=NAME)
    with pytest.raises(ssl.SSLError):
        server.result(TIMEOUT)
    with client, pytest.raises((ssl.SSLError, ConnectionError)):
        client.recv(1)
    CA.issue_cert("client@example.org").configure_cert(peers.client)
    client, server_end = peers.secured()
    with client, server_end:
        assert ("email", "client@example.org") in server_end.getpeercert()["subjectAltName"]  # type: ignore[index,operator]


def test_a_server_may_choose_its_context_by_the_name(peers: Tls) -> None:
    """SNI; the callback gets the socket."""
    asked = []

    def choose(sock: ssl.SSLSocket, name: str, context: ssl.SSLContext) -> None:
        asked.append((type(sock), name))
        sock.context = peers.server

    front = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    CA.issue_cert("front.example").configure_cert(front)
    front.sni_callback = choose  # type: ignore[assignment]
    near, far = peers.pair()
    server = peers.pool.submit(front.wrap_socket, far, server_side=True)
    client = peers.client.wrap_socket(near, server_hostname=NAME)
    with client, server.result(TIMEOUT) as end:
        assert asked == [(type(end), NAME)]
        assert end.context is peers.server
        assert ("DNS", NAME) in client.getpeercert()["subjectAltName"]  # type: ignore[index,operator]


def test_a_session_is_resumed(peers: Tls) -> None:
    peers.client.maximum_version = ssl.TLSVersion.TLSv1_2
    client, server = peers.secured()
    session = client.session
    client.close()
    server.close()
    near, far = peers.pair()
    again = peers.wrap_server(far)
    with peers.client.wrap_socket(near, server_hostname=NAME, session=session) as client:
        assert client.session_reused
        assert client.get_channel_binding() is not None
        again.result(TIMEOUT).close()


def test_what_speaks_no_tls_is_told_so(peers: Tls) -> None:
    near, far = peers.pair()
    with near:
        server = peers.wrap_server(far)
        near.sendall(b"GET / HTTP/1.1\r\n\r\n")
        with pytest.raises(ssl.SSLError, match="HTTP_REQUEST"):
            server.result(TIMEOUT)


def test_a_listener_accepts_and_a_socket_connects_with_tls(peers: Tls) -> None:
    with (
        peers.server.wrap_socket(
            socket.create_server((peers.host, 0)), server_side=True
        ) as listener,
        peers.client.wrap_socket(socket.socket(), server_hostname=NAME) as client,
    ):
        assert client.version() is None and client.pending() == 0
        accepted = peers.pool.submit(listener.accept)
        client.settimeout(TIMEOUT)
        client.connect(listener.getsockname())
        server, address = accepted.result(TIMEOUT)
        assert address == client.getsockname()
        with server:
            client.sendall(b"hello")
            assert server.recv(10) == b"hello"
        with pytest.raises(ValueError):
            client.connect(listener.getsockname())
        with pytest.raises(ValueError):
            listener.connect(("10.9.0.2", 1))


def test_non_blocking_ends_shake_hands_and_talk_in_one_thread(peers: Tls) -> None:
    """By select, with what SSLWantReadError and SSLWantWriteError say."""
    near, far = peers.pair(0)
    options: dict[str, Any] = {"do_handshake_on_connect": False}
    client = peers.client.wrap_socket(near, server_hostname=NAME, **options)
    server = peers.server.wrap_socket(far, server_side=True, **options)
    data, got, sent = payload(2 << 20), bytearray(), 0
    with client, server:
        with pytest.raises(ssl.SSLWantReadError):
            server.do_handshake()
        together(client.do_handshake, client, server.do_handshake, server)

        def send() -> None:
            nonlocal sent
            while sent < len(data):
                sent += client.send(data[sent:])

        def receive() -> None:
            while len(got) < len(data):
                got.extend(server.recv(5000))

        together(send, client, receive, server)
        assert got == data
        with pytest.raises(ssl.SSLWantReadError):
            client.recv(1)


def together(one: Callable[[], Any], a: Any, other: Callable[[], Any], b: Any) -> None:
    """Go on with two calls, waiting for what each wants, until both are done."""
    calls = {a: one, b: other}
    wants = dict.fromkeys(calls, "now")
    end = time.monotonic() + TIMEOUT
    while calls:
        assert time.monotonic() < end
        for sock in [sock for sock in calls if wants[sock] == "now"]:
            try:
                calls[sock]()
                del calls[sock], wants[sock]
            except ssl.SSLWantReadError:
                wants[sock] = "read"
            except ssl.SSLWantWriteError:
                wants[sock] = "write"
        reading = [sock for sock, want in wants.items() if want == "read"]
        writing = [sock for sock, want in wants.items() if want == "write"]
        if reading or writing:
            ready = select.select(reading, writing, [], TIMEOUT)
            for sock in ready[0] + ready[1]:
                wants[sock] = "now"


def test_select_sees_the_records_that_were_not_read(peers: Tls) -> None:
    client, server = peers.secured()
    with client, server:
        server.sendall(b"first")
        server.sendall(b"second")
        assert client.recv(5) == b"first"
        assert client.pending() == 0
        assert select.select([client], [], [], TIMEOUT)[0] == [client]
        assert client.recv(100) == b"second"
        client.setblocking(False)
        with pytest.raises(ssl.SSLWantReadError):
            client.recv(1)


def test_files_above_and_files_through(peers: Tls) -> None:
    client, server = peers.secured()
    with client, server:
        with client.makefile("rwb") as file:
            file.write(b"line one\nline two\n")
            file.flush()
            assert server.recv(100) == b"line one\nline two\n"
            server.sendall(b"back\n")
            assert file.readline() == b"back\n"
        assert client.sendfile(io.BytesIO(b"from a file")) == 11
        assert server.recv(100) == b"from a file"


def test_what_tls_does_not_have_is_refused(peers: Tls) -> None:
    client, server = peers.secured()
    with client, server:
        for call in (
            lambda: client.send(b"x", socket.MSG_OOB),
            lambda: client.recv(1, socket.MSG_PEEK),
            lambda: client.sendto(b"x", ("10.9.0.1", 1)),
            lambda: client.recvfrom(1),
        ):
            with pytest.raises(ValueError):
                call()
        for refused in (lambda: client.sendmsg([b"x"]), lambda: client.recvmsg(1), client.dup):
            with pytest.raises(NotImplementedError):
                refused()
    for wrong in (
        {"server_side": True, "server_hostname": NAME},
        {"server_side": True, "session": object()},
        {"server_hostname": None},
    ):
        near, far = peers.pair()
        with near, far, pytest.raises(ValueError):
            peers.client.wrap_socket(near, **wrong)
    with socket.socket(type=socket.SOCK_DGRAM) as datagrams, pytest.raises(NotImplementedError):
        datagrams.bind((peers.host, 0))
        peers.client.wrap_socket(datagrams, server_hostname=NAME)


def test_a_stacks_own_sockets_are_wrapped_too(stack: Stack) -> None:
    peers = Tls(OURS)
    with stack.listen((OURS, 0)) as listener:
        near = stack.connect(listener.getsockname(), TIMEOUT)
        far, _ = listener.accept()
    server = peers.pool.submit(peers.server.wrap_socket, far, server_side=True)  # type: ignore[arg-type]
    client = peers.client.wrap_socket(near, server_hostname=NAME)  # type: ignore[arg-type]
    with client, server.result(TIMEOUT) as end:
        client.sendall(b"hello")
        assert end.recv(10) == b"hello"
    assert near.closed and far.closed


def test_sockets_of_the_kernel_get_the_standard_librarys(stack: Stack) -> None:
    peers = Tls(KERNELS)
    client, server = peers.secured()
    with client, server:
        assert type(client) is type(server) is ssl.SSLSocket
    peers.pool.shutdown()


def test_nothing_is_left_when_a_connection_is_done(stack: Stack) -> None:
    peers = Tls(OURS)
    for _ in range(3):
        for end in peers.secured():
            end.close()
    until = time.monotonic() + TIMEOUT
    while stack.usage()["tcbs"] > 0 and time.monotonic() < until:
        stack.run_once(0.05)
    assert stack.usage()["tcbs"] == 0
    peers.pool.shutdown()


# ------------------------------------------------------------------ programs of the library


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[::-1])

    def log_message(self, *_: Any) -> None:
        pass


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, address: Any) -> None:
        super().__init__(address, Handler, bind_and_activate=False)
        self.socket.close()
        self.socket = socket.socket()
        self.server_bind()
        self.server_activate()


def test_http_server_and_client_with_bodies_of_a_megabyte(
    peers: Tls, monkeypatch: pytest.MonkeyPatch
) -> None:
    body = payload(1 << 20)
    with Server((peers.host, 0)) as server:
        server.socket = peers.server.wrap_socket(server.socket, server_side=True)
        serving = peers.pool.submit(server.serve_forever, 0.05)
        conn = http.client.HTTPSConnection(
            peers.host, server.server_port, timeout=TIMEOUT, context=peers.client
        )
        conn._create_connection = socket.create_connection  # type: ignore[attr-defined]
        for _ in range(2):
            conn.request("POST", "/", body)
            response = conn.getresponse()
            assert (response.status, response.read()) == (200, body[::-1])
        conn.close()
        server.shutdown()
        serving.result(TIMEOUT)
