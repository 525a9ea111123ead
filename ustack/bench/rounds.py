# SPDX-License-Identifier: BSD-3-Clause
"""Interleaved repetitions, the placement of the cores around each, and what they come to.

A host may move our cores, which changes figures by a factor of up to three: so each cell is
measured between two looks at the placement, only cells of one placement are compared, and those
of another are measured again, a bounded number of times, or told apart.
"""

import statistics
from collections import Counter
from collections.abc import Callable
from typing import Any, TypeAlias

from ustack._progress import Progress
from ustack.bench.definition import Bench, Work
from ustack.bench.machine import placement
from ustack.bench.sides import Cell, Side, placed

__all__ = ["Cells", "Found", "choose", "interleave", "mode_of", "rounded", "steps", "summarize"]

Cells: TypeAlias = dict[str, dict[str, list[Cell]]]  # by task and side
Found: TypeAlias = dict[str, Any]  # by side, and "ratio" and others


def steps(bench: Bench, work: Work, sides: list[Side]) -> int:
    """Return how many cells will be measured, unless some must be repeated."""
    doable = sum(side.can(task) for task in bench.tasks(work).values() for side in sides)
    return doable * work.repetitions


def interleave(bench: Bench, work: Work, sides: list[Side], progress: Progress) -> Cells:
    """Measure every task by every side in turns, so that drift hits all alike."""
    tasks = bench.tasks(work)
    cells: Cells = {label: {s.name: [] for s in sides if s.can(tasks[label])} for label in tasks}

    def measure(label: str, side: Side) -> None:
        progress.step(f"{side.name} {label}")
        before = placement()[0]
        measured = side.measure(bench, work, tasks[label])
        cells[label][side.name].append(placed(measured, before, placement()[0]))

    for _ in range(work.repetitions):
        for label, task in tasks.items():
            for side in sides:
                if side.can(task):
                    measure(label, side)
    for label, by_side in cells.items():
        _repeat(label, by_side, work.repetitions, sides, measure)
    return cells


def _repeat(
    label: str,
    by_side: dict[str, list[Cell]],
    wanted: int,
    sides: list[Side],
    measure: Callable[[str, Side], None],
) -> None:
    """Measure again what is of another placement than most, as often as there were repetitions."""
    mode = mode_of(by_side)
    for _ in range(wanted):
        lacking = [
            side
            for side in sides
            if side.name in by_side and _count(by_side[side.name], mode) < wanted
        ]
        for side in lacking:
            measure(label, side)


def _count(cells: list[Cell], mode: str) -> int:
    return sum(cell.mode == mode for cell in cells)


def mode_of(by_side: dict[str, list[Cell]]) -> str:
    """Return the placement in which sides are compared: that of most cells, "near" before others.

    It is "mixed" when there is none in which every side was measured.
    """
    counts = Counter(cell.mode for cells in by_side.values() for cell in cells)
    del counts["mixed"]
    for mode, _ in sorted(counts.items(), key=lambda item: (-item[1], item[0] != "near")):
        if all(_count(cells, mode) for cells in by_side.values()):
            return mode
    return "mixed"


# ------------------------------------------------------------------------------ what it comes to


def summarize(bench: Bench, cells: Cells) -> Found:
    """Return medians by side (and by task, where there are several), ratios, and what is apart."""
    found: Found = {}
    ratio: dict[str, Any] = {}
    spread: dict[str, Any] = {}
    for label, by_side in cells.items():
        mode, chosen = choose(by_side)
        for name, kept in chosen.items():
            _put(found, name, label, _tell(kept, len(by_side[name]) - len(kept), mode))
        ours = chosen.get(bench.ours)
        for name, theirs in chosen.items() if ours else ():
            if name != bench.ours and ours:
                middle, ends = _compare(bench, ours, theirs)
                _put(ratio, name, label, middle)
                _put(spread, name, label, ends)
    return found | {"ratio": ratio, "ratio_spread": spread}


def choose(by_side: dict[str, list[Cell]]) -> tuple[str, dict[str, list[Cell]]]:
    """Return the placement in which sides are compared, and the cells of it."""
    mode = mode_of(by_side)
    chosen = {
        name: [c for c in cells if mode == "mixed" or c.mode == mode]
        for name, cells in by_side.items()
    }
    return mode, chosen


def _put(where: dict[str, Any], name: str, label: str, what: Any) -> None:
    if label:
        where.setdefault(name, {})[label] = what
    else:
        where[name] = what


def _tell(cells: list[Cell], apart: int, mode: str) -> dict[str, Any]:
    """Return one side's medians of one task, and their spreads. apart: cells left out."""
    told: dict[str, Any] = {}
    for name in cells[0].figures:
        values = [cell.figures[name] for cell in cells if name in cell.figures]
        if len(values) == len(cells):
            told[name] = rounded(statistics.median(values))
            told[f"{name}_spread"] = [rounded(min(values)), rounded(max(values))]
    told["cells"], told["placement"], told["apart"] = len(cells), mode, apart
    told["slices"] = sum(cell.slices for cell in cells)
    told["dropped"] = sum(cell.dropped for cell in cells)
    told["disturbed"] = sum(cell.disturbed for cell in cells)
    return told


def _compare(bench: Bench, ours: list[Cell], theirs: list[Cell]) -> tuple[float, list[float]]:
    """Return the ratio of the medians, and the least and most of it and of neighbouring cells."""
    us, them = ([cell.figures[bench.ratio] for cell in cells] for cells in (ours, theirs))
    pairs = [rounded(a / b) for a, b in zip(us, them, strict=False) if b]
    below = statistics.median(them)
    middle = rounded(statistics.median(us) / below) if below else float("nan")
    return middle, [min(middle, *pairs), max(middle, *pairs)]


def rounded(value: float) -> float:
    """Return a figure to six digits."""
    return float(f"{value:.6g}")
