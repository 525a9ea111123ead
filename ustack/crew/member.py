# SPDX-License-Identifier: BSD-3-Clause
"""A worker as it knows itself: its number, its queue, and what it shares with the others."""

import ctypes
import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ustack import _native
from ustack._addressing import Interface
from ustack._native import ffi, lib
from ustack.errors import ConfigError
from ustack.io import Port

if TYPE_CHECKING:
    from ustack.crew.plan import Queues, Workers

__all__ = ["Member"]

_PR_SET_PDEATHSIG = 1


class Member:
    """One worker of a crew; made by the supervisor, used in the worker's process.

    `Stack(member=…)` is then this worker's part of the one stack.
    """

    def __init__(
        self,
        number: int,
        workers: "Workers",
        queues: "Queues",
        crew: Any,
        secret: bytes,
        bell: int,
    ) -> None:
        """crew: a `struct ust_crew *`. secret: the stack's. bell: where our number is said."""
        self.number = number
        self.workers = workers
        self.secret = secret
        self.core = workers.core_of(number)
        self._queues = queues
        self._crew = crew
        self._bell = bell
        self._port: Port | None = None
        self._told = self.tells_itself = False  # tells_itself: that it serves

    # -------------------------------------------------------------------- its process

    def settle(self, parent: int) -> None:
        """Take its core, and end when the supervisor does."""
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:
            os._exit(0)
        if self.core is not None:
            os.sched_setaffinity(0, {self.core})

    # ---------------------------------------------------------------------- its stack

    def open(self, io: "str | Port", interfaces: list[Interface]) -> Port:
        """Return our queue of a port of the stack."""
        if not isinstance(io, str):
            raise ConfigError(f"workers open their ports themselves, got {io!r}; give its URL")
        return self._queues.open(io, self.number)

    def capture_path(self, path: Path) -> Path:
        """Return what this worker writes instead: frames.pcapng becomes frames.w0.pcapng."""
        return path.with_stem(f"{path.stem}.w{self.number}")

    def name(self, name: str) -> str:
        """Return what this worker's stack is told by: kv becomes kv-0."""
        return f"{name}-{self.number}"

    def join(self, engine: Any, worker: Any) -> None:
        """Give the engine its part of the flows, and the worker its way to the others."""
        rss = ffi.new("struct ust_rss *")
        table = self._queues.table()
        rss.engine, rss.n_engines, rss.n_reta = self.number, self._queues.count, len(table)
        rss.fields = lib.UST_RSS_TCP | lib.UST_RSS_UDP
        rss.key_len, rss.key[0:40], rss.reta[0 : len(table)] = 40, b"\x6d\x5a" * 20, bytes(table)
        _native.check(lib.ust_engine_set_rss(engine, rss), f"RSS of worker {self.number}")
        err = ffi.new("int *")
        handle = lib.ust_crew_join(self._crew, self.number, err)
        if handle == ffi.NULL:
            raise OSError(-err[0], f"{os.strerror(-err[0])}: crew of worker {self.number}")
        self._port = Port(handle, f"worker {self.number}", queue=self.number)
        self._port.serve(worker)
        _native.check(lib.ust_worker_join(worker, handle, self.number), "hand-over")
        self.enter(lib.UST_CREW_STARTING)

    def leave(self) -> None:
        """End the way to the others, after the worker."""
        if self._port is not None:
            self._port.close()

    # ---------------------------------------------------------------------- its state

    def enter(self, state: int) -> None:
        """Say what it is about, one of lib.UST_CREW_*."""
        if self._port is not None:
            core = -1 if self.core is None else self.core
            _native.check(lib.ust_crew_enter(self._port.handle, state, core), "state")

    def serve(self) -> None:
        """Say that it serves, which the supervisor waits for."""
        self.enter(lib.UST_CREW_SERVING)
        if not self._told:
            self._told = True
            os.write(self._bell, bytes([self.number]))
