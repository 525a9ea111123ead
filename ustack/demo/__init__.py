# SPDX-License-Identifier: BSD-3-Clause
"""ustack demo: a server and a client, checked and counted, in a few seconds.

Without options both are processes on stacks of their own, joined by a ring. With --tap the client
is the kernel, and all of it happens in namespaces of its own. The parts: server.py (the server
process), over_ring.py and over_tap.py (what is done), ping.py (where there is no ping), report.py
(how it is told).
"""

import argparse
import os
import sys

from ustack.demo import over_ring, over_tap
from ustack.demo.report import DemoError, Progress, new_capture
from ustack.errors import ConfigError

__all__ = ["add_arguments", "main"]

BYTES = 100_000_000
SECONDS = 1.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what `ustack demo` understands."""
    parser.add_argument("--tap", action="store_true", help="with this machine's kernel as client")
    parser.add_argument(
        "--bytes", type=int, default=BYTES, metavar="N", help="of the bodies (100000000)"
    )
    parser.add_argument(
        "--seconds", type=float, default=SECONDS, metavar="S", help="of the echo measurement (1)"
    )
    parser.add_argument(
        "--capture", metavar="FILE", help="where the first frames go (a new file in /tmp)"
    )


def main(args: argparse.Namespace) -> int:
    """Run the demo and print what came of it; the exit status, 1 if anything was not right."""
    if not 1 <= args.bytes <= 1 << 40:
        raise ConfigError(
            f"--bytes must be 1..{1 << 40}, got {args.bytes}; leave it out for 100 MB"
        )
    if not 0.01 <= args.seconds <= 60:
        raise ConfigError(f"--seconds must be 0.01..60, got {args.seconds}; leave it out for 1")
    try:
        print(_run(args))
    except DemoError as error:
        print(f"ustack: demo: {error}", file=sys.stderr)
        return 1
    return 0


def _run(args: argparse.Namespace) -> str:
    """Run it with a file to capture to; the report. Where nothing was captured none is left."""
    run = over_tap.run if args.tap else over_ring.run
    file = args.capture or new_capture()
    try:
        with Progress() as progress:
            return run(args, file, progress)
    except DemoError:
        raise  # then the frames may show why
    except BaseException:
        if args.capture is None:
            os.unlink(file)
        raise
