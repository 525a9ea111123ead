# SPDX-License-Identifier: BSD-3-Clause
"""The `lan` fixture: one engine on a network segment whose other hosts the test plays.

Unlike `wire` it knows no neighbour, speaks in whole frames, and gives them back as bytes.
"""

from __future__ import annotations

from typing import Any

from scapy.layers.l2 import ARP, Ether

import frames
import rig
import wire

OUR_IP, OUR_MAC = "10.0.0.2", bytes.fromhex("020000000002")
HOST_IP, HOST_MAC = "10.0.0.1", bytes.fromhex("020000000001")
NO_MAC = bytes(6)


class Lan:
    """One engine, its frames and counters; `start` skips the gratuitous ARP of the beginning."""

    def __init__(self, settings: dict[str, int] | None = None, **options: Any) -> None:
        self.engine = rig.Engine(OUR_IP, mac=OUR_MAC, settings=settings, **options)
        self.first = list(self.engine.output())
        self.stats = wire.Stats(self.engine)

    def send(self, frame: bytes) -> list[bytes]:
        """Inject a frame; what comes out in answer."""
        self.engine.inject(frame)
        return list(self.engine.output())

    def wait(self, seconds: float) -> list[bytes]:
        """Let time pass; what comes out."""
        return list(self.engine.run_until(self.engine.now + round(seconds * rig.SECOND)))

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
        src: str = HOST_IP,
        dst: str = OUR_IP,
        *,
        src_mac: bytes = HOST_MAC,
        dst_mac: bytes = OUR_MAC,
        **fields: Any,
    ) -> list[bytes]:
        """Send an IPv4 packet."""
        packet = frames.ipv4(frames.ip4(src), frames.ip4(dst), proto, payload, **fields)
        return self.send(frames.ethernet(dst_mac, src_mac, frames.ETH_IPV4, packet))

    def learn(self, ip: str = HOST_IP, mac: bytes = HOST_MAC) -> None:
        """Make the engine learn a host, by the host's asking for the engine."""
        assert len(self.arp(frames.ARP_REQUEST, ip, sender_mac=mac)) == 1

    def moved(self) -> dict[str, int]:
        """The counters of drops and of answers that have moved."""
        return {name: n for name, n in self.stats.changed().items() if ".drop." in name}


def arp_of(frame: bytes) -> ARP:
    """A frame's ARP packet."""
    packet = Ether(frame)
    assert ARP in packet, f"not ARP: {frame.hex()}"
    return packet[ARP]


def is_arp(frame: bytes) -> bool:
    """Is it an ARP frame?"""
    return frames.ethertype(frame) == frames.ETH_ARP


def dst_mac(frame: bytes) -> bytes:
    """Where a frame goes."""
    return frame[:6]
