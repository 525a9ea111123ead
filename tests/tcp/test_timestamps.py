# SPDX-License-Identifier: BSD-3-Clause
"""Timestamps and PAWS: RFC 7323 3, 4, 5."""

from __future__ import annotations

import pytest

from wire import Sock, Wire

pytestmark = pytest.mark.both_versions

DAY = 86400


def stamped(wire: Wire, rtt: float = 0.1) -> Sock:
    """A connection with timestamps: our clock is 100 at its SYN-ACK, TS.Recent is 100."""
    return wire.established(ts=True, rtt=rtt, sack=False)


def test_every_segment_of_ours_has_a_timestamp(wire: Wire) -> None:
    """RFC 7323 3.2: once negotiated, in every segment but RSTs."""
    sock = stamped(wire)
    sock.send(100)
    wire("""
        +0  > P. 1:101(100) ack 1 <nop,nop,TS val 200 ecr 100>
        +.1 < .  1:1(0) ack 101 win 257 <nop,nop,TS val 150 ecr 200>
    """)
    sock.shutdown()
    wire("+0 > F. 101:101(0) ack 1 <nop,nop,TS val 300 ecr 150>")


def test_an_old_timestamp_is_acknowledged_and_dropped(wire: Wire) -> None:
    """RFC 7323 5.3 R1."""
    sock = stamped(wire)
    wire("""
        +0 < P. 1:101(100) ack 1 win 257 <nop,nop,TS val 99 ecr 100>
        +0 > .  1:1(0) ack 1 <nop,nop,TS val 200 ecr 100>
    """)
    assert sock.info.inq == 0
    assert wire.stats["tcp.drop.paws"] == 1


def test_an_old_timestamp_wraps(wire: Wire) -> None:
    """RFC 7323 5.2: compared modulo 2^32."""
    wire.listen()
    wire("""
        +0  < S  0:0(0) win 65535 <mss 1000,nop,nop,TS val 4294967290 ecr 0>
        +0  > S. 0:0(0) ack 1 <mss 1460,nop,nop,TS val 100 ecr 4294967290>
        +.1 < .  1:1(0) ack 1 win 257 <nop,nop,TS val 4294967295 ecr 100>
        +0  < P. 1:101(100) ack 1 win 257 <nop,nop,TS val 5 ecr 100>
        +0  > .  1:1(0) ack 101 <nop,nop,TS val 200 ecr 5>
        +0  < P. 101:201(100) ack 1 win 257 <nop,nop,TS val 4294967295 ecr 100>
        +0  > .  1:1(0) ack 101 <nop,nop,TS val 200 ecr 5>
    """)
    assert wire.stats["tcp.drop.paws"] == 1


def test_after_24_days_of_silence_an_old_timestamp_is_believed(wire: Wire) -> None:
    """RFC 7323 5.5: the peer's clock may have wrapped."""
    sock = stamped(wire)
    wire.quiet(24.5 * DAY)
    wire.put("+0 < P. 1:101(100) ack 1 win 257 <nop,nop,TS val 50 ecr 100>")
    taken = wire.take(0.05)
    assert taken is not None and taken[1].ack == 101
    assert sock.info.ts_recent == 50


def test_after_23_days_of_silence_it_is_not(wire: Wire) -> None:
    """RFC 7323 5.5."""
    sock = stamped(wire)
    wire.quiet(23 * DAY)
    wire.put("+0 < P. 1:101(100) ack 1 win 257 <nop,nop,TS val 50 ecr 100>")
    taken = wire.take(0.05)
    assert taken is not None and taken[1].ack == 1
    assert sock.info.inq == 0


def test_a_rst_is_not_subject_to_paws(wire: Wire) -> None:
    """RFC 7323 5.2: RSTs need no timestamp, and none is checked."""
    sock = stamped(wire)
    wire("+0 < R 1:1(0) <nop,nop,TS val 1 ecr 1>")
    assert sock.state == "CLOSED"


def test_a_segment_outside_the_window_does_not_move_ts_recent(wire: Wire) -> None:
    """RFC 7323 4.3 (2): only a segment that is acceptable."""
    sock = stamped(wire)
    wire("""
        +0 < . 10000000:10000000(0) ack 1 win 257 <nop,nop,TS val 90000 ecr 100>
        +0 > . 1:1(0) ack 1 <nop,nop,TS val 200 ecr 100>
    """)
    assert sock.info.ts_recent == 100


def test_a_segment_with_an_invalid_ack_does_not_move_ts_recent(wire: Wire) -> None:
    """RFC 7323 4.3; RFC 5961 5.2: else one forged segment poisons PAWS."""
    sock = stamped(wire)
    wire("""
        +0 < P. 1:101(100) ack 5000 win 257 <nop,nop,TS val 90000 ecr 100>
        +0 > .  1:1(0) ack 1 <nop,nop,TS val 200 ecr 100>
    """)
    assert sock.info.ts_recent == 100


def test_an_out_of_order_segment_does_not_move_ts_recent(wire: Wire) -> None:
    """RFC 7323 4.3 (2): SEG.SEQ <= Last.ACK.sent."""
    sock = stamped(wire)
    wire("""
        +0 < . 1001:1501(500) ack 1 win 257 <nop,nop,TS val 300 ecr 100>
        +0 > . 1:1(0) ack 1 <nop,nop,TS val 200 ecr 100>
    """)
    assert sock.info.ts_recent == 100


def test_a_delayed_ack_echoes_the_earliest_timestamp(wire: Wire) -> None:
    """RFC 7323 4.3 case (A)."""
    wire.settings(tcp_quickack_segs=0)
    stamped(wire)
    wire("""
        +0   < P. 1:11(10)  ack 1 win 257 <nop,nop,TS val 201 ecr 100>
        +.01 < P. 11:21(10) ack 1 win 257 <nop,nop,TS val 202 ecr 100>
        +.03 > .  1:1(0) ack 21 <nop,nop,TS val 240 ecr 201>
    """)


def test_a_filled_hole_echoes_its_own_timestamp(wire: Wire) -> None:
    """RFC 7323 4.3 case (C)."""
    stamped(wire)
    wire("""
        +0   < . 501:1001(500) ack 1 win 257 <nop,nop,TS val 201 ecr 100>
        +0   > . 1:1(0) ack 1 <nop,nop,TS val 200 ecr 100>
        +.01 < . 1:501(500) ack 1 win 257 <nop,nop,TS val 203 ecr 100>
        +0   > . 1:1(0) ack 1001 <nop,nop,TS val 210 ecr 203>
    """)


def test_a_timestamp_nobody_agreed_on_is_ignored(wire: Wire) -> None:
    """RFC 7323 3.2."""
    sock = wire.established(ts=False, sack=False)
    wire("""
        +0      < P. 1:101(100) ack 1 win 257 <nop,nop,TS val 1 ecr 1>
        +0~+.05 > .  1:1(0) ack 101
    """)
    assert sock.info.ts_ok == 0


def test_a_segment_without_its_timestamp_does_not_break_the_connection(wire: Wire) -> None:
    """RFC 7323 3.2: it should be dropped silently; Linux takes it. Neither resets."""
    sock = stamped(wire)
    wire.put("+0 < P. 1:101(100) ack 1 win 257")
    wire.take(0.05)
    assert sock.state == "ESTABLISHED"


def test_an_echo_of_a_time_that_never_was_does_not_spoil_the_rtt(wire: Wire) -> None:
    """RFC 7323 4.1: TSecr is the peer's word only."""
    sock = stamped(wire)
    sock.send(100)
    wire("""
        +0  > P. 1:101(100) ack 1 <nop,nop,TS val 200 ecr 100>
        +.1 < .  1:1(0) ack 101 win 257 <nop,nop,TS val 150 ecr 3000000000>
    """)
    assert sock.info.srtt_us < 1_000_000


@pytest.mark.parametrize(("ecr", "flags"), [(98, "R"), (99, "."), (100, "."), (201, "R")])
def test_an_answer_must_echo_a_timestamp_of_one_of_our_syns(
    wire: Wire, ecr: int, flags: str
) -> None:
    """As Linux (tcp_rcv_synsent_state_process): the SYN left at 100, and a tick may be cut off."""
    sock = wire.connect()
    wire("+0 > S 0:0(0) <mss 1460,sackOK,TS val 100 ecr 0,wscale 7>")
    wire.put(f"+.1 < S. 0:0(0) ack 1 win 65535 <mss 1000,nop,nop,TS val 5 ecr {ecr}>")
    taken = wire.take()
    assert taken is not None and taken[1].flags == flags
    assert sock.state == ("SYN_SENT" if flags == "R" else "ESTABLISHED")
