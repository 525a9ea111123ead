# SPDX-License-Identifier: BSD-3-Clause
"""Packets that nobody should send: none is delivered, each is counted under its own name.

Built by scapy where it can say it, by hand where it cannot, and sent to an engine that has an IPv4
and an IPv6 address, a TCP listener on port 80 and UDP sockets on port 9. Each is dropped without an
answer, unless the row says which answer a standard demands.
"""

from __future__ import annotations

import collections
import dataclasses
import struct
from collections.abc import Iterator

import pytest
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import (
    ICMPv6EchoReply,
    ICMPv6EchoRequest,
    ICMPv6ND_NA,
    ICMPv6ND_NS,
    ICMPv6ND_RA,
    ICMPv6NDOptDstLLAddr,
    ICMPv6NDOptSrcLLAddr,
    IPv6,
    IPv6ExtHdrDestOpt,
    IPv6ExtHdrFragment,
    IPv6ExtHdrHopByHop,
    IPv6ExtHdrRouting,
    PadN,
)
from scapy.layers.l2 import ARP, Ether
from scapy.packet import Packet, Raw

import frames
from lan import HOST_IP, HOST_IP6, HOST_MAC, OUR_IP, OUR_IP6, OUR_MAC, Lan, kind_of
from rig import lib

HIM, US = HOST_MAC.hex(":"), OUR_MAC.hex(":")
ALL = "ff:ff:ff:ff:ff:ff"

#: The attacks, by the names that the rows have.
ATTACKS = {
    "S10": "reflection",
    "S11": "FragmentSmack",
    "S12": "overlapping fragments",
    "S13": "ping of death, tiny fragments",
    "S26": "TCP header",
    "S29": "IPv4 header",
    "S30": "IPv6 extension headers",
    "S31": "IP in IP",
    "S32": "ICMP lengths",
    "S33": "ICMP against TCP",
    "S34": "ARP",
    "S35": "ND",
    "S36": "martians",
    "S37": "LAND",
    "S38": "groups and TCP",
}


@dataclasses.dataclass(frozen=True)
class Row:
    """Frames, the one counter that moves with each (or with the last), the answer if any."""

    attack: str
    what: str
    frames: tuple[bytes, ...]
    counter: str
    answer: tuple[int, int] | None = None

    def __str__(self) -> str:
        return f"{self.attack} {self.what}"


def eth(packet: Packet | bytes, dst: str = US, src: str = HIM, kind: int | None = None) -> bytes:
    """The packet in a frame."""
    payload = Raw(packet) if isinstance(packet, bytes) else packet
    return bytes(Ether(dst=dst, src=src, **({"type": kind} if kind else {})) / payload)


def v4(dst: str = OUR_IP, src: str = HOST_IP, **fields: object) -> IP:
    return IP(dst=dst, src=src, **fields)


def v6(dst: str = OUR_IP6, src: str = HOST_IP6, **fields: object) -> IPv6:
    return IPv6(dst=dst, src=src, **fields)


def udp(**fields: object) -> Packet:
    return UDP(**({"sport": 4000, "dport": 9} | fields)) / Raw(b"payload!")


def syn(**fields: object) -> TCP:
    return TCP(**({"sport": 40000, "dport": 80, "flags": "S", "seq": 1} | fields))


def frag4(offset: int, data: bytes, more: bool, ident: int = 1, proto: int = 17) -> bytes:
    flags = "MF" if more else 0
    return eth(v4(frag=offset // 8, flags=flags, id=ident, proto=proto) / Raw(data))


def frag6(offset: int, data: bytes, more: bool, ident: int = 1, proto: int = 17) -> bytes:
    head = IPv6ExtHdrFragment(offset=offset // 8, m=int(more), id=ident, nh=proto)
    return eth(v6() / head / Raw(data))


def row(
    attack: str, what: str, counter: str, *sent: bytes, answer: tuple[int, int] | None = None
) -> Row:
    return Row(attack, what, sent, counter, answer)


# ------------------------------------------------------------------ the table


def reflection() -> Iterator[Row]:
    for port in (1, 79, 81, 65535):
        for flags in ("R", "RA", "RS", "RF"):
            for ip in (v4(), v6()):
                yield row(
                    "S10",
                    f"{flags} to {port} v{ip.version}",
                    "tcp.drop.notcb",
                    eth(ip / syn(dport=port, flags=flags)),
                )
    for code in range(16):
        quote = bytes(v4(OUR_IP, OUR_IP) / ICMP(type=3, code=1))[:28]
        yield row(
            "S10",
            f"error {code} about an error",
            "icmp.drop.quote",
            eth(v4() / ICMP(type=3, code=code) / Raw(quote)),
        )
    for kind in (14, 16, 18):
        yield row("S10", f"answer {kind} unasked", "icmp.drop.type", eth(v4() / ICMP(type=kind)))
    for ident in (0, 8, 0x900):
        unasked = v4() / ICMP(type=0, id=ident), v6() / ICMPv6EchoReply(id=ident)
        for reply in unasked:
            what = f"answer {ident} unasked v{reply.version}"
            yield row("S10", what, "icmp.drop.reply", eth(reply))
    replies = v4("10.0.0.255") / ICMP(type=0, id=9), v6("ff02::1") / ICMPv6EchoReply(id=9)
    for reply in replies:
        what = f"answer to a group v{reply.version}"
        yield row("S10", what, "icmp.drop.group", eth(reply, ALL))
    for port in (7, 19, 53, 123):
        yield row(
            "S10",
            f"datagram to all on {port}",
            "udp.drop.noport",
            eth(v4("10.0.0.255") / udp(sport=7, dport=port), ALL),
        )
        yield row(
            "S10",
            f"datagram in a broadcast frame on {port}",
            "udp.drop.noport",
            eth(v4() / udp(dport=port), ALL),
        )
        yield row(
            "S10",
            f"v6 datagram to all nodes on {port}",
            "udp.drop.noport",
            eth(v6("ff02::1") / udp(dport=port), "33:33:00:00:00:01"),
        )
    yield row("S10", "echo to all", "icmp.drop.group", eth(v4("255.255.255.255") / ICMP(), ALL))


def smack() -> Iterator[Row]:
    for offset in (8, 64, 800, 8000, 64000):
        yield row("S11", f"middle at {offset}", "frag.timeout", frag4(offset, bytes(8), True))
        yield row("S11", f"v6 middle at {offset}", "frag.timeout", frag6(offset, bytes(8), True))


OVERLAPS = {
    "teardrop": ((0, 36 // 8 * 8 + 8, True), (24, 4, False)),
    "the same start, longer": ((0, 16, True), (0, 24, True)),
    "the same start, shorter": ((0, 24, True), (0, 16, True)),
    "one unit": ((0, 16, True), (8, 16, True)),
    "swallowed": ((8, 8, True), (0, 32, True)),
    "nestea": ((0, 64, True), (48, 20, False)),
    "two ends": ((16, 8, False), (24, 8, False)),
    "an earlier end": ((16, 16, False), (8, 8, False)),
    "more past the end": ((16, 8, False), (32, 8, True)),
    "the end, and more": ((16, 8, False), (16, 8, True)),
    "an end cut short": ((16, 8, False), (16, 5, False)),
}


def overlaps() -> Iterator[Row]:
    for name, pieces in OVERLAPS.items():
        for build in (frag4, frag6):
            sent = [build(at, bytes(n), more) for at, n, more in pieces]
            yield row("S12", f"{name} {build.__name__}", "frag.drop.overlap", *sent)
    for build in (frag4, frag6):
        yield row(
            "S12", f"jolt2 {build.__name__}", "frag.duplicate", *[build(65000, bytes(8), True)] * 2
        )


def of_death() -> Iterator[Row]:
    pieces = [(65528, 8), (65512, 1000), (65504, 1400), (64800, 800), (65520, 100)]
    for offset, length in pieces:
        yield row(
            "S13", f"past the end at {offset}", "frag.drop.bad", frag4(offset, bytes(length), False)
        )
        yield row(
            "S13",
            f"v6 past the end at {offset}",
            "frag.drop.bad",
            frag6(offset, bytes(length), False),
            answer=(4, 0),
        )
    for length in (1, 7, 9, 100):
        yield row("S13", f"middle of {length}", "frag.drop.bad", frag4(8, bytes(length), True))
        yield row(
            "S13",
            f"v6 middle of {length}",
            "frag.drop.bad",
            frag6(8, bytes(length), True),
            answer=(4, 0),
        )
    for offset in (0, 8, 65000):
        yield row("S13", f"nothing at {offset}, more", "frag.drop.bad", frag4(offset, b"", True))
        if offset:
            yield row(
                "S13",
                f"v6 nothing at {offset}, more",
                "frag.drop.bad",
                frag6(offset, b"", True),
                answer=(4, 0),
            )
    for length in (8, 16):
        yield row(
            "S13", f"TCP cut at {length}", "frag.drop.tiny", frag4(0, bytes(length), True, proto=6)
        )
        yield row(
            "S13",
            f"v6 TCP cut at {length}",
            "frag.drop.tiny",
            frag6(0, bytes(length), True, proto=6),
            answer=(4, 3),
        )


def tcp_header() -> Iterator[Row]:
    for ip in (v4(), v6()):
        name = f"v{ip.version}"
        for doff in range(5):
            yield row("S26", f"{name} doff {doff}", "tcp.drop.offset", eth(ip / syn(dataofs=doff)))
        for doff in (6, 10, 15):
            yield row(
                "S26",
                f"{name} doff {doff} past the end",
                "tcp.drop.offset",
                eth(ip / syn(dataofs=doff)),
            )
        proto = {"proto": 6} if ip.version == 4 else {"nh": 6}
        whole = bytes(syn())
        for length in (0, 1, 8, 13, 19):
            cut = type(ip)(**ip.fields | proto) / Raw(whole[:length])
            yield row("S26", f"{name} {length} bytes", "tcp.drop.short", eth(cut))
        for wrong in (0, 1, 0xFFFF):
            yield row(
                "S26", f"{name} checksum {wrong}", "tcp.drop.checksum", eth(ip / syn(chksum=wrong))
            )
        yield row("S26", f"{name} no flags", "tcp.drop.listen", eth(ip / syn(flags="")))
        yield row("S26", f"{name} FIN only", "tcp.drop.listen", eth(ip / syn(flags="F")))
        yield row("S26", f"{name} Christmas tree", "tcp.drop.listen", eth(ip / syn(flags="FPU")))


def ipv4_header() -> Iterator[Row]:
    for ihl in range(5):
        yield row("S29", f"ihl {ihl}", "ip.drop.ihl", eth(v4(ihl=ihl) / udp()))
    yield row("S29", "ihl past the end", "ip.drop.ihl", eth(v4(ihl=15) / Raw(bytes(8)), kind=0x800))
    for version in (0, 1, 5, 6, 15):
        packet = bytearray(bytes(v4() / udp()))
        packet[0] = version << 4 | 5
        yield row("S29", f"version {version}", "ip.drop.version", eth(bytes(packet), kind=0x800))
    for length in (0, 1, 19, 37, 1500, 65535):
        yield row("S29", f"total length {length}", "ip.drop.length", eth(v4(len=length) / udp()))
    for wrong in (0, 1, 0x1234, 0xFFFF):
        yield row("S29", f"checksum {wrong}", "ip.drop.checksum", eth(v4(chksum=wrong) / udp()))
    for length in (0, 1, 10, 19):
        yield row(
            "S29", f"{length} bytes", "ip.drop.short", eth(bytes(v4() / udp())[:length], kind=0x800)
        )
    options = {
        "loose source route": "8307040102030400",
        "strict source route": "8907040102030400",
        "length 0": "07000000",
        "length 1": "44010000",
        "record route past the end": "072704ff",
        "timestamp past the end": "44284401",
        "cut off": "01010107",
        "unknown, length 0": "fe00fe00",
        "unknown, length past": "9e050000",
    }
    for name, raw in options.items():
        packet = frames.ipv4(
            frames.ip4(HOST_IP), frames.ip4(OUR_IP), 17, bytes(udp()), options=bytes.fromhex(raw)
        )
        yield row("S29", name, "ip.drop.options", eth(packet, kind=0x800))


def extension_headers() -> Iterator[Row]:
    drop = "ip6.drop.exthdr"
    for count in (9, 20, 100):
        chain: Packet = v6()
        for _ in range(count):
            chain = chain / IPv6ExtHdrDestOpt(options=[PadN(optdata=bytes(4))])
        yield row("S30", f"{count} headers", drop, eth(chain / udp()))
    for length in (1, 5, 31, 255):
        yield row(
            "S30",
            f"destination length {length}",
            drop,
            eth(v6(nh=60) / Raw(bytes([17, length, 1, 4, 0, 0, 0, 0]))),
        )
        yield row(
            "S30",
            f"hop-by-hop length {length}",
            drop,
            eth(v6(nh=0) / Raw(bytes([17, length, 1, 4, 0, 0, 0, 0]))),
        )
    for lie in (5, 100, 255):
        yield row(
            "S30",
            f"PadN of {lie}",
            drop,
            eth(v6(nh=60) / Raw(bytes([17, 0, 1, lie, 0, 0, 0, 0])) / udp()),
        )
    for length in range(1, 8):
        yield row("S30", f"{length} bytes of a header", drop, eth(v6(nh=60) / Raw(bytes(length))))
        yield row(
            "S30", f"{length} bytes of a fragment header", drop, eth(v6(nh=44) / Raw(bytes(length)))
        )
    for left in (1, 3, 255):
        for kind in (0, 1, 2, 4):
            yield row(
                "S30",
                f"routing {kind}, {left} left",
                "ip6.drop.routing",
                eth(
                    v6() / IPv6ExtHdrRouting(type=kind, segleft=left, addresses=["fd00::3"]) / udp()
                ),
                answer=(4, 0),
            )
    for action, answer in ((0x40, None), (0x80, (4, 2)), (0xC0, (4, 2))):
        for option in (2, 9, 31):
            raw = bytes([17, 0, action | option, 4, 0, 0, 0, 0])
            yield row(
                "S30",
                f"option {action | option}",
                "ip6.drop.option",
                eth(v6(nh=60) / Raw(raw) / udp()),
                answer=answer,
            )
    misplaced = v6() / IPv6ExtHdrDestOpt() / IPv6ExtHdrHopByHop() / udp()
    yield row("S30", "hop-by-hop not first", drop, eth(misplaced), answer=(4, 1))
    nested = v6() / IPv6ExtHdrFragment(nh=44) / IPv6ExtHdrFragment(nh=17) / udp()
    yield row("S30", "a fragment in a fragment", drop, eth(nested))
    for length in (49, 1000, 65535):
        yield row(
            "S30", f"payload length {length}", "ip6.drop.length", eth(v6(plen=length) / udp())
        )
    jumbo = v6(nh=0, plen=0) / Raw(bytes([17, 0, 0xC2, 4, 0, 1, 0, 0])) / udp()
    yield row("S30", "jumbogram", "ip6.drop.length", eth(jumbo))
    for version in (0, 4, 5, 7):
        yield row(
            "S30",
            f"version {version}",
            "ip6.drop.version",
            eth(bytes(v6(version=version) / udp()), kind=0x86DD),
        )
    for length in (0, 1, 20, 39):
        yield row(
            "S30",
            f"v6 {length} bytes",
            "ip6.drop.short",
            eth(bytes(v6() / udp())[:length], kind=0x86DD),
        )


def tunnels() -> Iterator[Row]:
    inner4, inner6 = v4(src="192.0.2.1") / udp(), v6(src="2001:db8::1") / udp()
    for name, inner in {
        "whole": bytes(inner4),
        "cut": bytes(inner4)[:15],
        "of a wrong length": bytes(v4(len=9000) / udp()),
        "of ihl 15": bytes(v4(ihl=15) / udp()),
        "twice": bytes(v4(proto=4) / inner4),
        "empty": b"",
    }.items():
        yield row(
            "S31",
            f"IPv4 in IPv4 {name}",
            "ip.drop.proto",
            eth(v4(proto=4) / Raw(inner)),
            answer=(3, 2),
        )
        yield row(
            "S31",
            f"IPv4 in IPv6 {name}",
            "ip6.drop.proto",
            eth(v6(nh=4) / Raw(inner)),
            answer=(4, 1),
        )
    for name, inner in {"whole": bytes(inner6), "cut": bytes(inner6)[:39], "empty": b""}.items():
        yield row(
            "S31",
            f"IPv6 in IPv4 {name}",
            "ip.drop.proto",
            eth(v4(proto=41) / Raw(inner)),
            answer=(3, 2),
        )
        yield row(
            "S31",
            f"IPv6 in IPv6 {name}",
            "ip6.drop.proto",
            eth(v6(nh=41) / Raw(inner)),
            answer=(4, 1),
        )
    for proto in (47, 50, 132, 255):
        yield row(
            "S31",
            f"protocol {proto}",
            "ip.drop.proto",
            eth(v4(proto=proto) / Raw(bytes(16))),
            answer=(3, 2),
        )


def icmp_lengths() -> Iterator[Row]:
    for length in range(8):
        yield row(
            "S32",
            f"{length} bytes",
            "icmp.drop.short",
            eth(v4(proto=1) / Raw(bytes(ICMP())[:length])),
        )
        yield row(
            "S32",
            f"v6 {length} bytes",
            "icmp.drop.short",
            eth(v6(nh=58) / Raw(bytes(v6() / ICMPv6EchoRequest())[40 : 40 + length])),
        )
    inner = bytes(v4(HOST_IP, OUR_IP) / udp(sport=9, dport=4000))
    for length in (0, 1, 19, 20, 27):
        yield row(
            "S32",
            f"a quote of {length}",
            "icmp.drop.quote",
            eth(v4() / ICMP(type=3, code=3) / Raw(inner[:length])),
        )
    for ihl in (0, 4, 6, 15):
        quote = bytes([0x40 | ihl]) + inner[1:28]
        yield row(
            "S32",
            f"a quote of ihl {ihl}",
            "icmp.drop.quote",
            eth(v4() / ICMP(type=3, code=1) / Raw(quote)),
        )
    late = bytes(v4(HOST_IP, OUR_IP, frag=5) / udp())
    yield row(
        "S32",
        "a quote of a later fragment",
        "icmp.drop.quote",
        eth(v4() / ICMP(type=11) / Raw(late)),
    )
    for kind in (5, 9, 10, 13, 15, 17, 37):
        yield row(
            "S32", f"type {kind}", "icmp.drop.type", eth(v4() / ICMP(type=kind) / Raw(bytes(28)))
        )
    yield row("S32", "a wrong checksum", "icmp.drop.checksum", eth(v4() / ICMP(chksum=1)))
    yield row(
        "S32", "v6 a wrong checksum", "icmp.drop.checksum", eth(v6() / ICMPv6EchoRequest(cksum=1))
    )
    for length in (0, 39, 40, 47):
        message = frames.icmp6(
            frames.packed(HOST_IP6),
            frames.packed(OUR_IP6),
            1,
            4,
            bytes(4),
            bytes(v6(HOST_IP6, OUR_IP6) / udp())[:length],
        )
        yield row(
            "S32", f"v6 a quote of {length}", "icmp.drop.quote", eth(v6(nh=58) / Raw(message))
        )


def icmp_against_tcp() -> Iterator[Row]:
    quote = bytes(v4(HOST_IP, OUR_IP) / syn(sport=80, dport=40000))[:28]
    for mtu in (0, 1, 68, 552, 1300, 65535):
        yield row(
            "S33",
            f"mtu {mtu} for no flow",
            "icmp.drop.quote",
            eth(v4() / ICMP(type=3, code=4, nexthopmtu=mtu) / Raw(quote)),
        )
    for code in range(4):
        yield row(
            "S33",
            f"code {code} for no flow",
            "icmp.drop.quote",
            eth(v4() / ICMP(type=3, code=code) / Raw(quote)),
        )
    yield row("S33", "source quench", "icmp.drop.type", eth(v4() / ICMP(type=4) / Raw(quote)))
    for mtu in (0, 1, 1280, 1400, 0xFFFFFFFF):
        message = frames.icmp6(
            frames.packed(HOST_IP6),
            frames.packed(OUR_IP6),
            2,
            0,
            struct.pack("!I", mtu),
            bytes(v6(HOST_IP6, OUR_IP6) / syn(sport=80, dport=40000)),
        )
        yield row(
            "S33", f"v6 mtu {mtu} for no flow", "icmp.drop.quote", eth(v6(nh=58) / Raw(message))
        )


def arps() -> Iterator[Row]:
    def arp(**fields: object) -> bytes:
        base = {
            "op": 1,
            "hwsrc": HIM,
            "psrc": HOST_IP,
            "hwdst": "00:00:00:00:00:00",
            "pdst": OUR_IP,
        }
        return eth(ARP(**base | fields), ALL)

    for op in (0, 3, 4, 8, 9, 255):
        yield row("S34", f"op {op}", "arp.drop.malformed", arp(op=op))
    for field, value in (
        ("hwtype", 6),
        ("ptype", 0x86DD),
        ("hwlen", 8),
        ("plen", 16),
        ("hwlen", 0),
    ):
        extra = {
            "hwsrc": HOST_MAC,
            "hwdst": bytes(6),
            "psrc": frames.ip4(HOST_IP),
            "pdst": frames.ip4(OUR_IP),
        }
        raw = frames.arp(
            1,
            *extra.values(),
            **{  # type: ignore[arg-type]
                {"hwtype": "hrd", "ptype": "pro", "hwlen": "hln", "plen": "pln"}[field]: value
            },
        )  # type: ignore[arg-type]
        yield row("S34", f"{field} {value}", "arp.drop.malformed", eth(raw, ALL, kind=0x806))
    for length in (0, 7, 20, 27):
        yield row("S34", f"{length} bytes", "arp.drop.malformed", arp()[: 14 + length])
    for mac in (ALL, "01:00:5e:00:00:01", "33:33:00:00:00:01"):
        yield row("S34", f"sender {mac}", "arp.drop.sender", arp(hwsrc=mac))
    for ip in (OUR_IP, "127.0.0.1", "224.0.0.1", "255.255.255.255", "10.0.0.255"):
        yield row(
            "S34",
            f"sender {ip}",
            "arp.drop.sender",
            arp(psrc=ip, hwsrc=US if ip == OUR_IP else HIM),
        )
    for target in ("10.0.0.77", "192.0.2.1", "0.0.0.0"):
        yield row("S34", f"for {target}", "arp.drop.target", arp(pdst=target, psrc="10.0.0.66"))
    for who in ("10.0.0.66", "10.0.0.67"):
        yield row("S34", f"unasked reply of {who}", "arp.drop.unasked", arp(op=2, psrc=who))


def nds() -> Iterator[Row]:
    def nd(
        message: Packet, dst: str = OUR_IP6, src: str = HOST_IP6, hlim: int = 255, mac: str = US
    ) -> bytes:
        return eth(v6(dst, src, hlim=hlim) / message, mac)

    source, target = ICMPv6NDOptSrcLLAddr(lladdr=HIM), ICMPv6NDOptDstLLAddr(lladdr=HIM)
    for hlim in (0, 1, 64, 254):
        yield row(
            "S35",
            f"NS, hop limit {hlim}",
            "nd.drop.hoplimit",
            nd(ICMPv6ND_NS(tgt=OUR_IP6) / source, hlim=hlim),
        )
        yield row(
            "S35",
            f"NA, hop limit {hlim}",
            "nd.drop.hoplimit",
            nd(ICMPv6ND_NA(tgt=HOST_IP6) / target, hlim=hlim),
        )
    for who in ("ff02::1", "::", "::ffff:10.0.0.1"):
        yield row("S35", f"NS for {who}", "nd.drop.malformed", nd(ICMPv6ND_NS(tgt=who) / source))
        yield row("S35", f"NA of {who}", "nd.drop.malformed", nd(ICMPv6ND_NA(tgt=who) / target))
    for length in (0, 2, 255):
        bad = ICMPv6NDOptSrcLLAddr(lladdr=HIM, len=length)
        yield row(
            "S35",
            f"option length {length}",
            "nd.drop.malformed",
            nd(ICMPv6ND_NS(tgt=OUR_IP6) / bad),
        )
    for mac in (ALL, "33:33:00:00:00:01"):
        yield row(
            "S35",
            f"option {mac}",
            "nd.drop.malformed",
            nd(ICMPv6ND_NS(tgt=OUR_IP6) / ICMPv6NDOptSrcLLAddr(lladdr=mac)),
        )
    for code in (1, 255):
        yield row(
            "S35",
            f"code {code}",
            "nd.drop.malformed",
            nd(ICMPv6ND_NS(tgt=OUR_IP6, code=code) / source),
        )
    yield row(
        "S35",
        "NS from :: with an option",
        "nd.drop.malformed",
        nd(ICMPv6ND_NS(tgt=OUR_IP6) / source, "ff02::1:ff00:2", "::", mac="33:33:ff:00:00:02"),
    )
    yield row(
        "S35", "NS from :: to us alone", "nd.drop.malformed", nd(ICMPv6ND_NS(tgt=OUR_IP6), src="::")
    )
    yield row(
        "S35",
        "solicited NA to all",
        "nd.drop.malformed",
        nd(ICMPv6ND_NA(tgt=HOST_IP6, S=1) / target, "ff02::1", mac="33:33:00:00:00:01"),
    )
    for who in ("fd00::66", "fe80::66"):
        yield row(
            "S35",
            f"unasked NA of {who}",
            "nd.drop.unasked",
            nd(ICMPv6ND_NA(tgt=who, O=1) / target, src=who),
        )
        yield row("S35", f"NS for {who}", "nd.drop.target", nd(ICMPv6ND_NS(tgt=who) / source))
    yield row(
        "S35",
        "RA that nobody wants",
        "nd.drop.ra",
        nd(ICMPv6ND_RA(), "ff02::1", "fe80::1", mac="33:33:00:00:00:01"),
    )
    yield row(
        "S35",
        "RA of a global router",
        "nd.drop.ra",
        nd(ICMPv6ND_RA(), "ff02::1", mac="33:33:00:00:00:01"),
    )


def martians() -> Iterator[Row]:
    sources = [
        "0.0.0.0",
        "0.1.2.3",
        "127.0.0.1",
        "127.255.255.255",
        OUR_IP,
        "10.0.0.255",
        "255.255.255.255",
        "224.0.0.1",
        "239.1.1.1",
        "240.0.0.1",
        "250.1.2.3",
    ]
    for src in sources:
        yield row("S36", f"SYN of {src}", "ip.drop.martian", eth(v4(src=src) / syn()))
        yield row("S36", f"datagram of {src}", "ip.drop.martian", eth(v4(src=src) / udp()))
    for src in ("::", "::1", "::ffff:10.0.0.1", "ff02::1", "ff0e::5", OUR_IP6):
        yield row("S36", f"SYN of {src}", "ip6.drop.martian", eth(v6(src=src) / syn()))
        yield row("S36", f"datagram of {src}", "ip6.drop.martian", eth(v6(src=src) / udp()))
        yield row(
            "S36", f"echo of {src}", "ip6.drop.martian", eth(v6(src=src) / ICMPv6EchoRequest())
        )
    for dst in ("127.0.0.1", "127.9.9.9", "0.0.0.0", "0.0.0.1"):
        yield row("S36", f"datagram to {dst}", "ip.drop.martian", eth(v4(dst) / udp()))
    for dst in ("::", "::1", "::ffff:10.0.0.2"):
        yield row("S36", f"datagram to {dst}", "ip6.drop.martian", eth(v6(dst) / udp()))
    for dst in ("10.0.0.77", "192.0.2.1", "240.0.0.1"):
        yield row("S36", f"datagram for {dst}", "ip.drop.dst", eth(v4(dst) / udp()))


def lands() -> Iterator[Row]:
    for port in (80, 9, 1, 65535):
        yield row(
            "S37",
            f"LAND on {port}",
            "ip.drop.martian",
            eth(v4(src=OUR_IP) / syn(sport=port, dport=port)),
        )
        yield row(
            "S37",
            f"v6 LAND on {port}",
            "ip6.drop.martian",
            eth(v6(src=OUR_IP6) / syn(sport=port, dport=port)),
        )
    yield row("S37", "LAND by UDP", "ip.drop.martian", eth(v4(src=OUR_IP) / udp(sport=9)))


def groups() -> Iterator[Row]:
    for flags in ("S", "A", "SA", "F", "R"):
        for dst, mac in (
            ("255.255.255.255", ALL),
            ("10.0.0.255", ALL),
            ("224.0.0.1", "01:00:5e:00:00:01"),
        ):
            yield row(
                "S38", f"{flags} to {dst}", "tcp.drop.group", eth(v4(dst) / syn(flags=flags), mac)
            )
        yield row(
            "S38",
            f"{flags} in a broadcast frame",
            "tcp.drop.group",
            eth(v4() / syn(flags=flags), ALL),
        )
        yield row(
            "S38",
            f"v6 {flags} to all nodes",
            "tcp.drop.group",
            eth(v6("ff02::1") / syn(flags=flags), "33:33:00:00:00:01"),
        )
        yield row(
            "S38",
            f"v6 {flags} in a multicast frame",
            "tcp.drop.group",
            eth(v6() / syn(flags=flags), "33:33:00:00:00:01"),
        )


ROWS = [
    made
    for family in (
        reflection,
        smack,
        overlaps,
        of_death,
        tcp_header,
        ipv4_header,
        extension_headers,
        tunnels,
        icmp_lengths,
        icmp_against_tcp,
        arps,
        nds,
        martians,
        lands,
        groups,
    )
    for made in family()
]


def test_there_are_enough_of_them() -> None:
    """At least 300 distinct, at least 5 of each attack."""
    assert len({made.frames for made in ROWS}) >= 300
    each = collections.Counter(made.attack for made in ROWS)
    assert each.keys() == ATTACKS.keys() and min(each.values()) >= 5
    assert len({str(made) for made in ROWS}) == len(ROWS)


@pytest.fixture(scope="module")
def target() -> Iterator[tuple[Lan, list[int], int]]:
    """The engine, its UDP and ping sockets, its listener."""
    lan = Lan({"icmp.ratelimit": 100_000, "neigh.stale_ms": 86_400_000})
    lan.engine.add_addr(OUR_IP6, 64)
    lan.engine.neighbour(HOST_IP, HOST_MAC)
    lan.engine.neighbour(HOST_IP6, HOST_MAC)
    lan.wait(2)
    sockets = [lan.engine.udp("0.0.0.0", 9), lan.engine.udp("fd00::2", 9)]
    for pinger, six, host in (lan.engine.udp(), 0, "0.0.0.0"), (lan.engine.udp(), 1, "::"):
        lan.engine.setopt(pinger, lib.UST_OPT_INET6, six)
        lan.engine.setopt(pinger, lib.UST_OPT_PING, 1)
        lan.engine.bind(pinger, host, 9)
        sockets.append(pinger)
    lan.engine.any = "::"  # the listener takes both versions
    yield lan, sockets, lan.engine.listen(80)
    lan.engine.free()


@pytest.mark.parametrize("made", ROWS, ids=str)
def test_it_is_dropped_and_named(target: tuple[Lan, list[int], int], made: Row) -> None:
    lan, sockets, listener = target
    lan.wait(100)  # what earlier rows left behind has timed out
    assert lan.held() == lan.engine.usage().frags == 0
    lan.stats.base = lan.engine.counters()
    neighbours = lan.engine.neighbours()
    out = [frame for sent in made.frames for frame in lan.send(sent)]
    assert [kind_of(frame) for frame in out] == ([made.answer] if made.answer else [])
    assert [frame for frame in lan.wait(70) if frames.is_tcp(frame)] == []
    assert lan.stats[made.counter] == 1
    assert lan.moved() == ({made.counter: 1} if ".drop." in made.counter else {})
    for handle in sockets:
        with pytest.raises(BlockingIOError):
            lan.engine.recvfrom(handle)
    with pytest.raises(BlockingIOError):
        lan.engine.accept(listener)
    assert lan.engine.neighbours() == neighbours
    assert lan.held() == 0
    lan.engine.check()


def test_scapy_reads_them_as_they_are_meant() -> None:
    """The builders by hand do not deceive: another reader finds the same protocol."""
    for made in ROWS:
        for sent in made.frames:
            packet = Ether(sent)
            assert (packet.src, packet.type) in ((HIM, 0x800), (HIM, 0x806), (HIM, 0x86DD))
            assert bytes(packet)[:14] == sent[:14]
