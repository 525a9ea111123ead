# SPDX-License-Identifier: BSD-3-Clause
"""UDP sockets that wait: two stacks, two threads, real time; and routers' advertisements."""

from __future__ import annotations

import errno
import socket
import struct
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

import frames
from pair import CLIENT, SERVER, SMALL, Pair, ring_url
from ustack import Stack
from ustack.io import Port, open_port

PATIENCE = 20.0
ROUTER, ROUTER_MAC, ALL_NODES = "fe80::51", bytes.fromhex("020000000051"), "ff02::1"


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(8) as pool:
        yield pool


@pytest.fixture
def pair(pool: ThreadPoolExecutor) -> Iterator[Pair]:
    """Closed before the pool, which ends the waits of all its threads."""
    with Pair(spin=50e-6) as pair:
        yield pair


def test_an_echo_server_and_its_client(pair: Pair, pool: ThreadPoolExecutor) -> None:
    server, client = pair.server.udp((SERVER, 7)), pair.client.udp()

    def serve() -> int:
        served = 0
        while True:
            data, source = server.recvfrom(65535)
            if not data:
                return served
            server.sendto(data, source)
            served += 1

    with server, client:
        served = pool.submit(serve)
        client.settimeout(PATIENCE)
        client.connect((SERVER, 7))
        for i in range(300):
            client.send(b"%d" % i)
            assert client.recv(100) == b"%d" % i
        client.send(b"")
        while not served.done():
            pair.client.run_once(0.01)
        assert served.result(0) == 300


def test_a_receive_ends_at_its_timeout(pair: Pair) -> None:
    with pair.client.udp() as sock:
        sock.settimeout(0.1)
        start = time.monotonic()
        with pytest.raises(TimeoutError, match=r"recv on <ustack\.UdpSocket .* after 0\.1 s"):
            sock.recv(1)
        assert 0.1 <= time.monotonic() - start < PATIENCE
        sock.settimeout(0)
        with pytest.raises(BlockingIOError):
            sock.recv(1)
        assert sock.gettimeout() == 0
        assert not sock.getblocking()


def test_a_refusal_wakes_who_waits(pair: Pair, pool: ThreadPoolExecutor) -> None:
    over = threading.Event()

    def drive() -> None:
        while not over.is_set():
            pair.server.run_once(0.01)

    pool.submit(drive)
    try:
        with pair.client.udp() as sock:
            sock.settimeout(PATIENCE)
            sock.connect((SERVER, 9))
            sock.send(b"x")
            with pytest.raises(ConnectionRefusedError):
                sock.recv(1)
    finally:
        over.set()


def test_closing_ends_the_wait_of_another_thread(pair: Pair, pool: ThreadPoolExecutor) -> None:
    sock = pair.client.udp((CLIENT, 9))
    waiting = pool.submit(sock.recv, 1)
    while pair.client.counters()["worker.sleeps"] == 0:
        time.sleep(0.001)
    sock.close()
    with pytest.raises(OSError) as caught:
        waiting.result(PATIENCE)
    assert caught.value.errno == errno.EBADF


# -------------------------------------------------------------------------------- autoconfiguration


def advertise(port: Port, prefix: str, valid: int = 600, lifetime: int = 1800) -> None:
    """Send what a router says to all nodes (RFC 4861 4.2, 4.6.2)."""
    option = struct.pack("!BBBBIII", 3, 4, 64, 0xC0, valid, valid, 0) + frames.packed(prefix)
    rest, payload = struct.pack("!BBH", 64, 0, lifetime), bytes(8) + option
    src, dst = frames.packed(ROUTER), frames.packed(ALL_NODES)
    message = frames.icmp6(src, dst, 134, 0, rest, payload)
    packet = frames.ipv6(src, dst, 58, message, ttl=255)
    assert port.send(frames.ethernet(bytes.fromhex("333300000001"), ROUTER_MAC, 0x86DD, packet))


def test_a_router_gives_an_address_and_the_way_out() -> None:
    url = ring_url()
    with open_port(url) as router:
        ours = open_port(url)
        advertise(router, "2001:db8:1::")
        with Stack(ours, settings=SMALL | {"neigh.retrans_ms": 50}, autoconf=True) as stack:
            found, local = stack.addresses
            assert found.interface.network.with_prefixlen == "2001:db8:1::/64"
            assert (found.auto, found.tentative) == (True, False)
            assert found.valid is not None
            assert 500 < found.valid <= 600
            assert local.interface.is_link_local
            (route,) = stack.routes
            assert (str(route.network), str(route.gateway)) == ("::/0", ROUTER)
            assert stack.reaches("2001:db8:ffff::1")
            with stack.udp(family=socket.AF_INET6) as sock:
                sock.connect(("2001:db8:ffff::1", 53))
                assert sock.getsockname()[0] == found.host


def test_without_a_router_the_constructor_waits_no_longer_than_it_is_told() -> None:
    settings = SMALL | {"ip6.dad_transmits": 0}
    start = time.monotonic()
    with Stack(ring_url(), "10.9.0.2/24", settings=settings, autoconf=0.2) as stack:
        assert 0.2 <= time.monotonic() - start < PATIENCE
        assert [a.auto for a in stack.addresses] == [False, False]
