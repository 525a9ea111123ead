# SPDX-License-Identifier: BSD-3-Clause
"""The test suites of others on a stack: CPython's of sockets and of asyncio, and uvloop's."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.quiet

ROOT = Path(__file__).resolve().parents[2]
NOTHING_TO_RUN = 77


@pytest.mark.skipif(
    "USTACK_SANITIZER" in os.environ, reason="it runs the extension as it is built in place"
)
@pytest.mark.parametrize("suite", ["cpython_socket", "cpython_asyncio", "uvloop_suite"])
def test_the_suite_of_another_project_passes_on_a_stack(suite: str) -> None:
    tool = [sys.executable, str(ROOT / "tools" / f"{suite}.py")]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(tool, capture_output=True, text=True, timeout=400, env=environment)
    if done.returncode == NOTHING_TO_RUN:
        pytest.skip(done.stdout.strip())
    assert done.returncode == 0, done.stdout + done.stderr
