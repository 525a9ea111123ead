# SPDX-License-Identifier: BSD-3-Clause
"""ustack serve as a process of its own, its client on a stack in this one."""

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest
from two import CLIENT, SERVER

from ustack import Stack, aio
from ustack.apps.fetch import fetch


@contextlib.contextmanager
def served(*argv: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Start `ustack serve` on a ring; yield the process and the ring's URL once it listens."""
    io = f"ring:test-serve-{os.getpid()}"
    process = subprocess.Popen(
        [sys.executable, "-m", "ustack", "serve", *argv, "--io", io, "--address", f"{SERVER}/24"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert f" on {SERVER} port " in line, line
        yield process, io
    finally:
        process.kill()
        process.communicate()


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_a_server_process_serves_and_ends_cleanly(sent: signal.Signals) -> None:
    with served("http", "--listen", "8000") as (process, io):
        with Stack(io, f"{CLIENT}/24") as stack:
            got = aio.run(fetch(SERVER, 8000, "/bytes/1000000"), stack)
            assert (got.status, got.length) == (200, 1_000_000)
        process.send_signal(sent)
        out, _ = process.communicate(timeout=30)
        assert (out, process.returncode) == ("", 0)


def test_the_echo_server_answers_blocking_sockets() -> None:
    with (
        served("echo") as (_, io),
        Stack(io, f"{CLIENT}/24") as stack,
        stack.connect((SERVER, 7), timeout=30) as sock,
    ):
        for turn in range(100):
            sock.sendall(b"%d" % (turn % 10))
            assert sock.recv(10) == b"%d" % (turn % 10)


def test_kv_answers_blocking_sockets() -> None:
    with (
        served("kv") as (_, io),
        Stack(io, f"{CLIENT}/24") as stack,
        stack.connect((SERVER, 6379), timeout=30) as sock,
    ):
        sock.sendall(b"INCR n\r\nPING\r\n")
        got = b""
        while len(got) < 11:
            got += sock.recv(100)
        assert got == b":1\r\n+PONG\r\n"
