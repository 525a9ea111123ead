# SPDX-License-Identifier: BSD-3-Clause
"""How the demo tells what it does: a bar while it runs, a table at the end."""

import hashlib
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Self

from ustack.apps import http
from ustack.errors import UstackError
from ustack.io import open_port
from ustack.stack import Stack

__all__ = ["FRAMES", "SNAPLEN", "DemoError", "Progress", "Row"]
__all__ += ["check_digest", "megabytes", "new_capture", "open_stack", "table"]

FRAMES = 1000  # that are captured
SNAPLEN = 2048  # bytes kept of each; super-segments have up to 64 KiB

BAR = 24  # characters

#: SHA-256 of the body of /bytes/N, where it is known beforehand.
KNOWN = {100_000_000: "b736eb4f696a0f5f7df764258137852674817095d20f2adb9aba29758540efce"}


@dataclass(frozen=True)
class Row:
    """A line of the table."""

    name: str
    what: str  # was done
    figure: str
    counters: Mapping[str, int]  # what it took: tcp.in and tcp.out of one side, tcp.rexmt.segs

    def cells(self) -> list[str]:
        """Return it as the table shows it."""
        segments = self.counters["tcp.in"] + self.counters["tcp.out"]
        retransmits = self.counters["tcp.rexmt.segs"]
        return [self.name, self.what, self.figure, f"{segments:,}", f"{retransmits:,}"]


class DemoError(UstackError):
    """Something that the demo was to show did not happen."""


class Progress:
    """A bar on stderr, if that is a terminal; a context manager that takes it away again."""

    def __init__(self) -> None:
        self._shown = sys.stderr.isatty()
        self._last = ""

    def begin(self, what: str, whole: int) -> Callable[[int], None]:
        """Return a function to call with how much is done of the whole of something."""
        self._show(what, 0.0)
        return lambda done: self._show(what, done / whole)

    def _show(self, what: str, part: float) -> None:
        if not self._shown:
            return
        full = int(BAR * min(part, 1.0))
        text = f"\r[{'#' * full}{'.' * (BAR - full)}] {100 * min(part, 1.0):3.0f} % {what}\x1b[K"
        if text != self._last:
            self._last = text
            sys.stderr.write(text)
            sys.stderr.flush()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        if self._shown:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()


def table(title: str, rows: list[Row], capture: str) -> str:
    """Return the report."""
    lines = [["", "", "", "segments", "retransmits"], *(row.cells() for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    text = [title, ""]
    for line in lines:
        words = [cell.ljust(width) for cell, width in zip(line[:2], widths[:2], strict=True)]
        numbers = [cell.rjust(width) for cell, width in zip(line[2:], widths[2:], strict=True)]
        text.append("  " + "  ".join([*words, *numbers]))
    return "\n".join([*text, "", f"the first {FRAMES:,} frames: {capture}"])


def new_capture() -> str:
    """Return the name of a new file to capture to."""
    with tempfile.NamedTemporaryFile(prefix="ustack-demo-", suffix=".pcapng", delete=False) as file:
        return file.name


def open_stack(io: str, address: str, capture: str | None = None) -> Stack:
    """Return a stack whose first frames are captured."""
    port = open_port(io, addresses=[address])
    try:
        if capture is not None:
            port.capture(capture, FRAMES, SNAPLEN)
        return Stack(port, address)
    except BaseException:
        port.close()
        raise


def check_digest(what: str, length: int, digest: str) -> None:
    """Raise DemoError unless digest is the SHA-256 of the body of /bytes/length."""
    right = KNOWN.get(length) or _hash(http.pattern(length))
    if digest != right:
        raise DemoError(f"{what}: the SHA-256 of {length} bytes is {digest}, it must be {right}")


def _hash(pieces: Iterator[bytes]) -> str:
    digest = hashlib.sha256()
    for piece in pieces:
        digest.update(piece)
    return digest.hexdigest()


def megabytes(length: int) -> str:
    """Return a length as people say it."""
    for size, unit in ((10**9, "GB"), (10**6, "MB"), (10**3, "kB")):
        if length >= size:
            return f"{length / size:g} {unit}"
    return f"{length} bytes"
