# SPDX-License-Identifier: BSD-3-Clause
"""Which test proves which requirement of RFC 9293, and that RFC 2525's problems are not ours.

A test says so by `@pytest.mark.rfc("MUST-13", …)`. tests/data/requirements.txt lists the ids;
tests/data/deviations.txt gives a reason for each that we do not follow. From these comes
docs/rfc9293.md:

    python3 tools/matrix.py          write it
    python3 tools/matrix.py --check  fail if it is stale, or if an id has neither test nor reason
"""

from __future__ import annotations

import ast
import collections
import dataclasses
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
REQUIREMENTS = ROOT / "tests/data/requirements.txt"
DEVIATIONS = ROOT / "tests/data/deviations.txt"
DOCUMENT = ROOT / "docs/rfc9293.md"
#: MAY asks for nothing, so it may have neither test nor reason.
OPTIONAL = {"MAY"}

HEAD = """\
# RFC 9293, requirement by requirement

Written by `tools/matrix.py` from the marks in the tests, `tests/data/requirements.txt` and
`tests/data/deviations.txt`; a test fails when it is stale, or when a MUST, a SHOULD or a problem of
RFC 2525 has neither a test nor a reason. The words are ours; ids are those of RFC 9293, appendix B.
"""


@dataclasses.dataclass(frozen=True)
class Requirement:
    """One row of requirements.txt."""

    id: str
    level: str
    topic: str
    text: str


@dataclasses.dataclass(frozen=True)
class Proof:
    """A marked test."""

    file: str
    name: str


def rows(path: Path) -> Iterator[list[str]]:
    """The fields of each line of a table that is no comment."""
    for line in path.read_text().splitlines():
        if line and not line.startswith("#"):
            yield [cell.strip() for cell in line.split("|")]


def requirements() -> dict[str, Requirement]:
    """All requirements by id."""
    return {row[0]: Requirement(*row) for row in rows(REQUIREMENTS)}


def deviations() -> dict[str, str]:
    """Reasons by id."""
    return {row[0]: row[1] for row in rows(DEVIATIONS)}


def proofs() -> dict[str, list[Proof]]:
    """The marked tests of each id."""
    found: dict[str, list[Proof]] = collections.defaultdict(list)
    for top in ("tests", "interop"):
        for path in sorted((ROOT / top).rglob("test_*.py")):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.FunctionDef):
                    for id in marks(node):
                        found[id].append(Proof(str(path.relative_to(ROOT)), node.name))
    return found


def marks(test: ast.FunctionDef) -> Iterator[str]:
    """The ids in a test's `@pytest.mark.rfc(…)`."""
    for decorator in test.decorator_list:
        if isinstance(decorator, ast.Call) and ast.unparse(decorator.func) == "pytest.mark.rfc":
            for argument in decorator.args:
                yield ast.literal_eval(argument)


def problems() -> list[str]:
    """What is wrong with the tables, a line each."""
    known, reasons, tests = requirements(), deviations(), proofs()
    wrong = [
        f"{id}: a test is marked with it, but there is no such id" for id in tests.keys() - known
    ]
    wrong += [f"{id}: a deviation, but there is no such id" for id in reasons.keys() - known]
    wrong += [
        f"{row.id}: neither a test nor a deviation ({row.text})"
        for row in known.values()
        if row.level not in OPTIONAL and row.id not in tests and row.id not in reasons
    ]
    return sorted(wrong)


def document() -> str:
    """The text of docs/rfc9293.md."""
    known, reasons, tests = requirements(), deviations(), proofs()
    tested = sum(id in tests for id in known)
    differ = sum(id in reasons and id not in tests for id in known)
    lines = [
        HEAD,
        f"{len(known)} rows: {tested} with a test, {differ} with a reason only.\n",
        "| id | topic | what is asked | proof, or why not |\n|---|---|---|---|",
    ]
    for row in known.values():
        name = row.id if row.level != "PROBLEM" else row.topic
        topic = row.topic if row.level != "PROBLEM" else "must not happen"
        parts = [link(proof) for proof in tests.get(row.id, [])]
        parts += [reasons[row.id]] if row.id in reasons else []
        lines.append(f"| {name} | {topic} | {row.text} | {'; '.join(parts) or '–'} |")
    return "\n".join(lines) + "\n"


def link(proof: Proof) -> str:
    """A test as the table shows it."""
    words = proof.name.removeprefix("test_").replace("_", " ")
    return f"[{words}](../{proof.file})"


def main(arguments: list[str]) -> int:
    """Write the document, or check it."""
    wrong = problems()
    if arguments == ["--check"]:
        if not DOCUMENT.exists() or DOCUMENT.read_text() != document():
            wrong.append("docs/rfc9293.md is stale: run python3 tools/matrix.py")
    else:
        DOCUMENT.parent.mkdir(exist_ok=True)
        DOCUMENT.write_text(document())
    for line in wrong:
        print(line, file=sys.stderr)
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
