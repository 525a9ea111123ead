# SPDX-License-Identifier: BSD-3-Clause
"""The congestion window and the use that is made of it: RFC 6928, RFC 5681 4.1, RFC 2861."""

from __future__ import annotations

from flight import halved
from wire import Sock, Wire

MSS = 1000


def grown(wire: Wire, rounds: int = 2, **options: object) -> Sock:
    """A connection whose window has been used: 10 segments, doubled each round trip."""
    sock = wire.established(mss=MSS, rtt=0.1, win=1000, **options)  # type: ignore[arg-type]
    for nth in range(rounds):
        sock.send((10 << nth) * MSS)
        wire.deliver(sock, win=1000)
    assert sock.info.cwnd == (10 << rounds) * MSS
    return sock


def sent(wire: Wire) -> int:
    """How many segments leave now."""
    return len(list(iter(wire.take, None)))


def test_ten_segments_leave_at_first(wire: Wire) -> None:
    """RFC 6928."""
    sock = wire.established(mss=MSS, rtt=0.1)
    sock.send(50 * MSS)
    assert sent(wire) == 10
    assert sock.info.cwnd == 10 * MSS


def test_a_full_initial_window_doubles(wire: Wire) -> None:
    """As Linux judges: slow start may grow to twice what was in flight."""
    sock = wire.established(mss=MSS, rtt=0.1)
    sock.send(10 * MSS)
    assert sent(wire) == 10
    for acked in range(2001, 10_002, 2000):
        wire(f"+.01 < . 1:1(0) ack {acked} win 257")
    assert sock.info.cwnd == 20 * MSS


def test_a_window_used_by_less_than_half_does_not_grow(wire: Wire) -> None:
    """RFC 2861, RFC 7661: what was not tested is not known."""
    sock = wire.established(mss=MSS, rtt=0.1)
    for _ in range(5):
        sock.send(4 * MSS)
        wire.deliver(sock)
    assert sock.info.cwnd == 10 * MSS


def test_an_idle_window_is_halved_for_each_rto(wire: Wire) -> None:
    """As Linux: RFC 2861 3.1, not all at once; an ssthresh that is not set stays so."""
    sock = grown(wire)  # 40 segments
    rto = sock.info.rto_us / 1e6
    wire.advance(2.5 * rto)
    sock.send(100)
    wire.deliver(sock, win=1000)
    assert sock.info.cwnd == 10 * MSS
    assert sock.info.ssthresh == 2**32 - 1


def test_one_idle_rto_halves_once(wire: Wire) -> None:
    sock = grown(wire)
    wire.advance(1.5 * sock.info.rto_us / 1e6)
    sock.send(40 * MSS)
    assert sent(wire) == 20


def test_no_idle_decay_goes_below_the_initial_window(wire: Wire) -> None:
    """RFC 5681 4.1: RW = min(IW, cwnd)."""
    sock = grown(wire)
    wire.advance(60)
    sock.send(40 * MSS)
    assert sent(wire) == 10


def test_an_idle_window_stays_when_the_setting_is_off(wire: Wire) -> None:
    wire.settings(tcp_slow_start_after_idle=0)
    sock = grown(wire)
    wire.advance(60)
    sock.send(40 * MSS)
    assert sent(wire) == 40


def test_a_window_that_is_little_used_shrinks_towards_its_use(wire: Wire) -> None:
    """RFC 2861 3.2: half-way to what was used, each RTO; the application never pauses."""
    sock = grown(wire, rounds=3)  # 80 segments
    for _ in range(20):
        sock.send(2 * MSS)
        wire.deliver(sock, win=1000)
    assert 10 * MSS <= sock.info.cwnd < 30 * MSS


def test_a_window_in_use_does_not_shrink(wire: Wire) -> None:
    sock = grown(wire)
    for _ in range(20):
        sock.send(35 * MSS)
        wire.deliver(sock, win=1000)
    assert sock.info.cwnd >= 40 * MSS


def test_using_little_does_not_raise_a_window_below_the_initial_one(wire: Wire) -> None:
    """RFC 2861: it comes down to what is used, or to ten segments; never up."""
    sock = halved(wire)
    for _ in range(8):
        sock.send(MSS)
        wire.deliver(sock, win=1000)
        assert sock.info.cwnd == 5 * MSS


def test_a_used_window_holds_as_many_segments_as_fit_twice_into_the_buffer(wire: Wire) -> None:
    """As Linux's sk_sndbuf: twice cwnd, with 640 bytes a segment, rounded up to a power of 2, and
    256; at most twice the peer's window, or tcp.wmem_max."""
    wire.settings(tcp_wmem=4608)
    sock = wire.established(mss=MSS, rtt=0.1, win=1000)
    assert sock.info.sndbuf == 2 * 10 * (2048 + 256)
    for nth in range(2):
        sock.send(100 * MSS)  # more than there is room for
        wire.deliver(sock, win=1000)
        assert sock.info.sndbuf <= 2 * (sock.info.cwnd // MSS) * (2048 + 256)
        assert sock.info.sndbuf > 2 * (10 << nth) * (2048 + 256)


def test_a_small_window_of_the_peers_keeps_the_buffer_small(wire: Wire) -> None:
    wire.settings(tcp_wmem=4608)
    sock = wire.established(mss=MSS, rtt=0.1, wscale=None, win=7000)
    assert sock.info.sndbuf == 2 * 7000
