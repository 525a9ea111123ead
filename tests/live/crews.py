# SPDX-License-Identifier: BSD-3-Clause
"""A program with workers as a process of its own, and what it says of them."""

from __future__ import annotations

import contextlib
import itertools
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import NamedTuple

from two import SERVER

LONG = 30.0  # seconds after which something is broken
_numbers = itertools.count()


class Row(NamedTuple):
    """What a line of the table says that tests want."""

    pid: int | None
    state: str
    connections: int
    accepted: int
    handed_out: int
    handed_in: int
    lost: int
    restarts: int


class Crew:
    """A supervisor's process. Its words are on standard error, which is read as they are needed."""

    def __init__(self, process: subprocess.Popen[str], io: str, count: int) -> None:
        self.process = process
        self.io = io
        self.count = count

    def line(self) -> str:
        """The next line that the supervisor says."""
        assert self.process.stderr is not None
        return self.process.stderr.readline()

    def rows(self) -> list[Row]:
        """The table, as of now."""
        self.process.send_signal(signal.SIGUSR1)
        while not self.line().startswith("ustack: worker  "):
            assert self.process.poll() is None
        return [self._row(self.line()) for _ in range(self.count)]

    def _row(self, line: str) -> Row:
        _, _, pid, _, state, *rest = line.split()
        n = [int(word) for word in rest]
        return Row(None if pid == "-" else int(pid), state, n[0], n[1], *n[3:])

    def wait_for(self, condition: object, seconds: float = LONG) -> list[Row]:
        """The table as soon as condition(table) holds."""
        assert callable(condition)
        end = time.monotonic() + seconds
        while not condition(rows := self.rows()):
            assert time.monotonic() < end, rows
        return rows


@contextlib.contextmanager
def crew(*argv: str, count: int = 2, lines: int = 1) -> Iterator[Crew]:
    """Start `python ARGV`, in which {io} is the ring; wait for so many lines that say it serves."""
    io = f"ring:test-crew-{os.getpid()}-{next(_numbers)}?queues={count}"
    process = subprocess.Popen(
        [sys.executable, *(word.replace("{io}", io) for word in argv)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None and process.stderr is not None
        for _ in range(lines):
            line = process.stdout.readline()
            why: object = line or (process.stderr.read(), process.wait(LONG))
            assert f" on {SERVER} port " in line, why
        yield Crew(process, io, count)
    finally:
        process.kill()
        process.communicate()


def serving(app: str, *argv: str, count: int = 2) -> contextlib.AbstractContextManager[Crew]:
    """Have `ustack serve APP` with workers."""
    stack = ("--io", "{io}", "--address", f"{SERVER}/24", "--workers", str(count))
    return crew("-m", "ustack", "serve", app, *stack, *argv, count=count)
