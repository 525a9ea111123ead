# SPDX-License-Identifier: BSD-3-Clause
"""Packets as a script would write them, for traces and complaints."""

from __future__ import annotations

from ustack.drill import tcp_options
from ustack.drill.packet import ICMP, ICMP6, TCP, UDP, Live
from ustack.drill.script import Icmp, IpFields, Packet, Segment, Udp

__all__ = ["show", "show_live", "show_segment"]

_ECN = {0: "noecn", 1: "ect1", 2: "ect0", 3: "ce"}


def show(packet: Packet) -> str:
    """A line's packet."""
    arrow = "<" if packet.inbound else ">"
    return " ".join(filter(None, [arrow, _show_ip(packet.ip), _show_body(packet.body)]))


def _show_ip(ip: IpFields) -> str:
    items = ["ect01"] if ip.ecn_any else [] if ip.ecn is None else [_ECN[ip.ecn]]
    for name, value in (("tos", ip.tos), ("ttl", ip.ttl), ("flowlabel", ip.flow_label)):
        if value is not None:
            items.append(f"{name} {value:#x}")
    return f"[{', '.join(items)}]" if items else ""


def _show_body(body: Segment | Udp | Icmp) -> str:
    match body:
        case Segment():
            return show_segment(body)
        case Udp(length):
            return f"udp ({length})"
    mtu = f"mtu {body.mtu}" if body.mtu is not None else ""
    return " ".join(filter(None, ["icmp", body.kind, body.code, mtu]))


def show_segment(segment: Segment) -> str:
    """A segment."""
    digit = "" if segment.ace is None else str(segment.ace)
    flags = digit + segment.flags or "-"
    text = f"{flags} {segment.seq}:{segment.seq + segment.length}({segment.length})"
    for name, value in (("ack", segment.ack), ("win", segment.win), ("urg", segment.urg)):
        if value is not None:
            text += f" {name} {value}"
    if segment.options is None:
        return text + " <...>"
    return text + (f" <{tcp_options.text(segment.options)}>" if segment.options else "")


def show_live(live: Live, segment: Segment | None) -> str:
    """A packet of the stack; segment: what it is relative to its flow."""
    ecn = f"[{_ECN[live.tos & 3]}] " if live.tos & 3 else ""
    problem = f"   ({live.problem})" if live.problem else ""
    if live.proto == TCP and segment is not None:
        return f"> {ecn}{show_segment(segment)}{problem}"
    if live.proto == UDP:
        return f"> {ecn}udp ({len(live.payload)}){problem}"
    if live.proto in (ICMP, ICMP6):
        return f"> icmp type {live.payload[0]} code {live.payload[1]}"
    return f"> protocol {live.proto}, {len(live.raw)} bytes"
