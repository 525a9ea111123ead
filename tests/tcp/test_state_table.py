# SPDX-License-Identifier: BSD-3-Clause
"""Every state, every event, every place in the window: RFC 9293 3.10.7 as a table.

The expectations are tests/data/tcp_state_table.txt; here is how a state is reached, how an event is
sent, and how a row is checked.
"""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import Any

import pytest

import notation
import rig
from notation import Segment
from ustack.tcp import model
from wire import Peer, Wire

pytestmark = pytest.mark.both_versions

TABLE = Path(__file__).parent.parent / "data" / "tcp_state_table.txt"
TEXT_LEN = 10
FLAGS = {"SYN": "S", "SYN-ACK": "S.", "ACK": ".", "FIN": "F.", "RST": "R", "data": "P."}
#: An ACK of data may wait for this long (delayed ACK).
PATIENCE = 0.05

WATCHED = re.compile(
    r"\.drop\.|^tcp\.(challenge|ack\.oow|resets|established|opens\.passive"
    r"|syn\.in|rexmt|timewait)"
)


@dataclasses.dataclass(frozen=True)
class Row:
    """One line of the table."""

    state: str
    event: str
    where: str
    reply: str
    after: str
    rcv_nxt: str
    snd_una: str
    counters: str
    section: str

    def __str__(self) -> str:
        return f"{self.state}-{self.event}-{self.where}"


def rows() -> list[Row]:
    """The table."""
    lines = [line for line in TABLE.read_text().splitlines() if line and line[0] != "#"]
    return [Row(*map(str.strip, line.split("|"))) for line in lines[1:]]


# -------------------------------------------------------------- reaching a state


def syn_received(wire: Wire) -> None:
    wire.listen()
    wire("+0 < S 0:0(0) win 65535 <mss 1000>\n +0 > S. 0:0(0) ack 1 <...>")


def established(wire: Wire) -> None:
    wire.established(wscale=None, win=65535, sack=False, rtt=0.1)


def fin_wait_1(wire: Wire) -> None:
    established(wire)
    wire.default.sock.shutdown()
    wire("+0 > F. 1:1(0) ack 1")


def fin_wait_2(wire: Wire) -> None:
    fin_wait_1(wire)
    wire("+0 < . 1:1(0) ack 2")


def close_wait(wire: Wire) -> None:
    established(wire)
    wire(f"+0 < F. 1:1(0) ack 1\n +0~+{PATIENCE} > . 1:1(0) ack 2")


def closing(wire: Wire) -> None:
    fin_wait_1(wire)
    wire(f"+0 < F. 1:1(0) ack 1\n +0~+{PATIENCE} > . 2:2(0) ack 2")


def last_ack(wire: Wire) -> None:
    close_wait(wire)
    wire.default.sock.close()
    wire("+0 > F. 1:1(0) ack 2")


def time_wait(wire: Wire) -> None:
    fin_wait_2(wire)
    wire(f"+0 < F. 1:1(0) ack 2\n +0~+{PATIENCE} > . 2:2(0) ack 2")


def syn_sent(wire: Wire) -> None:
    wire.connect()
    wire("+0 > S 0:0(0) <...>")


REACH = {
    "CLOSED": Wire.silence,
    "LISTEN": Wire.listen,
    "SYN_SENT": syn_sent,
    "SYN_RECEIVED": syn_received,
    "ESTABLISHED": established,
    "FIN_WAIT_1": fin_wait_1,
    "FIN_WAIT_2": fin_wait_2,
    "CLOSE_WAIT": close_wait,
    "CLOSING": closing,
    "LAST_ACK": last_ack,
    "TIME_WAIT": time_wait,
}

# ---------------------------------------------------------------- one event


def numbers(peer: Peer) -> dict[str, int]:
    """N, R, U and W: SND.NXT, RCV.NXT, SND.UNA and the receive window's right edge; relative."""
    info = peer.info
    if info is None:
        return {"N": 5000, "R": 1, "U": 5000, "W": 65536}
    if info.state == rig.lib.UST_SYN_SENT:
        return {"N": 1, "R": 0, "U": 0, "W": 65536}
    return {
        "N": peer.ours(info.snd_nxt),
        "R": peer.theirs(info.rcv_nxt),
        "U": peer.ours(info.snd_una),
        "W": peer.right_edge,
    }


def segment(row: Row, at: dict[str, int]) -> Segment:
    """The row's event."""
    flags, length = FLAGS[row.event], TEXT_LEN if row.event == "data" else 0
    ack = at["N"] if "." in flags else None
    inside = at["R"] + (row.event in ("SYN", "SYN-ACK"))
    right = at["W"] + (row.event == "ACK")
    seq = {"left": at["R"] - max(length, 1), "in": inside, "right": right}[row.where]
    if row.state == "SYN_SENT" and row.event != "SYN":
        ack = {"left": at["U"], "in": at["N"], "right": at["N"] + 1}[row.where]
        flags = "R." if row.event == "RST" else flags
    return Segment(flags, seq, length, ack, 65535)


def occupied(seg: Segment) -> int:
    """SEG.SEQ + SEG.LEN."""
    return seg.seq + seg.length + sum(flag in seg.flags for flag in "SF")


def substitute(text: str, at: dict[str, int]) -> str:
    """Numbers for the table's letters."""
    return re.sub(r"([NRAE])(?:\+(\d+))?", lambda m: str(at[m[1]] + int(m[2] or 0)), text)


def expected_line(row: Row, at: dict[str, int]) -> str:
    """The reply as a line."""
    flags, rest = row.reply.split(" ", 1)
    any_options = " <...>" if "S" in flags else ""
    wait = f"~+{PATIENCE}" if row.event in ("data", "FIN") else ""
    return f"+0{wait} > {flags} {substitute(rest, at)}{any_options}"


@pytest.mark.rfc("MUST-11")
@pytest.mark.parametrize("row", rows(), ids=str)
def test_segment_arrival(wire: Wire, row: Row) -> None:
    """RFC 9293 3.10.7; each row cites its step."""
    wire.settings(tcp_timestamps=0)
    REACH[row.state](wire)
    peer = wire.default
    assert peer.state == ("CLOSED" if row.state == "LISTEN" else row.state)
    at = numbers(peer)
    event = segment(row, at)
    at |= {"A": event.ack or 0, "E": occupied(event)}
    before = peer.info
    wire.stats = type(wire.stats)(wire.engine)
    reply = "" if row.reply == "-" else expected_line(row, at)
    wire(f"+0 < {event}\n{reply}")
    wire.quiet(PATIENCE)
    check_counters(wire, row)
    check_flow(wire, row, at, before)


def check_counters(wire: Wire, row: Row) -> None:
    """The row's counters have gone up by one, and no other of their kind."""
    moved = {name: n for name, n in wire.stats.changed().items() if WATCHED.search(name)}
    assert moved == dict.fromkeys([] if row.counters == "none" else row.counters.split(), 1)
    assert wire.stats["tcp.in"] == 1
    assert wire.stats["tcp.out"] == (row.reply != "-")


def check_flow(wire: Wire, row: Row, at: dict[str, int], before: Any) -> None:
    """State, RCV.NXT and SND.UNA are the row's; a listener is still there."""
    peer, info = wire.default, wire.default.info
    if wire._listener is not None:
        assert rig.STATES[wire.engine.info(wire._listener).state] == "LISTEN"
    if row.after in ("CLOSED", "LISTEN"):
        assert info is None
        return
    assert peer.state == row.after
    for field, want, zero in (
        ("rcv_nxt", row.rcv_nxt, peer.irs),
        ("snd_una", row.snd_una, peer.iss),
    ):
        absolute = getattr(before, field) if want == "=" else zero + int(substitute(want, at))
        assert getattr(info, field) == absolute % 2**32, field


# ---------------------------------------------------------------- the model

#: How the model gets from ESTABLISHED to a state: we finish, the peer finishes, the peer's ACK.
STEPS = {
    "FIN_WAIT_1": "w",
    "FIN_WAIT_2": "wa",
    "CLOSE_WAIT": "f",
    "CLOSING": "wf",
    "LAST_ACK": "fw",
    "TIME_WAIT": "waf",
}


def reached(state: str) -> model.Connection:
    """A model in a state, by the conversations of REACH; both sides' SYNs are at 0."""
    conn = model.Connection(listening=state not in ("CLOSED", "SYN_SENT"))
    if state == "SYN_SENT":
        conn.open(0.0)
        conn.sent(model.Segment(0, syn=True), 0.0)
    if not conn.listening or state == "LISTEN":
        return conn
    conn.segment_arrives(model.Segment(0, syn=True, mss=1000), 0.0)
    conn.sent(model.Segment(0, 1, syn=True), 0.0)
    if state != "SYN_RECEIVED":
        conn.segment_arrives(model.Segment(1, 1), 0.0)
    for step in STEPS.get(state, ""):
        take_step(conn, step, acknowledge=state != "CLOSING")
    assert conn.state.value == state
    return conn


def take_step(conn: model.Connection, step: str, *, acknowledge: bool) -> None:
    """One letter of STEPS."""
    if step == "w":
        conn.shutdown(True, False, 0.0)
        conn.sent(model.Segment(conn.snd_nxt, conn.rcv_nxt, fin=True), 0.0)
        return
    ack = conn.snd_nxt if acknowledge else conn.snd_una
    conn.segment_arrives(model.Segment(conn.rcv_nxt, ack, fin=step == "f"), 0.0)
    if step == "f":
        conn.sent(model.Segment(conn.snd_nxt, conn.rcv_nxt), 0.0)


@pytest.mark.parametrize("row", rows(), ids=str)
def test_the_model_agrees(row: Row) -> None:
    """ustack/tcp/model.py says the same of each row as the table."""
    conn = reached(row.state)
    before = {"rcv_nxt": conn.rcv_nxt, "snd_una": conn.snd_una}
    at = {"N": conn.snd_nxt, "R": conn.rcv_nxt, "U": conn.snd_una, "W": conn.rcv_edge}
    if conn.state in model.UNCONNECTED:
        at = {"N": 5000, "R": 1, "U": 5000, "W": 65536}
    event = segment(row, at)
    at |= {"A": event.ack or 0, "E": occupied(event)}
    conn.segment_arrives(arrival(event), 0.0)
    conn.iss_beyond = None  # every ISS is 0 here
    if row.reply != "-":
        conn.sent(reply(expected_line(row, at).replace(" <...>", "")), 0.0)
    conn.settle(1.0)
    assert conn.state.value == row.after or {conn.state.value, row.after} == {"CLOSED", "LISTEN"}
    for name, want in (("rcv_nxt", row.rcv_nxt), ("snd_una", row.snd_una)):
        if want != "none":
            number = before[name] if want == "=" else int(substitute(want, at))
            assert getattr(conn, name) == number, name


def arrival(seg: Segment) -> model.Segment:
    """The model's form of a segment."""
    bits = {
        name: letter in seg.flags for name, letter in (("syn", "S"), ("fin", "F"), ("rst", "R"))
    }
    return model.Segment(seg.seq % 2**32, seg.ack, seg.length, **bits)


def reply(line: str) -> model.Segment:
    """What the engine is expected to send, as the model hears of it."""
    return arrival(notation.parse_line(line).segment)


def test_the_table_is_complete() -> None:
    """11 states x 6 events x 3 places, each exactly once; and each line's reply parses."""
    table = rows()
    keys = {(row.state, row.event, row.where) for row in table}
    assert len(table) == len(keys) == 11 * 6 * 3
    zeros = dict.fromkeys("NRAE", 0)
    for row in table:
        assert row.section
        if row.reply != "-":
            notation.parse_line(expected_line(row, zeros).replace(" -", " "))
