# SPDX-License-Identifier: BSD-3-Clause
"""uvicorn and httpx, unchanged, over a bad long link, under two congestion controls.

    pip install uvicorn httpx
    python examples/virtual_time.py

Twenty downloads of 250 kB one after the other over 20 Mbit/s, 100 ms there and back, and 1 % of all
frames lost. Nothing waits: minutes pass in seconds, and every run gives the same figures.
"""

import asyncio
import time
from typing import Any

import httpx
import uvicorn

from ustack import sim

BODY = bytes(250_000)
COUNT = 20


async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """Answer with BODY: an ASGI application."""
    length = str(len(BODY)).encode()
    await send(
        {"type": "http.response.start", "status": 200, "headers": [(b"content-length", length)]}
    )
    await send({"type": "http.response.body", "body": BODY})


async def downloads(server: sim.Host, client: sim.Host) -> list[float]:
    """Serve on one host and download on the other; the seconds that each download took."""
    with server:
        config = uvicorn.Config(app, host=server.address, port=80, log_level="warning")
        uvicorn_server = uvicorn.Server(config)
        serving = asyncio.create_task(uvicorn_server.serve())
    while not uvicorn_server.started:
        await asyncio.sleep(0.01)
    seconds = []
    with client:
        async with httpx.AsyncClient(timeout=60) as http:
            for _ in range(COUNT):
                begin = time.monotonic()
                response = await http.get("http://server/")
                assert response.content == BODY
                seconds.append(time.monotonic() - begin)
    uvicorn_server.should_exit = True
    await serving
    return seconds


def main() -> None:
    """Print one line for each congestion control."""
    for name in ("cubic", "bbr"):
        net = sim.Network(seed=1)
        server = net.host("server", settings={"tcp.congestion_control": name})
        client = net.host("client")
        net.link(server, client, rate=20e6, delay=0.05, loss=0.01)
        begin = time.perf_counter()
        seconds = sorted(net.run_until_complete(downloads(server, client)))
        real = time.perf_counter() - begin
        print(
            f"{name:6} median {seconds[COUNT // 2]:5.2f} s, slowest {seconds[-1]:5.2f} s;"
            f" {net.now:.1f} s of virtual time in {real:.1f} s; frames {net.digest()[:12]}"
        )


if __name__ == "__main__":
    main()
