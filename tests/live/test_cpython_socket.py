# SPDX-License-Identifier: BSD-3-Clause
"""CPython's own tests of sockets, with ustack.socket in place of the standard library's."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
NOTHING_TO_RUN = 77


def test_cpythons_tests_of_sockets_pass_over_a_stack() -> None:
    tool = [sys.executable, str(ROOT / "tools" / "cpython_socket.py")]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(tool, capture_output=True, text=True, timeout=300, env=environment)
    if done.returncode == NOTHING_TO_RUN:
        pytest.skip(done.stdout.strip())
    assert done.returncode == 0, done.stdout + done.stderr
