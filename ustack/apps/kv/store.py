# SPDX-License-Identifier: BSD-3-Clause
"""The keys and their values, when they expire, and about how much memory they take.

Always: no container in the store is empty; `used` is the sum of the costs of all keys, values and
elements, an estimate in bytes of what CPython needs for them.
"""

import heapq
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

__all__ = ["Hash", "KvError", "List", "Set", "Store", "Value", "WrongType", "ZSet"]

COST = 160  # of a key, beside its bytes and its value's
ELEMENT = 80  # of an element of a container, beside its bytes
SLOTS = 256  # in which keys are kept for SCAN


class KvError(Exception):
    """What a command is answered with: a code in capitals and a sentence."""


class WrongType(KvError):
    """The key holds another type than the command is for."""

    def __init__(self) -> None:
        super().__init__("WRONGTYPE Operation against a key holding the wrong kind of value")


class List(deque[bytes]):
    """A list."""

    name = "list"
    cost = 0


class Set(set[bytes]):
    """A set."""

    name = "set"
    cost = 0


class Hash(dict[bytes, bytes]):
    """A hash."""

    name = "hash"
    cost = 0


class ZSet(dict[bytes, float]):
    """A sorted set: the scores of its members, and both in order."""

    name = "zset"
    cost = 0

    def __init__(self) -> None:
        super().__init__()
        self.order: list[tuple[float, bytes]] = []


Container = List | Set | Hash | ZSet
Value = bytes | Container
_C = TypeVar("_C", List, Set, Hash, ZSet)


class Store:
    """One database. Times are in seconds by its clock."""

    def __init__(self, memory: int, clock: Callable[[], float] = time.monotonic) -> None:
        """memory: bytes after which what adds is refused."""
        self.clock = clock
        self.memory = memory
        self.used = 0
        self.expired = 0  # how many keys have, so far
        self._values: dict[bytes, Value] = {}
        self._slots: list[set[bytes]] = [set() for _ in range(SLOTS)]
        self._deadlines: dict[bytes, float] = {}
        self._due: list[tuple[float, bytes]] = []  # a heap; what is no deadline any more is stale
        self._watched: dict[bytes, set[Any]] = {}

    # ------------------------------------------------------------------------ keys

    def __len__(self) -> int:
        return len(self._values)

    def __contains__(self, key: bytes) -> bool:
        return self.get(key) is not None

    def get(self, key: bytes) -> Value | None:
        """Return a key's value; None when there is none, or no more."""
        deadline = self._deadlines.get(key)
        if deadline is not None and deadline <= self.clock():
            self.expired += 1
            self.drop(key)
        return self._values.get(key)

    def string(self, key: bytes) -> bytes | None:
        """Return a string; raise WrongType for another type."""
        value = self.get(key)
        if value is not None and type(value) is not bytes:
            raise WrongType
        return value

    def container(self, key: bytes, kind: type[_C]) -> _C | None:
        """Return a container of a kind; raise WrongType for another type."""
        value = self.get(key)
        if value is not None and type(value) is not kind:
            raise WrongType
        return value

    def make(self, key: bytes, kind: type[_C]) -> _C:
        """Return a container of a kind, a new one if there is none; `changed` must follow."""
        value = self.container(key, kind)
        if value is None:
            value = kind()
            self.put(key, value)
        return value

    def put(self, key: bytes, value: Value) -> None:
        """Set a value; the key's deadline stays."""
        old = self._values.get(key)
        if old is None:
            self._slots[hash(key) % SLOTS].add(key)
            self.used += COST + len(key)
        else:
            self.used -= _cost(old)
        self._values[key] = value
        self.used += _cost(value)
        self._touch(key)

    def changed(self, key: bytes, value: Container, cost: int) -> None:
        """Account for a change of a container: cost, the bytes that came or went."""
        value.cost += cost
        self.used += cost
        if value:
            self._touch(key)
        else:
            self.drop(key)

    def drop(self, key: bytes) -> bool:
        """Delete a key; whether there was one."""
        value = self._values.pop(key, None)
        if value is None:
            return False
        self._slots[hash(key) % SLOTS].discard(key)
        self._deadlines.pop(key, None)
        self.used -= COST + len(key) + _cost(value)
        self._touch(key)
        return True

    def clear(self) -> None:
        """Delete all keys."""
        for key in [*self._values]:
            self._touch(key)
        self._values.clear()
        self._deadlines.clear()
        self._due.clear()
        for slot in self._slots:
            slot.clear()
        self.used = 0

    def __iter__(self) -> Iterator[bytes]:
        """Yield the keys that live."""
        now = self.clock()
        for key in self._values:
            if self._deadlines.get(key, now + 1) > now:
                yield key

    def scan(self, cursor: int, count: int) -> tuple[int, list[bytes]]:
        """Return the next cursor, 0 at the end, and at least count keys if there are so many.

        A key that is there from the first call to the last is in one of the answers.
        """
        found: list[bytes] = []
        while cursor < SLOTS and len(found) < count:
            found += [key for key in [*self._slots[cursor]] if key in self]
            cursor += 1
        return cursor % SLOTS if cursor <= SLOTS else 0, found

    # ------------------------------------------------------------------- deadlines

    def deadline(self, key: bytes) -> float | None:
        """Return when a key expires; None for never."""
        return self._deadlines.get(key)

    def expire(self, key: bytes, deadline: float) -> None:
        """Let a key of the store expire; at once, if the time has come."""
        if deadline <= self.clock():
            self.drop(key)
            return
        self._deadlines[key] = deadline
        heapq.heappush(self._due, (deadline, key))
        self._touch(key)
        if len(self._due) > 2 * len(self._deadlines) + 64:
            self._due = [(when, key) for key, when in self._deadlines.items()]
            heapq.heapify(self._due)

    def persist(self, key: bytes) -> bool:
        """Let a key live for ever; whether it had a deadline."""
        if self._deadlines.pop(key, None) is None:
            return False
        self._touch(key)
        return True

    def has_deadlines(self) -> bool:
        """Return whether any key is to expire."""
        return bool(self._due)

    def collect(self, most: int) -> int:
        """Delete what has expired, so many keys at most; how many were."""
        now, before = self.clock(), self.expired
        while self._due and self._due[0][0] <= now and self.expired - before < most:
            when, key = heapq.heappop(self._due)
            if self._deadlines.get(key) == when:
                self.expired += 1
                self.drop(key)
        return self.expired - before

    # -------------------------------------------------------------------- watching

    def watch(self, key: bytes, watcher: Any) -> None:
        """Set watcher.is_stale to True when a key changes."""
        self._watched.setdefault(key, set()).add(watcher)

    def unwatch(self, keys: Iterable[bytes], watcher: Any) -> None:
        """Watch these keys no more."""
        for key in keys:
            watchers = self._watched.get(key, set())
            watchers.discard(watcher)
            if not watchers:
                self._watched.pop(key, None)

    def _touch(self, key: bytes) -> None:
        if self._watched:
            for watcher in self._watched.get(key, ()):
                watcher.is_stale = True


def _cost(value: Value) -> int:
    return len(value) if type(value) is bytes else value.cost  # type: ignore[union-attr]
