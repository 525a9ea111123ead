# SPDX-License-Identifier: BSD-3-Clause
"""IPv4 validation (RFC 791, RFC 1122 3.2.1): what is malformed is dropped under its own name.

Nothing that is dropped here is answered.
"""

from __future__ import annotations

from typing import Any

import pytest

import frames
from frames import BROADCAST, PROTO_ICMP, PROTO_TCP
from lan import HOST_IP, HOST_MAC, OUR_IP, OUR_MAC, Lan

ECHO = frames.icmp(8, 0, b"\0\1\0\1", b"ping")
SYN = frames.tcp(frames.ip4(HOST_IP), frames.ip4(OUR_IP), 40000, 80, 1, 0, 2)

MALFORMED: list[tuple[str, dict[str, Any]]] = [
    *[("ip.drop.version", {"version": v}) for v in (0, 1, 5, 6, 15)],
    *[("ip.drop.ihl", {"ihl": n}) for n in range(5)],
    ("ip.drop.ihl", {"ihl": 15}),
    *[("ip.drop.length", {"total": n}) for n in (0, 1, 19, 33, 65535)],
    *[("ip.drop.checksum", {"csum": n}) for n in (0, 1, 0xFFFF)],
    # fragments: a middle one of 12 bytes, and offsets past the end of a datagram
    *[("frag.drop.bad", {"frag": n}) for n in (0x2000, 0x2001, 0x1FFF, 0x3FFF)],
    # loose and strict source routes (RFC 7126 4.3, 4.4)
    ("ip.drop.options", {"options": bytes.fromhex("83070401020304 00".replace(" ", ""))}),
    ("ip.drop.options", {"options": bytes.fromhex("8907040102030400")}),
    # lengths that lie: 0, 1, past the header, cut off by its end
    ("ip.drop.options", {"options": bytes.fromhex("07000000")}),
    ("ip.drop.options", {"options": bytes.fromhex("07010000")}),
    ("ip.drop.options", {"options": bytes.fromhex("44050000")}),
    ("ip.drop.options", {"options": bytes.fromhex("01010107")}),
    ("ip.drop.options", {"options": bytes.fromhex("fe00fe00")}),
]


@pytest.mark.parametrize(("counter", "fields"), MALFORMED, ids=str)
def test_a_malformed_packet_is_dropped_and_named(
    lan: Lan, counter: str, fields: dict[str, Any]
) -> None:
    lan.learn()
    assert lan.ip(PROTO_ICMP, ECHO, **fields) == []
    assert lan.wait(2) == []
    assert lan.moved() == {counter: 1}


@pytest.mark.parametrize("length", range(14, 34))
def test_a_truncated_packet_is_dropped(lan: Lan, length: int) -> None:
    packet = frames.ipv4(frames.ip4(HOST_IP), frames.ip4(OUR_IP), PROTO_ICMP, ECHO)
    frame = frames.ethernet(OUR_MAC, HOST_MAC, frames.ETH_IPV4, packet)
    assert lan.send(frame[:length]) == []
    assert lan.moved() == {"ip.drop.short": 1}


@pytest.mark.rfc("MUST-50")
@pytest.mark.parametrize("options", ["01010101", "0704040001010100"[:8], "94040000", "00ffffff"])
def test_well_formed_options_are_skipped(lan: Lan, options: str) -> None:
    """RFC 1122 3.2.1.8: unknown options are passed over."""
    lan.learn()
    (reply,) = lan.ip(PROTO_ICMP, ECHO, options=bytes.fromhex(options))
    assert frames.check_ipv4(reply).dst == HOST_IP
    assert lan.moved() == {}


@pytest.mark.parametrize("ttl", [0, 1])
def test_a_ttl_of_0_or_1_is_no_reason_to_drop(lan: Lan, ttl: int) -> None:
    """RFC 1122 3.2.1.7."""
    lan.learn()
    assert len(lan.ip(PROTO_ICMP, ECHO, ttl=ttl)) == 1


def test_ethernet_padding_is_cut_off(lan: Lan) -> None:
    """RFC 894: a 46-byte minimum is filled up behind the packet."""
    lan.learn()
    packet = frames.ipv4(frames.ip4(HOST_IP), frames.ip4(OUR_IP), PROTO_ICMP, ECHO)
    padded = frames.ethernet(OUR_MAC, HOST_MAC, frames.ETH_IPV4, packet + bytes(14))
    (reply,) = lan.send(padded)
    assert frames.check_ipv4(reply).len == len(packet)


MARTIANS = [
    "0.0.0.0",
    "0.1.2.3",
    "127.0.0.1",
    "127.9.9.9",
    "224.0.0.1",
    "239.255.255.255",
    "240.0.0.1",
    "255.255.255.255",
    "10.0.0.255",
    OUR_IP,
]


@pytest.mark.rfc("MUST-63")
@pytest.mark.parametrize("src", MARTIANS)
@pytest.mark.parametrize("proto", [PROTO_ICMP, PROTO_TCP])
def test_a_martian_source_is_dropped_in_silence(lan: Lan, src: str, proto: int) -> None:
    """RFC 1122 3.2.1.3; RFC 9293 MUST-63; D16; LAND."""
    lan.engine.listen(80)
    syn = frames.tcp(frames.ip4(src), frames.ip4(OUR_IP), 80, 80, 1, 0, 2)
    assert lan.ip(proto, ECHO if proto == PROTO_ICMP else syn, src=src) == []
    assert lan.wait(2) == []
    assert lan.moved() == {"ip.drop.martian": 1}


@pytest.mark.parametrize("dst", ["127.0.0.1", "0.0.0.0"])
def test_a_martian_destination_is_dropped_in_silence(lan: Lan, dst: str) -> None:
    """RFC 1122 3.2.1.3 (g), (a)."""
    assert lan.ip(PROTO_ICMP, ECHO, dst=dst) == []
    assert lan.moved() == {"ip.drop.martian": 1}


def test_a_packet_for_somebody_else_is_not_forwarded(lan: Lan) -> None:
    """RFC 1122 3.3.1.1: a host does not forward."""
    assert lan.ip(PROTO_ICMP, ECHO, dst="10.0.0.77") == []
    assert lan.ip(PROTO_ICMP, ECHO, dst="192.0.2.1") == []
    assert lan.moved() == {"ip.drop.dst": 2}


@pytest.mark.rfc("MUST-57")
@pytest.mark.parametrize("dst", ["255.255.255.255", "10.0.0.255", "224.0.0.1"])
def test_a_syn_to_a_group_is_not_answered(lan: Lan, dst: str) -> None:
    """RFC 9293 MUST-57."""
    lan.engine.listen(80)
    syn = frames.tcp(frames.ip4(HOST_IP), frames.ip4(dst), 40000, 80, 1, 0, 2)
    assert lan.ip(PROTO_TCP, syn, dst=dst, dst_mac=BROADCAST) == []
    assert lan.wait(2) == []
    assert lan.moved() == {"tcp.drop.group": 1}


@pytest.mark.rfc("MUST-57")
def test_a_syn_in_a_broadcast_frame_is_not_answered(lan: Lan) -> None:
    """RFC 9293 MUST-57; RFC 1122 3.3.6."""
    lan.engine.listen(80)
    assert lan.ip(PROTO_TCP, SYN, dst_mac=BROADCAST) == []
    assert lan.moved() == {"tcp.drop.group": 1}


@pytest.mark.parametrize("ethertype", [0x88CC, 0x8100, 0x0000, 0xFFFF, 46])
def test_an_unknown_ethertype_is_dropped(lan: Lan, ethertype: int) -> None:
    assert lan.send(frames.ethernet(OUR_MAC, HOST_MAC, ethertype, bytes(60))) == []
    assert lan.moved() == {"eth.drop.type": 1}


@pytest.mark.parametrize("length", range(1, 14))
def test_a_frame_shorter_than_its_header_is_dropped(lan: Lan, length: int) -> None:
    assert lan.send(bytes(length)) == []
    assert lan.moved() == {"eth.drop.short": 1}


@pytest.mark.parametrize(
    ("dst", "src"),
    [
        (bytes.fromhex("020000000077"), HOST_MAC),
        (OUR_MAC, BROADCAST),
    ],
)
def test_a_frame_with_the_wrong_macs_is_dropped(lan: Lan, dst: bytes, src: bytes) -> None:
    packet = frames.ipv4(frames.ip4(HOST_IP), frames.ip4(OUR_IP), PROTO_ICMP, ECHO)
    assert lan.send(frames.ethernet(dst, src, frames.ETH_IPV4, packet)) == []
    assert lan.moved() == {"eth.drop.mac": 1}


@pytest.mark.rfc("MUST-49")
def test_every_packet_we_send_has_the_configured_ttl(lan: Lan) -> None:
    """RFC 9293 MUST-49."""
    lan.learn()
    lan.engine.set("ip.default_ttl", 33)
    (reply,) = lan.ip(PROTO_ICMP, ECHO, ttl=7)
    assert frames.check_ipv4(reply).ttl == 33
