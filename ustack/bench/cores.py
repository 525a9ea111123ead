# SPDX-License-Identifier: BSD-3-Clause
"""cores: does a second engine on a second core double the work?

An engine shares nothing with another. So each core here gets a process of its own (core.py), with
a ring pair and both ends of its connections; "one" is such a process alone, on the first core and
then on the second, and "two" are both at once.
"""

import contextlib
import json
import os
import select
import subprocess
import sys
from collections.abc import Iterator
from typing import TypeAlias

from ustack.bench import rpc
from ustack.bench.definition import Bench, Column, Figures, Task, Work
from ustack.bench.load import Sample
from ustack.bench.machine import CORES
from ustack.bench.sides import Cell, Side, cell
from ustack.errors import UstackError

__all__ = ["BENCH", "sides"]

PATIENCE = 600.0  # seconds for a repetition
NOTE = "an engine a core: a process each with both ends in C; one: the mean of each core alone"

_Process: TypeAlias = "subprocess.Popen[str]"


def figures(sample: Sample) -> Figures:
    """Return what is told: rates are the sum of the cores'."""
    return {
        "requests_per_s": sample.requests / sample.seconds,
        "ns_per_request": sample.server_cpu / max(sample.requests, 1) * 1e9,
    }


BENCH = Bench(
    help="two engines on two cores, beside one",
    tasks=rpc.BENCH.tasks,
    figures=figures,
    columns=(
        Column("requests_per_s", "requests/s"),
        Column("ns_per_request", "ns/request, both ends"),
    ),
    ratio="requests_per_s",
    servers=("c",),
    ours="two",
    alone="ring: in memory",
)


def sides() -> tuple[list[Side], list[str]]:
    """Return who is compared, and notes for the report.

    Raises UstackError when there are no two cores.
    """
    if len(CORES) < 2:
        raise UstackError("cores needs two cores, and this process may use one (taskset, cgroup)")
    return [_Cores("two"), _Cores("one")], [NOTE]


class _Cores(Side):
    """Processes on both cores at once (two), or after each other (one)."""

    def measure(self, bench: Bench, work: Work, task: Task) -> Cell:
        """Run one repetition."""
        pair = CORES[:2]
        if self.name == "two":
            return cell(bench, _sum(_run(pair, work, task)))
        alone = [_run([core], work, task)[0] for core in pair]
        return cell(bench, _sum(alone, share=1 / len(alone)))


def _sum(samples: list[Sample], share: float = 1.0) -> Sample:
    """Return the work of all in a second, what they needed for it; or a share of that."""
    return Sample(
        requests=round(sum(s.requests / s.seconds for s in samples) * share),
        bytes=0,
        seconds=1.0,
        server_cpu=sum(s.server_cpu / s.seconds for s in samples) * share,
        slices=sum(s.slices for s in samples),
        dropped=sum(s.dropped for s in samples),
        disturbed=any(s.disturbed for s in samples),
    )


def _run(cores: list[int], work: Work, task: Task) -> list[Sample]:
    """Measure at once on each of these cores."""
    with contextlib.ExitStack() as stack:
        processes = [stack.enter_context(_process(core, work, task)) for core in cores]
        for process in processes:
            if _line(process) != "ready":
                raise UstackError("a process of cores has ended before it was ready")
        for process in processes:
            assert process.stdin is not None
            process.stdin.write("\n")
            process.stdin.flush()
        return [_sample(_line(process)) for process in processes]


def _sample(line: str) -> Sample:
    if not line:
        raise UstackError("a process of cores has ended while it measured")
    return Sample(**json.loads(line))


def _line(process: _Process) -> str:
    assert process.stdout is not None
    if not select.select([process.stdout], [], [], PATIENCE)[0]:
        raise UstackError(f"a process of cores has not answered for {PATIENCE:.0f} s")
    return process.stdout.readline().strip()


@contextlib.contextmanager
def _process(core: int, work: Work, task: Task) -> Iterator[_Process]:
    """Start one that may use every core, until it has chosen; it is ended."""
    numbers = {"connections": task.connections, "size": task.size, "requests": work.requests}
    command = [sys.executable, "-m", "ustack.bench.core", str(core)]
    command += [f"--{name}={n}" for name, n in (numbers | {"seconds": work.seconds}).items()]
    mine = os.sched_getaffinity(0)
    os.sched_setaffinity(0, CORES)
    try:
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
    finally:
        os.sched_setaffinity(0, mine)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()
