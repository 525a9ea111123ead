# SPDX-License-Identifier: BSD-3-Clause
"""Taking back a needless recovery: RFC 3522 and 4015 (Eifel), RFC 3708 (D-SACK), as Linux."""

from __future__ import annotations

import pytest

from flight import OPEN, RECOVERY, ack, flight, leaves, packets, sent
from wire import Sock, Wire

pytestmark = pytest.mark.both_versions

UNLIMITED = 2**32 - 1


def spurious(wire: Wire) -> Sock:
    """Segment 0 of ten is late; it has been sent again."""
    sock = flight(wire)
    wire.put(ack(0, (1, 4), when="+.1"))
    leaves(wire, [0])
    assert sock.info.ca_state == RECOVERY
    assert sock.info.ssthresh < UNLIMITED
    return sock


def test_a_dsack_for_every_retransmission_restores_the_window(wire: Wire) -> None:
    """RFC 3708; the recovery has ended already."""
    sock = spurious(wire)
    wire.put(ack(10, when="+.005"))
    assert sock.info.ca_state == OPEN
    assert sock.info.ssthresh < UNLIMITED
    wire.put(ack(10, (0, 1), when="+.1"))
    assert wire.stats["tcp.undo.dsack"] == 1
    assert sock.info.ssthresh == UNLIMITED
    assert sock.info.cwnd >= 10_000


def test_a_dsack_during_recovery_ends_it(wire: Wire) -> None:
    sock = spurious(wire)
    wire.put(ack(4, when="+.005"))
    wire.put(ack(4, (0, 1), when="+.1"))
    assert sock.info.ca_state == OPEN
    assert sock.info.ssthresh == UNLIMITED
    assert wire.stats["tcp.undo.dsack"] == 1


def test_one_dsack_of_two_retransmissions_restores_nothing(wire: Wire) -> None:
    sock = flight(wire)
    wire.put(ack(0, (2, 5), when="+.1"))
    leaves(wire, [0, 1])
    wire.put(ack(10, when="+.005"))
    wire.put(ack(10, (0, 1), when="+.1"))
    assert wire.stats["tcp.undo.dsack"] == 0
    wire.put(ack(10, (1, 2)))
    assert wire.stats["tcp.undo.dsack"] == 1
    assert sock.info.ssthresh == UNLIMITED


@pytest.mark.parametrize("block", ["20001:21001", "1:1", "2001:1", "1:9001"])
def test_a_dsack_of_nothing_that_was_sent_again_restores_nothing(wire: Wire, block: str) -> None:
    """A liar must not be able to keep the window up."""
    sock = spurious(wire)
    wire.put(ack(10, when="+.005"))
    wire(f"+.1 < . 1:1(0) ack 10001 win 257 <sack {block}>")
    assert wire.stats["tcp.undo.dsack"] == 0
    assert sock.info.ssthresh < UNLIMITED


def late(wire: Wire, ecr: int) -> Sock:
    """A spurious retransmission with timestamps; the ACK of all then echoes this one."""
    sock = wire.established(mss=1012, rtt=0.1, ts=True)
    sock.send(10_000)
    sent(wire)
    blocks = "<nop,nop,TS val 200 ecr 200,nop,nop,sack 1001:4001>"
    wire.put(f"+.1 < . 1:1(0) ack 1 win 257 {blocks}")
    assert sent(wire) == [0]
    wire.put(f"+.005 < . 1:1(0) ack 10001 win 257 <nop,nop,TS val 205 ecr {ecr}>")
    return sock


def test_an_echo_from_before_the_retransmission_restores_the_window(wire: Wire) -> None:
    """RFC 3522 3.2: the original has arrived, it was sent at 200."""
    sock = late(wire, 200)
    assert sock.info.ca_state == OPEN
    assert sock.info.ssthresh == UNLIMITED
    assert wire.stats["tcp.undo.recovery"] == 1
    assert packets(sock) == (0, 0, 0, 0)


def test_an_echo_of_the_retransmission_restores_nothing(wire: Wire) -> None:
    """It left at 300."""
    sock = late(wire, 300)
    assert sock.info.ca_state == OPEN
    assert sock.info.ssthresh < UNLIMITED
    assert wire.stats["tcp.undo.recovery"] == 0
