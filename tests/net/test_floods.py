# SPDX-License-Identifier: BSD-3-Clause
"""Floods on virtual time: memory stays within its caps, and who behaves is still served."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

import frames
from lan import NS, link_address, solicited_node
from link import ADDRESSES, MACS, Link
from programs import compile_with_engine, figures, instructions, needs_callgrind

RATE, SECONDS = 2000, 120
SENDERS = 65_000
TEXT = 40_000_000


@pytest.fixture(scope="module")
def smack(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """tests/c/smack.c with the engine."""
    return compile_with_engine("smack", tmp_path_factory.mktemp("smack"))


@pytest.mark.parametrize("ids", [4, 100_000], ids=["few", "many"])
@pytest.mark.parametrize("version", [4, 6])
def test_fragmentsmack_stays_within_the_memory_cap(smack: Path, version: int, ids: int) -> None:
    """CVE-2018-5391: the defaults are 64 datagrams, one large mbuf and one timer each."""
    seen = figures(smack, version, 0, SECONDS, ids)
    assert seen["in"] == RATE * SECONDS
    assert seen["large"] <= 64 and seen["frags"] <= 64 and seen["timers"] <= 64 + 8


@needs_callgrind
@pytest.mark.parametrize("ids", [4, 100_000], ids=["few", "many"])
@pytest.mark.parametrize("version", [4, 6])
def test_fragmentsmack_costs_no_more_when_the_tables_are_full(
    smack: Path, version: int, ids: int, tmp_path: Path
) -> None:
    """The last second of 120 against the cost of a fragment that finds empty tables."""
    empty = instructions(smack, tmp_path, version, 0, 1, 100_000) / RATE
    loaded = instructions(smack, tmp_path, version, SECONDS - 1, 1, ids) / RATE
    assert loaded <= 2 * empty, f"{loaded:.0f} instructions a fragment, {empty:.0f} when empty"


# ------------------------------------------------------------------ neighbours


def arp_from(i: int) -> bytes:
    """An ARP request for us, of one of 65,000 senders; and what it does to a reply's path."""
    mac = bytes([2, 1, 0, 0, i >> 8, i & 255])
    ip = bytes([10, 1 + (i >> 8) % 250, i >> 8, i & 255])
    packet = frames.arp(frames.ARP_REQUEST, mac, ip, bytes(6), frames.ip4(ADDRESSES[1]))
    return frames.ethernet(frames.BROADCAST, mac, frames.ETH_ARP, packet)


def echo_from(i: int) -> bytes:
    """An echo request of a host that will not answer when it is asked for."""
    mac, src = bytes([2, 1, 0, 0, i >> 8, i & 255]), frames.packed(f"fd00::1:{i:x}")
    dst = frames.packed("fd00::2")
    packet = frames.ipv6(src, dst, frames.PROTO_ICMP6, frames.icmp6(src, dst, 128, 0, bytes(4)))
    return frames.ethernet(MACS[1], mac, frames.ETH_IPV6, packet)


def nd_from(i: int) -> bytes:
    """The same by neighbour discovery."""
    mac, src = bytes([2, 1, 0, 0, i >> 8, i & 255]), f"fd00::1:{i:x}"
    dst = solicited_node("fd00::2")
    options = link_address(1, mac)
    ends = frames.packed(src), frames.packed(dst)
    body = frames.icmp6(*ends, NS, 0, bytes(4), frames.packed("fd00::2") + options)
    packet = frames.ipv6(*ends, frames.PROTO_ICMP6, body, ttl=255)
    return frames.ethernet(b"\x33\x33\xff\0\0\2", mac, frames.ETH_IPV6, packet)


def transfer(flood: Callable[[int], bytes] | None = None) -> tuple[dict[str, int], int]:
    """A transfer of 3 virtual seconds among the frames of 65,000 senders: counters, goodput.

    It never ends in that time: the window is small, and a round trip 40 ms.
    """
    with Link(
        delay=0.02, settings={"neigh.entries": 512, "tcp.rmem": 400_000, "tcp.rmem_max": 400_000}
    ) as link:
        for end in link.ends:  # neighbours are found as anywhere, not by configuration
            end.engine.add_addr(f"fd00::{1 + end.index}", 64)
            end.engine.forget_neighbour(ADDRESSES[1 - end.index])
        client, server = link.connected()
        link.filter = lambda to, frame: to == 1 or frame[:6] in (MACS[0], frames.BROADCAST)
        client.send(bytes(TEXT))
        for tick in range(300):
            for i in range(tick * SENDERS // 300, (tick + 1) * SENDERS // 300 if flood else 0):
                server.engine.inject(flood(i))  # type: ignore[misc]
            link.run(0.01)
            usage = server.engine.usage()
            assert usage.neighs <= usage.neighs_max == 512
            assert usage.mbufs_small <= 1024 + 512
        link.check()
        return server.engine.counters(), len(server.received)


@pytest.fixture(scope="module")
def calm() -> int:
    """The goodput without a flood."""
    return transfer()[1]


@pytest.mark.parametrize("flood", [arp_from, echo_from, nd_from])
def test_a_flood_of_neighbours_leaves_a_flow_its_goodput(
    calm: int, flood: Callable[[int], bytes]
) -> None:
    """65,000 senders in 3 s."""
    counters, goodput = transfer(flood)
    assert 10_000_000 < calm < TEXT
    assert goodput >= 0.8 * calm, f"{goodput} bytes instead of {calm}"
    assert counters["neigh.evicted"] > SENDERS / 2


def test_a_scan_of_our_network_leaves_memory_bounded() -> None:
    """RFC 6583: packets to many addresses that nobody has."""
    link = Link(settings={"neigh.entries": 64, "neigh.pending_all": 40})
    engine = link.ends[0].engine
    handle = engine.udp("0.0.0.0", 0)
    for i in range(5000):
        engine.sendto(handle, b"x", f"10.0.0.{3 + i % 250}", 9)
        list(engine.output())
    usage = engine.usage()
    assert usage.neighs <= 64
    assert usage.mbufs_small <= 40
    assert engine.counters()["neigh.drop.pending"] > 0
    engine.check()
    assert engine.neighbours()[ADDRESSES[1]] == ("PERMANENT", MACS[1])
    with link:
        pass


def test_the_flood_is_what_it_says() -> None:
    """65,000 distinct senders of each kind."""
    for flood in (arp_from, echo_from, nd_from):
        assert len({flood(i) for i in range(SENDERS)}) == SENDERS
