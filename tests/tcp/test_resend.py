# SPDX-License-Identifier: BSD-3-Clause
"""What is sent again, how much of it at a time, and what a timeout teaches."""

from __future__ import annotations

import pytest

from flight import ack, flight, sacks, sent
from wire import Wire

pytestmark = pytest.mark.both_versions


@pytest.mark.parametrize(("win", "again"), [(2000, [0, 1]), (1999, [0])])
def test_a_window_that_has_shrunk_holds_retransmissions_back(
    wire: Wire, win: int, again: list[int]
) -> None:
    """RFC 9293 3.8.6: but for what begins at snd_una (MAY-7)."""
    flight(wire, 6, wscale=None, win=20_000)
    blocks = sacks((2, 6))
    wire.put(f"+.1 < . 1:1(0) ack 1 win {win} <{blocks}>")
    assert sent(wire) == again
    wire.put("+.01 < . 1:1(0) ack 6001 win 20000")


@pytest.mark.parametrize(
    ("writes", "first"), [((400, 600, 1000), 1000), ((700, 600), 700), ((1000, 500), 1000)]
)
def test_small_segments_are_sent_again_as_one_that_is_full(
    wire: Wire, writes: tuple[int, ...], first: int
) -> None:
    """RFC 9293 3.8.1: a repacketized segment is no longer than the MSS."""
    wire.settings(tcp_early_retrans=0)
    sock = wire.established(mss=1000, rtt=0.1)
    sock.setopt("NODELAY", 1)
    for size in writes:
        sock.send(size)
        assert wire.take() is not None
    taken = wire.take(0.4)
    assert taken is not None
    assert (taken[1].seq, taken[1].length) == (1, first)
    assert wire.take() is None  # the window is one segment
    wire.put(f"+0 < . 1:1(0) ack {sum(writes) + 1} win 257")


def test_after_a_timeout_less_than_a_segment_of_window_sends_nothing(wire: Wire) -> None:
    """RFC 5681 3.1: the loss window is one segment, half of which is used."""
    wire.settings(tcp_early_retrans=0)
    sock = wire.established(mss=1000, rtt=0.1)
    sock.setopt("NODELAY", 1)
    sock.send(500)
    sock.send(3000)
    sent(wire)
    taken = wire.take(0.4)
    assert taken is not None and taken[1].length == 500
    assert wire.take() is None
    wire.put("+.1 < . 1:1(0) ack 3501 win 257")


def test_only_a_partial_ack_counts_as_one(wire: Wire) -> None:
    """RFC 6582 3.2."""
    flight(wire, sack=False)
    for _ in range(3):
        wire.put(ack(0, when="+.05"))
    assert sent(wire) == [0]
    assert wire.stats["tcp.rexmt.partial"] == 0
    wire.put(ack(2, when="+.05"))
    assert sent(wire)[0] == 2
    assert wire.stats["tcp.rexmt.partial"] == 1
    wire.put(ack(10, when="+.1"))


def test_a_timeout_that_proves_losses_ends_great_patience_with_reordering(wire: Wire) -> None:
    """As Linux: three were sacked, yet reordering kept the loss from being seen."""
    wire.settings(tcp_recovery=0, tcp_early_retrans=0, tcp_frto=0)
    sock = flight(wire)
    wire.put(ack(0, (5, 6), when="+.1"))
    wire.put(ack(0, (1, 2), (5, 6)))
    wire.put(ack(10))
    assert sock.info.reordering > 4
    sock.send(10_000)
    sent(wire)
    wire.put(ack(10, (11, 15), when="+.1"))
    assert sent(wire) == []
    while not wire.stats["tcp.rexmt.rto"]:
        wire.advance(0.05)
    assert sock.info.reordering == 3
    sent(wire)
    wire.put(ack(20, when="+.01"))
    sent(wire)
