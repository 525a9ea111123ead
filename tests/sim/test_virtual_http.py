# SPDX-License-Identifier: BSD-3-Clause
"""uvicorn and httpx, unchanged, over a long link that loses frames: on virtual time, twice."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from ustack import sim

uvicorn = pytest.importorskip("uvicorn")
httpx = pytest.importorskip("httpx")

REQUESTS = 200
RTT = 0.1


async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """Answer with the number that was asked for."""
    body = scope["query_string"]
    headers = [(b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def play(seed: int, directory: Path) -> tuple[str, bytes, list[float]]:
    """Ask 200 times; the digest, a capture, and when each answer was there."""
    net = sim.Network(seed=seed)
    server, client = net.host("server"), net.host("client")
    net.link(server, client, delay=RTT / 2, loss=0.01)
    net.capture(client, directory / f"{seed}.pcap")
    times: list[float] = []

    async def main() -> None:
        with server:
            config = uvicorn.Config(app, host=server.address, port=80, log_level="warning")
            serving = uvicorn.Server(config)
            task = asyncio.create_task(serving.serve())
        while not serving.started:
            await asyncio.sleep(0.01)
        with client:
            async with httpx.AsyncClient() as http:
                for number in range(REQUESTS):
                    answer = await http.get(f"http://server/?{number}")
                    assert answer.text == str(number)
                    times.append(net.now)
        serving.should_exit = True
        await task

    net.run_until_complete(main())
    net.check()
    assert net.links[0].forward_stats().drop_loss > 0
    counters = client.counters()
    assert counters["tcp.established"] == 1, "the connection is kept"
    return net.digest(), (directory / f"{seed}.pcap").read_bytes(), times


def test_two_runs_of_200_requests_are_the_same_to_the_byte(tmp_path: Path) -> None:
    first, again, other = (play(seed, tmp_path) for seed in (1, 1, 2))
    assert first == again
    assert first[0] != other[0] and first[1] != other[1]
    times = first[2]
    assert REQUESTS * RTT < times[-1] < 1.5 * REQUESTS * RTT
    waits = [after - before for before, after in zip(times[:-1], times[1:], strict=True)]
    assert min(waits) == pytest.approx(RTT) and max(waits) > 2 * RTT
