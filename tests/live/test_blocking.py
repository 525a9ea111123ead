# SPDX-License-Identifier: BSD-3-Clause
"""Blocking calls: two stacks, two threads, real time."""

from __future__ import annotations

import _thread
import hashlib
import select
import signal
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from pair import SERVER, Pair
from stopwatch import Stopwatch
from ustack import Socket, Stack, UdpSocket

pytestmark = pytest.mark.quiet

SOON = 0.1  # a blocking call notices its timeout or a signal within this
PATIENCE = 20.0


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(16) as pool:
        yield pool


@pytest.fixture
def pair(pool: ThreadPoolExecutor) -> Iterator[Pair]:
    """Closed before the pool, which ends the waits of all its threads."""
    with Pair(spin=50e-6) as pair:
        yield pair


def echo(conn: Socket) -> int:
    """Echo until the end; the bytes echoed."""
    total = 0
    with conn:
        while data := conn.recv(65536):
            conn.sendall(data)
            total += len(data)
    return total


def established(pair: Pair, pool: ThreadPoolExecutor, port: int = 80) -> tuple[Socket, Socket]:
    with pair.server.listen((SERVER, port)) as listener:
        accepted = pool.submit(listener.accept)
        near = pair.client.connect((SERVER, port), timeout=PATIENCE)
        return near, accepted.result(PATIENCE)[0]


def test_an_echo_server_and_its_client(pair: Pair, pool: ThreadPoolExecutor) -> None:
    near, far = established(pair, pool)
    served = pool.submit(echo, far)
    for i in range(500):
        near.sendall(b"%64d" % i)
        assert near.recv(64, socket.MSG_WAITALL) == b"%64d" % i
    near.close()
    assert served.result(PATIENCE) == 500 * 64


def test_a_megabyte_arrives_whole(pair: Pair, pool: ThreadPoolExecutor) -> None:
    near, far = established(pair, pool)
    data = bytes(range(256)) * 4096

    def receive() -> str:
        digest = hashlib.sha256()
        while piece := far.recv(1 << 20):
            digest.update(piece)
        return digest.hexdigest()

    received = pool.submit(receive)
    near.sendall(memoryview(data))
    near.shutdown(socket.SHUT_WR)
    drive(pair.client, received)
    assert received.result(0) == hashlib.sha256(data).hexdigest()


def drive(stack: Stack, until: Future[str]) -> None:
    end = time.monotonic() + PATIENCE
    while not until.done() and time.monotonic() < end:
        stack.run_once(0.05)


def test_many_threads_share_one_stack(pair: Pair, pool: ThreadPoolExecutor) -> None:
    """One drives, the others follow; nobody's data goes to another."""
    listener = pair.server.listen((SERVER, 80))

    def serve() -> int:
        return echo(listener.accept()[0])

    def ask(name: int) -> int:
        with pair.client.connect((SERVER, 80), timeout=PATIENCE) as conn:
            for i in range(50):
                conn.sendall(b"%8d%8d" % (name, i))
                assert conn.recv(16, socket.MSG_WAITALL) == b"%8d%8d" % (name, i)
            conn.shutdown(socket.SHUT_WR)
            assert conn.recv(1) == b""
        return 50 * 16

    served = [pool.submit(serve) for _ in range(6)]
    asked = [pool.submit(ask, name) for name in range(6)]
    assert [job.result(PATIENCE) for job in asked] == [800] * 6
    assert [job.result(PATIENCE) for job in served] == [800] * 6


# ------------------------------------------------------------------------- timeouts and signals


def waits(pair: Pair, pool: ThreadPoolExecutor) -> dict[str, Callable[[float | None], object]]:
    """Every call that blocks, to be called with its timeout."""
    near, far = established(pair, pool)
    listener = pair.server.listen((SERVER, 81))
    udp = pair.client.udp(("", 82))
    ping = pair.client.socket(socket.AF_INET, socket.SOCK_DGRAM, socket.IPPROTO_ICMP)
    full = bytes(1 << 23)

    def on(
        sock: Socket | UdpSocket, call: Callable[[], object]
    ) -> Callable[[float | None], object]:
        def wait(timeout: float | None) -> object:
            sock.settimeout(timeout)
            return call()

        return wait

    def connect() -> object:
        sock = pair.client.socket()
        sock.settimeout(silent.gettimeout())
        return sock.connect(("10.9.0.77", 80))

    def poll() -> object:
        poll = pair.client.poll()
        poll.register(near, select.POLLIN)
        timeout = silent.gettimeout()
        if not poll.poll(None if timeout is None else timeout * 1000):
            raise TimeoutError
        return None

    def send() -> object:
        while True:
            far.send(full)

    def run_once(timeout: float | None) -> object:
        while pair.client.run_once(1000.0 if timeout is None else timeout):
            pass  # there was work; not so the last time
        raise TimeoutError

    silent = pair.client.socket()
    return {
        "recv": on(near, lambda: near.recv(1)),
        "recv waitall": on(near, lambda: near.recv(1, socket.MSG_WAITALL)),
        "recv_into": on(near, lambda: near.recv_into(bytearray(1))),
        "recvmsg": on(near, lambda: near.recvmsg(1)),
        "accept": on(listener, listener.accept),
        "send": on(far, send),
        "sendall": on(far, lambda: far.sendall(full)),
        "connect": on(silent, connect),
        "Stack.connect": lambda timeout: pair.client.connect(("10.9.0.77", 80), timeout),
        "poll": on(silent, poll),
        "run_once": run_once,
        "udp recv": on(udp, lambda: udp.recv(1)),
        "udp recv_into": on(udp, lambda: udp.recv_into(bytearray(1))),
        "udp recvfrom": on(udp, lambda: udp.recvfrom(1)),
        "udp recvfrom_into": on(udp, lambda: udp.recvfrom_into(bytearray(1))),
        "udp recvmsg": on(udp, lambda: udp.recvmsg(1)),
        "udp recvmsg_into": on(udp, lambda: udp.recvmsg_into([bytearray(1)])),
        "ping recv": on(ping, lambda: ping.recv(1)),
    }


CALLS = [
    "recv", "recv waitall", "recv_into", "recvmsg", "accept", "send", "sendall", "connect",
    "Stack.connect", "poll", "run_once", "udp recv", "udp recv_into", "udp recvfrom",
    "udp recvfrom_into", "udp recvmsg", "udp recvmsg_into", "ping recv",
]  # fmt: skip
SAY_NOTHING = "poll", "run_once"  # these do not raise, but tell that there was nothing


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize("timeout", [0.02, 0.12])
def test_a_timeout_is_honoured_within_100_ms(
    pair: Pair, pool: ThreadPoolExecutor, name: str, timeout: float
) -> None:
    calls = waits(pair, pool)
    watch = Stopwatch()
    with pytest.raises(TimeoutError) as caught:
        calls[name](timeout)
    assert watch.seconds >= timeout
    assert watch.own_seconds < timeout + SOON
    if name not in SAY_NOTHING:
        assert "timed out after" in str(caught.value)


@pytest.mark.parametrize("name", CALLS)
def test_ctrl_c_is_honoured_within_100_ms(pair: Pair, pool: ThreadPoolExecutor, name: str) -> None:
    calls = waits(pair, pool)
    sent = []

    def interrupt() -> None:
        sent.append(Stopwatch())
        signal.raise_signal(signal.SIGINT)  # in this thread: the main one is not woken by it

    timer = threading.Timer(0.07, interrupt)
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        calls[name](None)
    assert sent[0].own_seconds < SOON
    timer.join()


def test_ctrl_c_ends_a_close_that_lingers_within_100_ms(
    pair: Pair, pool: ThreadPoolExecutor
) -> None:
    near, _far = established(pair, pool)
    near.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 10))
    near.settimeout(0.05)
    with pytest.raises(TimeoutError):
        near.sendall(bytes(1 << 23))
    watch = Stopwatch()
    threading.Timer(0.07, signal.raise_signal, [signal.SIGINT]).start()
    with pytest.raises(KeyboardInterrupt):
        near.close()
    assert watch.own_seconds < 0.07 + SOON
    assert near.closed


def test_ctrl_c_reaches_a_follower_too(pair: Pair, pool: ThreadPoolExecutor) -> None:
    near, _far = established(pair, pool)
    other = pair.client.socket()
    other.bind(("", 99))
    other.listen()
    driver = pool.submit(other.accept)
    while not driver.running():
        time.sleep(0.001)
    time.sleep(0.05)
    threading.Timer(0.1, _thread.interrupt_main).start()
    watch = Stopwatch()
    with pytest.raises(KeyboardInterrupt):
        near.recv(1)
    assert watch.own_seconds < 0.1 + SOON
    other.close()
    with pytest.raises(OSError):
        driver.result(PATIENCE)


def test_a_timeout_of_sendall_covers_the_whole(pair: Pair, pool: ThreadPoolExecutor) -> None:
    """A reader that takes a little now and then must not extend it."""
    near, far = established(pair, pool)
    stop = threading.Event()

    def sip() -> None:
        while not stop.is_set():
            far.recv(20000)
            time.sleep(0.02)

    sipping = pool.submit(sip)
    near.settimeout(0.3)
    watch = Stopwatch()
    with pytest.raises(TimeoutError):
        near.sendall(bytes(1 << 24))
    assert watch.seconds >= 0.3
    assert watch.own_seconds < 0.3 + SOON
    stop.set()
    sipping.result(PATIENCE)


# -------------------------------------------------------------------------------- other threads


def test_closing_a_socket_ends_the_wait_of_another_thread(
    pair: Pair, pool: ThreadPoolExecutor
) -> None:
    near, _far = established(pair, pool)
    waiting = pool.submit(near.recv, 1)
    time.sleep(0.05)
    near.close()
    with pytest.raises(OSError):
        waiting.result(PATIENCE)


def test_closing_the_stack_ends_all_waits(pool: ThreadPoolExecutor) -> None:
    pair = Pair(spin=50e-6)
    near, _far = established(pair, pool)
    listener = pair.server.listen((SERVER, 80))
    waiting = [pool.submit(call) for call in (lambda: near.recv(1), listener.accept) for _ in "ab"]
    time.sleep(0.05)
    pair.close()
    for job in waiting:
        with pytest.raises(OSError):
            job.result(PATIENCE)


def test_a_stack_delivers_what_is_left_before_it_closes(
    pair: Pair, pool: ThreadPoolExecutor
) -> None:
    near, far = established(pair, pool)
    served = pool.submit(far.recv, 100000, socket.MSG_WAITALL)
    near.sendall(bytes(100000))
    pair.client.close()
    assert len(served.result(PATIENCE)) == 100000


def test_connect_finds_nobody_listening_at_once(pair: Pair, pool: ThreadPoolExecutor) -> None:
    driver = pool.submit(pair.server.listen((SERVER, 81)).accept)
    with pytest.raises(ConnectionRefusedError, match=r"connect to 10\.9\.0\.1:9"):
        pair.client.connect((SERVER, 9))
    assert pair.client.socket().connect_ex((SERVER, 9)) == 111
    pair.client.connect((SERVER, 81)).close()
    driver.result(PATIENCE)[0].close()


def test_an_idle_stack_uses_little_cpu(pair: Pair, pool: ThreadPoolExecutor) -> None:
    near, _far = established(pair, pool)
    near.settimeout(1.0)
    start = time.process_time()
    with pytest.raises(TimeoutError):
        near.recv(1)
    assert time.process_time() - start < 0.05
