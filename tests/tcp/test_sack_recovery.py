# SPDX-License-Identifier: BSD-3-Clause
"""Recovery with selective acknowledgments: RFC 2018, RFC 6675, RFC 9937, as Linux does it."""

from __future__ import annotations

import pytest

from wire import Sock, Wire

pytestmark = pytest.mark.both_versions

OPEN, DISORDER, RECOVERY, LOSS = 0, 1, 3, 4


def flight(wire: Wire, segments: int = 10, **options: object) -> Sock:
    """A connection with so many segments of 1000 in flight; RTT 100 ms."""
    sock = wire.established(mss=1000, rtt=0.1, **options)  # type: ignore[arg-type]
    sock.send(segments * 1000)
    wire(text(range(segments), last=segments - 1))
    return sock


def text(numbers: range | list[int], last: int | None = None) -> str:
    """Lines that expect these segments of 1000, numbered from 0, now."""
    return "\n".join(
        f"+0 > {'P.' if n == last else '.'} {n * 1000 + 1}:{n * 1000 + 1001}(1000) ack 1"
        for n in numbers
    )


def packets(sock: Sock) -> tuple[int, int, int, int]:
    """Unacknowledged, sacked, lost, retransmitted."""
    info = sock.info
    return info.unacked, info.sacked, info.lost, info.retrans


def test_only_the_holes_are_sent_again(wire: Wire) -> None:
    """RFC 6675 5: segments 1 and 4 of ten are lost; nothing sacked is resent."""
    sock = flight(wire)
    wire("""
        +.1 < . 1:1(0) ack 1 win 257 <sack 1001:2001>
        +0  < . 1:1(0) ack 1 win 257 <sack 1001:3001>
        +0  < . 1:1(0) ack 1 win 257 <sack 4001:5001 1001:3001>
        +0  > . 1:1001(1000) ack 1
    """)
    assert sock.info.ca_state == RECOVERY
    assert packets(sock) == (10, 3, 2, 1)
    wire("""
        +0  < . 1:1(0) ack 1 win 257 <sack 4001:6001 1001:3001>
        +0  > . 3001:4001(1000) ack 1
        +0  < . 1:1(0) ack 1 win 257 <sack 4001:7001 1001:3001>
        +0  < . 1:1(0) ack 1 win 257 <sack 4001:10001 1001:3001>
        +.1 < . 1:1(0) ack 3001 win 257 <sack 4001:10001>
        +0  < . 1:1(0) ack 10001 win 257
    """)
    assert sock.info.ca_state == OPEN
    assert packets(sock) == (0, 0, 0, 0)
    assert sock.info.total_retrans == 2
    assert wire.stats["tcp.rexmt.rto"] == 0
    wire.quiet(10)
