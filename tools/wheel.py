# SPDX-License-Identifier: BSD-3-Clause
"""Check that a wheel holds no C, and that it works where nothing else is installed."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PLACE = ROOT / "build" / "wheel-venv"
SAMPLE = "import ustack, ustack.aio; print(len(ustack.settings()), 'settings')"


def main(args: list[str]) -> int:
    """Try the wheel that the argument names."""
    wheel = Path(args[0])
    c_files = [name for name in zipfile.ZipFile(wheel).namelist() if name.endswith((".c", ".h"))]
    if c_files:
        print(f"dist: {wheel.name} holds C files: {', '.join(c_files)}", file=sys.stderr)
        return 1
    bin_ = PLACE / "bin"
    bare = {**os.environ, "PYTHONPATH": ""}
    for command in (
        [sys.executable, "-m", "venv", "--clear", str(PLACE)],
        [str(bin_ / "pip"), "install", "--quiet", str(wheel)],
        [str(bin_ / "python"), "-c", SAMPLE],
        [str(bin_ / "ustack"), "--help"],
    ):
        status = subprocess.run(command, cwd=PLACE.parent, env=bare).returncode
        if status:
            print(f"dist: the wheel does not work: {' '.join(command)}", file=sys.stderr)
            return status
    print("dist: the wheel installs and runs")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
