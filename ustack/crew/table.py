# SPDX-License-Identifier: BSD-3-Clause
"""What is told of workers: a line each."""

from collections.abc import Iterable
from dataclasses import dataclass

__all__ = ["Row", "render"]

STATES = ("absent", "starting", "serving", "draining", "ended")


@dataclass(frozen=True)
class Row:
    """One worker, as of now."""

    worker: int
    pid: int | None
    core: int | None
    state: str
    connections: int
    accepted: int
    frames_s: float  # in and out, since the last table
    handed_out: int  # frames of flows that another worker owns
    handed_in: int
    handed_lost: int
    restarts: int


_COLUMNS = (
    ("worker", "worker"),
    ("pid", "pid"),
    ("core", "core"),
    ("state", "state"),
    ("connections", "connections"),
    ("accepted", "accepted"),
    ("frames/s", "frames_s"),
    ("handed out", "handed_out"),
    ("handed in", "handed_in"),
    ("lost", "handed_lost"),
    ("restarts", "restarts"),
)


def render(rows: Iterable[Row]) -> str:
    """Return a table with a head."""
    lines = [[title for title, _ in _COLUMNS]]
    lines += [[_text(getattr(row, name)) for _, name in _COLUMNS] for row in rows]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True))
        for line in lines
    )


def _text(value: object) -> str:
    return "-" if value is None else f"{value:.0f}" if isinstance(value, float) else str(value)
