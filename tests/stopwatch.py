# SPDX-License-Identifier: BSD-3-Clause
"""How long something takes, without what else the machine does meanwhile.

The kernel counts for each thread how long it was ready to run while others had the core
(/proc/PID/task/TID/schedstat, the second number). A bound that is about us, such as "a signal is
noticed within 100 ms", is on the time less that, and holds on a busy machine, too. Where the kernel
does not count, it is plain time.
"""

from __future__ import annotations

import time
from pathlib import Path


class Stopwatch:
    """Runs from when it is made."""

    def __init__(self) -> None:
        self._delays = _delays()
        self._began = time.monotonic()

    @property
    def seconds(self) -> float:
        """Time since then."""
        return time.monotonic() - self._began

    @property
    def own_seconds(self) -> float:
        """Time since then, less what this process's threads waited for a core, all together."""
        seconds = self.seconds
        waited = sum(ns - self._delays.get(task, 0) for task, ns in _delays().items())
        return seconds - waited * 1e-9


def _delays() -> dict[str, int]:
    """Return for how many ns each thread has waited for a core."""
    found = {}
    for task in Path("/proc/self/task").iterdir():
        try:
            found[task.name] = int((task / "schedstat").read_text().split()[1])
        except (OSError, IndexError):  # it has ended, or the kernel does not count
            pass
    return found
