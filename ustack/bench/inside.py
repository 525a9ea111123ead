# SPDX-License-Identifier: BSD-3-Clause
"""rpc within one process and thread: what each turn of a server costs, in C and as a Protocol.

Client and server take turns, and only the server's are timed, each for itself; a repetition's
cost is the median of its turns, which what else the machine does can hardly change. Both servers
run the same engine, so the difference is what Python costs.
"""

import asyncio
import contextlib
import statistics
import time
from collections.abc import Callable
from typing import Any

from ustack._native import check, ffi, lib, pack_address
from ustack.aio import EventLoop
from ustack.apps.echo import Echo
from ustack.bench.definition import Bench, Task, Work
from ustack.bench.load import Load, Sample
from ustack.bench.sides import CLIENT, LENGTH, SERVER, Cell, Side, cell
from ustack.io import ring_pair
from ustack.stack import Stack

__all__ = ["NOTE", "SERVERS", "Inside"]

PORT = 7
SERVERS = ("protocol", "c")
NOTE = "client and server take turns in one thread; server ns/request is the median turn's"


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
                with contextlib.closing(_C(server)) as one:
                    return cell(bench, _measure(load, work, one.turn))
            with contextlib.closing(EventLoop()) as loop:
                return cell(bench, _measure(load, work, _protocol(server, loop)))


class _C:
    def __init__(self, stack: Stack) -> None:
        handle = check(lib.ust_worker_socket(stack._worker), "socket")
        check(lib.ust_worker_bind(stack._worker, handle, pack_address(SERVER), PORT), "bind")
        check(lib.ust_worker_listen(stack._worker, handle, 4096), "listen")
        what = (stack._worker, stack._engine, handle, lib.UST_SERVE_ECHO, b"", 0)
        self._server: Any = lib.ust_serve_stack(*what)
        if self._server == ffi.NULL:
            raise MemoryError("no memory for a server in C")

    def turn(self) -> None:
        check(lib.ust_serve_run(self._server, 0), "server")

    def close(self) -> None:
        lib.ust_serve_free(self._server)


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
