# SPDX-License-Identifier: BSD-3-Clause
"""Who is compared: a server process on a stack or on the kernel, and a client for it here.

The client's thread and the server's process are each pinned to a core.
"""

import contextlib
import os
import re
import select
import socket
import subprocess
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from pathlib import Path

from ustack.bench import veth, wrk
from ustack.bench.definition import Bench, Figures, Task, Work
from ustack.bench.load import Load, Sample
from ustack.bench.machine import CORES
from ustack.errors import UstackError
from ustack.io import RingUrl, parse_url
from ustack.stack import Stack
from ustack.stream import Socket

__all__ = ["Cell", "KernelSide", "Side", "StackSide", "VethSide", "anonymous", "cell", "pinned"]
__all__ += ["placed", "server_addresses", "settings_for", "spread_of"]

SERVER, CLIENT, LENGTH = "10.9.0.2", "10.9.0.1", 24
START_TIMEOUT = 60.0  # seconds, for a Python to start
WARM_UP = 0.2  # of a repetition's length, seconds or requests, before it; at most a second
SPREAD = 14  # addresses, where one has too few ports
MOST = 16  # addresses that an engine may have (UST_MAX_ADDRS)
MANY = 20_000  # connections, from which on it does not suffice
ALL_AT_ONCE = 65_536  # connections with a request each; of more, OUTSTANDING have one, in turn
OUTSTANDING = 4096  # a request on each of 10^6 would wait for seconds, and be sent again
PORTS = {"tcp.port_min": 1024, "tcp.port_max": 65535}  # settings of a client
SPARE = 64  # sockets beside the connections
SETTLE = 0.3  # seconds between the last connection and a look at memory


@dataclass(frozen=True)
class Cell:
    """One repetition of one task by one side."""

    figures: Figures
    slices: int = 0
    dropped: int = 0
    disturbed: bool = False
    mode: str = field(default="unknown", compare=False)  # placement: near, far, mixed, alone


def cell(bench: Bench, sample: Sample) -> Cell:
    """Return what a benchmark tells of a sample."""
    return Cell(bench.figures(sample), sample.slices, sample.dropped, sample.disturbed)


class Side(ABC):
    """Whoever can be measured; name: as it is called in reports."""

    def __init__(self, name: str) -> None:
        """Start nothing yet."""
        self.name = name

    @property
    def apart(self) -> bool:
        """Whether it needs a network namespace of our own."""
        return False

    def can(self, task: Task) -> bool:
        """Return whether it can do such a task at all."""
        return True

    @abstractmethod
    def measure(self, bench: Bench, work: Work, task: Task) -> Cell:
        """Run one repetition, all of it new: server, client and connections."""


class _Served(Side):
    """A server in a process of its own, and our load."""

    server: str  # what serves: c, or as in programs.py
    by_wrk = False  # instead of our load
    _address = "127.0.0.1"
    _without: int | None = None  # bytes of the process without room for connections

    def measure(self, bench: Bench, work: Work, task: Task) -> Cell:
        """Run one repetition."""
        with contextlib.ExitStack() as stack:
            process, port = stack.enter_context(self._start(task))
            address = (self._address, port)
            client = self._client(stack, task)
            if self.by_wrk:
                _first_answer(None, address, task)
                return cell(bench, wrk.measure(address, task, work, process.pid))
            load = Load(client, task.load, task.connections, task.size, address, spread_of(task))
            stack.enter_context(load)
            length = _first_answer(client, address, task)
            if task.connections > ALL_AT_ONCE:
                load.limit(OUTSTANDING)
            if task.load == "http":
                load.ask(REQUEST, length)
            if task.load == "idle":
                sample = _measure_memory(load, task, process, self._without)
            else:
                sample = _measure(load, task, work, process)
            self._end(process)  # before the connections
            return cell(bench, sample)

    def _start(self, task: Task) -> "AbstractContextManager[tuple[subprocess.Popen[str], int]]":
        """Start the server; it and its port."""
        return _server(self._arguments(task))

    def _end(self, process: "subprocess.Popen[str]") -> None:
        process.communicate(timeout=START_TIMEOUT)

    def _client(self, stack: contextlib.ExitStack, task: Task) -> Stack | None:
        return None

    def _arguments(self, task: Task) -> list[str]:
        pin = ["--cpu", str(CORES[0])] if len(CORES) > 1 else []
        backlog = str(max(min(task.connections, 4096), 128))
        what = ["--app", task.app, "--server", self.server, "--size", str(task.size)]
        return [*what, "--backlog", backlog, *pin]


class StackSide(_Served):
    """A server on a stack of ustack's; over ring: the client is on one, too."""

    def __init__(self, io: str, server: str) -> None:
        """io: the port's URL."""
        super().__init__("ustack")
        self.server = server
        self._io = io
        self._ring = isinstance(parse_url(io), RingUrl)
        self._address = SERVER

    @property
    def apart(self) -> bool:
        """Whether it is on a tap, which would be one of the machine's interfaces."""
        return not self._ring

    def measure(self, bench: Bench, work: Work, task: Task) -> Cell:
        """Run one repetition. An engine has its memory from the start, so one without is needed."""
        if task.load == "idle":
            with _server(self._arguments(replace(task, connections=1))) as (process, _):
                time.sleep(SETTLE)
                self._without = anonymous(process.pid)
        return super().measure(bench, work, task)

    def _client(self, stack: contextlib.ExitStack, task: Task) -> Stack | None:
        if not self._ring:
            return None
        settings = settings_for(task) | PORTS
        if task.load == "conn":
            settings |= {"tcp.tw_reuse": 1, "tcp.max_tw_buckets": 1 << 20}
        return stack.enter_context(Stack(self._io, f"{CLIENT}/{LENGTH}", settings=settings))

    def _arguments(self, task: Task) -> list[str]:
        hosts = server_addresses(task)
        settings = [f"{name}={value}" for name, value in settings_for(task).items()]
        where = ["--loop", "ustack", "--io", self._io, "--address", *hosts, "--setting", *settings]
        return super()._arguments(task) + where


class KernelSide(_Served):
    """A server on the kernel's TCP over loopback."""

    _bind = "127.0.0.1"

    def __init__(self, name: str, server: str, descriptors: int, loop: str | None = None) -> None:
        """loop: uvloop, asyncio or epoll; None: as name. descriptors: that a process may have."""
        super().__init__(name)
        self.server = server
        self._loop = loop or name
        self._descriptors = descriptors

    def can(self, task: Task) -> bool:
        """Return whether there are descriptors for it."""
        return task.connections + 100 <= self._descriptors

    def _arguments(self, task: Task) -> list[str]:
        return [*super()._arguments(task), "--loop", self._loop, "--address", self._bind]


class VethSide(KernelSide):
    """The same at the other end of a veth pair."""

    _address, _bind = veth.FAR, "0.0.0.0"

    def __init__(self, loop: str, server: str, descriptors: int, pair: veth.Veth) -> None:
        """loop: uvloop, asyncio or epoll."""
        super().__init__(f"veth-{loop}", server, descriptors, loop)
        self._pair = pair

    @property
    def apart(self) -> bool:
        """Whether it needs a namespace: the near end is in it."""
        return True

    def _start(self, task: Task) -> "AbstractContextManager[tuple[subprocess.Popen[str], int]]":
        far = self._pair.far
        return _server([*self._arguments(task), "--netns", str(far)], far)


def settings_for(task: Task) -> dict[str, int]:
    """Return what a stack needs for so many connections."""
    if task.load == "idle":
        return {"tcp.max_tcbs": task.connections + SPARE}
    if task.connections <= 4096:
        return {}
    return {"tcp.max_tcbs": 2 * task.connections + 16384}


def server_addresses(task: Task) -> list[str]:
    """Return the CIDRs of a server on a stack."""
    prefix, _, last = SERVER.rpartition(".")
    return [f"{prefix}.{int(last) + i}/{LENGTH}" for i in range(spread_of(task))]


def spread_of(task: Task) -> int:
    """Return over how many addresses of the server's its connections are spread."""
    if task.connections > 800_000:
        return MOST
    return SPREAD if task.load == "conn" or task.connections > MANY else 1


def _measure(load: Load, task: Task, work: Work, process: "subprocess.Popen[str]") -> Sample:
    def alive() -> bool:
        return process.poll() is None

    load.open(alive)
    warm_up = min(WARM_UP * work.seconds, 1.0), int(WARM_UP * work.requests)
    if work.requests == 0 or warm_up[1] > 0:
        load.run(*warm_up, alive, process.pid)
    if task.connections > MANY and task.app == "echo":
        load.run(0.0, task.connections, alive, process.pid)  # each has had its turn
    return load.run(work.seconds, work.requests, alive, process.pid)


def _measure_memory(
    load: Load, task: Task, process: "subprocess.Popen[str]", without: int | None
) -> Sample:
    """Return how memory grew as connections were opened; the kernel's is halved, for two ends.

    without: bytes of the process without them; None: what it has now.
    """
    time.sleep(SETTLE)
    kernel = _unreclaimable()
    before = anonymous(process.pid) if without is None else without
    load.open(lambda: process.poll() is None)
    time.sleep(SETTLE)
    return Sample(
        requests=task.connections,
        bytes=0,
        seconds=1.0,
        server_cpu=0.0,
        memory=anonymous(process.pid) - before,
        kernel_memory=max(_unreclaimable() - kernel, 0) // 2,
    )


def anonymous(pid: int) -> int:
    """Return a process's own memory in bytes: what it has written to, rings and files apart."""
    return _kib(Path(f"/proc/{pid}/smaps_rollup"), "Anonymous")


def _unreclaimable() -> int:
    """Return the kernel's slab memory that is in use, in bytes, whoever uses it."""
    return _kib(Path("/proc/meminfo"), "SUnreclaim")


def _kib(file: Path, name: str) -> int:
    found = re.search(rf"^{name}:\s+(\d+) kB", file.read_text(), re.MULTILINE)
    return int(found[1]) * 1024 if found else 0


# ------------------------------------------------------------------------------ the process


@contextlib.contextmanager
def _server(arguments: list[str], *fds: int) -> "Iterator[tuple[subprocess.Popen[str], int]]":
    """Start the server process; yield it and its port once it listens. It ends with its stdin.

    fds: descriptors that it inherits.
    """
    process = subprocess.Popen(
        [sys.executable, "-m", "ustack.bench.server", *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        pass_fds=fds,
    )
    try:
        yield process, _port_of(process)
    finally:
        process.kill()
        process.wait()


def _port_of(process: "subprocess.Popen[str]") -> int:
    assert process.stdout is not None
    if not select.select([process.stdout], [], [], START_TIMEOUT)[0]:
        raise UstackError(f"the server process has not started within {START_TIMEOUT:.0f} s")
    word, _, rest = process.stdout.readline().strip().partition(" ")
    if word == "port":
        return int(rest)
    raise UstackError(rest or "the server process has ended before it listened")


# ------------------------------------------------------------------------------ the first client

REQUEST = b"GET / HTTP/1.1\r\nHost: bench\r\n\r\n"


def _first_answer(client: Stack | None, address: tuple[str, int], task: Task) -> int:
    """Be the server's first client, to its end; return the length of an answer by HTTP, or 0.

    asyncio's server reads into 256 KiB, which glibc maps and unmaps each time until it has freed
    one: three times slower than it will ever be again. So it must have seen an end of stream.
    """
    sock: Socket | socket.socket
    if client is not None:
        if task.load != "http":
            return 0
        sock = client.connect(address, timeout=START_TIMEOUT)
    else:
        sock = socket.create_connection(address, timeout=START_TIMEOUT)
    with sock:
        if task.load != "http":
            return 0
        sock.sendall(REQUEST)
        return _answer_length(sock)


def _answer_length(sock: Socket | socket.socket) -> int:
    data = b""
    while True:
        head, end, body = data.partition(b"\r\n\r\n")
        if end:
            length = re.search(rb"(?i)\r\ncontent-length: *(\d+)", head)
            if not head.startswith(b"HTTP/1.1 200") or not length:
                raise UstackError(f"the server answered {head[:60]!r}, not 200 with a length")
            if len(body) >= int(length[1]):
                return len(data)
        more = sock.recv(1 << 16)
        if not more:
            raise UstackError("the server closed before it had answered")
        data += more


@contextlib.contextmanager
def pinned(notes: list[str]) -> Iterator[None]:
    """Keep this process on a core that is not the server's; a note when there is but one."""
    if len(CORES) < 2:
        notes.append("one core only: server and client take turns on it")
    else:
        os.sched_setaffinity(0, {CORES[1]})
    try:
        yield
    finally:
        os.sched_setaffinity(0, CORES)


def placed(measured: Cell, before: str, after: str) -> Cell:
    """Return the cell with the placement that it was measured in."""
    seen = {before, after} - {"unknown"} or {"unknown"}
    return replace(measured, mode=seen.pop() if len(seen) == 1 else "mixed")
