# SPDX-License-Identifier: BSD-3-Clause
"""IPv6 validation and extension headers (RFC 8200, 5095, 6946, 7112)."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

import frames
from frames import PROTO_ICMP6, PROTO_TCP, PROTO_UDP
from lan import ALL_NODES, HOST_IP6, HOST_MAC, OUR_IP6, OUR_MAC, Lan, icmp_bytes, kind_of
from programs import compile_with_engine, figures

HOP, ROUTING, FRAGMENT, NO_NEXT, DEST = 0, 43, 44, 59, 60
ECHO = frames.icmp6(frames.packed(HOST_IP6), frames.packed(OUR_IP6), 128, 0, b"\0\1\0\1", b"ping")
PADN4 = bytes([1, 4, 0, 0, 0, 0])


def ext(proto: int, options: bytes = PADN4) -> bytes:
    """A hop-by-hop or destination options header before this protocol."""
    assert len(options) % 8 == 6
    return bytes([proto, len(options) // 8]) + options


def routing(proto: int, left: int, kind: int = 0) -> bytes:
    return bytes([proto, 0, kind, left]) + bytes(4)


def fragment(proto: int, offset: int = 0, more: bool = False, ident: int = 7) -> bytes:
    return struct.pack("!BBHI", proto, 0, offset | more, ident)


def pointer(frame: bytes) -> int:
    """What a parameter problem points at."""
    return int.from_bytes(icmp_bytes(frame)[4:8], "big")


@pytest.fixture
def host(lan6: Lan) -> Lan:
    """An engine that knows the host."""
    lan6.learn()
    return lan6


CHAINS = {
    "hop-by-hop": (HOP, ext(PROTO_ICMP6)),
    "destination options": (DEST, ext(PROTO_ICMP6)),
    "routing with nothing left": (ROUTING, routing(PROTO_ICMP6, 0)),
    "three": (HOP, ext(ROUTING) + routing(DEST, 0) + ext(PROTO_ICMP6)),
    "eight": (HOP, ext(DEST) + b"".join(ext(DEST) for _ in range(6)) + ext(PROTO_ICMP6)),
    "an option of 22 bytes": (DEST, ext(PROTO_ICMP6, bytes([1, 20]) + bytes(20))),
    "Pad1 only": (DEST, ext(PROTO_ICMP6, bytes(6))),
    "an option that may be skipped": (DEST, ext(PROTO_ICMP6, bytes([0x1E, 4, 1, 2, 3, 4]))),
    "a router alert": (HOP, ext(PROTO_ICMP6, bytes([5, 2, 0, 0, 1, 0]))),
    "an atomic fragment": (FRAGMENT, fragment(PROTO_ICMP6)),
    "an atomic fragment with options": (FRAGMENT, fragment(DEST) + ext(PROTO_ICMP6)),
    "options, atomic fragment": (DEST, ext(FRAGMENT) + fragment(PROTO_ICMP6)),
}


@pytest.mark.parametrize("name", CHAINS)
def test_a_sound_chain_is_skipped(host: Lan, name: str) -> None:
    """RFC 8200 4; atomic fragments: RFC 6946."""
    first, chain = CHAINS[name]
    (reply,) = host.ip(first, chain + ECHO)
    assert kind_of(reply) == (129, 0)
    assert host.moved() == {}


MALFORMED = {
    "a ninth header": (HOP, ext(DEST) + b"".join(ext(DEST) for _ in range(7)) + ext(PROTO_ICMP6)),
    "a hundred headers": (DEST, b"".join(ext(DEST) for _ in range(100))),
    "a length past the packet": (DEST, bytes([PROTO_ICMP6, 200]) + PADN4 + ECHO),
    "a length of 255": (HOP, bytes([PROTO_ICMP6, 255]) + PADN4 + ECHO),
    "half a header": (DEST, bytes([PROTO_ICMP6, 0, 1, 0])),
    "no header at all": (DEST, b""),
    "PadN past its header": (DEST, ext(PROTO_ICMP6, bytes([1, 5, 0, 0, 0, 0])) + ECHO),
    "PadN of 255": (HOP, ext(PROTO_ICMP6, bytes([1, 255, 0, 0, 0, 0])) + ECHO),
    "an option without a length": (DEST, ext(PROTO_ICMP6, bytes([1, 3, 0, 0, 0, 1])) + ECHO),
    "half a fragment header": (FRAGMENT, bytes(4)),
    "a fragment in a fragment": (FRAGMENT, fragment(FRAGMENT) + fragment(PROTO_ICMP6) + ECHO),
}


@pytest.mark.parametrize("name", MALFORMED)
def test_a_malformed_chain_is_dropped(host: Lan, name: str) -> None:
    first, chain = MALFORMED[name]
    assert host.ip(first, chain) == []
    assert host.moved() == {"ip6.drop.exthdr": 1}
    assert host.held() == 0


def test_hop_by_hop_options_come_first_or_not_at_all(host: Lan) -> None:
    """RFC 8200 4.1: elsewhere it is an unrecognised next header."""
    (answer,) = host.ip(DEST, ext(HOP) + ext(PROTO_ICMP6) + ECHO)
    assert kind_of(answer) == (4, 1)
    assert host.moved() == {"ip6.drop.exthdr": 1}


def test_no_next_header_is_dropped_in_silence(host: Lan) -> None:
    """RFC 8200 4.7."""
    assert host.ip(NO_NEXT, b"") == host.ip(DEST, ext(NO_NEXT)) == []
    assert host.moved() == {"ip6.drop.proto": 2}


@pytest.mark.parametrize(
    ("option", "to_us", "to_all"), [(0x40, False, False), (0x80, True, True), (0xC0, True, False)]
)
def test_an_unknown_option_says_what_is_to_be_done(
    host: Lan, option: int, to_us: bool, to_all: bool
) -> None:
    """RFC 8200 4.2; RFC 4443 2.4 (e.3)."""
    chain = ext(PROTO_ICMP6, bytes([1, 0, option | 0x1E, 2, 0, 0])) + ECHO
    for dst, answered in ((OUR_IP6, to_us), (ALL_NODES, to_all)):
        mac = OUR_MAC if dst == OUR_IP6 else bytes.fromhex("333300000001")
        out = host.ip(DEST, chain, dst=dst, dst_mac=mac)
        assert [kind_of(frame) for frame in out] == [(4, 2)] * answered
        assert [pointer(frame) for frame in out] == [40 + 2 + 2] * answered
    assert host.moved() == {"ip6.drop.option": 2}


@pytest.mark.parametrize("kind", [0, 2, 3, 4, 255])
def test_a_routing_header_with_segments_left_is_refused(host: Lan, kind: int) -> None:
    """RFC 5095, RFC 8200 4.4."""
    (answer,) = host.ip(ROUTING, routing(PROTO_ICMP6, 1, kind) + ECHO)
    assert (kind_of(answer), pointer(answer)) == ((4, 0), 42)
    assert host.moved() == {"ip6.drop.routing": 1}


def test_an_icmp_error_behind_options_is_not_answered(host: Lan) -> None:
    """RFC 4443 2.4 (e.1)."""
    ends = frames.packed(HOST_IP6), frames.packed(OUR_IP6)
    error = frames.icmp6(*ends, 1, 4, bytes(4), bytes(48))
    assert host.ip(DEST, ext(PROTO_ICMP6, bytes([0x9E, 4, 0, 0, 0, 0])) + error) == []
    assert host.moved() == {"ip6.drop.option": 1}


@pytest.mark.parametrize("chain", [b"", ext(DEST)[:4], bytes([DEST, 9]) + PADN4], ids=len)
def test_a_broken_chain_is_not_looked_through(host: Lan, chain: bytes) -> None:
    """An error about a bad option quotes it, whatever lies behind."""
    bad = ext(DEST, bytes([0x9E, 4, 0, 0, 0, 0]))
    (answer,) = host.ip(DEST, bad + chain)
    assert kind_of(answer) == (4, 2)


def test_an_unknown_next_header_earns_a_parameter_problem(host: Lan) -> None:
    """RFC 8200 4; IP in IP is not opened (4, 41)."""
    for proto in (4, 41, 47, 132, 253, 1):
        (answer,) = host.ip(proto, bytes(40))
        assert (kind_of(answer), pointer(answer)) == ((4, 1), 6)
    assert host.moved() == {"ip6.drop.proto": 6}


BEHIND = {
    "options": (DEST, ext(253), 40),
    "two headers": (HOP, ext(ROUTING, bytes([1, 12]) + bytes(12)) + routing(253, 0), 40 + 16),
    "an atomic fragment": (FRAGMENT, fragment(253), 40),
    "options in an atomic fragment": (FRAGMENT, fragment(DEST) + ext(253), 40 + 8),
    "misplaced hop-by-hop options": (DEST, ext(HOP) + ext(PROTO_ICMP6) + ECHO, 40),
    "the same after a fragment header": (FRAGMENT, fragment(HOP) + ext(PROTO_ICMP6) + ECHO, 40),
}


@pytest.mark.parametrize("name", BEHIND)
def test_a_parameter_problem_points_at_the_byte_that_named_the_header(host: Lan, name: str) -> None:
    """RFC 4443 3.4: wherever it is in the chain."""
    proto, chain, offset = BEHIND[name]
    (answer,) = host.ip(proto, chain + bytes(40))
    assert (kind_of(answer), pointer(answer)) == ((4, 1), offset)


def test_it_points_into_the_datagram_that_was_put_together(host: Lan) -> None:
    """Which has no extension headers any more but those behind the fragment header."""
    body = ext(253) + bytes(40)
    assert host.ip(FRAGMENT, fragment(DEST, more=True) + body[:24]) == []
    (answer,) = host.ip(FRAGMENT, fragment(DEST, 24) + body[24:])
    assert (kind_of(answer), pointer(answer)) == ((4, 1), 40)
    assert answer[14 + 40 + 8 :][40:41] == bytes([253])


# ------------------------------------------------------------------ the header


@pytest.mark.parametrize("version", [0, 4, 5, 7, 15])
def test_another_version_is_dropped(host: Lan, version: int) -> None:
    assert host.ip(PROTO_ICMP6, ECHO, version=version) == []
    assert host.moved() == {"ip6.drop.version": 1}


@pytest.mark.parametrize("length", range(14, 54))
def test_a_truncated_header_is_dropped(host: Lan, length: int) -> None:
    packet = frames.ipv6(frames.packed(HOST_IP6), frames.packed(OUR_IP6), PROTO_ICMP6, ECHO)
    frame = frames.ethernet(OUR_MAC, HOST_MAC, frames.ETH_IPV6, packet)
    assert host.send(frame[:length]) == []
    assert host.moved() == {"ip6.drop.short": 1}


@pytest.mark.parametrize("length", [len(ECHO) + 1, 65535])
def test_a_payload_length_past_the_frame_is_dropped(host: Lan, length: int) -> None:
    assert host.ip(PROTO_ICMP6, ECHO, length=length) == []
    assert host.moved() == {"ip6.drop.length": 1}


def test_a_jumbogram_is_dropped(host: Lan) -> None:
    """RFC 2675 is not spoken: a payload length of 0 with hop-by-hop options."""
    jumbo = ext(PROTO_ICMP6, bytes([0xC2, 4, 0, 1, 0, 0])) + ECHO
    assert host.ip(HOP, jumbo, length=0) == []
    assert host.moved() == {"ip6.drop.length": 1}


def test_padding_behind_the_packet_is_cut_off(host: Lan) -> None:
    packet = frames.ipv6(frames.packed(HOST_IP6), frames.packed(OUR_IP6), PROTO_ICMP6, ECHO)
    (reply,) = host.send(frames.ethernet(OUR_MAC, HOST_MAC, frames.ETH_IPV6, packet + bytes(9)))
    assert frames.check_ipv6(reply).plen == len(ECHO)


@pytest.mark.parametrize("ttl", [0, 1, 255])
def test_any_hop_limit_is_taken(host: Lan, ttl: int) -> None:
    assert len(host.ip(PROTO_ICMP6, ECHO, ttl=ttl)) == 1


def test_our_hop_limit_is_the_configured_one(host: Lan) -> None:
    host.engine.set("ip6.hop_limit", 33)
    (reply,) = host.ip(PROTO_ICMP6, ECHO)
    assert frames.check_ipv6(reply).hlim == 33


def test_a_traffic_class_comes_back_in_the_echo(host: Lan) -> None:
    (reply,) = host.ip(PROTO_ICMP6, ECHO, tos=0xB8, flow=0x12345)
    assert frames.check_ipv6(reply).tc == 0xB8


# ------------------------------------------------------------------ addresses

MARTIANS = ["ff02::1", "ff0e::1", "::1", "::ffff:10.0.0.1", OUR_IP6]


@pytest.mark.rfc("MUST-63")
@pytest.mark.parametrize("src", [*MARTIANS, "::"])
@pytest.mark.parametrize("proto", [PROTO_ICMP6, PROTO_TCP, PROTO_UDP])
def test_a_martian_source_is_dropped_in_silence(host: Lan, src: str, proto: int) -> None:
    """RFC 4291 2.5.3, 2.7, RFC 4038 4.2; RFC 9293 MUST-63; LAND."""
    host.engine.listen(80)
    ends = frames.packed(src), frames.packed(OUR_IP6)
    body = {
        PROTO_ICMP6: frames.icmp6(*ends, 128, 0, bytes(4)),
        PROTO_TCP: frames.tcp(*ends, 80, 80, 1, 0, 2),
        PROTO_UDP: frames.udp(*ends, 7, 7, b"x"),
    }[proto]
    assert host.ip(proto, body, src=src) == []
    assert host.wait(2) == []
    assert host.moved() == {"ip6.drop.martian": 1}


@pytest.mark.parametrize("dst", ["::", "::1", "::ffff:10.0.0.2"])
def test_a_martian_destination_is_dropped_in_silence(host: Lan, dst: str) -> None:
    assert host.ip(PROTO_ICMP6, ECHO, dst=dst) == []
    assert host.moved() == {"ip6.drop.martian": 1}


@pytest.mark.parametrize("dst", ["fd00::99", "2001:db8::1", "ff02::2", "ff02::1:ff99:9999"])
def test_what_is_for_somebody_else_is_not_forwarded(host: Lan, dst: str) -> None:
    assert host.ip(PROTO_ICMP6, ECHO, dst=dst) == []
    assert host.moved() == {"ip6.drop.dst": 1}


@pytest.mark.parametrize("dst", ["ff02::1", "ff01::1", "ff02::1:ff00:2"])
def test_our_groups_are_heard_and_echo_from_a_unicast_address(host: Lan, dst: str) -> None:
    """RFC 4291 2.8; RFC 4443 4.2."""
    (reply,) = host.icmp_message(128, 0, bytes(4), dst=dst, dst_mac=b"\x33\x33\0\0\0\1")
    assert kind_of(reply) == (129, 0)
    assert frames.check_ipv6(reply).src == OUR_IP6


@pytest.mark.rfc("MUST-57")
def test_a_syn_to_a_group_is_not_answered(host: Lan) -> None:
    """RFC 9293 MUST-57."""
    host.engine.listen(80)
    ends = frames.packed(HOST_IP6), frames.packed(ALL_NODES)
    syn = frames.tcp(*ends, 40000, 80, 1, 0, 2)
    assert host.ip(PROTO_TCP, syn, dst=ALL_NODES, dst_mac=b"\x33\x33\0\0\0\1") == []
    assert host.moved() == {"tcp.drop.group": 1}


def test_too_small_an_interface_takes_no_ipv6_address() -> None:
    """RFC 8200 5."""
    lan = Lan(mtu=1279)
    with pytest.raises(OSError, match="Message too long"):
        lan.engine.add_addr("fd00::2", 64)
    with pytest.raises(OSError, match="Message too long"):
        lan.engine.enable_ipv6()
    with pytest.raises(OSError, match="Invalid"):
        lan.engine.enable_ipv6(3)


@pytest.fixture(scope="module")
def chained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """tests/c/chained.c with the engine."""
    return compile_with_engine("chained", tmp_path_factory.mktemp("chained"))


@pytest.mark.parametrize("atomic", [0, 1], ids=["whole", "an atomic fragment"])
@pytest.mark.parametrize("first", [0, 8, 63, 64, 199])
def test_headers_come_in_one_piece(chained: Path, first: int, atomic: int) -> None:
    """RFC 7112: and of an ICMP error as much as quotes a port, 64 bytes."""
    assert figures(chained, first, atomic) == {"dropped": int(first < 64), "mbufs": 0}
