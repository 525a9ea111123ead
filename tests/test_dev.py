# SPDX-License-Identifier: BSD-3-Clause
"""dev.py tells what a bare machine lacks. (That it builds is seen by whoever runs this.)"""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture
def run(tmp_path: Path):
    """Runs dev.py in a directory of its own, with nothing on PATH and outside of any venv."""
    for name in ("dev.py", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path)
    python = Path(sys.base_prefix) / "bin" / f"python3.{sys.version_info.minor}"

    def run(*args: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [str(python), str(tmp_path / "dev.py"), *args],
            env={"PATH": str(tmp_path)},
            capture_output=True,
            text=True,
        )

    return run


def test_help_lists_every_target(run) -> None:
    done = run("help")
    assert done.returncode == 0
    for target in ("help", "demo", "test", "lint", "fmt", "san", "bench", "dist"):
        assert f"\n  {target} " in done.stdout


def test_unknown_target_is_named_with_the_ones_there_are(run) -> None:
    done = run("nightli")
    assert done.returncode == 2
    assert "nightli" in done.stderr and "lint" in done.stderr


def test_a_record_without_a_name_goes_to_the_other_results() -> None:
    spec = importlib.util.spec_from_file_location("dev", ROOT / "dev.py")
    dev = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(dev)
    kept = str(ROOT / "nightly" / "results" / "bench.md")
    assert dev.with_record(["targets", "--record", "--json"]) == [
        "targets", "--record", kept, "--json"
    ]  # fmt: skip
    assert dev.with_record(["targets", "--record"])[-1] == kept
    assert dev.with_record(["targets", "--record", "x.md"])[-1] == "x.md"
    assert dev.with_record(["rpc"]) == ["rpc"]


def test_without_a_compiler_one_line_says_what_to_install(run, tmp_path: Path) -> None:
    done = run("build")
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1
    assert "no C compiler" in done.stderr and "gcc libc6-dev" in done.stderr
    assert not (tmp_path / ".venv").exists()
