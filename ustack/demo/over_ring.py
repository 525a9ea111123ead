# SPDX-License-Identifier: BSD-3-Clause
"""The demo without privilege: a server process and a client process, a stack in each, one ring."""

import argparse
import asyncio
import os
from collections.abc import Callable

from ustack.aio import run as run_loop
from ustack.apps import echo, http
from ustack.apps.fetch import Fetched, fetch
from ustack.bench.load import Load, Sample
from ustack.demo.child import ENDED, Server, started
from ustack.demo.report import (
    DemoError,
    Progress,
    Row,
    check_digest,
    megabytes,
    open_stack,
    table,
)
from ustack.errors import UstackError
from ustack.stack import Stack

__all__ = ["CONNECTIONS", "SIZE", "echoes", "run", "since"]

SERVER, CLIENT = "10.9.0.2", "10.9.0.1"
CONNECTIONS, SIZE = 64, 64
PATIENCE = 20.0  # seconds without any progress


def run(args: argparse.Namespace, capture: str, progress: Progress) -> str:
    """Fetch, then echo; the report. capture: the file for the first frames."""
    io = f"ring:demo-{os.getpid()}"
    with (
        open_stack(io, f"{CLIENT}/24", capture) as stack,
        started(io, f"{SERVER}/24") as server,
    ):
        rows = [
            _http_row(stack, server, args.bytes, progress),
            _echo_row(stack, server, args.seconds, progress),
        ]
    title = f"two processes, a stack in each: server {SERVER}, client {CLIENT}, joined by {io}"
    return table(title, rows, capture)


def _http_row(stack: Stack, server: Server, length: int, progress: Progress) -> Row:
    what = f"{megabytes(length)} fetched, SHA-256 as it must be"
    before = _both(stack, server)
    got = run_loop(_fetch(server, length, progress.begin("http", length)), stack)
    if (got.status, got.length) != (200, length):
        raise DemoError(f"http: got status {got.status} and {got.length} of {length} bytes")
    check_digest("http", length, got.sha256)
    figure = f"{length * 8 / got.seconds / 1e9:.2f} Gb/s"
    return Row("http", what, figure, since(before, _both(stack, server)))


async def _fetch(server: Server, length: int, show: Callable[[int], None]) -> Fetched:
    """Fetch the body of /bytes/length; DemoError when nothing comes any more."""
    loop = asyncio.get_running_loop()
    why, shown = f"nothing came for {PATIENCE:.0f} s", 0

    def on_progress(done: int) -> None:
        nonlocal shown
        if done - shown >= length // 100:
            shown = done
            show(done)
            if why != ENDED:
                limit.reschedule(loop.time() + PATIENCE)

    def on_end() -> None:
        nonlocal why
        why = ENDED
        loop.remove_reader(server.fileno())
        limit.reschedule(0)

    try:
        async with asyncio.timeout(PATIENCE) as limit:
            loop.add_reader(server.fileno(), on_end)  # it says nothing now, so this is its end
            return await fetch(SERVER, http.PORT, f"/bytes/{length}", on_progress)
    except OSError as error:
        raise DemoError(f"http: {str(error) or why}") from None
    finally:
        loop.remove_reader(server.fileno())


def _echo_row(stack: Stack, server: Server, seconds: float, progress: Progress) -> Row:
    before = _both(stack, server)
    sample = echoes(stack, SERVER, server, seconds, progress)
    figure = f"{sample.requests / sample.seconds:,.0f} requests/s"
    what = f"{SIZE} bytes × {CONNECTIONS} connections"
    return Row("echo", what, figure, since(before, _both(stack, server)))


def echoes(
    stack: Stack | None, host: str, server: Server, seconds: float, progress: Progress
) -> Sample:
    """Measure echoes, by a stack or (None) by the kernel."""
    progress.begin("echo", 1)
    try:
        with Load(stack, "echo", CONNECTIONS, SIZE, (host, echo.PORT)) as load:
            load.open(server.is_alive)
            return load.run(seconds, 0, server.is_alive, server.pid)
    except (UstackError, OSError) as error:
        raise DemoError(f"echo: {error}") from None


def _both(stack: Stack, server: Server) -> dict[str, int]:
    """Return the counters of both sides: what one receives the other has sent."""
    ours, theirs = stack.counters(), server.counters()
    return {
        "tcp.in": ours["tcp.in"],
        "tcp.out": ours["tcp.out"],
        "tcp.rexmt.segs": ours["tcp.rexmt.segs"] + theirs["tcp.rexmt.segs"],
    }


def since(before: dict[str, int], after: dict[str, int]) -> dict[str, int]:
    """Return what counters have grown by."""
    return {name: after[name] - before[name] for name in after}
