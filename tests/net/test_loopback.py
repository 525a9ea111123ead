# SPDX-License-Identifier: BSD-3-Clause
"""A stack talks to its own addresses, and to 127.0.0.1 and ::1 when it owns them, on no wire."""

from __future__ import annotations

import errno
import hashlib
import itertools
from collections.abc import Iterator

import pytest

import frames
import rig
from lan import HOST_IP, HOST_MAC, OUR_IP, OUR_IP6, OUR_MAC, Lan
from rig import Engine, lib

#: where to connect → what the stack is then called by the one who accepts
OWN = {
    OUR_IP: OUR_IP,
    OUR_IP6: OUR_IP6,
    "127.0.0.1": "127.0.0.1",
    "127.1.2.3": "127.0.0.1",
    "::1": "::1",
}

PORT = 80


@pytest.fixture
def engine() -> Iterator[Engine]:
    """An engine that owns an address of each version, and the loopback's."""
    engine = Engine(OUR_IP, mac=OUR_MAC, settings={"mbuf.large": 64, "mbuf.small": 8192})
    engine.enable_loopback()
    engine.add_addr(OUR_IP6, 64)
    list(engine.output())
    yield engine
    engine.check()
    engine.free()


def settle(engine: Engine, *, wire: int = 0) -> None:
    """Let everything happen that needs no time; so many frames may leave."""
    for _ in range(10_000):
        assert len(list(engine.output())) <= wire
        if engine.deadline > engine.now:
            return
        engine.tick()
    raise AssertionError("it does not settle")


def connected(engine: Engine, host: str, port: int = PORT) -> tuple[int, int]:
    """Both ends of a connection to one of the engine's own addresses."""
    listener = listen(engine, port)
    client = engine.connect(host, port)
    settle(engine)
    server = engine.accept(listener)
    engine.close(listener)
    return client, server


def listen(engine: Engine, port: int) -> int:
    handle = engine.socket()
    rig.check(lib.ust_bind(engine.raw, handle, rig.addr("::"), port))
    rig.check(lib.ust_listen(engine.raw, handle, 128))
    return handle


def used(engine: Engine) -> tuple[int, int, int]:
    usage = engine.usage()
    return usage.mbufs_small, usage.mbufs_large, usage.mbufs_ref


# ------------------------------------------------------------------------------------ TCP


@pytest.mark.parametrize("host", OWN)
def test_a_connection_to_an_own_address_carries_bytes_both_ways(engine: Engine, host: str) -> None:
    client, server = connected(engine, host)
    assert engine.send(client, b"question") == 8
    settle(engine)
    assert engine.recv(server) == b"question"
    engine.send(server, b"answer")
    settle(engine)
    assert engine.recv(client) == b"answer"
    assert engine.info(client).state == lib.UST_ESTABLISHED


@pytest.mark.parametrize("host", OWN)
def test_the_source_is_the_address_itself_or_the_loopbacks_first(engine: Engine, host: str) -> None:
    """RFC 6724 5, rule 1; for 127.0.0.0/8, Linux."""
    client, server = connected(engine, host)
    assert engine.peer(server) == (OWN[host], engine.names(client)[0])
    assert engine.peer(client) == (host, PORT)


def test_nothing_of_it_is_seen_on_the_wire_and_no_neighbour_is_asked(engine: Engine) -> None:
    connected(engine, OUR_IP)
    assert engine.neighbours() == {}
    assert engine.counters()["loop.in"] == 3
    assert engine.counters()["arp.out.request"] == 0


def test_nobody_listening_is_a_reset(engine: Engine) -> None:
    client = engine.connect(OUR_IP, 81)
    settle(engine)
    assert engine.getopt(client, lib.UST_OPT_ERROR) == errno.ECONNREFUSED


@pytest.mark.parametrize("host", [OUR_IP, "::1"])
def test_a_megabyte_arrives_whole_through_the_window(engine: Engine, host: str) -> None:
    client, server = connected(engine, host)
    data, got = hashlib.shake_128(host.encode()).digest(1_000_000), bytearray()
    at = 0
    for _ in range(2000):
        try:
            at += engine.send(client, data[at : at + 100_000])
        except BlockingIOError:
            pass
        settle(engine)
        while engine.ready(server) & lib.UST_READABLE:
            got += engine.recv(server, 300_000)
        engine.now = max(engine.now + 1, min(engine.deadline, engine.now + rig.MS))
        engine.tick()
        if len(got) == len(data):
            break
    assert bytes(got) == data
    assert engine.counters()["tcp.rexmt.segs"] == 0


def test_segments_are_as_large_as_the_loopback_carries(engine: Engine) -> None:
    """MUST-16 over an MTU of 65535, less the timestamps."""
    for number, (host, headers) in enumerate([(OUR_IP, 40), (OUR_IP6, 60)]):
        client, _ = connected(engine, host, PORT + number)
        assert engine.info(client).snd_mss == 65535 - headers - 12
        assert engine.path_mtu(host) == 65535


def test_super_segments_go_round_whole() -> None:
    engine = Engine(caps=lib.UST_CAP_TSO | lib.UST_CAP_TX_CSUM, settings={"mbuf.large": 64})
    engine.enable_loopback()
    list(engine.output())
    listener = listen(engine, PORT)
    client = engine.socket()
    engine.setopt(client, lib.UST_OPT_MAXSEG, 1000)
    lib.ust_connect(engine.raw, client, rig.addr("127.0.0.1"), PORT)
    settle(engine)
    server = engine.accept(listener)
    before = engine.counters()["loop.in"]
    data = hashlib.shake_128(b"super").digest(8 * 988)
    engine.send(client, data)
    settle(engine)
    assert engine.recv(server) == data
    assert engine.counters()["loop.in"] - before <= 4  # text and an ACK or two
    engine.check()
    engine.free()


def test_a_socket_can_connect_to_itself(engine: Engine) -> None:
    """RFC 9293 3.5: a simultaneous open, of one with itself."""
    sock = engine.socket()
    engine.bind(sock, "127.0.0.1", 4000)
    rig.check(-lib.ust_connect(engine.raw, sock, rig.addr("127.0.0.1"), 4000) - errno.EINPROGRESS)
    settle(engine)
    assert engine.info(sock).state == lib.UST_ESTABLISHED
    engine.send(sock, b"to myself")
    settle(engine)
    assert engine.recv(sock) == b"to myself"
    engine.shutdown(sock)
    settle(engine)
    assert engine.recv(sock) == b""


def test_closing_ends_in_time_wait_and_gives_every_buffer_back(engine: Engine) -> None:
    before = used(engine)
    client, server = connected(engine, "127.0.0.1")
    port = engine.names(client)[0]
    engine.send(client, bytes(100_000))
    engine.close(client)
    got = 0
    for _ in range(1000):
        settle(engine)
        while engine.ready(server) & lib.UST_READABLE and (data := engine.recv(server)):
            got += len(data)
        if got == 100_000:
            break
        engine.now += rig.MS
        engine.tick()
    engine.close(server)
    settle(engine)
    assert got == 100_000
    flow = engine.flow_between("127.0.0.1", port, "127.0.0.1", PORT)
    assert flow.state == lib.UST_TIME_WAIT
    assert engine.usage().tcbs == 0
    assert used(engine) == before


@pytest.mark.parametrize(("host", "free"), [("127.0.0.1", True), ("::1", True), (OUR_IP, False)])
def test_by_default_time_wait_gives_its_port_back_over_loopback_after_a_second(
    engine: Engine, host: str, free: bool
) -> None:
    """tcp.tw_reuse 2, as Linux: 127.0.0.0/8 and ::1 lose nothing."""
    client, server = connected(engine, host)
    port = engine.names(client)[0]
    engine.close(client)
    settle(engine)
    engine.close(server)
    settle(engine)
    engine.now += round(1.1 * rig.SECOND)
    engine.tick()
    listen(engine, PORT)
    again = engine.socket()
    engine.setopt(again, lib.UST_OPT_REUSEADDR, 1)
    engine.bind(again, OWN[host], port)
    result = lib.ust_connect(engine.raw, again, rig.addr(host), PORT)
    assert result == (-errno.EINPROGRESS if free else -errno.EADDRINUSE)
    settle(engine)
    assert engine.info(again).state == (lib.UST_ESTABLISHED if free else lib.UST_CLOSED)


def test_two_ends_cannot_keep_the_wire_waiting() -> None:
    """One tick takes in a burst; a frame for the wire leaves in between."""
    engine = Engine(settings={"udp.max_socks": 8})
    engine.neighbour("10.0.0.1", HOST_MAC)
    list(engine.output())
    sink, outward = engine.udp("10.0.0.2", 9), engine.udp("10.0.0.2", 10)
    for _ in range(200):
        engine.sendto(sink, b"to myself", "10.0.0.2", 9)
    engine.sendto(outward, b"away", "10.0.0.1", 9)
    assert len(list(engine.output())) == 1
    engine.tick()
    assert engine.counters()["loop.in"] == 64
    settle(engine)
    assert engine.counters()["loop.in"] == 200
    engine.free()


def test_who_sends_to_itself_without_end_is_held_back_and_loses_nothing(engine: Engine) -> None:
    sock = engine.udp("127.0.0.1", 9)
    engine.setopt(sock, lib.UST_OPT_RCVBUF, 1 << 24)
    with pytest.raises(BlockingIOError):
        for sent in itertools.count():
            engine.sendto(sock, b"%d" % sent, "127.0.0.1", 9)
            engine.extract()
    usage = engine.usage()
    assert usage.loopq == 256
    assert usage.loopq + usage.outq == sent
    settle(engine)
    assert engine.counters()["loop.in"] == sent
    assert [engine.recvfrom(sock)[0] for _ in range(500)] == [b"%d" % i for i in range(500)]


def test_without_mbufs_a_frame_is_dropped_counted_and_sent_again(engine: Engine) -> None:
    client, server = connected(engine, "127.0.0.1")
    engine.send(client, bytes(3000))
    list(engine.output())
    lib.ust_engine_fail_alloc(engine.raw, 1, 1)
    engine.tick()
    lib.ust_engine_fail_alloc(engine.raw, 0, 0)
    assert engine.counters()["loop.drop.nombuf"] == 1
    for _ in range(100):
        settle(engine)
        engine.now = engine.deadline
        engine.tick()
        if engine.info(client).outq == 0:
            break
    assert engine.recv(server) == bytes(3000)
    assert engine.counters()["tcp.rexmt.segs"] >= 1


def test_the_same_calls_give_the_same_frames() -> None:
    """The engine stays a function of its calls."""

    def play() -> int:
        engine = Engine(settings={"engine.trace": 1})
        engine.enable_loopback()
        list(engine.output())
        client, server = connected(engine, "127.0.0.1")
        for size in range(1, 1000, 37):
            engine.send(client, bytes(size))
            settle(engine)
            engine.send(server, engine.recv(server))
        settle(engine)
        value = engine.trace_hash
        engine.free()
        return value

    assert play() == play() != 0


def test_a_copy_of_an_engine_goes_on_alike(engine: Engine) -> None:
    client, server = connected(engine, "::1")
    engine.send(client, b"both")
    list(engine.output())
    twin = engine.clone()
    for one in (engine, twin):
        settle(one)
        assert one.recv(server) == b"both"
    twin.free()


# ------------------------------------------------------------------------- UDP and ICMP


@pytest.mark.parametrize("host", OWN)
def test_a_datagram_to_an_own_address_arrives_with_its_sender(engine: Engine, host: str) -> None:
    server, client = engine.udp("::", 53), engine.udp("::", 5353)
    engine.sendto(client, b"who", host, 53)
    settle(engine)
    assert engine.recvfrom(server) == (b"who", OWN[host], 5353)


@pytest.mark.parametrize(
    ("host", "size", "pieces"), [("127.0.0.1", 65507, 1), ("::1", 65487 - 12, 1), ("::1", 65527, 2)]
)
def test_the_largest_datagrams_pass(engine: Engine, host: str, size: int, pieces: int) -> None:
    """65535 bytes of packet, header included; IPv6 can say more, in fragments."""
    server, client = engine.udp("::", 53), engine.udp("::", 5353)
    engine.setopt(server, lib.UST_OPT_RCVBUF, 1 << 20)
    data = hashlib.shake_128(b"d").digest(size)
    engine.sendto(client, data, host, 53)
    settle(engine)
    assert engine.recvfrom(server, 70_000)[0] == data
    assert engine.counters()["loop.in"] == pieces


@pytest.mark.parametrize("host", OWN)
def test_nobody_at_a_udp_port_is_an_error_for_its_connected_sender(
    engine: Engine, host: str
) -> None:
    """RFC 1122 4.1.3.1, RFC 4443 3.1."""
    sock = engine.udp("::", 5353)
    engine.associate(sock, host, 9)
    engine.sendto(sock, b"anybody?")
    settle(engine)
    assert engine.getopt(sock, lib.UST_OPT_ERROR) == errno.ECONNREFUSED


def test_errors_to_ourselves_know_no_rate_limit(engine: Engine) -> None:
    """As Linux: nobody else pays for them."""
    engine.set("icmp.ratelimit", 0)
    test_nobody_at_a_udp_port_is_an_error_for_its_connected_sender(engine, "127.0.0.1")


@pytest.mark.parametrize(
    ("host", "request_type", "reply_type"), [("127.0.0.1", 8, 0), ("::1", 128, 129)]
)
def test_ping_is_answered(engine: Engine, host: str, request_type: int, reply_type: int) -> None:
    sock = rig.check(lib.ust_udp_socket(engine.raw))
    engine.setopt(sock, lib.UST_OPT_INET6, int(":" in host))
    engine.setopt(sock, lib.UST_OPT_PING, 1)
    engine.sendto(sock, bytes([request_type]) + bytes(7) + b"payload", host)
    settle(engine)
    data, src, _ = engine.recvfrom(sock)
    assert (data[0], data[8:], src) == (reply_type, b"payload", host)


def test_udp_segmentation_goes_round_whole() -> None:
    caps = lib.UST_CAP_TX_CSUM | lib.UST_CAP_USO
    engine = Engine(caps=caps)
    list(engine.output())
    server, client = engine.udp("10.0.0.2", 53), engine.udp("10.0.0.2", 5353)
    engine.setopt(client, lib.UST_OPT_GSO_SIZE, 100)
    engine.sendto(client, bytes(range(250)), "10.0.0.2", 53)
    settle(engine)
    got = [engine.recvfrom(server)[0] for _ in range(3)]
    assert [len(data) for data in got] == [100, 100, 50]
    assert b"".join(got) == bytes(range(250))
    engine.free()


# ----------------------------------------------------------------- what is whose address


def test_without_leave_127_is_nobodys() -> None:
    """RFC 1122 3.2.1.3(g): no router is asked for it either."""
    engine = Engine()
    engine.route("0.0.0.0", 0, "10.0.0.1")
    engine.route("::", 0, "fe80::1")
    list(engine.output())
    for host in ("127.0.0.1", "127.1.2.3", "::1"):
        with pytest.raises(OSError) as caught:
            engine.connect(host, 80)
        assert caught.value.errno == errno.ENETUNREACH
        assert not lib.ust_engine_owns(engine.raw, rig.addr(host))
    assert list(engine.output()) == []
    engine.free()


def test_its_addresses_are_listed_once_and_can_be_enabled_once(engine: Engine) -> None:
    rows = engine.addrs()
    assert (rows["127.0.0.1"].prefix_len, rows["127.0.0.1"].iface) == (8, lib.UST_LOOPBACK)
    assert (rows["::1"].prefix_len, rows["::1"].iface) == (128, lib.UST_LOOPBACK)
    assert lib.ust_engine_enable_loopback(engine.raw) == -errno.EEXIST


def test_all_of_127_can_be_bound_and_what_is_bound_to_one_hears_not_the_others(
    engine: Engine,
) -> None:
    one, other = engine.udp("127.0.0.1", 53), engine.udp("127.255.255.255", 53)
    client = engine.udp("127.0.0.1", 5353)
    engine.sendto(client, b"one", "127.0.0.1", 53)
    engine.sendto(client, b"other", "127.255.255.255", 53)
    settle(engine)
    assert engine.recvfrom(one)[0] == b"one"
    assert engine.recvfrom(other)[0] == b"other"
    for sock in (one, other):
        with pytest.raises(BlockingIOError):
            engine.recvfrom(sock)


@pytest.mark.parametrize("connect", [True, False])
def test_a_loopback_source_does_not_leave(engine: Engine, connect: bool) -> None:
    """RFC 1122 3.2.1.3(g), with Linux's errno."""
    sock = engine.udp("127.0.0.1", 5353)
    with pytest.raises(OSError) as caught:
        if connect:
            engine.associate(sock, HOST_IP, 53)
        else:
            engine.sendto(sock, b"out", HOST_IP, 53)
    assert caught.value.errno == errno.EINVAL
    tcp = engine.socket()
    engine.bind(tcp, "127.0.0.1")
    assert lib.ust_connect(engine.raw, tcp, rig.addr(HOST_IP), 80) == -errno.EINVAL
    assert list(engine.output()) == []


@pytest.mark.parametrize("host", ["127.0.0.1", "127.9.9.9", "::1"])
def test_nobody_outside_reaches_it(host: str) -> None:
    """RFC 1122 3.2.1.3(g), RFC 4291 2.5.3, for as long as the loopback is ours, too."""
    lan = Lan(version=6 if ":" in host else 4)
    lan.engine.enable_loopback()
    lan.engine.udp("::", 53)
    assert lan.udp(5353, 53, b"let me in", dst=host) == []
    assert lan.udp(5353, 53, b"let me in", src=host) == []
    counter = "ip6.drop.martian" if ":" in host else "ip.drop.martian"
    assert lan.engine.counters()[counter] == 2
    assert lan.engine.counters()["udp.in"] == 0
    lan.engine.free()


def test_the_number_of_the_loopback_opens_no_door(engine: Engine) -> None:
    """A frame that comes from outside is one from a port, whatever it says."""
    packet = frames.ip(bytes([127, 0, 0, 1]), bytes([127, 0, 0, 1]), frames.PROTO_UDP, bytes(8))
    frame = frames.ethernet(OUR_MAC, HOST_MAC, frames.ETH_IPV4, packet)
    engine.inject(frame, iface=lib.UST_LOOPBACK)
    assert engine.counters()["eth.drop.iface"] == 1


def test_an_address_taken_back_is_no_longer_reached(engine: Engine) -> None:
    client, _ = connected(engine, OUR_IP6)
    engine.del_addr(OUR_IP6)
    engine.send(client, b"gone")
    list(engine.output())
    engine.tick()
    assert engine.counters()["ip.drop.noroute"] + engine.counters()["nd.out.ns"] >= 1


def test_a_tentative_address_is_not_ours_yet() -> None:
    """RFC 4862 5.4: until duplicate address detection is done."""
    engine = Engine(OUR_IP6, 64, settings={"ip6.dad_transmits": 1})
    list(engine.output())
    sock = engine.udp("::", 53)
    assert not lib.ust_engine_owns(engine.raw, rig.addr(OUR_IP6))
    with pytest.raises(OSError) as caught:
        engine.sendto(sock, b"me?", OUR_IP6, 53)
        settle(engine, wire=10)
        engine.recvfrom(sock)
    assert caught.value.errno in (errno.ENETUNREACH, errno.EAGAIN)
    engine.free()
