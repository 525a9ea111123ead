# SPDX-License-Identifier: BSD-3-Clause
"""Mutation testing of the C of ustack/tcp.

Usage: mutate.py [number of mutants [seed [files…]]]; by default 300, 1 and all of ustack/tcp.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

from tools import mutate

TESTS = [
    "tests/tcp",
    "tests/test_wire.py",
    "tests/test_seeds.py",
    "tests/net/test_icmp.py",
    "tests/net/test_pmtu.py",
    "tests/properties/test_model.py",
    "tests/drill",
]
#: Why a survivor is no gap of the tests: what a line of ours says of the changed line.
REASONS = Path(__file__).parent / "survivors.txt"


def test_files(tree: Path) -> list[str]:
    """The files of TESTS that there are."""
    paths = [tree / name for name in TESTS]
    found = [
        file for path in paths for file in ([path] if path.is_file() else path.glob("test_*.py"))
    ]
    return sorted(str(path.relative_to(tree)) for path in found if path.exists())


def reasons() -> dict[str, str]:
    """The reason by changed line: `file: before => after: reason`."""
    lines = REASONS.read_text().splitlines() if REASONS.exists() else []
    pairs = [line.split(" ## ") for line in lines if line and not line.startswith("#")]
    return {key.strip(): reason.strip() for key, reason in pairs}


def main(number: int = 300, seed: int = 1, *files: str) -> int:
    """Sample, build, test, report."""
    os.environ.setdefault("USTACK_SHARED", str(mutate.ROOT.parent / "shared"))
    mutate.preload()
    copy = mutate.Copy(mutate.ROOT / "build" / "mutate")
    order = mutate.Order(test_files(copy.tree))
    none = mutate.Mutant("", 0, "", "", "")
    killer, took = mutate.judge(copy.tree, order.for_mutant(none))
    assert not killer, f"without a change, {killer} fails"
    print(f"the tests alone take {took:.0f} s", file=sys.stderr)
    chosen = list(files) or sorted(
        str(path.relative_to(copy.tree)) for path in (copy.tree / "ustack/tcp").glob("*.c")
    )
    killed: dict[str, int] = dict.fromkeys(chosen, 0)
    survived: dict[str, list[mutate.Mutant]] = {file: [] for file in chosen}
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        for candidates in mutate.sample(copy.tree, chosen, number, seed):
            mutant = next((one for one in candidates if copy.build(one)), None)
            if mutant is None:
                continue
            killer, took = mutate.judge(copy.tree, order.for_mutant(mutant))
            print(f"{mutant}: {killer or 'SURVIVED'} {took:.1f} s", file=sys.stderr, flush=True)
            if killer:
                killed[mutant.file] += 1
                order.learn(mutant.file, killer)
            else:
                survived[mutant.file].append(mutant)
    except KeyboardInterrupt:  # report what there is
        print("interrupted", file=sys.stderr)
    copy.restore()
    report(killed, survived, seed)
    return 0


def report(killed: dict[str, int], survived: dict[str, list[mutate.Mutant]], seed: int) -> None:
    """Print the result in Markdown."""
    all_killed, all_survived = sum(killed.values()), sum(map(len, survived.values()))
    total = all_killed + all_survived
    print(f"Seed {seed}: {all_killed} of {total} killed, {100 * all_killed / total:.1f} %.\n")
    print("| file | killed | survived |\n|---|---:|---:|")
    for file, count in killed.items():
        print(f"| `{file}` | {count} | {len(survived[file])} |")
    print("\n## Survivors\n")
    known = reasons()
    for mutant in (one for some in survived.values() for one in some):
        key = f"{mutant.file}: {mutant.before} => {mutant.after}"
        print(f"- {mutant}: {known.get(key, 'no reason yet')}")


if __name__ == "__main__":
    arguments = sys.argv[1:]
    sys.exit(main(*map(int, arguments[:2]), *arguments[2:]))
