# SPDX-License-Identifier: BSD-3-Clause
"""rpc: each connection has one request outstanding, which an echo server answers; closed loop."""

from ustack.bench.definition import Bench, Column, Figures, Task, Work
from ustack.bench.load import Sample

__all__ = ["BENCH", "COLUMNS", "LATENCIES", "figures", "latencies"]

CONNECTIONS = 64
SIZE = 64  # bytes

LATENCIES = (
    Column("p50_us", "p50 µs", ",.1f"),
    Column("p99_us", "p99 µs", ",.1f"),
    Column("p99_9_us", "p99.9 µs", ",.1f"),
)
COLUMNS = (
    Column("requests_per_s", "requests/s"),
    Column("server_ns_per_request", "server ns/request"),
    *LATENCIES,
)


def tasks(work: Work) -> dict[str, Task]:
    """Return the one task."""
    return {"": Task("echo", "echo", work.connections or CONNECTIONS, work.size or SIZE)}


def figures(sample: Sample) -> Figures:
    """Return what is told of a closed loop of requests."""
    return {
        "requests_per_s": sample.requests / sample.seconds,
        "server_ns_per_request": sample.server_cpu / max(sample.requests, 1) * 1e9,
        **latencies(sample),
    }


def latencies(sample: Sample) -> Figures:
    """Return those figures of LATENCIES that were taken."""
    quantiles = (sample.p50, sample.p99, sample.p999)
    return {c.figure: s * 1e6 for c, s in zip(LATENCIES, quantiles, strict=True) if s > 0}


BENCH = Bench(
    help="requests and responses on open connections",
    tasks=tasks,
    figures=figures,
    columns=COLUMNS,
    ratio="requests_per_s",
    servers=("protocol", "streams", "sockets", "c"),
)
