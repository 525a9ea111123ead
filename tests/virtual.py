# SPDX-License-Identifier: BSD-3-Clause
"""Two hosts on virtual time, an echo server, and a client: what asyncio's tests there share."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from ustack import sim

RTT = 0.1


def pair(seed: int = 1, **conditions: Any) -> tuple[sim.Network, sim.Host, sim.Host]:
    """A server and a client on a link of 100 ms there and back."""
    net = sim.Network(seed=seed)
    server, client = net.host("server"), net.host("client")
    net.link(server, client, **({"delay": RTT / 2} | conditions))
    return net, server, client


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Send back what comes, then end."""
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()
    writer.close()


async def talk(host: str, data: bytes, port: int = 7) -> bytes:
    """Send bytes to an echo server; what it sent back."""
    reader, writer = await asyncio.open_connection(host, port)
    writer.write(data)
    writer.write_eof()
    answer = await reader.read()
    writer.close()
    await writer.wait_closed()
    return answer


def between(net: sim.Network, main: Callable[[], Coroutine[Any, Any, Any]], **options: Any) -> Any:
    """Run main() on the host client while server echoes on port 7."""
    server, client = net.hosts[:2]

    async def play() -> Any:
        with server:
            listener = await asyncio.start_server(echo, server.address, 7)
        with client:
            result = await main()
        listener.close()
        return result

    return net.run_until_complete(play(), **options)
