# SPDX-License-Identifier: BSD-3-Clause
"""bulk: bytes one way as fast as they go: to the server ("in"), and from it ("out")."""

from typing import Any

from ustack.bench.load import Sample
from ustack.bench.report import Found, Samples, median_of, ratios, spread

__all__ = ["CONNECTIONS", "KINDS", "SIZE", "rows", "summarize"]

CONNECTIONS = 1
SIZE = 128 * 1024  # bytes of a write
KINDS = ("sink", "source")
DIRECTIONS = {"in": "sink", "out": "source"}


def rate(sample: Sample) -> float:
    """Return gigabits a second."""
    return sample.bytes * 8 / sample.seconds / 1e9


def summarize(samples: Samples) -> Found:
    """Return the medians of each side by name, and under "ratio" what they make of each other."""
    found: Found = {}
    for name, kinds in samples.items():
        found[name] = {way: _one_way(kinds[kind]) for way, kind in DIRECTIONS.items()}
    found["ratio"] = ratios(
        {name: {way: side[way]["gbps"] for way in side} for name, side in found.items()}
    )
    return found


def _one_way(samples: list[Sample]) -> dict[str, Any]:
    return {
        "gbps": median_of(samples, rate),
        "gbps_spread": spread(samples, rate),
        "server_ns_per_kib": median_of(samples, lambda s: s.server_cpu * 1e9 / s.bytes * 1024),
    }


def rows(found: Found) -> list[list[Any]]:
    """Return the table: a row of headings, one for each side and direction, and the ratios."""
    table: list[list[Any]] = [["", "", "Gb/s", "least…most", "server ns/KiB"]]
    for name, side in found.items():
        for way in DIRECTIONS if name != "ratio" else ():
            one = side[way]
            low, high = one["gbps_spread"]
            table.append(
                [
                    name,
                    way,
                    f"{one['gbps']:.2f}",
                    f"{low:.2f}…{high:.2f}",
                    f"{one['server_ns_per_kib']:,.0f}",
                ]
            )
    for peer, by_way in found["ratio"].items():
        for way, ratio in by_way.items():
            table.append([f"ustack ÷ {peer}", way, f"{ratio:.2f}"])
    return table
