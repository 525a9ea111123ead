# SPDX-License-Identifier: BSD-3-Clause
"""Where the scripts of the public TCP suites are, and the lists of those that Linux passes."""

from __future__ import annotations

import functools
import os
from pathlib import Path

from ustack.drill import Mode
from ustack.drill.command import play, versions_of

ROOT = Path(__file__).resolve().parents[2]
SHARED = Path(os.environ.get("USTACK_SHARED", ROOT.parent / "shared")) / "packetdrill"
EXPECTED = Path(__file__).with_name("expected_failures.txt")


@functools.cache
def cases(mode: Mode) -> list[tuple[str, int]]:
    """The scripts of a list, each with the versions of IP that it may be played over."""
    listed = SHARED / f"consensus-{mode.value}.txt"
    if not listed.exists():
        return []
    names = listed.read_text().split()
    return [(name, ip) for name in names for ip in versions_of(str(SHARED / name), "both")]


def expected_failures() -> set[str]:
    """The scripts that do not pass yet, as "strict 4 linux/x.pkt"; the file may only shrink."""
    lines = EXPECTED.read_text().splitlines()
    return {line for line in lines if line and not line.startswith("#")}


def main() -> None:
    """Take out of the expected failures what passes by now: python tests/drill/public_suites.py."""
    passing = set()
    for mode in Mode:
        for name, ip in cases(mode):
            if play(str(SHARED / name), mode, ip).passed:
                passing.add(f"{mode.value} {ip} {name}")
    lines = [line for line in EXPECTED.read_text().splitlines() if line not in passing]
    EXPECTED.write_text("".join(f"{line}\n" for line in lines))
    print(f"{len(passing)} pass, {len(expected_failures())} are expected to fail")


if __name__ == "__main__":
    main()
