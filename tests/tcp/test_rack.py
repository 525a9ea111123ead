# SPDX-License-Identifier: BSD-3-Clause
"""RACK: losses by time (RFC 8985 6), the reordering window as Linux has it."""

from __future__ import annotations

import pytest

from flight import DISORDER, OPEN, RECOVERY, ack, flight, leaves, packets, sent
from wire import Sock, Wire

pytestmark = pytest.mark.both_versions


def test_one_sack_is_enough_after_a_quarter_of_a_round_trip(wire: Wire) -> None:
    """RFC 8985 6.2 step 5: min_rtt / 4 after the SACK, and Linux's 2 ms."""
    sock = flight(wire)
    wire.put(ack(0, (7, 8), when="+.1"))
    assert sock.info.reo
    leaves(wire, [0], 0.027)
    assert sock.info.ca_state == RECOVERY
    assert packets(sock) == (10, 1, 7, 1)


def test_three_sacks_are_enough_at_once(wire: Wire) -> None:
    """6.2 step 4: no reordering was seen, so DupThresh holds as ever."""
    sock = flight(wire)
    wire.put(ack(0, (1, 4), when="+.1"))
    leaves(wire, [0])
    assert sock.info.ca_state == RECOVERY


def reorder(wire: Wire) -> Sock:
    """A connection that has seen a segment overtaken; ten new segments are in flight."""
    sock = flight(wire)
    wire.put(ack(0, (4, 5), when="+.1"))
    wire.put(ack(0, (1, 2), (4, 5), when="+.001"))
    wire.put(ack(10))
    assert wire.stats["tcp.reordered"] >= 1
    sock.send(10_000)
    leaves(wire, list(range(10, 20)))
    return sock


def test_after_reordering_three_sacks_are_not_enough(wire: Wire) -> None:
    """6.2 step 4: then a segment is given the reordering window."""
    sock = reorder(wire)
    wire.put(ack(10, (11, 14), when="+.1"))
    assert sock.info.ca_state == DISORDER
    leaves(wire, [10], 0.027)


def test_a_segment_that_is_late_by_less_than_the_window_is_not_sent_again(wire: Wire) -> None:
    sock = reorder(wire)
    wire.put(ack(10, (11, 16), when="+.1"))
    wire.put(ack(16, when="+.02"))
    assert sock.info.ca_state == OPEN
    assert sock.info.total_retrans == 0


def test_a_dsack_after_reordering_widens_the_window(wire: Wire) -> None:
    """RFC 8985 6.2 step 4: another quarter of min_rtt."""
    sock = reorder(wire)
    wire.put(ack(10, (11, 14), when="+.1"))
    leaves(wire, [10], 0.027)
    wire.put(ack(20, (10, 11), when="+.005"))  # the original came: the resent one was needless
    assert wire.stats["tcp.dsack.in"] == 1
    sock.send(10_000)
    sent(wire)
    wire.put(ack(20, (21, 24), when="+.1"))
    sent(wire)
    began = wire.engine.now
    taken = wire.take(0.2)
    assert taken is not None and taken[1].seq == 20_001
    assert (wire.line_time - began) / 1e6 == pytest.approx(52, abs=1.5)


def test_the_reordering_window_is_no_more_than_the_smoothed_rtt(wire: Wire) -> None:
    """6.2 step 4."""
    sock = reorder(wire)
    for _ in range(12):
        una = sock.peer.ours(sock.info.snd_una) // 1000
        if sock.info.unacked == 0:
            sock.send(10_000)
        sent(wire)
        wire.put(ack(una, (una + 1, una + 4), when="+.1"))
        for _ in range(4):
            if wire.take(0.3):
                break
        sent(wire)
        top = sock.peer.ours(sock.info.snd_max) // 1000
        wire.put(ack(top, (una, una + 1), when="+.005"))
    una = sock.peer.ours(sock.info.snd_una) // 1000
    sock.send(10_000)
    sent(wire)
    wire.put(ack(una, (una + 1, una + 4), when="+.1"))
    sent(wire)
    assert (sock.info.reo - wire.engine.now) / 1000 <= sock.info.srtt_us + 2000
