# SPDX-License-Identifier: BSD-3-Clause
"""rpc: each connection has one request outstanding, which an echo server answers; closed loop."""

from typing import Any

from ustack.bench.load import Sample
from ustack.bench.report import Found, Samples, median_of, ratios, spread

__all__ = ["CONNECTIONS", "KINDS", "SIZE", "rows", "summarize"]

CONNECTIONS = 64
SIZE = 64  # bytes
KINDS = ("echo",)


def rate(sample: Sample) -> float:
    """Return requests a second."""
    return sample.requests / sample.seconds


def summarize(samples: Samples) -> Found:
    """Return the medians of each side by name, and under "ratio" what they make of each other."""
    found: Found = {}
    for name, kinds in samples.items():
        echoes = kinds["echo"]
        found[name] = {
            "requests_per_s": median_of(echoes, rate),
            "requests_per_s_spread": spread(echoes, rate),
            "server_ns_per_request": median_of(echoes, lambda s: s.server_cpu / s.requests * 1e9),
            "p50_us": median_of(echoes, lambda s: s.p50 * 1e6),
            "p99_us": median_of(echoes, lambda s: s.p99 * 1e6),
        }
    rates = {name: {"rate": side["requests_per_s"]} for name, side in found.items()}
    compared = ratios(rates) if "ustack" in rates else {}
    found["ratio"] = {peer: ratio["rate"] for peer, ratio in compared.items()}
    return found


def rows(found: Found) -> list[list[Any]]:
    """Return the table: a row of headings, one for each side, and the ratios."""
    table: list[list[Any]] = [
        ["", "requests/s", "least…most", "server ns/request", "p50 µs", "p99 µs"]
    ]
    for name, side in found.items():
        if name != "ratio":
            low, high = side["requests_per_s_spread"]
            table.append(
                [
                    name,
                    f"{side['requests_per_s']:,.0f}",
                    f"{low:,.0f}…{high:,.0f}",
                    f"{side['server_ns_per_request']:,.0f}",
                    f"{side['p50_us']:,.1f}",
                    f"{side['p99_us']:,.1f}",
                ]
            )
    if "c" in found and "protocol" in found:
        cost = {name: found[name]["server_ns_per_request"] for name in ("protocol", "c")}
        table.append(["Python's share", "", "", f"{cost['protocol'] - cost['c']:,.0f}"])
    for peer, ratio in found["ratio"].items():
        table.append([f"ustack ÷ {peer}", f"{ratio:.2f}"])
    return table
