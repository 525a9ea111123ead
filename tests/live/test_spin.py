# SPDX-License-Identifier: BSD-3-Clause
"""How loops idle: how long they spin, that they sleep, and that Ctrl-C ends them."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import threading
from typing import Any

import pytest
from two import BASE, SERVER, connect, run

import ustack
from pair import ring_url
from stopwatch import Stopwatch
from ustack import ConfigError, Stack
from ustack._idle import ALWAYS_NS
from ustack.apps.echo import Echo

pytestmark = pytest.mark.quiet

SOON = 0.1
ADDRESS = f"{SERVER}/24"


def spin_of(stack: Stack, base: str) -> int:
    loop: Any = ustack.aio.new_event_loop(stack, base=base)
    try:
        return int(loop._stacks[stack].spin_ns)
    finally:
        loop.close()


@pytest.mark.parametrize(
    ("given", "ns"),
    [("always", ALWAYS_NS), ("never", 0), (0.25, 250_000_000), ("0.25", 250_000_000)],
)
def test_a_stack_spins_as_it_is_told(
    monkeypatch: pytest.MonkeyPatch, base: str, given: Any, ns: int
) -> None:
    with Stack(ring_url(), ADDRESS, spin=given) as stack:
        assert spin_of(stack, base) == ns
    monkeypatch.setenv("USTACK_SPIN", str(given))
    with Stack(ring_url(), ADDRESS) as stack:
        assert spin_of(stack, base) == ns


@pytest.mark.parametrize(("cores", "ns"), [({0}, 0), ({0, 1}, 50_000)])
def test_auto_spins_only_where_there_is_more_than_one_processor(
    monkeypatch: pytest.MonkeyPatch, cores: set[int], ns: int
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: cores)
    for given in (None, "auto"):
        with Stack(ring_url(), ADDRESS, spin=given) as stack:
            assert spin_of(stack, "asyncio") == ns


@pytest.mark.parametrize("nonsense", ["sometimes", -1, 10.5, float("nan")])
def test_a_spin_that_cannot_be_is_refused(monkeypatch: pytest.MonkeyPatch, nonsense: Any) -> None:
    with pytest.raises(ConfigError, match=r"^spin must be auto, always, never or 0\.\.10 seconds"):
        Stack(ring_url(), ADDRESS, spin=nonsense)
    monkeypatch.setenv("USTACK_SPIN", str(nonsense))
    with pytest.raises(ConfigError, match=r"^USTACK_SPIN must be auto, always, never"):
        Stack(ring_url(), ADDRESS)


@pytest.mark.parametrize("spin", ["auto", "always", "never"])
def test_ctrl_c_ends_an_idle_run_within_100_ms(base: str, spin: Any) -> None:
    interrupted: list[Stopwatch] = []

    def interrupt() -> None:
        interrupted.append(Stopwatch())
        os.kill(os.getpid(), signal.SIGINT)

    async def main() -> None:
        threading.Timer(0.1, interrupt).start()
        await asyncio.Event().wait()

    with pytest.raises(KeyboardInterrupt):
        ustack.run(main, io=ring_url(), address=ADDRESS, base=BASE.get(), spin=spin)
    assert interrupted[0].own_seconds < SOON


def test_ctrl_c_ends_a_busy_run_within_100_ms(base: str) -> None:
    """Two Protocols play ping-pong for ever: no task ever wants the loop."""
    interrupted: list[Stopwatch] = []

    def interrupt() -> None:
        interrupted.append(Stopwatch())
        os.kill(os.getpid(), signal.SIGINT)

    async def main() -> None:
        _, theirs = await connect(Echo, Echo)
        theirs.transport.write(b"ball")
        threading.Timer(0.1, interrupt).start()
        await asyncio.Event().wait()

    with pytest.raises(KeyboardInterrupt):
        run(main, linger=0)  # whichever stack is closed first, the other would wait for it
    assert interrupted[0].own_seconds < SOON + 0.1  # and the stacks are closed by then


@pytest.mark.parametrize("spin", ["always", 0.3])
def test_a_loop_that_spins_does_not_forget_the_kernel(base: str, spin: Any) -> None:
    """Its timers, its descriptors and other threads, all while nothing comes to the stack."""

    async def main() -> None:
        loop = asyncio.get_running_loop()
        start = loop.time()
        await asyncio.sleep(0.02)
        assert loop.time() - start < 0.02 + SOON
        reader, writer = socket.socketpair()
        reader.setblocking(False)
        threading.Timer(0.02, writer.send, [b"x"]).start()
        assert await loop.sock_recv(reader, 1) == b"x"
        assert loop.time() - start < 0.04 + SOON
        woken = asyncio.Event()
        threading.Timer(0.02, loop.call_soon_threadsafe, [woken.set]).start()
        await woken.wait()
        assert loop.time() - start < 0.06 + SOON
        reader.close()
        writer.close()

    assert run(main, spin=spin) == []


def test_a_loop_that_never_spins_still_moves_bytes(base: str) -> None:
    async def main() -> None:
        near, far = await connect()
        near.transport.write(bytes(300_000))
        assert await far.received(300_000) == bytes(300_000)
        near.transport.close()
        far.transport.close()

    assert run(main, spin="never") == []
