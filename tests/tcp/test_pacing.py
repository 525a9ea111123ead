# SPDX-License-Identifier: BSD-3-Clause
"""Pacing: a window leaves spread over a round trip, in bursts of a millisecond. As Linux does."""

from __future__ import annotations

import socket
import struct

import pytest

import rig
from pair import Pair
from wire import Sock, Wire

MSS = 1000
RATE = (socket.SOL_SOCKET, 47)  # SO_MAX_PACING_RATE


def paced(wire: Wire, *, rtt: float = 0.1, window: int = 10, **options: object) -> Sock:
    """A connection that is paced, with a window of so many segments (a power of 2 times 10)."""
    wire.settings(tcp_pacing=1)
    sock = wire.established(mss=MSS, rtt=rtt, win=4000, **options)  # type: ignore[arg-type]
    while sock.info.cwnd < window * MSS:
        sock.send(sock.info.cwnd)
        wire.advance(rtt)
        ack(wire, sock)
    wire.advance(0.01)
    return sock


def ack(wire: Wire, sock: Sock) -> None:
    """Let the peer acknowledge all that it was sent."""
    while wire.take():
        pass
    end = sock.peer.ours(sock.info.snd_max)
    wire.put(f"+0 < . 1:1(0) ack {end} win 4000")


def times(wire: Wire, seconds: float) -> list[tuple[float, int]]:
    """When how many bytes leave, from now on."""
    begin, sent = wire.engine.now, []
    while (taken := wire.take(seconds - (wire.engine.now - begin) / rig.SECOND)) is not None:
        sent.append(((wire.line_time - begin) / rig.SECOND, taken[1].length))
    return sent


def test_the_first_ten_segments_leave_at_once(wire: Wire) -> None:
    """As Linux's fq: there is no round trip's worth of knowledge yet."""
    sock = paced(wire)
    sock.send(10 * MSS)
    assert [round(at, 4) for at, _ in times(wire, 0.001)] == [0.0] * 10


def test_a_window_leaves_over_half_a_round_trip_in_slow_start(wire: Wire) -> None:
    """200 % of the rate that the window would give."""
    sock = paced(wire, window=40)
    sock.send(40 * MSS)
    sent = times(wire, 0.1)
    assert sum(size for _, size in sent) == 40 * MSS
    assert 0.040 <= sent[-1][0] <= 0.051
    half = [size for at, size in sent if at < 0.025]
    assert 18 * MSS <= sum(half) <= 26 * MSS


def test_a_window_leaves_over_five_sixths_of_a_round_trip_later(wire: Wire) -> None:
    """120 % in congestion avoidance."""
    wire.settings(tcp_congestion_control="reno")
    sock = paced(wire, window=40, sack=False)
    sock.send(40 * MSS)
    assert times(wire, 0.1)
    for _ in range(3):
        wire.put("+0 < . 1:1(0) ack 30001 win 4000")  # duplicates
    ack_all_recovers(wire, sock)
    assert sock.info.cwnd >= sock.info.ssthresh // 2
    window = sock.info.cwnd // MSS
    wire.advance(0.02)
    sock.send(window * MSS)
    sent = times(wire, 0.1)
    rate = sock.info.pacing_rate
    assert rate == pytest.approx(1.2 * sock.info.cwnd / (sock.info.srtt_us / 1e6), rel=0.01)
    assert sent[-1][0] == pytest.approx(window * MSS / rate, abs=0.025)


def ack_all_recovers(wire: Wire, sock: Sock) -> None:
    """Acknowledge until no recovery is left, and the window has been used again."""
    for _ in range(4):
        wire.advance(0.1)
        ack(wire, sock)
        sock.send(5 * MSS)
    wire.advance(0.1)
    ack(wire, sock)


def test_a_burst_is_two_segments_at_least(wire: Wire) -> None:
    """At 400 kB/s a millisecond holds less than one."""
    sock = paced(wire, window=20)
    sock.send(20 * MSS)
    sent = times(wire, 0.1)
    bursts: dict[int, int] = {}
    for at, size in sent:
        bursts[round(at * 1e4)] = bursts.get(round(at * 1e4), 0) + size
    *most, _ = bursts.values()
    assert set(most) <= {2 * MSS, 3 * MSS}


def test_super_segments_last_a_millisecond(wire: Wire) -> None:
    """TSO-sized: neither a packet each, nor a window at once."""
    wire.options["caps"] = rig.lib.UST_CAP_TSO | rig.lib.UST_CAP_TX_CSUM
    sock = paced(wire, window=320)
    sock.send(320 * MSS)
    sent = times(wire, 0.1)
    assert sum(size for _, size in sent) == 320 * MSS
    biggest = max(size for _, size in sent)
    assert 5 * MSS <= biggest <= 7 * MSS  # 200 % of 320 segments in 100 ms: 6.4 in a millisecond


def test_a_short_round_trip_is_not_paced(wire: Wire) -> None:
    """A window that fits into a burst leaves at once, and no timer is set."""
    sock = paced(wire, rtt=0.0005, window=80)
    sock.send(80 * MSS)
    assert {at for at, _ in times(wire, 0.0001)} == {0.0}


def test_pacing_can_be_switched_off(wire: Wire) -> None:
    sock = paced(wire, window=40)
    wire.settings(tcp_pacing=0)
    sock.send(40 * MSS)
    assert len(times(wire, 0.0001)) == 40


def test_a_fin_follows_paced_text(wire: Wire) -> None:
    sock = paced(wire, window=20)
    sock.send(20 * MSS)
    sock.shutdown()
    begin = sock.peer.ours(sock.info.snd_una)
    wire.advance(0.1)
    flags = []
    while taken := wire.take():
        flags.append(taken[1])
    assert "F" in flags[-1].flags
    assert flags[-1].seq + flags[-1].length == begin + 20 * MSS
    wire.put(f"+0 < . 1:1(0) ack {begin + 20 * MSS + 1} win 4000")


def test_an_idle_connection_gains_no_burst(wire: Wire) -> None:
    """As Linux: time not used shortens the next wait by half at most."""
    sock = paced(wire, window=40)
    wire.advance(0.15)
    sock.send(20 * MSS)
    sent = times(wire, 0.1)
    assert sum(size for at, size in sent if at < 0.002) <= 6 * MSS


# ------------------------------------------------------------------------------ SO_MAX_PACING_RATE


def test_a_maximum_rate_is_kept(wire: Wire) -> None:
    """Also where pacing is off."""
    sock = paced(wire, window=40)
    wire.settings(tcp_pacing=0)
    sock.setopt("MAX_PACING_RATE", 200_000)
    assert sock.info.pacing_rate == 200_000
    sock.send(40 * MSS)
    sent = times(wire, 0.22)
    assert 0.17 <= sent[-1][0] <= 0.2


def test_a_slow_rate_lets_no_persist_timer_in(wire: Wire) -> None:
    """A second's wait with nothing in flight is no closed window."""
    sock = paced(wire, window=20)
    sock.setopt("MAX_PACING_RATE", 2000)
    sock.send(8 * MSS)
    for _ in range(10):
        wire.advance(0.5)
        ack(wire, sock)
        assert sock.info.persist == 0
    assert wire.stats["tcp.probes"] == 0
    assert sock.info.outq == 0


def test_an_accepted_socket_has_its_listeners_rate(wire: Wire) -> None:
    wire.engine.setopt(wire.listen(), rig.lib.UST_OPT_MAX_PACING_RATE, 12345)
    assert wire.established().getopt("MAX_PACING_RATE") == 12345


def test_the_option_has_four_bytes_or_eight() -> None:
    """As Linux; all ones are no limit."""
    with Pair() as pair:
        near, _ = pair.connect()
        assert near.getsockopt(*RATE) == -1
        assert near.getsockopt(*RATE, 8) == b"\xff" * 8
        near.setsockopt(*RATE, 5000)
        assert near.getsockopt(*RATE) == 5000
        assert near.getsockopt(*RATE, 8) == struct.pack("=Q", 5000)
        near.setsockopt(*RATE, struct.pack("=Q", 10**10))
        assert near.getsockopt(*RATE, 4) == b"\xff" * 4
        assert near.getsockopt(*RATE, 8) == struct.pack("=Q", 10**10)
        near.setsockopt(*RATE, struct.pack("=I", 2**32 - 1))
        assert near.getsockopt(*RATE, 8) == b"\xff" * 8
        with pytest.raises(OSError, match="a rate takes more than 2 bytes"):
            near.setsockopt(*RATE, b"12")


def test_the_congestion_window_grows_though_paced(wire: Wire) -> None:
    """A window that is only ever reached in bits is used all the same."""
    sock = paced(wire, window=160)
    assert sock.info.cwnd == 160 * MSS


def test_a_burst_is_no_more_frames_than_a_port_takes_at_once(wire: Wire) -> None:
    """64 where the port does not cut super-segments; the last of each burst says PSH."""
    wire.settings(tcp_pacing=0)
    sock = wire.established(mss=536, rtt=0.001)
    sock.setopt("SNDBUF", 1_000_000)
    for _ in range(6):
        sock.send(100 * 536)
        wire.deliver(sock, rtt=0.001)
    assert sock.info.cwnd >= 100 * 536
    sock.send(100 * 536)
    flags = [segment.flags for _, segment in iter(wire.take, None)]
    assert [nth for nth, text in enumerate(flags, 1) if "P" in text] == [64, 100]
    wire.put(f"+.001 < . 1:1(0) ack {700 * 536 + 1} win 257")
