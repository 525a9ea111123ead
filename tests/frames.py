# SPDX-License-Identifier: BSD-3-Clause
"""Frames for tests: built by hand with struct, taken apart by scapy.

Neither way goes through ustack, so an error of its own cannot hide behind itself. Every builder
takes the raw value of each field, the wrong ones included; None means "the right one".
"""

from __future__ import annotations

import ipaddress
import struct
from dataclasses import dataclass

from scapy.layers.inet import IP, TCP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import Ether
from scapy.packet import Packet
from scapy.utils import checksum as scapy_checksum

import notation

BROADCAST = b"\xff" * 6
ETH_IPV4, ETH_ARP, ETH_IPV6 = 0x0800, 0x0806, 0x86DD
PROTO_ICMP, PROTO_TCP, PROTO_UDP, PROTO_ICMP6 = 1, 6, 17, 58
ARP_REQUEST, ARP_REPLY = 1, 2


def ip4(text: str) -> bytes:
    """Four bytes of a dotted address."""
    return ipaddress.IPv4Address(text).packed


def packed(text: str) -> bytes:
    """The bytes of an address: four or sixteen."""
    return ipaddress.ip_address(text).packed


def checksum(data: bytes, start: int = 0) -> int:
    """The Internet checksum (RFC 1071), complemented."""
    if len(data) % 2:
        data += b"\0"
    total = start + sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total ^ 0xFFFF


# ----------------------------------------------------------------- building


def ethernet(dst: bytes, src: bytes, ethertype: int, payload: bytes) -> bytes:
    """An Ethernet II frame without padding or FCS."""
    return dst + src + struct.pack("!H", ethertype) + payload


def arp(
    op: int,
    sender_mac: bytes,
    sender_ip: bytes,
    target_mac: bytes,
    target_ip: bytes,
    *,
    hrd: int = 1,
    pro: int = ETH_IPV4,
    hln: int = 6,
    pln: int = 4,
) -> bytes:
    """An ARP packet (RFC 826)."""
    head = struct.pack("!HHBBH", hrd, pro, hln, pln, op)
    return head + sender_mac + sender_ip + target_mac + target_ip


def ipv4(
    src: bytes,
    dst: bytes,
    proto: int,
    payload: bytes,
    *,
    version: int = 4,
    ihl: int | None = None,
    tos: int = 0,
    total: int | None = None,
    ident: int = 0,
    frag: int = 0x4000,
    ttl: int = 64,
    csum: int | None = None,
    options: bytes = b"",
) -> bytes:
    """An IPv4 packet (RFC 791). frag: flags and offset as one 16-bit word; the default is DF."""
    ihl = 5 + len(options) // 4 if ihl is None else ihl
    total = 20 + len(options) + len(payload) if total is None else total
    head = (
        struct.pack(
            "!BBHHHBBH4s4s", version << 4 | ihl, tos, total, ident, frag, ttl, proto, 0, src, dst
        )
        + options
    )
    csum = checksum(head) if csum is None else csum
    return head[:10] + struct.pack("!H", csum) + head[12:] + payload


def ipv6(
    src: bytes,
    dst: bytes,
    proto: int,
    payload: bytes,
    *,
    version: int = 6,
    tos: int = 0,
    flow: int = 0,
    length: int | None = None,
    ttl: int = 64,
) -> bytes:
    """An IPv6 packet (RFC 8200). tos: the traffic class; ttl: the hop limit; proto: next header."""
    length = len(payload) if length is None else length
    first = version << 28 | tos << 20 | flow
    return struct.pack("!IHBB16s16s", first, length, proto, ttl, src, dst) + payload


def ip(src: bytes, dst: bytes, proto: int, payload: bytes, **fields: int) -> bytes:
    """A packet of the version that the addresses have."""
    return (ipv4 if len(src) == 4 else ipv6)(src, dst, proto, payload, **fields)  # type: ignore[operator]


def ip_frame(dst_mac: bytes, src_mac: bytes, packet: bytes) -> bytes:
    """An Ethernet frame around a packet of either version."""
    return ethernet(dst_mac, src_mac, ETH_IPV6 if packet[0] >> 4 == 6 else ETH_IPV4, packet)


def pseudo(src: bytes, dst: bytes, proto: int, length: int) -> bytes:
    """The pseudo-header of a transport checksum (RFC 9293 3.1, RFC 8200 8.1)."""
    if len(src) == 4:
        return src + dst + struct.pack("!HH", proto, length)
    return src + dst + struct.pack("!II", length, proto)


def icmp6(
    src: bytes,
    dst: bytes,
    kind: int,
    code: int,
    rest: bytes,
    payload: bytes = b"",
    csum: int | None = None,
) -> bytes:
    """An ICMPv6 message (RFC 4443). rest: the second word of its header."""
    body = struct.pack("!BBH", kind, code, 0) + rest + payload
    if csum is None:
        csum = checksum(pseudo(src, dst, PROTO_ICMP6, len(body)) + body)
    return body[:2] + struct.pack("!H", csum) + body[4:]


def icmp(kind: int, code: int, rest: bytes, payload: bytes = b"", csum: int | None = None) -> bytes:
    """An ICMP message (RFC 792). rest: the second word of its header."""
    body = struct.pack("!BBH", kind, code, 0) + rest + payload
    csum = checksum(body) if csum is None else csum
    return body[:2] + struct.pack("!H", csum) + body[4:]


def udp(
    src: bytes,
    dst: bytes,
    sport: int,
    dport: int,
    payload: bytes = b"",
    *,
    length: int | None = None,
    csum: int | None = None,
) -> bytes:
    """A UDP datagram (RFC 768) with its checksum."""
    length = 8 + len(payload) if length is None else length
    body = struct.pack("!HHHH", sport, dport, length, 0) + payload
    if csum is None:
        csum = checksum(pseudo(src, dst, PROTO_UDP, len(body)) + body) or 0xFFFF
    return body[:6] + struct.pack("!H", csum) + body[8:]


def tcp(
    src: bytes,
    dst: bytes,
    sport: int,
    dport: int,
    seq: int,
    ack: int,
    bits: int,
    *,
    win: int = 65535,
    urg: int = 0,
    options: bytes = b"",
    payload: bytes = b"",
    doff: int | None = None,
    csum: int | None = None,
) -> bytes:
    """A TCP segment (RFC 9293 3.1) with absolute numbers."""
    doff = 5 + len(options) // 4 if doff is None else doff
    body = (
        struct.pack(
            "!HHIIHHHH",
            sport,
            dport,
            seq % 2**32,
            ack % 2**32,
            doff << 12 | bits,
            win,
            0,
            urg,
        )
        + options
        + payload
    )
    if csum is None:
        csum = checksum(pseudo(src, dst, PROTO_TCP, len(body)) + body)
    return body[:16] + struct.pack("!H", csum) + body[18:]


# ------------------------------------------------------------------ reading


@dataclass(frozen=True)
class TcpFrame:
    """A TCP frame as scapy reads it; all numbers absolute."""

    src_mac: bytes
    dst_mac: bytes
    src: str
    dst: str
    sport: int
    dport: int
    seq: int
    ack: int
    bits: int
    win: int
    urg: int
    options: tuple[notation.Option, ...]
    payload: bytes
    ttl: int
    tos: int


def mac(text: str) -> bytes:
    """Six bytes of a colon-separated MAC address."""
    return bytes.fromhex(text.replace(":", ""))


def ethertype(frame: bytes) -> int:
    """The frame's EtherType."""
    return int.from_bytes(frame[12:14], "big")


def is_tcp(frame: bytes) -> bool:
    """Is it a frame with TCP in it?"""
    if ethertype(frame) == ETH_IPV6:
        return len(frame) > 54 and frame[20] == PROTO_TCP
    return ethertype(frame) == ETH_IPV4 and len(frame) > 34 and frame[23] == PROTO_TCP


def check_ipv4(frame: bytes) -> IP:
    """The frame's IPv4 packet, its length and header checksum found right."""
    packet = Ether(frame)
    assert IP in packet, f"not an IPv4 frame: {frame.hex()}"
    ip = packet[IP]
    head = frame[14 : 14 + 4 * ip.ihl]
    assert scapy_checksum(head) == 0, f"IPv4 header checksum is wrong: {head.hex()}"
    assert 14 + ip.len == len(frame), f"IPv4 total length {ip.len} in a frame of {len(frame)}"
    return ip


def check_ipv6(frame: bytes) -> IPv6:
    """The frame's IPv6 packet, its length found right."""
    packet = Ether(frame)
    assert IPv6 in packet, f"not an IPv6 frame: {frame.hex()}"
    ip6 = packet[IPv6]
    assert 54 + ip6.plen == len(frame), f"IPv6 payload length {ip6.plen} in a frame of {len(frame)}"
    return ip6


def check_ip(frame: bytes) -> tuple[Packet, bytes, int]:
    """A frame's packet of either version, its payload and its TTL or hop limit."""
    if ethertype(frame) == ETH_IPV6:
        packet = check_ipv6(frame)
        return packet, frame[54:], packet.hlim
    packet = check_ipv4(frame)
    return packet, frame[14 + 4 * packet.ihl :], packet.ttl


def check_transport(frame: bytes, proto: int) -> bytes:
    """The payload of a frame's packet, its transport checksum found right."""
    packet, body, _ = check_ip(frame)
    head = pseudo(packed(packet.src), packed(packet.dst), proto, len(body))
    name = {PROTO_TCP: "TCP", PROTO_UDP: "UDP", PROTO_ICMP6: "ICMPv6"}[proto]
    assert scapy_checksum(head + body) == 0, f"{name} checksum is wrong: {body.hex()}"
    return body


def read_tcp(frame: bytes) -> TcpFrame:
    """Take a TCP frame apart, with its lengths and both checksums found right."""
    ip, _, ttl = check_ip(frame)
    segment = check_transport(frame, PROTO_TCP)
    packet = Ether(frame)
    head = packet[TCP]
    assert 20 <= 4 * head.dataofs <= len(segment), f"data offset {head.dataofs} is impossible"
    return TcpFrame(
        mac(packet.src),
        mac(packet.dst),
        ip.src,
        ip.dst,
        head.sport,
        head.dport,
        head.seq,
        head.ack,
        int(head.flags) & 0x1FF,
        head.window,
        head.urgptr,
        tuple(read_option(*option) for option in head.options),
        segment[4 * head.dataofs :],
        ttl,
        ip.tc if ip.version == 6 else ip.tos,
    )


def read_option(name: object, value: object) -> notation.Option:
    """One option as scapy gives it, in the notation's words."""
    match name, value:
        case "NOP", _:
            return ("nop",)
        case "EOL", _:
            return ("eol",)
        case "SAckOK", _:
            return ("sackOK",)
        case "MSS", int(mss):
            return ("mss", mss)
        case "WScale", int(shift):
            return ("wscale", shift)
        case "Timestamp", (int(val), int(ecr)):
            return ("TS", val, ecr)
        case "TFO", tuple(words):
            return ("FO", struct.pack(f"!{len(words)}I", *words))
        case "TFO", _:
            return ("FO", b"")
        case "SAck", tuple(edges):
            return ("sack", *zip(edges[0::2], edges[1::2], strict=True))
        case 172 | 174 as kind, bytes(raw):
            counts = [int.from_bytes(raw[i : i + 3], "big") for i in range(0, len(raw), 3)]
            names = ("e0b", "ceb", "e1b") if kind == 172 else ("e1b", "ceb", "e0b")
            return ("ECN", *zip(names, counts, strict=False))
    return ("unknown", name, value)
