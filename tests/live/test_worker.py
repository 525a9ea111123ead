# SPDX-License-Identifier: BSD-3-Clause
"""The worker with threads, on a fake engine and port, under the sanitizers (tests/c)."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
SOURCES = [
    ROOT / "tests/c/worker_test.c",
    *(ROOT / f"ustack/{part}.c" for part in ("worker", "wait", "calls")),
]
FLAGS = [
    "-std=gnu11",
    "-g",
    "-O1",
    "-Wall",
    "-Wextra",
    "-no-pie",
    "-Wl,--unresolved-symbols=ignore-all",
]


@pytest.mark.parametrize("sanitizer", ["thread", "address,undefined"])
def test_threads_that_wait_lose_nothing_and_race_on_nothing(sanitizer: str, tmp_path: Path) -> None:
    compiler = shutil.which("gcc") or shutil.which("cc")
    assert compiler, "these tests need gcc: apt install gcc"
    program = tmp_path / "worker_test"
    subprocess.run(
        [compiler, *FLAGS, f"-fsanitize={sanitizer}", "-o", program, *SOURCES, "-lpthread"],
        check=True,
    )
    done = run([program])
    if "unexpected memory mapping" in done.stderr:  # of TSan, where addresses are very random
        done = run(["setarch", "-R", program])
    assert done.returncode == 0 and "WARNING" not in done.stderr, done.stdout + done.stderr


def run(command: list[str | Path]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, timeout=120)
