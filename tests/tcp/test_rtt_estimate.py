# SPDX-License-Identifier: BSD-3-Clause
"""SRTT, RTTVAR and RTO sample by sample (RFC 6298 2, with Linux's variance), beside a model."""

from __future__ import annotations

import dataclasses
import random

import pytest

from flight import sent
from wire import Wire


@dataclasses.dataclass
class Model:
    """Times in us; srtt times 8 and mdev times 4, so that alpha is 1/8 and beta 1/4."""

    srtt: int
    mdev: int
    least: int = 200_000  # that RTTVAR counts as
    most: int = 0  # greatest deviation of this round
    var: int = 0
    una: int = 1
    round_end: int = 1

    def sample(self, rtt: int, una: int, nxt: int) -> None:
        """RFC 6298 2.3; a fall counts for an eighth, and RTTVAR comes down once a round."""
        err = rtt - self.srtt // 8
        self.srtt += err
        by = abs(err) - self.mdev // 4
        self.mdev += by // 8 if err < 0 < by else by
        self.most = max(self.most, self.mdev)
        self.var = max(self.var, self.most)
        if una > self.round_end:
            self.var -= max(self.var - self.most, 0) // 4
            self.round_end, self.most = nxt, self.least

    @property
    def rto(self) -> int:
        """2.3"""
        return self.srtt // 8 + max(self.var, self.least)


@pytest.mark.parametrize(
    ("seed", "low", "high"), [(1, 100, 100), (2, 20, 180), (3, 1, 40), (4, 150, 400), (5, 5, 600)]
)
def test_each_sample_moves_the_estimates_as_written(
    wire: Wire, seed: int, low: int, high: int
) -> None:
    rng = random.Random(seed)
    wire.settings(tcp_early_retrans=0)
    first = 0.1
    sock = wire.established(mss=1000, rtt=first)
    model = Model(srtt=800_000, mdev=200_000)
    model.var = model.most = max(model.mdev, model.least)
    assert sock.info.rto_us == model.rto
    end = 1
    for _ in range(40):
        if sock.info.outq == 0:
            for _ in range(rng.choice([1, 1, 2, 4])):
                sock.send(1000)
            sent(wire)
            at, nxt = wire.engine.now, sock.peer.ours(sock.info.snd_max)
        until = at + rng.randrange(low * 1000, high * 1000 + 1) * 1000
        until = min(until, at + (sock.info.rto_us - 1000) * 1000)
        if until > wire.engine.now:
            wire.advance((until - wire.engine.now) / 1e9)
        end += 1000
        wire.put(f"+0 < . 1:1(0) ack {end} win 257")
        rtt = (wire.engine.now - at) // 1000
        model.sample(rtt, end, nxt)
        assert sock.info.srtt_us == pytest.approx(model.srtt // 8, abs=2)
        assert sock.info.rto_us == pytest.approx(model.rto, abs=6)
    assert sock.info.total_retrans == 0


def test_a_round_trip_of_nothing_is_a_microsecond(wire: Wire) -> None:
    """RFC 6298 2.4 leaves the granularity to us; SRTT never becomes 0, which means none."""
    sock = wire.established(mss=1000, rtt=0.0)
    assert sock.info.srtt_us == 1
    assert sock.info.rto_us == 200_001
    for nth in range(3):
        sock.send(1000)
        sent(wire)
        wire.put(f"+0 < . 1:1(0) ack {1001 + 1000 * nth} win 257")
        assert sock.info.srtt_us == 1


def test_a_round_trip_counts_for_a_minute_at_most(wire: Wire) -> None:
    """As Linux: nothing on earth takes longer."""
    wire.settings(tcp_early_retrans=0, tcp_rto_min_ms=120_000, tcp_rto_init_ms=60_000)
    sock = wire.established(mss=1000, rtt=0.1)
    sock.send(1000)
    sent(wire)
    wire.put("+100 < . 1:1(0) ack 1001 win 257")
    assert sock.info.srtt_us == (800_000 + 60_000_000 - 100_000) // 8


def test_the_least_round_trip_is_that_of_five_minutes(wire: Wire) -> None:
    """As Linux's tcp_min_rtt_wlen."""
    sock = wire.established(mss=1000, rtt=0.05)
    begin, end = wire.engine.now, 1

    def sample(rtt: float) -> int:
        nonlocal end
        sock.send(1000)
        sent(wire)
        end += 1000
        wire.put(f"+{rtt} < . 1:1(0) ack {end} win 257")
        return int(sock.info.min_rtt_us)

    assert sample(0.08) == 50_000
    assert sample(0.03) == 30_000
    at = wire.engine.now
    wire.advance(299.9 - (wire.engine.now - at) / 1e9)
    assert sample(0.08) == 30_000
    wire.advance(0.1)
    assert sample(0.08) == 80_000
    assert sample(0.09) == 80_000
    assert begin < at


def test_an_echo_of_the_same_millisecond_is_a_round_trip_of_one(wire: Wire) -> None:
    """As Linux (tcp_rtt_tsopt_us): of text sent twice only the echo tells, and it counts in ms."""
    wire.settings(tcp_early_retrans=0)
    sock = wire.established(mss=1000, rtt=0.1, ts=True)
    sock.send(500)
    sent(wire)
    taken = wire.take(0.5)
    assert taken is not None and taken[1].options is not None
    (now,) = [option[1] for option in taken[1].options if option[0] == "TS"]
    wire.put(f"+0 < . 1:1(0) ack 501 win 257 <nop,nop,TS val 500 ecr {now}>")
    assert sock.info.min_rtt_us == 1000


def test_a_round_trip_as_short_as_the_least_begins_its_five_minutes_anew(wire: Wire) -> None:
    """As Linux's tcp_min_rtt_wlen: the least is as young as the last sample that was as short."""
    sock = wire.established(mss=1000, rtt=0.05)
    for nth, (wait, rtt, least) in enumerate(
        [(200, 0.05, 50_000), (200, 0.08, 50_000), (101, 0.08, 80_000)]
    ):
        wire.advance(wait)
        sock.send(1000)
        sent(wire)
        wire.put(f"+{rtt} < . 1:1(0) ack {1001 + 1000 * nth} win 257")
        assert sock.info.min_rtt_us == least
