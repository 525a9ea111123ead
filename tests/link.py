# SPDX-License-Identifier: BSD-3-Clause
"""A seeded network of two engines on virtual time: delay, loss, reordering, doubles, corruption.

    link = Link(seed=1, loss=0.1)
    a, b = link.connected()
    a.send(data)
    link.run(60)
    assert b.received == data

Time jumps from event to event. The same seed gives the same run, to the byte. An end's application
sends what it was given as room appears, and reads at once unless told to be slow.

Between the ends lie two of ustack.sim's paths; the loop is Python's, so that a test can look at
every frame and every moment. Not here: packets by hand (wire.py), more than two hosts (ustack.sim).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import rig
from ustack import sim

MACS = (bytes.fromhex("02000000000a"), bytes.fromhex("02000000000b"))
ADDRESSES = ("10.0.0.1", "10.0.0.2")


class End:
    """One engine, and the application of one connection on it."""

    def __init__(self, link: Link, index: int, settings: dict[str, int]) -> None:
        self.link, self.index = link, index
        self.engine = rig.Engine(
            ADDRESSES[index],
            mac=MACS[index],
            seed=link.seed * 2 + index,
            secret=bytes([index, link.seed % 256] * 16),
            settings={"arp.announce": 0} | settings,
        )
        self.engine.neighbour(ADDRESSES[1 - index], MACS[1 - index])
        self.handle: int | None = None
        self.pending = bytearray()  # given to send(), not yet taken by the engine
        self.received = bytearray()
        self.eof = False
        self.closing = False  # shut down when all is sent
        self.reading = True
        self.error = 0
        self.sent_frames = self.sent_bytes = 0

    def send(self, data: bytes) -> None:
        """Send all of it, as room appears."""
        self.pending += data
        self.link.touch(self)

    def finish(self) -> None:
        """End the sending direction once everything is sent."""
        self.closing = True
        self.link.touch(self)

    def work(self) -> None:
        """What the application does when it gets its turn."""
        if self.handle is None:
            return
        try:
            self._write()
            self._read()
        except BlockingIOError:
            pass
        except OSError as error:
            self.error = self.error or error.errno or -1

    def _write(self) -> None:
        while self.pending:
            try:
                taken = self.engine.send(self.handle or 0, bytes(self.pending[:65536]))
            except BlockingIOError:
                return
            del self.pending[:taken]
        if self.closing and self.engine.info(self.handle or 0).state in (
            rig.lib.UST_ESTABLISHED,
            rig.lib.UST_CLOSE_WAIT,
        ):
            self.closing = False
            self.engine.shutdown(self.handle or 0)

    def _read(self) -> None:
        while self.reading and not self.eof:
            data = self.engine.recv(self.handle or 0)
            self.received += data
            self.eof = not data

    @property
    def state(self) -> str:
        """The connection's state."""
        return rig.STATES.get(self.engine.info(self.handle or 0).state, "CLOSED")


class Link:
    """Two engines and what lies between them."""

    def __init__(
        self, seed: int = 1, settings: dict[str, int] | None = None, **conditions: Any
    ) -> None:
        """conditions: as sim.Conditions has them, but that jitter lets frames overtake."""
        self.seed = seed
        delay = conditions.setdefault("delay", 0.01)
        held = {"reorder_delay": 2 * delay, "keep_order": False}
        self.conditions = sim.Conditions(**held | conditions)
        self.paths = tuple(sim.Path(self.conditions, seed * 2 + to) for to in (0, 1))  # by whom to
        self.ends = tuple(End(self, i, settings or {}) for i in (0, 1))
        self.now = max(end.engine.now for end in self.ends)
        self.up = True
        self.filter: Callable[[int, bytes], bool] | None = None
        self.observer: Callable[[], None] | None = None

    def connected(self, port: int = 80) -> tuple[End, End]:
        """Connect end 0 to end 1 and run until both are established."""
        client, server = self.ends
        listener = server.engine.listen(port)
        client.handle = client.engine.connect(server.engine.address, port)
        self.touch(client)
        for _ in range(3000):
            self.run(0.1)
            if server.handle is None and server.engine.ready(listener) & rig.lib.UST_READABLE:
                server.handle = server.engine.accept(listener)
            if server.handle is not None and client.state == "ESTABLISHED":
                return client, server
        raise AssertionError("no connection within 300 s")

    # ------------------------------------------------------------------ running

    def run(self, seconds: float, until: Callable[[], bool] | None = None) -> bool:
        """Let time pass; stops early, and says so, when until() holds."""
        end_of_run = self.now + round(seconds * rig.SECOND)
        while True:
            for end in self.ends:
                self.touch(end)
            if until is not None and until():
                return True
            when = self.next_event()
            if when > end_of_run:
                self._set_time(end_of_run)
                return False
            self._set_time(max(when, self.now))
            self._deliver()
            for end in self.ends:
                if end.engine.deadline <= self.now:
                    end.engine.tick()

    def next_event(self) -> int:
        """When the next frame arrives or the next timer is due."""
        return min(*(path.deadline for path in self.paths), *(e.engine.deadline for e in self.ends))

    def touch(self, end: End) -> None:
        """Give an application its turn, and put what its engine sends onto the wire."""
        end.work()
        for frame in end.engine.output():
            end.sent_frames += 1
            end.sent_bytes += len(frame)
            self._transmit(1 - end.index, frame)
        if self.observer is not None:
            self.observer()

    def _set_time(self, now: int) -> None:
        self.now = now
        for end in self.ends:
            end.engine.now = now

    def _transmit(self, to: int, frame: bytes) -> None:
        """Give a frame to the path, unless the test says otherwise."""
        if self.up and (self.filter is None or self.filter(to, frame)):
            self.paths[to].send(self.now, frame)

    def _deliver(self) -> None:
        """Hand over what arrives now."""
        for path, end in zip(self.paths, self.ends, strict=True):
            while (frame := path.recv(self.now)) is not None:
                end.engine.inject(frame)

    def __enter__(self) -> Link:
        return self

    def __exit__(self, *_: object) -> None:
        for end in self.ends:
            end.engine.free()

    def check(self) -> None:
        """Fail when an invariant of either engine does not hold."""
        for end in self.ends:
            end.engine.check()
