# SPDX-License-Identifier: BSD-3-Clause
"""The guardian: peers are served while Python is elsewhere (guardian.c)."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from two import BASE

from pair import CLIENT, SERVER, Pair, ring_url
from stopwatch import Stopwatch
from ustack import ConfigError, Stack, aio

pytestmark = pytest.mark.quiet

BLOCKED = """
import asyncio, sys, time, ustack
url, base, seconds, guardian = sys.argv[1:]

class Slow(asyncio.Protocol):
    def connection_made(self, transport):
        self.transport, self.got, self.blocked = transport, 0, False

    def data_received(self, data):
        self.got += len(data)
        if not self.blocked:
            self.blocked = True
            end = time.monotonic() + float(seconds)
            while time.monotonic() < end:  # and keeps the GIL
                pass
        self.transport.write(data)

    def connection_lost(self, exc):
        over.set()

async def main():
    global over
    over = asyncio.Event()
    await asyncio.get_running_loop().create_server(Slow, "10.9.0.1", 80)
    print("ready", flush=True)
    await over.wait()

guardian = {"yes": None, "no": False}[guardian]
ustack.run(main, io=url, address="10.9.0.1/24", base=base, guardian=guardian)
"""


ADDRESS = f"{SERVER}/24"


def until(condition: Callable[[], bool], seconds: float = 10.0) -> bool:
    """Wait for what another thread does; whether it came."""
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        time.sleep(1e-3)
    return condition()


def blocked_server(
    url: str, base: str, seconds: float, guardian: str = "yes"
) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-c", BLOCKED, url, base, str(seconds), guardian]
    server = subprocess.Popen(command, stdout=subprocess.PIPE)
    assert server.stdout is not None and server.stdout.readline() == b"ready\n"
    return server


def test_a_handler_that_blocks_python_costs_no_retransmission_and_answers_keepalives(
    base: str,
) -> None:
    """USTACK_BLOCK_SECONDS=5 for the long one."""
    seconds, url = float(os.environ.get("USTACK_BLOCK_SECONDS", "1.6")), ring_url()
    server = blocked_server(url, BASE.get(), seconds)
    try:
        with Stack(url, f"{CLIENT}/24") as stack, stack.connect((SERVER, 80), 20) as conn:
            conn.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            conn.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 1)
            conn.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 1)
            conn.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 2)
            start = time.monotonic()
            conn.sendall(bytes(1))
            time.sleep(0.01)  # it blocks now
            for _ in range(20):
                conn.sendall(bytes(1000))
                time.sleep(0.005)
            assert until(lambda: conn.ioctl(0x5411) == 0, seconds / 4)  # SIOCOUTQ: all acknowledged
            conn.settimeout(20)
            assert len(conn.recv(1)) == 1
            assert time.monotonic() - start > seconds - 0.1
            assert conn.tcp_info().total_retrans == 0
            counters = stack.counters()
            assert counters["tcp.keepalives"] >= seconds - 1
            assert counters["tcp.rexmt.segs"] == 0
            left = 20_000
            while left:
                left -= len(conn.recv(left))
        assert server.wait(20) == 0
    finally:
        server.kill()
        server.communicate()


def test_without_a_guardian_a_handler_that_blocks_python_costs_retransmissions() -> None:
    """What the test above would see without one."""
    url = ring_url()
    server = blocked_server(url, "asyncio", 0.8, "no")
    try:
        with Stack(url, f"{CLIENT}/24") as stack, stack.connect((SERVER, 80), 20) as conn:
            conn.sendall(bytes(1))
            time.sleep(0.01)
            conn.sendall(bytes(1000))
            assert until(lambda: conn.tcp_info().total_retrans > 0)
    finally:
        server.kill()
        server.communicate()


def test_data_for_a_program_that_makes_no_call_is_acknowledged() -> None:
    with Pair(guardian=1e-3) as pair, pair.server.listen((SERVER, 80)) as listener:
        near = pair.begin()
        listener.settimeout(10)
        _far, _ = listener.accept()
        near.settimeout(10)
        near.send(bytes(1000))
        assert until(lambda: near.ioctl(0x5411) == 0)
        assert until(lambda: pair.server.counters()["worker.guardian_rounds"] > 0)


def test_a_loop_that_other_things_hold_up_is_stood_in_for(base: str) -> None:
    """The stack sleeps, and a callback that has nothing to do with it takes long."""
    url = ring_url()

    async def main() -> None:
        loop = asyncio.get_running_loop()
        server = await loop.create_server(asyncio.Protocol, SERVER, 80)
        reader, writer = socket.socketpair()
        blocked = threading.Event()

        def block() -> None:
            loop.remove_reader(reader)
            blocked.set()
            time.sleep(0.5)

        def client() -> bool:
            with Stack(url, f"{CLIENT}/24") as stack, stack.connect((SERVER, 80), 20) as conn:
                time.sleep(0.05)  # and all is quiet
                writer.send(b"x")
                blocked.wait(10)
                watch = Stopwatch()
                conn.sendall(bytes(1000))
                acknowledged = until(lambda: conn.ioctl(0x5411) == 0)
                return acknowledged and watch.own_seconds < 0.4

        loop.add_reader(reader, block)
        assert await loop.run_in_executor(None, client)
        server.close()
        reader.close()
        writer.close()

    with Stack(url, f"{SERVER}/24") as stack:
        aio.run(main(), stack, base=BASE.get())


def threads() -> int:
    return len(list(Path("/proc/self/task").iterdir()))


def test_the_guardian_ends_with_its_stack() -> None:
    before = threads()
    for _ in range(10):
        with Pair(guardian=True):
            assert threads() == before + 2
        assert until(lambda: threads() == before)  # /proc may tell of one that was joined just now


def test_an_idle_guardian_sleeps() -> None:
    with Pair(guardian=1e-3) as pair:
        near, _far = pair.connect()
        near.send(b"x")
        assert until(lambda: near.ioctl(0x5411) == 0)
        time.sleep(0.1)
        before, cpu = pair.server.counters(), time.process_time()
        time.sleep(0.5)
        after = pair.server.counters()
        assert time.process_time() - cpu < 0.05
        assert after["worker.rounds"] - before["worker.rounds"] < 20


def test_timers_go_on_without_a_call() -> None:
    """A SYN to nobody is sent again after a second; the round that sends it is the guardian's."""
    with Pair(guardian=1e-3) as pair:
        pair.server.close()
        near = pair.begin()
        rexmt = pair.client.counters()["tcp.rexmt.syn"]
        time.sleep(1.2)
        assert pair.client.counters()["tcp.rexmt.syn"] > rexmt
        near.close()


@pytest.mark.parametrize("nonsense", ["no such", -1, 11, float("nan")])
def test_a_patience_that_cannot_be_is_refused(nonsense: float) -> None:
    with pytest.raises(ConfigError, match=r"guardian must be False or 0\.\.10 seconds"):
        Stack(ring_url(), ADDRESS, guardian=nonsense)


def test_the_environment_decides_where_the_program_does_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before = threads()
    monkeypatch.setenv("USTACK_GUARDIAN", "no")
    with Stack(ring_url(), ADDRESS):
        assert threads() == before
        with Stack(ring_url(), ADDRESS, guardian=True):
            assert threads() == before + 1
    monkeypatch.setenv("USTACK_GUARDIAN", "soon")
    with pytest.raises(ConfigError, match=r"USTACK_GUARDIAN must be no or 0\.\.10 seconds"):
        Stack(ring_url(), ADDRESS)


LEFT = """
import gc, sys
from ustack import Stack
from ustack.io import ring_pair
def leave():
    pairs = [ring_pair() for _ in range(3)]
    stacks = [Stack(end, f"10.9.0.{i}/24", guardian=1e-6) for pair in pairs
              for i, end in enumerate(pair, 1)]
    for stack in stacks:
        stack.run_once()
    return stacks
how = sys.argv[1]
stacks = leave()
if how == "dropped":
    del stacks
elif how == "garbage":
    stacks.append(stacks)
    del stacks
    gc.collect()
elif how == "ports first":
    for stack in stacks:
        stack.ports[0].close()
print("over")
"""


@pytest.mark.parametrize("how", ["dropped", "garbage", "ports first", "at exit"])
def test_a_stack_that_nobody_closes_ends_its_guardian_first(how: str) -> None:
    """Whatever is collected first, engine, port or worker, its thread must not find it gone."""
    command = [sys.executable, "-X", "faulthandler", "-c", LEFT, how]
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "over\n", "")
