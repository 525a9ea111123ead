# SPDX-License-Identifier: BSD-3-Clause
"""CUBIC on the wire and on simulated links (RFC 9438, 9406); its curve: tests/c/congestion.c."""

from __future__ import annotations

import pytest

from ustack.sim import DropTail, Flow, Network
from wire import Sock, Wire

MSS = 1000
NO_SSTHRESH = 2**32 - 1


def sending(wire: Wire, segments: int = 10) -> Sock:
    """A connection with so many segments in flight."""
    sock = wire.established(mss=MSS, rtt=0.1)
    sock.send(segments * MSS)
    while wire.take():
        pass
    return sock


def test_a_loss_leaves_seven_tenths(wire: Wire) -> None:
    """RFC 9438 4.6; ten segments become seven."""
    sock = sending(wire)
    wire.advance(0.1)
    for end in (2001, 3001, 4001):
        wire.put(f"+0 < . 1:1(0) ack 1 win 257 <sack 1001:{end}>")
        while wire.take():
            pass
    assert sock.info.ssthresh == 7 * MSS
    wire.put("+.1 < . 1:1(0) ack 10001 win 257")
    assert sock.info.cwnd == 7 * MSS


def test_a_timeout_leaves_one_segment_and_seven_tenths_to_grow_to(wire: Wire) -> None:
    """RFC 9438 4.8."""
    sock = sending(wire)
    while not wire.stats["tcp.rexmt.rto"]:
        wire.advance(0.05)
        while wire.take():
            pass
    assert sock.info.ssthresh == 7 * MSS
    assert sock.info.cwnd <= 2 * MSS
    wire.put("+.01 < . 1:1(0) ack 10001 win 257")


def bulk(queue: int, seconds: float, *, rate: float = 100e6, delay: float = 0.05) -> Flow:
    """One transfer over a link, run for so long."""
    net = Network(seed=1)
    a, b = net.host("a"), net.host("b")
    net.link(a, b, rate=rate, delay=delay, queue=DropTail(frames=None, bytes=queue))
    flow = net.bulk(a, b, congestion="cubic")
    net.run(seconds)
    return flow


def test_a_long_fat_link_is_filled_from_default_buffers() -> None:
    """100 Mbit/s x 100 ms; the headers take 4 %."""
    short, long = bulk(1_250_000, 5).bytes_to_server, bulk(1_250_000, 15).bytes_to_server
    assert (long - short) * 8 / 10 >= 0.93 * 100e6


def test_slow_start_ends_before_the_queue_overflows() -> None:
    """RFC 9406: the queue holds sixteen times what the path does."""
    flow = bulk(1_000_000, 8, rate=5e6)
    info = flow.info()
    assert info is not None
    assert info.total_retrans == 0
    assert info.ssthresh != NO_SSTHRESH


@pytest.mark.parametrize("queue", [50_000, 100_000, 200_000])
def test_two_share_a_link(queue: int) -> None:
    """Within a tenth of fair over a minute, the first ten seconds aside."""
    net = Network(seed=1)
    switch, sink = net.switch("switch"), net.host("sink")
    hosts = [net.host("a"), net.host("b")]
    for host in hosts:
        net.link(host, switch, rate=1e9, delay=0.0001)
    net.link(switch, sink, rate=20e6, delay=0.02, queue=DropTail(frames=None, bytes=queue))
    flows = [net.bulk(host, sink, congestion="cubic") for host in hosts]
    net.run(10)
    before = [flow.bytes_to_server for flow in flows]
    net.run(50)
    shares = [flow.bytes_to_server - was for flow, was in zip(flows, before, strict=True)]
    assert max(shares) <= 1.1 * sum(shares) / 2
    assert sum(shares) * 8 / 50 >= 0.93 * 20e6
