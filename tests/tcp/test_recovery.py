# SPDX-License-Identifier: BSD-3-Clause
"""Fast retransmit and fast recovery: RFC 5681 3.2, RFC 6582."""

from __future__ import annotations

import pytest

import notation
from wire import Sock, Wire

pytestmark = pytest.mark.both_versions

FLIGHT = """
    +0 > .  1:1001(1000)    ack 1
    +0 > .  1001:2001(1000) ack 1
    +0 > .  2001:3001(1000) ack 1
    +0 > .  3001:4001(1000) ack 1
    +0 > P. 4001:5001(1000) ack 1
"""


def flight(wire: Wire, **options: object) -> Sock:
    """A connection with five segments in flight."""
    sock = wire.established(mss=1000, rtt=0.1, **options)  # type: ignore[arg-type]
    sock.send(5000)
    wire(FLIGHT)
    return sock


def test_third_duplicate_ack_resends_the_first_hole(wire: Wire) -> None:
    """RFC 5681 3.2: fast retransmit."""
    sock = wire.established(mss=1000, rtt=0.1)
    sock.send(4000)
    wire("""
        +0   >  .  1:1001(1000)    ack 1
        +0   >  .  1001:2001(1000) ack 1
        +0   >  .  2001:3001(1000) ack 1
        +0   >  P. 3001:4001(1000) ack 1
        +.1  <  .  1:1(0) ack 1 win 257 <sack 1001:2001>
        +0   <  .  1:1(0) ack 1 win 257 <sack 1001:3001>
        +0   <  .  1:1(0) ack 1 win 257 <sack 1001:4001>
        +0   >  .  1:1001(1000)    ack 1
    """)
    assert wire.stats["tcp.rexmt.fast"] == 1
    assert wire.stats["tcp.rexmt.segs"] == 1


def test_two_duplicate_acks_resend_nothing(wire: Wire) -> None:
    """RFC 5681 3.2: the threshold is three."""
    flight(wire, sack=False)
    wire("""
        +.1 < . 1:1(0) ack 1 win 257
        +0  < . 1:1(0) ack 1 win 257
    """)
    assert wire.stats["tcp.dupacks.in"] == 2
    assert wire.stats["tcp.rexmt.fast"] == 0


@pytest.mark.rfc("2525-8")
def test_fast_retransmit_halves_the_window(wire: Wire) -> None:
    """RFC 5681 3.2 (2), (4): ssthresh = max(FlightSize / 2, 2 * SMSS)."""
    wire.settings(tcp_congestion_control="reno")
    sock = flight(wire, sack=False)
    wire("""
        +.1 < . 1:1(0) ack 1 win 257
        +0  < . 1:1(0) ack 1 win 257
        +0  < . 1:1(0) ack 1 win 257
        +0  > . 1:1001(1000) ack 1
        +.1 < . 1:1(0) ack 5001 win 257
    """)
    assert sock.info.ssthresh == 2500
    assert sock.info.cwnd <= 2500


def test_without_sack_recovery_lasts_until_more_than_recover_is_acknowledged(wire: Wire) -> None:
    """RFC 6582 4.1, as Linux: duplicates of the old flight must start no second episode."""
    wire.settings(tcp_congestion_control="reno")
    sock = flight(wire, sack=False)
    wire("""
        +.1 < . 1:1(0) ack 1 win 257
        +0  < . 1:1(0) ack 1 win 257
        +0  < . 1:1(0) ack 1 win 257
        +0  > . 1:1001(1000) ack 1
        +.1 < . 1:1(0) ack 5001 win 257
    """)
    assert sock.info.ca_state == 3
    sock.send(1000)
    wire("""
        +0  > P. 5001:6001(1000) ack 1
        +.1 < .  1:1(0) ack 6001 win 257
    """)
    assert sock.info.ca_state == 0
    assert sock.info.cwnd == sock.info.ssthresh == 2500


def test_a_partial_ack_resends_the_next_hole_at_once(wire: Wire) -> None:
    """RFC 6582 3.2 step 3: segments 1 and 3 were lost."""
    flight(wire, sack=False)
    wire("""
        +.1 < .  1:1(0) ack 1 win 257
        +0  < .  1:1(0) ack 1 win 257
        +0  < .  1:1(0) ack 1 win 257
        +0  > .  1:1001(1000)    ack 1
        +.1 < .  1:1(0) ack 2001 win 257
        +0  > .  2001:3001(1000) ack 1
        +.1 < .  1:1(0) ack 5001 win 257
    """)
    assert wire.stats["tcp.rexmt.fast"] == 1
    assert wire.stats["tcp.rexmt.partial"] == 1
    assert wire.stats["tcp.rexmt.rto"] == 0
    wire.quiet(5)


def test_duplicate_acks_below_recover_start_no_second_episode(wire: Wire) -> None:
    """RFC 6582 3.2 step 2: after a timeout, late duplicates are of the old flight."""
    sock = flight(wire, sack=False)
    wire("""
        +.3 > . 1:1001(1000) ack 1
        +.1 < . 1:1(0) ack 1 win 257
        +0  < . 1:1(0) ack 1 win 257
        +0  < . 1:1(0) ack 1 win 257
        +0  < . 1:1(0) ack 1 win 257
    """)
    assert wire.stats["tcp.rexmt.fast"] == 0
    assert sock.info.cwnd == 1000


def test_each_further_duplicate_ack_lets_a_new_segment_out(wire: Wire) -> None:
    """RFC 5681 3.2 (4): the window is inflated by what has left the network."""
    sock = wire.established(rtt=0.1, sack=False)
    sock.send(20_000)
    wire("\n".join(f"+0 > . {1 + i * 1000}:{1001 + i * 1000}(1000) ack 1" for i in range(10)))
    dup = notation.parse_segment(". 1:1(0) ack 1 win 257")
    new = []
    for nth in range(1, 10):
        wire.inject(wire.default.frame(dup))
        sent = [segment.seq for _, segment in iter(wire.take, None)]
        if nth == 3:
            assert sent == [1]
        if nth > 3:
            new += sent
    assert new and new[0] >= 10_001
    assert new == sorted(set(new))


def test_acks_with_data_are_no_duplicates(wire: Wire) -> None:
    """RFC 5681 2 (b): a duplicate ACK carries no data."""
    flight(wire, sack=False)
    wire("""
        +0      < P. 1:101(100)   ack 1 win 257
        +0~+.05 > .  5001:5001(0) ack 101
        +0      < P. 101:201(100) ack 1 win 257
        +0~+.05 > .  5001:5001(0) ack 201
        +0      < P. 201:301(100) ack 1 win 257
        +0~+.05 > .  5001:5001(0) ack 301
    """)
    assert wire.stats["tcp.dupacks.in"] == 0


def test_window_updates_are_no_duplicates(wire: Wire) -> None:
    """RFC 5681 2 (e): a duplicate ACK advertises the same window."""
    flight(wire, sack=False)
    wire("""
        +.1 < . 1:1(0) ack 1 win 258
        +0  < . 1:1(0) ack 1 win 259
        +0  < . 1:1(0) ack 1 win 260
    """)
    assert wire.stats["tcp.dupacks.in"] == 0


def test_duplicate_acks_with_nothing_in_flight_are_ignored(wire: Wire) -> None:
    """RFC 5681 2 (a)."""
    wire.established(rtt=0.1)
    for _ in range(5):
        wire("+0 < . 1:1(0) ack 1 win 257")
    assert wire.stats["tcp.dupacks.in"] == 0


def test_an_optimistic_ack_is_not_believed(wire: Wire) -> None:
    """An ACK of what was never sent; RFC 9293 3.10.7.4 fifth: ACK, drop."""
    sock = flight(wire, sack=False)
    cwnd = sock.info.cwnd
    wire("""
        +.1 < . 1:1(0) ack 5002 win 257
        +0  > . 5001:5001(0) ack 1
    """)
    assert sock.info.cwnd == cwnd
    assert wire.stats["tcp.drop.ack"] == 1


def test_split_acks_do_not_open_the_window_faster(wire: Wire) -> None:
    """RFC 3465: bytes count, not ACKs."""
    sock = flight(wire, sack=False)
    cwnd = sock.info.cwnd
    wire("\n".join(f"+0 < . 1:1(0) ack {ack} win 257" for ack in range(11, 1002, 10)))
    assert sock.info.cwnd <= cwnd + 1000


def test_a_loss_after_two_gigabytes_without_one_is_still_resent_fast() -> None:
    """RFC 6582 3.2 step 1 compares with recover, which must not come to seem ahead at the wrap."""
    wire = Wire(mtu=65535)
    sock = wire.established(mss=65495, wscale=14, sack=False)
    sock.setopt("SNDBUF", 1 << 22)
    engine, block = wire.engine, bytes(1 << 22)
    done = 0
    while done < 1 << 31:  # below the wire, which would look at every byte
        done += engine.send(sock.handle, block)
        while engine.extract():
            pass
        while sock.info.unsent:
            ack(wire, sock)
        ack(wire, sock)
    assert engine.send(sock.handle, block[:500_000]) == 500_000
    while engine.extract():
        pass
    for _ in range(3):
        ack(wire, sock, sock.info.snd_una)
    assert wire.stats["tcp.rexmt.fast"] == 1
    sock.abort()
    wire.sent.clear()
    wire.finish()


def ack(wire: Wire, sock: Sock, seq: int | None = None) -> None:
    """Acknowledge all that was sent, or so far."""
    info = sock.info
    number = (info.snd_max if seq is None else seq) - info.iss & 0xFFFFFFFF
    line = notation.parse_line(f"+0 < . 1:1(0) ack {number} win 65535")
    wire.engine.inject(wire.default.frame(line.segment))
    while wire.engine.extract():
        pass


def test_an_ack_of_new_data_makes_duplicates_count_anew(wire: Wire) -> None:
    """RFC 5681 3.2: three in a row; without SACK."""
    flight(wire, sack=False)
    wire("""
        +.1 < . 1:1(0) ack 1 win 257
        +0  < . 1:1(0) ack 1 win 257
        +0  < . 1:1(0) ack 1001 win 257
        +0  < . 1:1(0) ack 1001 win 257
        +0  < . 1:1(0) ack 1001 win 257
        +0  < . 1:1(0) ack 1001 win 257
        +0  > . 1001:2001(1000) ack 1
    """)
    assert wire.stats["tcp.rexmt.fast"] == 1
