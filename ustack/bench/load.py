# SPDX-License-Identifier: BSD-3-Clause
"""The client of a measurement: C that keeps a server busy, and what it counted."""

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Self

from ustack._native import check, ffi, lib, pack_address
from ustack.errors import UstackError
from ustack.stack import Stack

__all__ = ["KINDS", "Load", "Sample"]

KINDS = {
    "echo": lib.UST_LOAD_ECHO,
    "sink": lib.UST_LOAD_SEND,  # the server's part: it takes what we send
    "source": lib.UST_LOAD_RECV,
}

SLICE = 50_000_000  # ns; between two, Ctrl-C and the server's end are noticed
PATIENCE = 10.0  # seconds without any progress


@dataclass(frozen=True)
class Sample:
    """What one repetition of one cell gave."""

    requests: int
    bytes: int  # of payload, one way
    seconds: float
    server_cpu: float  # seconds, spinning included
    p50: float  # seconds, of echoes
    p99: float
    p999: float


class Load:
    """Connections to one server, over a stack or (stack None) over the kernel."""

    def __init__(
        self, stack: Stack | None, kind: str, n: int, size: int, address: tuple[str, int]
    ) -> None:
        """kind: of KINDS, by the server's part. n: connections. size: bytes of a request."""
        what = (KINDS[kind], n, size, pack_address(address[0]), address[1])
        if stack is None:
            load = lib.ust_load_kernel(*what)
        else:
            load = lib.ust_load_stack(stack._worker, stack._engine, *what)
        if load == ffi.NULL:
            raise MemoryError(f"no memory for a load of {n} connections")
        self._load: Any = load
        self._address = address

    def open(self, alive: Callable[[], bool]) -> None:
        """Open all connections. alive: whether the server still runs."""
        end = time.monotonic() + PATIENCE
        while not self._check(lib.ust_load_open(self._load, SLICE)):  # law 3: 20 times a second
            self._insist(alive, end)

    def run(self, seconds: float, requests: int, alive: Callable[[], bool], pid: int) -> Sample:
        """Run for so long, or until so many requests are done (0: by time); what it gave.

        pid: of the server, for its CPU time.
        """
        lib.ust_load_clear(self._load)
        until = time.monotonic_ns() + int(seconds * 1e9)
        patience, seen, cpu = time.monotonic() + PATIENCE, 0, 0
        while True:
            left = requests - seen if requests else 0
            ns = SLICE if requests else min(SLICE, until - time.monotonic_ns())
            if ns <= 0 or (requests and left <= 0):
                return self._sample(cpu)
            before = cpu_ns(pid)
            self._check(lib.ust_load_run(self._load, ns, left))  # law 3: 20 times a second
            cpu += cpu_ns(pid) - before
            done = self._result().bytes if not requests else self._result().requests
            if done > seen:
                seen, patience = done, time.monotonic() + PATIENCE
            self._insist(alive, patience)

    def turn_to_open(self) -> bool:
        """Give the client one turn of opening; whether all connections are open."""
        return bool(self._check(lib.ust_load_open(self._load, 10_000)))

    def turn(self) -> None:
        """Give the client one turn of running."""
        self._check(lib.ust_load_run(self._load, 1, 0))

    @property
    def requests(self) -> int:
        """How many requests are done since the start of the last run()."""
        return int(self._result().requests)

    def _result(self) -> Any:
        result = ffi.new("struct ust_load_result *")
        lib.ust_load_result(self._load, result)
        return result

    def _sample(self, cpu: int) -> Sample:
        r = self._result()
        latencies = (ns / 1e9 for ns in (r.p50_ns, r.p99_ns, r.p999_ns))
        return Sample(r.requests, r.bytes, r.ns / 1e9, cpu / 1e9, *latencies)

    def _insist(self, alive: Callable[[], bool], end: float) -> None:
        if not alive():
            raise UstackError("the server process has ended")
        if time.monotonic() > end:
            raise UstackError(f"the server has not answered for {PATIENCE:.0f} s")

    def _check(self, result: int) -> int:
        return check(result, "connection to {}:{}".format(*self._address))

    def close(self) -> None:
        """Reset the connections. Closing twice is harmless."""
        load, self._load = self._load, None
        if load is not None:
            lib.ust_load_free(load)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()


def cpu_ns(pid: int) -> int:
    """Return the CPU time of another process (clock_getcpuclockid(3)), in nanoseconds."""
    return time.clock_gettime_ns(~pid << 3 | 2) if pid != os.getpid() else time.process_time_ns()
