# SPDX-License-Identifier: BSD-3-Clause
"""Client and server within one process and thread, which take turns.

rpc: what each turn of a server costs, in C and as a Protocol. mem: what both ends of idle
connections cost.

Only the server's turns are timed, each for itself; a repetition's
cost is the median of its turns, which what else the machine does can hardly change. Both servers
run the same engine, so the difference is what Python costs.
"""

import asyncio
import contextlib
import dataclasses
import os
import statistics
import time
from collections.abc import Callable
from typing import Any

from ustack._native import check, ffi, lib, pack_address
from ustack.aio import EventLoop
from ustack.apps.echo import Echo
from ustack.bench import rounds
from ustack.bench.definition import Bench, Task, Work
from ustack.bench.load import Load, Sample
from ustack.bench.sides import (
    CLIENT,
    LENGTH,
    PORTS,
    SERVER,
    Cell,
    Side,
    anonymous,
    cell,
    server_addresses,
    settings_for,
    spread_of,
)
from ustack.io import ring_pair
from ustack.stack import Stack

__all__ = ["MEM_NOTE", "NOTE", "SERVERS", "SHARE", "BothIdle", "Inside", "ServerInC", "share"]

PORT = 7
PAIR = 1_000_000  # connections that two stacks have addresses and ports for
MOST = 16 * PAIR
SERVERS = ("protocol", "c")
SHARE = ("python_ns_per_request", "python_ns_per_request_spread")  # in the JSON
MEM_NOTE = "both ends in C in one process: two engines, their tables, and what the programs keep"
NOTE = "client and server take turns in one thread; server ns/request is the median turn's"


def share(by_side: dict[str, list[Cell]]) -> dict[str, Any]:
    """Return by SHARE what a Protocol adds to a request's cost: of the medians, and of each turn.

    It is the whole way from the engine's event to the Protocol and back into the engine.
    """
    chosen = rounds.choose(by_side)[1]
    python, plain = ([c.figures["server_ns_per_request"] for c in chosen[name]] for name in SERVERS)
    middle = statistics.median(python) - statistics.median(plain)
    each = [a - b for a, b in zip(python, plain, strict=False)]
    spread = [rounds.rounded(end(middle, *each)) for end in (min, max)]
    return dict(zip(SHARE, (rounds.rounded(middle), spread), strict=True))


class Inside(Side):
    """A server in this process; name: of SERVERS."""

    def measure(self, bench: Bench, work: Work, task: Task) -> Cell:
        """Run one repetition; the server's CPU time is the median turn times their number."""
        ports = ring_pair(mtu=1500)
        with (
            Stack(ports[0], f"{SERVER}/{LENGTH}", guardian=False) as server,
            Stack(ports[1], f"{CLIENT}/{LENGTH}", guardian=False) as client,
            Load(client, task.load, task.connections, task.size, (SERVER, PORT)) as load,
        ):
            if self.name == "c":
                with contextlib.closing(ServerInC(server)) as one:
                    return cell(bench, _measure(load, work, one.turn))
            with contextlib.closing(EventLoop()) as loop:
                return cell(bench, _measure(load, work, _protocol(server, loop)))


class BothIdle(Side):
    """mem: clients and servers in C in this process, all that they have from the start included.

    Two stacks have addresses and ports for PAIR connections; for more there are more of them.
    """

    def measure(self, bench: Bench, work: Work, task: Task) -> Cell:
        """Open the connections; the memory is what the process has grown by."""
        before = anonymous(os.getpid())
        with contextlib.ExitStack() as exits:
            for first in range(0, task.connections, PAIR):
                n = min(PAIR, task.connections - first)
                _open_idle(exits, dataclasses.replace(task, connections=n))
            grown = anonymous(os.getpid()) - before
        return cell(bench, Sample(task.connections, 0, 1.0, 0.0, memory=grown))


def _open_idle(exits: contextlib.ExitStack, task: Task) -> None:
    """Open the task's connections between two stacks, which live as long as exits."""
    ports, settings = ring_pair(mtu=1500), settings_for(task)
    addresses = server_addresses(task)
    server = exits.enter_context(
        Stack(ports[0], addresses=addresses, settings=settings, guardian=False)
    )
    client = exits.enter_context(
        Stack(ports[1], f"{CLIENT}/{LENGTH}", settings=settings | PORTS, guardian=False)
    )
    echo = exits.enter_context(contextlib.closing(ServerInC(server, "0.0.0.0")))
    load = exits.enter_context(
        Load(client, "idle", task.connections, task.size, (SERVER, PORT), spread_of(task))
    )
    while not load.turn_to_open():
        echo.turn()
    echo.turn()


class ServerInC:
    """An echo server in C on a stack of this thread's, which takes a turn when it is told to."""

    def __init__(self, stack: Stack, host: str = SERVER) -> None:
        """Listen on a host's PORT. stack: without a guardian."""
        handle = check(lib.ust_worker_socket(stack._worker), "socket")
        check(lib.ust_worker_bind(stack._worker, handle, pack_address(host), PORT), "bind")
        check(lib.ust_worker_listen(stack._worker, handle, 4096), "listen")
        what = (stack._worker, stack._engine, handle, lib.UST_SERVE_ECHO, b"", 0)
        self.raw: Any = lib.ust_serve_stack(*what)  # a struct ust_serve *
        if self.raw == ffi.NULL:
            raise MemoryError("no memory for a server in C")

    def turn(self) -> None:
        """Serve what has come."""
        check(lib.ust_serve_run(self.raw, 0), "server")

    def close(self) -> None:
        """Forget the connections, which remain the engine's."""
        lib.ust_serve_free(self.raw)


def _protocol(stack: Stack, loop: EventLoop) -> Callable[[], Any]:
    loop.attach(stack)
    loop.run_until_complete(loop.create_server(Echo, SERVER, PORT, backlog=4096))
    dispatcher = loop._stacks[stack]
    ready: Any = vars(loop)["_ready"]

    def serve() -> None:
        dispatcher.poll(0, 0)
        if ready:  # connection_made() and the like
            loop.run_until_complete(asyncio.sleep(0))

    return serve


def _measure(load: Load, work: Work, serve: Callable[[], Any]) -> Sample:
    while not load.turn_to_open():
        serve()
    clock, turns = time.perf_counter_ns, []
    started, before = clock(), load.requests
    end = started + int(work.seconds * 1e9)
    last = before + work.requests if work.requests else 1 << 62
    while clock() < end and load.requests < last:
        load.turn()
        start = clock()
        serve()
        turns.append(clock() - start)
    seconds = (clock() - started) / 1e9
    cost = statistics.median(turns) * len(turns) / 1e9
    return Sample(load.requests - before, 0, seconds, cost)
