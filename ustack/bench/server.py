# SPDX-License-Identifier: BSD-3-Clause
"""The server of a measurement, as a process of its own: python -m ustack.bench.server …

It tells its port on stdout ("port 40123", or "failed …") and ends when its stdin does, so that it
never outlives who asked for it. What it runs is in programs.py, or in C.
"""

import argparse
import asyncio
import contextlib
import os
import select
import signal
import socket
import sys
from collections.abc import Callable
from typing import Any, cast

from ustack import Stack, aio
from ustack._native import check, ffi, lib, pack_address
from ustack.bench import veth
from ustack.bench.load import SLICE
from ustack.bench.machine import raise_descriptor_limit
from ustack.bench.programs import PROGRAMS, Place, answer

__all__ = ["CONGESTION_CONTROL", "LOOPS", "SERVE_KINDS", "main"]

CONGESTION_CONTROL = b"cubic"  # as in kernel.c: no pacing by a default of the system's
LOOPS = ("ustack", "uvloop", "asyncio", "epoll")
SERVE_KINDS = {
    "echo": lib.UST_SERVE_ECHO,
    "sink": lib.UST_SERVE_SINK,
    "source": lib.UST_SERVE_SOURCE,
    "http": lib.UST_SERVE_ANSWER,
}


def main(argv: list[str] | None = None) -> int:
    """Serve until stdin ends."""
    parser = argparse.ArgumentParser(prog="python -m ustack.bench.server", description=__doc__)
    parser.add_argument("--app", choices=sorted(SERVE_KINDS), required=True)
    parser.add_argument("--server", default="protocol", help="c, or as in programs.py")
    parser.add_argument("--loop", choices=LOOPS, required=True)
    parser.add_argument("--io")
    parser.add_argument("--address", required=True, nargs="+", help="CIDRs for ustack")
    parser.add_argument("--setting", nargs="*", default=[], help="NAME=VALUE of the stack")
    parser.add_argument("--size", type=int, default=64, help="of an answer by http")
    parser.add_argument("--backlog", type=int, default=128)
    parser.add_argument("--cpu", type=int)
    parser.add_argument("--netns", type=int, help="a descriptor of the network to be in")
    args = parser.parse_args(argv)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for who started us
    if args.cpu is not None:
        os.sched_setaffinity(0, {args.cpu})
    try:
        if args.netns is not None:
            veth.join(args.netns)
        if args.loop == "ustack":
            serve_on_stack(args)
        else:
            serve_on_kernel(args)
    except (OSError, ValueError, ImportError) as error:
        print("failed", " ".join(str(error).split()), flush=True)
        return 2
    return 0


def serve_on_stack(args: argparse.Namespace) -> None:
    """Serve on a stack of its own."""
    settings = {name: int(value) for name, value in (s.split("=") for s in args.setting)}
    in_c = args.server == "c"
    with Stack(
        args.io, addresses=args.address, settings=settings, guardian=False if in_c else None
    ) as stack:
        several = len(args.address) > 1
        host = "0.0.0.0" if several else args.address[0].partition("/")[0]
        if in_c:
            serve_in_c(args, *_listen_on_stack(stack, host, args))
        else:
            place = Place(None, stack, host, args.backlog)
            aio.run(serve(args, place), stack, wildcard="ustack")


def _listen_on_stack(stack: Stack, host: str, args: argparse.Namespace) -> tuple[Any, int]:
    worker, port = stack._worker, 7
    handle = check(lib.ust_worker_socket(worker), "socket")
    check(lib.ust_worker_bind(worker, handle, pack_address(host), port), "bind")
    check(lib.ust_worker_listen(worker, handle, args.backlog), "listen")
    where = (worker, stack._engine, handle)
    return lib.ust_serve_stack(*where, *_serve_what(args)), port


def serve_on_kernel(args: argparse.Namespace) -> None:
    """Serve on the kernel's TCP."""
    raise_descriptor_limit()
    with socket.create_server((args.address[0], 0), backlog=args.backlog) as sock:
        with contextlib.suppress(OSError):  # without privilege a system may allow only others
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, CONGESTION_CONTROL)
        if args.loop == "epoll":
            sock.setblocking(False)
            server = lib.ust_serve_kernel(sock.fileno(), *_serve_what(args))
            return serve_in_c(args, server, sock.getsockname()[1])
        with asyncio.Runner(loop_factory=loop_factory(args.loop)) as runner:
            runner.run(serve(args, Place(sock, None, "", args.backlog)))
        return None


def _serve_what(args: argparse.Namespace) -> tuple[int, bytes, int]:
    reply = answer(args.size) if args.app == "http" else b""
    return SERVE_KINDS[args.app], reply, len(reply)


def serve_in_c(args: argparse.Namespace, server: Any, port: int) -> None:
    """Tell the port, and serve until stdin ends."""
    if server == ffi.NULL:
        raise MemoryError("no memory for a server in C")
    print("port", port, flush=True)
    while not select.select([sys.stdin], [], [], 0)[0]:
        check(lib.ust_serve_run(server, SLICE), "server")  # law 3: 20 times a second
    lib.ust_serve_free(server)


def loop_factory(name: str) -> Callable[[], asyncio.AbstractEventLoop]:
    """Return what makes a kernel event loop of that name."""
    if name == "uvloop":
        import uvloop

        return cast(Callable[[], asyncio.AbstractEventLoop], uvloop.new_event_loop)
    return asyncio.SelectorEventLoop


async def serve(args: argparse.Namespace, place: Place) -> None:
    """Listen, tell the port, and wait for the end of stdin."""
    loop = asyncio.get_running_loop()
    port = await PROGRAMS[args.app, args.server](place, args.size)
    print("port", port, flush=True)
    over = asyncio.Event()
    loop.add_reader(sys.stdin.fileno(), over.set)
    await over.wait()
    loop.remove_reader(sys.stdin.fileno())
    for task in asyncio.all_tasks() - {asyncio.current_task()}:
        task.cancel()


if __name__ == "__main__":
    sys.exit(main())
