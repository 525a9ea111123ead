# SPDX-License-Identifier: BSD-3-Clause
"""A simulated host as a `Stack`, for applications: the same engine, driven by the simulation."""

import weakref
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from ustack._native import ffi, lib, own_worker
from ustack._settings import Settings
from ustack.stack import Stack

if TYPE_CHECKING:
    from ustack.sim.nodes import Host

__all__ = ["HostStack"]


class HostStack(Stack):
    """The stack of a simulated host.

    Nothing that its user does moves virtual time, so a call that would have to wait raises
    OSError(EDEADLK): use asyncio (`Network.event_loop`).
    """

    def __init__(self, host: "Host") -> None:
        """host: whose engine it is; see `Host.stack`."""
        clock = lib.ust_sim_clock(host.net._raw)
        worker = lib.ust_worker_new_virtual(host.engine, clock)
        if worker == ffi.NULL:
            raise MemoryError(f"no memory for the stack of {host}")
        self.host = host
        self._engine: Any = host.engine
        self._worker = own_worker(worker)
        self._settings = Settings(self._worker, host.net.profile)
        self._sockets = weakref.WeakSet()
        self._ports = [_SimulatedPort(host)]  # type: ignore[list-item]
        self._control = None
        self._closed = False
        lib.ust_worker_enable_loopback(self._worker)

    def close(self, linger: float | None = None) -> None:
        """Close all sockets. linger: ignored; what is still to be sent goes with the time."""
        for sock in list(self._sockets):
            sock.close()

    def __repr__(self) -> str:
        return f"<ustack.sim.HostStack {self.host.name}: {', '.join(map(str, self.addresses))}>"


class _SimulatedPort:
    """What a stack shows of its interface."""

    def __init__(self, host: "Host") -> None:
        self._host = host
        self.info = SimpleNamespace(mac=host.mac, mtu=host.mtu, caps=0, n_queues=1)

    def __str__(self) -> str:
        return f"sim:{self._host.name}"
