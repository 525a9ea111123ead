# SPDX-License-Identifier: BSD-3-Clause
"""ustack sim SCENARIO: run a scenario on virtual time, tell what came of it, draw it."""

import argparse
from pathlib import Path

from ustack._progress import Progress
from ustack.errors import ConfigError
from ustack.sim import report
from ustack.sim.nodes import Host
from ustack.sim.scenario import load, ready

__all__ = ["add_arguments", "main"]

STEPS = 100


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what `ustack sim` understands."""
    names = ", ".join(ready())
    parser.add_argument("scenario", metavar="SCENARIO", help=f"a TOML file, or one of {names}")
    parser.add_argument("--seed", type=int, metavar="N", help="of all chance (the scenario's)")
    parser.add_argument("--seconds", type=float, metavar="S", help="virtual; the scenario's")
    parser.add_argument("--plot", metavar="FILE", help="draw it: out.svg, .png or .pdf")
    parser.add_argument("--capture", metavar="DIR", help="write each host's frames: DIR/HOST.pcap")
    parser.add_argument("--json", action="store_true", help="print one JSON object, with samples")


def main(args: argparse.Namespace) -> int:
    """Simulate and report; the exit status."""
    if args.seconds is not None and not 0 < args.seconds <= 1e6:
        raise ConfigError(f"--seconds must be greater than 0, at most 1e6, got {args.seconds:g}")
    scenario = load(args.scenario)
    net = scenario.build(args.seed)
    if args.capture:
        place = Path(args.capture)
        place.mkdir(parents=True, exist_ok=True)
        for node in net.nodes.values():
            if isinstance(node, Host):
                net.capture(node, place / f"{node.name}.pcap")
    duration = args.seconds or scenario.duration
    with Progress(scenario.name, STEPS) as progress:
        for _ in range(STEPS):
            progress.step(f"{net.now:.1f} of {duration:g} virtual seconds")
            net.run(duration / STEPS)
    if args.plot:
        report.plot(scenario, net, args.plot)
    figures = report.summary(scenario, net)
    print(report.as_json(figures, net) if args.json else report.as_table(figures))
    return 0
