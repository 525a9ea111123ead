# SPDX-License-Identifier: BSD-3-Clause
"""The machine under a measurement: what it is, how its cores lie, and who else was on them."""

import contextlib
import os
import platform
import resource
import subprocess
import time
from pathlib import Path
from typing import Any

from ustack import __version__
from ustack._native import lib

__all__ = ["CORES", "NEAR_NS", "Watch", "commit", "describe", "placement"]
__all__ += ["raise_descriptor_limit"]

CORES = sorted(os.sched_getaffinity(0))
NEAR_NS = 180.0  # of a cache line's round trip: below, both cores share a cache
PING_NS = 20_000_000
MAX_WAITED = 0.03  # of a slice, on a run queue or stolen by the host


def placement() -> tuple[str, float]:
    """Return "near", "far" or "alone" (one core only), and the round trip in nanoseconds."""
    if len(CORES) < 2:
        return "alone", 0.0
    found = lib.ust_cache_ping(CORES[0], CORES[1], PING_NS)
    if found < 0:
        return "unknown", 0.0
    return ("near" if found / 1000 < NEAR_NS else "far"), found / 1000


class Watch:
    """Tells of each slice of time whether others were on the cores of these processes."""

    def __init__(self, *pids: int) -> None:
        """pids: main threads, each with a core of its own. Without such cores all is quiet."""
        self._files = [Path(f"/proc/{pid}/schedstat") for pid in pids] if len(CORES) > 1 else []
        self._seen = self._read()

    def _read(self) -> tuple[int, int, int]:
        """Return now, the time spent waiting for a core, and the time stolen, all in ns."""
        waited = 0
        for file in self._files:
            try:
                waited += int(file.read_text().split()[1])
            except (OSError, IndexError):  # it has ended, or the kernel does not tell
                pass
        return time.monotonic_ns(), waited, _stolen() if self._files else 0

    def is_quiet(self) -> bool:
        """Return whether the time since the last call, or since the start, was ours alone."""
        now, waited, stolen = self._read()
        then, waited_then, stolen_then = self._seen
        self._seen = (now, waited, stolen)
        lost = max(waited - waited_then, 0) + max(stolen - stolen_then, 0)
        return lost <= MAX_WAITED * (now - then)


def _stolen() -> int:
    """Return the nanoseconds that the host took from our two cores (proc_stat(5): steal)."""
    ticks = 0
    names = {f"cpu{core}" for core in CORES[:2]}
    with open("/proc/stat") as lines:
        for line in lines:
            words = line.split()
            if words[0] in names and len(words) > 8:
                ticks += int(words[8])
            elif not words[0].startswith("cpu"):
                break
    return ticks * 1_000_000_000 // os.sysconf("SC_CLK_TCK")


def describe() -> dict[str, Any]:
    """Return what figures depend on."""
    return {
        "cpu": _cpu(),
        "cores": len(CORES),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "ustack": __version__,
        "commit": commit(),
        "date": time.strftime("%Y-%m-%d"),
        "load": round(os.getloadavg()[0], 2),
    }


def commit() -> str:
    """Return the commit that the package lies in, with a + when files differ; else "none"."""
    place = Path(__file__).resolve().parents[2]
    if not (place / ".git").exists():
        return "none"
    git = ["git", "-C", str(place)]
    try:
        head = subprocess.run(
            [*git, "rev-parse", "--short", "HEAD"], capture_output=True, text=True
        )
        dirty = subprocess.run([*git, "diff", "--quiet", "HEAD"], capture_output=True).returncode
    except OSError:
        return "none"
    return (head.stdout.strip() or "none") + ("+" if dirty else "")


def _cpu() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def raise_descriptor_limit() -> int:
    """Allow this process as many descriptors as it may have; how many that are."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < hard:
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]
