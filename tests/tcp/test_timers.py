# SPDX-License-Identifier: BSD-3-Clause
"""User timeout (RFC 5482), keep-alive (RFC 9293 3.8.4), linger, aborts (RFC 9293 3.8.3, 3.9.1)."""

from __future__ import annotations

import errno

import pytest

from notation import Segment
from wire import Sock, Wire

pytestmark = pytest.mark.both_versions


def is_keepalive(segment: Segment, nxt: int = 1) -> bool:
    """RFC 9293 3.8.4: SEG.SEQ = SND.NXT - 1, with one byte of garbage or none."""
    return segment.flags == "." and segment.seq == nxt - 1 and segment.length <= 1


def keeping_alive(wire: Wire) -> Sock:
    """A connection that probes after 10 s of silence, each 5 s, 3 times."""
    sock = wire.established(rtt=0.1)
    sock.setopt("KEEPIDLE", 10)
    sock.setopt("KEEPINTVL", 5)
    sock.setopt("KEEPCNT", 3)
    sock.setopt("KEEPALIVE", 1)
    return sock


@pytest.mark.rfc("MUST-25")
def test_an_idle_connection_is_not_probed_unless_asked(wire: Wire) -> None:
    """RFC 9293 MUST-25: off by default."""
    sock = wire.established()
    wire.quiet(100_000)
    assert sock.state == "ESTABLISHED"


@pytest.mark.rfc("MUST-28", "2525-11")
def test_keepalive_by_default_waits_two_hours(wire: Wire) -> None:
    """RFC 9293 MUST-28."""
    sock = wire.established()
    sock.setopt("KEEPALIVE", 1)
    wire.quiet(7199)
    taken = wire.take(2)
    assert taken is not None and is_keepalive(taken[1])
    sock.abort()
    wire.sent.clear()


@pytest.mark.rfc("MAY-5", "2525-11")
def test_an_answered_keepalive_waits_for_the_next_idle_period(wire: Wire) -> None:
    """RFC 9293 3.8.4."""
    sock = keeping_alive(wire)
    for _ in range(5):
        taken = wire.take(10.01)
        assert taken is not None and taken[0] == pytest.approx(10, abs=0.01)
        assert is_keepalive(taken[1])
        wire("+0 < . 1:1(0) ack 1 win 257")
    assert sock.state == "ESTABLISHED"
    assert wire.stats["tcp.keepalives"] == 5


@pytest.mark.rfc("MUST-29", "2525-9")
def test_unanswered_keepalives_end_the_connection(wire: Wire) -> None:
    """RFC 9293 3.8.4 (MUST-29: not for one lost probe): 3 probes, 5 s apart, then ETIMEDOUT."""
    sock = keeping_alive(wire)
    gaps = []
    for _ in range(3):
        taken = wire.take(10.01)
        assert taken is not None and is_keepalive(taken[1])
        gaps.append(taken[0])
    assert gaps == [
        pytest.approx(10, abs=0.01),
        pytest.approx(5, abs=0.01),
        pytest.approx(5, abs=0.01),
    ]
    assert sock.state == "ESTABLISHED"
    wire.advance(5.01)
    assert sock.state == "CLOSED"
    assert sock.error == errno.ETIMEDOUT
    assert all("R" in segment.flags for _, segment in iter(wire.take, None))


def test_a_segment_outside_the_window_is_no_sign_of_life(wire: Wire) -> None:
    """MUST-29: anybody can forge one; the probes still end the connection."""
    sock = wire.established()
    sock.setopt("KEEPALIVE", 1)
    sock.setopt("KEEPIDLE", 10)
    sock.setopt("KEEPINTVL", 5)
    sock.setopt("KEEPCNT", 2)
    for _ in range(3):
        wire.advance(9)
        assert all(segment.length == 0 for _, segment in iter(wire.take, None))
        if sock.state == "ESTABLISHED":
            wire.put("+0 < . 9000000:9000000(0) ack 1 win 257")
    assert sock.state == "CLOSED"
    assert all(segment.length == 0 for _, segment in iter(wire.take, None))


@pytest.mark.rfc("MUST-26")
def test_traffic_puts_the_keepalive_off(wire: Wire) -> None:
    keeping_alive(wire)
    wire.quiet(8)
    wire("+0 < P. 1:101(100) ack 1 win 257\n +0~+.05 > . 1:1(0) ack 101")
    wire.quiet(9.9)
    taken = wire.take(0.2)
    assert taken is not None and is_keepalive(taken[1])


@pytest.mark.rfc("MUST-26")
def test_no_keepalive_is_sent_while_data_is_in_flight(wire: Wire) -> None:
    """RFC 9293 MUST-26: only when nothing is outstanding."""
    sock = keeping_alive(wire)
    sock.send(1000)
    wire.advance(60)
    assert all(segment.seq == 1 and segment.length == 1000 for _, segment in iter(wire.take, None))
    assert wire.stats["tcp.keepalives"] == 0


def test_a_peers_keepalive_is_answered(wire: Wire) -> None:
    """RFC 9293 3.8.4: with and without the byte of garbage, which counts as sent twice."""
    wire.established(rtt=0.1)
    wire("""
        +1 < . 0:0(0) ack 1 win 257
        +0 > . 1:1(0) ack 1
        +1 < . 0:1(1) ack 1 win 257
        +0 > . 1:1(0) ack 1 <nop,nop,sack 0:1>
    """)


@pytest.mark.rfc("MUST-21")
@pytest.mark.parametrize("milliseconds", [1000, 5000, 60_000])
def test_the_user_timeout_ends_a_connection_without_acks(wire: Wire, milliseconds: int) -> None:
    """RFC 9293 3.8.3 (MUST-21, SHLD-11 set by the application), RFC 5482; within 10 %."""
    sock = wire.established(rtt=0.1)
    sock.setopt("USER_TIMEOUT", milliseconds)
    sock.send(1000)
    seconds = milliseconds / 1000
    wire.advance(seconds * 0.9)
    assert sock.state == "ESTABLISHED"
    wire.advance(seconds * 0.2)
    assert sock.state == "CLOSED"
    assert sock.error == errno.ETIMEDOUT
    wire.sent.clear()


def test_an_ack_restarts_the_user_timeout(wire: Wire) -> None:
    """RFC 5482 2: it limits how long data may remain unacknowledged."""
    sock = wire.established(rtt=0.1)
    sock.setopt("USER_TIMEOUT", 3000)
    sock.send(2000)
    wire.advance(2.5)
    wire.sent.clear()
    wire.put("+0 < . 1:1(0) ack 1001 win 257")
    wire.advance(2.5)
    assert sock.state == "ESTABLISHED"
    wire.advance(1)
    assert sock.state == "CLOSED"
    wire.sent.clear()


def test_the_user_timeout_holds_for_a_connect(wire: Wire) -> None:
    """Linux TCP_USER_TIMEOUT in SYN-SENT."""
    sock = wire.connect()
    sock.setopt("USER_TIMEOUT", 2500)
    wire.advance(3.5)
    assert sock.error == errno.ETIMEDOUT
    wire.sent.clear()


def test_linger_zero_resets_on_close(wire: Wire) -> None:
    """Linux SO_LINGER {1, 0}; RFC 9293 3.10.5."""
    sock = wire.established()
    sock.setopt("LINGER", 0)
    sock.send(1000)
    wire("+0 > P. 1:1001(1000) ack 1")
    sock.close()
    taken = wire.take()
    assert taken is not None and "R" in taken[1].flags and taken[1].seq == 1001
    assert sock.state == "CLOSED"


def test_close_without_linger_goes_on_in_the_background(wire: Wire) -> None:
    """RFC 9293 3.10.4."""
    sock = wire.established(rtt=0.1)
    sock.send(1000)
    sock.close()
    wire("""
        +0  > P. 1:1001(1000) ack 1
        +0  > F. 1001:1001(0) ack 1
        +.1 < .  1:1(0) ack 1002 win 257
    """)
    assert sock.state == "FIN_WAIT_2"


def test_a_stale_handle_is_ebadf(wire: Wire) -> None:
    """A handle is an index and a generation."""
    sock = wire.established()
    sock.abort()
    wire.sent.clear()
    for call in (lambda: sock.send(b"x"), sock.recv, sock.shutdown, sock.close, lambda: sock.ready):
        with pytest.raises(OSError) as caught:
            call()
        assert caught.value.errno == errno.EBADF
    for handle in (1, -1, 2**62, 0x7FFFFFFF):
        with pytest.raises(OSError) as caught:
            wire.engine.close(handle)
        assert caught.value.errno == errno.EBADF
