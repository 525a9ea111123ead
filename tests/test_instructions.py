# SPDX-License-Identifier: BSD-3-Clause
"""tools/instructions.py: when a figure has risen. (That callgrind counts: dev.py bench engine.)"""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path
from types import ModuleType

import pytest

TOOLS = Path(__file__).resolve().parent.parent / "tools"
RECORDED = {"compiler": "gcc 12", "flags": "-O2", "instructions": {"small in": 1000.0}}


@pytest.fixture
def tool(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> ModuleType:
    """The module, with a record and a count of its own."""
    monkeypatch.syspath_prepend(str(TOOLS))
    module = importlib.import_module("instructions")
    record = tmp_path / "record.json"
    record.write_text(json.dumps(RECORDED))
    monkeypatch.setattr(module, "RECORD", record)
    monkeypatch.setattr(module, "why_not", lambda: "")
    monkeypatch.setattr(module, "compiler", lambda: "gcc 12")
    yield module
    sys.modules.pop("instructions")


@pytest.mark.parametrize(("count", "status"), [(900.0, 0), (1050.0, 0), (1051.0, 1)])
def test_a_rise_of_more_than_5_percent_fails_the_check(
    tool: ModuleType, monkeypatch: pytest.MonkeyPatch, count: float, status: int
) -> None:
    monkeypatch.setattr(tool, "count_all", lambda: {"small in": count})
    assert tool.main(["--check"]) == status
    assert tool.main([]) == 0


def test_another_compiler_is_told_and_not_compared(
    tool: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(tool, "count_all", lambda: {"small in": 5000.0})
    monkeypatch.setattr(tool, "compiler", lambda: "gcc 13")
    assert tool.main(["--check"]) == 0
    assert "not compared: gcc 12" in capsys.readouterr().out


def test_what_is_recorded_is_what_is_compared_next(
    tool: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tool, "count_all", lambda: {"small in": 5000.0})
    assert tool.main(["--record"]) == 0
    assert tool.main(["--check"]) == 0


def test_without_valgrind_the_check_passes_and_a_count_does_not(
    tool: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(tool, "why_not", lambda: "there is no valgrind")
    assert (tool.main(["--check"]), tool.main([])) == (0, 2)
    assert "no valgrind" in capsys.readouterr().err


def test_the_record_is_of_what_is_counted(tool: ModuleType) -> None:
    recorded = json.loads((TOOLS / "instructions.json").read_text())
    assert set(recorded["instructions"]) == set(tool.CASES)
