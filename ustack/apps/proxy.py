# SPDX-License-Identifier: BSD-3-Clause
"""ustack proxy: TCP between the kernel and a stack, for programs that know only one of them.

As ssh has it: -L listens on the kernel's side and connects by the stack, -R listens on the stack's
and connects by the kernel, -D is a SOCKS 5 server of the kernel's side that connects by the stack,
to whatever its client asks for. SPEC is [HOST:]PORT:TARGET:PORT, IPv6 addresses in brackets; HOST
is 127.0.0.1 for -L and -D, and the stack's first address for -R.
"""

import argparse
import asyncio
import errno
import os
import re
import signal
import socket
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from ustack import Stack, aio
from ustack.apps.relay import Connect, Factory, Near, Relay, Room
from ustack.apps.serve import add_stack_arguments, open_stack
from ustack.apps.socks import speaking
from ustack.errors import ConfigError

__all__ = ["Forward", "Proxy", "add_arguments", "main", "parse_forward", "parse_place"]

BACKLOG = 1024


@dataclass(frozen=True, slots=True)
class Place:
    """A host, None for the default one, and a port."""

    host: str | None
    port: int

    def __str__(self) -> str:
        host = f"[{self.host}]" if self.host and ":" in self.host else self.host
        return f"{host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Forward:
    """Where to listen, and where to connect."""

    listen: Place
    target: Place


class Proxy:
    """The forwards of one stack, on the running event loop, which drives that stack."""

    def __init__(
        self,
        stack: Stack,
        *,
        limit: int = 1000,
        idle: float = 300.0,
        connect_timeout: float = 30.0,
        complain: Callable[[str], None] = lambda text: None,
    ) -> None:
        """limit: connections at once. idle: seconds without a byte that end one; 0: none do.

        complain: told of every connection that could not be made.
        """
        self.room = Room(limit, idle, connect_timeout)
        self._stack = stack
        self._complain = complain
        self._loop = asyncio.get_running_loop()
        self._servers: list[asyncio.AbstractServer] = []

    async def to_stack(self, listener: socket.socket, target: Place) -> asyncio.AbstractServer:
        """Connect whoever connects to a listener of the kernel's by the stack."""
        connect = self._by_stack(target.host or "", target.port)
        return await self._serve(str(target), connect, Near, sock=listener)

    async def from_stack(self, listen: Place, target: Place) -> asyncio.AbstractServer:
        """Connect whoever connects to an address of the stack's by the kernel."""
        host = listen.host or str(self._stack.addresses[0].host)
        if not self._stack.owns(host):
            raise ConfigError(f"-R must listen on an address of the stack's, got {host!r}")
        connect = self._by_kernel(target.host or "", target.port)
        return await self._serve(str(target), connect, Near, host=host, port=listen.port)

    async def socks(self, listener: socket.socket) -> asyncio.AbstractServer:
        """Serve SOCKS 5 on a listener of the kernel's; connect by the stack."""
        near = speaking(self._by_stack)
        return await self._serve("socks", None, near, sock=listener)

    async def _serve(
        self, name: str, connect: Connect | None, near: type[Near], **where: Any
    ) -> asyncio.AbstractServer:
        def complain(text: str) -> None:
            self._complain(f"{name}: {text}")

        def accept() -> Near:
            return Relay(self.room, complain, connect, near).near

        server = await self._loop.create_server(accept, backlog=BACKLOG, **where)
        self._servers.append(server)
        return server

    def close(self) -> None:
        """Take no new connections."""
        for server in self._servers:
            server.close()
        self._servers.clear()

    # ------------------------------------------------------------------- connecting

    def _by_stack(self, host: str, port: int) -> Connect:
        async def connect(factory: Factory) -> Any:
            found = await self._loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
            reached = [info for info in found if self._stack.reaches(str(info[4][0]))]
            if not reached:
                code = errno.ENETUNREACH
                raise OSError(code, f"{os.strerror(code)}: the stack has no route to {host}")
            return await self._first(
                reached, lambda info: self._loop.create_connection(factory, info[4][0], port)
            )

        return connect

    def _by_kernel(self, host: str, port: int) -> Connect:
        async def dial(factory: Factory, info: Any) -> Any:
            sock = socket.socket(*info[:3])
            try:
                sock.setblocking(False)
                await self._loop.sock_connect(sock, info[4])
                return await self._loop.create_connection(factory, sock=sock)
            except BaseException:
                sock.close()
                raise

        async def connect(factory: Factory) -> Any:
            found = await self._loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
            return await self._first(found, lambda info: dial(factory, info))

        return connect

    async def _first(self, found: Iterable[Any], dial: Callable[[Any], Any]) -> Any:
        """Connect to the first address that answers; raise the last error if none does."""
        error: OSError | None = None
        for info in found:
            try:
                return await dial(info)
            except OSError as told:
                error = told
        raise error or OSError(errno.EHOSTUNREACH, "no address")


# ---------------------------------------------------------------------------------- command


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what `ustack proxy` understands."""
    add_stack_arguments(parser)
    for letter, name, text in (
        ("-L", "--to-stack", "listen on the kernel's side, connect by the stack"),
        ("-R", "--from-stack", "listen on the stack's side, connect by the kernel"),
    ):
        parser.add_argument(
            letter, name, action="append", default=[], metavar="[HOST:]PORT:TARGET:PORT", help=text
        )
    parser.add_argument(
        "-D",
        "--socks",
        action="append",
        default=[],
        metavar="[HOST:]PORT",
        help="serve SOCKS 5 on the kernel's side, connect by the stack",
    )
    parser.add_argument("--limit", default="1000", metavar="N", help="connections at once (1000)")
    for name, default, text in (
        ("--idle", "300", "end a connection that is silent for so long (300; 0: never)"),
        ("--connect-timeout", "30", "give up connecting (30; 0: leave it to TCP)"),
        ("--grace", "5", "let connections end by themselves when it stops (5)"),
    ):
        parser.add_argument(name, default=default, metavar="SECONDS", help=text)


@dataclass(frozen=True, slots=True)
class Plan:
    """What the command is to do."""

    to_stack: list[Forward]
    from_stack: list[Forward]
    socks: list[Place]
    limit: int
    idle: float
    connect_timeout: float
    grace: float


def main(args: argparse.Namespace) -> int:
    """Forward until Ctrl-C or SIGTERM; the exit status."""
    plan = Plan(
        to_stack=[parse_forward("-L", text) for text in args.to_stack],
        from_stack=[parse_forward("-R", text) for text in args.from_stack],
        socks=[parse_place("-D", text) for text in args.socks],
        limit=int(_number("--limit", args.limit, 1, whole=True)),
        idle=_number("--idle", args.idle, 0),
        connect_timeout=_number("--connect-timeout", args.connect_timeout, 0),
        grace=_number("--grace", args.grace, 0),
    )
    if not (plan.to_stack or plan.from_stack or plan.socks):
        raise ConfigError("nothing to forward; give -L, -R or -D, see ustack proxy --help")
    # before the stack: without root it moves to namespaces of its own, where nobody would connect
    listeners = [_listen(place) for place in [f.listen for f in plan.to_stack] + plan.socks]
    with open_stack(args) as stack:
        aio.run(_serve(stack, plan, listeners, args.io), stack)
    return 0


async def _serve(stack: Stack, plan: Plan, listeners: list[socket.socket], io: str) -> None:
    """Start all forwards, and run. listeners: of plan.to_stack, then of plan.socks."""
    proxy = Proxy(
        stack,
        limit=plan.limit,
        idle=plan.idle,
        connect_timeout=plan.connect_timeout,
        complain=_tell,
    )
    for forward, listener in zip(plan.to_stack, listeners, strict=False):
        await proxy.to_stack(listener, forward.target)
        _tell(f"{_name(listener)} goes to {forward.target} by {io}")
    for listener in listeners[len(plan.to_stack) :]:
        await proxy.socks(listener)
        _tell(f"SOCKS 5 on {_name(listener)} goes to anywhere by {io}")
    for forward in plan.from_stack:
        server: Any = await proxy.from_stack(forward.listen, forward.target)
        _tell(f"{_name(server.sockets[0])} of {io} goes to {forward.target}")
    await _run(proxy, plan.grace)


async def _run(proxy: Proxy, grace: float) -> None:
    """Wait for the first signal, then for the connections; a second signal breaks them off."""
    loop, signals = asyncio.get_running_loop(), asyncio.Semaphore(0)
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, signals.release)
    _tell("Ctrl-C ends it")
    await signals.acquire()
    proxy.close()
    if proxy.room.relays:
        _tell(f"{len(proxy.room.relays)} connections have {grace:g} s to end")
    ending = asyncio.create_task(proxy.room.empty(grace))
    again = asyncio.create_task(signals.acquire())
    await asyncio.wait([ending, again], return_when=asyncio.FIRST_COMPLETED)
    if not ending.done():
        ending.cancel()
        await proxy.room.empty(0)
    again.cancel()


def _listen(place: Place) -> socket.socket:
    host = place.host or "127.0.0.1"
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listener = socket.create_server((host, place.port), family=family, backlog=BACKLOG)
    except OSError as error:
        why = os.strerror(error.errno) if error.errno and error.errno > 0 else str(error)
        raise ConfigError(f"cannot listen on {Place(host, place.port)}: {why}") from None
    listener.setblocking(False)
    return listener


def _name(listener: Any) -> str:
    return str(Place(*listener.getsockname()[:2]))


def _tell(text: str) -> None:
    print(f"ustack: {text}", file=sys.stderr, flush=True)


# ---------------------------------------------------------------------------------- parsing

_HOST = r"(?:\[(?P<{0}6>[0-9a-fA-F:.]+)\]|(?P<{0}>[^\s\[\]:]+))"
_PLACE = r"(?:" + _HOST.format("host") + r":)?(?P<port>[0-9]{1,5})"
_FORWARD = _PLACE + ":" + _HOST.format("target") + r":(?P<target_port>[0-9]{1,5})"


def parse_forward(option: str, text: str) -> Forward:
    """Return what -L or -R says. Raises ConfigError for what cannot be read."""
    match = re.fullmatch(_FORWARD, text)
    if match is None:
        raise ConfigError(
            f"{option} must be [HOST:]PORT:TARGET:PORT, got {text!r}; such as 8080:10.9.0.2:80"
        )
    target = Place(match["target6"] or match["target"], int(match["target_port"]))
    forward = Forward(Place(match["host6"] or match["host"], int(match["port"])), target)
    if not (forward.listen.port <= 0xFFFF and 0 < target.port <= 0xFFFF):
        raise ConfigError(f"{option} has ports up to 65535, got {text!r}")
    return forward


def parse_place(option: str, text: str) -> Place:
    """Return what -D says. Raises ConfigError for what cannot be read."""
    match = re.fullmatch(_PLACE, text)
    if match is None or int(match["port"]) > 0xFFFF:
        raise ConfigError(f"{option} must be [HOST:]PORT, got {text!r}; such as 1080")
    return Place(match["host6"] or match["host"], int(match["port"]))


def _number(name: str, text: str, least: float, *, whole: bool = False) -> float:
    try:
        number = float(int(text) if whole else float(text))
    except ValueError:
        number = -1.0
    if not least <= number <= 1e6:
        raise ConfigError(f"{name} must be a number from {least:g} to 1000000, got {text!r}")
    return number
