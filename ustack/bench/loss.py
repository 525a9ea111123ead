# SPDX-License-Identifier: BSD-3-Clause
"""loss: what a segment costs when others are lost: repair, SACK and reordering included.

Two engines in this process, on virtual time, over a simulated link that loses frames by chance,
the same ones in every repetition; bulk one way on several connections. What is timed is the
thread's CPU while the simulation runs: both ends, checksums done, and the link itself, which is
the same at every loss. Compare the rows with each other.
"""

import time

from ustack.bench.definition import Bench, Column, Figures, Task, Work
from ustack.bench.load import Sample
from ustack.bench.sides import Cell, Side, cell
from ustack.errors import ConfigError
from ustack.sim import DropTail, Network

__all__ = ["BENCH", "LOSSES", "sides"]

CONNECTIONS = 16
LOSSES = (0.0, 0.001, 0.01, 0.03)
TEXT = 1448  # bytes of a full segment
RATE, DELAY = 10e9, 20e-6  # of the link: bit/s; seconds one way
START = 0.05  # virtual seconds until all are under way
STEP = 0.005  # virtual seconds, between two looks at the clock
#: Windows stay at 64 KiB, that what is in flight without loss fits the caches, too.
SETTINGS = {"tcp.moderate_rcvbuf": 0}
NOTE = "both ends and the simulated link (10 Gb/s, 40 µs) in one thread; delivered is virtual"


def tasks(work: Work) -> dict[str, Task]:
    """Return a task for each chance of loss."""
    if work.size is not None:
        raise ConfigError("--size means nothing to loss, whose segments are full; leave it out")
    n = work.connections or CONNECTIONS
    return {f"{100 * loss:g} %": Task("sink", "loss", n, TEXT, loss) for loss in LOSSES}


def figures(sample: Sample) -> Figures:
    """Return what a segment costs. requests: delivered; seconds: virtual."""
    return {
        "ns_per_segment": sample.server_cpu / max(sample.requests, 1) * 1e9,
        "resent": sample.resent / max(sample.requests, 1) * 100,
        "delivered_gbps": sample.bytes * 8 / sample.seconds / 1e9,
    }


BENCH = Bench(
    help="segments while others are lost",
    tasks=tasks,
    figures=figures,
    columns=(
        Column("ns_per_segment", "ns/segment delivered"),
        Column("resent", "resent %", ",.2f"),
        Column("delivered_gbps", "Gb/s delivered", ",.2f"),
    ),
    ratio="ns_per_segment",
    servers=("c",),
    alone="a simulated link",
)


def sides() -> tuple[list[Side], list[str]]:
    """Return who is measured, and notes for the report."""
    return [_Simulated("ustack")], [NOTE]


class _Simulated(Side):
    """Two engines and a link."""

    def measure(self, bench: Bench, work: Work, task: Task) -> Cell:
        """Run one repetition: so many seconds of CPU, or so many segments."""
        net = Network(seed=1)
        a, b = net.host("a", settings=SETTINGS), net.host("b", settings=SETTINGS)
        net.link(a, b, rate=RATE, delay=DELAY, loss=task.loss, queue=DropTail(frames=None))
        flows = [net.bulk(a, b) for _ in range(task.connections)]
        net.run(START)

        def done() -> tuple[int, int]:
            return sum(f.bytes_to_server for f in flows), sum(f.rexmts for f in flows)

        began, (bytes_before, resent_before) = net.now, done()
        cpu, clock = 0, time.thread_time_ns
        while True:
            start = clock()
            net.run(STEP)
            cpu += clock() - start
            delivered = (done()[0] - bytes_before) // TEXT
            if delivered >= work.requests if work.requests else cpu >= work.seconds * 1e9:
                break
        bytes_now, resent = done()
        seconds, text = net.now - began, bytes_now - bytes_before
        return cell(
            bench,
            Sample(delivered, text, seconds, cpu / 1e9, resent=resent - resent_before),
        )
