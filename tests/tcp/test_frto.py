# SPDX-License-Identifier: BSD-3-Clause
"""Was the timeout spurious? F-RTO (RFC 5682) and the Eifel way (RFC 3522), as Linux."""

from __future__ import annotations

import pytest

from flight import LOSS, OPEN, ack, flight, leaves, packets, sent
from wire import Sock, Wire

pytestmark = pytest.mark.both_versions

UNLIMITED = 2**32 - 1


def timed_out(wire: Wire, unsent: int = 5, **options: object) -> Sock:
    """Ten segments were delayed past the RTO; the first has been sent again."""
    wire.settings(tcp_early_retrans=0)
    sock = flight(wire, unsent=unsent, **options)
    leaves(wire, [0], 0.3)
    assert sock.info.ca_state == LOSS
    assert packets(sock) == (10, 0, 10, 1)
    return sock


@pytest.mark.parametrize("sack", [True, False])
def test_acks_of_what_was_sent_once_restore_the_window(wire: Wire, sack: bool) -> None:
    """RFC 5682 2.1 steps 2b and 3b: new text first, then the originals are seen to arrive."""
    sock = timed_out(wire, sack=sack)
    wire.put(ack(2, when="+.05"))
    if not sack:  # nobody says yet which copy of segment 0 it was
        assert sent(wire) == [10, 11, 12]
        wire.put(ack(4))
    sent(wire)
    assert wire.stats["tcp.rto.spurious"] == 1
    assert sock.info.ca_state == OPEN
    assert sock.info.ssthresh == UNLIMITED
    assert sock.info.cwnd >= 10_000
    assert sock.info.total_retrans == 1


def test_after_a_real_timeout_new_text_is_tried_first(wire: Wire) -> None:
    """RFC 5682 2.1 step 2b: the ACK of the retransmission alone proves nothing."""
    sock = timed_out(wire)
    wire.put(ack(1, when="+.1"))
    assert sent(wire) == [10, 11]
    assert sock.info.ca_state == LOSS
    wire.put(ack(1, (10, 11), when="+.1"))  # step 3a: the new text arrived, the old did not
    assert sent(wire)[0] == 1
    assert wire.stats["tcp.rto.spurious"] == 0
    assert sock.info.ssthresh < UNLIMITED


def test_with_nothing_new_to_send_recovery_goes_on(wire: Wire) -> None:
    """RFC 5682 2.1 step 2b: F-RTO cannot tell."""
    timed_out(wire, unsent=0)
    wire.put(ack(1, when="+.1"))
    assert sent(wire) == [1, 2]


def test_without_frto_what_is_lost_goes_first(wire: Wire) -> None:
    wire.settings(tcp_frto=0)
    timed_out(wire)
    wire.put(ack(1, when="+.1"))
    assert sent(wire) == [1, 2]


def test_an_echo_from_before_the_timeout_restores_the_window(wire: Wire) -> None:
    """RFC 3522: at once, by the first ACK."""
    wire.settings(tcp_early_retrans=0, tcp_frto=0)
    sock = wire.established(mss=1012, rtt=0.1, ts=True)
    sock.send(10_000)
    sent(wire)
    taken = wire.take(1.0)
    assert taken is not None and taken[1].seq == 1
    wire.put("+.05 < . 1:1(0) ack 1001 win 257 <nop,nop,TS val 300 ecr 200>")
    assert sock.info.ca_state == OPEN
    assert sock.info.ssthresh == UNLIMITED
    assert wire.stats["tcp.undo.rto"] == 1
    assert sock.info.cwnd >= 10_000
    assert sent(wire) == []


def test_an_earlier_episode_does_not_hide_that_a_timeout_was_spurious(wire: Wire) -> None:
    """RFC 3522 3.2: the timestamp to compare with is that of this episode's retransmission."""
    wire.settings(tcp_early_retrans=0, tcp_frto=0, tcp_pacing=0)
    sock = wire.established(mss=1012, rtt=0.1, ts=True)
    sock.send(10_000)
    sent(wire)
    blocks = "<nop,nop,TS val 200 ecr 200,nop,nop,sack 1001:4001>"
    wire.put(f"+.1 < . 1:1(0) ack 1 win 257 {blocks}")
    assert sent(wire) == [0]  # at 300
    wire.put("+.1 < . 1:1(0) ack 10001 win 257 <nop,nop,TS val 400 ecr 300>")
    sock.send(5000)
    sent(wire)  # at 400
    taken = wire.take(1.0)
    assert taken is not None and taken[1].seq == 10_001
    wire.put("+.05 < . 1:1(0) ack 11001 win 257 <nop,nop,TS val 900 ecr 400>")
    assert wire.stats["tcp.undo.rto"] == 1
    assert sock.info.ca_state == OPEN


def test_only_what_is_old_enough_is_lost_by_a_timeout(wire: Wire) -> None:
    """RFC 8985 6.3: a segment sent a moment ago may still arrive."""
    wire.settings(tcp_early_retrans=0)
    sock = flight(wire, 5)
    wire.put(ack(5, when="+.1"))
    sock.send(5000)
    leaves(wire, [5, 6, 7, 8, 9])
    wire.advance(0.25)
    sock.send(3000)
    sent(wire)
    leaves(wire, [5], sock.info.rto_us / 1e6 - 0.25)
    assert packets(sock) == (8, 0, 5, 1)


def test_what_is_really_lost_goes_before_more_new_text_that_pacing_has_held(wire: Wire) -> None:
    """RFC 5682 2.1 step 3a: new text was sent to find out, and that is done."""
    wire.settings(tcp_early_retrans=0)
    sock = flight(wire, unsent=5)
    sock.setopt("MAX_PACING_RATE", 2000)
    leaves(wire, [0], 0.3)
    sock.setopt("MAX_PACING_RATE", 6000)
    wire.put(ack(1))
    assert sent(wire) == [10]
    wire.put(ack(1, (10, 11), when="+.01"))
    taken = wire.take(2.0)
    assert taken is not None and taken[1].seq == 1001
    wire.sent.clear()
    sock.abort()
    wire.sent.clear()
