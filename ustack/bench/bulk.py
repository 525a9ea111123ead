# SPDX-License-Identifier: BSD-3-Clause
"""bulk: bytes one way as fast as they go: to the server ("in"), and from it ("out")."""

from ustack.bench.definition import Bench, Column, Figures, Task, Work
from ustack.bench.load import Sample

__all__ = ["BENCH"]

CONNECTIONS = 1
SIZE = 128 * 1024  # bytes of a write
DIRECTIONS = {"in": "sink", "out": "source"}


def tasks(work: Work) -> dict[str, Task]:
    """Return one task for each direction."""
    n, size = work.connections or CONNECTIONS, work.size or SIZE
    return {way: Task(app, app, n, size) for way, app in DIRECTIONS.items()}


def figures(sample: Sample) -> Figures:
    """Return what is told of a stream."""
    return {
        "gbps": sample.bytes * 8 / sample.seconds / 1e9,
        "server_ns_per_kib": sample.server_cpu * 1e9 / max(sample.bytes, 1) * 1024,
    }


BENCH = Bench(
    help="bytes one way",
    tasks=tasks,
    figures=figures,
    columns=(Column("gbps", "Gb/s", ",.2f"), Column("server_ns_per_kib", "server ns/KiB")),
    ratio="gbps",
    servers=("protocol", "c"),
)
