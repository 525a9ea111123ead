# SPDX-License-Identifier: BSD-3-Clause
"""The engines of one stack on virtual time, the port that steers frames to them, and a peer.

The port hashes by a rule of its own, which is the engines' unless a test says otherwise, as a NIC
may be set up differently from what its driver says.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ustack._ustack import ffi, lib

import frames
import rig
from flow import OUR_IPS, THEIR_IPS

OUR_MAC, THEIR_MAC = bytes.fromhex("020000000002"), bytes.fromhex("020000000001")
SYMMETRIC = bytes.fromhex("6d5a") * 20
MICROSOFT = bytes.fromhex(
    "6d5a56da255b0ec24167253d43a38fb0d0ca2bcbae7b30b477cb2da38030f20c6a42b73bbeac01fa"
)
TCP, UDP, XOR = lib.UST_RSS_TCP, lib.UST_RSS_UDP, lib.UST_RSS_XOR
ALL = 255


class Rule:
    """A key, a table and the fields that are hashed, as a NIC has them."""

    def __init__(
        self, n: int, key: bytes = SYMMETRIC, reta: Sequence[int] = (), fields: int = TCP | UDP
    ) -> None:
        self.n, self.key, self.fields = n, key, fields
        self.reta = list(reta) or [i % n for i in range(128)]

    def give(self, engine: int) -> Any:
        """A `struct ust_rss *` for one of the engines."""
        rss = ffi.new("struct ust_rss *")
        rss.engine, rss.n_engines, rss.fields = engine, self.n, self.fields
        rss.key_len, rss.n_reta = len(self.key), len(self.reta)
        ffi.memmove(rss.key, self.key, len(self.key))
        ffi.memmove(rss.reta, bytes(self.reta), len(self.reta))
        return rss

    def engine_of(self, frame: bytes) -> int:
        """Where a NIC puts a frame: by its ports only if they stand right behind plain headers."""
        v4 = frames.ethertype(frame) == frames.ETH_IPV4
        if not v4 and frames.ethertype(frame) != frames.ETH_IPV6:
            return 0
        ip = frame[14:]
        at, proto = (4 * (ip[0] & 15), ip[9]) if v4 else (40, ip[6])
        pairs = [(ip[12:16], ip[16:20]) if v4 else (ip[8:24], ip[24:40])]
        whole = not v4 or not (int.from_bytes(ip[6:8], "big") & 0x3FFF)
        if self.fields & {frames.PROTO_TCP: TCP, frames.PROTO_UDP: UDP}.get(proto, 0) and whole:
            pairs.append((ip[at : at + 2], ip[at + 2 : at + 4]))
        if self.fields & XOR:
            pairs = [(x, x) for x in (bytes(map(int.__xor__, *pair)) for pair in pairs)]
        data = b"".join(map(b"".join, pairs))
        hash_ = lib.ust_toeplitz(self.key, len(self.key), data, len(data))
        return self.reta[hash_ % len(self.reta)]


class Engines:
    """n engines with one address, and a peer."""

    def __init__(
        self,
        n: int,
        rule: Rule | None = None,
        *,
        port: Rule | Callable[[bytes], int] | None = None,
        version: int = 4,
        settings: dict[str, int | str] | None = None,
        **options: Any,
    ) -> None:
        self.us, self.them, self.version = OUR_IPS[version], THEIR_IPS[version], version
        prefix = 24 if version == 4 else 64
        self.all = [
            rig.Engine(self.us, prefix, mac=OUR_MAC, seed=i + 1, settings=settings, **options)
            for i in range(n)
        ]
        self._raw = ffi.new("struct ust_engine *[]", [engine.raw for engine in self.all])
        self.set_rule(rule or Rule(n))
        self.port: Rule | Callable[[bytes], int] = port or self.rule
        self.peer = rig.Engine(self.them, prefix, mac=THEIR_MAC, seed=99, settings=settings)
        for engine in self.all:
            list(engine.output())
        list(self.peer.output())

    def __getitem__(self, i: int) -> rig.Engine:
        return self.all[i]

    def know_each_other(self) -> None:
        """Spare a test the neighbours' questions."""
        for engine in self.all:
            engine.neighbour(self.them, THEIR_MAC)
        self.peer.neighbour(self.us, OUR_MAC)

    def set_rule(self, rule: Rule) -> None:
        """Spread by another rule from now on; the port's stays as it is."""
        self.rule = rule
        for i, engine in enumerate(self.all):
            rig.check(lib.ust_engine_set_rss(engine.raw, rule.give(i)))

    def owner(self, frame: bytes) -> int:
        """Whose the engines believe a frame is."""
        return rig.check(lib.ust_engine_owner(self.all[0].raw, frame, len(frame)))

    def queue(self, frame: bytes) -> int:
        """Where the port puts a frame."""
        return self.port(frame) if callable(self.port) else self.port.engine_of(frame)

    def exchange(self) -> int:
        """Bring what the engines have put aside to where it belongs: how many arrived."""
        return int(lib.ust_engine_exchange(self._raw, len(self.all), self.all[0].now))

    def inject(self, frame: bytes, queue: int | None = None) -> None:
        """A frame from the wire."""
        self.all[self.queue(frame) if queue is None else queue].inject(frame)
        self.exchange()

    def output(self) -> list[tuple[int, bytes]]:
        """What the engines have to say now, each frame with its engine's number."""
        self.exchange()
        return [(i, frame) for i, engine in enumerate(self.all) for frame in engine.output()]

    def talk(self, rounds: int = 1000) -> None:
        """Carry frames between the engines and the peer until all are silent."""
        for _ in range(rounds):
            there = [frame for _, frame in self.output()]
            for frame in there:
                self.peer.inject(frame)
            back = list(self.peer.output())
            for frame in back:
                self.inject(frame)
            if not there and not back:
                return
        raise AssertionError("they do not stop talking")

    def wait(self, ns: int) -> None:
        """Let time pass, in steps of a millisecond."""
        for _ in range(0, ns, rig.MS):
            for engine in [*self.all, self.peer]:
                engine.now += rig.MS
                engine.tick()
            self.talk()

    def count(self, name: str) -> list[int]:
        """A counter of each engine."""
        return [engine.counters()[name] for engine in self.all]

    def total(self, name: str) -> int:
        """A counter of all engines together."""
        return sum(self.count(name))

    def check(self) -> None:
        """Nothing is broken, and nothing waits."""
        for engine in self.all:
            engine.check()
            assert engine.usage().foreign == 0
