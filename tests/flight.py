# SPDX-License-Identifier: BSD-3-Clause
"""A flight of segments of 1000 bytes, numbered from 0, for the tests of loss recovery."""

from __future__ import annotations

import pytest

from wire import Sock, Wire

OPEN, DISORDER, CWR, RECOVERY, LOSS = range(5)
RTT = 0.1


def flight(wire: Wire, segments: int = 10, *, unsent: int = 0, **options: object) -> Sock:
    """A connection with so many segments in flight, sent just now, and some behind them."""
    sock = wire.established(mss=1000, rtt=RTT, **options)  # type: ignore[arg-type]
    sock.send((segments + unsent) * 1000)
    leaves(wire, list(range(segments)))
    return sock


def halved(wire: Wire) -> Sock:
    """A connection of Reno's that lost the first of ten segments: its window is five now."""
    wire.settings(tcp_congestion_control="reno")
    sock = wire.established(mss=1000, rtt=RTT, win=1000)
    sock.send(10_000)
    sent(wire)
    wire.put("+.1 < . 1:1(0) ack 1 win 1000 <sack 1001:10001>")
    sent(wire)
    wire.put("+.1 < . 1:1(0) ack 10001 win 1000")
    info = sock.info
    assert (info.cwnd, info.ssthresh) == (5000, 5000)
    return sock


def leaves(wire: Wire, numbers: list[int], after: float = 0.0) -> None:
    """Demand that exactly these segments leave so many seconds from now, to the millisecond."""
    __tracebackhide__ = True
    first = wire.take(after + 0.0015)
    assert first is not None, f"nothing leaves within {after} s"
    got = [first[1].seq // 1000, *sent(wire)]
    assert got == numbers
    assert first[0] == pytest.approx(after, abs=0.001)


def sacks(*blocks: tuple[int, int]) -> str:
    """The option for segments first … last - 1 of each pair."""
    edges = " ".join(f"{first * 1000 + 1}:{last * 1000 + 1}" for first, last in blocks)
    return f"sack {edges}"


def ack(segment: int, *blocks: tuple[int, int], when: str = "+0") -> str:
    """A line: all before this segment is acknowledged, and these blocks are sacked."""
    option = f" <{sacks(*blocks)}>" if blocks else ""
    return f"{when} < . 1:1(0) ack {segment * 1000 + 1} win 257{option}"


def sent(wire: Wire) -> list[int]:
    """The numbers of the segments that have left and were not looked at yet."""
    return [segment.seq // 1000 for _, segment in iter(wire.take, None)]


def packets(sock: Sock) -> tuple[int, int, int, int]:
    """Unacknowledged, sacked, lost, retransmitted."""
    info = sock.info
    return info.unacked, info.sacked, info.lost, info.retrans
