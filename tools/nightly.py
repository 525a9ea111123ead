# SPDX-License-Identifier: BSD-3-Clause
"""Run the long jobs of nightly/ and keep what they found: dev.py nightly [NAME…] [-- arguments].

A job is a program nightly/NAME.py, whose first docstring line says what it does. What it prints to
standard output is its result, in Markdown; it goes to nightly/results/NAME.md below a line with the
date, the commit, the machine, the command and the time that it took. Progress belongs on standard
error. A job that fails leaves its result, too, with the exit status.
"""

from __future__ import annotations

import ast
import datetime
import os
import platform
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
JOBS = ROOT / "nightly"


def summary(job: Path) -> str:
    """Return the first line of a job's docstring."""
    return (ast.get_docstring(ast.parse(job.read_text())) or "").partition("\n")[0]


def commit() -> str:
    """Return the commit at hand, with a + when files differ from it."""
    git = ["git", "-C", str(ROOT)]
    head = subprocess.run([*git, "rev-parse", "--short", "HEAD"], capture_output=True, text=True)
    dirty = subprocess.run([*git, "diff", "--quiet", "HEAD"], capture_output=True).returncode
    return (head.stdout.strip() or "no commit") + ("+" if dirty else "")


def machine() -> str:
    """Return what the figures depend on: processor, cores, kernel, Python."""
    cpu = platform.machine()
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            cpu = line.partition(":")[2].strip()
            break
    return (
        f"{cpu}, {os.cpu_count()} cores, {platform.release()}, Python {platform.python_version()}"
    )


def run(job: Path, arguments: list[str]) -> int:
    """Run one job; its output is shown as it comes and kept as its result."""
    print(f"nightly: {job.stem}: {summary(job)}", file=sys.stderr, flush=True)
    head, started = commit(), time.monotonic()
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}", "PYTHONUNBUFFERED": "1"}
    lines = []
    with subprocess.Popen(
        [sys.executable, str(job), *arguments],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout
        for line in process.stdout:
            print(line, end="", flush=True)
            lines.append(line)
    took = time.monotonic() - started
    command = " ".join(
        ["python3 dev.py nightly", job.stem, *(["--", *arguments] * bool(arguments))]
    )
    facts = f"{datetime.date.today()}, commit {head}, {machine()}, `{command}`, {took:.0f} s"
    verdict = "" if process.returncode == 0 else f", **exit status {process.returncode}**"
    result = JOBS / "results" / f"{job.stem}.md"
    result.parent.mkdir(exist_ok=True)
    result.write_text(f"# {summary(job)}\n\n{facts}{verdict}\n\n{''.join(lines).rstrip()}\n")
    return process.returncode


def main(arguments: list[str]) -> int:
    """Run the jobs named, or all; 1 when one of them failed, 2 for a name that is none."""
    at = arguments.index("--") if "--" in arguments else len(arguments)
    names, rest = arguments[:at], arguments[at + 1 :]
    jobs = {path.stem: path for path in sorted(JOBS.glob("*.py"))}
    unknown = [name for name in names if name not in jobs]
    if unknown:
        known = ", ".join(jobs) or "none yet"
        print(f"nightly: no job is called {unknown[0]!r}; there are: {known}", file=sys.stderr)
        return 2
    failed = [name for name in names or jobs if run(jobs[name], rest)]
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
