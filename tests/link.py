# SPDX-License-Identifier: BSD-3-Clause
"""A seeded network of two engines on virtual time: delay, loss, reordering, doubles, corruption.

    link = Link(seed=1, loss=0.1)
    a, b = link.connected()
    a.send(data)
    link.run(60)
    assert b.received == data

Time jumps from event to event. The same seed gives the same run, to the byte. An end's application
sends what it was given as room appears, and reads at once unless told to be slow.

Not here: packets by hand (wire.py), more than two hosts, rates and queues.
"""

from __future__ import annotations

import dataclasses
import heapq
import itertools
import random
from collections.abc import Callable

import rig

MACS = (bytes.fromhex("02000000000a"), bytes.fromhex("02000000000b"))
ADDRESSES = ("10.0.0.1", "10.0.0.2")


@dataclasses.dataclass(frozen=True)
class Conditions:
    """What a link does to frames; probabilities 0 … 1, times in seconds."""

    delay: float = 0.01
    jitter: float = 0.0
    loss: float = 0.0
    duplicate: float = 0.0
    reorder: float = 0.0  # delivered later than the frames behind it
    corrupt: float = 0.0  # one bit turned over


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
        self, seed: int = 1, settings: dict[str, int] | None = None, **conditions: float
    ) -> None:
        self.seed = seed
        self.random = random.Random(seed)
        self.conditions = Conditions(**conditions)
        self.ends = tuple(End(self, i, settings or {}) for i in (0, 1))
        self.now = max(end.engine.now for end in self.ends)
        self.flight: list[tuple[int, int, int, bytes]] = []  # when, order, to whom, what
        self.order = itertools.count()
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
        arrival = self.flight[0][0] if self.flight else rig.NEVER
        return min(arrival, *(end.engine.deadline for end in self.ends))

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
        """Decide a frame's fate."""
        rnd, c = self.random, self.conditions
        fate = [rnd.random() for _ in range(5)]  # drawn always: one frame, five numbers
        bit = int(rnd.random() * 8 * len(frame))
        if not self.up or fate[0] < c.loss or (self.filter and not self.filter(to, frame)):
            return
        if fate[1] < c.corrupt:
            frame = flip(frame, bit)
        delay = c.delay + fate[2] * c.jitter + (2 * c.delay if fate[3] < c.reorder else 0)
        for _ in range(2 if fate[4] < c.duplicate else 1):
            at = self.now + round(delay * rig.SECOND)
            heapq.heappush(self.flight, (at, next(self.order), to, frame))

    def _deliver(self) -> None:
        """Hand over what arrives now."""
        while self.flight and self.flight[0][0] <= self.now:
            _, _, to, frame = heapq.heappop(self.flight)
            self.ends[to].engine.inject(frame)

    def __enter__(self) -> Link:
        return self

    def __exit__(self, *_: object) -> None:
        for end in self.ends:
            end.engine.free()

    def check(self) -> None:
        """Fail when an invariant of either engine does not hold."""
        for end in self.ends:
            end.engine.check()


def flip(frame: bytes, bit: int) -> bytes:
    """The frame with one bit turned over."""
    damaged = bytearray(frame)
    damaged[bit // 8] ^= 1 << bit % 8
    return bytes(damaged)
