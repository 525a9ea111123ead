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


def test_each_ack_lets_out_its_share_of_the_reduction(wire: Wire) -> None:
    """RFC 9937 6.1: CEIL(prr_delivered * ssthresh / RecoverFS) - prr_out, down to ssthresh."""
    wire.settings(tcp_initial_window=20)
    sock = flight(wire, 20)
    wire.put(ack(0, (1, 3), when="+.1"))
    for delivered, last in enumerate(range(4, 21), 1):
        wire.put(ack(0, (1, last)))
        assert sent(wire) == ([0] if last == 4 else [])  # so one has gone out
        pipe, out = 20 - (last - 1), 1
        in_proportion = -(-delivered * 10 // 20) - out
        slow_start = min(max(delivered - out, 1), 10 - pipe)
        if last == 4:  # 16 in flight, and one more
            assert sock.info.cwnd == 17_000
        else:
            share = in_proportion if pipe > 10 else slow_start
            assert sock.info.cwnd == 1000 * (pipe + share)
    wire.put(ack(20, when="+.1"))
    assert sock.info.cwnd == 10_000


def test_the_fast_retransmit_goes_though_the_window_is_full(wire: Wire) -> None:
    """RFC 9937 6.1: at pipe == ssthresh nothing else is allowed out."""
    sock = flight(wire, unsent=5)
    wire.put(ack(0, (1, 6), when="+.1"))
    assert sent(wire) == [0]
    assert sock.info.cwnd == 5000


def test_the_fast_retransmit_goes_at_ssthresh_too(wire: Wire) -> None:
    sock = flight(wire, unsent=5)
    wire.put(ack(0, (1, 5), when="+.1"))
    assert sent(wire) == [0]
    assert sock.info.cwnd == 6000  # five in flight, and the one
