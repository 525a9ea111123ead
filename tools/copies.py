# SPDX-License-Identifier: BSD-3-Clause
"""Copies of the project whose extension is built in another way: to count lines, to be mutated."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

__all__ = ["ROOT", "built_copy"]


def built_copy(tree: Path, **env: str) -> None:
    """Make tree a copy, and build its extension in place with these variables set as well.

    What the compiler says is shown if it fails, and ends the process.
    """
    shutil.rmtree(tree, ignore_errors=True)
    leave = shutil.ignore_patterns("*.so", "__pycache__", "build", ".*", "dist", "*.egg-info")
    shutil.copytree(ROOT, tree, ignore=leave)
    command = [sys.executable, "setup.py", "--quiet", "build_ext", "--inplace"]
    done = subprocess.run(
        command, cwd=tree, env={**os.environ, **env}, capture_output=True, text=True
    )
    if done.returncode:
        sys.exit(done.stdout + done.stderr)
