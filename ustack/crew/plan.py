# SPDX-License-Identifier: BSD-3-Clause
"""How many workers, and the ports whose queues they share.

The supervisor holds every port as long as it lives: a ring's side, a tap's descriptors. So a
worker that dies leaves a queue behind, which its successor takes.
"""

import dataclasses
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from ustack._addressing import Interface, Ports, plan_ports
from ustack._native import lib
from ustack.errors import ConfigError
from ustack.io import LoopUrl, Port, RingUrl, open_port, parse_url
from ustack.io.tap import TapQueues
from ustack.io.url import MAX_QUEUES

__all__ = ["KEEPER", "Queues", "Workers"]

KEEPER: int = lib.UST_RING_KEEPER
TABLE = 128  # entries of the table by which flows are spread


@dataclass(frozen=True)
class Workers:
    """What the user says of workers."""

    count: int
    pin: bool = True  # each to a core of its own, as far as there are any
    drain: float = 10.0  # seconds that connections have to finish when a worker shall end
    backoff: float = 0.05  # seconds from a worker's death to its successor; doubled …
    backoff_max: float = 5.0  # … by each that did not live long, up to this

    def __post_init__(self) -> None:
        if not (isinstance(self.count, int) and 1 <= self.count <= MAX_QUEUES):
            raise ConfigError(
                f"workers must be 1..{MAX_QUEUES}, got {self.count!r}; one a core is usual"
            )
        for name, most in (("drain", 3600), ("backoff", 3600), ("backoff_max", 3600)):
            value = getattr(self, name)
            if not 0 <= value <= most:
                raise ConfigError(f"{name} must be 0..{most} seconds, got {value!r}")

    def core_of(self, number: int) -> int | None:
        """Return the core of a worker; None: any."""
        cores = sorted(os.sched_getaffinity(0))
        return cores[number % len(cores)] if self.pin and len(cores) > 1 else None


class Queues:
    """The ports of a stack, a queue of each for every worker. Opened by the supervisor."""

    def __init__(self, io: Ports, count: int, addresses: Iterable[str] = ()) -> None:
        """io, addresses: as of `Stack`.

        Raises ConfigError for ports that have not so many queues, PortError for one that cannot
        be opened.
        """
        limits = lib.UST_MAX_IFACES, lib.UST_MAX_ADDRS
        plan = plan_ports(io, None, addresses, unnamed=True, limits=limits)
        urls = [(_checked(url, count), interfaces) for url, interfaces in plan]
        self.count = count
        self._keepers: list[Port | TapQueues] = []
        self._openers: dict[str, Callable[[int], Port]] = {}
        try:
            for text, interfaces in urls:
                self._keep(text, interfaces)
        except BaseException:
            self.close()
            raise

    def _keep(self, text: str, interfaces: list[Interface]) -> None:
        url = parse_url(text)
        assert not isinstance(url, LoopUrl)
        if isinstance(url, RingUrl):
            keeper = open_port(dataclasses.replace(url, queue=KEEPER))
            keeper.set_rss(table=self.table())
            ring = dataclasses.replace(url, side=lib.ust_ring_side(keeper.handle))
            self._keepers.append(keeper)
            self._openers[text] = lambda number: open_port(dataclasses.replace(ring, queue=number))
        else:
            queues = TapQueues(url, interfaces)
            self._keepers.append(queues)
            self._openers[text] = lambda number: Port(*_tap(queues.open(number), text))

    def table(self) -> list[int]:
        """Return which worker each entry of the hash table belongs to."""
        return [i % self.count for i in range(TABLE)]

    def open(self, url: str, number: int) -> Port:
        """Open a worker's queue of a port: in the worker."""
        return self._openers[url](number)

    def close(self) -> None:
        """Let go of the ports."""
        for keeper in self._keepers:
            keeper.close()


def _tap(opened: tuple[Any, int], text: str) -> tuple[Any, str, list[int]]:
    handle, fd = opened
    return handle, text.partition("?")[0], [fd]


def _checked(url: object, count: int) -> str:
    """Return a port's URL; ConfigError if so many workers cannot share it."""
    if not isinstance(url, str):
        raise ConfigError(f"workers open their ports themselves, got {url!r}; give its URL in io=")
    parsed = parse_url(url)
    if isinstance(parsed, LoopUrl):
        raise ConfigError(
            f"workers need a port with a queue for each, got {url!r}, which has none;"
            " use ring:NAME?queues=N or tap:NAME?queues=N"
        )
    if isinstance(parsed, RingUrl) and (parsed.side, parsed.queue) != (-1, -1):
        raise ConfigError(f"workers get side and queue by themselves, got {url!r}; leave them out")
    if parsed.queues < count:
        plural = "s" if parsed.queues > 1 else ""
        raise ConfigError(
            f"{count} workers need a queue each, {url!r} has {parsed.queues} queue{plural};"
            f" say {parsed}?queues={count}, or fewer workers"
        )
    return url
