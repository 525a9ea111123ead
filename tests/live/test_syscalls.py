# SPDX-License-Identifier: BSD-3-Clause
"""Two busy stacks talk over a ring without system calls."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from pair import ring_url

BLOCKING = """
import sys, ustack
with ustack.Stack(io=sys.argv[1], address="10.9.0.1/24", spin=0.1) as stack:
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

with ustack.Stack(io=sys.argv[1], address="10.9.0.1/24") as stack:
    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(main())
"""

CLIENT = """
import sys, ustack
with ustack.Stack(io=sys.argv[1], address="10.9.0.2/24", spin=0.1) as stack:
    with stack.connect(("10.9.0.1", 80), timeout=20) as conn:
        for i in range(int(sys.argv[2])):
            conn.sendall(bytes(64))
            assert conn.recv(64) == bytes(64)
"""


STRACE = ["strace", "-f", "-c", "-o"]


def can_trace() -> bool:
    strace = shutil.which("strace")
    return bool(strace) and subprocess.run([strace, "-o", "/dev/null", "true"]).returncode == 0


def count(server_code: str, round_trips: int, log: Path) -> tuple[int, int]:
    """How many system calls server and client make in so many round trips, from start to end."""
    url = ring_url()
    logs = [log.with_suffix(".server"), log.with_suffix(".client")]
    command = [*STRACE, logs[0], sys.executable, "-c", server_code, url]
    server = subprocess.Popen(command, process_group=0, stdout=subprocess.PIPE)
    client = [*STRACE, logs[1], sys.executable, "-c", CLIENT, url, str(round_trips)]
    try:
        assert server.stdout is not None and server.stdout.readline() == b"ready\n"
        subprocess.run(client, check=True, timeout=60)
        assert server.wait(20) == 0
    finally:
        if server.poll() is None:
            os.killpg(server.pid, signal.SIGKILL)  # strace, and what it traces
        server.communicate()
    return total(logs[0]), total(logs[1])


def total(log: Path) -> int:
    found = re.search(r"^100\.00\s+\S+\s+(?:\S+\s+)?(\d+).* total$", log.read_text(), re.MULTILINE)
    assert found, log.read_text()
    return int(found[1])


@pytest.mark.skipif(
    "USTACK_SANITIZER" in os.environ, reason="sanitized peers sleep while they wait"
)
@pytest.mark.skipif(not can_trace(), reason="strace is missing, or may not trace here")
@pytest.mark.parametrize("server", [BLOCKING, ASYNCIO], ids=["blocking", "asyncio"])
def test_system_calls_do_not_grow_with_the_round_trips(tmp_path: Path, server: str) -> None:
    few, many = count(server, 1000, tmp_path / "few"), count(server, 101_000, tmp_path / "many")
    # Other processes may keep the peer from its core for longer than the spin: then it sleeps.
    for before, after in zip(few, many, strict=True):
        assert after - before < 1000, (few, many)
