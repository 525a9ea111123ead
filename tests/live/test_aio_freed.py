# SPDX-License-Identifier: BSD-3-Clause
"""A loop that was closed is freed, with all that was on it, wherever the base loop is."""

from __future__ import annotations

import asyncio
import gc
import signal
import warnings
import weakref
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from two import BASE, NOBODY, SERVER, Recorder, payload, two_stacks

from ustack import aio

pytestmark = pytest.mark.usefixtures("base")

WILD, LOCAL = "0.0.0.0", "127.0.0.1"
Act = Callable[[Any, str], Awaitable[list[Any]]]
ACTS: list[Act] = []


class Ear(asyncio.DatagramProtocol):
    """A protocol that can be weakly referenced."""


def act(function: Act) -> Act:
    ACTS.append(function)
    return function


@act
async def nothing(loop: Any, host: str) -> list[Any]:
    return []


@act
async def a_server(loop: Any, host: str) -> list[Any]:
    return [await loop.create_server(Recorder, host, 0)]


@act
async def a_server_on_the_wildcard(loop: Any, host: str) -> list[Any]:
    return [await loop.create_server(Recorder, WILD, 0)]


@act
async def a_server_that_serves_for_ever(loop: Any, host: str) -> list[Any]:
    server = await loop.create_server(Recorder, host, 0)
    serving = loop.create_task(server.serve_forever())
    await asyncio.sleep(0)
    serving.cancel()
    await asyncio.wait([serving])
    return [server]


@act
async def connections(loop: Any, host: str) -> list[Any]:
    server = await loop.create_server(Recorder, host, 0)
    kept = [server]
    for size in (0, 100, 3_000_000):
        port = server.sockets[0].getsockname()[1]
        transport, protocol = await loop.create_connection(Recorder, host, port)
        transport.write(payload(size))
        kept += [transport, protocol]
    return kept


@act
async def streams(loop: Any, host: str) -> list[Any]:
    async def serve(reader: Any, writer: Any) -> None:
        await reader.read()

    server = await asyncio.start_server(serve, host, 0)
    port = server.sockets[0].getsockname()[1]
    reader, writer = await asyncio.open_connection(host, port)
    writer.write(b"hello")
    await writer.drain()
    return [server, reader, writer]


@act
async def a_connection_under_way(loop: Any, host: str) -> list[Any]:
    nobody = NOBODY if host == SERVER else "192.0.2.1"
    making = asyncio.ensure_future(loop.create_connection(Recorder, nobody, 9))
    await asyncio.sleep(0)
    making.cancel()
    await asyncio.wait([making])
    return []


@act
async def a_datagram_endpoint(loop: Any, host: str) -> list[Any]:
    return list(await loop.create_datagram_endpoint(Ear, (host, 0)))


@act
async def a_datagram_endpoint_on_the_wildcard(loop: Any, host: str) -> list[Any]:
    return list(await loop.create_datagram_endpoint(Ear, (WILD, 0)))


@act
async def names_and_threads(loop: Any, host: str) -> list[Any]:
    await loop.getaddrinfo("localhost", 80)
    await loop.run_in_executor(None, str)
    return []


@act
async def a_server_that_a_signal_closes(loop: Any, host: str) -> list[Any]:
    server = await loop.create_server(Recorder, host, 0)
    loop.add_signal_handler(signal.SIGUSR2, server.close)
    return [server]


def left(loop: Any, act: Act, host: str) -> list[str]:
    """Run a program, close the loop, and return what of both is not freed."""
    try:
        kept = loop.run_until_complete(act(loop, host))
    finally:
        loop.close()
    refs = [(repr(thing), weakref.ref(thing)) for thing in [loop, *kept]]
    del loop, kept
    gc.collect()
    gc.collect()  # what uvloop's own finalizers let go of
    return [name for name, ref in refs if ref() is not None]


def plain() -> Any:
    if BASE.get() == "asyncio":
        return asyncio.SelectorEventLoop()
    import uvloop

    return uvloop.new_event_loop()


@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.parametrize("act", ACTS, ids=lambda act: act.__name__)
def test_a_closed_loop_is_freed_with_what_was_on_it(act: Act) -> None:
    """Where uvloop's own is not: an open datagram endpoint of the kernel's keeps it."""
    with two_stacks() as stacks:
        ours = left(aio.new_event_loop(*stacks, base=BASE.get()), act, SERVER)
    if ours and act is a_datagram_endpoint_on_the_wildcard:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            assert left(plain(), act, LOCAL)
            return
    assert ours == []


def test_a_closed_loop_gives_its_signals_up() -> None:
    before = signal.getsignal(signal.SIGUSR2), signal.getsignal(signal.SIGINT)
    with two_stacks() as stacks:
        loop = aio.new_event_loop(*stacks, base=BASE.get())

        async def main() -> None:
            loop.add_signal_handler(signal.SIGUSR2, print)
            loop.add_signal_handler(signal.SIGINT, print)

        loop.run_until_complete(main())
        loop.close()
    assert (signal.getsignal(signal.SIGUSR2), signal.getsignal(signal.SIGINT)) == before
