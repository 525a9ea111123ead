# SPDX-License-Identifier: BSD-3-Clause
"""What tests of ustack bench share: short runs of it, and cells that were not measured."""

import json
import subprocess
import sys
from typing import Any

import pytest

from ustack.bench.sides import Cell

__all__ = ["FEW", "QUICK", "bench", "cells", "measured"]

QUICK = ["--seconds", "0.02", "--repetitions", "1"]
FEW = ["--requests", "20", "--repetitions", "1", "--vs", "none"]


def bench(*argv: str) -> subprocess.CompletedProcess[str]:
    """Run `ustack bench` to its end."""
    return subprocess.run(
        [sys.executable, "-m", "ustack", "bench", *argv],
        capture_output=True,
        text=True,
        timeout=240,
    )


def measured(*argv: str) -> dict[str, Any]:
    """Run it with --json; skip when this system gives no tap, or no veth pair."""
    done = bench(*argv, "--json")
    if done.returncode == 2 and ("tap:" in done.stderr or "veth pair" in done.stderr):
        pytest.skip(done.stderr.strip())
    assert (done.returncode, done.stderr) == (0, "")
    return dict(json.loads(done.stdout))


def cells(modes: str, *values: float, figure: str = "requests_per_s") -> list[Cell]:
    """Return cells: a letter of modes for each value."""
    names = {"n": "near", "f": "far", "m": "mixed"}
    figures = ({figure: value} for value in values)
    return [Cell(f, mode=names[m]) for m, f in zip(modes, figures, strict=True)]
