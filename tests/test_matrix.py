# SPDX-License-Identifier: BSD-3-Clause
"""Every requirement of RFC 9293 has a test or a reason, and the document says which."""

from __future__ import annotations

import csv
import os
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tools"))

import matrix  # noqa: E402


def test_every_requirement_has_a_test_or_a_reason() -> None:
    assert matrix.problems() == []


def test_the_document_is_up_to_date() -> None:
    """python3 tools/matrix.py writes it."""
    assert matrix.DOCUMENT.read_text() == matrix.document()


def test_the_list_is_whole() -> None:
    """RFC 9293 appendix B has 69 MUSTs, 31 SHOULDs, 18 MAYs, and a recommendation; RFC 2525, 18."""
    ids = [id.rpartition("-")[0] for id in matrix.requirements()]
    assert {kind: ids.count(kind) for kind in set(ids)} == {
        "MUST": 69,
        "SHLD": 31,
        "MAY": 18,
        "REC": 1,
        "2525": 18,
    }


def test_the_list_has_the_ids_of_the_rfc() -> None:
    """Against a table extracted from the RFC, where there is one."""
    shared = Path(os.environ.get("USTACK_SHARED", ROOT.parent / "shared"))
    table = shared / "rfc9293_requirements.csv"
    if not table.exists():
        pytest.skip("no table of the RFC's ids here")
    with table.open() as file:
        ids = {row["id"] for row in csv.DictReader(file)}
    assert ids == {id for id in matrix.requirements() if not id.startswith("2525")}


def test_a_mark_of_an_unknown_id_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    proof = matrix.Proof("tests/test_x.py", "test_y")
    monkeypatch.setattr(matrix, "proofs", lambda: {"MUST-999": [proof]})
    wrong = matrix.problems()
    assert "MUST-999: a test is marked with it, but there is no such id" in wrong
    assert any(line.startswith("MUST-1: neither a test nor a deviation") for line in wrong)
