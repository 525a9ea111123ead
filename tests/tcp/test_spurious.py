# SPDX-License-Identifier: BSD-3-Clause
"""Needless recoveries, seen from outside: what is told, what is marked, how long one is careful."""

from __future__ import annotations

import pytest
from ustack._ustack import lib

from flight import LOSS, OPEN, RTT, ack, flight, leaves, sent
from wire import Sock, Wire

UNLIMITED = 2**32 - 1


def test_a_spurious_timeout_is_no_unanswered_one(wire: Wire) -> None:
    """RFC 5682 2.1 step 3b by a SACK alone: the path works, tcpi_retransmits is 0."""
    wire.settings(tcp_early_retrans=0)
    sock = flight(wire)
    leaves(wire, [0], 0.3)
    assert sock.info.retransmits == 1
    wire.put(ack(0, (5, 6), when="+.01"))
    assert wire.stats["tcp.rto.spurious"] == 1
    assert sock.info.retransmits == 0
    assert sock.info.ssthresh == UNLIMITED
    wire.put(ack(10, when="+.01"))


def stamped(wire: Wire) -> Sock:
    """Ten segments with timestamps and without SACK; the first has been sent again."""
    wire.settings(tcp_early_retrans=0)
    sock = wire.established(mss=1012, rtt=RTT, ts=True, sack=False)
    sock.send(10_000)
    sent(wire)
    leaves(wire, [0], 0.3)
    return sock


def test_a_timeout_that_the_echo_shows_needless_is_undone_once(wire: Wire) -> None:
    """RFC 3522 3.2; without SACK the state stays until something newer is acknowledged, for
    late duplicates (RFC 6582 4.1, as Linux)."""
    sock = stamped(wire)
    wire.put("+.01 < . 1:1(0) ack 10001 win 257 <nop,nop,TS val 500 ecr 200>")
    assert wire.stats["tcp.undo.rto"] == 1
    assert (sock.info.cwnd >= 10_000, sock.info.ssthresh) == (True, UNLIMITED)
    assert sock.info.ca_state == LOSS
    sock.send(1000)
    sent(wire)
    wire.put("+.1 < . 1:1(0) ack 11001 win 257 <nop,nop,TS val 600 ecr 510>")
    assert sock.info.ca_state == OPEN
    assert wire.stats["tcp.undo.rto"] == 1


def test_a_reduction_that_is_undone_is_not_confirmed_by_cwr(wire: Wire) -> None:
    """RFC 3168 6.1.2: CWR tells of a window that has come down."""
    wire.listen()
    wire("""
        +0  < SEW 0:0(0) win 65535 <mss 1000,sackOK,nop,wscale 8>
        +0  > SE. 0:0(0) ack 1 <...>
        +.1 < .   1:1(0) ack 1 win 257
    """)
    sock = wire.accept(wire.default)
    sock.send(10_000)
    sent(wire)
    wire.put(ack(0, (1, 4), when="+.1"))
    assert sent(wire) == [0]
    wire.put(ack(10, when="+.005"))
    wire.put(ack(10, (0, 1), when="+.05"))
    assert wire.stats["tcp.undo.dsack"] == 1
    sock.send(1000)
    wire("+0 > [ect0] P. 10001:11001(1000) ack 1")
    wire.put(ack(11, when="+.05"))


def reordered(wire: Wire) -> Sock:
    """A connection that has seen a segment overtaken, and then a needless retransmission."""
    sock = flight(wire)
    wire.put(ack(0, (4, 5), when="+.1"))
    wire.put(ack(0, (1, 2), (4, 5), when="+.001"))
    wire.put(ack(10))
    episode(wire, sock, 27)
    una = sock.peer.ours(sock.info.snd_una) // 1000
    wire.put(ack(una, (una - 10, una - 9), when="+.01"))
    assert wire.stats["tcp.undo.dsack"] == 1
    return sock


def episode(wire: Wire, sock: Sock, wait: int) -> None:
    """The first of ten segments comes so late that it is sent again, after so many ms."""
    first = sock.peer.ours(sock.info.snd_una) // 1000
    assert lib.ust_cc_update(wire.engine.raw, sock.handle, 20_000, 0, 0) == 0
    sock.send(10_000)
    sent(wire)
    wire.put(ack(first, (first + 1, first + 4), when="+.1"))
    assert sent(wire) == []
    assert (sock.info.reo - wire.engine.now) / 1e6 == pytest.approx(wait, abs=1)
    wire.advance(wait / 1000 + 0.002)
    assert first in sent(wire)
    wire.put(ack(first + 10, when="+.1"))
    sent(wire)
    assert sock.info.ca_state == OPEN


def test_a_widened_reordering_window_lasts_for_sixteen_recoveries(wire: Wire) -> None:
    """RFC 8985 6.2 step 4: reo_wnd_persist; a quarter of 100 ms more than 25 + 2."""
    wire.settings(tcp_congestion_control="python")  # so that losses leave the window
    sock = reordered(wire)
    for _ in range(16):
        episode(wire, sock, 52)
    episode(wire, sock, 27)


def test_what_is_known_to_be_lost_goes_again_in_the_ack_that_undoes_the_timeout(wire: Wire) -> None:
    """RFC 3522, RFC 8985: the first segment was late, those behind it are missing (as Linux)."""
    wire.settings(tcp_early_retrans=0, tcp_frto=0)
    sock = wire.established(mss=1012, rtt=RTT, ts=True)
    sock.send(10_000)
    sent(wire)
    sacked = "nop,nop,sack 5001:6001"
    wire.put(f"+.1 < . 1:1(0) ack 1 win 257 <nop,nop,TS val 200 ecr 200,{sacked}>")
    while not wire.stats["tcp.rexmt.rto"]:
        wire.advance(0.01)
    sent(wire)
    wire.put(f"+.01 < . 1:1(0) ack 1001 win 257 <nop,nop,TS val 300 ecr 200,{sacked}>")
    assert wire.stats["tcp.undo.rto"] == 1
    assert sent(wire)[0] == 1
    wire.put("+.1 < . 1:1(0) ack 10001 win 257 <nop,nop,TS val 400 ecr 200>")


def test_an_episode_that_is_held_open_does_not_lend_its_stamp_to_the_next(wire: Wire) -> None:
    """RFC 3522 3.2: without SACK, the loss was real; then a timeout is not."""
    wire.settings(tcp_early_retrans=0, tcp_frto=0)
    sock = wire.established(mss=1012, rtt=RTT, ts=True, sack=False)
    sock.send(10_000)
    sent(wire)
    for _ in range(3):
        wire.put("+.05 < . 1:1(0) ack 1 win 257 <nop,nop,TS val 200 ecr 200>")
    assert sent(wire) == [0]  # at 350
    wire.put("+.1 < . 1:1(0) ack 10001 win 257 <nop,nop,TS val 450 ecr 350>")
    sock.send(1000)
    assert sent(wire) == [10]  # at 450
    taken = wire.take(1.0)
    assert taken is not None and taken[1].seq == 10_001
    wire.put("+.01 < . 1:1(0) ack 11001 win 257 <nop,nop,TS val 800 ecr 450>")
    assert wire.stats["tcp.undo.rto"] == 1


def test_a_timeout_after_an_episode_that_is_held_open_reduces_the_window_again(wire: Wire) -> None:
    """RFC 5681 3.1: what is lost now was sent later; without SACK (RFC 6582 4.1)."""
    wire.settings(tcp_early_retrans=0)
    sock = flight(wire, sack=False)
    for _ in range(3):
        wire.put(ack(0, when="+.05"))
    assert sent(wire) == [0]
    wire.put(ack(10, when="+.1"))
    before = sock.info.ssthresh
    sock.send(1000)
    assert sent(wire) == [10]
    taken = wire.take(1.0)
    assert taken is not None and taken[1].seq == 10_001
    assert sock.info.ssthresh < before < UNLIMITED
    wire.put(ack(11, when="+.1"))
