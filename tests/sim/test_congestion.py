# SPDX-License-Identifier: BSD-3-Clause
"""Congestion controls that are Python classes, in the simulator."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

import ustack
from ustack import sim

EXAMPLE = Path(__file__).parents[2] / "examples" / "aimd.py"


def aimd() -> type[ustack.CongestionControl]:
    """The example's class."""
    spec = importlib.util.spec_from_file_location("aimd", EXAMPLE)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    kind: type[ustack.CongestionControl] = module.Aimd
    return kind


def over_a_link(
    kind: type[ustack.CongestionControl], seconds: float = 20, **values: object
) -> tuple[sim.Network, sim.Flow]:
    """A flow that this class controls, after so many seconds on 10 Mbit/s and 50 ms."""
    net = sim.Network(seed=1)
    a, b = net.host("a"), net.host("b")
    queue = sim.DropTail(frames=None, bytes=60_000)
    net.link(a, b, **{"rate": 10e6, "delay": 0.025, "queue": queue} | values)  # type: ignore[arg-type]
    flow = net.bulk(a, b, congestion=kind)
    net.sample(0.1)
    net.run(seconds)
    net.check()
    return net, flow


def test_the_example_fills_a_link() -> None:
    _, flow = over_a_link(aimd())
    assert flow.goodput > 0.8 * 10e6
    assert flow.rexmts > 0


def test_each_ack_is_told_and_adds_up() -> None:
    told: list[ustack.Ack] = []

    class Listener(ustack.CongestionControl):
        def on_ack(self, ack: ustack.Ack) -> None:
            told.append(ack)

    _, flow = over_a_link(Listener, 5, rate=None)
    assert {ack.acks for ack in told} == {1}
    assert sum(ack.acked for ack in told) <= flow.bytes_to_server
    assert sum(ack.acked for ack in told) > flow.bytes_to_server - 30_000
    assert all(ack.rtt == pytest.approx(0.05, abs=0.0005) for ack in told if ack.rtt)
    assert all(ack.min_rtt == pytest.approx(0.05, abs=0.0005) for ack in told)


def test_the_window_is_what_the_class_says() -> None:
    class Fixed(ustack.CongestionControl):
        def on_start(self) -> None:
            self.cwnd = 50_000

    _, flow = over_a_link(Fixed, 5, rate=None)
    assert flow.samples is not None
    assert set(flow.samples.cwnd) == {50_000}
    assert flow.goodput == pytest.approx(8 * 50_000 / 0.05, rel=0.1)


def test_the_pacing_rate_is_what_the_class_says() -> None:
    class Paced(ustack.CongestionControl):
        def on_start(self) -> None:
            self.cwnd, self.pacing_rate = 1_000_000, 100_000

    _, flow = over_a_link(Paced, 10, rate=None)
    assert flow.goodput == pytest.approx(800_000, rel=0.1)


def test_rounds_are_told_without_the_acks() -> None:
    sums: list[ustack.Ack] = []

    class Rounds(ustack.CongestionControl):
        def on_round(self, ack: ustack.Ack) -> None:
            sums.append(ack)
            self.cwnd += self.mss

    _, flow = over_a_link(Rounds, 5, rate=None)
    assert 90 <= len(sums) <= 110  # 5 s of 50 ms
    assert max(ack.acks for ack in sums) > 10
    assert flow.window > 100 * 1000


def test_losses_and_timeouts_are_told() -> None:
    told: list[ustack.Loss] = []

    class Losing(ustack.CongestionControl):
        def on_loss(self, loss: ustack.Loss) -> None:
            told.append(loss)
            self.cwnd = 20_000

    net, flow = over_a_link(Losing, 5, loss=0.02)
    assert {loss.cause for loss in told} >= {"loss"}
    net.links[0].change(loss=0.0)
    net.links[0].down(3)
    net.run(8)
    assert "timeout" in {loss.cause for loss in told}
    assert flow.window == 20_000
    net.check()


def test_a_class_that_does_nothing_gets_the_halving_of_rfc_5681() -> None:
    """A controller that is late does no harm."""
    _, flow = over_a_link(ustack.CongestionControl, 5, loss=0.02)
    assert flow.window <= 5 * 1448


def test_two_flows_may_have_two_classes() -> None:
    class Small(ustack.CongestionControl):
        def on_start(self) -> None:
            self.cwnd = 5_000

    class Large(ustack.CongestionControl):
        def on_start(self) -> None:
            self.cwnd = 20_000

    net = sim.Network(seed=1)
    a, b = net.host("a"), net.host("b")
    net.link(a, b, delay=0.025)
    flows = [net.bulk(a, b, congestion=kind) for kind in (Small, Large)]
    net.run(3)
    assert [flow.window for flow in flows] == [5_000, 20_000]
