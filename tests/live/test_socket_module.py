# SPDX-License-Identifier: BSD-3-Clause
"""ustack.socket: the standard library's module over the process's stack."""

from __future__ import annotations

import asyncio
import http.client
import http.server
import select
import signal
import socket as kernel
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from pair import ring_url
from stopwatch import Stopwatch
from ustack import Stack, process, selectors, socket

OURS, PEERS = "10.9.0.2", "10.9.0.1"
PATIENCE = 20.0


@pytest.fixture
def peer() -> Iterator[Stack]:
    """A stack on the other side of the process's."""
    url = ring_url()
    process.install(None)
    with Stack(url, f"{OURS}/24") as ours, Stack(url, f"{PEERS}/24") as peers:
        process.install(ours)
        yield peers
        ours.close(linger=0)
        peers.close(linger=0)
    process.install(None)


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(8) as pool:
        yield pool


def connected(peer: Stack, pool: ThreadPoolExecutor, port: int = 80) -> tuple[Any, Any]:
    """Return the two ends of a connection: ours, accepted, and the peer's."""
    with socket.create_server((OURS, port)) as listener:
        near = pool.submit(peer.connect, (OURS, port), PATIENCE)
        conn, address = listener.accept()
        assert address[0] == PEERS
        return conn, near.result(PATIENCE)


def test_it_has_every_name_of_the_standard_librarys() -> None:
    assert [name for name in kernel.__all__ if not hasattr(socket, name)] == []
    assert issubclass(socket.socket, kernel.socket)


def test_it_is_the_kernels_until_it_names_an_owned_address(peer: Stack) -> None:
    with socket.socket() as sock:
        assert sock.endpoint is None
        sock.bind(("127.0.0.1", 0))
        assert sock.endpoint is None
        assert sock.getsockname()[0] == "127.0.0.1"
    with socket.socket() as sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.bind((OURS, 0))
        assert sock.endpoint is not None
        assert sock.getsockname()[0] == OURS
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) == 1


def test_bytes_go_both_ways(peer: Stack, pool: ThreadPoolExecutor) -> None:
    ours, theirs = connected(peer, pool)
    with ours, theirs:
        theirs.sendall(b"question")
        assert ours.recv(100) == b"question"
        ours.sendall(b"answer")
        assert theirs.recv(100) == b"answer"


def test_a_doorbell_polls_as_the_socket_does(peer: Stack, pool: ThreadPoolExecutor) -> None:
    ours, theirs = connected(peer, pool)
    with ours, theirs:
        assert select.select([ours], [ours], [], 0) == ([], [ours], [])
        theirs.sendall(b"x")
        assert select.select([ours], [], [], PATIENCE)[0] == [ours]
        assert ours.recv(100) == b"x"
        assert select.select([ours], [], [], 0)[0] == []


def test_a_timeout_is_kept(peer: Stack, pool: ThreadPoolExecutor) -> None:
    ours, theirs = connected(peer, pool)
    with ours, theirs:
        ours.settimeout(0.1)
        watch = Stopwatch()
        with pytest.raises(TimeoutError, match="timed out"):
            ours.recv(1)
        assert watch.seconds >= 0.1
        assert watch.own_seconds < 0.2


# ------------------------------------------------------- whose it is: routes and wildcards


def test_connections_go_by_the_stacks_routes(peer: Stack, pool: ThreadPoolExecutor) -> None:
    with peer.listen((PEERS, 81)) as listener:
        accepted = pool.submit(listener.accept)
        with socket.create_connection((PEERS, 81), timeout=PATIENCE) as sock:
            assert sock.endpoint is not None
            accepted.result(PATIENCE)[0].close()
    with kernel.create_server(("127.0.0.1", 0)) as server:
        sock = socket.create_connection(server.getsockname(), timeout=PATIENCE)
        assert sock.endpoint is None
        server.accept()[0].close()
        sock.close()


def test_a_listener_of_both_that_is_polled_accepts_from_both(
    peer: Stack, pool: ThreadPoolExecutor
) -> None:
    with socket.create_server(("", 0)) as listener:
        port = listener.getsockname()[1]
        listener.settimeout(PATIENCE)
        assert select.select([listener], [], [], 0)[0] == []
        with kernel.create_connection(("127.0.0.1", port)):
            assert select.select([listener], [], [], PATIENCE)[0] == [listener]
            conn, address = listener.accept()
            assert address[0] == "127.0.0.1"
            conn.close()
        near = pool.submit(peer.connect, (OURS, port), PATIENCE)
        assert select.select([listener], [], [], PATIENCE)[0] == [listener]
        conn, address = listener.accept()
        assert address[0] == PEERS
        conn.close()
        near.result(PATIENCE).close()


def test_a_wildcard_listener_gives_what_comes_within_its_timeout(
    peer: Stack, pool: ThreadPoolExecutor
) -> None:
    with socket.create_server(("", 0)) as listener:
        near = pool.submit(peer.connect, (OURS, listener.getsockname()[1]), PATIENCE)
        conn, address = listener.accept()
        with conn, near.result(PATIENCE):
            assert address[0] == PEERS
            assert conn.endpoint is not None
        listener.settimeout(0.05)
        with pytest.raises(TimeoutError):
            listener.accept()


@pytest.mark.parametrize("whose", ["ustack", "kernel"])
def test_the_wildcard_can_be_only_ones(peer: Stack, whose: str) -> None:
    process.place(wildcard=whose)
    try:
        with socket.create_server(("", 0)) as listener:
            assert (listener.endpoint is None) == (whose == "kernel")
    finally:
        process.place(wildcard=None)


def test_a_wildcard_datagram_socket_hears_of_both(peer: Stack, pool: ThreadPoolExecutor) -> None:
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock,
        kernel.socket(kernel.AF_INET, kernel.SOCK_DGRAM) as local,
        peer.udp((PEERS, 0)) as far,
    ):
        sock.bind(("", 0))
        port = sock.getsockname()[1]
        local.sendto(b"kernel", ("127.0.0.1", port))
        data, address = sock.recvfrom(100)
        assert data == b"kernel"
        sock.sendto(b"back", address)
        assert local.recv(100) == b"back"
        sent = pool.submit(lambda: (far.sendto(b"stack", (OURS, port)), far.recvfrom(100))[1])
        data, address = sock.recvfrom(100)
        assert (data, address[0]) == (b"stack", PEERS)
        sock.sendto(b"there", address)
        assert sent.result(PATIENCE)[0] == b"there"


def test_an_option_that_the_stack_lacks_is_said_when_it_becomes_the_stacks(peer: Stack) -> None:
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        sock.bind((OURS, 0))
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT) == 1
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, 1)
        with pytest.raises(OSError, match="cannot set option"):
            sock.bind((OURS, 0))
        assert sock.endpoint is None


# --------------------------------------------------------------- interrupts and threads


class Stop(Exception):
    pass


def calls_that_wait(peer: Stack, pool: ThreadPoolExecutor) -> tuple[dict[str, Any], list[Any]]:
    """Return calls that would last for ever, by name, and what is to be closed."""
    ours, theirs = connected(peer, pool)
    full, _theirs = connected(peer, pool, 82)
    full.setblocking(False)
    quiet = 0
    while quiet < 2:  # until nothing moves any more
        try:
            full.send(bytes(1 << 20))
            quiet = 0
        except BlockingIOError:
            quiet += 1
            select.select([full], [], [], 0.3)
    full.setblocking(True)
    listener = socket.create_server((OURS, 83))
    both = socket.create_server(("", 0))
    lost = socket.socket()
    datagrams = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    datagrams.bind((OURS, 0))
    selector = selectors.DefaultSelector()
    selector.register(ours, selectors.EVENT_READ)
    socks = [ours, theirs, full, _theirs, listener, both, lost, datagrams, selector]
    return {
        "recv": lambda: ours.recv(1),
        "recv_into": lambda: ours.recv_into(bytearray(1)),
        "recv MSG_PEEK": lambda: ours.recv(1, socket.MSG_PEEK),
        "recvfrom": lambda: datagrams.recvfrom(1),
        "recvmsg": lambda: datagrams.recvmsg(1),
        "recv of a datagram": lambda: datagrams.recv(1),
        "send": lambda: full.send(b"x"),
        "sendall": lambda: full.sendall(b"x"),
        "accept": listener.accept,
        "accept of both": both.accept,
        "connect": lambda: lost.connect(("10.9.0.77", 1)),
        "select": lambda: select.select([ours], [], []),
        "selector": lambda: selector.select(),
        "makefile": lambda: ours.makefile("rb").read(1),
    }, socks


@pytest.mark.quiet
def test_every_blocking_call_notices_a_signal_within_100_ms(
    peer: Stack, pool: ThreadPoolExecutor
) -> None:
    def stop(*_: object) -> None:
        nonlocal rung
        rung = Stopwatch()
        raise Stop

    rung = Stopwatch()
    calls, socks = calls_that_wait(peer, pool)
    before = signal.signal(signal.SIGALRM, stop)
    late = {}
    try:
        for name, call in calls.items():
            signal.setitimer(signal.ITIMER_REAL, 0.03)
            with pytest.raises(Stop):
                call()
            late[name] = rung.own_seconds
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert [(name, took) for name, took in late.items() if took > 0.1] == []
    for sock in socks:
        sock.close()


@pytest.mark.quiet
def test_every_blocking_call_keeps_its_timeout_within_100_ms(
    peer: Stack, pool: ThreadPoolExecutor
) -> None:
    calls, socks = calls_that_wait(peer, pool)
    for sock in socks:
        if isinstance(sock, socket.socket):
            sock.settimeout(0.03)
    late = {}
    for name, call in calls.items():
        if not name.startswith("select"):
            watch = Stopwatch()
            with pytest.raises(TimeoutError):
                call()
            assert watch.seconds >= 0.03
            late[name] = watch.own_seconds - 0.03
    assert [(name, took) for name, took in late.items() if took > 0.1] == []
    for sock in socks:
        sock.close()


def test_threads_wait_together(process_stack: Stack, pool: ThreadPoolExecutor) -> None:
    def serve(conn: Any) -> int:
        total = 0
        with conn:
            while data := conn.recv(65536):
                conn.sendall(data)
                total += len(data)
        return total

    def talk(number: int) -> bool:
        message = b"%8d" % number * 1000
        with socket.create_connection(address, timeout=PATIENCE) as sock:
            for _ in range(20):
                sock.sendall(message)
                with sock.makefile("rb") as file:
                    if file.read(len(message)) != message:
                        return False
        return True

    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = listener.getsockname()
        talkers = [pool.submit(talk, number) for number in range(4)]
        servers = [pool.submit(serve, listener.accept()[0]) for _ in talkers]
        assert all(talker.result(PATIENCE) for talker in talkers)
        assert [server.result(PATIENCE) for server in servers] == [20 * 8000] * 4


def test_closing_ends_another_threads_wait(process_stack: Stack, pool: ThreadPoolExecutor) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        waiting = pool.submit(listener.accept)
        time.sleep(0.02)
    with pytest.raises(OSError, match="Bad file descriptor"):
        waiting.result(PATIENCE)


# ------------------------------------------------------------------ other people's loops


def test_stock_asyncio_runs_over_doorbells(process_stack: Stack) -> None:
    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
        writer.close()

    async def main() -> bytes:
        listener = socket.create_server(("127.0.0.1", 0))
        server = await asyncio.start_server(echo, sock=listener)
        client = socket.socket()
        client.setblocking(False)
        await asyncio.get_running_loop().sock_connect(client, listener.getsockname())
        reader, writer = await asyncio.open_connection(sock=client)
        writer.write(message)
        writer.write_eof()
        answer = await asyncio.wait_for(reader.read(), PATIENCE)
        writer.close()
        server.close()
        await server.wait_closed()
        return answer

    message = bytes(range(256)) * 4096
    with asyncio.Runner(loop_factory=asyncio.SelectorEventLoop) as runner:
        assert runner.run(main()) == message


TRIO = """
import socket
import ustack.socket
from ustack import Stack, process

socket.socket = ustack.socket.socket
socket.socketpair = ustack.socket.socketpair
import trio

message = bytes(range(256)) * 4096

async def main():
    async def echo(stream):
        async for data in stream:
            await stream.send_all(data)
        await stream.send_eof()

    async with trio.open_nursery() as nursery:
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        assert listeners[0].socket._sock.endpoint is not None
        nursery.start_soon(trio.serve_listeners, echo, listeners)
        port = listeners[0].socket.getsockname()[1]
        stream = await trio.open_tcp_stream("127.0.0.1", port)
        answer = b""
        async with trio.open_nursery() as writers:
            writers.start_soon(stream.send_all, message)
            while len(answer) < len(message):
                answer += await stream.receive_some(65536)
        print(answer == message)
        nursery.cancel_scope.cancel()

with Stack("loop:") as stack:
    process.install(stack)
    trio.run(main)
    stack.close(linger=0)
"""


def test_trio_runs_over_doorbells() -> None:
    pytest.importorskip("trio")
    done = subprocess.run([sys.executable, "-c", TRIO], capture_output=True, text=True, timeout=60)
    assert (done.stdout, done.stderr) == ("True\n", "")


def test_socketserver_and_http_run_by_import_swap(
    process_stack: Stack, pool: ThreadPoolExecutor
) -> None:
    """Modules of the standard library, with their name socket pointed here."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("socket.socket", socket.socket)
        patch.setattr("socket.create_connection", socket.create_connection)

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                self.send_response(200)
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None: ...

        with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
            assert server.socket.endpoint is not None  # type: ignore[attr-defined]
            running = pool.submit(server.serve_forever, 0.01)
            conn = http.client.HTTPConnection(*server.server_address[:2], timeout=PATIENCE)
            conn.request("POST", "/", bytes(1 << 20))
            assert len(conn.getresponse().read()) == 1 << 20
            conn.close()
            server.shutdown()
            running.result(PATIENCE)
