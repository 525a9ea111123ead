# SPDX-License-Identifier: BSD-3-Clause
"""Pacing to the microsecond: rates as Linux computes them, and when each segment leaves."""

from __future__ import annotations

import pytest

import rig
from flight import RTT, ack, flight, sent
from wire import Sock, Wire

MSS = 1000


def times(wire: Wire, seconds: float) -> list[tuple[float, int]]:
    """When how many bytes leave, from now on."""
    begin, found = wire.engine.now, []
    while (taken := wire.take(seconds - (wire.engine.now - begin) / rig.SECOND)) is not None:
        found.append(((wire.line_time - begin) / rig.SECOND, taken[1].length))
    return found


def left(wire: Wire, seconds: float) -> list[float]:
    """When segments leave from now on, in ms."""
    return [pytest.approx(1000 * at, abs=0.002) for at, _ in times(wire, seconds)]


def slow(wire: Wire) -> Sock:
    """400 kB/s: a segment in 2.5 ms; bursts are two. Nothing has been sent for longer."""
    sock = quick(wire, 0.1, 20)
    sock.setopt("MAX_PACING_RATE", 400_000)
    wire.advance(0.1)
    return sock


def test_bursts_of_two_leave_at_the_rate(wire: Wire) -> None:
    """Unused time shortened the first wait by half a segment's."""
    sock = slow(wire)
    sock.send(9 * MSS)
    assert left(wire, 0.05) == [0, 0, 0, 6.25, 6.25, 11.25, 11.25, 16.25, 16.25]


@pytest.mark.parametrize(
    ("pause", "until_next"), [(6.25, 7.5), (6.75, 7.0), (7.25, 6.5), (7.5, 6.25), (20.0, 6.25)]
)
def test_time_that_is_not_used_is_credited_up_to_half(
    wire: Wire, pause: float, until_next: float
) -> None:
    """What has left would have taken 6.25 ms; three segments take 7.5, less what was not used."""
    sock = slow(wire)
    sock.send(3 * MSS)
    assert left(wire, 0) == [0, 0, 0]
    wire.advance(pause / 1000)
    sock.send(5 * MSS)
    first = [0, 0, 0] if pause > 6.25 else [0, 0]
    after = until_next if pause > 6.25 else 5.0
    assert left(wire, 0.02)[: len(first) + 1] == [*first, after]


def test_a_write_waits_for_the_one_before(wire: Wire) -> None:
    """Also text that is written while a burst is under way."""
    sock = slow(wire)
    sock.send(3 * MSS)
    assert left(wire, 0) == [0, 0, 0]
    wire.advance(0.00125)
    sock.send(MSS)
    assert left(wire, 0.02) == [5.0]


def test_after_a_full_burst_nothing_leaves_before_its_time(wire: Wire) -> None:
    """Though half of a burst's time has passed, and there is news from the application."""
    sock = slow(wire)
    sock.send(4 * MSS)
    assert left(wire, 0) == [0, 0, 0]
    wire.advance(0.003)
    sock.send(MSS)
    assert left(wire, 0.02) == [3.25, 3.25]


def test_the_rate_is_twice_the_windows_until_half_of_ssthresh_then_a_fifth_more(
    wire: Wire,
) -> None:
    """As Linux: tcp_pacing_ss_ratio while cwnd < ssthresh / 2, then tcp_pacing_ca_ratio."""
    wire.settings(tcp_congestion_control="reno", tcp_early_retrans=0, tcp_frto=0)
    wire.settings(tcp_initial_window=40)
    sock = flight(wire, 40, unsent=100)
    assert sock.info.pacing_rate == 40 * MSS * 2_000_000 // sock.info.srtt_us
    wire.advance(3 * RTT)
    sent(wire)
    assert sock.info.ssthresh == 20 * MSS
    ratios = set()
    for segment in range(1, 40):
        wire.put(ack(segment, when="+.02"))
        sent(wire)
        info = sock.info
        ratio = 200 if info.cwnd < 10 * MSS else 120
        ratios.add(ratio)
        window = max(info.cwnd, info.snd_max - info.snd_una)
        assert info.pacing_rate == window * ratio * 10_000 // info.srtt_us
    assert ratios == {200, 120}


@pytest.mark.parametrize(("rtt", "at_once"), [(0.001, True), (0.00102, False)])
def test_a_round_trip_of_a_millisecond_needs_no_pacing(
    wire: Wire, rtt: float, at_once: bool
) -> None:
    """A burst takes as long."""
    wire.settings(tcp_pacing_ss_ratio=10)
    wire.settings(tcp_pacing=0)
    sock = quick(wire, rtt, 40)
    wire.settings(tcp_pacing=1)
    sock.send(40 * MSS)
    assert (len(times(wire, 0)) == 40) == at_once
    times(wire, 0.02)


def quick(wire: Wire, rtt: float, window: int) -> Sock:
    """A connection whose every round trip takes so long, and that is not paced yet."""
    wire.settings(tcp_pacing=0, tcp_initial_window=window)
    sock = wire.established(mss=MSS, rtt=rtt, win=4000)
    sock.send(window * MSS)
    sent(wire)
    wire.put(f"+{rtt} < . 1:1(0) ack {window * MSS + 1} win 4000")
    return sock


@pytest.mark.parametrize(
    ("rtt", "more"), [(0.1, 0), (0.0164, 0), (0.004, 512), (0.003, 2048), (0.002, 8192)]
)
def test_super_segments_are_longer_on_a_short_path(wire: Wire, rtt: float, more: int) -> None:
    """As Linux's tso_rtt_log: what leaves in 2^-10 s, and 64 KiB halved for each 512 us."""
    wire.settings(tcp_pacing_ss_ratio=100)
    wire.options["caps"] = rig.lib.UST_CAP_TSO | rig.lib.UST_CAP_TX_CSUM
    sock = quick(wire, rtt, 40)
    rate = sock.info.pacing_rate
    sock.send(80 * MSS)
    sizes = [size for _, size in times(wire, 0)]
    assert sizes[0] == min(max((rate >> 10) + more, 2 * MSS), 65_415) // MSS * MSS
    assert sum(sizes) == 80 * MSS


def test_a_super_segment_never_exceeds_an_ip_packet(wire: Wire) -> None:
    """65535 bytes, with room for headers."""
    wire.options["caps"] = rig.lib.UST_CAP_TSO | rig.lib.UST_CAP_TX_CSUM
    sock = quick(wire, 0.001, 100)
    sock.send(200 * MSS)
    assert times(wire, 0)[0][1] == 65 * MSS
