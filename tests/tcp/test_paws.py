# SPDX-License-Identifier: BSD-3-Clause
"""Old duplicates told by their timestamps (RFC 7323 5), and by whom the clock may be poisoned."""

from __future__ import annotations

import pytest

import rig
from notation import parse_segment as segment
from wire import Sock, Wire

pytestmark = pytest.mark.both_versions

DAY = 86400
IDLE = 24 * DAY
HALF = 2**31


def stamped(wire: Wire, **options: object) -> Sock:
    """A connection with timestamps: TS.Recent is 100."""
    return wire.established(ts=True, rtt=0.1, **options)  # type: ignore[arg-type]


def say(wire: Wire, text: str, val: int | None, ecr: int = 100) -> list[str]:
    """Inject a segment with this TSval; what is answered within 50 ms."""
    options = "" if val is None else f" <nop,nop,TS val {val % 2**32} ecr {ecr}>"
    wire.inject(wire.default.frame(segment(text + options)))
    wire.advance(0.05)
    return [str(sent) for _, sent in iter(wire.take, None)]


def recent(wire: Wire, value: int) -> None:
    """Bring TS.Recent to this value, by the next segment that is acceptable."""
    sock = wire.default.sock
    assert sock is not None
    nxt = wire.their_next(sock)
    steps = [sock.info.ts_recent]
    while (value - steps[-1]) % 2**32 >= HALF:  # half a turn at a time
        steps.append((steps[-1] + HALF - 1) % 2**32)
    for step in [*steps[1:], value]:
        say(wire, f". {nxt}:{nxt}(0) ack 1 win 257", step)
    assert sock.info.ts_recent == value


@pytest.mark.parametrize("start", [1, 100, HALF - 1, HALF, 2**32 - 1])
@pytest.mark.parametrize(
    ("step", "taken"),
    [(0, True), (1, True), (1000, True), (HALF - 1, True), (-1, False), (-1000, False)],
)
def test_a_timestamp_is_old_by_half_the_circle(
    wire: Wire, start: int, step: int, taken: bool
) -> None:
    """RFC 7323 5.2: compared modulo 2^32, whatever the clock shows."""
    sock = stamped(wire)
    recent(wire, start)
    say(wire, "P. 1:11(10) ack 1 win 257", start + step)
    assert sock.info.inq == (10 if taken else 0)
    assert wire.stats["tcp.drop.paws"] == (0 if taken else 1)


def test_an_old_segment_is_answered_and_changes_nothing(wire: Wire) -> None:
    """RFC 7323 5.3 R1: an ACK, so that a peer that is merely behind resynchronizes."""
    sock = stamped(wire)
    sock.send(100)
    wire("+0 > P. 1:101(100) ack 1 <...>")
    before = sock.info.snd_una
    answers = say(wire, "PF. 1:11(10) ack 101 win 9", 99)
    assert len(answers) == 1 and "ack 1 " in answers[0]
    assert (sock.info.snd_una, sock.info.snd_wnd) == (before, 257 << 8)
    assert sock.state == "ESTABLISHED"
    wire.sent.clear()


def test_old_bare_acks_are_answered_twice_a_second_at_most(wire: Wire) -> None:
    stamped(wire)
    answers = sum(len(say(wire, ". 1:1(0) ack 1 win 257", 50)) for _ in range(40))  # 2 s
    assert answers == 4
    assert wire.stats["tcp.drop.paws"] == 40


def test_an_old_syn_does_not_get_past(wire: Wire) -> None:
    """RFC 5961 4 with PAWS: an answer and no more."""
    sock = stamped(wire)
    assert len(say(wire, "S 1:1(0) win 100", 50)) == 1
    assert sock.state == "ESTABLISHED"


@pytest.mark.parametrize("val", [1, 50, 2**32 - 5, HALF + 200])
def test_after_24_days_any_timestamp_is_new(wire: Wire, val: int) -> None:
    """RFC 7323 5.5: a clock of a millisecond has been half round."""
    sock = stamped(wire)
    wire.quiet(IDLE + 1)
    say(wire, "P. 1:11(10) ack 1 win 257", val)
    assert sock.info.inq == 10
    assert sock.info.ts_recent == val


def test_before_24_days_it_is_not(wire: Wire) -> None:
    sock = stamped(wire)
    wire.quiet(IDLE - 1)
    say(wire, "P. 1:11(10) ack 1 win 257", 50)
    assert sock.info.inq == 0


def test_the_24_days_begin_with_the_last_timestamp_that_counted(wire: Wire) -> None:
    """A refused segment does not keep an old clock alive, nor does it kill it."""
    sock = stamped(wire)
    wire.quiet(IDLE / 2)
    say(wire, ". 1:1(0) ack 1 win 257", 60)
    wire.advance(IDLE / 2)
    wire.sent.clear()
    say(wire, "P. 1:11(10) ack 1 win 257", 70)
    assert sock.info.inq == 10


@pytest.mark.parametrize("shortcuts", [0, 1])
def test_a_fresh_timestamp_begins_them_anew(wire: Wire, shortcuts: int) -> None:
    wire.settings(engine_shortcuts=shortcuts)
    sock = stamped(wire)
    wire.quiet(IDLE / 2)
    say(wire, ". 1:1(0) ack 1 win 257", 160)
    wire.advance(IDLE / 2 + 10)
    wire.sent.clear()
    say(wire, "P. 1:11(10) ack 1 win 257", 150)
    assert sock.info.inq == 0


def test_a_peer_whose_syn_says_0_is_believed_afterwards(wire: Wire) -> None:
    """As Linux: a clock that starts beyond 2^31 after a SYN with 0 would be old for ever."""
    wire.listen()
    wire("""
        +0  < S  0:0(0) win 65535 <mss 1000,nop,nop,TS val 0 ecr 0>
        +0  > S. 0:0(0) ack 1 <mss 1460,nop,nop,TS val 100 ecr 0>
        +.1 < .  1:1(0) ack 1 win 257 <nop,nop,TS val 3000000000 ecr 100>
    """)
    sock = wire.accept()
    assert sock.state == "ESTABLISHED"
    assert sock.info.ts_recent == 3_000_000_000


# ------------------------------------------------------------------ poisoning (S42)

POISON = 100 + HALF - 1  # the newest timestamp there is; the peer's own would be old ever after


@pytest.mark.parametrize(
    "text",
    [
        ". 50000000:50000000(0) ack 1 win 257",  # outside the window
        ". -5000:-5000(0) ack 1 win 257",
        ". 1:1(0) ack 5000 win 257",  # of what we have not sent
        "P. 1:11(10) ack 5000 win 257",
        "P. 1:11(10) ack -900000000 win 257",
        "P 1:11(10) win 257",  # without an ACK
        "S 1:1(0) win 257",
        "R 500:500(0)",
        "P. 500:510(10) ack 1 win 257",  # out of order
    ],
)
def test_only_a_segment_that_is_taken_in_order_moves_ts_recent(wire: Wire, text: str) -> None:
    """RFC 7323 4.3 (2), after the checks of RFC 5961."""
    sock = stamped(wire)
    say(wire, text, POISON)
    assert sock.info.ts_recent == 100
    say(wire, "P. 1:11(10) ack 1 win 257", 101)
    assert sock.info.inq == 10


def test_a_segment_without_the_option_leaves_ts_recent(wire: Wire) -> None:
    """As Linux, which takes it; RFC 7323 3.2 would drop it (SHOULD)."""
    sock = stamped(wire)
    say(wire, "P. 1:11(10) ack 1 win 257", None)
    assert (sock.info.inq, sock.info.ts_recent) == (10, 100)


def test_a_connection_without_timestamps_has_no_paws(wire: Wire) -> None:
    sock = wire.established(sack=False)
    for val in (5000, 4000, 3000):
        nxt = wire.their_next(sock)
        say(wire, f"P. {nxt}:{nxt + 10}(10) ack 1 win 257", val)
    assert sock.info.inq == 30


def test_a_half_open_connection_drops_old_timestamps(wire: Wire) -> None:
    """SYN-RECEIVED without a TCB: RFC 7323 5.3, answered and limited."""
    wire.listen()
    wire("""
        +0  < S  0:0(0) win 65535 <mss 1000,nop,nop,TS val 100 ecr 0>
        +0  > S. 0:0(0) ack 1 <mss 1460,nop,nop,TS val 100 ecr 100>
        +.1 < .  1:1(0) ack 1 win 257 <nop,nop,TS val 99 ecr 100>
        +0  > .  1:1(0) ack 1 <nop,nop,TS val 200 ecr 100>
        +0  < .  1:1(0) ack 1 win 257 <nop,nop,TS val 99 ecr 100>
    """)
    assert wire.default.state == "SYN_RECEIVED"
    assert wire.stats["tcp.drop.paws"] == 2


# ------------------------------------------------------------------ SYN-SENT


@pytest.mark.parametrize(("age", "state"), [(0, "ESTABLISHED"), (-1, "SYN_SENT"), (9, "SYN_SENT")])
def test_a_syn_ack_must_echo_a_timestamp_of_ours(wire: Wire, age: int, state: str) -> None:
    """As Linux: else it answers another connection's SYN, and is reset."""
    sock = wire.connect()
    wire("+0 > S 0:0(0) <...>")
    echo = next(int(str(option[1])) for option in wire.last.options if option[0] == "TS")
    options = f"<mss 1000,nop,nop,TS val 7 ecr {(echo - age) % 2**32}>"
    wire.put(f"+.005 < S. 0:0(0) ack 1 win 65535 {options}")
    taken = wire.take()
    assert taken is not None
    if age == -1:  # the link is 5 ms long: a millisecond ahead of the SYN is not the future
        assert sock.state == "ESTABLISHED"
        return
    assert sock.state == state
    assert ("R" in taken[1].flags) == (state == "SYN_SENT")


def test_a_syn_ack_may_echo_any_of_our_syns(wire: Wire) -> None:
    """The first was slow, not lost."""
    sock = wire.connect()
    wire("+0 > S 0:0(0) <...>")
    first = next(int(str(option[1])) for option in wire.last.options if option[0] == "TS")
    wire("+1 > S 0:0(0) <...>")
    wire.put(f"+.1 < S. 0:0(0) ack 1 win 65535 <mss 1000,nop,nop,TS val 7 ecr {first}>")
    assert sock.state == "ESTABLISHED"
    wire.sent.clear()


def test_a_syn_ack_that_echoes_nothing_is_taken(wire: Wire) -> None:
    """A TSecr of 0 is none."""
    sock = wire.connect()
    wire("+0 > S 0:0(0) <...>")
    wire.put("+.1 < S. 0:0(0) ack 1 win 65535 <mss 1000,nop,nop,TS val 7 ecr 0>")
    assert sock.state == "ESTABLISHED"
    wire.sent.clear()


# ------------------------------------------------------------------ our own clock


def test_our_clock_never_steps_back_and_runs_in_milliseconds(wire: Wire) -> None:
    """RFC 7323 5.4: 1 ms to 1 s a tick, monotonic, over a wrap of 2^32 ms."""
    sock = stamped(wire)
    values = []
    for seconds in (0.001, 0.999, 3600, 49 * DAY, 0.005):
        wire.advance(seconds)
        sock.send(1)
        assert wire.take() is not None
        values.append(next(int(str(o[1])) for o in wire.last.options if o[0] == "TS"))
        say(wire, f". 1:1(0) ack {len(values) + 1} win 257", None)
        wire.sent.clear()
    steps = [(b - a) % 2**32 for a, b in zip(values, values[1:], strict=False)]
    want = [round(1000 * s) for s in (0.999, 3600, 49 * DAY, 0.005)]
    assert all(0 <= got - ms % 2**32 <= 60 for got, ms in zip(steps, want, strict=True))


def test_two_flows_have_clocks_that_tell_nothing_of_each_other(wire: Wire) -> None:
    """RFC 7323 7.1: an offset of its own for each flow."""
    wire.listen()
    offsets = set()
    for port in range(1001, 1009):
        peer = wire.peer(port)
        wire.inject(peer.frame(segment("S 0:0(0) win 65535 <mss 1000,nop,nop,TS val 1 ecr 0>")))
        assert wire.take(peer=peer) is not None
        offsets.add(next(int(str(o[1])) for o in wire.last.options if o[0] == "TS"))
    assert len(offsets) == 8
    assert all(
        rig.lib.ust_seq_lt(a, b) or rig.lib.ust_seq_lt(b, a) for a in offsets for b in offsets - {a}
    )
