# SPDX-License-Identifier: BSD-3-Clause
"""Interleaved repetitions, their medians, and how they are told: a table or JSON, and progress."""

import json
import os
import platform
import statistics
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, TypeAlias

from ustack._progress import Progress
from ustack.bench.load import Sample
from ustack.bench.sides import Side, Work

__all__ = ["Found", "Progress", "Samples", "as_json", "as_table"]
__all__ += ["interleave", "median_of", "ratios", "spread"]

Samples: TypeAlias = dict[str, dict[str, list[Sample]]]  # by side and kind
Found: TypeAlias = dict[str, dict[str, Any]]  # by side, and "ratio"


def interleave(
    work: Work, sides: list[Side], kinds: Iterable[str], progress: "Progress"
) -> Samples:
    """Measure every side with every kind of load, in turns, so that drift hits all alike."""
    samples: Samples = {side.name: {kind: [] for kind in kinds} for side in sides}
    for _ in range(work.repetitions):
        for kind in kinds:
            for side in sides:
                progress.step(f"{side.name} {kind}")
                samples[side.name][kind].append(side.measure(work, kind))
    return samples


def median_of(samples: list[Sample], figure: Callable[[Sample], float]) -> float:
    """Return the median of a figure, to six digits."""
    return _rounded(statistics.median(map(figure, samples)))


def spread(samples: list[Sample], figure: Callable[[Sample], float]) -> list[float]:
    """Return the least and the greatest of a figure."""
    figures = list(map(figure, samples))
    return [_rounded(min(figures)), _rounded(max(figures))]


def ratios(figures: dict[str, dict[str, float]]) -> dict[str, dict[str, float]]:
    """Return ustack's figures over those of each peer. figures: by side and name."""
    ours = figures["ustack"]
    return {
        peer: {name: _rounded(ours[name] / theirs[name]) for name in theirs}
        for peer, theirs in figures.items()
        if peer != "ustack"
    }


def _rounded(value: float) -> float:
    return float(f"{value:.6g}")


def as_json(settings: dict[str, Any], found: Found, notes: list[str]) -> str:
    """Return one JSON object: settings, each side under its name, ratio, machine and notes."""
    return json.dumps(settings | found | {"machine": _machine(), "notes": notes}, indent=2)


def as_table(settings: dict[str, Any], rows: list[list[Any]], notes: list[str]) -> str:
    """Return a table under a line of settings, with the notes below."""
    widths = [max(len(str(row[i])) for row in rows if i < len(row)) for i in range(len(rows[0]))]
    lines = [", ".join(f"{key} {value}" for key, value in settings.items()), ""]
    for row in rows:
        cells = (str(cell).rjust(width) for cell, width in zip(row, widths, strict=False))
        first = str(row[0]).ljust(widths[0])
        lines.append("  ".join([first, *list(cells)[1:]]).rstrip())
    machine = ", ".join(str(value) for value in _machine().values())
    return "\n".join([*lines, "", *notes, f"on {machine}; medians"])


def _machine() -> dict[str, Any]:
    return {
        "cpu": _cpu(),
        "cores": len(os.sched_getaffinity(0)),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
    }


def _cpu() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()
