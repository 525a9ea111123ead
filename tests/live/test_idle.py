# SPDX-License-Identifier: BSD-3-Clause
"""An idle process sleeps, however many connections are open; nightly/idle.py in short."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest
from two import SERVER, run

from stopwatch import Stopwatch
from ustack._native import lib

pytestmark = pytest.mark.quiet

CONNECTIONS = 1000


def test_a_process_with_a_thousand_open_connections_uses_little_cpu(base: str) -> None:
    spent: list[float] = []

    async def main() -> None:
        loop = asyncio.get_running_loop()
        server = await loop.create_server(asyncio.Protocol, SERVER, 80, backlog=CONNECTIONS)
        opened = [loop.create_connection(asyncio.Protocol, SERVER, 80) for _ in range(CONNECTIONS)]
        transports = [transport for transport, _ in await asyncio.gather(*opened)]
        await asyncio.sleep(1.3)  # the timers of opening are over
        before, start = time.process_time(), time.monotonic()
        await asyncio.sleep(1.0)
        spent.append((time.process_time() - before) / (time.monotonic() - start))
        for transport in transports:
            transport.abort()
        server.close()

    assert run(main) == []
    assert spent[0] < 0.04  # of both ends, with both guardians


def test_a_sleeping_loop_is_woken_for_a_deadline_of_the_stack_to_the_millisecond(base: str) -> None:
    """A delayed ACK of 40 ms: the loop's descriptor knows, whatever the loop's own clock."""

    async def main() -> None:
        loop = asyncio.get_running_loop()
        near: asyncio.Future[Any] = loop.create_future()

        class Far(asyncio.Protocol):
            def connection_made(self, transport: Any) -> None:
                near.set_result(transport)

        async with await loop.create_server(Far, SERVER, 80):
            transport, _ = await loop.create_connection(asyncio.Protocol, SERVER, 80)
            far = await near
            for _ in range(20):  # the quick ACKs of the beginning
                transport.write(b"x")
                await asyncio.sleep(0.002)
            await asyncio.sleep(0.3)
            watch = Stopwatch()
            transport.write(b"x")
            while transport._getopt(lib.UST_OPT_OUTQ):
                await asyncio.sleep(0.001)
            assert watch.own_seconds < 0.15
            transport.close()
            far.close()

    assert run(main, guardian=False) == []
