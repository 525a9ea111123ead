# SPDX-License-Identifier: BSD-3-Clause
"""The C tests: each program of tests/c that names its sources is compiled and run.

A program names them at the end of its first comment ("Sources: base/mbuf.c base/checksum.c", below
ustack/, or "Sources: none"), needs no extension and no Python, and ends with status 0 when all its
claims hold. Assertions are on. CC is the compiler, gcc by default; USTACK_CFLAGS is appended to
its flags.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
FLAGS = ["-std=gnu11", "-O2", "-g", "-Wall", "-Wextra", "-Werror", "-pthread"]


# A preloaded sanitizer is meant for Python: it would look for leaks in the compiler.
ENV = {name: value for name, value in os.environ.items() if name != "LD_PRELOAD"}


def sources(program: Path) -> list[Path] | None:
    """Return the files of the package that a program is linked with; None: not such a program."""
    named = re.search(r"^ \* Sources: (.*?)\*/", program.read_text(), re.MULTILINE | re.DOTALL)
    return [ROOT / "ustack" / name for name in re.findall(r"\S+\.c", named[1])] if named else None


PROGRAMS = [p for p in sorted((ROOT / "tests" / "c").glob("*.c")) if sources(p) is not None]


def compile_program(program: Path, output: Path) -> None:
    """Compile and link one program; what the compiler says is the failure's text."""
    command = [
        *shlex.split(os.environ.get("CC", "gcc")),
        *FLAGS,
        "-I",
        str(ROOT / "ustack"),
        str(program),
        *map(str, sources(program) or []),
        "-o",
        str(output),
        *shlex.split(os.environ.get("USTACK_CFLAGS", "")),
    ]
    done = subprocess.run(command, capture_output=True, text=True, env=ENV)
    assert done.returncode == 0, f"{shlex.join(command)}\n{done.stderr}"


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda path: path.stem)
def test_every_claim_of_the_program_holds(program: Path, tmp_path: Path) -> None:
    compile_program(program, tmp_path / program.stem)
    done = subprocess.run(
        [tmp_path / program.stem], capture_output=True, text=True, env=ENV, timeout=300
    )
    assert done.returncode == 0, done.stderr


def test_base_has_a_program_for_every_module() -> None:
    """The modules of base that know no other part of ustack, that is."""
    programs = {program.stem for program in PROGRAMS}
    assert programs >= {"checksum", "flowtable", "mbuf", "ranges", "rss", "siphash", "wheel"}
