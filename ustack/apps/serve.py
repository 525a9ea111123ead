# SPDX-License-Identifier: BSD-3-Clause
"""ustack serve echo|http|kv: one of the servers on a stack of its own, until Ctrl-C."""

import argparse
import asyncio
import contextlib
import os
import signal
from collections.abc import Awaitable, Callable
from pathlib import Path

from ustack import Stack
from ustack._addressing import parse_interface
from ustack.aio import run
from ustack.apps import echo, http, kv
from ustack.crew import Member, Queues, Supervisor, Workers
from ustack.crew.draining import until_drained
from ustack.errors import ConfigError
from ustack.io import TapUrl, parse_url, userns

__all__ = [
    "add_arguments",
    "add_stack_arguments",
    "add_worker_arguments",
    "enter_namespaces",
    "main",
    "open_stack",
    "parse_port",
    "parse_workers",
    "serve_on_stack",
]

PORTS = {"echo": echo.PORT, "http": http.PORT, "kv": kv.PORT}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what `ustack serve` understands."""
    parser.add_argument("app", choices=sorted(PORTS), help="the server to run")
    add_stack_arguments(parser)
    parser.add_argument(
        "--listen", metavar="PORT", help="the TCP port (echo: 7, http: 80, kv: 6379)"
    )
    parser.add_argument("--root", metavar="DIR", help="http: the directory of the files to serve")
    add_worker_arguments(parser)


def add_worker_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what it takes to have several workers."""
    add = parser.add_argument
    add("-w", "--workers", type=int, metavar="N", help="processes, each with a queue of the port")
    add("--no-pin", action="store_true", help="do not keep each worker on a core of its own")
    add("--drain", type=float, metavar="SECONDS", help="that connections have to finish (10)")
    add("--backoff", type=float, metavar="SECONDS", help="from a worker's death to the next (0.05)")


def parse_workers(args: argparse.Namespace) -> Workers | None:
    """Return what the arguments say of workers; None: there are none.

    Raises ConfigError for what cannot be.
    """
    given = {"drain": args.drain, "backoff": args.backoff}
    given = {name: value for name, value in given.items() if value is not None}
    if args.workers is not None:
        return Workers(args.workers, pin=not args.no_pin, **given)
    for name in (*given, *(["no-pin"] if args.no_pin else [])):
        raise ConfigError(f"--{name} is for workers, of which there are none; add --workers N")
    return None


def add_stack_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what it takes to make a stack."""
    parser.add_argument(
        "--io", required=True, metavar="URL", help="ring:NAME[?…], tap:NAME[?…], loop:"
    )
    parser.add_argument(
        "--address",
        action="append",
        default=[],
        metavar="CIDR",
        help="ours: 10.9.0.2/24; more than once for several",
    )
    parser.add_argument(
        "--autoconf", action="store_true", help="take IPv6 addresses that routers advertise"
    )
    parser.add_argument(
        "--loopback", action="store_true", help="own 127.0.0.0/8 and ::1, too; loop: does"
    )
    parser.add_argument(
        "--gateway",
        action="append",
        default=[],
        metavar="ADDRESS",
        help="a default route's next hop; once for each IP version",
    )
    parser.add_argument("--name", metavar="NAME", help="what ustack addr --name tells it by")
    parser.add_argument("--capture", metavar="FILE", help="write all frames to a pcapng file")
    parser.add_argument(
        "--set", action="append", default=[], metavar="NAME=VALUE", help="change a setting"
    )


def open_stack(args: argparse.Namespace, member: Member | None = None) -> Stack:
    """Return the stack that the arguments describe; for a tap without root, in namespaces.

    member: the worker's part of it, whose supervisor has entered those already.
    """
    if member is None:
        enter_namespaces(args)
    return Stack(
        args.io,
        addresses=args.address,
        gateways=args.gateway,
        autoconf=args.autoconf,
        loopback=args.loopback or None,
        control=args.name or True,
        capture=args.capture,
        settings=dict(map(parse_setting, args.set)),
        member=member,
    )


def enter_namespaces(args: argparse.Namespace) -> None:
    """Enter namespaces of our own if it takes them to open the port."""
    url = parse_url(args.io)
    if isinstance(url, TapUrl) and userns.enter_if_needed(url.name):
        print(
            "ustack: without root, so in namespaces of its own; programs join with"
            f" nsenter -t {os.getpid()} -U -n --preserve-credentials",
            flush=True,
        )


def main(args: argparse.Namespace) -> int:
    """Serve until Ctrl-C or SIGTERM; the exit status."""
    port = parse_port(args.listen, PORTS[args.app])
    start = _starter(args)
    workers = parse_workers(args)
    if workers is not None:
        return _serve_by_workers(args, workers, port, start)
    return serve_on_stack(args, args.app, lambda host: start(host, port))


def serve_on_stack(
    args: argparse.Namespace, name: str, start: Callable[[str], Awaitable[asyncio.AbstractServer]]
) -> int:
    """Serve on the stack that the arguments describe until Ctrl-C or SIGTERM; the exit status.

    start: given our address, returns a server that listens.
    """
    with open_stack(args) as stack:
        host = stack.addresses[0].host
        try:
            run(_serve(f"{name} on {{}} port {{}} by {args.io}", lambda: start(host)), stack)
        except KeyboardInterrupt:
            pass
    return 0


def _serve_by_workers(
    args: argparse.Namespace,
    workers: Workers,
    port: int,
    start: Callable[[str, int], Awaitable[asyncio.AbstractServer]],
) -> int:
    """Serve in several processes until Ctrl-C or SIGTERM; the exit status."""
    if port == 0:
        raise ConfigError("--listen 0 takes any port, each worker another; give all of them one")
    if args.autoconf or not args.address:
        raise ConfigError("workers need an address that all know, got none; add --address CIDR")
    host = str(parse_interface(args.address[0]).ip)

    def body(member: Member) -> int:
        member.tells_itself = True
        with open_stack(args, member) as stack, contextlib.suppress(KeyboardInterrupt):
            run(until_drained(member, lambda: _serve_as(member, lambda: start(host, port))), stack)
        return 0

    def ready() -> None:
        text = f"{args.app} on {host} port {port} by {args.io}, {workers.count} workers"
        print(f"ustack: {text}; Ctrl-C ends them", flush=True)

    enter_namespaces(args)
    queues = Queues(args.io, workers.count, args.address)
    return Supervisor(workers, queues).run(body, ready)


async def _serve_as(member: Member, start: Callable[[], Awaitable[asyncio.AbstractServer]]) -> None:
    async with await start() as server:
        member.serve()
        await server.serve_forever()


def _starter(args: argparse.Namespace) -> Callable[[str, int], Awaitable[asyncio.AbstractServer]]:
    if args.app != "http":
        if args.root is not None:
            raise ConfigError(f"--root is for http, got {args.root!r} for {args.app}; leave it out")
        return echo.serve if args.app == "echo" else kv.serve
    root = None if args.root is None else Path(args.root)
    if root is not None and not root.is_dir():
        raise ConfigError(f"--root must be a directory, got {args.root!r}; give one that exists")
    return lambda host, port: http.serve(host, port, root)


async def _serve(text: str, start: Callable[[], Awaitable[asyncio.AbstractServer]]) -> None:
    server = await start()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, server.close)
    host, port = server.sockets[0].getsockname()[:2]  # type: ignore[attr-defined]
    print(f"ustack: {text.format(host, port)}; Ctrl-C ends it", flush=True)
    with contextlib.suppress(asyncio.CancelledError):  # close() ends it so, too
        await server.serve_forever()


def parse_port(text: str | None, default: int) -> int:
    """Return what --listen says. Raises ConfigError for what is no port."""
    if text is None:
        return default
    if not (text.isascii() and text.isdecimal()) or not 0 <= int(text) <= 0xFFFF:
        raise ConfigError(f"--listen must be a port, 0..65535, got {text!r}; 0 takes any")
    return int(text)


def parse_setting(text: str) -> tuple[str, int | str]:
    """Return name and value of NAME=VALUE."""
    name, _, value = text.partition("=")
    if not value:
        raise ConfigError(f"--set must be NAME=VALUE, got {text!r}; ustack.settings() lists them")
    try:
        return name, int(value, 0)
    except ValueError:
        return name, value
