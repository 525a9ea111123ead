# SPDX-License-Identifier: BSD-3-Clause
"""Lines and branches of the C engine that tests run: dev.py cover [tests].

The tests run in a copy of the project whose extension counts; gcov reads its counts. Without
arguments they are those of TCP, UDP and the layers below.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from tools.copies import ROOT, built_copy

TREE = ROOT / "build" / "cover"

#: The engine's own tests, and those elsewhere that run TCP as well.
TESTS = [
    f"tests/{name}" for name in ("net", "udp", "tcp", "drill", "sim", "properties", "test_seeds.py")
]

Counts = dict[int, tuple[int, list[int]]]  #: line: how often it ran, and each of its branches


def run(tests: list[str]) -> int:
    """Run tests with the copy's extension; pytest's exit status."""
    env = {"PYTHONPATH": str(TREE), "PYTHONSAFEPATH": "1", "USTACK_SANITIZER": "coverage"}
    command = [sys.executable, "-m", "pytest", "-q", *tests]
    return subprocess.run(command, cwd=TREE, env={**os.environ, **env}).returncode


def print_coverage() -> None:
    """Print how many lines and branches of each C file ran, the lines that did not, and sums."""
    lines: dict[str, Counts] = {}
    for notes in sorted(TREE.rglob("*.gcda")):
        read_coverage(notes, lines)
    places: dict[str, list[int]] = {}
    print(f"{'':26} {'lines':>13} {'branches':>22}   lines that did not run; ? only half a branch")
    for name in sorted(lines):
        ran = lines[name]
        missed = [number for number, (count, _) in sorted(ran.items()) if not count]
        halves = [n for n, (count, ways) in sorted(ran.items()) if count and 0 in ways]
        ways = [way for _, branches in ran.values() for way in branches]
        counts = [len(ran) - len(missed), len(ran), len(ways) - ways.count(0), len(ways)]
        print(f"{row(name, counts)}  {spans(missed)} ? {spans(halves)}")
        place = places.setdefault(name.rsplit("/", 1)[0], [0, 0, 0, 0])
        places[name.rsplit("/", 1)[0]] = [a + b for a, b in zip(place, counts, strict=True)]
    for place_name, counts in places.items():
        print(row(place_name + "/", counts))


def row(name: str, counts: list[int]) -> str:
    """Return the figures of one file: lines that ran and all, branches that were taken and all."""
    lines, all_lines, ways, all_ways = counts
    share = f"{name:26} {lines:5}/{all_lines:<5} {100 * lines / max(all_lines, 1):6.1f} %"
    return f"{share} {ways:5}/{all_ways:<5} {100 * ways / max(all_ways, 1):6.1f} %"


def read_coverage(data: Path, lines: dict[str, Counts]) -> None:
    """Add what gcov says of one object to lines[file]."""
    gcov = ["gcov", "--json-format", "--branch-probabilities", "--stdout", str(data)]
    found = subprocess.run(gcov, cwd=TREE, capture_output=True, text=True)
    for report in found.stdout.splitlines():
        for file in json.loads(report)["files"]:
            path = Path(os.path.normpath(TREE / file["file"]))
            if not path.is_relative_to(TREE / "ustack") or path.name.startswith("_ustack"):
                continue
            add(file["lines"], lines.setdefault(str(path.relative_to(TREE)), {}))


def add(told: list[dict[str, Any]], counts: Counts) -> None:
    """Add gcov's lines of one file; an inline function is in several objects."""
    for line in told:
        before, ways = counts.get(line["line_number"], (0, []))
        taken = [branch["count"] for branch in line["branches"]]
        if len(ways) == len(taken):
            taken = [a + b for a, b in zip(ways, taken, strict=True)]
        counts[line["line_number"]] = (before + line["count"], taken or ways)


def spans(numbers: list[int]) -> str:
    """Return line numbers shortly: 3-5 9."""
    out: list[list[int]] = []
    for n in numbers:
        if out and n == out[-1][1] + 1:
            out[-1][1] = n
        else:
            out.append([n, n])
    return " ".join(f"{a}-{b}" if a != b else f"{a}" for a, b in out)


def main(args: list[str]) -> int:
    """Build, run and print."""
    print("ustack: building with --coverage ...", flush=True)
    built_copy(TREE, USTACK_CFLAGS="--coverage -O0", USTACK_LTO="0")
    status = run(args or TESTS)
    print_coverage()
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
