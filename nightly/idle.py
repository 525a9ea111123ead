# SPDX-License-Identifier: BSD-3-Clause
"""What an idle server costs, and how soon it wakes: CPU with open connections, one-way latency.

A latency is from before send() in one process to data_received() in the other, which has slept. The
sender has just sent something over a stack of its own: what is measured is the sleeper's side, not
how long a processor that has slept takes to find the code that sends. The kernel's rows are the
same program and the same messages, over loopback.

--seconds S: of idling (30). --connections N (1000). --messages N: one every 10 to 20 ms (1000).
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence

from ustack import Socket, Stack
from ustack.bench.load import cpu_ns

SERVER, CLIENT, OWN, PORT = "10.9.0.2", "10.9.0.1", "10.9.1.1", 80

SERVE = """
import asyncio, struct, sys, time, ustack
io, base, host = sys.argv[1:]
late = []

class Stamps(asyncio.Protocol):
    def data_received(self, data):
        late.append(time.monotonic_ns() - struct.unpack("q", data[:8])[0])

async def main():
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Stamps, host, 80 if io else 0, backlog=1024)
    print(server.sockets[0].getsockname()[1], flush=True)
    over = asyncio.Event()
    loop.add_reader(sys.stdin.fileno(), over.set)
    await over.wait()
    loop.remove_reader(sys.stdin.fileno())
    print(*late, flush=True)

if io:
    ustack.run(main, io=io, address=f"{host}/24", base=base)
elif base == "asyncio":
    asyncio.run(main())
else:
    import uvloop
    uvloop.run(main())
"""


def bare(messages: int) -> list[int]:
    """Return latencies of an eventfd between two programs that do nothing else, in ns."""
    bell, (reader, writer) = os.eventfd(0), os.pipe()
    child = os.fork()
    if child == 0:
        for _ in range(messages):
            os.eventfd_read(bell)
            os.write(writer, time.monotonic_ns().to_bytes(8, "little"))
        os._exit(0)
    rng, late = random.Random(1), []
    for _ in range(messages):
        time.sleep(rng.uniform(0.010, 0.020))
        sent = time.monotonic_ns()
        os.eventfd_write(bell, 1)
        late.append(int.from_bytes(os.read(reader, 8), "little") - sent)
    os.waitpid(child, 0)
    return sorted(late)


def row(late: list[int]) -> str:
    """Return quantiles as cells."""
    points = (late[int(len(late) * part)] / 1e3 for part in (0.5, 0.9, 0.99, 0.999999))
    return " | ".join(f"{point:.0f} µs" for point in points)


def measure(base: str, args: argparse.Namespace) -> tuple[float, float, list[int]]:
    """Return the part of a core that the server and the client need idle, and latencies in ns."""
    io = f"ring:idle-{os.getpid()}-{base}"
    with (
        serving(io, base, SERVER) as server,
        Stack(io, f"{CLIENT}/24") as stack,
        Stack("loop:", f"{OWN}/24", guardian=False) as own,
    ):
        with own.listen((OWN, PORT)) as listener:
            near = own.connect((OWN, PORT), 30)
            far, _ = listener.accept()
        port = started(server)
        conns = [stack.connect((SERVER, port), 30) for _ in range(args.connections)]
        time.sleep(1)
        before = cpu_ns(server.pid), time.process_time_ns(), time.monotonic_ns()
        time.sleep(args.seconds)
        after = cpu_ns(server.pid), time.process_time_ns(), time.monotonic_ns()
        spent = [b - a for a, b in zip(before, after, strict=True)]

        def warm() -> None:
            near.sendall(bytes(8))
            far.recv(8)

        late = latencies(server, conns, warm, args.messages)
        for conn in conns:
            conn.abort()
    return spent[0] / spent[2], spent[1] / spent[2], late


def of_the_kernel(base: str, args: argparse.Namespace) -> list[int]:
    """Return the same latencies of a program whose sockets are the kernel's."""
    near, far = socket.socketpair()
    with serving("", base, "127.0.0.1") as server, contextlib.ExitStack() as stack:
        port = started(server)
        conns = [
            stack.enter_context(socket.create_connection(("127.0.0.1", port)))
            for _ in range(args.connections)
        ]

        def warm() -> None:
            near.sendall(bytes(8))
            far.recv(8)

        return latencies(server, conns, warm, args.messages)


def serving(io: str, base: str, host: str) -> subprocess.Popen[bytes]:
    """Start the server."""
    command = [sys.executable, "-c", SERVE, io, base, host]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)


def started(server: subprocess.Popen[bytes]) -> int:
    """Return its port, once it listens."""
    assert server.stdout
    return int(server.stdout.readline())


def latencies(
    server: subprocess.Popen[bytes],
    conns: Sequence[Socket | socket.socket],
    warm: Callable[[], None],
    messages: int,
) -> list[int]:
    """Send them, one every 10 to 20 ms; return what the server saw, sorted, in ns."""
    assert server.stdin and server.stdout
    rng = random.Random(1)
    for _ in range(messages):
        time.sleep(rng.uniform(0.010, 0.020))
        warm()
        rng.choice(conns).sendall(time.monotonic_ns().to_bytes(8, "little"))
    time.sleep(0.1)
    server.stdin.close()
    return sorted(map(int, server.stdout.readline().split()))


def main() -> int:
    """Print the table; 1 when a claim does not hold."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--connections", type=int, default=1000)
    parser.add_argument("--messages", type=int, default=1000)
    args = parser.parse_args()
    print(f"{args.connections} open connections over ring:, {args.seconds:g} s idle, then", end=" ")
    print(f"{args.messages} messages 10 to 20 ms apart; load average {os.getloadavg()[0]:.1f}.\n")
    print("| loop | CPU of the server | of the client | wake-up p50 | p90 | p99 | most |")
    print("|---|---:|---:|---:|---:|---:|---:|", flush=True)
    print(f"| none, an eventfd | | | {row(bare(args.messages))} |", flush=True)
    for base in ("asyncio", "uvloop"):
        late = of_the_kernel(base, args)
        print(f"| {base}, the kernel's sockets | | | {row(late)} |", flush=True)
    failed = False
    for base in ("asyncio", "uvloop"):
        server, client, late = measure(base, args)
        print(f"| {base} | {server:.2%} | {client:.2%} | {row(late)} |", flush=True)
        failed |= server >= 0.02 or len(late) < args.messages or late[len(late) * 99 // 100] > 2e5
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
