# SPDX-License-Identifier: BSD-3-Clause
"""How results are told: as JSON, as a table, or drawn."""

import json
from collections.abc import Iterator
from typing import Any

from ustack.bench import inside
from ustack.bench.definition import Bench
from ustack.bench.machine import describe
from ustack.bench.rounds import Found
from ustack.errors import UstackError

__all__ = ["aligned", "as_json", "as_table", "plot"]

NOT_SIDES = ("ratio", "ratio_spread", *inside.SHARE)


def as_json(settings: dict[str, Any], found: Found, notes: list[str]) -> str:
    """Return one JSON object: settings, each side under its name, ratio, machine and notes."""
    return json.dumps(settings | found | {"machine": describe(), "notes": notes}, indent=2)


def as_table(settings: dict[str, Any], bench: Bench, found: Found, notes: list[str]) -> str:
    """Return a table under a line of settings, with the notes below."""
    lines = [", ".join(f"{key} {value}" for key, value in settings.items()), ""]
    lines += aligned(list(_rows(bench, found)))
    machine = ", ".join(str(value) for value in describe().values())
    return "\n".join([*lines, "", *_remarks(found), *notes, f"on {machine}; medians"])


def aligned(rows: list[list[str]]) -> list[str]:
    """Return lines, the first column to the left, the others to the right."""
    widths = [max(len(row[i]) for row in rows if i < len(row)) for i in range(len(rows[0]))]
    return [
        "  ".join(
            cell.ljust(width) if i == 0 else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=False))
        ).rstrip()
        for row in rows
    ]


def each_task(told: Any) -> Iterator[tuple[str, Any]]:
    """Yield (label, what is told) of a side or a ratio, whether it has several tasks or one."""
    several = isinstance(told, dict) and "cells" not in told
    yield from told.items() if several else [("", told)]


def sides_of(found: Found) -> dict[str, Any]:
    """Return what is told of the sides."""
    return {name: told for name, told in found.items() if name not in NOT_SIDES}


def _rows(bench: Bench, found: Found) -> Iterator[list[str]]:
    yield ["", "", bench.columns[0].title, "least…most", *(c.title for c in bench.columns[1:])]
    for name, side in sides_of(found).items():
        for label, told in each_task(side):
            cells = [
                format(told[c.figure], c.form) if c.figure in told else "" for c in bench.columns
            ]
            low, high = told[f"{bench.ratio}_spread"]
            form = next(c.form for c in bench.columns if c.figure == bench.ratio)
            yield [name, label, cells[0], f"{low:{form}}…{high:{form}}", *cells[1:]]
    if inside.SHARE[0] in found:
        cost, (low, high) = (found[name] for name in inside.SHARE)
        yield ["Python's share", "", f"{cost:,.0f} ns", f"{low:,.0f}…{high:,.0f}"]
    for peer, ratio in found["ratio"].items():
        for label, middle in each_task(ratio):
            ends = found["ratio_spread"][peer]
            low, high = ends[label] if label else ends
            yield [f"{bench.ours} ÷ {peer}", label, f"{middle:.2f}", f"{low:.2f}…{high:.2f}"]


def _remarks(found: Found) -> Iterator[str]:
    """Yield what to know before believing a figure."""
    placements: set[str] = set()
    slices = dropped = disturbed = apart = 0
    for side in sides_of(found).values():
        for _, told in each_task(side):
            placements.add(told["placement"])
            slices, dropped = slices + told["slices"], dropped + told["dropped"]
            disturbed, apart = disturbed + told["disturbed"], apart + told["apart"]
    if "mixed" in placements:
        yield "no placement of the cores in which all sides were measured: do not trust the ratio"
    yield f"placement {', '.join(sorted(placements))}; {apart} cells of another left out"
    yield f"{dropped} of {slices} slices dropped, since others were on these cores"
    if disturbed:
        yield f"{disturbed} cells were disturbed throughout and count as they are"


def plot(path: str, settings: dict[str, Any], bench: Bench, found: Found) -> None:
    """Draw the compared figure of every side into an image, by its ending.

    Raises UstackError when matplotlib is not there, or cannot.
    """
    try:
        import matplotlib
    except ImportError:
        raise UstackError("--plot needs matplotlib: pip install 'ustack[plot]'") from None
    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, panel = pyplot.subplots(figsize=(8, 4.5), layout="constrained")
    sides = sides_of(found)
    labels = list(dict.fromkeys(label for s in sides.values() for label, _ in each_task(s)))
    width = 0.8 / len(sides)
    for i, (name, side) in enumerate(sides.items()):
        told = dict(each_task(side))
        places = [labels.index(label) + (i - (len(sides) - 1) / 2) * width for label in told]
        heights = [one[bench.ratio] for one in told.values()]
        ends = [one[f"{bench.ratio}_spread"] for one in told.values()]
        below = [h - low for h, (low, _) in zip(heights, ends, strict=True)]
        above = [high - h for h, (_, high) in zip(heights, ends, strict=True)]
        panel.bar(places, heights, width, yerr=[below, above], capsize=3, label=name)
    panel.set_xticks(range(len(labels)), labels)
    panel.set_ylabel(next(c.title for c in bench.columns if c.figure == bench.ratio))
    panel.legend()
    panel.grid(axis="y", alpha=0.3)
    figure.suptitle(f"ustack bench {settings['bench']}, {settings['io']}: medians, least…most")
    try:
        figure.savefig(path)
    except (ValueError, OSError) as error:
        raise UstackError(f"cannot draw {path}: {error}") from None
    finally:
        pyplot.close(figure)
