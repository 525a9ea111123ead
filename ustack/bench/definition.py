# SPDX-License-Identifier: BSD-3-Clause
"""What a benchmark is: tasks that every side is given, and the figures that tell how it did."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

from ustack.bench.load import Sample

__all__ = ["Bench", "Column", "Figures", "Task", "Work"]

Figures: TypeAlias = dict[str, float]


@dataclass(frozen=True)
class Work:
    """What the user asked for."""

    connections: int | None  # None: the benchmark's own
    size: int | None  # bytes of a request, of a response (http), or of a write
    requests: int  # of a repetition; 0: by time
    seconds: float
    repetitions: int
    server: str | None  # None: the benchmark's first
    ends: bool = False  # of a row of tasks, the first and the last alone

    def describe(self) -> dict[str, Any]:
        """Return it by name, without what was left to the benchmark."""
        given: dict[str, Any] = {"repetitions": self.repetitions}
        if self.requests:
            return given | {"requests": self.requests}
        return given | {"seconds": self.seconds}


@dataclass(frozen=True)
class Task:
    """What each side does in a cell. app: of the server; load: of ustack.bench.load.KINDS."""

    app: str
    load: str
    connections: int
    size: int  # bytes, as in Work
    loss: float = 0.0  # chance of a frame, where the link is simulated


@dataclass(frozen=True)
class Column:
    """A figure in the table. form: of format()."""

    figure: str
    title: str
    form: str = ",.0f"


@dataclass(frozen=True)
class Bench:
    """One sub-benchmark.

    tasks: by their labels; a single label is "". servers: what --server may be, the default first.
    ratio: the figure that sides are compared by. peer: what --vs is unless given. ours: the side
    that the others are compared with. alone: what it runs over instead of --io, where it
    has sides of its own and takes no peers.
    """

    help: str
    tasks: Callable[[Work], dict[str, Task]]
    figures: Callable[[Sample], Figures]
    columns: tuple[Column, ...]
    ratio: str
    servers: tuple[str, ...] = ("protocol",)
    peer: str = "uvloop"
    ours: str = "ustack"
    alone: str = ""
