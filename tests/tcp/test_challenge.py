# SPDX-License-Identifier: BSD-3-Clause
"""Blind attacks (RFC 5961): a sweep over where they may land, and how much they make us say."""

from __future__ import annotations

import pytest

from notation import parse_segment as segment
from wire import Peer, Sock, Wire

both_versions = pytest.mark.both_versions

WINDOW = 64240  # of a listener's SYN-ACK, and so of a connection that has received nothing

#: Where a forged number may lie: so far from RCV.NXT, or so far beyond the window's end.
LEFT = [1 - 2**31, -1_000_000, -1]
INSIDE = [1, 2, 1000, WINDOW // 2, WINDOW - 1]
RIGHT = [0, 1000, 200_000, 2**30]

STATES = ["ESTABLISHED", "FIN_WAIT_1", "FIN_WAIT_2", "CLOSE_WAIT", "CLOSING", "LAST_ACK"]


def settle(wire: Wire) -> list[str]:
    """What we send now."""
    return [str(sent) for _, sent in iter(wire.take, None)]


def inject(wire: Wire, text: str, n: int = 1, peer: Peer | None = None) -> None:
    """The same segment n times."""
    for _ in range(n):
        wire.inject((peer or wire.default).frame(segment(text)))


def in_state(wire: Wire, state: str) -> Sock:
    """A connection in a synchronized state; RCV.NXT is 1, or 2 behind the peer's FIN."""
    sock = wire.established()
    if state in ("CLOSE_WAIT", "LAST_ACK"):
        wire("+0 < F. 1:1(0) ack 1 win 257\n +0 > . 1:1(0) ack 2")
    if state not in ("ESTABLISHED", "CLOSE_WAIT"):
        sock.shutdown()
        settle(wire)
    if state == "FIN_WAIT_2":
        wire("+0 < . 1:1(0) ack 2 win 257")
    if state == "CLOSING":
        wire("+0 < F. 1:1(0) ack 1 win 257\n +0 > . 2:2(0) ack 2")
    assert sock.state == state
    return sock


# ------------------------------------------------------------------ RST (3.2)


@both_versions
@pytest.mark.parametrize("state", STATES)
def test_a_rst_at_rcv_nxt_ends_every_state(wire: Wire, state: str) -> None:
    sock = in_state(wire, state)
    nxt = wire.their_next(sock)
    wire(f"+0 < R {nxt}:{nxt}(0)")
    assert sock.state == "CLOSED"


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("offset", INSIDE)
def test_a_rst_in_the_window_is_asked_about(wire: Wire, state: str, offset: int) -> None:
    """RFC 5961 3.2: one challenge ACK with the numbers that the real peer would know."""
    sock = in_state(wire, state)
    nxt, seq = wire.their_next(sock), wire.their_next(sock) + offset
    inject(wire, f"R {seq}:{seq}(0)")
    (said,) = settle(wire)
    assert said.startswith(".") and f"ack {nxt} " in said
    assert sock.state == state


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize(("offset", "right"), [(n, 0) for n in LEFT] + [(n, 1) for n in RIGHT])
def test_a_rst_outside_the_window_is_met_with_silence(
    wire: Wire, state: str, offset: int, right: int
) -> None:
    sock = in_state(wire, state)
    seq = wire.their_next(sock) + offset + right * sock.info.rcv_wnd
    inject(wire, f"R {seq}:{seq}(0)")
    assert settle(wire) == []
    assert sock.state == state


def test_the_answer_to_a_challenge_resets(wire: Wire) -> None:
    """The peer has lost the connection: its RST takes its number from our ACK (RFC 5961 3.2)."""
    sock = wire.established()
    wire("""
        +0  < R 500:500(0)
        +0  > . 1:1(0) ack 1
        +.1 < R 1:1(0)
    """)
    assert sock.state == "CLOSED"


# ------------------------------------------------------------------ SYN (4.2)


@both_versions
@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("offset", [-1000, -1, 0, 1000, 20_000_000])
@pytest.mark.parametrize("flags", ["S", "S."])
def test_a_syn_is_challenged_wherever_it_lies(
    wire: Wire, state: str, offset: int, flags: str
) -> None:
    sock = in_state(wire, state)
    seq = wire.their_next(sock) + offset
    ack = " ack 1" if "." in flags else ""
    inject(wire, f"{flags} {seq}:{seq}(0){ack} win 1000 <mss 1000>")
    assert len(settle(wire)) == 1
    assert wire.stats["tcp.challenge"] == 1
    assert sock.state == state


# ------------------------------------------------------------------ data (5.2)


@both_versions
@pytest.mark.parametrize("state", ["ESTABLISHED", "FIN_WAIT_1", "FIN_WAIT_2"])
@pytest.mark.parametrize("ack", [5000, 2**30, 2**31 - 10, -70_000_000, -(2**30)])
def test_injected_data_needs_a_likely_ack(wire: Wire, state: str, ack: int) -> None:
    """RFC 5961 5.2: SND.UNA - MAX.SND.WND <= SEG.ACK <= SND.NXT, else a challenge and no data."""
    sock = in_state(wire, state)
    inject(wire, f"P. 1:11(10) ack {ack} win 257")
    assert len(settle(wire)) == 1
    assert sock.info.inq == 0
    assert wire.stats["tcp.drop.ack"] == wire.stats["tcp.challenge"] == 1


def test_data_with_an_old_but_possible_ack_is_taken(wire: Wire) -> None:
    """As far back as the largest window that the peer ever offered."""
    sock = wire.established(win=10, wscale=0)
    sock.send(10)
    wire("+0 > P. 1:11(10) ack 1\n +0 < . 1:1(0) ack 11 win 10")
    wire("+0 < P. 1:11(10) ack 1 win 10\n +0~+.05 > . 11:11(0) ack 11")
    assert sock.info.inq == 10


def test_data_with_an_ack_older_than_any_window_is_not(wire: Wire) -> None:
    sock = wire.established(win=1000, wscale=None)
    for _ in range(70):
        sock.send(1000)
        wire.deliver(sock, rtt=0, win=1000)
    inject(wire, "P. 1:11(10) ack 1 win 1000")  # 70,000 bytes ago: the SYN offered 65,535
    assert sock.info.inq == 0
    assert wire.stats["tcp.challenge"] == 1
    wire.sent.clear()


# ------------------------------------------------------------------ limits (7, 10)


@pytest.mark.parametrize(
    "text",
    ["S 1:1(0) win 100", "S. 5:5(0) ack 9 win 100", "R 500:500(0)", "P. 1:11(10) ack 9999 win 9"],
)
def test_a_flood_gets_ten_answers_a_second(wire: Wire, text: str) -> None:
    """RFC 5961 7, whichever attack it is; and a second later again."""
    wire.established()
    for second in range(3):
        inject(wire, text, 500)
        assert len(settle(wire)) == 10, f"in second {second}"
        wire.advance(1)
    assert wire.stats["tcp.challenge.limited"] == 3 * 490


def test_the_limit_is_a_setting(wire: Wire) -> None:
    wire.settings(tcp_challenge_ack_limit=3)
    wire.established()
    inject(wire, "S 1:1(0) win 100", 50)
    assert len(settle(wire)) == 3


def test_with_a_limit_of_nothing_we_are_silent(wire: Wire) -> None:
    wire.settings(tcp_challenge_ack_limit=0)
    sock = wire.established()
    inject(wire, "S 1:1(0) win 100", 50)
    assert settle(wire) == []
    assert sock.state == "ESTABLISHED"


@pytest.mark.parametrize("text", [". 1:1(0) ack 9999 win 9", ". 9999999:9999999(0) ack 1 win 9"])
def test_bare_acks_that_cannot_be_get_two_answers_a_second(wire: Wire, text: str) -> None:
    """They may be answers to ours: see the ACK war below."""
    wire.established()
    for _ in range(40):
        inject(wire, text, 5)
        wire.advance(0.1)
    assert len(settle(wire)) == 8


@both_versions
def test_no_flow_learns_of_anothers_challenges(wire: Wire) -> None:
    """CVE-2016-5696: whatever an attacker makes one connection say, another says what it would."""
    wire.established()
    twin, victim = wire.peer(50_000), wire.peer(50_001)
    wire.established(peer=twin)
    for text in ("S 1:1(0) win 100", "R 500:500(0)", "P. 1:11(10) ack 9999 win 9"):
        inject(wire, text, 300, twin)
    settle(wire)
    wire.established(peer=victim)
    inject(wire, "R 500:500(0)", 10, victim)
    assert len(settle(wire)) == 10


@pytest.mark.parametrize("where", ["request", "time_wait"])
def test_what_stands_in_for_a_connection_is_limited_too(wire: Wire, where: str) -> None:
    """Half-open connections and TIME-WAIT records: two answers a second."""
    if where == "request":
        wire.listen()
        wire("+0 < S 0:0(0) win 65535 <mss 1000>\n +0 > S. 0:0(0) ack 1 <...>")
    else:
        sock = wire.established()
        sock.close()
        wire("""
            +0 > F. 1:1(0) ack 1
            +0 < F. 1:1(0) ack 2 win 257
            +0 > .  2:2(0) ack 2
        """)
    for _ in range(9):
        inject(wire, ". 9999999:9999999(0) ack 2 win 9", 20)
        wire.advance(0.1)
    assert len(settle(wire)) == 2
    assert wire.stats["tcp.ack.oow.limited"] == 9 * 20 - 2


# ------------------------------------------------------------------ wars of ACKs (S09)


def war(seconds: float, **skew: int) -> tuple[int, int]:
    """Two engines whose numbers disagree by so much: the segments that each sends."""
    wires = [Wire(), Wire()]
    for wire in wires:
        wire.established()
    seq, ack = 1 + skew.get("seq", 0), 1 + skew.get("ack", 0)
    heard = f". {seq}:{seq}(0) ack {ack} win 257"  # as each hears the other
    inject(wires[0], heard)
    sent = [0, 0]
    for _ in range(round(seconds * 100)):
        for i, wire in enumerate(wires):
            said = len(settle(wire))
            sent[i] += said
            inject(wires[1 - i], heard, said)
        for wire in wires:
            wire.advance(0.01)
    for wire in wires:
        wire.engine.check()
        wire.free()
    return sent[0], sent[1]


@pytest.mark.parametrize("skew", [{"seq": 20_000_000}, {"ack": 9999}, {"seq": -5000, "ack": -9}])
def test_two_hosts_that_disagree_do_not_keep_each_other_busy(skew: dict[str, int]) -> None:
    """Each finds the other's ACK wrong and says so: two segments a second at most."""
    ours, theirs = war(60, **skew)
    assert ours + theirs <= 2 * 2 * 60 + 2


def test_a_disagreement_is_spoken_about() -> None:
    """The war above is fought, not avoided."""
    assert min(war(2, seq=20_000_000)) >= 1
