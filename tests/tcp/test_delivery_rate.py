# SPDX-License-Identifier: BSD-3-Clause
"""Delivery rates ACK by ACK, beside a model of draft-cheng-iccrg-delivery-rate-estimation 3."""

from __future__ import annotations

import dataclasses
import random

import pytest

import rig
from flight import ack as ack_line
from flight import flight
from notation import Segment
from wire import Sock, Wire

MSS = 1000


@dataclasses.dataclass
class Packet:
    """What is remembered of one when it is sent."""

    end: int
    sent: int
    first_sent: int
    delivered: int
    delivered_at: int
    app_limited: bool


@dataclasses.dataclass
class Model:
    """The connection's variables; times in ns, amounts in packets."""

    delivered: int = 0
    delivered_at: int = 0
    first_sent: int = 0
    app_limited: int = 0
    flight: list[Packet] = dataclasses.field(default_factory=list)
    rate: float = 0.0  # bytes/s; the last sample that counts …
    rate_app_limited: bool = False

    def send(self, end: int, now: int) -> None:
        """3.2"""
        if not self.flight:
            self.first_sent = self.delivered_at = now
        self.flight.append(
            Packet(
                end, now, self.first_sent, self.delivered, self.delivered_at, self.app_limited != 0
            )
        )

    def ack(self, gone: list[Packet], now: int, min_rtt: int) -> None:
        """3.3; of what is delivered the packet that was sent last counts."""
        last = max(gone, key=lambda packet: packet.sent)
        self.flight = [packet for packet in self.flight if packet not in gone]
        self.delivered += len(gone)
        self.delivered_at, self.first_sent = now, last.sent
        if self.app_limited and self.delivered > self.app_limited:
            self.app_limited = 0
        interval = max(last.sent - last.first_sent, now - last.delivered_at)
        if interval < min_rtt:
            return
        rate = (self.delivered - last.delivered) * MSS * rig.SECOND / interval
        if not last.app_limited or rate >= self.rate:
            self.rate, self.rate_app_limited = rate, last.app_limited

    def may_be_idle(self, unsent: int, cwnd: int) -> None:
        """3.4: less than a segment waits, and the window allows more."""
        if unsent < MSS and len(self.flight) * MSS < cwnd:
            self.app_limited = self.delivered + len(self.flight) or 1


def collect(wire: Wire, sock: Sock, model: Model) -> None:
    """Take what has left, and see whether there was enough of it."""
    while (taken := wire.take()) is not None:
        model.send(taken[1].seq + taken[1].length, wire.engine.now)
    model.may_be_idle(sock.info.unsent, sock.info.cwnd)


@pytest.mark.parametrize("seed", range(3))
def test_each_ack_gives_the_rate_of_the_draft(wire: Wire, seed: int) -> None:
    rng = random.Random(seed)
    wire.settings(tcp_early_retrans=0, tcp_rto_min_ms=2000)  # nothing is sent twice
    sock = wire.established(mss=MSS, rtt=0.05, win=8000)
    sock.setopt("SNDBUF", 2_000_000)
    model = Model()
    for _ in range(100):
        if not model.flight or rng.random() < 0.4:
            sock.send(rng.choice([1, 2, 5, 30]) * MSS)
            collect(wire, sock, model)
        wire.advance(rng.choice([0.0001, 0.001, 0.01, 0.05, 0.08]))
        gone = model.flight[: rng.choice([1, 1, 2, 5])]
        end = gone[-1].end
        wire.inject(sock.peer.frame(Segment(".", 1, 0, end, 8000)))
        model.ack(gone, wire.engine.now, sock.info.min_rtt_us * 1000)
        info = sock.info
        assert info.delivered == model.delivered
        assert info.delivery_rate == pytest.approx(model.rate, rel=1e-4)
        assert info.rate_app_limited == model.rate_app_limited
        collect(wire, sock, model)


def test_a_rate_that_is_sent_slower_than_it_is_acknowledged_is_the_senders(wire: Wire) -> None:
    """3.3: compressed ACKs do not make a path faster."""
    sock = wire.established(mss=MSS, rtt=0.05)
    for _ in range(10):
        sock.send(MSS)
        assert wire.take() is not None
        wire.advance(0.01)
    wire.put("+.04 < . 1:1(0) ack 1001 win 257")
    sock.send(20 * MSS)
    while wire.take() is not None:
        pass
    wire.put("+0 < . 1:1(0) ack 10001 win 257")
    assert sock.info.delivery_rate == pytest.approx(9 * MSS / 0.13, rel=0.6)
    wire.advance(0.05)
    while wire.take() is not None:
        pass


def test_each_new_sack_counts_once(wire: Wire) -> None:
    """3.3: delivered is in order or not; nine in one round trip, then the last."""
    sock = flight(wire)
    wire.put(ack_line(0, (1, 3), when="+.1"))
    assert sock.info.delivered == 2
    assert sock.info.delivery_rate == pytest.approx(2 * MSS / 0.1, rel=0.001)
    wire.put(ack_line(0, (1, 3), when="+.01"))
    assert sock.info.delivered == 2
    wire.put(ack_line(10, when="+.01"))
    assert sock.info.delivered == 10
    assert sock.info.delivery_rate == pytest.approx(10 * MSS / 0.12, rel=0.001)


def test_an_answer_is_measured_as_of_an_application_that_had_nothing_to_send(wire: Wire) -> None:
    """3.4: before it the window was not used; as in Linux 1 stands for no packets at all."""
    sock = wire.established(mss=MSS, rtt=0.1)
    wire("""
        +0 < P. 1:11(10) ack 1 win 257
        +0 > .  1:1(0) ack 11
    """)
    sock.send(10 * MSS)
    while wire.take() is not None:
        pass
    wire.put("+.12 < . 11:11(0) ack 1001 win 257")
    assert sock.info.delivery_rate == pytest.approx(MSS / 0.12, rel=0.001)
    assert sock.info.rate_app_limited
    wire.put("+0 < . 11:11(0) ack 10001 win 257")


def test_of_all_that_an_ack_delivers_what_was_sent_last_counts(wire: Wire) -> None:
    """3.3: it is the retransmission; what stands behind it in the stream left before it."""
    sock = flight(wire)
    wire.put(ack_line(0, (1, 4), when="+.1"))
    taken = wire.take()
    assert taken is not None and taken[1].seq == 1
    wire.put(ack_line(10, when="+.2"))
    assert sock.info.delivery_rate == pytest.approx(7 * MSS / 0.2, rel=0.001)
