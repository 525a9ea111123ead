# SPDX-License-Identifier: BSD-3-Clause
"""A progress bar for what takes long."""

import sys
from typing import Self

__all__ = ["Progress"]

BAR = 24  # characters


class Progress:
    """A bar on stderr, if that is a terminal; a context manager that takes it away again."""

    def __init__(self, title: str, steps: int) -> None:
        """steps: how many times step() will be called."""
        self._title, self._steps, self._done = title, steps, 0
        self._shown = sys.stderr.isatty()

    def step(self, what: str) -> None:
        """Show what comes next."""
        full = BAR * self._done // self._steps
        self._done += 1
        bar = "#" * full + "." * (BAR - full)
        self._write(f"\r{self._title} [{bar}] {self._done}/{self._steps} {what}\x1b[K")

    def _write(self, text: str) -> None:
        if self._shown:
            sys.stderr.write(text)
            sys.stderr.flush()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._write("\r\x1b[K")
