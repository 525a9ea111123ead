# SPDX-License-Identifier: BSD-3-Clause
"""scale: what a request costs the server as connections grow: rpc at ever more of them."""

from ustack.bench.definition import Bench, Column, Task, Work
from ustack.bench.rpc import LATENCIES, SIZE, figures

__all__ = ["BENCH"]

FIRST, LAST, STEP = 64, 65_536, 4


def tasks(work: Work) -> dict[str, Task]:
    """Return a task for each number of connections, --connections being the last."""
    last = work.connections or LAST
    numbers = []
    n = FIRST
    while n < last:
        numbers.append(n)
        n *= STEP
    size = work.size or SIZE
    numbers = numbers[:1] if work.ends else numbers
    return {f"{n:,}": Task("echo", "echo", n, size) for n in [*numbers, last]}


BENCH = Bench(
    help="requests as connections grow",
    tasks=tasks,
    figures=figures,
    columns=(
        Column("server_ns_per_request", "server ns/request"),
        Column("requests_per_s", "requests/s"),
        *LATENCIES,
    ),
    ratio="server_ns_per_request",
    servers=("protocol", "c"),
)
