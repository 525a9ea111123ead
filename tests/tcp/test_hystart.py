# SPDX-License-Identifier: BSD-3-Clause
"""HyStart++ ACK by ACK, beside a model written from RFC 9406 4.2 and 4.3."""

from __future__ import annotations

import dataclasses
import math

import pytest

import rig
from notation import Segment
from wire import Sock, Wire

MSS = 1000
UNSET = 2**32 - 1


@dataclasses.dataclass
class Model:
    """The variables of RFC 9406 4.2; times in us, windows in bytes."""

    cwnd: int
    window_end: int = -1  # of the round trip; -1: none has begun
    last_min: float = math.inf
    current_min: float = math.inf
    baseline: float = math.inf
    samples: int = 0
    css_rounds: int = 0
    round: int = 0
    left_at: int | None = None  # cwnd when slow start ended

    def ack(self, rtt: float, una: int, nxt: int) -> None:
        """A segment is acknowledged."""
        if self.window_end < 0 or una >= self.window_end:
            if self.window_end >= 0 and self.slowly:
                self.css_rounds += 1
                if self.css_rounds == 5:
                    self.left_at = self.cwnd
                    return
            self.round += 1
            self.window_end = nxt
            self.last_min, self.current_min, self.samples = self.current_min, math.inf, 0
        self.current_min = min(self.current_min, rtt)
        self.samples += 1
        if self.samples >= 8 and self.slowly:
            if self.current_min < self.baseline:
                self.baseline = math.inf
        elif self.samples >= 8 and self.last_min < math.inf:
            if self.current_min >= self.last_min + max(4000, min(self.last_min // 8, 16000)):
                self.baseline, self.css_rounds = self.current_min, 0
        self.cwnd += MSS // 4 if self.slowly else MSS

    @property
    def slowly(self) -> bool:
        """Is this conservative slow start?"""
        return self.baseline < math.inf


def play(wire: Wire, rtts: list[int], window: int = 10) -> tuple[Sock, Model]:
    """Let each segment take its round trip's time, in us, and compare at each ACK."""
    wire.settings(tcp_initial_window=window, tcp_congestion_control="cubic")
    sock = wire.established(mss=MSS, rtt=rtts[0] / 1e6, win=8000)
    sock.setopt("SNDBUF", 2_000_000)
    sock.send(2_000_000)
    model, flight = Model(window * MSS), []
    while model.round < len(rtts) or model.slowly:
        while (taken := wire.take()) is not None:
            flight.append((wire.engine.now, taken[1].seq + taken[1].length))
        at, end = flight.pop(0)
        nth = 0 if model.round == 0 else model.round - (end < model.window_end)
        due = at + rtts[min(nth, len(rtts) - 1)] * 1000
        wire.advance(max(due - wire.engine.now, 0) / rig.SECOND)
        model.ack((wire.engine.now - at) // 1000, end, flight[-1][1] if flight else end)
        wire.inject(sock.peer.frame(Segment(".", 1, 0, end, 8000)))
        if model.left_at is not None:
            break
        assert sock.info.cwnd == model.cwnd, f"round {model.round}, {model.samples} samples"
        assert sock.info.ssthresh == UNSET
    while wire.take() is not None:
        pass
    return sock, model


@pytest.mark.parametrize(
    ("before", "after", "slowly"),
    [
        (100_000, 112_490, False),
        (100_000, 112_510, True),  # an eighth
        (20_000, 23_990, False),
        (20_000, 24_010, True),  # MIN_RTT_THRESH
        (200_000, 215_990, False),
        (200_000, 216_010, True),  # MAX_RTT_THRESH
    ],
)
def test_growth_slows_when_a_round_is_an_eighth_longer_within_4_to_16_ms(
    wire: Wire, before: int, after: int, slowly: bool
) -> None:
    sock, model = play(wire, [before, before, after, after])
    assert (model.left_at is not None) == slowly
    assert sock.info.ssthresh == (model.left_at or UNSET)


def test_conservative_slow_start_lasts_five_rounds(wire: Wire) -> None:
    """The round in which it begins is the first."""
    sock, model = play(wire, [50_000, 60_000, 60_000])
    assert model.round == 6
    assert sock.info.ssthresh == model.left_at


def test_a_delay_that_falls_again_resumes_slow_start(wire: Wire) -> None:
    """And the five rounds count anew when it rises once more."""
    sock, model = play(wire, [50_000, 60_000, 60_000, 59_990, 70_000, 70_000], window=8)
    assert model.round == 9
    assert sock.info.ssthresh == model.left_at


def test_a_delay_that_stays_does_not_resume_slow_start(wire: Wire) -> None:
    """As long as the first measured one is no less."""
    _, model = play(wire, [50_000, 60_000, 60_000, 61_000, 60_000], window=8)
    assert model.round == 6


def test_seven_samples_are_too_few(wire: Wire) -> None:
    """N_RTT_SAMPLE is 8, in each round anew."""
    sock, _ = play(wire, [50_000, 80_000, 80_000, 80_000], window=3)
    assert sock.info.ssthresh == UNSET
