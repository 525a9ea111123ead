# SPDX-License-Identifier: BSD-3-Clause
"""The checks of tools/laws.py find what they are there to find."""

from __future__ import annotations

import importlib.util
import shutil
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture
def laws(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """tools/laws.py, looking at an empty package."""
    spec = importlib.util.spec_from_file_location("laws", ROOT / "tools" / "laws.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "ROOT", tmp_path)
    monkeypatch.setattr(module, "PACKAGE", tmp_path / "ustack")
    for name in ("ustack.h", "_build.py", "base/mbuf.h", "tcp/input.h"):
        (tmp_path / "ustack" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "ustack" / name).touch()
    return module


@pytest.fixture
def write(laws: ModuleType) -> Callable[[str, str], None]:
    """Puts a file into that package."""

    def write(name: str, text: str) -> None:
        (laws.PACKAGE / name).write_text(text)

    return write


needs_cc = pytest.mark.skipif(not shutil.which("cc"), reason="needs a C compiler called cc")


@needs_cc
@pytest.mark.parametrize(
    ("code", "breach"),
    [
        ("#include <time.h>\nlong f(void) { return time(0); }", "needs time()"),
        ("int f(void) { static int n; return ++n; }", "variable of its own: n"),
        ("int counter = 1;", "variable of its own: counter"),
        ("const char *name = 0;", "variable of its own: name"),
        ("_Thread_local int x;", "variable of its own: x"),
    ],
)
def test_law_1_sees_effects_and_state(laws, write, code: str, breach: str) -> None:
    write("tcp/input.c", code)
    assert [line for line in laws.law_1() if breach in line]


@needs_cc
def test_law_1_lets_the_engine_copy_bytes_and_call_itself(laws, write) -> None:
    write("base/mbuf.c", "#include <string.h>\nvoid f(void *p, void *q) { memcpy(p, q, 9999); }")
    write("tcp/input.c", "void f(void *, void *);\nvoid g(void *p) { f(p, p); }")
    write("worker.c", "int not_of_the_engine = 1;")
    assert laws.law_1() == []


@needs_cc
def test_law_1_lets_the_engine_have_constant_tables(laws, write) -> None:
    write("tcp/input.c", "static int f(void) { return 1; }\nint (*const table[])(void) = {f};")
    assert laws.law_1() == []


@pytest.mark.parametrize(
    ("name", "include"),
    [
        ("base/mbuf.c", "../tcp/input.h"),
        ("base/ring.c", "tcp/input.h"),
        ("tcp/input.c", "../engine.h"),
        ("io/tap.c", "../tcp/input.h"),
        ("io/tap.c", "../worker.h"),
    ],
)
def test_law_2_sees_an_include_that_points_up(laws, write, name: str, include: str) -> None:
    (laws.PACKAGE / "io").mkdir()
    write("engine.h", "")
    write("worker.h", "")
    write(name, f'#include "{include}"\n')
    assert laws.law_2() == [
        f"ustack/{name}:1: {name.split('/')[0]} includes {include.lstrip('./')}"
    ]


def test_law_2_lets_includes_point_down(laws, write) -> None:
    write("engine.c", '#include "tcp/input.h"\n')
    write("tcp/input.c", '#include "../base/mbuf.h"\n#include "../ustack.h"\n#include "input.h"\n')
    assert laws.law_2() == []


def test_law_2_wants_every_file_in_a_layer(laws, write) -> None:
    write("stray.c", "")
    assert laws.law_2() == ["ustack/stray.c is in no layer that tools/laws.py knows"]


@pytest.mark.parametrize(
    "code",
    [
        "for event in events:\n    lib.ust_recv(event)",
        "while True:\n    if x:\n        lib.ust_recv(x)",
        "n = [lib.ust_recv(h) for h in handles]",
    ],
)
def test_law_3_sees_calls_of_c_in_a_loop(laws, write, code: str) -> None:
    write("socket.py", code)
    assert len(laws.law_3()) == 1


@pytest.mark.parametrize(
    "code",
    [
        "lib.ust_recv(h)",
        "for h in handles:\n    lib.ust_engine_set(h)  # law 3: once a setting",
        "for i in range(lib.ust_counter_count()):\n    pass",
    ],
)
def test_law_3_lets_other_calls_of_c_be(laws, write, code: str) -> None:
    write("socket.py", code)
    assert laws.law_3() == []


def test_law_3_sees_callbacks_through_cffi(laws, write) -> None:
    write("ustack.h", 'extern "Python" void on_event(int);')
    assert len(laws.law_3()) == 1
