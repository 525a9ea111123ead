# SPDX-License-Identifier: BSD-3-Clause
"""What a simulated network consists of: switches, hosts, links. network.py makes them."""

import contextvars
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from ustack._native import ffi, lib
from ustack.congestion import Congestion, Controllers, for_engine
from ustack.sim.conditions import NS, Path, PathStats

if TYPE_CHECKING:
    from ustack.sim.network import Network
    from ustack.sim.stack import HostStack

__all__ = ["START", "Host", "Link", "LinkSamples", "Switch", "current_host"]

START = NS  # what engines take for the time when a simulation's clock says 0
FIRST_PORT = 5001

_chosen: contextvars.ContextVar["tuple[Host, ...]"] = contextvars.ContextVar("hosts", default=())


def current_host() -> "Host | None":
    """Return the host that the current task is on: that of the innermost `with host:`."""
    return next(reversed(_chosen.get()), None)


class Switch:
    """Joins any number of links."""

    def __init__(self, net: "Network", name: str, number: int) -> None:
        self.net, self.name, self.number = net, name, number

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name}>"


class Host(Switch):
    """An engine with one address. engine: the `struct ust_engine *`, for what has no method.

    `with host:` says that the asyncio code inside, and tasks started there, are on this host.
    """

    def __init__(
        self,
        net: "Network",
        name: str,
        number: int,
        address: str,
        prefix: int,
        engine: Any,
        mtu: int = 1500,
    ) -> None:
        super().__init__(net, name, number)
        self.address, self.prefix, self.engine, self.mtu = address, prefix, engine, mtu
        self.has_application = False  # a loop of asyncio's drives its sockets
        self.controllers: Controllers | None = None  # of congestion controls in Python
        self._controls: dict[int, Congestion] = {}  # by the port of a flow's server
        self._next_port = FIRST_PORT

    @property
    def mac(self) -> bytes:
        """The Ethernet address: 02:00:00:00 and the number."""
        return b"\x02\0\0\0" + self.number.to_bytes(2, "big")

    @cached_property
    def stack(self) -> "HostStack":
        """The same host as a `Stack`: addresses, routes, settings, usage, for applications."""
        from ustack.sim.stack import HostStack

        return HostStack(self)

    def __enter__(self) -> "Host":
        _chosen.set((*_chosen.get(), self))
        return self

    def __exit__(self, *exc_info: object) -> None:
        _chosen.set(_chosen.get()[:-1])

    def counters(self) -> dict[str, int]:
        """Return the engine's counters by name."""
        count = lib.ust_counter_count()
        values = ffi.new("uint64_t[]", count)
        lib.ust_engine_counters(self.engine, values)
        names = [ffi.string(lib.ust_counter_name(i)).decode() for i in range(count)]  # law 3: once
        return dict(zip(names, values, strict=True))

    def control(self, port: int, kind: Congestion) -> None:
        """Let objects of this class control the connections with this port at either end."""
        self._controls[port] = kind
        if self.controllers is None:
            self.controllers = for_engine(self.engine, self._choose)

    def _choose(self, handle: int) -> Congestion | None:
        ports, addrs = ffi.new("uint16_t[2]"), ffi.new("struct ust_addr[2]")
        lib.ust_names(self.engine, handle, addrs, ports, addrs + 1, ports + 1)
        return self._controls.get(ports[0]) or self._controls.get(ports[1])

    def take_port(self) -> int:
        """Return a TCP port that nothing here has used."""
        self._next_port += 1
        return self._next_port - 1


@dataclass(slots=True)
class LinkSamples:
    """A link's forward direction over time, a list for each figure.

    time: seconds. queue_bytes: that wait. drops, marks: frames, from the beginning.
    """

    time: list[float] = field(default_factory=list)
    queue_bytes: list[int] = field(default_factory=list)
    drops: list[int] = field(default_factory=list)
    marks: list[int] = field(default_factory=list)


class Link:
    """A cable between two nodes, which may treat the two directions differently."""

    def __init__(
        self, net: "Network", ends: tuple[Switch, Switch], number: int, paths: tuple[Path, Path]
    ) -> None:
        """ends: from and to, as they were given. paths: forward, and back."""
        self.net, self.ends, self.number = net, ends, number
        self.forward, self.back = paths
        self.samples: LinkSamples | None = None  # what Network.sample() collects

    @property
    def name(self) -> str:
        """Both ends: "a-b"."""
        return "-".join(end.name for end in self.ends)

    def change(self, **values: Any) -> None:
        """Change conditions of both directions from now on: change(delay=0.1)."""
        for path in (self.forward, self.back):
            path.conditions = path.conditions.change(**values)

    def down(self, seconds: float | None = None) -> None:
        """Drop everything from now on, for so many seconds; None: until change(up=True)."""
        self.change(up=False)
        if seconds is not None:
            self.net.at(self.net.now + seconds, lambda: self.change(up=True))

    def forward_stats(self) -> PathStats:
        """Return what the direction from the first end to the second has done."""
        return self.forward.stats(self.net.now_ns)

    def back_stats(self) -> PathStats:
        """Return the same of the other direction."""
        return self.back.stats(self.net.now_ns)

    def mean_queue(self) -> float:
        """Return the bytes waiting in the forward queue, on average over all time so far."""
        elapsed = (self.net.now_ns - START) / 1000
        return self.forward_stats().queue_byte_us / elapsed if elapsed else 0.0

    def take_sample(self) -> None:
        """Append what the forward direction is like now to the samples."""
        if self.samples is None:
            return
        stats = self.forward_stats()
        self.samples.time.append(self.net.now)
        self.samples.queue_bytes.append(stats.queue_bytes)
        self.samples.drops.append(stats.drops)
        self.samples.marks.append(stats.marked)

    def __repr__(self) -> str:
        return f"<Link {self.name}>"
