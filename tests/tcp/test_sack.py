# SPDX-License-Identifier: BSD-3-Clause
"""Out-of-order text and the SACK blocks that tell of it: RFC 2018, RFC 9293 SHLD-31."""

from __future__ import annotations

import pytest

import notation
from wire import Wire, pattern

pytestmark = pytest.mark.both_versions


def test_the_block_of_the_newest_segment_comes_first(wire: Wire) -> None:
    """RFC 2018 4."""
    wire.established()
    wire("""
        +0 < . 2001:3001(1000) ack 1 win 257
        +0 > . 1:1(0) ack 1 <nop,nop,sack 2001:3001>
        +0 < . 4001:5001(1000) ack 1 win 257
        +0 > . 1:1(0) ack 1 <nop,nop,sack 4001:5001 2001:3001>
        +0 < . 6001:7001(1000) ack 1 win 257
        +0 > . 1:1(0) ack 1 <nop,nop,sack 6001:7001 4001:5001 2001:3001>
        +0 < . 3001:3501(500)  ack 1 win 257
        +0 > . 1:1(0) ack 1 <nop,nop,sack 2001:3501 6001:7001 4001:5001>
    """)


def test_at_most_four_blocks_are_sent(wire: Wire) -> None:
    """RFC 2018 3: 40 bytes of options; the most recent ones."""
    wire.established()
    for i in range(6):
        lo = 2001 + 2000 * i
        wire.put(f"+0 < . {lo}:{lo + 1000}(1000) ack 1 win 257")
        taken = wire.take()
    assert taken is not None and taken[1].options is not None
    assert taken[1].options[-1] == (
        "sack",
        (12001, 13001),
        (10001, 11001),
        (8001, 9001),
        (6001, 7001),
    )


def test_three_blocks_fit_beside_a_timestamp(wire: Wire) -> None:
    """RFC 2018 3."""
    wire.established(ts=True)
    for i in range(5):
        lo = 2001 + 2000 * i
        wire.put(f"+0 < . {lo}:{lo + 900}(900) ack 1 win 257 <nop,nop,TS val 100 ecr 100>")
        taken = wire.take()
    assert taken is not None and taken[1].options is not None
    assert len(taken[1].options[-1]) == 1 + 3
    assert taken[1].options[-1][1] == (10001, 10901)


def test_segments_that_touch_become_one_block(wire: Wire) -> None:
    """RFC 2018 3: each block is contiguous and isolated."""
    wire.established()
    wire("""
        +0 < . 1001:2001(1000) ack 1 win 257
        +0 > . 1:1(0) ack 1 <nop,nop,sack 1001:2001>
        +0 < . 3001:4001(1000) ack 1 win 257
        +0 > . 1:1(0) ack 1 <nop,nop,sack 3001:4001 1001:2001>
        +0 < . 2001:3001(1000) ack 1 win 257
        +0 > . 1:1(0) ack 1 <nop,nop,sack 1001:4001>
    """)


def test_blocks_disappear_when_they_are_acknowledged(wire: Wire) -> None:
    """RFC 2018 4: not below the ACK."""
    sock = wire.established()
    wire("""
        +0 < . 1001:2001(1000) ack 1 win 257
        +0 > . 1:1(0) ack 1 <nop,nop,sack 1001:2001>
        +0 < . 3001:4001(1000) ack 1 win 257
        +0 > . 1:1(0) ack 1 <nop,nop,sack 3001:4001 1001:2001>
        +0 < . 1:1001(1000) ack 1 win 257
        +0 > . 1:1(0) ack 2001 <nop,nop,sack 3001:4001>
        +0 < . 2001:3001(1000) ack 1 win 257
        +0 > . 1:1(0) ack 4001
    """)
    assert sock.recv() == pattern(1, 4001)
    assert wire.engine.usage().reass == 0


def test_no_blocks_are_sent_to_a_peer_that_did_not_permit_them(wire: Wire) -> None:
    """RFC 2018 2, 4."""
    wire.established(sack=False)
    wire("""
        +0 < . 1001:2001(1000) ack 1 win 257
        +0 > . 1:1(0) ack 1
    """)


@pytest.mark.rfc("SHLD-31", "2525-5")
@pytest.mark.parametrize(
    ("second", "third"),
    [
        ((1501, 2501), (1, 1501)),
        ((1001, 2001), (1, 1001)),
        ((1201, 1801), (1, 1001)),
        ((801, 2201), (1, 1201)),
        ((501, 1501), (1, 801)),
        ((2001, 2501), (1, 2001)),
    ],
)
def test_overlapping_segments_are_put_together(
    wire: Wire, second: tuple[int, int], third: tuple[int, int]
) -> None:
    """RFC 9293 3.10.7.4: whatever overlaps, each byte is delivered once and in order.

    A part behind something already held may be dropped; it is not acknowledged then.
    """
    sock = wire.established(sack=False)
    for lo, hi in ((1001, 2001), second, third):
        wire.put(f"+0 < . {lo}:{hi}({hi - lo}) ack 1 win 257")
        wire.take(0.05)
    data = sock.recv()
    assert data == pattern(1, 1 + len(data))
    assert 2000 <= len(data) == peer_acked(wire)
    assert wire.engine.usage().reass == 0


def peer_acked(wire: Wire) -> int:
    """Bytes of the peer's that we have acknowledged."""
    return wire.default.theirs(wire.default.info.rcv_nxt) - 1


def test_a_repeated_out_of_order_segment_is_kept_once(wire: Wire) -> None:
    sock = wire.established(sack=False)
    for _ in range(5):
        wire("+0 < . 1001:2001(1000) ack 1 win 257\n +0 > . 1:1(0) ack 1")
    assert sock.info.ooo_bytes == 1000
    assert wire.stats["tcp.drop.dup"] == 4


def test_many_small_holes_stay_within_bounds(wire: Wire) -> None:
    """CVE-2018-5390 (SegmentSmack): 10,000 one-byte holes."""
    sock = wire.established()
    before = wire.engine.usage().mbufs_small
    for i in range(10_000):
        seq = 3 + 2 * i
        segment = notation.parse_segment(f". {seq}:{seq + 1}(1) ack 1 win 257")
        wire.inject(wire.default.frame(segment))
        wire.sent.clear()
    usage, info = wire.engine.usage(), sock.info
    assert info.ooo_ranges <= 256
    assert usage.mbufs_small - before <= 320
    assert wire.stats["tcp.drop.ooo"] > 0
    wire.engine.check()
    sock.abort()
    wire.sent.clear()
    assert wire.engine.usage().mbufs_small == 0


@pytest.mark.parametrize(
    "options",
    [
        "sack 5000:6000",
        "sack 1:1",
        "sack 1001:1",
        "sack -5000:-4000",
        "sack 1:2000000",
        "hex 0502",
        "hex 05030101",
        "hex 050affffffff00000000",
        "hex 05120000000100000002",
    ],
)
def test_bogus_sack_blocks_are_ignored(wire: Wire, options: str) -> None:
    """RFC 2018 5: outside, empty, reversed, old, huge, malformed."""
    wire.settings(tcp_early_retrans=0)
    sock = wire.established()
    sock.send(3000)
    wire(f"""
        +0  > .  1:1001(1000)    ack 1
        +0  > .  1001:2001(1000) ack 1
        +0  > P. 2001:3001(1000) ack 1
        +.1 < .  1:1(0) ack 1 win 257 <{options}>
        +0  < .  1:1(0) ack 3001 win 257
    """)
    assert sock.info.outq == 0
