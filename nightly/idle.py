# SPDX-License-Identifier: BSD-3-Clause
"""What an idle server costs, and how soon it wakes: CPU with open connections, one-way latency.

A latency is from before send() in one process to data_received() in the other, which has slept. The
sender has just sent something over a stack of its own: what is measured is the sleeper's side, not
how long a processor that has slept takes to find the code that sends.

--seconds S: of idling (30). --connections N (1000). --messages N: one every 10 to 20 ms (1000).
"""

from __future__ import annotations

import argparse
import os
import random
import subprocess
import sys
import time

from ustack import Stack
from ustack.bench.load import cpu_ns

SERVER, CLIENT, OWN, PORT = "10.9.0.2", "10.9.0.1", "10.9.1.1", 80

SERVE = """
import asyncio, struct, sys, time, ustack
io, base = sys.argv[1:]
late = []

class Stamps(asyncio.Protocol):
    def data_received(self, data):
        late.append(time.monotonic_ns() - struct.unpack("q", data[:8])[0])

async def main():
    loop = asyncio.get_running_loop()
    await loop.create_server(Stamps, "10.9.0.2", 80, backlog=1024)
    print("ready", flush=True)
    over = asyncio.Event()
    loop.add_reader(sys.stdin.fileno(), over.set)
    await over.wait()
    loop.remove_reader(sys.stdin.fileno())
    print(*late, flush=True)

ustack.run(main, io=io, address="10.9.0.2/24", base=base)
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
    command = [sys.executable, "-c", SERVE, io, base]
    with (
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as server,
        Stack(io, f"{CLIENT}/24") as stack,
        Stack("loop:", f"{OWN}/24", guardian=False) as own,
    ):
        with own.listen((OWN, PORT)) as listener:
            near = own.connect((OWN, PORT), 30)
            far, _ = listener.accept()
        assert server.stdin and server.stdout and server.stdout.readline() == b"ready\n"
        conns = [stack.connect((SERVER, PORT), 30) for _ in range(args.connections)]
        time.sleep(1)
        before = cpu_ns(server.pid), time.process_time_ns(), time.monotonic_ns()
        time.sleep(args.seconds)
        after = cpu_ns(server.pid), time.process_time_ns(), time.monotonic_ns()
        spent = [b - a for a, b in zip(before, after, strict=True)]
        rng = random.Random(1)
        for _ in range(args.messages):
            time.sleep(rng.uniform(0.010, 0.020))
            near.sendall(bytes(8))
            far.recv(8)
            rng.choice(conns).sendall(time.monotonic_ns().to_bytes(8, "little"))
        time.sleep(0.1)
        server.stdin.close()
        late = sorted(map(int, server.stdout.readline().split()))
        for conn in conns:
            conn.abort()
    return spent[0] / spent[2], spent[1] / spent[2], late


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
    failed = False
    for base in ("asyncio", "uvloop"):
        server, client, late = measure(base, args)
        print(f"| {base} | {server:.2%} | {client:.2%} | {row(late)} |", flush=True)
        failed |= server >= 0.02 or len(late) < args.messages or late[len(late) * 99 // 100] > 2e5
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
