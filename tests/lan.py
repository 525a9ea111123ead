# SPDX-License-Identifier: BSD-3-Clause
"""The `lan` fixture: one engine on a network segment whose other hosts the test plays.

Unlike `wire` it knows no neighbour, speaks in whole frames, and gives them back as bytes. It speaks
IPv4 or IPv6; in a test that is marked both_versions, the one and then the other.
"""

from __future__ import annotations

import ipaddress
import struct
from typing import Any

from scapy.layers.inet import ICMP
from scapy.layers.l2 import ARP, Ether

import frames
import rig
import wire
from flow import OUR_IPS, THEIR_IPS

OUR_IP, OUR_MAC = OUR_IPS[4], bytes.fromhex("020000000002")
HOST_IP, HOST_MAC = THEIR_IPS[4], bytes.fromhex("020000000001")
OUR_IP6, HOST_IP6 = OUR_IPS[6], THEIR_IPS[6]
NO_MAC = bytes(6)
ALL_NODES = "ff02::1"
RS, RA, NS, NA = 133, 134, 135, 136
SOLICITED, OVERRIDE, ROUTER = 0x40, 0x20, 0x80


class Lan:
    """One engine, its frames and counters; `first` is what it said when it was made."""

    def __init__(
        self, settings: dict[str, int] | None = None, version: int = 4, **options: Any
    ) -> None:
        self.version, self.us, self.them = version, OUR_IPS[version], THEIR_IPS[version]
        if version == 6:
            options = {"address": OUR_IP6, "prefix": 64} | options
        else:
            options = {"address": OUR_IP} | options
        self.engine = rig.Engine(mac=OUR_MAC, settings=settings, **options)
        self.first = list(self.engine.output())
        self.stats = wire.Stats(self.engine)
        self.icmp = frames.PROTO_ICMP if version == 4 else frames.PROTO_ICMP6

    def send(self, frame: bytes) -> list[bytes]:
        """Inject a frame; what comes out in answer."""
        self.engine.inject(frame)
        return list(self.engine.output())

    def wait(self, seconds: float) -> list[bytes]:
        """Let time pass; what comes out."""
        out = list(self.engine.run_until(self.engine.now + round(seconds * rig.SECOND)))
        self.engine.tick()  # so that calls that take no time know what it is
        return out

    def arp(
        self,
        op: int,
        sender_ip: str = HOST_IP,
        target_ip: str = OUR_IP,
        *,
        sender_mac: bytes = HOST_MAC,
        target_mac: bytes = NO_MAC,
        dst: bytes | None = None,
        **fields: Any,
    ) -> list[bytes]:
        """Send an ARP packet; a request goes to everybody."""
        dst = dst or (frames.BROADCAST if op == frames.ARP_REQUEST else OUR_MAC)
        packet = frames.arp(
            op, sender_mac, frames.ip4(sender_ip), target_mac, frames.ip4(target_ip), **fields
        )
        return self.send(frames.ethernet(dst, sender_mac, frames.ETH_ARP, packet))

    def ip(
        self,
        proto: int,
        payload: bytes,
        src: str | None = None,
        dst: str | None = None,
        *,
        src_mac: bytes = HOST_MAC,
        dst_mac: bytes = OUR_MAC,
        **fields: Any,
    ) -> list[bytes]:
        """Send an IP packet; its version is that of its addresses."""
        ends = frames.packed(src or self.them), frames.packed(dst or self.us)
        ethertype = frames.ETH_IPV4 if len(ends[0]) == 4 else frames.ETH_IPV6
        packet = frames.ip(*ends, proto, payload, **fields)
        return self.send(frames.ethernet(dst_mac, src_mac, ethertype, packet))

    def echo(self, payload: bytes = b"ping", **fields: Any) -> list[bytes]:
        """Send an echo request."""
        return self.icmp_message(8 if self.version == 4 else 128, 0, b"\0\1\0\7", payload, **fields)

    def icmp_message(
        self, kind: int, code: int, rest: bytes, payload: bytes = b"", **fields: Any
    ) -> list[bytes]:
        """Send an ICMP message of the version in use."""
        if self.version == 4:
            return self.ip(frames.PROTO_ICMP, frames.icmp(kind, code, rest, payload), **fields)
        ends = (
            frames.packed(fields.get("src", self.them)),
            frames.packed(fields.get("dst", self.us)),
        )
        body = frames.icmp6(*ends, kind, code, rest, payload)
        return self.ip(frames.PROTO_ICMP6, body, **fields)

    def udp(
        self,
        sport: int,
        dport: int,
        payload: bytes = b"",
        src: str | None = None,
        dst: str | None = None,
        *,
        length: int | None = None,
        csum: int | None = None,
        **fields: Any,
    ) -> list[bytes]:
        """Send a UDP datagram."""
        src, dst = src or self.them, dst or self.us
        body = frames.udp(
            frames.packed(src), frames.packed(dst), sport, dport, payload, length=length, csum=csum
        )
        return self.ip(frames.PROTO_UDP, body, src, dst, **fields)

    def quote(
        self,
        proto: int,
        head: bytes,
        kind: int,
        code: int,
        rest: bytes = bytes(4),
        *,
        src: str | None = None,
        dst: str | None = None,
        sender: str | None = None,
    ) -> list[bytes]:
        """Send an ICMP error about a packet that src (us) sent to dst (them)."""
        inner = frames.ip(
            frames.packed(src or self.us), frames.packed(dst or self.them), proto, head
        )
        return self.icmp_message(kind, code, rest, inner, **({"src": sender} if sender else {}))

    def nd(
        self,
        kind: int,
        target: str | None = None,
        options: bytes = b"",
        *,
        flags: int = 0,
        src: str | None = None,
        dst: str | None = None,
        ttl: int = 255,
        code: int = 0,
        rest: bytes | None = None,
        **fields: Any,
    ) -> list[bytes]:
        """Send a neighbour discovery message; a solicitation goes to the target's group."""
        src = src or HOST_IP6
        if dst is None:
            dst = solicited_node(target) if kind == NS and target else ALL_NODES
            dst = OUR_IP6 if kind == NA else dst
        rest = struct.pack("!I", flags << 24) if rest is None else rest
        payload = (frames.packed(target) if target else b"") + options
        body = frames.icmp6(frames.packed(src), frames.packed(dst), kind, code, rest, payload)
        to = OUR_MAC if not dst.startswith("ff") else b"\x33\x33" + frames.packed(dst)[-4:]
        return self.ip(frames.PROTO_ICMP6, body, src, dst, dst_mac=to, ttl=ttl, **fields)

    def learn(self, ip: str | None = None, mac: bytes = HOST_MAC) -> None:
        """Make the engine learn a host, by the host's asking for the engine."""
        ip = ip or self.them
        if ":" in ip:
            answer = self.nd(NS, OUR_IP6, link_address(1, mac), src=ip, src_mac=mac)
        else:
            answer = self.arp(frames.ARP_REQUEST, ip, sender_mac=mac)
        assert len(answer) == 1

    def moved(self) -> dict[str, int]:
        """The counters of drops that have moved."""
        return {name: n for name, n in self.stats.changed().items() if ".drop." in name}

    def held(self) -> int:
        """How many buffers the engine holds."""
        usage = self.engine.usage()
        return int(usage.mbufs_small + usage.mbufs_large + usage.mbufs_ref)


def link_address(kind: int, mac: bytes) -> bytes:
    """A link-layer address option (RFC 4861 4.6.1): 1 source, 2 target."""
    return bytes([kind, 1]) + mac


def solicited_node(address: str) -> str:
    """The group of an address (RFC 4291 2.7.1)."""
    low = frames.packed(address)[-3:].hex()
    return str(ipaddress.ip_address(f"ff02::1:ff{low[:2]}:{low[2:]}"))


def arp_of(frame: bytes) -> ARP:
    """A frame's ARP packet."""
    packet = Ether(frame)
    assert ARP in packet, f"not ARP: {frame.hex()}"
    return packet[ARP]


def is_arp(frame: bytes) -> bool:
    """Is it an ARP frame?"""
    return frames.ethertype(frame) == frames.ETH_ARP


def icmp_of(frame: bytes) -> ICMP:
    """A frame's ICMP message, its checksum found right."""
    ip = frames.check_ipv4(frame)
    body = frame[14 + 4 * ip.ihl :]
    assert frames.checksum(body) == 0, "ICMP checksum is wrong"
    packet: ICMP = Ether(frame)[ICMP]
    return packet


def icmp_bytes(frame: bytes) -> bytes:
    """The ICMP message in a frame of either version, its checksum found right."""
    if frames.ethertype(frame) == frames.ETH_IPV6:
        assert frame[20] == frames.PROTO_ICMP6, f"not ICMPv6: {frame.hex()}"
        return frames.check_transport(frame, frames.PROTO_ICMP6)
    icmp_of(frame)
    return frames.check_ip(frame)[1]


def kind_of(frame: bytes) -> tuple[int, int]:
    """Type and code of the ICMP message in a frame."""
    body = icmp_bytes(frame)
    return body[0], body[1]


def is_nd(frame: bytes) -> bool:
    """Is it a neighbour discovery message?"""
    return (
        frames.ethertype(frame) == frames.ETH_IPV6
        and frame[20] == frames.PROTO_ICMP6
        and RS <= frame[54] <= NA
    )


def dst_mac(frame: bytes) -> bytes:
    """Where a frame goes."""
    return frame[:6]
