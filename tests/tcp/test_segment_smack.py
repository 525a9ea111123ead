# SPDX-License-Identifier: BSD-3-Clause
"""SegmentSmack (CVE-2018-5390, ROBUSTNESS S14) and its kin: however a peer tears its stream, memory
and the cost of a segment stay what they are, and what can be delivered is."""

from __future__ import annotations

from pathlib import Path

import pytest

from notation import parse_segment as segment
from programs import compile_with_engine, figures, instructions, needs_callgrind
from wire import Sock, Wire, pattern

PATTERNS = ["up", "down", "anywhere", "down whole", "up whole", "overlapping", "down in pieces"]
SEGMENTS = 65_000
SMALL, LARGE = 2048, 66_048
RANGES = 256

both_versions = pytest.mark.both_versions


@pytest.fixture(scope="module")
def smack(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """tests/c/segsmack.c with the engine."""
    return compile_with_engine("segsmack", tmp_path_factory.mktemp("segsmack"))


@pytest.mark.parametrize("how", range(len(PATTERNS)), ids=PATTERNS)
@pytest.mark.parametrize("version", [4, 6])
def test_out_of_order_text_takes_no_more_than_the_receive_buffer(
    smack: Path, version: int, how: int
) -> None:
    """65,000 segments over the window; the buffer is 6 MB, the constant one large mbuf."""
    seen = figures(smack, version, how, SEGMENTS, 0)
    assert seen["mbufs"] * SMALL <= seen["rcvbuf"] + LARGE
    assert seen["ranges"] <= RANGES
    assert seen["window"] > 3_000_000, "the attack has room to unfold"


@pytest.mark.parametrize("how", [0, 1])
def test_one_byte_holes_take_a_buffer_for_each_range(smack: Path, how: int) -> None:
    """Nothing is kept beyond tcp.max_ooo_ranges."""
    seen = figures(smack, 4, how, SEGMENTS, 0)
    assert seen["ranges"] == RANGES
    assert seen["mbufs"] <= RANGES + 8
    assert seen["pruned"] + seen["dropped"] >= SEGMENTS - RANGES - 8


def test_bytes_in_a_row_share_buffers(smack: Path) -> None:
    """65,000 segments of a byte behind one hole: no more buffers than their bytes fill."""
    seen = figures(smack, 4, 4, SEGMENTS, 0)
    assert seen["bytes"] == SEGMENTS
    assert seen["mbufs"] <= SEGMENTS / 1800 + 2


@needs_callgrind
@pytest.mark.parametrize("how", range(len(PATTERNS)), ids=PATTERNS)
def test_a_segment_costs_no_more_when_all_is_full(smack: Path, how: int, tmp_path: Path) -> None:
    """ROBUSTNESS BC: twice a segment that finds nothing, by callgrind, input to ACK."""
    empty = instructions(smack, tmp_path, 4, how, 0, 32) / 32
    loaded = instructions(smack, tmp_path, 4, how, 20_000, 500) / 500
    assert loaded <= 2 * empty, f"{loaded:.0f} instructions a segment, {empty:.0f} when empty"


# ------------------------------------------------------------------ what stays, what goes


def put(wire: Wire, lo: int, hi: int) -> None:
    """The peer's bytes [lo, hi)."""
    wire.inject(wire.default.frame(segment(f". {lo}:{hi}({hi - lo}) ack 1 win 257")))
    wire.pump()
    wire.sent.clear()


def held(wire: Wire, sock: Sock) -> tuple[int, int]:
    """Ranges and bytes out of order, with every invariant checked."""
    wire.engine.check()
    return sock.info.ooo_ranges, sock.info.ooo_bytes


@both_versions
def test_ten_thousand_holes_and_then_the_bytes_between_deliver_the_stream(wire: Wire) -> None:
    """The attack's bytes are as good as any once the holes are filled."""
    sock = wire.established()
    for lo in range(2, 20_000, 2):
        put(wire, lo, lo + 1)
    assert held(wire, sock)[0] == (sock.info.rcvbuf + LARGE) // SMALL
    data = b""
    while len(data) < 20_000:
        nxt = wire.their_next(sock)
        put(wire, nxt, min(nxt + 1000, 20_001))
        data += sock.recv()
    assert data == pattern(1, 20_001)
    assert held(wire, sock) == (0, 0)
    assert wire.engine.usage().reass == 0


def test_with_all_ranges_used_nearer_text_displaces_the_farthest(wire: Wire) -> None:
    wire.settings(tcp_max_ooo_ranges=4)
    sock = wire.established()
    for lo in (1001, 3001, 5001, 7001):
        put(wire, lo, lo + 100)
    put(wire, 2001, 2101)
    assert held(wire, sock) == (4, 400)
    assert wire.stats["tcp.ooo.pruned"] == 1
    put(wire, 1, 1001)
    put(wire, 1101, 2001)
    assert len(sock.recv()) == 2100


def test_with_all_ranges_used_farther_text_is_not_taken(wire: Wire) -> None:
    wire.settings(tcp_max_ooo_ranges=4)
    sock = wire.established()
    for lo in (1001, 3001, 5001, 7001, 9001):
        put(wire, lo, lo + 100)
    assert held(wire, sock) == (4, 400)
    assert wire.stats["tcp.drop.ooo"] == 1
    assert wire.stats["tcp.ooo.pruned"] == 0


def test_with_all_ranges_used_text_that_touches_one_is_taken(wire: Wire) -> None:
    wire.settings(tcp_max_ooo_ranges=2)
    sock = wire.established()
    for lo, hi in ((1001, 1101), (3001, 3101), (3101, 3201), (2901, 3001), (1101, 2901)):
        put(wire, lo, hi)
    assert held(wire, sock) == (1, 2200)
    assert wire.stats["tcp.drop.ooo"] == wire.stats["tcp.ooo.pruned"] == 0


def test_without_memory_the_later_half_of_the_last_range_goes(wire: Wire) -> None:
    """As Linux's tcp_prune_ofo_queue: from the end, for it is needed last."""
    wire.settings(tcp_rmem=2 * 2048)
    sock = wire.established(mss=100)
    for lo in range(1900, 200, -2):  # each in a buffer of its own, nearer and nearer
        put(wire, lo, lo + 1)
        assert wire.engine.usage().mbufs_small * SMALL <= sock.info.rcvbuf + LARGE
    assert held(wire, sock)[0] <= RANGES


def test_a_pruned_range_is_no_longer_selectively_acknowledged(wire: Wire) -> None:
    """RFC 2018 8: reneging must show, or the peer would never send it again."""
    wire.settings(tcp_max_ooo_ranges=2)
    wire.established()
    wire("""
        +0 < . 1001:1101(100) ack 1 win 257
        +0 > . 1:1(0) ack 1 <nop,nop,sack 1001:1101>
        +0 < . 5001:5101(100) ack 1 win 257
        +0 > . 1:1(0) ack 1 <nop,nop,sack 5001:5101 1001:1101>
        +0 < . 3001:3101(100) ack 1 win 257
        +0 > . 1:1(0) ack 1 <nop,nop,sack 3001:3101 1001:1101>
    """)


def test_pruned_text_is_taken_when_it_comes_again(wire: Wire) -> None:
    wire.settings(tcp_max_ooo_ranges=2)
    sock = wire.established()
    for lo in (1001, 5001, 3001):
        put(wire, lo, lo + 1000)
    assert wire.stats["tcp.ooo.pruned"] == 1
    for lo in (1, 2001, 4001, 5001):
        put(wire, lo, lo + 1000)
    assert sock.recv() == pattern(1, 6001)


def test_a_full_table_of_queues_leaves_connections_without(wire: Wire) -> None:
    """tcp.max_reass: what cannot be queued is dropped, in-order text is not."""
    wire.settings(tcp_max_reass=2)
    socks = [wire.established(peer=wire.peer(1000 + i)) for i in range(4)]
    for sock in socks:
        wire.inject(sock.peer.frame(segment(". 101:201(100) ack 1 win 257")))
    assert [sock.info.ooo_bytes for sock in socks] == [100, 100, 0, 0]
    assert wire.stats["tcp.drop.ooo"] == 2
    for sock in socks:
        wire.inject(sock.peer.frame(segment(". 1:101(100) ack 1 win 257")))
    wire.pump()
    wire.sent.clear()
    assert [len(sock.recv()) for sock in socks] == [200, 200, 100, 100]
    assert wire.engine.usage().reass == 0
