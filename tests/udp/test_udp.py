# SPDX-License-Identifier: BSD-3-Clause
"""UDP on virtual time (RFC 768, 8200 8.1, 1122 4.1): what is checked, whose it is, bounds."""

from __future__ import annotations

import errno

import pytest

import frames
import rig
from frames import PROTO_UDP
from lan import HOST_MAC, Lan, kind_of
from rig import lib

pytestmark = pytest.mark.both_versions


@pytest.fixture
def host(lan: Lan) -> Lan:
    """An engine that knows the host for ever."""
    lan.engine.neighbour(lan.them, HOST_MAC)
    return lan


def other(lan: Lan) -> str:
    return "10.0.0.9" if lan.version == 4 else "fd00::9"


def empty(lan: Lan, handle: int) -> bool:
    try:
        lan.engine.recvfrom(handle)
    except BlockingIOError:
        return True
    return False


def error(lan: Lan, code: str, sport: int, dport: int, dst: str | None = None) -> None:
    """An ICMP error about a datagram of ours."""
    ends = frames.packed(lan.us), frames.packed(dst or lan.them)
    kind, number = {
        "port": ((3, 3), (1, 4)),
        "host": ((3, 1), (1, 3)),
        "admin": ((3, 13), (1, 1)),
        "parameter": ((12, 0), (4, 0)),
        "time": ((11, 0), (3, 0)),
    }[code][lan.version == 6]
    lan.quote(PROTO_UDP, frames.udp(*ends, sport, dport), kind, number, dst=dst)


# ------------------------------------------------------------------ datagrams in


@pytest.mark.parametrize("length", [0, 1, 2, 1452])
def test_a_datagram_arrives_with_its_sender(host: Lan, length: int) -> None:
    sock = host.engine.udp(host.us, 9)
    data = bytes(range(256)) * 6
    assert host.udp(4000, 9, data[:length], ttl=7, tos=0xB8) == []
    got, info = host.engine.recvmsg(sock)
    assert (got, rig.text(info.src), info.port) == (data[:length], host.them, 4000)
    assert (rig.text(info.dst), info.tos, info.ttl, info.len) == (host.us, 0xB8, 7, length)
    assert host.stats["udp.in"] == 1 and host.held() == 0


def test_a_wrong_checksum_is_dropped(host: Lan) -> None:
    """RFC 1122 4.1.3.4."""
    host.engine.udp(host.us, 9)
    for wrong in (1, 0x1234, 0xFFFF):
        assert host.udp(4000, 9, b"abc", csum=wrong) == []
    assert host.moved() == {"udp.drop.checksum": 3}


def test_a_missing_checksum_is_ipv4s_alone(host: Lan) -> None:
    """RFC 768; RFC 8200 8.1."""
    sock = host.engine.udp(host.us, 9)
    host.udp(4000, 9, b"abc", csum=0)
    if host.version == 4:
        assert host.engine.recvfrom(sock)[0] == b"abc"
    else:
        assert host.moved() == {"udp.drop.checksum": 1}


def test_a_verified_checksum_is_not_computed_again(host: Lan) -> None:
    sock = host.engine.udp(host.us, 9)
    ends = frames.packed(host.them), frames.packed(host.us)
    packet = frames.ip(*ends, PROTO_UDP, frames.udp(*ends, 1, 9, b"x", csum=0x1234))
    host.engine.inject(frames.ip_frame(host.engine.mac, HOST_MAC, packet), lib.UST_FRAME_CSUM_OK)
    assert host.engine.recvfrom(sock)[0] == b"x"


@pytest.mark.parametrize("length", [0, 7, 12, 65535])
def test_a_length_that_lies_is_dropped(host: Lan, length: int) -> None:
    host.engine.udp(host.us, 9)
    assert host.udp(4000, 9, b"abc", length=length) == []
    assert host.moved() == {"udp.drop.malformed": 1}


@pytest.mark.parametrize("length", range(8))
def test_a_short_header_is_dropped(host: Lan, length: int) -> None:
    assert host.ip(PROTO_UDP, bytes(length)) == []
    assert host.moved() == {"udp.drop.malformed": 1}


def test_what_lies_behind_the_datagram_is_not_delivered(host: Lan) -> None:
    sock = host.engine.udp(host.us, 9)
    ends = frames.packed(host.them), frames.packed(host.us)
    host.ip(PROTO_UDP, frames.udp(*ends, 4000, 9, b"abc") + b"trailer")
    assert host.engine.recvfrom(sock)[0] == b"abc"


def test_what_does_not_fit_the_buffer_is_lost(host: Lan) -> None:
    sock = host.engine.udp(host.us, 9)
    host.udp(4000, 9, b"abcdef")
    host.udp(4000, 9, b"next")
    assert host.engine.recvmsg(sock, 3, lib.UST_MSG_PEEK)[0] == b"abc"
    data, info = host.engine.recvmsg(sock, 2)
    assert (data, info.len) == (b"ab", 6)
    assert host.engine.recv(sock) == b"next"


def test_a_full_receive_buffer_drops_and_counts(host: Lan) -> None:
    host.engine.set("udp.rmem", 8192)
    sock = host.engine.udp(host.us, 9)
    for i in range(100):
        assert host.udp(4000, 9, bytes([i])) == []
    drops = host.stats["udp.drop.full"]
    kept = []
    while not empty(host, sock):
        kept.append(1)
    assert host.stats["udp.in"] == 100 - drops < 100
    assert host.moved() == {"udp.drop.full": drops}
    host.udp(4000, 9, b"room again")
    assert host.engine.recv(sock) == b"room again"
    host.engine.check()


def test_the_last_mbufs_are_not_for_datagrams(lan: Lan) -> None:
    lan.engine.set("mbuf.reserve", 2040)
    socks = [lan.engine.udp(lan.us, port) for port in range(9, 29)]
    for port in range(9, 29):
        lan.udp(4000, port, b"x")
    assert lan.moved().keys() == {"udp.drop.nombuf"}
    assert lan.engine.usage().mbufs_small <= 9
    for sock in socks:
        lan.engine.close(sock)
    assert lan.held() == 0


def test_the_last_mbufs_are_not_for_sending_datagrams(host: Lan) -> None:
    """Control segments have them; send says ENOBUFS until there are more."""
    sock = host.engine.udp(host.us, 9)
    reserve = host.engine.get("mbuf.reserve")
    host.engine.set("mbuf.reserve", 2048)
    assert host.engine.sendto(sock, b"all are free", host.them, 4000) == 12
    with pytest.raises(OSError) as told:
        host.engine.sendto(sock, b"one is used", host.them, 4000)
    assert told.value.errno == errno.ENOBUFS
    assert (host.stats["udp.out"], host.held()) == (1, 1)
    host.engine.set("mbuf.reserve", reserve)
    assert host.engine.sendto(sock, b"again", host.them, 4000) == 5
    assert len(list(host.engine.output())) == 2 and host.held() == 0


def test_a_port_that_nobody_holds_is_unreachable(host: Lan) -> None:
    """RFC 1122 4.1.3.1; RFC 4443 3.1."""
    (answer,) = host.udp(4000, 9, b"x")
    assert kind_of(answer) == ((3, 3) if host.version == 4 else (1, 4))
    assert host.moved() == {"udp.drop.noport": 1}


def test_a_closed_socket_leaves_nothing(host: Lan) -> None:
    sock = host.engine.udp(host.us, 9)
    host.udp(4000, 9, b"x")
    assert host.held() == 1
    host.engine.close(sock)
    assert host.held() == host.engine.usage().udp_socks == 0
    assert len(host.udp(4000, 9, b"x")) == 1


# ------------------------------------------------------------------ whose it is


def test_the_most_particular_socket_gets_the_datagram(host: Lan) -> None:
    """Connected, then bound to the address, then to any address."""
    for option in ("wild", "bound", "connected"):
        handle = lib.ust_udp_socket(host.engine.raw)
        host.engine.setopt(handle, lib.UST_OPT_REUSEADDR, 1)
        host.engine.bind(handle, host.engine.any if option == "wild" else host.us, 9)
        if option == "connected":
            host.engine.associate(handle, host.them, 4000)
        host.udp(4000, 9, b"him")
        host.udp(4001, 9, b"other")
        got = []
        try:
            while True:
                got.append(host.engine.recv(handle))
        except BlockingIOError:
            pass
        assert got == ([b"him"] if option == "connected" else [b"him", b"other"])


def test_a_connected_socket_hears_its_peer_only(host: Lan) -> None:
    sock = host.engine.udp(host.us, 9)
    host.engine.associate(sock, host.them, 4000)
    for args in ((4001, 9, b"port", host.them), (4000, 9, b"address", other(host))):
        host.udp(*args)
    assert host.moved() == {"udp.drop.noport": 2}
    assert empty(host, sock)
    host.udp(4000, 9, b"him")
    assert host.engine.recv(sock) == b"him"
    host.engine.associate(sock, "::", 0)  # dissolves it
    host.udp(4001, 9, b"anybody")
    assert host.engine.recv(sock) == b"anybody"


def test_a_socket_of_ipv6_hears_ipv4_too() -> None:
    lan = Lan(version=6)
    lan.engine.add_addr("10.0.0.2", 24)
    sock = lan.engine.udp("::", 9)
    lan.udp(4000, 9, b"4", "10.0.0.1", "10.0.0.2")
    lan.udp(4000, 9, b"6")
    assert [lan.engine.recvfrom(sock)[1] for _ in range(2)] == ["10.0.0.1", "fd00::1"]


def test_a_broadcast_or_group_is_heard_by_the_unbound(host: Lan) -> None:
    sock = host.engine.udp(host.engine.any, 9)
    groups = ["10.0.0.255", "255.255.255.255"] if host.version == 4 else ["ff02::1"]
    for group in groups:
        mac = frames.BROADCAST if host.version == 4 else b"\x33\x33\0\0\0\1"
        assert host.udp(4000, 9, b"all", dst=group, dst_mac=mac) == []
        assert rig.text(host.engine.recvmsg(sock)[1].dst) == group


# ------------------------------------------------------------------ binding


def test_ports_are_given_out_once(host: Lan) -> None:
    first = host.engine.udp(host.us, 9)
    for address in (host.us, host.engine.any):
        with pytest.raises(OSError) as told:
            host.engine.udp(address, 9)
        assert told.value.errno == errno.EADDRINUSE
    with pytest.raises(OSError) as told:
        host.engine.bind(first, host.us, 10)
    assert told.value.errno == errno.EINVAL
    with pytest.raises(OSError) as told:
        host.engine.udp(other(host), 9)
    assert told.value.errno == errno.EADDRNOTAVAIL
    host.engine.close(first)
    host.engine.udp(host.us, 9)


def test_ephemeral_ports_are_in_their_range_and_run_out(host: Lan) -> None:
    host.engine.set("tcp.port_min", 50000)
    host.engine.set("tcp.port_max", 50007)
    ports = {host.engine.names(host.engine.udp(host.us))[0] for _ in range(8)}
    assert ports == set(range(50000, 50008))
    with pytest.raises(OSError) as told:
        host.engine.udp(host.us)
    assert told.value.errno == errno.EADDRINUSE


def test_the_table_of_sockets_is_bounded(host: Lan) -> None:
    handles = [host.engine.udp(host.us) for _ in range(32)]
    with pytest.raises(OSError, match="buffer space"):
        host.engine.udp(host.us)
    assert host.stats["sock.notcb"] == 1
    for handle in handles:
        host.engine.close(handle)
    with pytest.raises(OSError, match="Bad file"):
        host.engine.close(handles[0])
    host.engine.check()


# ------------------------------------------------------------------ datagrams out


def sent(lan: Lan) -> list[bytes]:
    return list(lan.engine.output())


@pytest.mark.parametrize("caps", [0, lib.UST_CAP_TX_CSUM])
def test_a_datagram_leaves_with_its_checksum(caps: int) -> None:
    for version in (4, 6):
        lan = Lan(version=version, caps=caps)
        lan.engine.neighbour(lan.them, HOST_MAC)
        sock = lan.engine.udp(lan.us, 9)
        lan.engine.setopt(sock, lib.UST_OPT_TTL, 3)
        lan.engine.setopt(sock, lib.UST_OPT_TOS, 0x10)
        for length in (0, 1, 1000):
            assert lan.engine.sendto(sock, bytes(length), lan.them, 4000) == length
            (frame,) = sent(lan)
            body = frames.check_transport(frame, PROTO_UDP)
            packet, _, ttl = frames.check_ip(frame)
            assert body[:6] == bytes([0, 9, 0x0F, 0xA0]) + (8 + length).to_bytes(2, "big")
            assert (ttl, packet.tc if version == 6 else packet.tos) == (3, 0x10)
            if version == 4:  # RFC 6864: atomic
                assert frame[18:22] == b"\0\0\x40\0"


def test_a_checksum_of_zero_is_sent_as_ones(host: Lan) -> None:
    """RFC 768."""
    sock = host.engine.udp(host.us, 9)
    ends = frames.packed(host.us), frames.packed(host.them)
    plain = frames.udp(*ends, 9, 4000, bytes(2))
    fill = (int.from_bytes(plain[6:8], "big")).to_bytes(2, "big")
    host.engine.sendto(sock, fill, host.them, 4000)
    assert frames.check_transport(sent(host)[0], PROTO_UDP)[6:8] == b"\xff\xff"


def test_who_sends_says_where_to(host: Lan) -> None:
    sock = host.engine.udp()
    for args, number in (
        ((b"x",), errno.EDESTADDRREQ),
        ((b"x", host.them, 0), errno.EINVAL),
        ((bytes(65528), host.them, 9), errno.EMSGSIZE),
        ((b"x", "192.0.2.1" if host.version == 4 else "2001:db8::1", 9), errno.ENETUNREACH),
    ):
        with pytest.raises(OSError) as told:
            host.engine.sendto(sock, *args)
        assert told.value.errno == number
    assert sent(host) == []


def test_connecting_asks_for_a_route(host: Lan) -> None:
    sock = host.engine.udp()
    with pytest.raises(OSError) as told:
        host.engine.associate(sock, "192.0.2.1" if host.version == 4 else "2001:db8::1", 9)
    assert told.value.errno == errno.ENETUNREACH
    host.engine.associate(sock, host.them, 9)
    assert host.engine.names(sock)[1] == 9
    host.engine.send(sock, b"x")
    assert len(sent(host)) == 1


def test_a_broadcast_needs_leave() -> None:
    """SO_BROADCAST; RFC 919."""
    lan = Lan()
    sock = lan.engine.udp("0.0.0.0", 9)
    for address in ("10.0.0.255", "255.255.255.255"):
        for act in (lan.engine.associate, lambda h, a, p: lan.engine.sendto(h, b"x", a, p)):
            with pytest.raises(PermissionError):
                act(sock, address, 9)
    lan.engine.setopt(sock, lib.UST_OPT_BROADCAST, 1)
    lan.engine.sendto(sock, b"x", "10.0.0.255", 9)
    lan.engine.sendto(sock, b"x", "255.255.255.255", 9)
    lan.engine.sendto(sock, b"x", "224.0.0.251", 5353)
    assert [frame[:6].hex() for frame in sent(lan)] == ["ff" * 6, "ff" * 6, "01005e0000fb"]


def test_a_group_of_ipv6_has_its_mac() -> None:
    """RFC 2464 7."""
    lan = Lan(version=6)
    lan.engine.sendto(lan.engine.udp("::", 9), b"x", "ff02::fb", 5353)
    assert sent(lan)[0][:6].hex() == "3333000000fb"


def test_one_call_may_send_many_datagrams(host: Lan) -> None:
    """UDP_SEGMENT."""
    sock = host.engine.udp(host.us, 9)
    host.engine.setopt(sock, lib.UST_OPT_GSO_SIZE, 100)
    data = bytes(range(250))
    assert host.engine.sendto(sock, data, host.them, 4000) == 250
    bodies = [frames.check_transport(frame, PROTO_UDP)[8:] for frame in sent(host)]
    assert bodies == [data[:100], data[100:200], data[200:]]


def test_a_full_output_queue_says_so(host: Lan) -> None:
    sock = host.engine.udp(host.us, 9)
    with pytest.raises((BlockingIOError, OSError)):
        for _ in range(5000):
            host.engine.sendto(sock, b"x", host.them, 4000)
    sent(host)
    assert host.held() == 0
    host.engine.sendto(sock, b"x", host.them, 4000)


def test_the_wrong_version_is_unreachable() -> None:
    lan = Lan(version=6)
    lan.engine.add_addr("10.0.0.2", 24)
    sock = lan.engine.udp("10.0.0.2", 9)
    with pytest.raises(OSError, match="unreachable"):
        lan.engine.sendto(sock, b"x", "fd00::1", 9)


# ------------------------------------------------------------------ errors, shutdown, events


@pytest.mark.parametrize(
    ("code", "number"),
    [
        ("port", errno.ECONNREFUSED),
        ("admin", {4: errno.EHOSTUNREACH, 6: errno.EACCES}),
        ("parameter", errno.EPROTO),
        ("host", 0),
        ("time", 0),
    ],
)
def test_a_connected_socket_hears_hard_errors(host: Lan, code: str, number: object) -> None:
    """RFC 1122 4.1.3.3; as Linux without IP_RECVERR."""
    number = number[host.version] if isinstance(number, dict) else number
    sock = host.engine.udp(host.us, 9)
    host.engine.associate(sock, host.them, 4000)
    for read in (
        lambda: host.engine.recv(sock),
        lambda: host.engine.send(sock, b"x"),
    ):
        error(host, code, 9, 4000)
        if number:
            assert host.engine.ready(sock) & lib.UST_ERROR
            with pytest.raises(OSError) as told:
                read()
            assert told.value.errno == number
    assert host.engine.getopt(sock, lib.UST_OPT_ERROR) == 0
    assert host.stats["icmp.in.error"] == 2


def test_an_unconnected_socket_hears_no_errors(host: Lan) -> None:
    sock = host.engine.udp(host.us, 9)
    error(host, "port", 9, 4000)
    assert host.engine.getopt(sock, lib.UST_OPT_ERROR) == 0
    assert host.stats["icmp.in.error"] == 1


def test_an_error_about_another_peer_is_not_heard(host: Lan) -> None:
    sock = host.engine.udp(host.us, 9)
    host.engine.associate(sock, host.them, 4000)
    error(host, "port", 9, 4001)
    error(host, "port", 9, 4000, other(host))
    error(host, "port", 10, 4000)
    assert host.engine.getopt(sock, lib.UST_OPT_ERROR) == 0
    assert host.moved() == {"icmp.drop.quote": 3}


def test_shutdown_ends_a_direction(host: Lan) -> None:
    sock = host.engine.udp(host.us, 9)
    with pytest.raises(OSError, match="not connected"):
        host.engine.shutdown(sock)
    host.engine.associate(sock, host.them, 4000)
    host.engine.shutdown(sock, lib.UST_SHUT_WR)
    with pytest.raises(BrokenPipeError):
        host.engine.send(sock, b"x")
    host.udp(4000, 9, b"still")
    assert host.engine.recv(sock) == b"still"
    host.engine.shutdown(sock, lib.UST_SHUT_RD)
    assert host.engine.recv(sock) == b""


def test_each_change_is_an_event_once(host: Lan) -> None:
    ffi = rig.ffi
    socks = [host.engine.udp(host.us, 9 + i) for i in range(3)]
    for i in (0, 1, 2, 0, 1):
        host.udp(4000, 9 + i, b"x")
    host.engine.close(socks[1])
    events = ffi.new("struct ust_event[8]")
    count = lib.ust_engine_events(host.engine.raw, events, 8)
    assert [events[i].handle for i in range(count)] == [socks[0], socks[2]]
    assert all(events[i].events & lib.UST_READABLE for i in range(count))
    assert lib.ust_engine_events(host.engine.raw, events, 8) == 0
    host.udp(4000, 11, b"x")
    host.udp(4000, 9, b"x")
    host.engine.close(socks[2])
    host.engine.close(socks[0])
    assert lib.ust_engine_events(host.engine.raw, events, 8) == 0


def test_without_mbufs_nothing_is_sent(host: Lan) -> None:
    sock = host.engine.udp(host.us, 9)
    lib.ust_engine_fail_alloc(host.engine.raw, 1, False)
    with pytest.raises(OSError, match="buffer space"):
        host.engine.sendto(sock, b"x", host.them, 9)
    lib.ust_engine_fail_alloc(host.engine.raw, 1, False)
    with pytest.raises(OSError, match="buffer space"):
        host.engine.udp()


def test_what_bind_did_not_give_is_given_back(host: Lan) -> None:
    """As Linux: a dissolved connection leaves the port only to who asked for one."""
    sock = host.engine.udp()
    host.engine.associate(sock, "::", 0)  # nothing to dissolve
    host.engine.associate(sock, host.them, 9)
    assert host.engine.names(sock)[0]
    host.engine.associate(sock, "::", 0)
    assert host.engine.names(sock) == (0, 0)
    bound = host.engine.udp(host.engine.any, 77)
    host.engine.associate(bound, host.them, 9)
    host.engine.associate(bound, "::", 0)
    assert host.engine.names(bound) == (77, 0)


def test_a_broadcast_peer_needs_leave_too(host: Lan) -> None:
    if host.version == 6:
        return
    sock = host.engine.udp(host.us, 9)
    with pytest.raises(PermissionError):
        host.engine.associate(sock, "10.0.0.255", 9)


@pytest.mark.parametrize("headers", [1, 2, 3])
def test_headers_that_fill_a_buffer_do_not_shift_the_text(headers: int) -> None:
    """2 KiB of destination options in one frame: only with a large MTU, or as a fragment of it."""
    lan = Lan(version=6, mtu=9000)
    lan.engine.neighbour(lan.them, HOST_MAC)
    sock = lan.engine.udp(lan.us, 9)
    packet = frames.udp(frames.packed(lan.them), frames.packed(lan.us), 4000, 9, b"text")
    proto, padding = PROTO_UDP, bytes(2046)
    for _ in range(headers):
        packet = bytes([proto, 255]) + padding + packet
        proto = 60
    lan.ip(proto, packet)
    got, info = lan.engine.recvmsg(sock)
    assert (got, info.len, info.port) == (b"text", 4, 4000)
