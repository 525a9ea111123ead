# SPDX-License-Identifier: BSD-3-Clause
"""The server process of the demo: http and echo on one stack. python -m ustack.demo.server …

It says "ready", or "failed …", on stdout; answers each line on stdin with its counters as JSON;
and ends when stdin does, so that it never outlives who asked for it.
"""

import argparse
import asyncio
import json
import os
import signal
import sys

from ustack.aio import run
from ustack.apps import echo, http
from ustack.demo.report import open_stack
from ustack.errors import UstackError
from ustack.stack import Stack

__all__ = ["main"]


def main(argv: list[str] | None = None) -> int:
    """Serve until stdin ends."""
    parser = argparse.ArgumentParser(prog="python -m ustack.demo.server", description=__doc__)
    parser.add_argument("--io", required=True)
    parser.add_argument("--address", required=True)
    parser.add_argument("--capture")
    args = parser.parse_args(argv)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for who started us
    try:
        with open_stack(args.io, args.address, args.capture) as stack:
            run(_serve(stack), stack)
    except (UstackError, OSError) as error:
        print("failed", " ".join(str(error).split()), flush=True)
        return 2
    return 0


async def _serve(stack: Stack) -> None:
    """Listen, say so, and answer stdin until it ends."""
    loop, over, stdin = asyncio.get_running_loop(), asyncio.Event(), sys.stdin.fileno()

    def on_stdin() -> None:
        asked = os.read(stdin, 4096)
        for _ in range(asked.count(b"\n")):
            print(json.dumps(stack.counters()), flush=True)
        if not asked:
            over.set()

    host = stack.addresses[0].host
    servers = [await http.serve(host), await echo.serve(host)]
    loop.add_reader(stdin, on_stdin)
    print("ready", flush=True)
    await over.wait()
    loop.remove_reader(stdin)
    for server in servers:
        server.close()


if __name__ == "__main__":
    sys.exit(main())
