# SPDX-License-Identifier: BSD-3-Clause
"""The client of a measurement: C that keeps a server busy, and what it counted."""

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Self

from ustack._native import check, ffi, lib, pack_address
from ustack.bench.machine import Watch
from ustack.errors import UstackError
from ustack.stack import Stack

__all__ = ["KINDS", "Load", "Sample", "cpu_ns"]

KINDS = {
    "echo": lib.UST_LOAD_ECHO,
    "http": lib.UST_LOAD_ECHO,  # with ask()
    "idle": lib.UST_LOAD_ECHO,  # never run
    "sink": lib.UST_LOAD_SEND,  # the server's part: it takes what we send
    "source": lib.UST_LOAD_RECV,
    "conn": lib.UST_LOAD_CONN,
}

SLICE = 50_000_000  # ns; between two, Ctrl-C, the server's end and disturbances are noticed
PATIENCE = 30.0  # seconds without any progress
OPENED = 10_000  # connections a second, at the least
MAX_LONGER = 2.0  # a run goes on for so many times its length to find undisturbed slices


@dataclass(frozen=True)
class Sample:
    """What one repetition of one cell gave."""

    requests: int
    bytes: int  # of payload, one way
    seconds: float
    server_cpu: float  # seconds, spinning included
    p50: float = 0.0  # seconds, of echoes
    p99: float = 0.0
    p999: float = 0.0
    slices: int = 0
    dropped: int = 0  # of them, since others were on the cores
    disturbed: bool = False  # too many were: all of them count
    no_port: int = 0
    resent: int = 0  # segments
    memory: int = 0  # bytes of the server's process
    kernel_memory: int = 0  # bytes of the kernel for its sockets


class Load:
    """Connections to one server, over a stack or (stack None) over the kernel."""

    def __init__(
        self,
        stack: Stack | None,
        kind: str,
        n: int,
        size: int,
        address: tuple[str, int],
        spread: int = 1,
        serve: Any = None,
    ) -> None:
        """kind: of KINDS, by the server's part. n: connections. size: bytes of a request.

        spread: over so many addresses, see ust_load_spread(). serve: a struct ust_serve * in this
        thread, which takes turns with the load.
        """
        what = (KINDS[kind], n, size, pack_address(address[0]), address[1])
        if stack is None:
            load = lib.ust_load_kernel(*what)
        else:
            load = lib.ust_load_stack(stack._worker, stack._engine, *what)
        if load == ffi.NULL:
            raise MemoryError(f"no memory for a load of {n} connections")
        lib.ust_load_spread(load, spread)
        self._load: Any = load
        self._address, self._n = address, n
        self._serve = serve
        self._kept_cpu = self._cpu = self._slices = self._dropped = 0

    def ask(self, request: bytes, answer: int) -> None:
        """Send this, and expect an answer of so many bytes, instead of an echo."""
        check(lib.ust_load_ask(self._load, request, len(request), answer), "request")

    def limit(self, requests: int) -> None:
        """Have at most so many outstanding, on the connections in turn, instead of one on each."""
        lib.ust_load_window(self._load, min(requests, self._n))

    def open(self, alive: Callable[[], bool]) -> None:
        """Open all connections. alive: whether the server still runs."""
        end = time.monotonic() + PATIENCE + self._n / OPENED
        while not self._check(lib.ust_load_open(self._load, SLICE)):  # law 3: 20 times a second
            self._insist(alive, end)

    def run(self, seconds: float, requests: int, alive: Callable[[], bool], pid: int) -> Sample:
        """Run for so long, or until so many requests are done (0: by time); what it gave.

        pid: of the server, for its CPU time. By time, slices in which others were on the cores
        do not count, and the run is longer in exchange; if it is too often disturbed, all count.
        """
        lib.ust_load_clear(self._load)
        self._kept_cpu = self._cpu = self._slices = self._dropped = 0
        start, wanted = time.monotonic_ns(), int(seconds * 1e9)
        watch, patience, seen = Watch(os.getpid(), pid), time.monotonic() + PATIENCE, 0
        while True:
            done, kept = self._result(kept=False), self._result(kept=True)
            over = done.bytes > 0 and time.monotonic_ns() - start > MAX_LONGER * wanted
            left = requests - done.requests if requests else 0
            if left <= 0 if requests else (kept.ns >= wanted and kept.bytes > 0) or over:
                return self._sample(wanted, bool(requests))
            ns = SLICE if requests else min(SLICE, max(wanted - kept.ns, 1))
            self._slice(ns, left, watch, pid)
            progress = done.bytes if not requests else done.requests
            if progress > seen or done.ns == 0:
                seen, patience = progress, time.monotonic() + PATIENCE
            self._insist(alive, patience)

    def _slice(self, ns: int, left: int, watch: Watch, pid: int) -> None:
        before = cpu_ns(pid)
        if self._serve is None:
            self._check(lib.ust_load_run(self._load, ns, left))  # law 3: 20 times a second
        else:
            self._check(lib.ust_load_run_with(self._load, self._serve, ns, left))
        cpu, quiet = cpu_ns(pid) - before, watch.is_quiet()
        lib.ust_load_keep(self._load, quiet)
        self._cpu += cpu
        self._slices += 1
        if quiet:
            self._kept_cpu += cpu
        else:
            self._dropped += 1

    def turn_to_open(self) -> bool:
        """Give the client one turn of opening; whether all connections are open."""
        return bool(self._check(lib.ust_load_open(self._load, 10_000)))

    def turn(self) -> None:
        """Give the client one turn of running."""
        self._check(lib.ust_load_run(self._load, 1, 0))
        lib.ust_load_keep(self._load, True)

    @property
    def requests(self) -> int:
        """How many requests are done since the start of the last run()."""
        return int(self._result(kept=False).requests)

    def _result(self, *, kept: bool) -> Any:
        result = ffi.new("struct ust_load_result *")
        lib.ust_load_result(self._load, kept, result)
        return result

    def _sample(self, wanted: int, everything: bool) -> Sample:
        kept = self._result(kept=True)
        disturbed = not everything and (kept.ns < wanted / 2 or kept.bytes == 0)
        r = self._result(kept=False) if everything or disturbed else kept
        return Sample(
            requests=r.requests,
            bytes=r.bytes,
            seconds=r.ns / 1e9,
            server_cpu=(self._cpu if everything or disturbed else self._kept_cpu) / 1e9,
            p50=r.p50_ns / 1e9,
            p99=r.p99_ns / 1e9,
            p999=r.p999_ns / 1e9,
            slices=self._slices,
            dropped=0 if everything or disturbed else self._dropped,
            disturbed=disturbed or (everything and self._dropped > self._slices / 2),
            no_port=r.no_port,
        )

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
