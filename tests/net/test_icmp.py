# SPDX-License-Identifier: BSD-3-Clause
"""ICMP (RFC 792, RFC 1122 3.2.2): echo, unreachables, limits, errors about our flows."""

from __future__ import annotations

import errno
import struct

import pytest

import frames
import rig
from frames import BROADCAST, PROTO_ICMP, PROTO_UDP
from lan import HOST_IP, HOST_IP6, HOST_MAC, OUR_IP, OUR_IP6, Lan, icmp_bytes, icmp_of, kind_of
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


@pytest.mark.parametrize("kind", [1, 2, 4, 5, 9, 10, 13, 15, 17, 37, 255])
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


@pytest.mark.rfc("MUST-56", "MUST-54")
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


@pytest.mark.rfc("MUST-47", "SHLD-20", "SHLD-25")
@pytest.mark.parametrize("code", [0, 1, 5])
def test_a_soft_error_is_told_to_who_asks(wire: Wire, code: int) -> None:
    """RFC 9293 3.9.1.8, 3.9.2.2: SO_ERROR has it; no call fails because of it."""
    sock = wire.established()
    sock.send(100)
    wire("+0 > P. 1:101(100) ack 1")
    tcp_error(wire, UNREACHABLE, code, 1)
    assert sock.send(10) == 10
    assert sock.error in (errno.EHOSTUNREACH, errno.ENETUNREACH, errno.EOPNOTSUPP)
    assert sock.error == 0
    wire("+.01 < . 1:1(0) ack 101 win 257\n+0 > P. 101:111(10) ack 1")


@pytest.mark.rfc("SHLD-26", "MUST-54")
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


@pytest.mark.rfc("MUST-55")
def test_source_quench_changes_nothing(wire: Wire) -> None:
    """RFC 9293 MUST-55."""
    sock = wire.established()
    sock.send(1000)
    wire("+0 > P. 1:1001(1000) ack 1")
    cwnd = sock.info.cwnd
    tcp_error(wire, 4, 0, 1)
    assert sock.info.cwnd == cwnd
    wire("+.01 < . 1:1(0) ack 1001 win 257")


# ------------------------------------------------------------------ both versions


@pytest.mark.both_versions
def test_errors_are_limited_together(lan: Lan) -> None:
    """RFC 1812 4.3.2.8; RFC 4443 2.4 (f): whatever their kind."""
    lan.learn()
    lan.engine.set("icmp.ratelimit", 5)
    out = [lan.udp(4000, 9, b"x") or lan.ip(253, bytes(20)) for _ in range(50)]
    assert sum(map(len, out)) == 5
    assert lan.stats["icmp.ratelimited"] >= 45
    lan.wait(0.4)
    assert sum(len(lan.udp(4000, 9, b"x")) for _ in range(10)) == 2
    lan.engine.set("icmp.ratelimit", 0)
    assert lan.udp(4000, 9, b"x") == []


@pytest.mark.both_versions
def test_an_error_without_an_mbuf_is_not_sent(lan: Lan) -> None:
    lan.learn()
    rig.lib.ust_engine_fail_alloc(lan.engine.raw, 2, False)
    assert lan.udp(4000, 9, b"x") == []
    assert lan.stats["ip.drop.nombuf"] == 1
    assert lan.held() == 0


@pytest.mark.both_versions
def test_echo_replies_have_a_limit_of_their_own(lan: Lan) -> None:
    lan.learn()
    lan.engine.set("icmp.echo_limit", 3)
    assert sum(len(lan.echo()) for _ in range(9)) == 3
    assert len(lan.udp(4000, 9)) == 1


@pytest.mark.both_versions
def test_icmp_of_the_other_version_is_no_protocol_of_this_one(lan: Lan) -> None:
    lan.learn()
    proto = 58 if lan.version == 4 else 1
    (answer,) = lan.ip(proto, bytes(16))
    assert kind_of(answer) == ((3, 2) if lan.version == 4 else (4, 1))


def test_an_icmpv6_error_quotes_as_much_as_fits_1280_bytes(lan6: Lan) -> None:
    """RFC 4443 3.1."""
    lan6.learn()
    for length, quoted in ((100, 148), (1400, 1232)):
        (answer,) = lan6.udp(4000, 9, bytes(length))
        assert len(icmp_bytes(answer)) == 8 + quoted
        assert len(answer) <= 14 + 1280


def test_an_icmpv6_error_about_our_fragment_is_understood(lan6: Lan) -> None:
    sock = lan6.engine.udp(OUR_IP6, 9)
    lan6.engine.associate(sock, HOST_IP6, 4000)
    ends = frames.packed(OUR_IP6), frames.packed(HOST_IP6)
    for offset, heard in ((0, errno.ECONNREFUSED), (1480, 0)):
        head = struct.pack("!BBHI", PROTO_UDP, 0, offset | 1, 7) + frames.udp(*ends, 9, 4000)
        lan6.quote(44, head, 1, 4)
        assert lan6.engine.getopt(sock, rig.lib.UST_OPT_ERROR) == heard
    lan6.quote(44, bytes(8), 1, 4)
    assert lan6.moved() == {"icmp.drop.quote": 2}


def test_unknown_icmpv6_messages_are_dropped(lan6: Lan) -> None:
    """RFC 4443 2.4 (a), (b)."""
    lan6.learn()
    for kind in (0, 5, 100, 127, 130, 131, 200, 255):
        assert lan6.icmp_message(kind, 0, bytes(4), bytes(48)) == []
    assert lan6.moved() == {"icmp.drop.type": 8}


def test_an_error_about_an_option_goes_to_a_group_only_from_an_address_of_ours(lan6: Lan) -> None:
    lan6.engine.del_addr(OUR_IP6)
    for address in list(lan6.engine.addrs()):
        lan6.engine.del_addr(address)
    option = bytes([58, 0, 0x9E, 4, 0, 0, 0, 0])
    assert lan6.ip(60, option + bytes(8), dst="ff02::1", dst_mac=b"\x33\x33\0\0\0\1") == []
    assert lan6.moved() == {"ip6.drop.option": 1}


def test_requests_without_an_address_or_mbuf_are_not_sent(lan: Lan) -> None:
    """The question needs a source; the rest of the engine goes on."""
    sock = lan.engine.udp(OUR_IP, 9)
    lan.engine.sendto(sock, b"x", HOST_IP, 9)
    lan.engine.del_addr(OUR_IP)
    assert [
        f for f in lan.wait(5) if frames.ethertype(f) == frames.ETH_ARP and f[38:42] != bytes(4)
    ][1:] == []
    lan.engine.check()
    lan.engine.add_addr(OUR_IP, 24)
    list(lan.engine.output())
    rig.lib.ust_engine_fail_alloc(lan.engine.raw, 3, False)
    lan.engine.sendto(sock, b"x", HOST_IP, 9)
    assert lan.wait(0.5) == []
    assert lan.stats["ip.drop.nombuf"] == 1


@pytest.mark.both_versions
@pytest.mark.parametrize("code", ["port", "admin"])
def test_a_hard_error_ends_a_connection_attempt_over_both(wire: Wire, code: str) -> None:
    """RFC 5927 4.1."""
    sock = wire.connect()
    wire("+0 > S 0:0(0) <...>")
    peer, (src, dst) = wire.default, (wire.engine.address, wire.their_ip)
    head = struct.pack("!HHI", peer.our_port, peer.port, peer.iss or 0)
    inner = frames.ip(frames.packed(src), frames.packed(dst), 6, head)
    ends = frames.packed(dst), frames.packed(src)
    if wire.version == 4:
        body = frames.icmp(3, 3 if code == "port" else 10, bytes(4), inner)
        packet = frames.ipv4(*ends, PROTO_ICMP, body)
    else:
        body = frames.icmp6(*ends, 1, 4 if code == "port" else 1, bytes(4), inner)
        packet = frames.ipv6(*ends, 58, body)
    wire.inject(frames.ip_frame(wire.engine.mac, HOST_MAC, packet))
    assert sock.state == "CLOSED"
    wanted = {
        "port": errno.ECONNREFUSED,
        "admin": [errno.EHOSTUNREACH, errno.EACCES][wire.version == 6],
    }
    assert sock.error == wanted[code]
