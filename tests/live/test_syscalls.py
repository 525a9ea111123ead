# SPDX-License-Identifier: BSD-3-Clause
"""Two busy stacks talk over a ring without system calls."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from pair import ring_url

SERVER = """
import sys, ustack
with ustack.Stack(io=sys.argv[1], address="10.9.0.1/24", spin=0.1) as stack:
    conn, _ = stack.listen(("", 80)).accept()
    while data := conn.recv(4096):
        conn.sendall(data)
"""

CLIENT = """
import sys, ustack
with ustack.Stack(io=sys.argv[1], address="10.9.0.2/24", spin=0.1) as stack:
    with stack.connect(("10.9.0.1", 80), timeout=20) as conn:
        for i in range(int(sys.argv[2])):
            conn.sendall(bytes(64))
            assert conn.recv(64) == bytes(64)
"""


def can_trace() -> bool:
    strace = shutil.which("strace")
    return bool(strace) and subprocess.run([strace, "-o", "/dev/null", "true"]).returncode == 0


def count(round_trips: int, log: Path) -> int:
    """How many system calls the server makes in so many round trips, from start to end."""
    url = ring_url()
    server = subprocess.Popen(["strace", "-f", "-c", "-o", log, sys.executable, "-c", SERVER, url])
    try:
        subprocess.run(
            [sys.executable, "-c", CLIENT, url, str(round_trips)], check=True, timeout=60
        )
        assert server.wait(20) == 0
    finally:
        server.kill()
        server.wait()
    total = re.search(r"^100\.00\s+\S+\s+(?:\S+\s+)?(\d+).* total$", log.read_text(), re.MULTILINE)
    assert total, log.read_text()
    return int(total[1])


@pytest.mark.skipif(
    "USTACK_SANITIZER" in os.environ, reason="sanitized peers sleep while they wait"
)
@pytest.mark.skipif(not can_trace(), reason="strace is missing, or may not trace here")
def test_system_calls_do_not_grow_with_the_round_trips(tmp_path: Path) -> None:
    few, many = count(1000, tmp_path / "few"), count(101_000, tmp_path / "many")
    # Other processes may keep the peer from its core for longer than the spin: then it sleeps.
    assert many - few < 1000, (few, many)
