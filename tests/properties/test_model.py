# SPDX-License-Identifier: BSD-3-Clause
"""The engine does what the model of RFC 9293 in ustack/tcp/model.py says, whatever happens.

A run is 60 steps: calls, segments of an honest peer, segments of anybody, time; 2,000 runs are the
nightly job `model`.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from hypothesis import HealthCheck, note, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

import rig
from modelled import MODULUS, Pair
from ustack.tcp.model import UNCONNECTED, Segment, State

RUNS = 300

FLAGS = st.sampled_from(["", "", "", "", "F", "S", "R", "SF", "SR", "FR", "SFR"])
NEAR = st.sampled_from([0, 0, 0, 1, -1, 2, 10, -10, 500, -500, 1000])
LENGTHS = st.sampled_from([0, 0, 0, 1, 10, 500, 1000, 1460])
WINDOWS = st.sampled_from([65535, 65535, 1000, 257, 1, 0])
WAITS = st.sampled_from([0.0, 0.001, 0.03, 0.045, 0.25, 0.6, 1.1, 5.03, 30.07, 61.3, 250.9, 900.1])
SACKS = st.lists(st.tuples(st.integers(-100, 3000), st.integers(-100, 3000)), max_size=3)

#: How a run begins, so that all states are met: handshake, crossing SYNs; we shut down or close,
#: the peer's ACK, its FIN, its FIN that crosses ours.
WAYS = [
    "",
    "h",
    "x",
    "hh",
    "xh",
    "hhw",
    "hhwa",
    "hhf",
    "hhwF",
    "hhfw",
    "hhwaf",
    "hhc",
    "hhca",
    "hhcF",
]


def settled(state: State) -> bool:
    """Is there a connection that both sides know of?"""
    return state not in UNCONNECTED | {State.SYN_SENT, State.SYN_RECEIVED, State.TIME_WAIT}


class Machine(RuleBasedStateMachine):
    """What may happen to a connection."""

    pair: Pair

    @initialize(
        passive=st.booleans(),
        profile=st.sampled_from(["linux", "rfc"]),
        version=st.sampled_from([4, 6]),
        wscale=st.sampled_from([0, 1]),
        rmem=st.sampled_from([2048, 5000, 65536]),
        wmem=st.sampled_from([2048, 65536]),
        mss=st.sampled_from([None, 536, 1000, 1460]),
        shift=st.sampled_from([None, 0, 3, 14]),
        way=st.sampled_from(WAYS),
    )
    def begin(self, passive: bool, profile: str, version: int, **values: Any) -> None:
        self.mss, self.shift = values["mss"], values["shift"]
        self.pair = Pair(
            passive=passive,
            profile=profile,
            version=version,
            settings={
                "tcp.window_scaling": values["wscale"],
                "tcp.rmem": values["rmem"],
                "tcp.wmem": values["wmem"],
            },
        )
        if not values["wscale"]:
            self.pair.model.limits = replace(self.pair.model.limits, wscale=0)
        if not passive:
            self.pair.open()
        for letter in values["way"]:
            self.go(letter)

    def go(self, letter: str) -> None:
        """One letter of WAYS."""
        model = self.pair.model
        match letter:
            case "h":
                self.handshake()
            case "x" if model.state is State.SYN_SENT:
                self.simultaneous_open()
            case "w" if self.pair.handle is not None:
                self.pair.shutdown(rig.lib.UST_SHUT_WR)
            case "c" if self.pair.handle is not None:
                self.pair.close()
            case "a" | "f" | "F" if settled(model.state):
                self.honest(0, letter in "fF", 65535, crossed=letter == "F")

    @property
    def model(self) -> Any:
        return self.pair.model

    def teardown(self) -> None:
        if hasattr(self, "pair"):
            note("\n".join(self.pair.trace))
            self.pair.engine.free()

    # ---------------------------------------------------------------- the peer

    def syn_options(self) -> dict[str, Any]:
        return {"mss": self.mss, "wscale": self.shift}

    @precondition(lambda self: not settled(self.model.state))
    @rule()
    def handshake(self) -> None:
        """What an honest peer sends next to get a connection."""
        model, iss = self.model, self.pair.their_iss
        match model.state:
            case State.LISTEN | State.TIME_WAIT if self.pair.passive:
                seq = iss if model.state is State.LISTEN else (model.rcv_nxt + 1000) % MODULUS
                self.pair.drop_handle()
                self.pair.arrive(Segment(seq, syn=True, **self.syn_options()))
            case State.SYN_SENT:
                self.pair.arrive(Segment(iss, model.snd_nxt, syn=True, **self.syn_options()))
            case State.SYN_RECEIVED:
                self.pair.arrive(Segment(model.rcv_nxt, model.snd_nxt))
            case State.CLOSED:
                self.pair.open()
        self.pair.accept()

    @precondition(lambda self: self.model.state is State.SYN_SENT)
    @rule()
    def simultaneous_open(self) -> None:
        """The peer's SYN crosses ours."""
        self.pair.arrive(Segment(self.pair.their_iss, syn=True, **self.syn_options()))

    @precondition(lambda self: settled(self.model.state))
    @rule(
        length=LENGTHS,
        fin=st.sampled_from([False] * 5 + [True]),
        wnd=WINDOWS,
        crossed=st.sampled_from([False, False, True]),
    )
    def honest(self, length: int, fin: bool, wnd: int, crossed: bool) -> None:
        """The peer's next segment: brings text or the end; it may have crossed what we sent."""
        model = self.model
        ack = model.snd_una if crossed else model.snd_nxt
        self.pair.arrive(Segment(model.rcv_nxt, ack, length, fin=fin, wnd=wnd))

    @precondition(lambda self: settled(self.model.state))
    @rule(back=st.integers(0, 2000), ahead=st.integers(0, 3000), length=LENGTHS, sacks=SACKS)
    def lossy(self, back: int, ahead: int, length: int, sacks: list[tuple[int, int]]) -> None:
        """Losses on the path: an older ACK, text behind a hole, SACK blocks, some of them lies."""
        model = self.model
        ack = (model.snd_nxt - min(back, (model.snd_nxt - model.snd_una) % MODULUS)) % MODULUS
        blocks = tuple(
            ((model.snd_una + a) % MODULUS, (model.snd_una + b) % MODULUS) for a, b in sacks
        )
        seq = (model.rcv_nxt + ahead) % MODULUS
        self.pair.arrive(Segment(seq, ack, length), sacks=blocks)

    @rule(
        base=st.sampled_from(["rcv_nxt", "rcv_nxt", "rcv_edge", "irs", "fin_held"]),
        off=NEAR,
        ack_base=st.sampled_from(["snd_nxt", "snd_nxt", "snd_una", "oldest", "iss", None]),
        ack_off=st.sampled_from([0, 0, 0, 1, -1, 100, -100]),
        flags=FLAGS,
        length=LENGTHS,
        wnd=WINDOWS,
        extra=st.sampled_from(["", "P", "PU"]),
    )
    def anything(
        self, base: str, off: int, ack_base: str | None, ack_off: int, flags: str, **rest: Any
    ) -> None:
        """A segment of anybody: in, left or right of the window, with any flags."""
        model = self.model
        seq = (getattr(model, base) or model.rcv_nxt) + off
        ack = None
        if ack_base is not None:
            oldest = model.snd_una - model.max_wnd
            ack = (
                (oldest if ack_base == "oldest" else getattr(model, ack_base)) + ack_off
            ) % MODULUS
        seg = Segment(
            seq % MODULUS,
            ack,
            rest["length"],
            syn="S" in flags,
            fin="F" in flags,
            rst="R" in flags,
            wnd=rest["wnd"],
        )
        self.pair.arrive(seg, psh="P" in rest["extra"])
        if model.state is State.SYN_RECEIVED:
            self.pair.forget()
        self.pair.accept()

    # ---------------------------------------------------------- the application

    has_handle = precondition(lambda self: self.pair.handle is not None)

    @has_handle
    @rule(size=st.sampled_from([1, 100, 1000, 5000, 30000]))
    def send(self, size: int) -> None:
        self.pair.send(size)

    @has_handle
    @rule(size=st.sampled_from([1, 1000, 100000]))
    def recv(self, size: int) -> None:
        self.pair.recv(size)

    @has_handle
    @rule(call=st.sampled_from(["", "", "", "RD", "WR", "WR", "RDWR", "close", "close", "abort"]))
    def finish(self, call: str) -> None:
        """Most runs should not end at once."""
        match call:
            case "close":
                self.pair.close()
            case "abort":
                self.pair.abort()
            case "RD" | "WR" | "RDWR":
                self.pair.shutdown(getattr(rig.lib, f"UST_SHUT_{call}"))

    @rule(seconds=WAITS)
    def wait(self, seconds: float) -> None:
        self.pair.wait(seconds)


SETTINGS = settings(
    max_examples=RUNS,
    stateful_step_count=60,
    deadline=None,
    derandomize=True,
    report_multiple_bugs=False,
    suppress_health_check=list(HealthCheck),
)
TestModel = Machine.TestCase
TestModel.settings = SETTINGS
