# SPDX-License-Identifier: BSD-3-Clause
"""mem: what an idle connection costs a server: its process's memory, and the kernel's for it."""

from ustack.bench.definition import Bench, Column, Figures, Task, Work
from ustack.bench.load import Sample

__all__ = ["BENCH"]

CONNECTIONS = (10_000, 100_000)


def tasks(work: Work) -> dict[str, Task]:
    """Return a task for each number of connections."""
    numbers = (work.connections,) if work.connections else CONNECTIONS
    return {f"{n:,}": Task("echo", "idle", n, 64) for n in numbers}


def figures(sample: Sample) -> Figures:
    """Return bytes for each connection; requests: how many there are."""
    process, kernel = (part / sample.requests for part in (sample.memory, sample.kernel_memory))
    return {
        "bytes_per_connection": process + kernel,
        "process_bytes": process,
        "kernel_bytes": kernel,
    }


BENCH = Bench(
    help="memory of idle connections",
    tasks=tasks,
    figures=figures,
    columns=(
        Column("bytes_per_connection", "bytes/connection"),
        Column("process_bytes", "in the process"),
        Column("kernel_bytes", "in the kernel"),
    ),
    ratio="bytes_per_connection",
    servers=("protocol", "streams", "c"),
)
