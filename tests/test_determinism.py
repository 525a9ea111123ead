# SPDX-License-Identifier: BSD-3-Clause
"""Same configuration, same seed, same calls: same bytes out, whichever compiler made the engine.

tests/c/lossy.c transfers 300 kB between two engines over a seeded link with loss, duplication and
reordering, and prints both engines' trace hashes. tests/data/trace_digest.txt holds what it must
print; a change of behaviour changes it, and says so in its commit.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from test_c import ENV, ROOT

DIGEST = ROOT / "tests" / "data" / "trace_digest.txt"
PURE = ("base", "net", "udp", "tcp", "sock")
COMPILERS = ["gcc -O0", "gcc -O3", "clang -O2"]


def engine_sources() -> list[Path]:
    """Return the C files of the engine, and no other."""
    parts = [file for part in PURE for file in sorted((ROOT / "ustack" / part).glob("*.c"))]
    return [
        *parts,
        *(
            ROOT / "ustack" / f"{name}.c"
            for name in ("engine", "config", "check", "control", "handover")
        ),
    ]


def trace(compiler: str, place: Path) -> str:
    """Return what the transfer prints when this compiler has built it."""
    program = place / "lossy"
    subprocess.run(
        [
            *compiler.split(),
            "-std=gnu11",
            "-I",
            ROOT / "ustack",
            ROOT / "tests/c/lossy.c",
            *engine_sources(),
            "-o",
            program,
        ],
        check=True,
        env=ENV,
    )
    runs = [
        subprocess.run([program], capture_output=True, text=True, check=True, env=ENV)
        for _ in range(2)
    ]
    assert runs[0].stdout == runs[1].stdout
    return runs[0].stdout


@pytest.mark.parametrize("compiler", COMPILERS)
def test_a_lossy_transfer_has_the_committed_trace(compiler: str, tmp_path: Path) -> None:
    if not shutil.which(compiler.split()[0]):
        pytest.skip(f"no compiler: {compiler.split()[0]}")
    digest = trace(compiler, tmp_path)
    if os.environ.get("USTACK_WRITE_DIGEST") == "1":
        DIGEST.write_text(digest)
    assert digest == DIGEST.read_text()
