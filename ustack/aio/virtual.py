# SPDX-License-Identifier: BSD-3-Clause
"""The event loop on virtual time: asyncio programs on the hosts of a simulated network.

::

    net = sim.Network(seed=1)
    server, client = net.host("server"), net.host("client")
    net.link(server, client, delay=0.05, loss=0.01)

    async def main() -> bytes:
        with server:
            await asyncio.start_server(serve, server.address, 80)
        with client:
            reader, writer = await asyncio.open_connection("server", 80)
            return await reader.read()

    net.run_until_complete(main())

One loop drives all hosts. `with host:` says on which of them the current task, and tasks that it
starts, are; callbacks of a connection are on the host of the connection. Where a loop would sleep,
this one runs what is due at this moment, then the simulation up to the loop's next timer or the
next news for an application. Nothing waits for a clock, so what happens depends on the program,
the network and its seed alone.

Not here: how time passes in the network (sim/), which connection goes to which stack (network.py).
"""

import asyncio
import contextvars
import errno
import math
import selectors
import threading
from asyncio import sslproto
from collections.abc import Sized
from typing import TYPE_CHECKING, Any

from ustack._aio import Dispatcher
from ustack._native import ffi, lib
from ustack.aio.hermetic import HermeticLoop
from ustack.aio.network import StackLoop
from ustack.aio.routing import AddrInfo
from ustack.errors import Deadlock
from ustack.sim.clocks import virtual_clocks
from ustack.sim.nodes import START, Host, current_host

if TYPE_CHECKING:
    from ustack.sim.network import Network
    from ustack.stack import Stack

__all__ = ["VirtualLoop"]

NEVER = 2**64 - 1
THREAD_PATIENCE = 10.0  # real seconds that virtual time waits for a thread
WAKE_PATIENCE = 0.5  # real seconds before a deadlock is told while there are other threads


class VirtualLoop(StackLoop, HermeticLoop):  # type: ignore[misc]
    """An asyncio event loop on the virtual time of a simulated network."""

    _ssl_protocol = sslproto.SSLProtocol
    _ready: Sized  # asyncio's own

    def __init__(self, net: "Network", *, clocks: bool = True) -> None:
        """net: which it drives; one loop at a time. clocks: let time.time() and time.monotonic()
        tell virtual time while the loop runs.
        """
        self.net = net
        self._clocks = clocks
        self._owned: list[Stack] = []
        self._turns: dict[Host, tuple[Dispatcher, contextvars.Context]] = {}
        super().__init__(_VirtualSelector(self), wildcard="ustack")
        self._clock_resolution = 1e-9
        net._loop = self

    # ------------------------------------------------------------------------ hosts

    @property
    def _stacks(self) -> "dict[Stack, Dispatcher]":  # type: ignore[override]
        """The stack of the host that the current task is on, and no other."""
        host = current_host()
        if host is None or host.net is not self.net:
            return {}
        return {host.stack: self._dispatcher(host)}

    def _dispatcher(self, host: Host) -> Dispatcher:
        if host not in self._turns:
            stack = host.stack
            worker, engine = (int(ffi.cast("uintptr_t", p)) for p in (stack._worker, stack._engine))
            owner = (stack, stack._worker, stack._engine, self.net)
            dispatcher = Dispatcher(worker, engine, self, owner)
            context = contextvars.copy_context()
            context.run(host.__enter__)
            self.net._adopt(host, application=True)
            self._turns[host] = dispatcher, context
        return self._turns[host][0]

    async def _kernels_socket(self, info: AddrInfo, locals_: Any) -> Any:
        raise self._refusal(errno.ENETUNREACH, "connect to", *info[4][:2])

    def attach(self, stack: "Stack", *, own: bool = False) -> None:
        """Raise ValueError: this loop drives the hosts of its network and nothing else."""
        raise ValueError(f"a loop on virtual time drives the hosts of its network, not {stack!r}")

    def close(self) -> None:
        """Close the loop, and what is open on the hosts; see StackLoop.detach."""
        if self.is_running():
            raise RuntimeError("Cannot close a running event loop")
        for host, (dispatcher, _) in self._turns.items():
            dispatcher.complain()
            dispatcher.detach()
            self.net._adopt(host, application=False)
        self._turns.clear()
        super().close()
        self.net._loop = None

    def _poll(self) -> int:
        """Give every host's application its turn; return how many bursts there were."""
        return sum([context.run(turn.poll, 0, 0) for turn, context in self._turns.values()])

    # ------------------------------------------------------------------------- time

    def time(self) -> float:
        """Return the network's time: seconds since the simulation began."""
        return self.net.now

    def run_forever(self) -> None:
        """Run until stop() is called."""
        if not self._clocks:
            super().run_forever()
            return
        with virtual_clocks(lambda: self.net.now_ns - START):
            super().run_forever()

    def _pass_time(self, timeout: float | None) -> None:
        """Let time pass until there is something for the loop, at most timeout seconds."""
        until = None if timeout is None else self.net.now_ns + math.ceil(timeout * 1e9)
        while True:
            for host in self._turns:
                self.net.touch(host)
            why = self.net._go_on(NEVER if until is None else until)
            if self._poll() or self._ready or (until is not None and self.net.now_ns >= until):
                return
            if why == lib.UST_SIM_NOTHING:
                self._complain()

    def _complain(self) -> None:
        waiting = [repr(task) for task in asyncio.all_tasks(self)]
        raise Deadlock(
            f"nothing will ever happen again, {self.time():g} s after the beginning: there is no"
            f" timer, no frame under way and no descriptor to wait for, but {len(waiting)} tasks"
            f" wait: {', '.join(waiting) or 'none'}"
        )


class _VirtualSelector(selectors.EpollSelector):
    """Where the loop would sleep: an epoll selector, for what is the kernel's, that does not."""

    def __init__(self, loop: VirtualLoop) -> None:
        super().__init__()
        self._loop = loop

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """Run applications; if they had nothing to do, look at the kernel, then let time pass."""
        loop = self._loop
        if loop._poll() or (timeout is not None and timeout <= 0):
            return super().select(0)
        events = super().select(THREAD_PATIENCE if loop._is_in_threads() else 0)
        if events:
            return events
        try:
            loop._pass_time(timeout)
        except Deadlock:
            if events := self._wait():
                return events
            raise
        return []

    def _wait(self) -> list[tuple[selectors.SelectorKey, int]]:
        """Wait in real time for what alone can go on: the kernel's descriptors, or a thread."""
        if len(self.get_map()) > 1:
            return super().select(None)
        return super().select(WAKE_PATIENCE) if threading.active_count() > 1 else []
