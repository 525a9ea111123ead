# SPDX-License-Identifier: BSD-3-Clause
"""ICMP (RFC 792, RFC 1122 3.2.2): echo, unreachables, limits, errors about our flows."""

from __future__ import annotations

import errno
import struct

import pytest

import frames
from frames import BROADCAST, PROTO_ICMP, PROTO_UDP
from lan import HOST_IP, HOST_MAC, OUR_IP, Lan, icmp_of
from wire import Wire

UNREACHABLE = 3


def echo(payload: bytes = b"ping", csum: int | None = None) -> bytes:
    return frames.icmp(8, 0, b"\x12\x34\x00\x07", payload, csum)


def udp(payload: bytes = b"x", dst: str = OUR_IP) -> bytes:
    return frames.udp(frames.ip4(HOST_IP), frames.ip4(dst), 4000, 9, payload)


@pytest.mark.parametrize("size", [0, 1, 56, 1472])
def test_an_echo_comes_back_with_its_data(lan: Lan, size: int) -> None:
    """RFC 792; RFC 1122 3.2.2.6."""
    lan.learn()
    data = bytes(i % 256 for i in range(size))
    (reply,) = lan.ip(PROTO_ICMP, echo(data))
    icmp = icmp_of(reply)
    assert (icmp.type, icmp.code, icmp.id, icmp.seq) == (0, 0, 0x1234, 7)
    assert reply[-size:] == data if size else len(reply) == 42
    assert frames.check_ipv4(reply).src == OUR_IP


def test_an_echo_of_an_unknown_host_is_answered_after_arp(lan: Lan) -> None:
    (request,) = lan.ip(PROTO_ICMP, echo())
    assert frames.ethertype(request) == frames.ETH_ARP
    (reply,) = lan.arp(frames.ARP_REPLY)
    assert icmp_of(reply).type == 0


@pytest.mark.parametrize("dst", ["10.0.0.255", "255.255.255.255", "224.0.0.1"])
def test_an_echo_to_a_group_is_not_answered(lan: Lan, dst: str) -> None:
    """RFC 1122 3.2.2.6 allows silence; no smurf amplifier."""
    lan.learn()
    assert lan.ip(PROTO_ICMP, echo(), dst=dst, dst_mac=BROADCAST) == []
    assert lan.moved() == {"icmp.drop.group": 1}


def test_echo_replies_are_limited(lan: Lan) -> None:
    lan.learn()
    lan.engine.set("icmp.echo_limit", 5)
    answers = [len(lan.ip(PROTO_ICMP, echo())) for _ in range(20)]
    assert sum(answers) == 5
    assert lan.stats["icmp.ratelimited"] == 15
    lan.wait(1)
    assert len(lan.ip(PROTO_ICMP, echo())) == 1


@pytest.mark.parametrize("length", range(8))
def test_a_short_icmp_message_is_dropped(lan: Lan, length: int) -> None:
    assert lan.ip(PROTO_ICMP, echo()[:length]) == []
    assert lan.moved() == {"icmp.drop.short": 1}


def test_a_bad_icmp_checksum_is_dropped(lan: Lan) -> None:
    assert lan.ip(PROTO_ICMP, echo(csum=1)) == []
    assert lan.moved() == {"icmp.drop.checksum": 1}


@pytest.mark.parametrize("kind", [0, 1, 4, 5, 9, 10, 13, 15, 17, 37, 255])
def test_types_that_need_no_answer_get_none(lan: Lan, kind: int) -> None:
    """RFC 1122 3.2.2: redirects, timestamps, masks, source quench (MUST-55)."""
    lan.learn()
    assert lan.ip(PROTO_ICMP, frames.icmp(kind, 0, bytes(4), bytes(28))) == []
    assert lan.moved() == {"icmp.drop.type": 1}


def test_a_datagram_to_a_closed_port_earns_port_unreachable(lan: Lan) -> None:
    """RFC 1122 3.2.2.1, 4.1.3.1: with the IP header and 8 bytes."""
    lan.learn()
    datagram = udp(bytes(100))
    (answer,) = lan.ip(PROTO_UDP, datagram, ident=77)
    icmp = icmp_of(answer)
    assert (icmp.type, icmp.code) == (UNREACHABLE, 3)
    quoted = answer[14 + 20 + 8 :]
    packet = frames.ipv4(frames.ip4(HOST_IP), frames.ip4(OUR_IP), PROTO_UDP, datagram, ident=77)
    assert len(quoted) >= 28 and packet.startswith(quoted)
    assert lan.moved() == {"udp.drop.noport": 1}


def test_an_unknown_protocol_earns_protocol_unreachable(lan: Lan) -> None:
    """RFC 1122 3.2.2.1: IP in IP is not opened."""
    lan.learn()
    (answer,) = lan.ip(4, bytes(40))
    assert (icmp_of(answer).type, icmp_of(answer).code) == (UNREACHABLE, 2)
    assert lan.moved() == {"ip.drop.proto": 1}


def test_unreachables_are_limited(lan: Lan) -> None:
    """RFC 1812 4.3.2.8."""
    lan.learn()
    lan.engine.set("icmp.ratelimit", 5)
    assert sum(len(lan.ip(PROTO_UDP, udp())) for _ in range(50)) == 5
    assert lan.stats["icmp.ratelimited"] == 45


def test_no_unreachable_answers_a_group(lan: Lan) -> None:
    """RFC 1122 3.2.2: nothing sent to a broadcast earns an error, nor in a link broadcast."""
    lan.learn()
    assert lan.ip(PROTO_UDP, udp(dst="10.0.0.255"), dst="10.0.0.255", dst_mac=BROADCAST) == []
    assert lan.ip(PROTO_UDP, udp(), dst_mac=BROADCAST) == []
    assert lan.moved() == {"udp.drop.noport": 2}


def test_no_unreachable_answers_an_icmp_error(lan: Lan) -> None:
    """RFC 1122 3.2.2: else two hosts would go on for ever."""
    lan.learn()
    inner = frames.ipv4(frames.ip4(OUR_IP), frames.ip4(HOST_IP), PROTO_UDP, udp())
    for code in range(16):
        assert lan.ip(PROTO_ICMP, frames.icmp(3, code, bytes(4), inner[:28])) == []
    assert lan.moved() == {"icmp.drop.quote": 16}


@pytest.mark.parametrize("length", range(29))
def test_a_truncated_quote_is_dropped(lan: Lan, length: int) -> None:
    """Only what is certainly there is read."""
    inner = frames.ipv4(frames.ip4(OUR_IP), frames.ip4(HOST_IP), 6, bytes(8))
    assert lan.ip(PROTO_ICMP, frames.icmp(3, 1, bytes(4), inner[:length])) == []
    assert lan.moved() == {"icmp.drop.quote": 1}


@pytest.mark.parametrize("length", range(8))
def test_a_short_udp_datagram_is_dropped(lan: Lan, length: int) -> None:
    assert lan.ip(PROTO_UDP, udp()[:length]) == []
    assert lan.moved() == {"udp.drop.malformed": 1}


# ------------------------------------------------------ errors about TCP flows


def tcp_error(wire: Wire, kind: int, code: int, seq: int, mtu: int = 0) -> None:
    """An ICMP error about the segment with this relative sequence number."""
    peer = wire.default
    head = struct.pack("!HHI", peer.our_port, peer.port, ((peer.iss or 0) + seq) % 2**32)
    inner = frames.ipv4(frames.ip4(OUR_IP), frames.ip4(peer.address), 6, head)
    body = frames.icmp(kind, code, struct.pack("!HH", 0, mtu), inner)
    packet = frames.ipv4(frames.ip4(HOST_IP), frames.ip4(OUR_IP), PROTO_ICMP, body)
    wire.inject(frames.ethernet(wire.engine.mac, HOST_MAC, frames.ETH_IPV4, packet))


@pytest.mark.parametrize(
    ("kind", "code"), [(3, code) for code in range(16) if code != 4] + [(11, 0)]
)
def test_no_icmp_error_aborts_an_established_connection(wire: Wire, kind: int, code: int) -> None:
    """RFC 9293 MUST-56; RFC 5927 5.2: hard errors are soft once established."""
    sock = wire.established()
    sock.send(100)
    wire("+0 > P. 1:101(100) ack 1")
    tcp_error(wire, kind, code, 1)
    assert sock.state == "ESTABLISHED"
    wire("+.01 < . 1:1(0) ack 101 win 257")


@pytest.mark.parametrize("code", [2, 3])
def test_a_hard_error_refuses_a_connection_in_syn_sent(wire: Wire, code: int) -> None:
    """RFC 9293 3.9.2.2 (SHLD-26); RFC 5927 4.1: the quoted sequence number is SND.UNA."""
    sock = wire.connect()
    wire("+0 > S 0:0(0) <...>")
    tcp_error(wire, UNREACHABLE, code, 0)
    assert sock.state == "CLOSED"
    assert sock.error in (errno.ECONNREFUSED, errno.ENOPROTOOPT)


def test_an_error_that_quotes_a_number_not_in_flight_is_dropped(wire: Wire) -> None:
    """RFC 5927 4.1."""
    sock = wire.connect()
    wire("+0 > S 0:0(0) <...>")
    for seq in (-1, 1, 1000):
        tcp_error(wire, UNREACHABLE, 3, seq)
    assert sock.state == "SYN_SENT"
    assert wire.stats["icmp.drop.quote"] == 3


def test_source_quench_changes_nothing(wire: Wire) -> None:
    """RFC 9293 MUST-55."""
    sock = wire.established()
    sock.send(1000)
    wire("+0 > P. 1:1001(1000) ack 1")
    cwnd = sock.info.cwnd
    tcp_error(wire, 4, 0, 1)
    assert sock.info.cwnd == cwnd
    wire("+.01 < . 1:1(0) ack 1001 win 257")
