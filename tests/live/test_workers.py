# SPDX-License-Identifier: BSD-3-Clause
"""Worker processes: one stack on the queues of one ring, its clients on a stack in this process."""

from __future__ import annotations

import asyncio
import itertools
import os
import signal
import subprocess
import sys
import time

import pytest
from crews import LONG, Crew, crew, serving
from test_tap import why_not
from two import CLIENT, SERVER

from ustack import Socket, Stack, aio
from ustack.apps.fetch import fetch


def client(served: Crew) -> Stack:
    return Stack(served.io, f"{CLIENT}/24")


async def fetch_all(n: int, at_once: int = 50) -> None:
    """Fetch n bodies, each over a connection of its own, and see that they are right."""
    limit = asyncio.Semaphore(at_once)

    async def one(i: int) -> None:
        async with limit:
            got = await fetch(SERVER, 8000, f"/bytes/{1000 + i}")
            assert (got.status, got.length) == (200, 1000 + i)

    await asyncio.gather(*(one(i) for i in range(n)))


def echoes(sock: Socket, text: bytes) -> None:
    sock.sendall(text)
    got = b""
    while len(got) < len(text):
        more = sock.recv(100)
        assert more, "closed"
        got += more
    assert got == text


def connections_of_each(served: Crew, stack: Stack, n: int = 4) -> list[list[Socket]]:
    """At least n connections to the echo server at each of two workers."""
    found: list[list[Socket]] = [[], []]
    before = [row.accepted for row in served.rows()]
    while min(map(len, found)) < n:
        sock = stack.connect((SERVER, 7), timeout=LONG)
        echoes(sock, b"who are you?")
        now = accepted_after(served, sum(before))
        found[now[1] - before[1]].append(sock)
        before = now
    return found


def accepted_after(served: Crew, total: int) -> list[int]:
    """How many each has accepted, once that is more than so many in all."""
    rows = served.wait_for(lambda rows: sum(row.accepted for row in rows) > total)
    return [row.accepted for row in rows]


def test_a_thousand_connections_land_on_both_workers_whole() -> None:
    with serving("http", "--listen", "8000") as served, client(served) as stack:
        aio.run(fetch_all(1000), stack)
        rows = served.wait_for(lambda rows: sum(row.accepted for row in rows) == 1000)
        assert min(row.accepted for row in rows) > 400
        assert [row.restarts for row in rows] == [0, 0]
        # Every frame met its engine; only ARP, which concerns all, was handed on.
        assert sum(row.handed_out for row in rows) <= 8
        assert [row.lost for row in rows] == [0, 0]


def test_a_killed_worker_takes_only_its_own_connections() -> None:
    with serving("echo") as served, client(served) as stack:
        ours = connections_of_each(served, stack)
        before = served.rows()
        victim = before[1].pid
        assert victim is not None
        os.kill(victim, signal.SIGKILL)
        killed = time.monotonic()
        for turn in range(20):
            for sock in ours[0]:
                echoes(sock, b"%d" % turn)
        rows = served.wait_for(lambda rows: rows[1].state == "serving" and rows[1].restarts == 1)
        assert time.monotonic() - killed < 1.0
        assert rows[1].pid != victim and rows[0].pid == before[0].pid
        again = connections_of_each(served, stack)  # at the successor, too
        for sock in ours[0] + again[0] + again[1]:
            echoes(sock, b"still there?")
        assert served.rows()[0].restarts == 0


@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGINT])
def test_a_drain_loses_nothing(sent: signal.Signals) -> None:
    length = 3_000_000

    async def main(served: Crew) -> None:
        begun = [asyncio.create_task(fetch(SERVER, 8000, f"/bytes/{length}")) for _ in range(16)]
        await asyncio.to_thread(
            served.wait_for, lambda rows: sum(row.accepted for row in rows) == 16
        )
        served.process.send_signal(sent)
        for got in await asyncio.gather(*begun):
            assert (got.status, got.length) == (200, length)

    with serving("http", "--listen", "8000") as served, client(served) as stack:
        aio.run(main(served), stack)
        assert served.process.wait(LONG) == 0


def test_a_second_signal_ends_what_a_drain_waits_for() -> None:
    with serving("echo", "--drain", "600") as served, client(served) as stack:
        ours = connections_of_each(served, stack, 1)
        served.process.send_signal(signal.SIGTERM)
        served.wait_for(lambda rows: {row.state for row in rows} == {"draining"})
        for sock in ours[0] + ours[1]:
            echoes(sock, b"not yet")
        with pytest.raises(ConnectionRefusedError):
            stack.connect((SERVER, 7), timeout=LONG)
        served.process.send_signal(signal.SIGTERM)
        assert served.process.wait(LONG) == 0
        for sock in ours[0] + ours[1]:
            assert sock.recv(1) == b""


def test_a_drain_ends_when_its_time_is_over() -> None:
    with serving("echo", "--drain", "0.2") as served, client(served) as stack:
        with stack.connect((SERVER, 7), timeout=LONG) as sock:
            echoes(sock, b"busy")
            served.process.send_signal(signal.SIGTERM)
            assert sock.recv(1) == b""  # FIN, no reset
        assert served.process.wait(LONG) == 0


def test_sighup_replaces_the_workers_one_after_the_other() -> None:
    with serving("echo") as served, client(served) as stack:
        connections_of_each(served, stack, 1)[0][0].close()
        before = served.rows()
        served.process.send_signal(signal.SIGHUP)
        seen = set()

        def replaced(rows: list[object]) -> bool:
            seen.add(tuple(row.state == "serving" for row in rows))  # type: ignore[attr-defined]
            return all(row.restarts == 1 and row.state == "serving" for row in rows)  # type: ignore[attr-defined]

        stack.close()
        rows = served.wait_for(replaced)
        assert {row.pid for row in rows}.isdisjoint({row.pid for row in before})
        assert (False, False) not in seen
        with client(served) as again:
            connections_of_each(served, again, 1)


def test_workers_end_with_their_supervisor() -> None:
    with serving("echo") as served:
        pids = [row.pid for row in served.rows()]
        served.process.kill()
        served.process.wait(LONG)
        end = time.monotonic() + LONG
        for pid in pids:
            assert pid is not None
            while os.path.exists(f"/proc/{pid}/exe"):  # a zombie has none
                assert time.monotonic() < end


MAIN = f"""
import asyncio, ustack

async def main():
    async def echo(reader, writer):
        while text := await reader.read(100):
            writer.write(text)
        writer.close()
    server = await asyncio.start_server(echo, "{SERVER}", 7)
    print("serves on {SERVER} port 7", flush=True)
    await server.serve_forever()

ustack.run(main, io="{{io}}", address="{SERVER}/24", workers=2)
"""

BLOCKING = f"""
import socket
with socket.create_server(("{SERVER}", 7)) as server:
    print("serves on {SERVER} port 7", flush=True)
    while True:
        sock, _ = server.accept()
        with sock:
            sock.sendall(sock.recv(100))
"""


def test_a_coroutine_runs_in_each_worker() -> None:
    with crew("-c", MAIN, lines=2) as served, client(served) as stack:
        for sock in itertools.chain(*connections_of_each(served, stack, 2)):
            echoes(sock, b"again")
            sock.close()
        served.process.send_signal(signal.SIGTERM)
        assert served.process.wait(LONG) == 0


def test_an_unmodified_program_runs_in_each_worker(tmp_path: object) -> None:
    script = f"{tmp_path}/echo.py"
    with open(script, "w") as file:
        file.write(BLOCKING)
    stack_options = ("-w", "2", "--io", "{io}", "--address", f"{SERVER}/24")
    with (
        crew("-m", "ustack", "run", *stack_options, script, lines=2) as served,
        client(served) as stack,
    ):
        connections_of_each(served, stack, 2)
        served.process.send_signal(signal.SIGTERM)
        assert served.process.wait(LONG) == 0


def run_once(*argv: str) -> tuple[int, str]:
    done = subprocess.run([sys.executable, *argv], capture_output=True, text=True, timeout=60)
    return done.returncode, done.stderr


@pytest.mark.parametrize(
    ("argv", "complaint"),
    [
        (
            "--io ring:x -w 2",
            "2 workers need a queue each, 'ring:x' has 1 queue; say ring:x?queues=2",
        ),
        (
            "--io loop: -w 2",
            "workers need a port with a queue for each, got 'loop:', which has none",
        ),
        ("--io ring:x?queues=2 -w 0", "workers must be 1..16, got 0"),
        ("--io ring:x?queues=2 -w 2 --drain -1", "drain must be 0..3600 seconds, got -1.0"),
        ("--io ring:x?queues=2 -w 2 --listen 0", "--listen 0 takes any port, each worker another"),
        ("--io ring:x?queues=2&side=0&queue=1 -w 2", "workers get side and queue by themselves"),
        ("--io ring:x --drain 1", "--drain is for workers, of which there are none; add --workers"),
    ],
)
def test_what_cannot_be_is_told_in_one_line(argv: str, complaint: str) -> None:
    command = ["-m", "ustack", "serve", "echo", "--address", f"{SERVER}/24", *argv.split()]
    status, text = run_once(*command)
    assert (status, text.count("\n")) == (2, 1)
    assert complaint in text


def test_workers_that_cannot_start_are_not_started_again() -> None:
    program = "import ustack; ustack.run({main}, io='{io}', address='10.9.0.2/24', workers=2)"
    io = f"ring:test-crew-none-{os.getpid()}?queues=2"
    status, text = run_once("-c", program.format(main="lambda: nothing()", io=io))
    assert status == 1
    assert "NameError" in text and "the next starts" not in text


def test_threads_before_the_workers_are_refused() -> None:
    program = (
        "import threading, ustack\n"
        "threading.Thread(target=threading.Event().wait, name='early', daemon=True).start()\n"
        f"ustack.run(print, io='ring:test-crew-t{os.getpid()}?queues=2', workers=2,"
        " address='10.9.0.2/24')"
    )
    status, text = run_once("-c", program)
    assert status == 1
    assert "before any other thread, got MainThread, early" in text


SERVED = f"""
import asyncio, atexit, os, signal, subprocess, sys, time
from ustack.io import userns

LONG = 30.0
userns.isolate()
argv = "serve http --listen 8000 --workers 2 --io tap:us0?queues=2 --address {SERVER}/24".split()
server = subprocess.Popen([sys.executable, "-m", "ustack", *argv], text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE)
atexit.register(server.kill)

def rows():
    server.send_signal(signal.SIGUSR1)
    while not (line := server.stderr.readline()).startswith("ustack: worker  "):
        assert line
    return [server.stderr.readline().split()[1:] for _ in range(2)]

async def fetch(i, limit):
    async with limit:
        reader, writer = await asyncio.open_connection("{SERVER}", 8000)
        writer.write(b"GET /bytes/%d HTTP/1.0\\r\\n\\r\\n" % (1000 + i))
        head, _, body = (await reader.read()).partition(b"\\r\\n\\r\\n")
        writer.close()
        assert b" 200 " in head and len(body) == 1000 + i

async def fetch_all(n):
    limit = asyncio.Semaphore(50)
    await asyncio.gather(*(fetch(i, limit) for i in range(n)))

assert " on {SERVER} port " in server.stdout.readline()
asyncio.run(fetch_all(1000))
accepted = [int(row[5]) for row in rows()]
assert min(accepted) > 300, accepted
os.kill(int(rows()[1][1]), signal.SIGKILL)
end = time.monotonic() + LONG
while (last := rows()[1])[3] != "serving" or last[-1] != "1":
    assert time.monotonic() < end
asyncio.run(fetch_all(200))
server.terminate()
assert server.wait(LONG) == 0
print("well")
"""


def test_workers_share_a_tap_and_hand_over_what_the_kernel_steers_otherwise() -> None:
    """The client is Linux, whose hash of a flow is its own: frames reach the wrong worker, too."""
    reason = why_not()
    if reason:
        pytest.skip(reason)
    done = subprocess.run(
        [sys.executable, "-c", SERVED], capture_output=True, text=True, timeout=120
    )
    assert done.stdout == "well\n", done.stderr
