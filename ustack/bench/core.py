# SPDX-License-Identifier: BSD-3-Clause
"""One core of `ustack bench cores`, as a process: python -m ustack.bench.core CORE …

Both ends of its connections, client and echo server in C, take turns in one thread over a ring
pair. At each line of stdin it measures and prints a Sample; it works on until the next, so that
nobody measures beside a core that has become idle; and it ends with stdin.
"""

import argparse
import contextlib
import dataclasses
import json
import os
import select
import signal
import sys

from ustack.bench.inside import PORT, ServerInC
from ustack.bench.load import Load
from ustack.bench.sides import CLIENT, LENGTH, SERVER, WARM_UP
from ustack.io import ring_pair
from ustack.stack import Stack

__all__ = ["main"]


def main(argv: list[str] | None = None) -> int:
    """Measure once for every line of stdin, until it ends."""
    parser = argparse.ArgumentParser(prog="python -m ustack.bench.core", description=__doc__)
    parser.add_argument("core", type=int)
    parser.add_argument("--connections", type=int, required=True)
    parser.add_argument("--size", type=int, required=True)
    parser.add_argument("--requests", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=1.0)
    args = parser.parse_args(argv)
    os.sched_setaffinity(0, {args.core})
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for who started us
    ports = ring_pair(mtu=1500)
    with (
        Stack(ports[0], f"{SERVER}/{LENGTH}", guardian=False) as server,
        Stack(ports[1], f"{CLIENT}/{LENGTH}", guardian=False) as client,
        contextlib.closing(ServerInC(server)) as echo,
        Load(client, "echo", args.connections, args.size, (SERVER, PORT), serve=echo.raw) as load,
    ):
        while not load.turn_to_open():
            echo.turn()
        print("ready", flush=True)
        while sys.stdin.readline():
            load.run(min(WARM_UP * args.seconds, 1.0), 0, _always, os.getpid())
            sample = load.run(args.seconds, args.requests, _always, os.getpid())
            print(json.dumps(dataclasses.asdict(sample)), flush=True)
            while not select.select([sys.stdin], [], [], 0)[0]:  # until all have measured
                load.run(0.05, 0, _always, os.getpid())
    return 0


def _always() -> bool:
    return True


if __name__ == "__main__":
    sys.exit(main())
