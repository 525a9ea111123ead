# SPDX-License-Identifier: BSD-3-Clause
"""Stacks on a ring: many connections at once, and a peer that is killed in the middle."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from two import CLIENT, SERVER, Recorder, two_stacks

from pair import ring_url
from ustack import Stack, aio
from ustack.apps import http
from ustack.apps.echo import Echo
from ustack.apps.fetch import Fetched, fetch

COUNT, WAVE = 10_000, 500


class Hasty(Echo):
    """Echoes once and closes."""

    def data_received(self, data: bytes) -> None:
        self.transport.write(data)
        self.transport.close()


def test_ten_thousand_connections_at_once_leave_nothing_but_time_wait() -> None:
    with two_stacks() as (server, client):
        aio.run(use_at_once(client), server, client)
        settle(server, client)
        for stack in (server, client):
            left = stack.usage()
            used = {name for name in left if f"{name}_max" in left and left[name]}
            assert used <= {"timewaits", "neighs"}
            assert left["flows"] == left["timewaits"]
            assert left["timers"] <= left["timewaits"] + left["neighs"]
        assert server.counters()["tcp.opens.passive"] == COUNT
        assert server.usage()["timewaits"] == COUNT


async def use_at_once(client: Stack) -> None:
    loop = asyncio.get_running_loop()
    async with await loop.create_server(Hasty, SERVER, 7, backlog=WAVE):
        pairs = []
        for _ in range(COUNT // WAVE):  # more SYNs at once than the backlog would be dropped
            opening = (loop.create_connection(Recorder, SERVER, 7) for _ in range(WAVE))
            pairs += await asyncio.gather(*opening)
        assert client.usage()["tcbs"] == COUNT
        for number, (transport, _) in enumerate(pairs):
            transport.write(b"%d" % number)
        for number, (_, protocol) in enumerate(pairs):
            assert await protocol.received(1) == b"%d" % number
            assert await protocol.lost is None


def settle(*stacks: Stack) -> None:
    """Drive them until neither has anything to do."""
    while sum([stack.run_once() for stack in stacks]):
        pass


# -------------------------------------------------------------------------------- sudden ends

FETCH_AND_STALL = """
import asyncio, sys
from ustack import Stack, aio

class Slow(asyncio.Protocol):
    def connection_made(self, transport):
        self.transport = transport
        transport.write(b"GET /bytes/1000000000 HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n")

    def data_received(self, data):
        print("started", flush=True)

async def main():
    await asyncio.get_running_loop().create_connection(Slow, "10.9.0.2", 80)
    await asyncio.sleep(60)

with Stack(sys.argv[1], "10.9.0.1/24") as stack:
    aio.run(main(), stack)
"""

Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def start() -> Iterator[Start]:
    """Starts a Python; all are ended at the end."""
    processes: list[subprocess.Popen[str]] = []

    def start(*argv: str) -> subprocess.Popen[str]:
        process = subprocess.Popen([sys.executable, *argv], stdout=subprocess.PIPE, text=True)
        processes.append(process)
        return process

    yield start
    for process in processes:
        process.terminate()  # so that it leaves its ring
        process.communicate(timeout=20)


def first_line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline()


def serve(start: Start, io: str) -> subprocess.Popen[str]:
    server = start("-m", "ustack", "serve", "http", "--io", io, "--address", f"{SERVER}/24")
    assert f" on {SERVER} port 80 " in first_line(server)
    return server


def test_a_server_goes_on_when_clients_are_killed(start: Start) -> None:
    io = ring_url()
    server = serve(start, io)
    for _ in range(3):
        client = start("-c", FETCH_AND_STALL, io)
        assert first_line(client) == "started\n"
        client.kill()
        client.wait()
    with Stack(io, f"{CLIENT}/24") as stack:
        got = aio.run(fetch(SERVER, http.PORT, "/bytes/1000000"), stack)
    assert (got.status, got.length) == (200, 1_000_000)
    server.send_signal(signal.SIGTERM)
    assert server.wait(20) == 0


def test_a_client_goes_on_when_the_server_is_killed(start: Start) -> None:
    io = ring_url()
    with Stack(io, f"{CLIENT}/24") as stack:

        async def twice() -> tuple[Any, Fetched]:
            server = serve(start, io)

            def kill(length: int) -> None:
                server.kill()
                limit.reschedule(asyncio.get_running_loop().time() + 1)

            try:
                async with asyncio.timeout(30) as limit:
                    await fetch(SERVER, http.PORT, "/bytes/1000000000", kill)
            except TimeoutError:
                server.wait()
                serve(start, io)
            return server.returncode, await fetch(SERVER, http.PORT, "/bytes/1000000")

        status, got = aio.run(twice(), stack)
    assert status == -signal.SIGKILL
    assert (got.status, got.length) == (200, 1_000_000)
