# SPDX-License-Identifier: BSD-3-Clause
"""Networks of engines and links on virtual time.

    net = sim.Network(seed=1)
    a, b = net.host("a"), net.host("b")
    link = net.link(a, b, rate=10e6, delay=0.025, queue=sim.DropTail(bytes=64_000))
    flow = net.bulk(a, b)
    net.run(60)
    print(flow.goodput, link.forward_stats().drops)

Time jumps from event to event, in C; nothing here waits or reads a clock. The same calls with the
same seed give the same frames, to the byte. Hosts are joined by Ethernet: a host has one link, a
switch any number, and there are no loops. Neighbours are known from the start.
"""

import asyncio
import hashlib
import heapq
import itertools
import math
import os
import random
from collections.abc import Callable, Coroutine, Mapping
from pathlib import Path as FilePath
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

from ustack._native import check, ffi, lib, pack_address
from ustack._options import CONGESTION_CONTROLS
from ustack._settings import configure
from ustack.congestion import Congestion
from ustack.errors import ConfigError
from ustack.sim.conditions import NS, Conditions, Path
from ustack.sim.flow import Flow, Samples
from ustack.sim.nodes import START, Host, Link, LinkSamples, Switch

if TYPE_CHECKING:
    from ustack.aio.virtual import VirtualLoop

__all__ = ["Network"]

NEVER = 2**64 - 1

#: Tables that suit a host of a simulation; buffers are as large as anywhere.
SETTINGS = {
    "arp.announce": 0,
    "ip6.dad_transmits": 0,
    "neigh.entries": 1024,
    "tcp.max_tcbs": 1024,
    "tcp.max_syn_backlog": 1024,
    "tcp.max_tw_buckets": 1024,
    "udp.max_socks": 64,
    "ip.frag_queues": 16,
}

_PCAP_HEADER = bytes.fromhex("4d3cb2a1 0200 0400 00000000 00000000 00000400 01000000")


_T = TypeVar("_T")
_Event: TypeAlias = tuple[int, int, Callable[[], None]]


class Network:
    """Hosts, switches, links and what goes on; see the top of this file."""

    def __init__(self, seed: int = 1, *, profile: str = "linux") -> None:
        """seed: of everything that is random. profile: the hosts' settings to begin with."""
        self.seed, self.profile = seed, profile
        self.nodes: dict[str, Switch] = {}
        self.links: list[Link] = []
        self.flows: list[Flow] = []
        raw = lib.ust_sim_new(START)
        if raw == ffi.NULL:
            raise MemoryError("no memory for a simulation")
        self._raw = ffi.gc(raw, lib.ust_sim_free)
        self._wired = True
        self._agenda: list[_Event] = []
        self._order = itertools.count()
        self._captures: dict[Host, FilePath] = {}
        self._loop: VirtualLoop | None = None

    # ------------------------------------------------------------------ building

    def host(
        self,
        name: str,
        address: str | None = None,
        *,
        settings: Mapping[str, int | str] | None = None,
        profile: str | None = None,
        mtu: int = 1500,
    ) -> Host:
        """Add a host: an engine of its own.

        address: IPv4 or IPv6, with or without a prefix length (16 and 64); None: 10.0.x.y by
        number. settings: as ustack.settings() lists them. mtu: of its interface.
        """
        number = len(self.nodes)
        given = address or f"10.0.{number // 250}.{number % 250 + 1}"
        plain, _, prefix = given.partition("/")
        length = int(prefix) if prefix else 64 if ":" in plain else 16
        engine = self._new_engine(name, profile or self.profile, settings or {})
        raw_address = pack_address(plain)
        host = Host(self, name, number, plain, length, engine, mtu)
        check(lib.ust_engine_add_iface(engine, host.mac, mtu, 0), f"host {name}")
        check(lib.ust_engine_add_addr(engine, 0, raw_address, length), f"host {name}: {given}")
        check(lib.ust_sim_add_host(self._raw, engine), f"host {name}")
        self._add_node(host)
        return host

    def switch(self, name: str) -> Switch:
        """Add a switch."""
        switch = Switch(self, name, len(self.nodes))
        check(lib.ust_sim_add_switch(self._raw), f"switch {name}")
        self._add_node(switch)
        return switch

    def link(
        self,
        a: Switch,
        b: Switch,
        conditions: Conditions | None = None,
        *,
        back: Mapping[str, Any] | None = None,
        **values: Any,
    ) -> Link:
        """Join two nodes. values: what Conditions has, for both directions.

        back: values that differ from b to a.
        """
        forward = (conditions or Conditions()).change(**values)
        self._refuse_what_cannot_be_joined(a, b)
        both = [forward, forward.change(**(back or {}))]
        numbers = [self._add_path(a, b, both[0]), self._add_path(b, a, both[1])]
        paths = [
            Path(c, raw=lib.ust_sim_link(self._raw, n))  # law 3: twice a link
            for c, n in zip(both, numbers, strict=True)
        ]
        link = Link(self, (a, b), numbers[0], (paths[0], paths[1]))
        self.links.append(link)
        self._wired = False
        return link

    def _new_engine(self, name: str, profile: str, settings: Mapping[str, int | str]) -> Any:
        config = configure(profile, SETTINGS | dict(settings))
        secret = hashlib.sha256(f"{self.seed} {name}".encode()).digest()
        lib.ust_config_entropy(config, int.from_bytes(secret[:8], "little"), secret)
        error = ffi.new("int *")
        raw = lib.ust_engine_new(config, error)
        check(error[0], f"host {name}")
        engine = ffi.gc(raw, lib.ust_engine_free)
        lib.ust_engine_tick(engine, self.now_ns)
        return engine

    def _add_node(self, node: Switch) -> None:
        if node.name in self.nodes:
            raise ConfigError(f"there are two nodes named {node.name!r}; name them apart")
        self.nodes[node.name] = node
        self._wired = False

    def _add_path(self, a: Switch, b: Switch, conditions: Conditions) -> int:
        seed = hashlib.sha256(f"{self.seed} {len(self.links)} {a.name}>{b.name}".encode()).digest()
        number = lib.ust_sim_add_link(
            self._raw, a.number, b.number, conditions.raw(), int.from_bytes(seed[:8], "little")
        )
        check(number, f"link {a.name}-{b.name}")
        if conditions.too_big_from is not None:
            lib.ust_sim_too_big(self._raw, number, pack_address(conditions.too_big_from))
        return int(number)

    def _refuse_what_cannot_be_joined(self, a: Switch, b: Switch) -> None:
        for node in (a, b):
            if node.net is not self:
                raise ConfigError(f"{node.name} belongs to another network")
            if isinstance(node, Host) and any(node in link.ends for link in self.links):
                raise ConfigError(f"host {node.name} has a link already; put a switch between")
        if a is b or b in self._reachable(a):
            raise ConfigError(f"link {a.name}-{b.name} would close a loop")

    def _reachable(self, start: Switch) -> dict[Switch, int]:
        """Return the nodes beyond each link of a node: node -> number of the first path there."""
        found: dict[Switch, int] = {}
        todo = [(node, path) for node, path in self._neighbours(start)]
        while todo:
            node, path = todo.pop()
            if node is start or node in found:
                continue
            found[node] = path
            todo += [(further, path) for further, _ in self._neighbours(node)]
        return found

    def _neighbours(self, node: Switch) -> list[tuple[Switch, int]]:
        out = []
        for link in self.links:
            if node is link.ends[0]:
                out.append((link.ends[1], link.number))
            elif node is link.ends[1]:
                out.append((link.ends[0], link.number + 1))
        return out

    def _wire(self) -> None:
        """Tell switches where hosts are, and hosts each other's MACs."""
        hosts = [node for node in self.nodes.values() if isinstance(node, Host)]
        for node in self.nodes.values():
            reachable = {} if isinstance(node, Host) else self._reachable(node)
            for other, path in reachable.items():
                if isinstance(other, Host):
                    lib.ust_sim_forward(self._raw, node.number, other.number, path)  # law 3: set-up
        for host in hosts:
            for other in hosts:
                if other is not host:
                    addr = pack_address(other.address)
                    lib.ust_engine_add_neigh(host.engine, 0, addr, other.mac)  # law 3: set-up
        self._wired = True

    # ---------------------------------------------------------------------- work

    def bulk(
        self,
        sender: Host,
        receiver: Host,
        *,
        bytes: int | None = None,
        start: float = 0.0,
        stop: float | None = None,
        congestion: str | Congestion | None = None,
        name: str | None = None,
    ) -> Flow:
        """Transfer bytes, or with None as many as go; start, stop: seconds.

        congestion: the sender's congestion control: a name, or a class (see congestion.py).
        """
        return self._flow(
            name or f"bulk{len(self.flows)}",
            (sender, receiver),
            (start, stop),
            congestion,
            request=NEVER if bytes is None else bytes,
            response=0,
            count=1,
            period=0,
        )

    def requests(
        self,
        client: Host,
        server: Host,
        *,
        request: int = 100,
        response: int = 1000,
        count: int | None = None,
        period: float = 0.0,
        start: float = 0.0,
        stop: float | None = None,
        congestion: str | Congestion | None = None,
        name: str | None = None,
    ) -> Flow:
        """Send requests and wait for the answers, one after the other.

        request, response: bytes. count: how many; None: without end. period: seconds from one
        request to the next, unless the answer takes longer. congestion: of both ends.
        """
        return self._flow(
            name or f"requests{len(self.flows)}",
            (client, server),
            (start, stop),
            congestion,
            request=request,
            response=response,
            count=NEVER if count is None else count,
            period=round(period * NS),
        )

    def _flow(
        self,
        name: str,
        ends: tuple[Host, Host],
        times: tuple[float, float | None],
        congestion: str | Congestion | None,
        **values: int,
    ) -> Flow:
        client, server = ends
        for host in ends:
            if host.has_application:
                raise ConfigError(f"host {host.name} runs a program; give the flow other hosts")
        port = server.take_port()
        raw = ffi.new("struct ust_sim_flow *", values)
        raw.client, raw.server, raw.port = client.number, server.number, port
        raw.addr = pack_address(server.address)[0]
        raw.listener = self._listen(server, port, congestion)
        raw.socket = check(lib.ust_socket(client.engine), f"flow {name}")
        _choose_congestion(client, raw.socket, port, congestion)
        start, stop = times
        raw.start = max(self.now_ns, START + round(start * NS))
        raw.stop = NEVER if stop is None else START + round(stop * NS)
        number = check(lib.ust_sim_add_flow(self._raw, raw), f"flow {name}")
        flow = Flow(self, self._raw, number, name, ends)
        self.flows.append(flow)
        return flow

    def _listen(self, server: Host, port: int, congestion: str | Congestion | None) -> int:
        handle = check(lib.ust_socket(server.engine), f"a listener on {server.name}")
        _choose_congestion(server, handle, port, congestion)
        anything = pack_address("::" if ":" in server.address else "0.0.0.0")
        check(lib.ust_bind(server.engine, handle, anything, port), f"port {port} of {server.name}")
        check(lib.ust_listen(server.engine, handle, 1), f"port {port} of {server.name}")
        return handle

    # ---------------------------------------------------------------------- time

    @property
    def now(self) -> float:
        """Seconds since the simulation began."""
        return (self.now_ns - START) / NS

    @property
    def now_ns(self) -> int:
        """What the engines take for the time, in nanoseconds."""
        return int(lib.ust_sim_now(self._raw))

    def at(self, when: float, action: Callable[[], None]) -> None:
        """Do something when so many seconds have passed since the beginning."""
        due = max(START + round(when * NS), self.now_ns)
        heapq.heappush(self._agenda, (due, next(self._order), action))

    def every(self, interval: float, action: Callable[[], None], *, start: float = 0.0) -> None:
        """Do something again and again, for the first time at start. Seconds."""
        if interval <= 0:
            raise ConfigError(f"interval must be greater than 0, got {interval!r}")

        def repeat(n: int = 0) -> None:
            action()
            self.at(start + (n + 1) * interval, lambda: repeat(n + 1))

        self.at(start, repeat)

    def sample(self, interval: float = 0.1, flows: list[Flow] | None = None) -> None:
        """Note what flows, or all those that there are now, and links are like every so often."""
        watched = list(self.flows if flows is None else flows)
        for flow in watched:
            flow.samples = Samples()
        for link in self.links:
            link.samples = LinkSamples()
        for take in [*(f.take_sample for f in watched), *(li.take_sample for li in self.links)]:
            self.every(interval, take)

    def vary(self, link: Link, every: float, low: float, high: float) -> None:
        """Let a link's rate wander, in both directions, as a radio link's does.

        Every so many seconds it grows or shrinks by up to a quarter, within low and high, bit/s.
        """
        rng = random.Random(f"{self.seed} {link.name}")
        rate = math.sqrt(low * high)

        def step() -> None:
            nonlocal rate
            rate = min(max(rate * math.exp(rng.uniform(-0.25, 0.25)), low), high)
            link.change(rate=rate)

        self.every(every, step)

    def run(self, seconds: float, *, until: Callable[[], bool] | None = None) -> bool:
        """Let time pass. until: asked whenever a flow ends or something on the agenda was done;
        when it holds, the run ends at once, and True is returned.
        """
        if self._loop is not None:
            raise RuntimeError("an event loop runs this network: await asyncio.sleep() instead")
        end = self.now_ns + round(seconds * NS)
        while True:
            why = self._go_on(end)
            if until is not None and until():
                break
            if why == lib.UST_SIM_TIME and self.now_ns >= end:
                break
        self._write_captures()
        return until is not None and until()

    def _go_on(self, end: int) -> int:
        """Let time pass until something comes up, at most until end; return what (ust_sim_why)."""
        if not self._wired:
            self._wire()
        next_event = self._agenda[0][0] if self._agenda else NEVER
        why = lib.ust_sim_run(self._raw, min(end, next_event))
        if why == lib.UST_SIM_CAPTURE:
            self._write_captures()
        elif why == lib.UST_SIM_CC:
            self._hand_out_reports()
        while self._agenda and self._agenda[0][0] <= self.now_ns:
            heapq.heappop(self._agenda)[2]()
        return int(why)

    def _hand_out_reports(self) -> None:
        for node in self.nodes.values():
            if isinstance(node, Host) and node.controllers is not None:
                if node.controllers.run():
                    self.touch(node)

    def touch(self, host: Host) -> None:
        """Say that calls were made on a host's engine, so that it sends what it has to."""
        lib.ust_sim_touch(self._raw, host.number)

    def check(self) -> None:
        """Raise AssertionError when an invariant of an engine does not hold."""
        why = ffi.new("char **")
        for node in self.nodes.values():
            if isinstance(node, Host):
                text = ffi.cast("const char **", why)
                broken = lib.ust_engine_check(node.engine, text)  # law 3: once a host
                assert broken == 0, f"{node.name}: {ffi.string(why[0]).decode()}"

    # --------------------------------------------------------------- applications

    @property
    def hosts(self) -> list[Host]:
        """The hosts, in the order in which they were added."""
        return [node for node in self.nodes.values() if isinstance(node, Host)]

    def event_loop(self, *, clocks: bool = True) -> "VirtualLoop":
        """Return a new asyncio event loop on this network's time; see aio/virtual.py.

        clocks: let time.time() and time.monotonic() tell virtual time, too, while the loop runs.
        """
        from ustack.aio.virtual import VirtualLoop

        if self._loop is not None:
            raise RuntimeError(f"{self._loop!r} runs this network already; close it first")
        return VirtualLoop(self, clocks=clocks)

    def run_until_complete(
        self, main: Coroutine[Any, Any, _T], *, clocks: bool = True, debug: bool | None = None
    ) -> _T:
        """Run a coroutine on a new event loop of this network and return its result.

        Raises what it raises; Deadlock when it waits for what will never happen.
        """

        def factory() -> "VirtualLoop":
            return self.event_loop(clocks=clocks)

        try:
            with asyncio.Runner(loop_factory=factory, debug=debug) as runner:
                return runner.run(main)
        finally:
            self._write_captures()

    def digest(self) -> str:
        """Return a hash of all frames of hosts with programs, sent and received, and their times.

        Two runs with the same digest were the same, to the byte and the nanosecond.
        """
        hashes = [lib.ust_engine_trace_hash(host.engine) for host in self.hosts]  # law 3: a tool's
        return hashlib.sha256(repr(hashes).encode()).hexdigest()

    def _adopt(self, host: Host, *, application: bool) -> None:
        """Let an event loop have the news of a host's sockets, or no longer."""
        if application and any(host in (flow.client, flow.server) for flow in self.flows):
            raise ConfigError(f"host {host.name} is a flow's; run programs on other hosts")
        host.has_application = application
        lib.ust_sim_leave_events(self._raw, host.number, application)
        check(lib.ust_engine_set(host.engine, b"engine.trace", 1), "engine.trace")

    # ------------------------------------------------------------------- captures

    def capture(self, host: Host, path: str | os.PathLike[str]) -> None:
        """Write a host's frames from now on to a pcap file, whose times are virtual."""
        FilePath(path).write_bytes(_PCAP_HEADER)
        self._captures[host] = FilePath(path)
        check(lib.ust_sim_capture(self._raw, host.number, 1), f"host {host.name}")

    def _write_captures(self) -> None:
        for host, path in self._captures.items():
            buf = ffi.new("uint8_t[]", 1 << 23)
            number = host.number
            with path.open("ab") as file:
                while n := lib.ust_sim_captured(self._raw, number, buf, len(buf)):  # law 3: a run
                    file.write(ffi.buffer(buf, n))


def _choose_congestion(host: Host, handle: int, port: int, choice: str | Congestion | None) -> None:
    """Choose a socket's congestion control; None: what the stack has for all. port: the flow's."""
    if choice is None:
        return
    if isinstance(choice, type):
        host.control(port, choice)
        choice = "python"
    known = [name.decode() for name in CONGESTION_CONTROLS]
    if choice not in known:
        raise ConfigError(f"congestion must be one of {', '.join(known)}, got {choice!r}")
    number = known.index(choice)
    done = lib.ust_setopt(host.engine, handle, lib.UST_OPT_CONGESTION, number)
    check(done, f"congestion control {choice}")
