# SPDX-License-Identifier: BSD-3-Clause
"""docs/virtual_time.md: its tests, as a user would run them; and what a failed one reports."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

NAMED = re.compile(r"```python\n# (test_\w+\.py)\n(.*?)```", re.S)
HOW_TO = Path(__file__).parents[2] / "docs" / "virtual_time.md"


def run_pytest(directory: Path, *arguments: str) -> tuple[int, str]:
    """Run pytest in a directory of its own; its status and what it said."""
    command = [sys.executable, "-m", "pytest", "-p", "ustack.sim.pytest_plugin", *arguments]
    environment = os.environ | {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    done = subprocess.run(
        command, cwd=directory, env=environment, capture_output=True, text=True, timeout=60
    )
    return done.returncode, done.stdout + done.stderr


def test_the_tests_in_the_how_to_pass(tmp_path: Path) -> None:
    written = 0
    for name, code in NAMED.findall(HOW_TO.read_text()):
        if "uvicorn" in code and not all(map(importlib.util.find_spec, ("uvicorn", "httpx"))):
            continue
        (tmp_path / name).write_text(code)
        written += 1
    assert written
    status, told = run_pytest(tmp_path, "-q", "--ustack-seed", "3")
    assert status == 0, told


def test_a_failed_test_says_how_to_repeat_it(tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text(
        "def test_it(ustack_network):\n    ustack_network.run(1.5)\n    assert False\n"
    )
    status, told = run_pytest(tmp_path, "--ustack-seed", "7")
    assert status == pytest.ExitCode.TESTS_FAILED
    assert "--ustack-seed 7: 1.500000 s of virtual time, digest" in told
