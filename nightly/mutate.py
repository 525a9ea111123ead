# SPDX-License-Identifier: BSD-3-Clause
"""Mutation testing of the C of ustack/tcp.

Usage: mutate.py [number of mutants [seed [files…]]]; by default 300, 1 and all of ustack/tcp.
"""

from __future__ import annotations

import collections
import os
import signal
import sys
import traceback
from pathlib import Path
from typing import NoReturn

from tools import mutate

TESTS = [
    "tests/tcp",
    "tests/test_wire.py",
    "tests/test_seeds.py",
    "tests/net/test_icmp.py",
    "tests/net/test_pmtu.py",
    "tests/properties/test_model.py",
    "tests/properties/test_shortcuts.py",
    "tests/drill",
]
#: Our own scripts: quick, and of every corner.
SCRIPTS = "tests/drill/scripts"
#: Runs Linux's TCP by the clock of the wall, and kills nothing of ours.
NOT_OURS = "tests/drill/test_linux_backend.py"
#: Why a survivor is no gap of the tests: what a line of ours says of the changed line.
REASONS = Path(__file__).parent / "survivors.txt"


def test_files(tree: Path) -> list[str]:
    """The files of TESTS that there are."""
    paths = [tree / name for name in TESTS]
    found = [
        file for path in paths for file in ([path] if path.is_file() else path.glob("test_*.py"))
    ]
    names = {str(path.relative_to(tree)) for path in found if path.exists()}
    return [SCRIPTS, *sorted(names - {NOT_OURS})]


def reasons() -> dict[str, str]:
    """The reason by changed line: `file: before => after: reason`."""
    lines = REASONS.read_text().splitlines() if REASONS.exists() else []
    pairs = [line.split(" ## ") for line in lines if line and not line.startswith("#")]
    return {key.strip(): reason.strip() for key, reason in pairs}


def main(number: int = 300, seed: int = 1, *files: str) -> int:
    """Sample, build, test, report: every processor has its files and its copy of the project."""
    os.environ.setdefault("USTACK_SHARED", str(mutate.ROOT.parent / "shared"))
    mutate.preload()
    chosen = list(files) or sorted(
        str(path.relative_to(mutate.ROOT)) for path in (mutate.ROOT / "ustack/tcp").glob("*.c")
    )
    sample = list(mutate.sample(mutate.ROOT, chosen, number, seed))
    old = mutate.verdicts()
    jobs = os.cpu_count() or 1
    children = [os.fork() or work(job, sample, chosen[job::jobs], old) for job in range(jobs)]
    try:
        failed = [os.waitpid(child, 0) for child in children]
        assert not any(status for _, status in failed), f"a job failed: {failed}"
    except KeyboardInterrupt:  # report what there is
        print("interrupted", file=sys.stderr)
        for child in children:
            os.kill(child, signal.SIGKILL)
    report(chosen, mutate.verdicts()[len(old) :], seed)
    return 0


def work(
    job: int, sample: list[list[mutate.Mutant]], files: list[str], old: list[mutate.Verdict]
) -> NoReturn:
    """In a child: judge the sample's mutants of these files."""
    status = 1
    try:
        copy = mutate.Copy(mutate.ROOT / "build" / f"mutate-{job}")
        order = mutate.Order(test_files(copy.tree))
        for verdict in old:
            order.learn(verdict)
        none = mutate.Mutant("", 0, "", "", "")
        killer, took = mutate.judge(copy.tree, order.for_mutant(none))
        assert not killer, f"without a change, {killer} fails"
        print(f"the tests alone take {took:.0f} s", file=sys.stderr, flush=True)
        commit = mutate.git("rev-parse", "HEAD")
        for candidates in sample:
            mine = candidates[0].file in files
            mutant = next((one for one in candidates if mine and copy.build(one)), None)
            if mutant is None:
                continue
            killer, took = mutate.judge(copy.tree, order.for_mutant(mutant))
            print(f"{mutant}: {killer or 'SURVIVED'} {took:.1f} s", file=sys.stderr, flush=True)
            verdict = mutate.Verdict(mutant, killer, commit)
            verdict.keep()
            order.learn(verdict)
        status = 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(status)


def report(files: list[str], verdicts: list[mutate.Verdict], seed: int) -> None:
    """Print the result in Markdown."""
    killed = collections.Counter(one.mutant.file for one in verdicts if one.killer)
    survived = [one.mutant for one in verdicts if not one.killer]
    lived = collections.Counter(mutant.file for mutant in survived)
    share = 100 * killed.total() / max(len(verdicts), 1)
    print(f"Seed {seed}: {killed.total()} of {len(verdicts)} killed, {share:.1f} %.\n")
    print("| file | killed | survived |\n|---|---:|---:|")
    for file in files:
        print(f"| `{file}` | {killed[file]} | {lived[file]} |")
    print("\n## Survivors\n")
    known = reasons()
    for mutant in sorted(survived, key=lambda one: (one.file, one.line)):
        key = f"{mutant.file}: {mutant.before} => {mutant.after}"
        print(f"- {mutant}: {known.get(key, 'no reason yet')}")


if __name__ == "__main__":
    arguments = sys.argv[1:]
    sys.exit(main(*map(int, arguments[:2]), *arguments[2:]))
