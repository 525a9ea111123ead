# SPDX-License-Identifier: BSD-3-Clause
"""The server of a measurement, as a process of its own: python -m ustack.bench.server …

It tells its port on stdout ("port 40123", or "failed …") and ends when its stdin does, so that it
never outlives who asked for it. The same Protocols serve on a stack and on the kernel.
"""

import argparse
import asyncio
import contextlib
import os
import signal
import socket
import sys
from collections.abc import Callable
from typing import Any, cast

from ustack import Stack, aio
from ustack.apps.echo import Echo

__all__ = ["APPS", "CONGESTION_CONTROL", "LOOPS", "main"]

CONGESTION_CONTROL = b"cubic"  # as in kernel.c: no pacing by a default of the system's
CHUNK = bytes(256 * 1024)


class Sink(asyncio.Protocol):
    """Takes what comes."""

    def data_received(self, data: bytes) -> None:
        """Forget it."""


class Source(asyncio.Protocol):
    """Sends as much as is taken."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        self._transport = cast(asyncio.Transport, transport)
        self.resume_writing()

    def pause_writing(self) -> None:
        """Stop: enough is buffered."""
        self._paused = True

    def resume_writing(self) -> None:
        """Write until there is enough again."""
        self._paused = False
        while not self._paused and not self._transport.is_closing():
            self._transport.write(CHUNK)


APPS: dict[str, type[asyncio.Protocol]] = {"echo": Echo, "sink": Sink, "source": Source}
LOOPS = ("ustack", "uvloop", "asyncio")


def main(argv: list[str] | None = None) -> int:
    """Serve until stdin ends."""
    parser = argparse.ArgumentParser(prog="python -m ustack.bench.server", description=__doc__)
    parser.add_argument("--app", choices=sorted(APPS), required=True)
    parser.add_argument("--loop", choices=LOOPS, required=True)
    parser.add_argument("--io")
    parser.add_argument("--address", required=True, help="a CIDR for ustack, else an address")
    parser.add_argument("--backlog", type=int, default=128)
    parser.add_argument("--cpu", type=int)
    args = parser.parse_args(argv)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for who started us
    if args.cpu is not None:
        os.sched_setaffinity(0, {args.cpu})
    try:
        if args.loop == "ustack":
            serve_on_stack(args)
        else:
            serve_on_kernel(args)
    except (OSError, ValueError) as error:
        print("failed", " ".join(str(error).split()), flush=True)
        return 2
    return 0


def serve_on_stack(args: argparse.Namespace) -> None:
    """Serve on a stack of its own."""
    with Stack(args.io, args.address) as stack:
        host = args.address.partition("/")[0]
        aio.run(serve(args, host=host, port=0, backlog=args.backlog), stack)


def serve_on_kernel(args: argparse.Namespace) -> None:
    """Serve on the kernel's TCP."""
    with socket.create_server((args.address, 0), backlog=args.backlog) as sock:
        with contextlib.suppress(OSError):  # without privilege a system may allow only others
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, CONGESTION_CONTROL)
        with asyncio.Runner(loop_factory=loop_factory(args.loop)) as runner:
            runner.run(serve(args, sock=sock, backlog=args.backlog))


def loop_factory(name: str) -> Callable[[], asyncio.AbstractEventLoop]:
    """Return what makes a kernel event loop of that name."""
    if name == "uvloop":
        import uvloop

        return cast(Callable[[], asyncio.AbstractEventLoop], uvloop.new_event_loop)
    return asyncio.SelectorEventLoop


async def serve(args: argparse.Namespace, **where: Any) -> None:
    """Listen, tell the port, and wait for the end of stdin."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(APPS[args.app], **where)
    print("port", server.sockets[0].getsockname()[1], flush=True)
    over = asyncio.Event()
    loop.add_reader(sys.stdin.fileno(), over.set)
    await over.wait()
    loop.remove_reader(sys.stdin.fileno())
    server.close()


if __name__ == "__main__":
    sys.exit(main())
