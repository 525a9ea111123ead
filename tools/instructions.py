# SPDX-License-Identifier: BSD-3-Clause
"""Instructions that the engine spends on a segment, counted by callgrind: dev.py bench engine.

    instructions.py [--check | --record] [--json]

A figure that does not depend on the machine or on what else it does, only on the code and on the
compiler: so it is recorded, in tools/instructions.json with the compiler's version, and --check
fails when one has risen by more than 5 %. Whoever raises one on purpose records it anew and says
why in the commit. Under another compiler, or without valgrind, --check only tells.

The engine is compiled by CC (gcc) with -O2 -march=x86-64-v2 and driven by instructions.c.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from laws import PACKAGE, PURE, ROOT, layer_of

RECORD = ROOT / "tools" / "instructions.json"
PROGRAM = ROOT / "tools" / "instructions.c"
FLAGS = ["-std=gnu11", "-O2", "-march=x86-64-v2", "-g", "-DNDEBUG", f"-I{PACKAGE}"]
MAX_RISE = 1.05
SMALL, LARGE = ("64", "1", "32", "100"), ("1448", "32", "1", "100")
#: Whose turn is counted, and of what: bytes of a segment, segments of a connection a round,
#: connections, rounds. Of an echo it is the server's, for a question and its answer; of a
#: connection, too, from SYN to FIN, with one echo in it.
CASES = {
    "small in": ("counted_receiver", *SMALL),
    "small out": ("counted_sender", *SMALL),
    "large in": ("counted_receiver", *LARGE),
    "large out": ("counted_sender", *LARGE),
    "echo": ("counted_receiver", "64", "1", "64", "100", "echo"),
    "connection": ("counted_receiver", "64", "1", "32", "100", "connect"),
}


def main(argv: list[str] | None = None) -> int:
    """Count, and compare or record; the exit status."""
    parser = argparse.ArgumentParser(prog="dev.py bench engine", description=__doc__.split("\n")[0])
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--check", action="store_true", help="fail if a figure rose by over 5 %%")
    what.add_argument("--record", action="store_true", help=f"write {RECORD.name}")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    args = parser.parse_args(argv)
    missing = why_not()
    if missing:
        print(f"instructions: not counted: {missing}", file=sys.stderr)
        return 0 if args.check else 2
    found = {"compiler": compiler(), "flags": "-O2 -march=x86-64-v2", "instructions": count_all()}
    recorded = json.loads(RECORD.read_text()) if RECORD.exists() else {}
    if args.record:
        RECORD.write_text(json.dumps(found, indent=2) + "\n")
    if args.json:
        print(json.dumps(found, indent=2))
    else:
        print("\n".join(table(found, recorded)))
    return int(args.check and any(risen(found, recorded)))


def why_not() -> str:
    """Return what is missing to count, or nothing."""
    if platform.machine() != "x86_64":
        return f"the figures are of x86_64, this is {platform.machine()}"
    if not shutil.which("valgrind"):
        return "there is no valgrind (apt install valgrind)"
    if not shutil.which(cc()[0]):
        return f"there is no {cc()[0]}"
    return ""


def cc() -> list[str]:
    """Return the compiler as a command."""
    return shlex.split(os.environ.get("CC", "gcc"))


def compiler() -> str:
    """Return the first line of what the compiler says of itself."""
    said = subprocess.run([*cc(), "--version"], capture_output=True, text=True, check=True)
    return said.stdout.splitlines()[0]


def count_all() -> dict[str, float]:
    """Return instructions a segment, by case."""
    with tempfile.TemporaryDirectory() as place:
        program = build(Path(place))
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            counts = list(pool.map(lambda case: count(program, case), CASES))
    return dict(zip(CASES, counts, strict=True))


def build(place: Path) -> Path:
    """Compile the engine and the program in a directory; return the program."""
    engine = [
        p for p in sorted(PACKAGE.rglob("*.c")) if layer_of(p) in PURE and p.parent.name != "sim"
    ]
    sources = [*engine, PROGRAM]

    def compile_one(number: int) -> str:
        output = str(place / f"{number}.o")
        run([*cc(), *FLAGS, "-c", str(sources[number]), "-o", output])
        return output

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        objects = list(pool.map(compile_one, range(len(sources))))
    run([*cc(), "-o", str(place / "program"), *objects])
    return place / "program"


def count(program: Path, case: str) -> float:
    """Return instructions of one end a segment with text."""
    function, *arguments = CASES[case]
    out = program.with_name(f"{case}.out")
    command = ["valgrind", "--tool=callgrind", f"--callgrind-out-file={out}"]
    command += [f"--toggle-collect={function}", str(program), *arguments]
    done = run(command)
    collected = re.search(r"Collected : (\d+)", done.stderr)
    if not collected:
        sys.exit(f"instructions: callgrind has counted nothing: {done.stderr.strip()}")
    return round(int(collected[1]) / int(done.stdout), 1)


def run(command: list[str]) -> subprocess.CompletedProcess[str]:
    """Run a tool; if it fails, so do we."""
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        sys.exit(done.stderr.strip() or f"{command[0]} failed")
    return done


def risen(found: dict, recorded: dict) -> list[str]:
    """Return the figures that are more than 5 % above those recorded, if they can be compared."""
    if recorded.get("compiler") != found["compiler"]:
        return []
    before = recorded["instructions"]
    return [name for name, n in found["instructions"].items() if n > MAX_RISE * before.get(name, n)]


def table(found: dict, recorded: dict) -> list[str]:
    """Return the lines of a report."""
    same = recorded.get("compiler") == found["compiler"]
    lines = [
        "instructions a segment (64 bytes on each of 32 connections; 32 of 1448 on one),"
        " of an echo of 64 bytes on 64, and of a connection for one echo"
    ]
    for name, n in found["instructions"].items():
        before = recorded.get("instructions", {}).get(name)
        change = f"  {100 * (n / before - 1):+.1f} % of {before:,.0f}" if same and before else ""
        lines.append(f"  {name:10} {n:8,.0f}{change}")
    lines.append(f"{found['compiler']}, {found['flags']}")
    if recorded and not same:
        lines.append(f"recorded under another compiler, not compared: {recorded['compiler']}")
    for name in risen(found, recorded):
        lines.append(
            f"{name} has risen by more than 5 %; if that is meant, dev.py bench engine --record,"
            " and say why in the commit"
        )
    return lines


if __name__ == "__main__":
    sys.exit(main())
