# SPDX-License-Identifier: BSD-3-Clause
"""Delivery rates, and BBR on simulated links (draft-cardwell-iccrg-bbr-congestion-control-00)."""

from __future__ import annotations

import statistics
from collections.abc import Callable

import pytest

import rig
from ustack import TcpInfo
from ustack.sim import DropTail, Flow, Network
from wire import Wire

MSS = 1000
RATE = 10e6  # bits a second
DELAY = 0.02


def network(
    seed: int = 1, rate: float = RATE, **link: object
) -> tuple[Network, Callable[..., Flow]]:
    """Two hosts with a link between them, and what starts a bulk transfer."""
    net = Network(seed=seed)
    a, b = net.host("a"), net.host("b")
    net.link(a, b, rate=rate, delay=DELAY, **({"queue": DropTail(bytes=1_000_000)} | link))
    return net, lambda congestion="bbr", **options: net.bulk(a, b, congestion=congestion, **options)


def info(flow: Flow) -> TcpInfo:
    """The sender's."""
    found = flow.info()
    assert found is not None
    return found


def watch(net: Network, flow: Flow, seconds: float, skip: float = 0.0) -> tuple[float, list[float]]:
    """Goodput in bits a second and the smoothed round trips, after the first seconds."""
    net.run(skip)
    before, rtts = info(flow).bytes_acked if skip else 0, []
    for _ in range(round(seconds / 0.05)):
        net.run(0.05)
        rtts.append(info(flow).srtt_us / 1e6)
    return (info(flow).bytes_acked - before) * 8 / seconds, rtts


# --------------------------------------------------------------------------------- delivery rates


def test_the_delivery_rate_is_the_links(wire: Wire) -> None:
    """draft-cheng-iccrg-delivery-rate-estimation 3.3: ten segments, a millisecond apart."""
    sock = wire.established(mss=MSS, rtt=0.05)
    sock.send(30 * MSS)
    while wire.take():
        pass
    wire.advance(0.04)
    for end in range(1001, 10002, 1000):
        wire.put(f"+.001 < . 1:1(0) ack {end} win 257")
        while wire.take():
            pass
    wire.advance(0.04)
    for end in range(11001, 30002, 1000):
        wire.put(f"+.001 < . 1:1(0) ack {end} win 257")
    assert sock.info.delivery_rate == pytest.approx(20 * MSS / 0.05, rel=0.3)
    assert not sock.info.rate_app_limited


def test_a_rate_for_lack_of_text_is_marked(wire: Wire) -> None:
    """draft-cheng-iccrg-delivery-rate-estimation 3.4."""
    sock = wire.established(mss=MSS, rtt=0.05)
    for _ in range(4):
        sock.send(2 * MSS)
        wire.deliver(sock, rtt=0.05)
    assert sock.info.rate_app_limited
    assert sock.info.delivery_rate == pytest.approx(2 * MSS / 0.05, rel=0.2)


def test_sacked_text_counts_as_delivered(wire: Wire) -> None:
    sock = wire.established(mss=MSS, rtt=0.05)
    sock.send(10 * MSS)
    while wire.take():
        pass
    wire.put("+.05 < . 1:1(0) ack 1 win 257 <sack 1001:10001>")
    while wire.take():
        pass
    assert sock.info.delivery_rate == pytest.approx(9 * MSS / 0.05, rel=0.2)
    wire.put("+.001 < . 1:1(0) ack 10001 win 257")


# -------------------------------------------------------------------------------------------- BBR


def test_it_fills_the_link_and_not_the_queue() -> None:
    """Bufferbloat: 0.8 s of queue; RTT p50 <= 1.5 x base at >= 90 % goodput."""
    net, bulk = network()
    flow = bulk()
    goodput, rtts = watch(net, flow, 20, skip=2)
    assert goodput >= 0.9 * RATE
    assert statistics.median(rtts) <= 1.5 * 2 * DELAY
    assert info(flow).total_retrans == 0


def test_cubic_fills_the_queue() -> None:
    """The same link shows what BBR is good for."""
    net, bulk = network()
    _, rtts = watch(net, bulk("cubic"), 15, skip=5)
    assert statistics.median(rtts) > 5 * 2 * DELAY


def test_a_loss_that_is_no_congestion_costs_little() -> None:
    """1 % at random: the rate is what it believes."""
    net, bulk = network(loss=0.01)
    goodput, _ = watch(net, bulk(), 15, skip=2)
    assert goodput >= 0.85 * RATE


def test_a_short_queue_is_enough() -> None:
    """A quarter of the bandwidth-delay product."""
    net, bulk = network(queue=DropTail(bytes=12_500))
    goodput, _ = watch(net, bulk(), 15, skip=2)
    assert goodput >= 0.8 * RATE


def test_it_paces_at_what_the_path_delivers() -> None:
    net, bulk = network()
    flow = bulk()
    watch(net, flow, 5)
    assert info(flow).pacing_rate == pytest.approx(RATE / 8, rel=0.3)
    assert info(flow).delivery_rate == pytest.approx(RATE / 8, rel=0.15)


def test_it_paces_though_pacing_is_off(wire: Wire) -> None:
    """As Linux: it cannot work without."""
    wire.settings(tcp_congestion_control="bbr")
    sock = wire.established(mss=MSS, rtt=0.1, win=1000)
    assert sock.info.congestion == rig.lib.UST_CC_BBR
    sock.send(10 * MSS)
    wire.deliver(sock, win=1000)
    sock.send(20 * MSS)
    assert 0 < len(list(iter(wire.take, None))) < 20


def test_it_looks_for_the_least_round_trip_every_ten_seconds() -> None:
    """PROBE_RTT: four segments for 200 ms."""
    net, bulk = network()
    flow = bulk()
    windows = []
    for _ in range(600):
        net.run(0.02)
        windows.append(info(flow).cwnd if flow.info() else 0)
    low = [nth for nth, cwnd in enumerate(windows) if 0 < cwnd <= 4 * 1460]
    assert low
    assert 10 <= low[0] * 0.02 <= 11.5
    assert (low[-1] - low[0]) * 0.02 <= 0.5
    assert windows[-1] > 50_000


def test_it_follows_a_link_that_becomes_slower() -> None:
    """The greatest rate of ten round trips, no longer."""
    net, bulk = network()
    flow = bulk()
    watch(net, flow, 3)
    net.links[0].change(rate=RATE / 4)
    goodput, rtts = watch(net, flow, 5, skip=4)
    assert goodput >= 0.85 * RATE / 4
    assert statistics.median(rtts) <= 0.12


def test_it_finds_a_link_that_becomes_faster() -> None:
    """PROBE_BW: a quarter more every eight round trips."""
    net, bulk = network()
    flow = bulk()
    watch(net, flow, 3)
    net.links[0].change(rate=RATE * 2)
    goodput, _ = watch(net, flow, 5, skip=5)
    assert goodput >= 0.8 * RATE * 2


def test_two_share_the_link() -> None:
    net, bulk = network()
    first, second = bulk(name="first"), bulk(name="second", start=1.0)
    net.run(10)
    before = [info(flow).bytes_acked for flow in (first, second)]
    net.run(20)
    shares = [
        info(flow).bytes_acked - was for flow, was in zip((first, second), before, strict=True)
    ]
    assert min(shares) >= 0.3 * max(shares)
    assert sum(shares) * 8 / 20 >= 0.85 * RATE


def test_an_idle_connection_keeps_its_window(wire: Wire) -> None:
    """As Linux: nobody but BBR reduces it."""
    wire.settings(tcp_congestion_control="bbr")
    sock = wire.established(mss=MSS, rtt=0.1, win=1000)
    for _ in range(4):
        sock.send(10 * MSS)
        wire.deliver(sock, win=1000)
    before = sock.info.cwnd
    wire.advance(5)
    sock.send(MSS)
    assert sock.info.cwnd >= before
    wire.deliver(sock, win=1000)


def test_another_congestion_control_is_not_paced_by_its_rate(wire: Wire) -> None:
    wire.settings(tcp_congestion_control="bbr")
    sock = wire.established(mss=MSS, rtt=0.1, win=1000)
    sock.send(MSS)
    wire.deliver(sock, win=1000)
    sock.setopt("CONGESTION", rig.lib.UST_CC_CUBIC)
    sock.send(10 * MSS)
    assert len(list(iter(wire.take, None))) == 10


def test_a_timeout_is_survived() -> None:
    """A second without a link: as fast as before soon after."""
    net, bulk = network()
    flow = bulk()
    watch(net, flow, 3)
    net.links[0].down(1.0)
    goodput, _ = watch(net, flow, 5, skip=4)
    assert goodput >= 0.85 * RATE
