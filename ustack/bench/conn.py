# SPDX-License-Identifier: BSD-3-Clause
"""conn: connections that live for one request: connect, ask, be answered, close.

The client closes, by FIN, and keeps the TIME-WAIT; ports are taken up again after a second, by
timestamps (RFC 6191), and spread over several addresses, so that there are always some.
"""

from ustack.bench.definition import Bench, Column, Figures, Task, Work
from ustack.bench.load import Sample
from ustack.bench.rpc import LATENCIES, SIZE, latencies

__all__ = ["BENCH"]

CONNECTIONS = 64  # under way at once


def tasks(work: Work) -> dict[str, Task]:
    """Return the one task."""
    return {"": Task("echo", "conn", work.connections or CONNECTIONS, work.size or SIZE)}


def figures(sample: Sample) -> Figures:
    """Return what is told of short connections."""
    return {
        "connections_per_s": sample.requests / sample.seconds,
        "server_ns_per_connection": sample.server_cpu / max(sample.requests, 1) * 1e9,
        **latencies(sample),
        "out_of_ports": sample.no_port,
    }


BENCH = Bench(
    help="short connections",
    tasks=tasks,
    figures=figures,
    columns=(
        Column("connections_per_s", "connections/s"),
        Column("server_ns_per_connection", "server ns/connection"),
        *LATENCIES,
    ),
    ratio="connections_per_s",
    servers=("protocol", "c"),
)
