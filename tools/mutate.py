# SPDX-License-Identifier: BSD-3-Clause
"""Mutation testing of the engine's C: do the tests notice a small mistake?

A mutant is the engine with one operator, number, condition or statement changed. It is built in a
copy of the project, and the tests of TCP run on it until one fails: then it is killed. One that no
test notices has survived, and shows what is not tested, or that the change means nothing.

Mutants are a seeded sample: as many of each file as it has places to change, but at least
LEAST_PER_FILE. One whose object code is that of the original is no mutant and is replaced.

Verdicts are kept (VERDICTS). When a mutant is judged again, what killed it is tried first; one that
survived meets only the tests whose files have changed since. So a campaign after more tests were
written is short.

Not here: what is done with the result (nightly/mutate.py).
"""

from __future__ import annotations

import ast
import collections
import dataclasses
import functools
import json
import os
import random
import re
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from tools.copies import ROOT, built_copy

LEAST_PER_FILE = 10
#: Processor time that a part of the tests may take, which needs a third of it: behind it, the
#: mutant does not end.
SECONDS = 60
#: The same of the clock, for a mutant that waits for ever.
PATIENCE = 1800
#: A line of JSON for every verdict, so that a campaign goes on where another one was stopped.
VERDICTS = ROOT / "nightly" / "results" / "mutants.jsonl"
#: pytest's statuses for a test that is no longer there, and for none selected.
NO_TESTS = (4, 5)
#: Long tests that tell little about a single line.
LONG = "million or forged or starve or thousand or smack or autotuning or flood"

#: What a token may become. Sequence numbers are compared by functions.
SWAPS = {
    "relational": {
        " < ": [" <= ", " >= "],
        " <= ": [" < ", " > "],
        " > ": [" >= ", " <= "],
        " >= ": [" > ", " < "],
        " == ": [" != "],
        " != ": [" == "],
        "seq_lt(": ["seq_leq(", "seq_geq("],
        "seq_leq(": ["seq_lt(", "seq_gt("],
        "seq_gt(": ["seq_geq(", "seq_leq("],
        "seq_geq(": ["seq_gt(", "seq_lt("],
    },
    "arithmetic": {
        " + ": [" - "],
        " - ": [" + "],
        "++": ["--"],
        "--": ["++"],
        " += ": [" -= ", " = "],
        " -= ": [" += "],
        " << ": [" >> "],
        " >> ": [" << "],
    },
    "logical": {" && ": [" || "], " || ": [" && "]},
    "constant": {"true": ["false"], "false": ["true"]},
}
NUMBER = re.compile(r"(?<![\w.])(\d+)(?=[uUlL]*\b)(?![\w.]*[xX])")
CONDITION = re.compile(r"\b(?:if|while) \((?=.*\)\s*\{?$)")
STATEMENT = re.compile(
    r"^\s+(?!return\b|break\b|case\b|default\b|goto\b|else\b|static\b|const\b)[\w*(][^;{}]*;$"
)
DECLARATION = re.compile(
    r"^\s+(?:const |static |struct |enum |unsigned |u?int\w* |bool |ust_time |size_t |char |void )"
)


@dataclasses.dataclass(frozen=True)
class Mutant:
    """One change: the file's line as it was and as it is."""

    file: str
    line: int
    operator: str
    before: str
    after: str

    def __str__(self) -> str:
        return f"`{self.file}:{self.line}` {self.operator}: `{self.before}` → `{self.after}`"


def bodies(source: str) -> Iterator[tuple[int, str]]:
    """Line numbers and lines inside functions, without comments and assertions."""
    inside, comment = False, False
    for number, line in enumerate(source.splitlines(), 1):
        if line == "{":
            inside = True
        elif line == "}":
            inside = False
        elif inside:
            skip = comment or line.lstrip().startswith(("/*", "assert(", "#"))
            if "/*" in line or comment:
                comment = "*/" not in line
            if not skip:
                yield number, line


def split_comment(line: str) -> tuple[str, str]:
    """The code of a line, and the comment behind it."""
    code, mark, rest = line.partition("/*")
    return code, mark + rest


def changes(line: str) -> Iterator[tuple[str, str]]:
    """Operator and new line for all that can be changed in a line."""
    code, comment = split_comment(line)
    for operator, swaps in SWAPS.items():
        for old, news in swaps.items():
            for match in re.finditer(re.escape(old), code):
                for new in news:
                    yield operator, code[: match.start()] + new + code[match.end() :] + comment
    for match in NUMBER.finditer(code):
        for new in (int(match[1]) + 1, int(match[1]) - 1):
            if new >= 0:
                yield "constant", code[: match.start()] + str(new) + code[match.end(1) :] + comment
    for match in CONDITION.finditer(code):
        opened = match.end()
        closed = matching(code, opened)
        if closed is not None:
            inner = code[opened:closed]
            yield "negate", f"{code[:opened]}!({inner}){code[closed:]}{comment}"
    if STATEMENT.match(code.rstrip()) and not DECLARATION.match(code):
        indent = code[: len(code) - len(code.lstrip())]
        yield "drop", f"{indent};"


def matching(code: str, opened: int) -> int | None:
    """Where the bracket that was opened before this place is closed, on the same line."""
    depth = 1
    for at in range(opened, len(code)):
        depth += (code[at] == "(") - (code[at] == ")")
        if depth == 0:
            return at
    return None


def mutants(tree: Path, file: str) -> list[Mutant]:
    """All mutants of one file."""
    found = []
    lines = list(bodies((tree / file).read_text()))
    whole = {number for number, line in lines}
    for number, line in lines:
        for operator, after in changes(line):
            continued = number + 1 in whole and operator == "drop" and not complete(lines, number)
            if not continued:
                found.append(Mutant(file, number, operator, line.strip(), after.strip()))
    return found


def complete(lines: list[tuple[int, str]], number: int) -> bool:
    """Does the statement of this line begin on it?"""
    before = dict(lines).get(number - 1, "{").split("/*")[0].rstrip()
    return before.endswith((";", "{", "}", ":", ")", "else")) or not before


def sample(tree: Path, files: list[str], number: int, seed: int) -> Iterator[list[Mutant]]:
    """For each mutant wanted, candidates in the order in which they are to be tried."""
    rng = random.Random(seed)
    places = {file: mutants(tree, file) for file in files}
    for pool in places.values():
        rng.shuffle(pool)
    share = {file: min(LEAST_PER_FILE, len(pool)) for file, pool in places.items()}
    left = {file: len(pool) - share[file] for file, pool in places.items()}
    for _ in range(max(0, number - sum(share.values()))):
        file = rng.choices(list(left), weights=list(left.values()))[0]
        share[file] += 1
        left[file] -= 1
    chosen = [places[file][i::count] for file, count in share.items() for i in range(count)]
    rng.shuffle(chosen)
    yield from chosen


# ---------------------------------------------------------------------- building


class Copy:
    """A copy of the project whose extension is built with assertions, quickly."""

    def __init__(self, tree: Path) -> None:
        self.tree = tree
        built_copy(tree, USTACK_DEBUG="1", USTACK_LTO="0", USTACK_CFLAGS="-g0")
        self.extension = next((tree / "ustack").glob("_ustack*.so"))
        self.objects = {path: path.read_bytes() for path in sorted(tree.glob("build/**/*.o"))}
        self.changed = tree / "README.md", (tree / "README.md").read_text()

    def build(self, mutant: Mutant) -> bool:
        """Build a mutant; False when it does not compile or is the same code."""
        self.restore()
        path = self.tree / mutant.file
        self.changed = path, path.read_text()
        lines = self.changed[1].splitlines(keepends=True)
        old = lines[mutant.line - 1]
        lines[mutant.line - 1] = old.replace(old.strip(), mutant.after)
        obj = next(obj for obj in self.objects if str(obj).endswith(mutant.file[:-2] + ".o"))
        cc, arguments, extra = ast.literal_eval(Path(f"{obj}.flags").read_text())
        path.write_text("".join(lines))
        command = [*cc, *arguments, "-c", mutant.file, "-o", str(obj), *extra]
        made = subprocess.run(command, cwd=self.tree, capture_output=True).returncode == 0
        changed = made and obj.read_bytes() != self.objects[obj]
        if changed:
            fresh = self.extension.with_suffix(".new")
            link = [cc[0], "-shared", *map(str, self.objects), "-o", str(fresh)]
            subprocess.run(link, cwd=self.tree, check=True, capture_output=True)
            fresh.rename(self.extension)
        obj.write_bytes(self.objects[obj])
        return changed

    def restore(self) -> None:
        """Put the source of the last mutant back as it was."""
        path, source = self.changed
        path.write_text(source)


# ----------------------------------------------------------------------- testing


def preload() -> None:
    """Import what every test run imports, once for all."""
    import hypothesis
    import pytest  # noqa: F401
    import scapy.all  # noqa: F401

    quick = [hypothesis.Phase.explicit, hypothesis.Phase.generate]
    hypothesis.settings.register_profile("mutate", phases=quick, database=None)
    hypothesis.settings.load_profile("mutate")


def run_tests(tree: Path, tests: list[str], log: Path) -> int:
    """In a child: run the tests in order until one fails; the status."""
    import pytest

    os.setsid()
    resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS))
    out = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(out, 1)
    os.dup2(out, 2)
    os.chdir(tree)
    sys.path[:] = [str(tree), *(path for path in sys.path if not path.startswith(str(ROOT)))]
    for name in [name for name in sys.modules if name.split(".")[0] in ("ustack", "tests")]:
        del sys.modules[name]
    os.environ["USTACK_CFLAGS"] = "-Wno-error"  # a warning of the compiler is no test
    options = ["-x", "-q", "--tb=no", "-p", "no:cacheprovider", "--rootdir", str(tree)]
    return int(pytest.main([*options, *tests]))


def verdict(tree: Path, tests: list[str]) -> tuple[str, float]:
    """Who killed the mutant that is built ("" nobody), and after how many seconds."""
    log, started = tree / "build" / "mutant.log", time.monotonic()
    child = os.fork()
    if child == 0:
        status = 70
        try:
            status = run_tests(tree, tests, log)
        finally:
            os._exit(status)
    while (done := os.waitpid(child, os.WNOHANG)) == (0, 0):
        if time.monotonic() - started > PATIENCE:
            os.killpg(child, signal.SIGKILL)
            os.waitpid(child, 0)
            return "(no end)", time.monotonic() - started
        time.sleep(0.02)
    took = time.monotonic() - started
    if done[1] == 0 or os.waitstatus_to_exitcode(done[1]) in NO_TESTS:
        return "", took
    if os.WIFSIGNALED(done[1]):
        return f"({signal.Signals(os.WTERMSIG(done[1])).name})", took
    failed = re.search(r"^FAILED (\S+)", log.read_text(errors="replace"), re.MULTILINE)
    return failed[1] if failed else f"(status {done[1]})", took


@dataclasses.dataclass(frozen=True)
class Verdict:
    """What became of a mutant: the test that killed it, "" for a survivor; at which commit."""

    mutant: Mutant
    killer: str
    commit: str

    def keep(self) -> None:
        """Append it to VERDICTS; several processes may."""
        about = {"killer": self.killer, "commit": self.commit}
        with VERDICTS.open("a") as file:
            file.write(json.dumps(dataclasses.asdict(self.mutant) | about) + "\n")


def verdicts() -> list[Verdict]:
    """All that were kept, oldest first."""
    lines = VERDICTS.read_text().splitlines() if VERDICTS.exists() else []
    return [
        Verdict(killer=line.pop("killer"), commit=line.pop("commit"), mutant=Mutant(**line))
        for line in map(json.loads, lines)
    ]


def git(*arguments: str) -> str:
    """What git says of this tree."""
    command = ["git", "-C", str(ROOT), *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


@functools.cache
def changed_since(commit: str) -> frozenset[str]:
    """The files of tests that have changed since a commit; of a script, the directory of all."""
    names = git("diff", "--name-only", commit, "HEAD", "--", "tests").splitlines()
    return frozenset(
        name.partition("scripts/")[0] + "scripts" if name.endswith(".pkt") else name
        for name in names
    )


#: Tests in C that run code of TCP by itself: those of congestion control, for these files' stems.
IN_C = ["tests/test_c.py::test_every_claim_of_the_program_holds[congestion]"]
BY_ITSELF = ("cc", "hystart")

#: Which tests to try first for a file, before any has shown what it kills.
LIKELY = {
    "rtt": "rto",
    "recovery": "suites",
    "scoreboard": "suites",
    "undo": "suites",
    "sent": "suites",
    "prr": "suites",
    "rack": "suites",
    "tlp": "suites",
    "open": "handshake",
    "build": "handshake",
    "options": "handshake",
    "respond": "reset",
    "output": "nagle",
    "reass": "sack",
    "timer": "timers",
    "timewait": "close",
    "input": "reset",
    "tcp": "listen",
}


@dataclasses.dataclass
class Order:
    """Tests in the order that kills soonest: first those that have killed of the same file."""

    tests: list[str]
    before: dict[str, Verdict] = dataclasses.field(default_factory=dict)
    kills: dict[str, collections.Counter[str]] = dataclasses.field(default_factory=dict)

    def for_mutant(self, mutant: Mutant) -> list[list[str]]:
        """What to run for it, one after the other; over IPv6 where it says so."""
        kills = self.kills.get(mutant.file, collections.Counter())
        last = self.before.get(str(mutant), Verdict(mutant, "", ""))
        in_c = IN_C * Path(mutant.file).stem.startswith(BY_ITSELF)
        if last.commit and not last.killer:
            changed = changed_since(last.commit)
            programs = [in_c] * any(name.startswith("tests/c/") for name in changed)
            return [*filter(None, programs), *([test] for test in self.tests if test in changed)]
        before = [last.killer] if self.exists(last.killer) else []
        known = [test for test, _ in kills.most_common(30)]
        by_file = collections.Counter(test.split("::")[0] for test in kills.elements())
        stem = LIKELY.get(Path(mutant.file).stem, Path(mutant.file).stem)
        first, *others = self.tests
        files = sorted(others, key=lambda test: (f"test_{stem}" not in test, -by_file[test]))
        four = ["-k", f"not (ipv6 or pkt-6 or {LONG})"]
        six = (
            [*self.tests, "-k", f"(ipv6 or pkt-6) and not ({LONG})"]
            if "v6" in mutant.before.lower()
            else []
        )
        others = [[*files[i : i + 8], *four] for i in range(3, len(files), 8)]
        parts = (before, known, in_c, [first, *four], [*files[:3], *four], *others, six)
        return [part for part in parts if part]

    def exists(self, test: str) -> bool:
        """Is this one of the tests?"""
        return test in IN_C or any(test.startswith(name) for name in self.tests)

    def learn(self, verdict: Verdict) -> None:
        """Note which test has killed one of this file."""
        self.before[str(verdict.mutant)] = verdict
        if "::" in verdict.killer:
            kills = self.kills.setdefault(verdict.mutant.file, collections.Counter())
            kills[verdict.killer] += 1


def judge(tree: Path, parts: list[list[str]]) -> tuple[str, float]:
    """The verdict of the parts together."""
    killer, total = "", 0.0
    for part in parts:
        killer, took = verdict(tree, part)
        total += took
        if killer:
            break
    return killer, total
