# SPDX-License-Identifier: BSD-3-Clause
"""http: GET on kept connections, of 64 B, 1 KB and 100 KB, as wrk does it."""

from ustack.bench.definition import Bench, Task, Work
from ustack.bench.rpc import COLUMNS, figures

__all__ = ["BENCH"]

CONNECTIONS = 64
SIZES = {"64 B": 64, "1 KB": 1000, "100 KB": 100_000}


def tasks(work: Work) -> dict[str, Task]:
    """Return a task for each size of body."""
    sizes = {"": work.size} if work.size else SIZES
    n = work.connections or CONNECTIONS
    return {label: Task("http", "http", n, size) for label, size in sizes.items()}


BENCH = Bench(
    help="HTTP/1.1 GET on kept connections",
    tasks=tasks,
    figures=figures,
    columns=COLUMNS,
    ratio="requests_per_s",
    servers=("protocol", "uvicorn", "aiohttp", "c"),
)
