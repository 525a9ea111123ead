# SPDX-License-Identifier: BSD-3-Clause
"""What else a host must bear (ROBUSTNESS S23, S43, S46): thousands of idle connections, text where
none belongs, clocks that jump."""

from __future__ import annotations

import pytest

from notation import parse_segment as segment
from wire import Peer, Wire, pattern

both_versions = pytest.mark.both_versions

HOUR = 3600
WRAP_MS = 2**32 / 1000  # seconds after which a count of milliseconds in 32 bits is 0 again


def test_idle_connections_hold_no_buffers_and_no_timers(wire: Wire) -> None:
    """S23: a thousand of them; a connection costs its block of memory and nothing else."""
    wire.settings(tcp_max_tcbs=1100, tcp_max_syn_backlog=16)
    listener = wire.listen()
    for port in range(1000, 2000):
        peer = Peer(wire, port)
        wire.inject(peer.frame(segment("S 0:0(0) win 65535 <mss 1000>")))
        wire.peers[peer.address, port, 80] = peer
        assert wire.take(peer=peer) is not None
        wire.inject(peer.frame(segment(". 1:1(0) ack 1 win 257")))
        wire.engine.accept(listener)
    usage = wire.engine.usage()
    assert (usage.tcbs, usage.requests) == (1001, 0)
    assert (usage.mbufs_small, usage.mbufs_large, usage.mbufs_ref, usage.reass) == (0, 0, 0, 0)
    wire.advance(5)
    assert wire.engine.usage().timers == 0
    wire.silence()


def test_a_connection_costs_little_memory() -> None:
    """S23: with its timer and its places in the flow table."""
    sizes = []
    for tcbs in (1000, 9000):
        wire = Wire()
        wire.settings(tcp_max_tcbs=tcbs)
        sizes.append(wire.engine.usage().bytes)
        wire.free()
    assert (sizes[1] - sizes[0]) / 8000 <= 1500


@both_versions
def test_text_on_a_syn_is_not_delivered_twice(wire: Wire) -> None:
    """S43: not acknowledged with the SYN, it comes again and then counts (RFC 9293 3.10.7.2)."""
    wire.listen()
    wire("""
        +0      < S  0:100(100) win 65535 <mss 1000>
        +0      > S. 0:0(0) ack 1 <mss 1460>
        +.1     < .  1:1(0) ack 1 win 257
        +0      < P. 1:101(100) ack 1 win 257
        +0~+.05 > .  1:1(0) ack 101
    """)
    assert wire.accept().recv() == pattern(1, 101)


@both_versions
def test_text_with_a_fin_out_of_order_is_delivered_once(wire: Wire) -> None:
    """S43"""
    sock = wire.established(sack=False)
    for text in ("FP. 101:201(100) ack 1 win 257", "FP. 101:201(100) ack 1 win 257"):
        wire.inject(wire.default.frame(segment(text)))
    wire.inject(wire.default.frame(segment("P. 1:101(100) ack 1 win 257")))
    wire.inject(wire.default.frame(segment("FP. 1:201(200) ack 1 win 257")))
    wire.pump()
    wire.sent.clear()
    assert sock.recv() == pattern(1, 201)
    assert sock.recv() == b""
    assert sock.state == "CLOSE_WAIT"


@both_versions
@pytest.mark.parametrize("seconds", [HOUR, 25 * 86400, WRAP_MS])
def test_a_clock_that_jumps_ahead_fires_each_timer_once(wire: Wire, seconds: float) -> None:
    """S46: a machine that slept sends one retransmission, not one for every timeout missed."""
    sock = wire.established()
    sock.send(100)
    wire("+0 > P. 1:101(100) ack 1")
    engine = wire.engine
    engine.now += round(seconds * 10**9)
    engine.tick()
    frames = list(engine.output())
    assert 1 <= len(frames) <= 2
    wire.line_time = engine.now
    wire.inject(wire.default.frame(segment(". 1:1(0) ack 101 win 257")))
    assert sock.info.outq == 0
    assert sock.state == "ESTABLISHED"


@both_versions
def test_a_clock_that_is_told_an_earlier_time_stands_still(wire: Wire) -> None:
    """S46: time never runs backwards in an engine."""
    sock = wire.established()
    wire.advance(10)
    engine = wire.engine
    engine.tick()
    sock.send(100)
    wire.sent.clear()
    engine.now -= 5 * 10**9
    engine.tick()
    assert list(engine.output()) == []
    engine.now += 5 * 10**9
    wire.inject(wire.default.frame(segment(". 1:1(0) ack 101 win 257")))
    assert sock.info.outq == 0
    engine.check()
