# SPDX-License-Identifier: BSD-3-Clause
"""Two busy stacks talk over a ring without system calls."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from two import BASE

import tracing
from pair import ring_url
from tracing import STRACE, can_trace, total

pytestmark = pytest.mark.quiet

BLOCKING = """
import sys, ustack
with ustack.Stack(io=sys.argv[1], address="10.9.0.1/24", spin=0.1, guardian=False) as stack:
    listener = stack.listen(("", 80))
    print("ready", flush=True)
    conn, _ = listener.accept()
    while data := conn.recv(4096):
        conn.sendall(data)
"""

ASYNCIO = """
import asyncio, sys, ustack
from ustack import aio
from ustack.apps.echo import Echo

class Once(Echo):
    def connection_lost(self, exc):
        over.set()

async def main():
    global over
    over = asyncio.Event()
    await asyncio.get_running_loop().create_server(Once, "10.9.0.1", 80)
    print("ready", flush=True)
    await over.wait()

def loop():
    loop = aio.EventLoop(spin=0.1)
    loop.attach(stack)
    return loop

with ustack.Stack(io=sys.argv[1], address="10.9.0.1/24", guardian=False) as stack:
    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(main())
"""

CLIENT = """
import sys, ustack
with ustack.Stack(io=sys.argv[1], address="10.9.0.2/24", spin=0.1, guardian=False) as stack:
    with stack.connect(("10.9.0.1", 80), timeout=20) as conn:
        for i in range(int(sys.argv[2])):
            conn.sendall(bytes(64))
            assert conn.recv(64) == bytes(64)
"""

TRIES = 4


def count(server_code: str, round_trips: int, log: Path) -> tuple[int, int]:
    """How many system calls server and client make in so many round trips, from start to end."""
    url = ring_url()
    logs = [log.with_suffix(".server"), log.with_suffix(".client")]
    command = [*STRACE, str(logs[0]), sys.executable, "-c", server_code, url]
    server = subprocess.Popen(command, process_group=0, stdout=subprocess.PIPE)
    client = [*STRACE, str(logs[1]), sys.executable, "-c", CLIENT, url, str(round_trips)]
    try:
        assert server.stdout is not None and server.stdout.readline() == b"ready\n"
        subprocess.run(client, check=True, timeout=60)
        assert server.wait(20) == 0
    finally:
        if server.poll() is None:
            os.killpg(server.pid, signal.SIGKILL)  # strace, and what it traces
        server.communicate()
    return total(logs[0]), total(logs[1])


traced = pytest.mark.skipif(not can_trace(), reason="strace is missing, or may not trace here")
quick = pytest.mark.skipif(
    "USTACK_SANITIZER" in os.environ, reason="sanitized peers sleep while they wait"
)


@quick
@traced
@pytest.mark.parametrize("server", [BLOCKING, ASYNCIO], ids=["blocking", "asyncio"])
def test_system_calls_do_not_grow_with_the_round_trips(tmp_path: Path, server: str) -> None:
    few = count(server, 1000, tmp_path / "few")
    # Other processes may keep the peer from its core for longer than the spin: then it sleeps.
    for _ in range(TRIES):
        many = count(server, 101_000, tmp_path / "many")
        if all(after - before < 1000 for before, after in zip(few, many, strict=True)):
            return
    pytest.fail(f"{few} system calls in 1,000 round trips, {many} in 101,000")


@quick
@traced
def test_a_busy_loop_makes_fewer_system_calls_than_one_in_a_hundred_messages(
    base: str, tmp_path: Path
) -> None:
    """nightly/syscalls.py counts over 10^6 messages; the loop looks at the kernel by the clock."""
    few, many = (
        tracing.count(ring_url(), BASE.get(), 64, n, tmp_path / f"{n}") for n in (1000, 151_000)
    )
    allowed = 150_000 / 100 + 3000 * (many.seconds - few.seconds)
    assert many.syscalls - few.syscalls < allowed, (few, many)
    assert many.bursts - few.bursts > 150_000 / 64
