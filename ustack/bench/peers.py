# SPDX-License-Identifier: BSD-3-Clause
"""Whom ustack is measured beside: kernel peers by --vs, and any program by --peer-cmd."""

import importlib.util
import json
import shlex
import subprocess
from typing import Any

from ustack.bench import http, nginx, wrk
from ustack.bench.definition import Bench, Task, Work
from ustack.bench.machine import raise_descriptor_limit
from ustack.bench.sides import Cell, KernelSide, Side, StackSide, VethSide
from ustack.bench.veth import Veth
from ustack.errors import ConfigError, UstackError
from ustack.io import TapUrl, parse_url

__all__ = ["PEERS", "CommandSide", "choose_sides", "let_wrk_ask"]

PEERS = ("uvloop", "asyncio", "epoll", "veth-uvloop", "veth-asyncio", "veth-epoll", "nginx", "none")
RESERVED = {"ustack", "ratio", "machine", "notes", *PEERS}
PATIENCE = 600.0  # seconds for one run of a command


class CommandSide(Side):
    """A program that prints the same JSON: its figures under its name, under "ustack", or bare."""

    def __init__(self, name: str, command: str, io: str = "") -> None:
        """command: with {app}, {task}, {connections}, {size}, {seconds}, {requests}, {server}.

        It may have {io}, too: that of ustack's side.
        """
        super().__init__(name)
        self._command, self._io = command, io

    def measure(self, bench: Bench, work: Work, task: Task) -> Cell:
        """Run it once."""
        label = next((name for name, one in bench.tasks(work).items() if one == task), "")
        values: dict[str, Any] = {
            "task": label or task.app,
            "app": task.app,
            "server": work.server,
            "io": self._io,
        }
        values |= {"connections": task.connections, "size": task.size, "server": work.server}
        values |= {"seconds": work.seconds, "requests": work.requests}
        words = [_filled(word, values) for word in shlex.split(self._command)]
        try:
            done = subprocess.run(words, capture_output=True, text=True, timeout=PATIENCE)
        except (OSError, subprocess.TimeoutExpired) as error:
            raise UstackError(f"--peer-cmd {self.name}: {error}") from None
        if done.returncode:
            last = (done.stderr.strip() or "no word on stderr").splitlines()[-1]
            raise UstackError(f"--peer-cmd {self.name}: status {done.returncode}: {last}")
        return Cell(self._figures(bench, label, done.stdout))

    def _figures(self, bench: Bench, label: str, output: str) -> dict[str, float]:
        try:
            found: Any = json.loads(output)
            found = found.get(self.name, found.get("ustack", found))
            found = found.get(label, found) if label else found
            figures = {c.figure: float(found[c.figure]) for c in bench.columns if c.figure in found}
        except (ValueError, TypeError, AttributeError):
            raise UstackError(f"--peer-cmd {self.name}: no JSON object of figures") from None
        if not figures.get(bench.ratio, 0) > 0:
            raise UstackError(f"--peer-cmd {self.name}: its JSON tells no {bench.ratio}")
        return figures


def _filled(word: str, values: dict[str, Any]) -> str:
    for name, value in values.items():
        word = word.replace(f"{{{name}}}", str(value))
    return word


def choose_sides(
    io: str, bench: Bench, work: Work, peers: list[str], commands: list[str]
) -> tuple[list[Side], list[str]]:
    """Return who is compared, ustack first, and notes for the report.

    peers: of PEERS. commands: NAME=COMMAND.
    """
    server = work.server or bench.servers[0]
    sides: list[Side] = [StackSide(io, server)]
    notes: list[str] = []
    limit = raise_descriptor_limit()
    url = parse_url(io)
    pair = Veth(url.mtu if isinstance(url, TapUrl) else 1500)
    for peer in dict.fromkeys(peers or ["epoll" if server == "c" else bench.peer]):
        if peer == "nginx":
            _add_nginx(sides, notes, bench, limit)
        elif peer != "none":
            _add_kernel(sides, notes, peer, server, limit, pair)
    for command in commands:
        sides.append(_parse(command, sides, io))
    for label, task in bench.tasks(work).items():
        notes += [
            f"{side.name} has not descriptors enough for {label or task.connections} connections"
            for side in sides
            if not side.can(task)
        ]
    return sides, notes


def _add_kernel(
    sides: list[Side], notes: list[str], peer: str, server: str, limit: int, pair: Veth
) -> None:
    """Add a server on the kernel, of the same kind as ours."""
    loop = peer.removeprefix("veth-")
    if loop == "uvloop" and importlib.util.find_spec("uvloop") is None:
        notes.append("uvloop is not installed: asyncio instead (pip install uvloop)")
        peer, loop = peer.replace("uvloop", "asyncio"), "asyncio"
    serves = "c" if loop == "epoll" else "protocol" if server == "c" else server
    way = "loopback"
    if peer == loop:
        sides.append(KernelSide(peer, serves, limit))
    else:
        sides.append(VethSide(loop, serves, limit, pair))
        way = f"a veth pair, MTU {pair.mtu}"
    notes.append(f"{peer}: {_told(serves)} over the kernel's TCP on {way}")


def _add_nginx(sides: list[Side], notes: list[str], bench: Bench, limit: int) -> None:
    if bench is not http.BENCH:
        raise ConfigError("--vs nginx is for http; leave it out")
    path = nginx.program()
    if path is None:
        notes.append("nginx is not installed: left out (apt install nginx-light)")
        return
    sides.append(nginx.NginxSide(path, limit))
    notes.append("nginx: one process with the answer in memory, over the kernel's TCP on loopback")


def let_wrk_ask(sides: list[Side], io: str, bench: Bench, work: Work) -> str:
    """Make wrk the client of all sides; a note for the report.

    Raises ConfigError where it cannot be, UstackError where it is not installed.
    """
    if bench is not http.BENCH:
        raise ConfigError("--client wrk is for http; leave it out")
    if not isinstance(parse_url(io), TapUrl):
        raise ConfigError(f"--client wrk is on the kernel and needs --io tap:NAME, got {io}")
    if work.requests:
        raise ConfigError("--client wrk goes by time; give --seconds instead of --requests")
    if wrk.program() is None:
        raise UstackError("wrk is not installed; apt install wrk, or leave out --client wrk")
    for side in sides:
        if isinstance(side, KernelSide | StackSide):
            side.by_wrk = True
    return "the client is wrk -t1, in whole seconds; the last quantile it tells is p99"


def _told(serves: str) -> str:
    return "a server in C" if serves == "c" else f"the same server ({serves})"


def _parse(text: str, sides: list[Side], io: str) -> Side:
    name, sign, command = text.partition("=")
    if not sign or not name.isidentifier() or not command.strip():
        raise ConfigError(f"--peer-cmd must be NAME=COMMAND, got {text!r}; as lwip='./lwip-bench'")
    if name in RESERVED or name in {side.name for side in sides}:
        raise ConfigError(f"--peer-cmd {name}: the name is taken; choose another")
    return CommandSide(name, command, io)
