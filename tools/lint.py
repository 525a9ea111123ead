# SPDX-License-Identifier: BSD-3-Clause
"""Everything that dev.py lint checks, a line each; with --fix, everything that dev.py fmt mends."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def steps() -> Iterator[tuple[str, list[list[str]]]]:
    """Yield name and command lines of each check."""
    yield "ruff check", [[tool("ruff"), "check", "."]]
    yield "ruff format", [[tool("ruff"), "format", "--check", "."]]
    yield "mypy --strict", [[tool("mypy")]]
    layout = [tool("clang-format"), "--dry-run", "-Werror", "--ferror-limit=1"]
    yield "clang-format", [[*layout, *c_files()]]
    for law in "123":
        yield f"law {law}", [[sys.executable, "tools/laws.py", law]]
    if shutil.which("clang-tidy"):
        yield "clang-tidy", list(tidy())
    else:
        print("lint: clang-tidy: skipped, it is not installed")


def tidy() -> Iterator[list[str]]:
    """Yield a clang-tidy for each C source, the longest first."""
    sources = [path for path in c_files() if path.endswith(".c")]
    flags = ["-std=gnu11", "-Iustack", "-I" + sysconfig.get_path("include")]
    for path in sorted(sources, key=lambda path: -(ROOT / path).stat().st_size):
        yield ["clang-tidy", "--quiet", path, "--", *flags]


def check() -> list[str]:
    """Run all checks, as many commands at once as there are cores; the names that failed."""
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        started = [
            (name, [pool.submit(run, command) for command in lines]) for name, lines in steps()
        ]
        try:
            return [name for name, begun in started if not passes(name, begun)]
        except KeyboardInterrupt:
            pool.shutdown(cancel_futures=True)
            raise


def run(command: list[str]) -> subprocess.CompletedProcess[str]:
    """Run one command and keep what it says."""
    return subprocess.run(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def passes(name: str, begun: list[Future[subprocess.CompletedProcess[str]]]) -> bool:
    """Await one check; if it failed, show the lines that tell of an error, or else all it said."""
    done = [each.result() for each in begun]
    failed = any(one.returncode for one in done)
    print(f"lint: {name}: {'FAILED' if failed else 'ok'}", flush=True)
    if failed:
        lines = "".join(one.stdout for one in done).splitlines()
        print("\n".join([line for line in lines if "error:" in line] or lines), flush=True)
    return not failed


def fix() -> int:
    """Sort imports and lay out Python and C."""
    commands = [
        [tool("ruff"), "check", "--quiet", "--fix-only", "--select", "I", "."],
        [tool("ruff"), "format", "--quiet", "."],
        [tool("clang-format"), "-i", *c_files()],
    ]
    return max(subprocess.run(command, cwd=ROOT).returncode for command in commands)


def c_files() -> list[str]:
    """Return all C files that people wrote, relative to the project's root."""
    places = ("ustack", "tests")
    return sorted(str(p.relative_to(ROOT)) for d in places for p in (ROOT / d).rglob("*.[ch]"))


def tool(name: str) -> str:
    """Return a program of the virtual environment, else of the machine."""
    path = Path(sys.prefix) / "bin" / name
    return str(path) if path.exists() else name


def main(args: list[str]) -> int:
    """Check, or with --fix mend."""
    if args == ["--fix"]:
        return fix()
    failed = check()
    print("lint: " + (f"failed: {', '.join(failed)}" if failed else "clean"))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
