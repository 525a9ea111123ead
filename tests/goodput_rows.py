# SPDX-License-Identifier: BSD-3-Clause
"""What the sender achieves on simulated links: one function a row of the table.

tests/sim/test_goodput.py runs them briefly; nightly/goodput.py at full length, with Linux beside.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import frames
import rig
from link import End, Link
from ustack import sim
from ustack._options import CONGESTION_CONTROLS
from ustack.sim import Conditions, DropTail

CUBIC = "cubic"
#: Share of a link's rate that is left for data of full segments with timestamps.
PAYLOAD = 1448 / 1514

#: 1 % random loss at 50 ms, on a link that would carry 100 Mbit/s.
LOSSY = Conditions(rate=100e6, delay=0.025, loss=0.01, queue=DropTail(None, 625_000))
LOSSY_BACK = LOSSY.change(loss=0.0)


@dataclass
class Row:
    """A row of the table: what was asked, what was found, whether that is enough."""

    claim: str
    found: str
    ok: bool
    figures: dict[str, float] = field(default_factory=dict)


def has(congestion: str) -> bool:
    """Does the stack have this congestion control?"""
    return congestion.encode() in CONGESTION_CONTROLS


def pair(
    seed: int, conditions: Conditions, **settings: int | str
) -> tuple[sim.Network, sim.Host, sim.Host, sim.Link]:
    """A sender, a receiver and a link between them, with no chance on the way back."""
    net = sim.Network(seed=seed)
    a, b = (net.host(name, settings=settings) for name in "ab")
    link = net.link(a, b, conditions, back={"loss": 0.0, "reorder": 0.0, "queue": DropTail()})
    return net, a, b, link


def mean_and_interval(values: list[float]) -> tuple[float, float]:
    """The mean and half its 95 % confidence interval (Student's t; large samples)."""
    t = {10: 2.262, 12: 2.201, 15: 2.145, 20: 2.093, 30: 2.045}
    quantile = next((q for n, q in sorted(t.items()) if len(values) <= n), 1.96)
    if len(values) < 2:
        return values[0], 0.0
    return statistics.mean(values), quantile * statistics.stdev(values) / len(values) ** 0.5


# ------------------------------------------------------------------------------------ the rows


def random_loss(seeds: Iterable[int] = range(1, 21), seconds: float = 60) -> list[float]:
    """CUBIC's goodput in bits per second with 1 % random loss at 50 ms, for each seed."""
    out = []
    for seed in seeds:
        net, a, b, _ = pair(seed, LOSSY)
        flow = net.bulk(a, b, congestion=CUBIC)
        net.run(seconds)
        out.append(flow.goodput)
    return out


def long_fat(seconds: float = 60) -> Row:
    """100 Mbit/s and 100 ms, from default buffers."""
    net, a, b, _ = pair(1, Conditions(rate=100e6, delay=0.05, queue=DropTail(None, 1_250_000)))
    flow = net.bulk(a, b)
    net.run(seconds / 3)
    before = flow.bytes_to_server
    net.run(seconds * 2 / 3)
    share = 8 * (flow.bytes_to_server - before) / (seconds * 2 / 3) / (100e6 * PAYLOAD)
    found = f"{share:.1%} of what the link carries, after {seconds / 3:g} s"
    claim = "100 Mbit/s × 100 ms is filled from default buffers"
    return Row(claim, found, share >= 0.95, {"share": share})


def tail_loss() -> Row:
    """RFC 8985 7.2: the last two segments of ten are lost; a probe shows it, and RACK repairs it.

    The probe timeout is 2 SRTT from the last ACK that advanced. Then a round trip until the probe's
    SACK is back, and half of one until what it showed to be missing arrives.
    """
    with Link(1, delay=0.025) as link:
        sender, reader = link.connected()
        for _ in range(10):  # the RTT is known
            sender.send(bytes(10 * 1448))
            link.run(0.5)
        srtt = sender.engine.info(sender.handle).srtt_us / 1e6
        sent: list[int] = []
        advanced = [link.now, una(sender)]

        def lose_the_last(to: int, frame: bytes) -> bool:
            if to == 0 or not frames.read_tcp(frame).payload:
                return True
            sent.append(link.now)
            return len(sent) not in (9, 10)

        def watch() -> None:
            if len(sent) == 10 and una(sender) != advanced[1]:
                advanced[:] = [link.now, una(sender)]

        link.filter, link.observer = lose_the_last, watch
        before = sender.engine.counters()["tcp.rexmt.rto"]
        want = len(reader.received) + 10 * 1448
        sender.send(bytes(10 * 1448))
        link.run(5, until=lambda: len(reader.received) == want)
        repaired = (link.now - advanced[0]) / rig.SECOND / srtt
        rtos = sender.engine.counters()["tcp.rexmt.rto"] - before
    probe = (sent[10] - advanced[0]) / rig.SECOND / srtt
    ok = rtos == 0 and abs(probe - 2) < 0.1 and repaired <= probe + 1.5 + 0.05
    found = (
        f"SRTT {srtt * 1e3:.1f} ms, probed after {probe:.2f} SRTT, repaired after"
        f" {repaired:.2f} SRTT, {rtos} RTOs"
    )
    claim = "a lost tail is probed at the PTO (2 SRTT), repaired within PTO + 1.5 SRTT, no RTO"
    return Row(claim, found, ok, {"probe": probe, "repaired": repaired})


def una(end: End) -> int:
    """SND.UNA of an end's connection."""
    return int(end.engine.info(end.handle or 0).snd_una)


def reordering(seeds: Iterable[int] = range(1, 6), seconds: float = 30) -> Row:
    """RFC 8985 6.2: one frame in 50 comes 3 ms late on a path of 20 ms; nothing is lost.

    The window is the receiver's, so ACKs clock what is sent.
    """
    conditions = Conditions(rate=100e6, delay=0.01, reorder=0.02, reorder_delay=0.003)
    early = late = undone = held = drops = worst = 0
    for seed in seeds:
        net, a, b, link = pair(seed, conditions, **{"tcp.rmem": 100_000, "tcp.rmem_max": 100_000})
        net.bulk(a, b)
        net.run(seconds / 3)
        early += a.counters()["tcp.rexmt.fast"]
        net.run(seconds * 2 / 3)
        counters, stats = a.counters(), link.forward_stats()
        worst = max(worst, counters["tcp.rexmt.fast"])
        late += counters["tcp.rexmt.fast"]
        undone += counters["tcp.undo.recovery"] + counters["tcp.undo.dsack"]
        held, drops = held + stats.held_back, drops + stats.drops
    found = (
        f"{held} frames late in 5 runs, at most {worst} episode each, {undone} of {late} undone,"
        f" {late - early} after the first third"
    )
    claim = "3 ms of reordering on 20 ms: at most one spurious episode, undone, and none after"
    ok = worst <= 1 and undone == late and late == early and drops == 0
    return Row(claim, found, ok, {"episodes": late, "undone": undone})


def delay_spike() -> Row:
    """RFC 5682 and 4015: the path takes a second longer for a while; nothing is lost."""
    net, a, b, link = pair(
        1,
        Conditions(rate=10e6, delay=0.025, queue=DropTail(None, 10**6)),
        **{"tcp.wmem": 80_000, "tcp.wmem_max": 80_000},
    )
    flow = net.bulk(a, b)
    net.run(10)
    before = flow.info()
    link.change(delay=1.0)
    net.run(0.8)
    link.change(delay=0.025)
    net.run(3)
    after = flow.info()
    assert before is not None and after is not None
    rtos = a.counters()["tcp.rexmt.rto"]
    share = after.cwnd / before.cwnd
    found = f"cwnd {before.cwnd} before, {after.cwnd} after, {rtos} RTOs, {flow.rexmts} resent"
    claim = "a delay spike restores cwnd"
    return Row(claim, found, share >= 1 and rtos >= 1, {"share": share})


def dctcp_queue(seconds: float = 20) -> Row:
    """RFC 8257: the mean queue under CE marks, beside CUBIC's that fills the buffer."""
    queue = DropTail(None, 500_000, mark=30_000)
    means = {}
    for congestion, ecn in (("dctcp", 1), (CUBIC, 0)):
        conditions = Conditions(rate=100e6, delay=0.0005, queue=queue)
        net, a, b, link = pair(1, conditions, **{"tcp.ecn": ecn})
        flows = [net.bulk(a, b, congestion=congestion) for _ in range(2)]
        net.run(seconds)
        means[congestion] = link.mean_queue()
        share = sum(flow.goodput for flow in flows) / (100e6 * PAYLOAD)
        if congestion == "dctcp":
            goodput = share
    ratio = means["dctcp"] / means[CUBIC]
    found = (
        f"{means['dctcp'] / 1e3:.1f} kB, CUBIC {means[CUBIC] / 1e3:.1f} kB: {ratio:.1%}; DCTCP"
        f" fills {goodput:.1%} of the link"
    )
    claim = "DCTCP's mean queue is less than 20 % of CUBIC's under CE marking"
    return Row(claim, found, ratio < 0.2 and goodput > 0.9, {"ratio": ratio})


def bbr_rtt(seconds: float = 60) -> Row:
    """BBR under bufferbloat: the median RTT beside the base RTT, and the goodput."""
    net, a, b, _ = pair(1, Conditions(rate=10e6, delay=0.02, queue=DropTail(None, 800_000)))
    flow = net.bulk(a, b, congestion="bbr")
    net.sample(0.02)
    net.run(seconds)
    rtt = flow.median_rtt() / 0.0412
    share = flow.goodput / (10e6 * PAYLOAD)
    found = f"median RTT {rtt:.2f} × base, goodput {share:.1%}"
    claim = "BBR's median RTT is at most 1.5 × base at 90 % goodput or more, in a queue of 640 ms"
    return Row(claim, found, rtt <= 1.5 and share >= 0.9, {"rtt": rtt, "share": share})


def fairness(seconds: float = 240) -> Row:
    """Two CUBIC flows of one RTT, the second 5 s later; the first quarter does not count."""
    net = sim.Network(seed=1)
    left, sink = net.switch("left"), net.host("sink")
    hosts = [net.host("one"), net.host("two")]
    for i, host in enumerate(hosts):
        net.link(host, left, rate=1e9, delay=0.0001 * i)
    net.link(left, sink, rate=20e6, delay=0.02, queue=DropTail(None, 100_000))
    flows = [net.bulk(h, sink, start=5.0 * i, congestion=CUBIC) for i, h in enumerate(hosts)]
    net.run(seconds / 4)
    before = [flow.bytes_to_server for flow in flows]
    net.run(seconds * 3 / 4)
    got = [flow.bytes_to_server - b for flow, b in zip(flows, before, strict=True)]
    worst = max(abs(2 * bytes_ / sum(got) - 1) for bytes_ in got)
    found = f"{got[0] / sum(got):.1%} and {got[1] / sum(got):.1%}"
    claim = "two CUBIC flows are within 10 % of fair"
    return Row(claim, found, worst <= 0.1, {"worst": worst})


ROWS: tuple[Callable[[], Row], ...] = (
    long_fat,
    tail_loss,
    reordering,
    delay_spike,
    dctcp_queue,
    bbr_rtt,
    fairness,
)
NEEDS = {dctcp_queue: "dctcp", bbr_rtt: "bbr"}


def possible(row: Callable[[], Row]) -> bool:
    """Does the stack have what a row is about?"""
    return row not in NEEDS or has(NEEDS[row])
