# SPDX-License-Identifier: BSD-3-Clause
"""A ring between processes: one serves, one is killed, another takes its place."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pair import ring_url
from ustack.io import Port, open_port

LONG = 20.0  # seconds after which something is broken

#: A process that sends every frame back.
ECHO = """
import sys
from ustack.io import open_port
with open_port(sys.argv[1]) as port:
    print("ready", flush=True)
    while (frame := port.recv()) != b"end".ljust(60):
        if frame is not None:
            port.send(frame)
"""


@pytest.fixture
def url() -> str:
    return ring_url()


@pytest.fixture
def echo(url: str) -> Iterator[Callable[[], subprocess.Popen[str]]]:
    processes: list[subprocess.Popen[str]] = []

    def start() -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-c", ECHO, url], stdout=subprocess.PIPE, text=True
        )
        processes.append(process)
        assert process.stdout is not None and process.stdout.readline() == "ready\n"
        return process

    yield start
    for process in processes:
        process.kill()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()


def recv(port: Port) -> bytes:
    end = time.monotonic() + LONG
    while (frame := port.recv()) is None:
        assert time.monotonic() < end, "no answer"
    return frame


def assert_echoes(port: Port, n: int) -> None:
    for i in range(n):
        frame = i.to_bytes(4, "big").ljust(60, b"x")
        assert port.send(frame)
        assert recv(port) == frame


def files(url: str) -> list[Path]:
    name = f"ustack-{url.partition(':')[2]}*"
    return [path for where in ("/dev/shm", "/tmp") for path in Path(where).glob(name)]


def test_frames_cross_between_processes(
    url: str, echo: Callable[[], subprocess.Popen[str]]
) -> None:
    with open_port(url) as port:
        process = echo()
        assert_echoes(port, 500)
        assert port.send(b"end".ljust(60))
        assert process.wait(LONG) == 0
        assert not port.info.link_up
    assert files(url) == []


def test_the_survivor_serves_whoever_takes_a_killed_ones_place(
    url: str, echo: Callable[[], subprocess.Popen[str]]
) -> None:
    with open_port(url) as port:
        for _ in range(3):
            process = echo()
            assert port.info.link_up
            assert_echoes(port, 20)
            os.kill(process.pid, signal.SIGSTOP)  # so that frames are under way
            for _ in range(50):
                assert port.send(b"lost".ljust(60))
            process.kill()
            process.wait()
            assert not port.info.link_up
            while port.recv() is not None:  # what it sent before its death
                pass
    assert files(url) == []


def test_what_killed_processes_left_behind_is_made_anew(
    url: str, echo: Callable[[], subprocess.Popen[str]]
) -> None:
    first, second = echo(), echo()
    for process in (first, second):
        process.kill()
        process.wait()
    assert files(url)
    with open_port(url + "?mtu=9000") as near, open_port(url + "?mtu=9000") as far:
        assert near.send(b"new".ljust(60)) and far.recv() == b"new".ljust(60)
    assert files(url) == []


def test_what_killed_processes_left_behind_goes_when_another_ring_is_made(
    url: str, echo: Callable[[], subprocess.Popen[str]]
) -> None:
    first, second = echo(), echo()
    first.kill()
    first.wait()
    with open_port(ring_url()):
        assert files(url)  # one is still there
    second.kill()
    second.wait()
    assert files(url)
    with open_port(ring_url()):
        assert files(url) == []


def test_a_forked_child_that_closes_takes_nothing_away(url: str) -> None:
    with open_port(url) as port, open_port(url) as far:
        pid = os.fork()
        if pid == 0:
            port.close()
            os._exit(0)
        assert os.waitpid(pid, 0)[1] == 0
        assert files(url)
        assert far.info.link_up
        assert port.send(b"still".ljust(60)) and far.recv() == b"still".ljust(60)
    assert files(url) == []
