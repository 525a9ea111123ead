# SPDX-License-Identifier: BSD-3-Clause
"""Programs of tests/c that are linked with the whole engine: what they print, what they cost."""

from __future__ import annotations

import functools
import os
import re
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from test_c import ENV, ROOT
from test_determinism import engine_sources

#: For tests that count instructions.
needs_callgrind = pytest.mark.skipif(
    "USTACK_SANITIZER" in os.environ or not shutil.which("valgrind"),
    reason="no valgrind, or a sanitizer, beside which it does not run",
)


FLAGS = ("-O2", "-g", "-std=gnu11", "-I", ROOT / "ustack")


@functools.cache
def engine_objects(place: Path) -> list[Path]:
    """Compile the engine, as it is released; once for all programs of a run."""
    place.mkdir()

    def one(source: Path) -> Path:
        output = place / f"{source.parent.name}-{source.stem}.o"
        subprocess.run(["gcc", *FLAGS, "-c", source, "-o", output], check=True, env=ENV)
        return output

    with ThreadPoolExecutor(2) as pool:
        return list(pool.map(one, engine_sources()))


def compile_with_engine(name: str, place: Path) -> Path:
    """Compile tests/c/NAME.c with the engine; place: a directory of tmp_path_factory's."""
    program, source = place / name, ROOT / f"tests/c/{name}.c"
    objects = engine_objects(place.parent / "engine-objects")
    subprocess.run(["gcc", *FLAGS, source, *objects, "-o", program], check=True, env=ENV)
    return program


def figures(program: Path, *arguments: int | str) -> dict[str, int]:
    """Run it; the figures that it prints, each behind its name."""
    command = [str(program), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=ENV)
    return {name: int(n) for name, n in re.findall(r"(\w+) (\d+)", done.stdout)}


def instructions(program: Path, place: Path, *arguments: int) -> int:
    """Instructions inside the program's measured(), as callgrind counts them."""
    done = subprocess.run(
        [
            "valgrind",
            "--tool=callgrind",
            f"--callgrind-out-file={place / 'callgrind.out'}",
            "--toggle-collect=measured",
            program,
            *map(str, arguments),
        ],
        capture_output=True,
        text=True,
        check=True,
        env=ENV,
    )
    collected = re.search(r"Collected : (\d+)", done.stderr)
    assert collected, done.stderr
    return int(collected[1])
