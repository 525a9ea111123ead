# SPDX-License-Identifier: BSD-3-Clause
"""wrk as the client of http: another's program, on one thread, over the kernel's TCP.

It measures by itself, in whole seconds, and knows no slices: a run beside others is told as
disturbed.
"""

import math
import re
import shutil
import subprocess

from ustack.bench.definition import Task, Work
from ustack.bench.load import PATIENCE, Sample, cpu_ns
from ustack.bench.machine import Watch
from ustack.errors import UstackError

__all__ = ["measure", "parse", "program"]

UNITS = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0}


def program() -> str | None:
    """Return wrk's path, or None where it is not installed."""
    return shutil.which("wrk")


def measure(address: tuple[str, int], task: Task, work: Work, pid: int) -> Sample:
    """Let wrk ask the server at an address, on the calling thread's core. pid: of the server."""
    seconds = max(1, math.ceil(work.seconds))
    command = [program() or "wrk", "-t1", f"-c{task.connections}", f"-d{seconds}s", "--latency"]
    try:
        process = subprocess.Popen(
            [*command, "http://{}:{}/".format(*address)], stdout=subprocess.PIPE, text=True
        )
    except OSError as error:
        raise UstackError(f"wrk: {error}") from None
    watch, before = Watch(process.pid, pid), cpu_ns(pid)
    try:
        output, _ = process.communicate(timeout=seconds + PATIENCE)
    except subprocess.TimeoutExpired:
        raise UstackError(f"wrk has not ended in {seconds + PATIENCE:.0f} s") from None
    finally:
        process.kill()
        process.wait()
    return parse(output, cpu=(cpu_ns(pid) - before) / 1e9, disturbed=not watch.is_quiet())


def parse(output: str, cpu: float, disturbed: bool) -> Sample:
    """Return what wrk has printed as a sample. cpu: seconds of the server.

    Raises UstackError when it tells of errors, or tells nothing.
    """
    wrong = re.search(r"Socket errors:.*|Non-2xx.*|unable to .*", output)
    if wrong:
        raise UstackError(f"wrk: {wrong[0].strip()}")
    total = re.search(r"(\d+) requests in ([\d.]+)(us|ms|s|m)\b", output)
    if not total or not int(total[1]):
        raise UstackError("wrk: it tells of no requests")
    quantiles = {int(p): float(n) * UNITS[u] for p, n, u in _QUANTILE.findall(output)}
    return Sample(
        requests=int(total[1]),
        bytes=0,
        seconds=float(total[2]) * UNITS[total[3]],
        server_cpu=cpu,
        p50=quantiles.get(50, 0.0),
        p99=quantiles.get(99, 0.0),
        disturbed=disturbed,
    )


_QUANTILE = re.compile(r"^\s+(50|99)%\s+([\d.]+)(us|ms|s|m)$", re.MULTILINE)
