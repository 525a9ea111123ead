# SPDX-License-Identifier: BSD-3-Clause
"""Congestion control outside the engine: what each report says, and in what order they come."""

from __future__ import annotations

import errno
from typing import Any

import pytest
from ustack._ustack import ffi, lib

from flight import ack, flight, sent
from wire import Peer, Sock, Wire

MSS = 1000
START, ACK, ROUND = lib.UST_CC_START, lib.UST_CC_ACK, lib.UST_CC_ROUND
LOSS, TIMEOUT, UNDO, RESTART = (
    lib.UST_CC_LOSS,
    lib.UST_CC_TIMEOUT,
    lib.UST_CC_UNDO,
    lib.UST_CC_RESTART,
)


@pytest.fixture(autouse=True)
def python(wire: Wire) -> None:
    wire.settings(tcp_congestion_control="python")


def reports(wire: Wire, most: int = 8) -> list[Any]:
    """The news, which are then taken."""
    raw = ffi.new("struct ust_cc_report[]", most)
    n = lib.ust_cc_reports(wire.engine.raw, raw, most)
    return [ffi.new("struct ust_cc_report *", raw[i])[0] for i in range(n)]


def one(wire: Wire) -> Any:
    """The only report."""
    (report,) = reports(wire)
    assert not lib.ust_cc_pending(wire.engine.raw)
    return report


def update(wire: Wire, sock: Sock, cwnd: int, rate: int = 0, per_round: bool = False) -> int:
    """Set the window; an errno."""
    return int(lib.ust_cc_update(wire.engine.raw, sock.handle, cwnd, rate, per_round))


def several(wire: Wire, n: int) -> list[Sock]:
    """Connections with two segments in flight, in the order of their ports."""
    socks = [wire.established(peer=wire.peer(40000 + i), rtt=0.1) for i in range(n)]
    for sock in socks:
        sock.send(2 * MSS)
        while wire.take(peer=sock.peer) is not None:
            pass
    return socks


def acked(peer: Peer, end: int = 1001) -> None:
    """An ACK on one of them."""
    peer(f"+0 < . 1:1(0) ack {end} win 257")


def test_the_first_report_is_of_the_first_ack_and_later_ones_of_what_is_new(wire: Wire) -> None:
    sock = flight(wire)
    assert reports(wire) == []
    wire.put(ack(2, when="+.1"))
    first = one(wire)
    assert first.handle == sock.handle
    assert first.news == START | ACK
    assert (first.acked, first.n_acks, first.rtt_us) == (2 * MSS, 1, pytest.approx(100_000, abs=2))
    assert (first.cwnd, first.window, first.in_flight) == (10 * MSS, 10 * MSS, 10 * MSS)
    wire.put(ack(3))
    wire.put(ack(6))
    later = one(wire)
    assert later.news == ACK
    assert (later.acked, later.n_acks, later.in_flight) == (4 * MSS, 2, 7 * MSS)
    wire.put(ack(10))
    assert one(wire).news == ACK | ROUND
    assert reports(wire) == []


def test_reports_come_in_the_order_of_their_first_news(wire: Wire) -> None:
    """Each connection has one at most."""
    socks = several(wire, 4)
    for i in (2, 0, 3, 0, 2):
        acked(socks[i].peer)
    assert [report.handle for report in reports(wire)] == [socks[i].handle for i in (2, 0, 3)]
    acked(socks[1].peer)
    acked(socks[2].peer, 2001)
    assert [report.handle for report in reports(wire, 1)] == [socks[1].handle]
    acked(socks[1].peer, 2001)
    found = reports(wire)
    assert [report.handle for report in found] == [socks[i].handle for i in (2, 1)]
    assert not lib.ust_cc_pending(wire.engine.raw)


@pytest.mark.parametrize("gone", [0, 1, 2])
def test_a_connection_that_ends_takes_its_report_along(wire: Wire, gone: int) -> None:
    """Wherever in the list it stands; what comes later goes behind the rest."""
    socks = several(wire, 4)
    for sock in socks[:3]:
        acked(sock.peer)
    socks[gone].abort()
    assert wire.take(peer=socks[gone].peer) is not None
    acked(socks[3].peer)
    left = [sock.handle for i, sock in enumerate(socks) if i != gone]
    assert [report.handle for report in reports(wire)] == left
    assert not lib.ust_cc_pending(wire.engine.raw)


def test_another_congestion_control_has_no_reports(wire: Wire) -> None:
    """Nor may anybody set its window."""
    sock = flight(wire)
    wire.put(ack(1, when="+.1"))
    sock.setopt("CONGESTION", lib.UST_CC_CUBIC)
    assert reports(wire) == []
    wire.put(ack(2))
    sent(wire)
    assert reports(wire) == []
    assert update(wire, sock, 5 * MSS) == -errno.EINVAL


def test_a_controller_may_ask_for_rounds_only(wire: Wire) -> None:
    """Then an ACK alone is no news, but counts in the next report."""
    sock = flight(wire)
    wire.put(ack(1, when="+.1"))
    assert one(wire).news == START | ACK
    assert update(wire, sock, 10 * MSS, per_round=True) == 0
    wire.put(ack(2))
    wire.put(ack(3))
    assert reports(wire) == []
    wire.put(ack(10))
    report = one(wire)
    assert report.news == ACK | ROUND
    assert (report.acked, report.n_acks) == (9 * MSS, 3)
    assert update(wire, sock, 10 * MSS, per_round=False) == 0
    sock.send(4 * MSS)
    sent(wire)
    wire.put(ack(11))
    assert one(wire).news & ACK


def test_a_loss_is_told_with_the_window_that_it_leaves(wire: Wire) -> None:
    """RFC 5681 3.2, while the controller has not said what it is to become."""
    sock = flight(wire, unsent=5)
    wire.put(ack(0, (1, 4), when="+.1"))
    sent(wire)
    report = one(wire)
    assert report.news & LOSS
    assert (report.prior_cwnd, report.cwnd) == (10 * MSS, 5 * MSS)
    assert update(wire, sock, 8 * MSS) == 0
    assert sock.info.ssthresh == 8 * MSS
    wire.put(ack(12, when="+.1"))
    sent(wire)
    assert sock.info.cwnd == 8 * MSS


def test_a_timeout_and_that_it_was_none_are_told(wire: Wire) -> None:
    wire.settings(tcp_early_retrans=0)
    flight(wire, unsent=5)
    wire.advance(0.31)
    sent(wire)
    report = one(wire)
    assert report.news & (TIMEOUT | LOSS) == TIMEOUT | LOSS
    wire.put(ack(0, (5, 6), when="+.01"))
    sent(wire)
    assert one(wire).news & UNDO
    wire.put(ack(10, when="+.01"))
    sent(wire)


def test_a_pause_is_told_with_its_length(wire: Wire) -> None:
    sock = flight(wire, 2)
    wire.put(ack(2, when="+.1"))
    assert one(wire).news & ACK
    wire.advance(5)
    sock.send(MSS)
    sent(wire)
    report = one(wire)
    assert report.news & RESTART
    assert report.idle_ns == pytest.approx(5.1e9, rel=1e-3)
    wire.put(ack(3, when="+.1"))
    report = one(wire)
    assert not report.news & RESTART
    assert report.idle_ns == 0


def test_an_update_takes_effect_at_once(wire: Wire) -> None:
    """Within what a window may be; what waits leaves."""
    sock = flight(wire, unsent=5)
    wire.put(ack(1, when="+.1"))
    sent(wire)
    assert update(wire, sock, 15 * MSS) == 0
    assert sock.info.cwnd == 15 * MSS
    wire.pump()
    assert len(sent(wire)) == 4
    assert update(wire, sock, 1) == 0
    assert sock.info.cwnd == MSS
    assert update(wire, sock, 2**31) == 0
    assert sock.info.cwnd == 2**30
    assert update(wire, sock, 15 * MSS, rate=123_456) == 0
    assert sock.info.pacing_rate == 123_456
    wire.put(ack(15, when="+.1"))
