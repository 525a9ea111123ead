# SPDX-License-Identifier: BSD-3-Clause
"""How many system calls an echo server makes, by strace -c, while a client in C keeps it busy."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

SERVER = """
import asyncio, sys, ustack
from ustack.apps.echo import Echo
io, base = sys.argv[1:]

async def main():
    loop = asyncio.get_running_loop()
    await loop.create_server(Echo, "10.9.0.2", 80)
    print("ready", flush=True)
    over = asyncio.Event()
    loop.add_reader(sys.stdin.fileno(), over.set)
    await over.wait()
    loop.remove_reader(sys.stdin.fileno())
    counters = next(iter(loop._stacks)).counters()
    names = "rx_frames", "tx_frames", "syscalls"
    rounds, busy = counters["worker.rounds"], counters["worker.busy_rounds"]
    print(*(counters[f"port.{name}"] for name in names), busy, rounds - busy, flush=True)

ustack.run(main, io=io, address="10.9.0.2/24", base=base, spin=0.1)
"""

CLIENT = """
import contextlib, os, sys
from ustack import Stack
from ustack.bench.load import Load
io, connections, requests = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
with contextlib.ExitStack() as exits:
    stack = exits.enter_context(Stack(io, "10.9.0.1/24")) if io.startswith("ring") else None
    with Load(stack, "echo", connections, 64, ("10.9.0.2", 80)) as load:
        load.open(lambda: True)
        load.run(600, requests, lambda: True, os.getpid())
"""

STRACE = ["strace", "-f", "-c", "-o"]


def can_trace() -> bool:
    """Whether strace is there and may trace."""
    strace = shutil.which("strace")
    return bool(strace) and subprocess.run([strace, "-o", "/dev/null", "true"]).returncode == 0


@dataclass(frozen=True)
class Traced:
    """What a server did from start to end."""

    syscalls: int
    rx_frames: int
    tx_frames: int
    port_syscalls: int  # of a tap
    bursts: int  # rounds with work
    vain: int  # rounds without, a read of a tap each
    seconds: float  # that the client took


def count(io: str, base: str, connections: int, requests: int, log: Path) -> Traced:
    """Serve so many requests under strace."""
    server = subprocess.Popen(
        [*STRACE, str(log), sys.executable, "-c", SERVER, io, base],
        process_group=0,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    client = [sys.executable, "-c", CLIENT, io, str(connections), str(requests)]
    try:
        assert server.stdout is not None and server.stdin is not None
        assert server.stdout.readline() == b"ready\n"
        start = time.monotonic()
        subprocess.run(client, check=True, timeout=600)
        seconds = time.monotonic() - start
        server.stdin.close()
        counters = [int(word) for word in server.stdout.readline().split()]
        assert server.wait(60) == 0
    finally:
        if server.poll() is None:
            os.killpg(server.pid, signal.SIGKILL)  # strace, and what it traces
            server.wait()
        if server.stdout:
            server.stdout.close()
    return Traced(total(log), *counters, seconds)


def total(log: Path) -> int:
    """Return the number of system calls that strace -c has written down."""
    found = re.search(r"^100\.00\s+\S+\s+(?:\S+\s+)?(\d+).* total$", log.read_text(), re.MULTILINE)
    assert found, log.read_text()
    return int(found[1])
