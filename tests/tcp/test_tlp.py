# SPDX-License-Identifier: BSD-3-Clause
"""Tail loss probes: RFC 8985 7, as Linux."""

from __future__ import annotations

import pytest

from flight import OPEN, RECOVERY, ack, flight, leaves, packets, sent
from wire import Wire

pytestmark = pytest.mark.both_versions

PTO = 0.202  # two round trips of 100 ms, and what Linux adds to short timers


def test_a_lost_tail_is_probed_after_two_round_trips(wire: Wire) -> None:
    """RFC 8985 7.2, 7.3: the last segment, once."""
    sock = flight(wire, 5)
    leaves(wire, [4], PTO)
    assert wire.stats["tcp.tlp.probes"] == 1
    assert sock.info.ca_state == OPEN
    wire.settings(tcp_early_retrans=0)
    leaves(wire, [0], 0.3)
    assert wire.stats["tcp.rexmt.rto"] == 1


def test_the_sack_that_a_probe_earns_repairs_the_loss_without_a_timeout(wire: Wire) -> None:
    """RFC 8985 7: 3 and 4 of five are lost; within the PTO and a round trip and a half."""
    sock = flight(wire, 5)
    wire.put(ack(3, when="+.1"))
    assert sock.info.tlp
    leaves(wire, [4], PTO)
    wire.put(ack(3, (4, 5), when="+.1"))
    leaves(wire, [3])
    assert sock.info.ca_state == RECOVERY
    wire.put(ack(5, when="+.1"))
    assert sock.info.ca_state == OPEN
    assert wire.stats["tcp.rexmt.rto"] == 0


def test_a_lone_segment_is_given_time_for_a_delayed_ack(wire: Wire) -> None:
    """7.2: WCDelAckT, here the least RTO; but never later than the RTO."""
    wire.settings(tcp_rto_min_ms=200)
    sock = wire.established(mss=1000, rtt=0.02)
    sock.send(1000)
    wire("""
        +0   > P. 1:1001(1000) ack 1
        +.22 > P. 1:1001(1000) ack 1
    """)
    assert wire.stats["tcp.tlp.probes"] == 1


def test_new_text_is_the_better_probe(wire: Wire) -> None:
    """7.3: though cwnd would not allow it."""
    sock = flight(wire, 10, unsent=1)
    leaves(wire, [10], PTO)
    assert wire.stats["tcp.tlp.probes"] == 1
    assert sock.info.total_retrans == 0


def test_new_text_beyond_the_window_is_no_probe(wire: Wire) -> None:
    """7.3: the peer has no room for it, so the last segment goes again."""
    sock = wire.established(mss=1000, rtt=0.1, wscale=None, win=5000)
    sock.send(8000)
    leaves(wire, list(range(5)))
    leaves(wire, [4], PTO)


def test_a_loss_that_the_probe_repaired_reduces_the_window(wire: Wire) -> None:
    """7.4.2: one ACK for all, nothing says that both copies came."""
    wire.settings(tcp_congestion_control="reno")
    sock = flight(wire, 10)
    leaves(wire, [9], PTO)
    wire.put(ack(10, when="+.1"))
    assert sock.info.ssthresh == 2**32 - 1  # the ACK does not tell yet
    sock.send(1000)
    wire("+0 > P. 10001:11001(1000) ack 1")
    wire.put(ack(11, when="+.1"))
    assert wire.stats["tcp.tlp.repairs"] == 1
    assert sock.info.ca_state == OPEN
    assert sock.info.ssthresh < 10_000


def test_a_probe_that_was_needless_costs_nothing(wire: Wire) -> None:
    """7.4.2: the D-SACK shows that both copies came."""
    sock = flight(wire, 10)
    cwnd = sock.info.cwnd
    leaves(wire, [9], PTO)
    wire.put(ack(10, when="+.001"))
    wire.put(ack(10, (9, 10), when="+.1"))
    sock.send(1000)
    wire("+0 > P. 10001:11001(1000) ack 1")
    wire.put(ack(11, when="+.1"))
    assert wire.stats["tcp.tlp.repairs"] == 0
    assert wire.stats["tcp.dsack.in"] == 1
    assert sock.info.ssthresh == 2**32 - 1
    assert sock.info.cwnd >= cwnd


def test_there_is_no_probe_without_sack(wire: Wire) -> None:
    """7.2: its answer would not say what is missing."""
    flight(wire, 5, sack=False)
    leaves(wire, [0], 0.3)
    assert wire.stats["tcp.tlp.probes"] == 0
    assert wire.stats["tcp.rexmt.rto"] == 1


def test_there_is_no_probe_during_recovery(wire: Wire) -> None:
    """7.2."""
    sock = flight(wire)
    wire.put(ack(0, (1, 4), when="+.1"))
    leaves(wire, [0])
    assert sock.info.tlp == 0
    assert packets(sock)[3] == 1
    wire.advance(0.25)
    assert not sent(wire)


@pytest.mark.parametrize(("left", "counted"), [(1, 0.02), (3, 0.02), (4, 0)])
def test_the_rto_of_a_short_flight_counts_from_its_first_segment(
    wire: Wire, left: int, counted: float
) -> None:
    """RFC 7765 4, on request: an ACK leaves so many segments, which were sent 20 ms before it."""
    wire.settings(tcp_early_retrans=0, tcp_rto_restart=1)
    sock = wire.established(mss=1000, rtt=0.1)
    sock.setopt("NODELAY", 1)
    sock.send(1000)
    wire("+0 > P. 1:1001(1000) ack 1")
    wire.advance(0.08)
    sock.send(1000 * left)
    assert sent(wire) == list(range(1, left + 1))
    wire.put(ack(1, when="+.02"))
    leaves(wire, [1], sock.info.rto_us / 1e6 - counted)


def test_without_a_round_trip_time_the_probe_waits_a_second(wire: Wire) -> None:
    """7.2: PTO is 1 s; the SYN-ACK was sent twice, so it was not timed (RFC 6298 3)."""
    wire.listen()
    wire("""
        +0   < S 0:0(0) win 65535 <mss 1000,sackOK,nop,wscale 8>
        +0   > S. 0:0(0) ack 1 <...>
        +1   > S. 0:0(0) ack 1 <...>
        +.1  < . 1:1(0) ack 1 win 257
    """)
    sock = wire.accept(wire.default)
    assert sock.info.srtt_us == 0
    sock.send(2000)
    assert sent(wire) == [0]  # RFC 6928 2: the window is one segment
    leaves(wire, [1], 1.0)


def test_a_probe_is_never_later_than_the_rto(wire: Wire) -> None:
    """7.2: after an ACK, too, for the lone segment that is left: 2 * 100 + 200 ms is too long."""
    sock = flight(wire, 2)
    wire.put(ack(1, when="+.1"))
    assert sock.info.tlp - wire.engine.now == sock.info.rto_us * 1000
    leaves(wire, [1], sock.info.rto_us / 1e6)
    assert wire.stats["tcp.tlp.probes"] == 1


@pytest.mark.parametrize("setting", [0, 2])
def test_there_is_no_probe_below_setting_3(wire: Wire, setting: int) -> None:
    """As Linux's tcp_early_retrans."""
    wire.settings(tcp_early_retrans=setting)
    sock = wire.established(mss=1000, rtt=0.1)
    sock.send(3000)
    for _ in range(3):
        assert wire.take() is not None
    assert sock.info.tlp == 0
    taken = wire.take(0.4)
    assert taken is not None and taken[1].seq == 1
    wire.put("+0 < . 1:1(0) ack 3001 win 257")
