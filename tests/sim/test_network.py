# SPDX-License-Identifier: BSD-3-Clause
"""Networks on virtual time: who can talk to whom, what flows do, and that runs repeat."""

from __future__ import annotations

import hashlib
import os
import time
from pathlib import Path

import pytest
from scapy.utils import RawPcapReader

from ustack import sim
from ustack.errors import ConfigError


def pair(seed: int = 1, **conditions: object) -> tuple[sim.Network, sim.Host, sim.Host, sim.Link]:
    """Two hosts and a link."""
    net = sim.Network(seed=seed)
    a, b = net.host("a"), net.host("b")
    return net, a, b, net.link(a, b, **conditions)  # type: ignore[arg-type]


def test_a_bulk_transfer_fills_the_link() -> None:
    net, a, b, link = pair(rate=2e6, delay=0.025, queue=sim.DropTail(frames=50))
    flow = net.bulk(a, b)
    net.run(30)
    assert 0.8 < flow.goodput / 2e6 < 0.97  # headers are the rest
    assert link.forward_stats().drop_queue > 0
    net.check()


def test_so_many_bytes_and_an_end() -> None:
    net, a, b, _ = pair(rate=8e6, delay=0.01)
    flow = net.bulk(a, b, bytes=1_000_000, start=1.0)
    assert net.run(60, until=lambda: flow.finished is not None)
    assert flow.connected == pytest.approx(1.02, abs=0.001)
    assert flow.bytes_to_server == 1_000_000
    assert 2.05 < (flow.finished or 0) < 2.2
    assert net.now == flow.finished


def test_requests_are_answered_in_a_round_trip() -> None:
    net, a, b, _ = pair(delay=0.01)
    flow = net.requests(a, b, request=100, response=1000, count=10, period=0.1)
    net.run(5)
    assert flow.done == 10
    assert flow.latencies == pytest.approx([0.02] * 10, abs=1e-6)
    assert flow.bytes_to_client == 10_000


def test_a_stopped_flow_ends() -> None:
    net, a, b, _ = pair(rate=1e6, delay=0.01)
    flow = net.bulk(a, b, stop=2.0)
    net.run(20)
    assert flow.finished is not None and flow.error == 0


def test_a_flow_without_a_listener_at_the_other_end_fails() -> None:
    net, a, b, link = pair(delay=0.01)
    flow = net.bulk(a, b)
    link.change(up=False)
    net.run(300)
    assert flow.error == 110  # ETIMEDOUT


def test_a_partition_is_survived() -> None:
    net, a, b, link = pair(rate=2e6, delay=0.01)
    flow = net.bulk(a, b, bytes=2_000_000)
    net.at(2.0, lambda: link.down(3.0))
    assert net.run(60, until=lambda: flow.finished is not None)
    assert flow.bytes_to_server == 2_000_000
    assert link.forward_stats().drop_down > 0


@pytest.mark.parametrize("addresses", [("10.1.0.1", "10.1.0.2"), ("fd00::1", "fd00::2")])
@pytest.mark.parametrize("switches", [0, 2])
def test_a_narrow_link_says_so(addresses: tuple[str, str], switches: int) -> None:
    """RFC 1191, RFC 8201: at an end, and behind switches."""
    net = sim.Network()
    a, b = (net.host(name, address) for name, address in zip("ab", addresses, strict=True))
    chain = [a, *(net.switch(f"s{i}") for i in range(switches)), b]
    router = "fd00::99" if ":" in addresses[0] else "10.1.0.99"
    for left, right in zip(chain[:-2], chain[1:-1], strict=True):
        net.link(left, right, delay=0.001)
    net.link(*chain[-2:], delay=0.001, mtu=1280, too_big_from=router)
    flow = net.bulk(a, b, bytes=100_000)
    net.run(10)
    assert flow.bytes_to_server == 100_000
    assert 0 < net.links[-1].forward_stats().drop_mtu < 20


def test_a_narrow_link_that_does_not_say_so_is_a_black_hole() -> None:
    net, a, b, link = pair(delay=0.001, mtu=1280)
    flow = net.bulk(a, b, bytes=100_000)
    net.run(1)
    assert flow.bytes_to_server == 0
    assert link.forward_stats().drop_mtu > 0


def test_switches_carry_everybody_to_everybody() -> None:
    net = sim.Network()
    left, right = net.switch("left"), net.switch("right")
    net.link(left, right, rate=1e8, delay=0.001)
    hosts = [net.host(f"h{i}") for i in range(6)]
    for i, host in enumerate(hosts):
        net.link(host, left if i % 2 else right, rate=1e8)
    flows = [net.bulk(a, b, bytes=20_000) for a in hosts for b in hosts if a is not b]
    net.run(10)
    assert [flow.bytes_to_server for flow in flows] == [20_000] * 30


def test_the_two_directions_may_differ() -> None:
    net, a, b, link = pair(rate=8e6, delay=0.01, back={"rate": 1e6, "delay": 0.05})
    net.run(0)
    assert link.forward.conditions.delay == 0.01
    flow = net.requests(a, b, count=1)
    net.run(1)
    assert flow.latencies[0] > 0.06


def test_flows_have_the_congestion_control_that_they_ask_for() -> None:
    net, a, b, _ = pair(delay=0.01)
    flows = [net.bulk(a, b, congestion=name) for name in ("reno", "cubic")]
    net.run(1)
    assert [flow.info().congestion for flow in flows] == [0, 1]  # type: ignore[union-attr]
    with pytest.raises(ConfigError, match="congestion must be one of reno, cubic"):
        net.bulk(a, b, congestion="vegas")


def test_samples_are_taken_over_virtual_time() -> None:
    net, a, b, _ = pair(rate=2e6, delay=0.025)
    flow = net.bulk(a, b, start=1.0)
    net.sample(0.5)
    net.run(10)
    samples = flow.samples
    assert samples is not None
    assert samples.time == [1.5 + 0.5 * i for i in range(len(samples.time))]
    assert len(samples.time) == 18
    assert samples.throughput()[-1] == pytest.approx(1.9e6, rel=0.05)
    assert samples.delivered == sorted(samples.delivered)


def run_and_capture(seed: int, path: Path) -> str:
    """The hash of a capture of a transfer over a bad link."""
    net, a, b, _ = pair(
        seed, rate=5e6, delay=0.01, jitter=0.003, loss=0.02, duplicate=0.01, corrupt=0.01
    )
    net.capture(b, path)
    net.bulk(a, b, bytes=300_000)
    net.requests(b, a, count=50)
    net.run(30)
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_the_same_seed_gives_the_same_capture(tmp_path: Path) -> None:
    digests = [run_and_capture(seed, tmp_path / f"{i}.pcap") for i, seed in enumerate((1, 1, 2))]
    assert digests[0] == digests[1] != digests[2]


def test_a_capture_holds_the_frames_at_their_times(tmp_path: Path) -> None:
    net, a, b, _ = pair(delay=0.5)
    net.capture(a, tmp_path / "a.pcap")
    net.requests(a, b, count=1)
    net.run(1.2)
    with RawPcapReader(str(tmp_path / "a.pcap")) as reader:
        times = [meta.sec + meta.usec * 1e-9 for _, meta in reader]
    assert times == pytest.approx([1.0, 2.0, 2.0])  # SYN, SYN-ACK, request


def test_a_host_has_one_link_and_there_are_no_loops() -> None:
    net, a, _, _ = pair()
    with pytest.raises(ConfigError, match="host a has a link already; put a switch between"):
        net.link(a, net.switch("s"))
    s, t = net.switch("t"), net.switch("u")
    net.link(s, t)
    with pytest.raises(ConfigError, match="link t-u would close a loop"):
        net.link(s, t)
    with pytest.raises(ConfigError, match="two nodes named 'b'"):
        net.host("b")


@pytest.mark.quiet
@pytest.mark.skipif("USTACK_SANITIZER" in os.environ, reason="a sanitized engine is slow")
def test_virtual_time_is_a_thousand_times_faster_than_real() -> None:
    """One bulk flow at 2 Mbit/s and 50 ms, 170 full segments a second; the best of five, by CPU."""
    net, a, b, _ = pair(rate=2e6, delay=0.025, queue=sim.DropTail(frames=50))
    net.bulk(a, b)
    net.run(1)
    spent = []
    for _ in range(5):
        begin = time.process_time()
        net.run(100)
        spent.append(time.process_time() - begin)
    assert min(spent) < 0.1
