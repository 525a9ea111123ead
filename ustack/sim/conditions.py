# SPDX-License-Identifier: BSD-3-Clause
"""What a link does to the frames on it, and one direction of a link as a Python object."""

import dataclasses
from dataclasses import dataclass
from typing import Any

from ustack._native import check, ffi, lib
from ustack.errors import ConfigError

__all__ = ["CoDel", "Conditions", "DropTail", "Gilbert", "Path", "PathStats"]

NS = 1_000_000_000
ROOM = 1 << 20  # frames in a queue and on its wire: bounded, but by nothing that is simulated


@dataclass(frozen=True, slots=True)
class DropTail:
    """A queue that drops what does not fit.

    frames, bytes: its limits; None: no such limit. mark: set CE on ECN-capable packets that find
    more than so many bytes waiting, as a switch does for DCTCP (RFC 8257 3.1); None: never.
    """

    frames: int | None = 1000
    bytes: int | None = None
    mark: int | None = None


@dataclass(frozen=True, slots=True)
class CoDel:
    """A queue that drops, or with ecn marks, what has waited too long (RFC 8289).

    target, interval: seconds. frames: a limit besides.
    """

    target: float = 0.005
    interval: float = 0.1
    ecn: bool = False
    frames: int | None = 1000


@dataclass(frozen=True, slots=True)
class Gilbert:
    """Loss in bursts: two states, each with a chance of loss, and chances to change (Elliott).

    to_bad, to_good: of changing the state at a frame, so a bad time lasts 1 / to_good frames on
    average. good, bad: of losing a frame in that state.
    """

    to_bad: float
    to_good: float
    good: float = 0.0
    bad: float = 1.0


@dataclass(frozen=True, slots=True)
class Conditions:
    """What one direction of a link does to frames. Times in seconds, chances 0 … 1 a frame.

    rate: bits a second of whole Ethernet frames; None: no limit, and then no queue either.
    delay: one way. jitter: 0 … so much is added; keep_order: but no frame overtakes another.
    reorder: chance of being held back by reorder_delay, so that later frames overtake.
    corrupt: chance that one bit is turned over. mtu: bytes of an IP packet; larger ones are
    dropped, and too_big_from, an address, is the router that says so (RFC 1191, RFC 4443); None:
    nobody does. up: False drops everything.
    """

    rate: float | None = None
    delay: float = 0.0
    jitter: float = 0.0
    keep_order: bool = True
    loss: float | Gilbert = 0.0
    duplicate: float = 0.0
    reorder: float = 0.0
    reorder_delay: float = 0.0
    corrupt: float = 0.0
    queue: DropTail | CoDel = DropTail()
    mtu: int | None = None
    too_big_from: str | None = None
    up: bool = True

    def __post_init__(self) -> None:
        """Check ranges. Raises ConfigError that names what is wrong."""
        for name in ("delay", "jitter", "reorder_delay"):
            _within(name, getattr(self, name), 0, 3.6e6, " seconds")
        for name in ("duplicate", "reorder", "corrupt"):
            _within(name, getattr(self, name), 0, 1)
        if isinstance(self.loss, Gilbert):
            for field in dataclasses.fields(self.loss):
                _within(f"loss.{field.name}", getattr(self.loss, field.name), 0, 1)
        else:
            _within("loss", self.loss, 0, 1)
        if self.rate is not None:
            _within("rate", self.rate, 1, 1e12, " bit/s")
        if self.mtu is not None:
            _within("mtu", self.mtu, 68, 65535, " bytes")
        self._check_queue()

    def _check_queue(self) -> None:
        queue = self.queue
        if queue.frames is not None:
            _within("queue.frames", queue.frames, 1, ROOM)
        if isinstance(queue, CoDel):
            _within("queue.target", queue.target, 0, 3600, " seconds")
            _within("queue.interval", queue.interval, 0.001, 3600, " seconds")
        else:
            for name in ("bytes", "mark"):
                if getattr(queue, name) is not None:
                    _within(f"queue.{name}", getattr(queue, name), 1, 1 << 40)

    def change(self, **values: Any) -> "Conditions":
        """Return the same with some values changed."""
        return dataclasses.replace(self, **values)

    def raw(self) -> Any:
        """Return them as a new `struct ust_link_config *`."""
        raw = ffi.new("struct ust_link_config *")
        raw.up, raw.mtu, raw.max_frames = self.up, self.mtu or 0, ROOM
        raw.rate = round(self.rate) if self.rate else 0
        raw.delay, raw.jitter = _ns(self.delay), _ns(self.jitter)
        raw.keep_order = self.keep_order
        raw.duplicate, raw.corrupt = self.duplicate, self.corrupt
        raw.reorder, raw.reorder_delay = self.reorder, _ns(self.reorder_delay)
        if isinstance(self.loss, Gilbert):
            raw.loss, raw.loss_bad = self.loss.good, self.loss.bad
            raw.to_bad, raw.to_good = self.loss.to_bad, self.loss.to_good
        else:
            raw.loss = self.loss
        queue = self.queue
        raw.queue_frames = queue.frames or 0
        if isinstance(queue, CoDel):
            raw.discipline = lib.UST_QUEUE_CODEL
            raw.codel_target, raw.codel_interval = _ns(queue.target), _ns(queue.interval)
            raw.codel_ecn = queue.ecn
        else:
            raw.queue_bytes, raw.mark_bytes = queue.bytes or 0, queue.mark or 0
        return raw


def _within(name: str, value: float, low: float, high: float, unit: str = "") -> None:
    if not low <= value <= high:
        raise ConfigError(f"{name} must be {low:g}..{high:g}{unit}, got {value!r}")


def _ns(seconds: float) -> int:
    return round(seconds * NS)


@dataclass(frozen=True, slots=True)
class PathStats:
    """What one direction of a link has done so far; ustack.h says what each field means."""

    frames_in: int
    bytes_in: int
    frames_out: int
    bytes_out: int
    drop_queue: int
    drop_codel: int
    drop_loss: int
    drop_down: int
    drop_mtu: int
    drop_memory: int
    marked: int
    duplicated: int
    corrupted: int
    held_back: int
    queue_bytes: int
    queue_frames: int
    queue_bytes_max: int
    queue_byte_us: int
    waited_ns: int
    waited_ns_max: int

    @property
    def drops(self) -> int:
        """Frames that were dropped, for whatever reason."""
        queue = self.drop_queue + self.drop_codel
        return queue + self.drop_loss + self.drop_down + self.drop_mtu + self.drop_memory


_STATS = tuple(name for name, _ in ffi.typeof("struct ust_link_stats").fields)
assert tuple(PathStats.__dataclass_fields__) == _STATS, "PathStats differs from ustack.h"


class Path:
    """One direction of a link, by itself: what is sent comes out later, or not.

    Times are ints of nanoseconds. The same seed and calls give the same frames.
    """

    def __init__(self, conditions: Conditions, seed: int = 1, *, raw: Any = None) -> None:
        """raw: a `struct ust_link *` that belongs to somebody else, instead of a new one."""
        self._conditions = conditions
        if raw is None:
            error = ffi.new("int *")
            raw = lib.ust_link_new(conditions.raw(), seed % 2**64, error)
            check(error[0], "a simulated link")
            raw = ffi.gc(raw, lib.ust_link_free)
        self._raw = raw
        self._buf = ffi.new("uint8_t[]", 65600)

    @property
    def conditions(self) -> Conditions:
        """What it does now; assign to change it for frames yet to come."""
        return self._conditions

    @conditions.setter
    def conditions(self, conditions: Conditions) -> None:
        check(lib.ust_link_set(self._raw, conditions.raw()), "a simulated link")
        self._conditions = conditions

    def send(self, now: int, frame: bytes) -> None:
        """Put a frame in; whether it arrives is chance."""
        lib.ust_link_send(self._raw, now, frame, len(frame))

    def recv(self, now: int) -> bytes | None:
        """Return the next frame that has arrived by now, None when there is none."""
        size = lib.ust_link_recv(self._raw, now, self._buf, len(self._buf))
        return bytes(ffi.buffer(self._buf, size)) if size > 0 else None

    @property
    def deadline(self) -> int:
        """When recv() may next have something; 2^64 - 1 for never."""
        return int(lib.ust_link_deadline(self._raw))

    def stats(self, now: int) -> PathStats:
        """Return the counts up to now."""
        raw = ffi.new("struct ust_link_stats *")
        lib.ust_link_stats(self._raw, now, raw)
        return PathStats(*[getattr(raw, name) for name in _STATS])
