# SPDX-License-Identifier: BSD-3-Clause
"""What a simulation came to: figures for people, JSON for programs, curves as an image."""

import json
import re
import statistics
from collections.abc import Iterable
from typing import Any

from ustack.errors import UstackError
from ustack.sim.flow import Flow
from ustack.sim.network import Network
from ustack.sim.nodes import Link
from ustack.sim.scenario import Scenario

__all__ = ["as_json", "as_table", "plot", "summary"]

MANY = 8  # more lines than this of one kind become one


def summary(scenario: Scenario, net: Network) -> dict[str, Any]:
    """Return the figures: of the scenario, of each flow, of each link that did something."""
    return {
        "scenario": scenario.name,
        "title": scenario.title,
        "seed": net.seed,
        "seconds": net.now,
        "flows": [_flow(flow) for flow in net.flows],
        "fairness": _fairness(net),
        "links": [_link(link) for link in net.links],
    }


def _flow(flow: Flow) -> dict[str, Any]:
    latencies = flow.latencies
    figures = {
        "name": flow.name,
        "goodput": round(flow.goodput),
        "bytes_to_server": flow.bytes_to_server,
        "bytes_to_client": flow.bytes_to_client,
        "requests": flow.done,
        "rexmts": flow.rexmts,
        "rtt_p50": flow.median_rtt(),
        "finished": flow.finished,
        "error": flow.error,
    }
    if latencies:
        ranked = sorted(latencies)
        figures["latency_p50"] = statistics.median(ranked)
        figures["latency_p99"] = ranked[min(len(ranked) - 1, len(ranked) * 99 // 100)]
    return figures


def _link(link: Link) -> dict[str, Any]:
    stats = link.forward_stats()
    return {
        "name": link.name,
        "frames": stats.frames_in,
        "drops": stats.drops,
        "marks": stats.marked,
        "queue_mean": round(link.mean_queue()),
        "queue_max": stats.queue_bytes_max,
        "wait_max": stats.waited_ns_max / 1e9,
    }


def _fairness(net: Network) -> float | None:
    """Return Jain's index of the goodputs of bulk flows; None for fewer than two."""
    rates = [flow.goodput for flow in net.flows if not flow.latencies and flow.goodput]
    if len(rates) < 2:
        return None
    return sum(rates) ** 2 / (len(rates) * sum(rate * rate for rate in rates))


def as_json(figures: dict[str, Any], net: Network) -> str:
    """Return the figures with all samples as one JSON object."""
    series = {flow.name: _columns(flow.samples) for flow in net.flows}
    queues = {link.name: _columns(link.samples) for link in net.links}
    return json.dumps(figures | {"samples": {"flows": series, "links": queues}}, indent=1)


def _columns(samples: Any) -> dict[str, Any]:
    return {name: getattr(samples, name) for name in samples.__slots__} if samples else {}


def as_table(figures: dict[str, Any]) -> str:
    """Return the figures as text; many flows or links of a kind are told in one line."""
    lines = [f"{figures['title']} (seed {figures['seed']}, {figures['seconds']:g} s)", ""]
    flows = [["flow", "goodput", "RTT p50", "resent", "requests", "latency p50", "p99", "finished"]]
    flows += [_flow_row(name, group) for name, group in _groups(figures["flows"])]
    links = [["link", "frames", "drops", "marks", "queue mean", "max", "longest wait"]]
    busy = [link for link in figures["links"] if link["frames"]]
    links += [_link_row(name, group) for name, group in _groups(busy)]
    lines += [*_align(flows), "", *_align(links)]
    if figures["fairness"] is not None:
        lines += ["", f"fairness (Jain): {figures['fairness']:.4f}"]
    return "\n".join(lines)


def _groups(rows: list[dict[str, Any]]) -> list[tuple[str, list[dict[str, Any]]]]:
    """Return rows by name; those whose names differ in a number only, if they are many, as one."""
    groups: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        groups.setdefault(re.sub(r"\d+", "*", row["name"]), []).append(row)
    out: list[tuple[str, list[dict[str, Any]]]] = []
    for stem, group in groups.items():
        if len(group) > MANY:
            out.append((f"{len(group)} of {stem}", group))
        else:
            out += [(row["name"], [row]) for row in group]
    return out


def _flow_row(name: str, group: list[dict[str, Any]]) -> list[str]:
    ends = [f["finished"] for f in group]
    failed = next((f["error"] for f in group if f["error"]), 0)
    end = "-" if None in ends else f"{max(ends):.3f} s"
    waits = [_ms(_median(f.get(key) for f in group)) for key in ("latency_p50", "latency_p99")]
    return [
        name,
        f"{sum(f['goodput'] for f in group) / 1e6:.3f} Mbit/s",
        _ms(_median(f["rtt_p50"] for f in group)),
        str(sum(f["rexmts"] for f in group)),
        str(sum(f["requests"] for f in group)) if "latency_p50" in group[0] else "-",
        *waits,
        f"errno {failed}" if failed else end,
    ]


def _link_row(name: str, group: list[dict[str, Any]]) -> list[str]:
    counts = [str(sum(k[key] for k in group)) for key in ("frames", "drops", "marks")]
    sizes = [f"{max(k[key] for k in group) / 1000:.1f} kB" for key in ("queue_mean", "queue_max")]
    return [name, *counts, *sizes, _ms(max(k["wait_max"] for k in group))]


def _median(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return statistics.median(known) if known else None


def _ms(value: float | None) -> str:
    return "-" if value is None else f"{value * 1000:.2f} ms"


def _align(rows: list[list[str]]) -> list[str]:
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    out = []
    for row in rows:
        cells = [cell.rjust(width) for cell, width in zip(row, widths, strict=True)]
        out.append("  ".join([row[0].ljust(widths[0]), *cells[1:]]))
    return out


def plot(scenario: Scenario, net: Network, path: str) -> None:
    """Draw cwnd, RTT, throughput, queue and losses over time into an image, by its ending.

    Raises UstackError when matplotlib is not there.
    """
    try:
        import matplotlib
    except ImportError:
        raise UstackError("--plot needs matplotlib: pip install 'ustack[plot]'") from None
    matplotlib.use("Agg")
    matplotlib.rcParams["svg.hashsalt"] = "ustack"  # the same file for the same run
    from matplotlib import pyplot

    figure, panels = pyplot.subplots(4, 1, sharex=True, figsize=(9, 10), layout="constrained")
    for flow in net.flows:
        _plot_flow(panels, flow)
    for link in net.links:
        _plot_link(panels[3], link)
    for panel, label in zip(panels, ("cwnd, kB", "RTT, ms", "Mbit/s", "queue, kB"), strict=True):
        panel.set_ylabel(label)
        panel.set_ylim(bottom=0)
        panel.grid(alpha=0.3)
    if len(net.flows) <= 12:
        panels[0].legend(loc="upper right", fontsize="small")
    panels[3].set_xlabel("virtual seconds; × drops since the last sample")
    figure.suptitle(f"{scenario.title} (seed {net.seed})")
    metadata = {"Date": None} if path.endswith(".svg") else None
    try:
        figure.savefig(path, metadata=metadata)
    except ValueError as error:
        raise UstackError(f"cannot draw {path}: {error}") from None
    finally:
        pyplot.close(figure)


def _plot_flow(panels: Any, flow: Flow) -> None:
    samples = flow.samples
    if samples is None or not samples.time:
        return
    windows = [value / 1000 for value in samples.cwnd]
    (line,) = panels[0].plot(samples.time, windows, label=flow.name, linewidth=1)
    color = line.get_color()
    panels[1].plot(samples.time, [1000 * rtt for rtt in samples.srtt], color=color, linewidth=1)
    rates = [value / 1e6 for value in samples.throughput()]
    panels[2].plot(samples.time, rates, color=color, linewidth=1)


def _plot_link(panel: Any, link: Link) -> None:
    samples = link.samples
    if samples is None or not samples.time or not link.forward_stats().frames_in:
        return
    queue = [value / 1000 for value in samples.queue_bytes]
    (line,) = panel.plot(samples.time, queue, label=link.name, linewidth=1)
    pairs = zip(samples.drops, samples.drops[1:], strict=False)
    lossy = [i + 1 for i, (a, b) in enumerate(pairs) if b > a]
    where = ([samples.time[i] for i in lossy], [queue[i] for i in lossy])
    panel.plot(*where, "x", color=line.get_color(), markersize=4)
