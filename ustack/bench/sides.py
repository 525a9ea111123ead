# SPDX-License-Identifier: BSD-3-Clause
"""Who is compared: a server process on a stack or on the kernel, and a client for it here.

The client's thread and the server's process are each pinned to a core.
"""

import contextlib
import importlib.util
import os
import select
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass

from ustack.bench.load import Load, Sample
from ustack.errors import UstackError
from ustack.io import RingUrl, parse_url
from ustack.stack import Stack

__all__ = ["Side", "Work", "choose_sides", "pinned"]

SERVER, CLIENT, LENGTH = "10.9.0.2", "10.9.0.1", 24
START_TIMEOUT = 30.0  # seconds, for a Python to start
CORES = sorted(os.sched_getaffinity(0))
WARM_UP = 0.2  # of a repetition's length, seconds or requests, before it; at most a second


@dataclass(frozen=True)
class Work:
    """What each cell does."""

    connections: int
    size: int  # bytes of a request, or of a write
    requests: int  # of a repetition; 0: by time
    seconds: float
    repetitions: int

    def describe(self) -> dict[str, float]:
        """Return it by name, with but one of requests and seconds."""
        return {k: v for k, v in asdict(self).items() if k != self._unused()}

    def _unused(self) -> str:
        return "seconds" if self.requests else "requests"


class Side:
    """A server that can be measured; name: as it is called in reports."""

    def __init__(self, name: str, io: str | None) -> None:
        """io: the stack's port; None: name is an event loop over the kernel's loopback."""
        self.name = name
        self._io = io
        self._ring = io is not None and isinstance(parse_url(io), RingUrl)

    def measure(self, work: Work, kind: str) -> Sample:
        """Run one repetition, all of it new: server, client and connections."""
        with contextlib.ExitStack() as stack:
            process, port = stack.enter_context(_server(self._arguments(kind, work)))
            address = (SERVER if self._io else "127.0.0.1", port)
            client = None
            if self._io and self._ring:
                client = stack.enter_context(Stack(self._io, f"{CLIENT}/{LENGTH}"))
            else:
                _warm_allocator(address)
            load = Load(client, kind, work.connections, work.size, address)
            sample = _measure(stack.enter_context(load), work, process)
            process.communicate(timeout=START_TIMEOUT)  # ends it before the connections do
            return sample

    def _arguments(self, kind: str, work: Work) -> list[str]:
        loop = ["--loop", self.name, "--address", "127.0.0.1"]
        if self._io:
            loop = ["--loop", "ustack", "--io", self._io, "--address", f"{SERVER}/{LENGTH}"]
        cpu = CORES[0] if len(CORES) > 1 else None
        pin = [] if cpu is None else ["--cpu", str(cpu)]
        return ["--app", kind, "--backlog", str(max(work.connections, 128)), *loop, *pin]


def _measure(load: Load, work: Work, process: "subprocess.Popen[str]") -> Sample:
    def alive() -> bool:
        return process.poll() is None

    load.open(alive)
    warm_up = min(WARM_UP * work.seconds, 1.0), int(WARM_UP * work.requests)
    if work.requests == 0 or warm_up[1] > 0:
        load.run(*warm_up, alive, process.pid)
    return load.run(work.seconds, work.requests, alive, process.pid)


@contextlib.contextmanager
def _server(arguments: list[str]) -> "Iterator[tuple[subprocess.Popen[str], int]]":
    """Start the server process; yield it and its port once it listens. It ends with its stdin."""
    process = subprocess.Popen(
        [sys.executable, "-m", "ustack.bench.server", *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
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


def _warm_allocator(address: tuple[str, int]) -> None:
    """Let asyncio's server see one end of stream.

    It reads into 256 KiB, which glibc maps and unmaps each time until it has freed one: three
    times slower than it will ever be again.
    """
    with socket.create_connection(address, timeout=START_TIMEOUT):
        pass


def choose_sides(io: str, peer: str) -> tuple[list[Side], list[str]]:
    """Return who is compared, ustack first, and notes for the report."""
    sides, notes = [Side("ustack", io)], []
    if peer == "uvloop" and importlib.util.find_spec("uvloop") is None:
        notes.append("uvloop is not installed: asyncio instead (pip install uvloop)")
        peer = "asyncio"
    if peer != "none":
        sides.append(Side(peer, None))
        notes.append(f"{peer}: the same Protocols over the kernel's TCP on loopback")
    return sides, notes


@contextlib.contextmanager
def pinned(notes: list[str]) -> Iterator[None]:
    """Keep this process on a core that is not the server's; a note when there is but one."""
    cores = CORES
    if len(cores) < 2:
        notes.append("one core only: server and client take turns on it")
    else:
        os.sched_setaffinity(0, {cores[1]})
    try:
        yield
    finally:
        os.sched_setaffinity(0, cores)
