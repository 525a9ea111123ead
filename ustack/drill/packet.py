# SPDX-License-Identifier: BSD-3-Clause
"""IP packets with TCP, UDP or ICMP in them: built from fields, and taken apart.

All numbers are absolute here, all addresses bytes, 4 or 16 of them. Nothing goes through the stack
under test, so an error of its checksums or headers cannot hide behind itself.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, replace

from ustack.drill import tcp_options
from ustack.drill.script import Option

__all__ = ["ICMP", "ICMP6", "TCP", "UDP", "Live", "build_icmp", "build_tcp", "build_udp", "read"]

ICMP, TCP, UDP, ICMP6 = 1, 6, 17, 58
FLAG_BITS = {"F": 1, "S": 2, "R": 4, "P": 8, ".": 16, "U": 32, "E": 64, "W": 128, "A": 256}
FLAG_ORDER = "SFRPUEWA."

_ICMP_TYPES = {"unreachable": 3, "time_exceeded": 11, "source_quench": 4, "param_problem": 12}
_ICMP6_TYPES = {"unreachable": 1, "packet_too_big": 2, "time_exceeded": 3, "param_problem": 4}
_CODES = {
    "net_unreachable": 0, "host_unreachable": 1, "protocol_unreachable": 2, "port_unreachable": 3,
    "frag_needed": 4, "source_route_failed": 5, "net_unknown": 6, "host_unknown": 7,
    "source_host_isolated": 8, "net_prohibited": 9, "host_prohibited": 10,
    "net_unreachable_for_tos": 11, "host_unreachable_for_tos": 12, "packet_filtered": 13,
    "ttl_count_exceeded": 0,
}  # fmt: skip
_CODES6 = {
    "no_route": 0, "net_unreachable": 0, "admin_prohibited": 1, "beyond_scope": 2,
    "not_neighbour": 2, "addr_unreachable": 3, "host_unreachable": 3, "port_unreachable": 4,
    "policy_fail": 5, "reject_route": 6,
}  # fmt: skip


@dataclass(frozen=True)
class Live:
    """A packet as it was on the wire. bits: the nine flags of TCP, AE the highest."""

    version: int
    src: bytes
    dst: bytes
    proto: int
    tos: int
    ttl: int
    flow_label: int
    raw: bytes
    problem: str = ""  # a length or checksum that is wrong
    sport: int = 0
    dport: int = 0
    seq: int = 0
    ack: int = 0
    bits: int = 0
    win: int = 0
    urg: int = 0
    options: tuple[Option, ...] = ()
    payload: bytes = b""

    @property
    def flags(self) -> str:
        """The flags as letters, in the header's order."""
        return "".join(flag for flag in FLAG_ORDER if self.bits & FLAG_BITS[flag])

    def with_payload(self, payload: bytes, bits: int) -> Live:
        """The same with other text and flags: pieces of it, or several in one."""
        return replace(self, payload=payload, bits=bits)


def checksum(data: bytes) -> int:
    """The Internet checksum (RFC 1071), complemented: 0 over data with a right one in it."""
    if len(data) % 2:
        data += b"\0"
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return int(total) ^ 0xFFFF


def pseudo(src: bytes, dst: bytes, proto: int, length: int) -> bytes:
    """The pseudo-header of a transport checksum (RFC 9293 3.1, RFC 8200 8.1)."""
    form = "!HH" if len(src) == 4 else "!II"
    return src + dst + struct.pack(form, proto, length)


# ----------------------------------------------------------------- building


def build_ip(
    src: bytes, dst: bytes, proto: int, body: bytes, *, tos: int = 0, ttl: int = 64, label: int = 0
) -> bytes:
    """An IP packet of the version that the addresses have; IPv4 with DF."""
    if len(src) == 16:
        first = 6 << 28 | tos << 20 | label
        return struct.pack("!IHBB16s16s", first, len(body), proto, ttl, src, dst) + body
    head = struct.pack(
        "!BBHHHBBH4s4s", 0x45, tos, 20 + len(body), 0, 0x4000, ttl, proto, 0, src, dst
    )
    return head[:10] + checksum(head).to_bytes(2, "big") + head[12:] + body


def build_tcp(
    src: bytes,
    dst: bytes,
    ports: tuple[int, int],
    seq: int,
    ack: int,
    bits: int,
    *,
    win: int = 0,
    urg: int = 0,
    options: bytes = b"",
    payload: bytes = b"",
    tos: int = 0,
    ttl: int = 64,
    label: int = 0,
) -> bytes:
    """An IP packet with a TCP segment (RFC 9293 3.1). ports: source and destination."""
    offset = (5 + len(options) // 4) << 12 | bits
    head = struct.pack(
        "!HHIIHHHH", *ports, seq % 2**32, ack % 2**32, offset, win & 0xFFFF, 0, urg & 0xFFFF
    )
    body = head + options + payload
    csum = checksum(pseudo(src, dst, TCP, len(body)) + body)
    body = body[:16] + csum.to_bytes(2, "big") + body[18:]
    return build_ip(src, dst, TCP, body, tos=tos, ttl=ttl, label=label)


def build_udp(
    src: bytes, dst: bytes, ports: tuple[int, int], payload: bytes, *, tos: int = 0, ttl: int = 64
) -> bytes:
    """An IP packet with a UDP datagram (RFC 768)."""
    body = struct.pack("!HHHH", *ports, 8 + len(payload), 0) + payload
    csum = checksum(pseudo(src, dst, UDP, len(body)) + body) or 0xFFFF
    return build_ip(src, dst, UDP, body[:6] + csum.to_bytes(2, "big") + body[8:], tos=tos, ttl=ttl)


def build_icmp(
    src: bytes, dst: bytes, kind: str, code: str | None, mtu: int | None, quoted: bytes
) -> bytes:
    """An IP packet with an ICMP error about the packet quoted (RFC 792, RFC 4443).

    Raises ValueError for a type or a code that there is not.
    """
    types, codes = (_ICMP_TYPES, _CODES) if len(src) == 4 else (_ICMP6_TYPES, _CODES6)
    if kind not in types or (code is not None and code not in codes):
        raise ValueError(f"icmp {kind} {code or ''}: there are {', '.join([*types, *codes])}")
    number = types[kind]
    body = struct.pack("!BBHI", number, codes[code] if code else 0, 0, mtu or 0) + quoted[:1232]
    prefix = b"" if len(src) == 4 else pseudo(src, dst, ICMP6, len(body))
    body = body[:2] + checksum(prefix + body).to_bytes(2, "big") + body[4:]
    return build_ip(src, dst, ICMP if len(src) == 4 else ICMP6, body)


# ------------------------------------------------------------------ reading


def read(raw: bytes) -> Live | None:
    """The packet; None when it is no IP packet without extension headers or fragments."""
    version = raw[0] >> 4 if raw else 0
    if version == 4 and len(raw) >= 20:
        return _read_ipv4(raw)
    if version == 6 and len(raw) >= 40:
        return _read_ipv6(raw)
    return None


def _read_ipv4(raw: bytes) -> Live | None:
    length = 4 * (raw[0] & 15)
    total, frag = int.from_bytes(raw[2:4], "big"), int.from_bytes(raw[6:8], "big")
    if frag & 0x3FFF or not 20 <= length <= total <= len(raw):
        return None
    problem = "" if checksum(raw[:length]) == 0 else "the IPv4 checksum is wrong"
    ip = Live(4, raw[12:16], raw[16:20], raw[9], raw[1], raw[8], 0, raw, problem)
    return _read_body(ip, raw[length:total])


def _read_ipv6(raw: bytes) -> Live | None:
    first, length, proto, ttl, src, dst = struct.unpack_from("!IHBB16s16s", raw)
    if len(raw) < 40 + length:
        return None
    ip = Live(6, src, dst, proto, first >> 20 & 0xFF, ttl, first & 0xFFFFF, raw)
    return _read_body(ip, raw[40 : 40 + length])


def _read_body(ip: Live, body: bytes) -> Live:
    if ip.proto == TCP and len(body) >= 20:
        return _read_tcp(ip, body)
    if ip.proto == UDP and len(body) >= 8:
        sport, dport = struct.unpack_from("!HH", body)
        return replace(ip, sport=sport, dport=dport, payload=body[8:])
    return replace(ip, payload=body)


def _read_tcp(ip: Live, body: bytes) -> Live:
    sport, dport, seq, ack, word, win, _, urg = struct.unpack_from("!HHIIHHHH", body)
    offset = 4 * (word >> 12)
    problem = ip.problem
    if checksum(pseudo(ip.src, ip.dst, TCP, len(body)) + body) != 0:
        problem = problem or "the TCP checksum is wrong"
    return replace(
        ip,
        problem=problem,
        sport=sport,
        dport=dport,
        seq=seq,
        ack=ack,
        bits=word & 0x1FF,
        win=win,
        urg=urg,
        options=tcp_options.decode(body[20:offset]),
        payload=body[offset:],
    )
