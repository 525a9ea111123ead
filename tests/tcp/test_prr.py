# SPDX-License-Identifier: BSD-3-Clause
"""Proportional rate reduction: RFC 9937, its arithmetic as Linux does it."""

from __future__ import annotations

import pytest

from flight import OPEN, RECOVERY, ack, flight, sent
from wire import Wire

pytestmark = pytest.mark.both_versions


@pytest.fixture(autouse=True)
def reno(wire: Wire) -> None:
    """Halve: the textbook's numbers."""
    wire.settings(tcp_congestion_control="reno")


def test_the_window_comes_down_to_half_by_every_other_ack(wire: Wire) -> None:
    """RFC 9937 6.1, 7: one of ten is lost, and there is more to send."""
    sock = flight(wire, unsent=20)
    out = []
    for last in range(2, 11):
        wire.put(ack(0, (1, last), when="+.1" if last == 2 else "+0"))
        out.append(sent(wire))
    assert out[:3] == [[10], [11], [0]]  # limited transmit, then the fast retransmit
    for last in range(11, 13):
        wire.put(ack(0, (1, last)))
        out.append(sent(wire))
    later = [len(numbers) for numbers in out[3:]]
    assert 5 <= sum(later) <= 6
    assert max(later) == 1
    assert sock.info.ssthresh == 6000
    wire.put(ack(12, when="+.1"))
    sent(wire)
    assert sock.info.ca_state == OPEN
    assert sock.info.cwnd == 6000


def test_many_losses_do_not_stop_the_clock(wire: Wire) -> None:
    """RFC 9937 5: below ssthresh each delivery lets one out, and one more if snd_una moves."""
    flight(wire)
    wire.put(ack(0, (7, 10), when="+.1"))  # seven lost: three in flight would be below ssthresh
    assert sent(wire) == [0, 1, 2]
    wire.put(ack(1, (7, 10), when="+.1"))
    assert sent(wire) == [3, 4]  # delivered 1, and no new loss
    wire.put(ack(2, (7, 10)))
    assert sent(wire) == [5, 6]


def test_an_ack_that_tells_of_a_new_loss_gets_no_bonus(wire: Wire) -> None:
    """RFC 9937 5: SafeACK, as Linux."""
    flight(wire)
    wire.put(ack(0, (5, 8), when="+.1"))
    assert sent(wire) == [0, 1, 2]
    wire.put(ack(1, (5, 8), (9, 10), when="+.1"))  # and segment 8 is lost
    assert len(sent(wire)) == 2  # as many as were delivered


def test_the_window_ends_at_ssthresh_whatever_was_delivered(wire: Wire) -> None:
    """RFC 9937 6.3."""
    sock = flight(wire)
    wire.put(ack(0, (1, 10), when="+.1"))
    assert sent(wire) == [0]
    assert sock.info.ca_state == RECOVERY
    wire.put(ack(10, when="+.1"))
    assert sock.info.cwnd == sock.info.ssthresh == 5000
