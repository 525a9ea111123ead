# SPDX-License-Identifier: BSD-3-Clause
"""Retransmission timeout: RFC 6298, RFC 9293 3.8.1 and 3.8.3."""

from __future__ import annotations

import errno

import pytest

from wire import Wire

pytestmark = pytest.mark.both_versions


@pytest.fixture(autouse=True)
def without_probes(wire: Wire) -> None:
    """A tail loss probe would come before the timeout; test_tlp.py has those."""
    wire.settings(tcp_early_retrans=0)


RTO = 0.3  # after a first sample of 100 ms: 0.1 + 4 * 0.05


@pytest.mark.rfc("MUST-19", "2525-10")
def test_the_rto_doubles_each_time(wire: Wire) -> None:
    """RFC 6298 5.5."""
    sock = wire.established(rtt=0.1)
    sock.send(1000)
    wire("""
        +0   > P. 1:1001(1000) ack 1
        +.3  > P. 1:1001(1000) ack 1
        +.6  > P. 1:1001(1000) ack 1
        +1.2 > P. 1:1001(1000) ack 1
        +2.4 > P. 1:1001(1000) ack 1
        +4.8 > P. 1:1001(1000) ack 1
        +.1  < .  1:1(0) ack 1001 win 257
    """)
    assert wire.stats["tcp.rexmt.rto"] == 5
    wire.quiet(30)


@pytest.mark.rfc("2525-7", "MUST-18")
def test_the_rto_without_a_measurement_starts_at_one_second(wire: Wire) -> None:
    """RFC 6298 2.1, 2.4; M14: 1, 2, 4 …"""
    wire.options["profile"] = "rfc"
    wire.connect()
    syn = "> S 0:0(0) <...>"
    wire("\n".join(f"{t} {syn}" for t in ("+0", "+1", "+2", "+4", "+8", "+16", "+32")))


def test_the_rto_is_never_more_than_its_maximum(wire: Wire) -> None:
    """RFC 6298 2.5."""
    wire.settings(tcp_rto_max_ms=2000)
    sock = wire.established(rtt=0.1)
    sock.send(1000)
    lines = "> P. 1:1001(1000) ack 1"
    wire("\n".join(f"{t} {lines}" for t in ("+0", "+.3", "+.6", "+1.2", "+2", "+2", "+2")))


@pytest.mark.rfc("MUST-19", "2525-2", "2525-14")
def test_a_timeout_resends_one_segment_and_then_slow_starts(wire: Wire) -> None:
    """RFC 6298 5.4; RFC 5681 3.1: the loss window is one segment; go back from there."""
    wire.settings(tcp_congestion_control="reno")
    sock = wire.established(rtt=0.1)
    sock.send(4000)
    wire("""
        +0  > .  1:1001(1000)    ack 1
        +0  > .  1001:2001(1000) ack 1
        +0  > .  2001:3001(1000) ack 1
        +0  > P. 3001:4001(1000) ack 1
        +.3 > .  1:1001(1000)    ack 1
    """)
    assert sock.info.cwnd == 1000
    assert sock.info.ssthresh == 2000
    wire("""
        +.1 < .  1:1(0) ack 1001 win 257
        +0  > .  1001:2001(1000) ack 1
        +0  > .  2001:3001(1000) ack 1
        +.1 < .  1:1(0) ack 4001 win 257
    """)
    assert sock.info.retransmits == 0
    wire.quiet(10)


def test_a_repeated_timeout_holds_ssthresh(wire: Wire) -> None:
    """RFC 5681 3.1 (equation 4 only for the first)."""
    wire.settings(tcp_congestion_control="reno")
    sock = wire.established(rtt=0.1)
    sock.send(8000)
    wire(
        "\n".join(
            [f"+0 > . {1 + i * 1000}:{1001 + i * 1000}(1000) ack 1" for i in range(7)]
            + ["+0 > P. 7001:8001(1000) ack 1", "+.3 > . 1:1001(1000) ack 1"]
        )
    )
    assert sock.info.ssthresh == 4000
    wire("""
        +.1 < . 1:1(0) ack 1 win 10
        +.5 > . 1:1001(1000) ack 1
    """)
    assert sock.info.ssthresh == 4000


def test_an_ack_of_new_data_restarts_the_timer(wire: Wire) -> None:
    """RFC 6298 5.3."""
    sock = wire.established(rtt=0.1)
    sock.send(2000)
    wire("""
        +0  > .  1:1001(1000)    ack 1
        +0  > P. 1001:2001(1000) ack 1
        +.1 < .  1:1(0) ack 1001 win 257
    """)
    rto = sock.info.rto_us / 1e6
    wire(f"+{rto} > P. 1001:2001(1000) ack 1")


def test_the_timer_stops_when_all_is_acknowledged(wire: Wire) -> None:
    """RFC 6298 5.2."""
    sock = wire.established(rtt=0.1)
    sock.send(1000)
    wire("""
        +0  > P. 1:1001(1000) ack 1
        +.1 < .  1:1(0) ack 1001 win 257
    """)
    assert sock.info.rexmt == 0
    wire.quiet(300)


@pytest.mark.rfc("MUST-18")
def test_a_retransmitted_segment_is_not_timed_without_timestamps(wire: Wire) -> None:
    """Karn: RFC 6298 3, MUST-18."""
    sock = wire.established(rtt=0.1)
    sock.send(1000)
    before = sock.info.srtt_us
    wire("""
        +0   > P. 1:1001(1000) ack 1
        +.3  > P. 1:1001(1000) ack 1
        +.01 < .  1:1(0) ack 1001 win 257
    """)
    assert sock.info.srtt_us == before


@pytest.mark.rfc("MUST-18")
def test_a_fast_retransmitted_segment_is_not_timed_without_timestamps(wire: Wire) -> None:
    """Karn: RFC 6298 3, MUST-18."""
    sock = wire.established(rtt=0.05, sack=False)
    sock.send(4000)
    before = sock.info.srtt_us
    wire("""
        +0  > .  1:1001(1000)    ack 1
        +0  > .  1001:2001(1000) ack 1
        +0  > .  2001:3001(1000) ack 1
        +0  > P. 3001:4001(1000) ack 1
        +.1 < .  1:1(0) ack 1 win 257
        +0  < .  1:1(0) ack 1 win 257
        +0  < .  1:1(0) ack 1 win 257
        +0  > .  1:1001(1000)    ack 1
        +.1 < .  1:1(0) ack 4001 win 257
    """)
    assert sock.info.srtt_us == before


def test_a_retransmitted_segment_is_timed_with_timestamps(wire: Wire) -> None:
    """RFC 7323 4.1: the echo says which transmission it was."""
    sock = wire.established(rtt=0.1, ts=True)
    sock.send(1000)
    wire(
        "+0 > P. 1:989(988) ack 1 <...>\n +0 > P. 989:1001(12) ack 1 <...>".replace("P. 1:", ". 1:")
    )
    before = sock.info.srtt_us
    _, segment = wire.take(2.0)
    assert segment.seq == 1
    tsval = next(option[1] for option in segment.options if option[0] == "TS")
    wire(f"+.02 < . 1:1(0) ack 1001 win 257 <nop,nop,TS val 500 ecr {tsval}>")
    assert sock.info.srtt_us < before


def test_the_rto_adapts_without_timestamps(wire: Wire) -> None:
    """D10: RFC 6298 2.3, one sample per flight."""
    sock = wire.established(rtt=0.1)
    for i in range(20):
        sock.send(1000)
        wire(
            f"""
            +0  > P. {1 + i * 1000}:{1001 + i * 1000}(1000) ack 1
            +.4 < .  1:1(0) ack {1001 + i * 1000} win 257
        """
            if i
            else """
            +0   > P. 1:1001(1000) ack 1
            +.29 < .  1:1(0) ack 1001 win 257
        """
        )
    assert 350_000 < sock.info.srtt_us < 410_000
    assert sock.info.rto_us > 550_000


def test_the_first_sample_sets_srtt_and_rttvar(wire: Wire) -> None:
    """RFC 6298 2.2."""
    info = wire.established(rtt=0.2).info
    assert (info.srtt_us, info.rttvar_us, info.rto_us) == (200_000, 100_000, 600_000)


@pytest.mark.rfc("MUST-20", "SHLD-11")
def test_the_sender_gives_up_after_r2_and_says_so(wire: Wire) -> None:
    """RFC 9293 3.8.3 (MUST-20, SHLD-11: at least 100 s)."""
    sock = wire.established(rtt=0.1)
    sock.send(1000)
    wire("+0 > P. 1:1001(1000) ack 1")
    wire.advance(100)
    assert sock.state == "ESTABLISHED"
    wire.advance(2000)
    assert sock.state == "CLOSED"
    assert sock.error == errno.ETIMEDOUT
    assert wire.stats["tcp.rexmt.rto"] == 15
    assert wire.stats["tcp.timeouts"] == 1
    assert all(sent.frame[14 + 20 + 13] & 4 == 0 for sent in list(wire.sent)[:15])
    wire.sent.clear()


def test_a_lost_syn_resets_the_rto_to_three_seconds_for_data(wire: Wire) -> None:
    """RFC 6298 5.7: without a sample, because of Karn."""
    wire.settings(tcp_timestamps=0)
    sock = wire.connect()
    wire("""
        +0  > S  0:0(0) <...>
        +1  > S  0:0(0) <...>
        +.1 < S. 0:0(0) ack 1 win 65535 <mss 1000>
        +0  > .  1:1(0) ack 1
    """)
    sock.send(1000)
    wire("""
        +0 > P. 1:1001(1000) ack 1
        +3 > P. 1:1001(1000) ack 1
    """)


def test_a_lost_syn_makes_the_initial_window_one_segment(wire: Wire) -> None:
    """RFC 6928 2, RFC 5681 3.1."""
    wire.settings(tcp_timestamps=0)
    sock = wire.connect()
    wire("""
        +0  > S  0:0(0) <...>
        +1  > S  0:0(0) <...>
        +.1 < S. 0:0(0) ack 1 win 65535 <mss 1000>
        +0  > .  1:1(0) ack 1
    """)
    sock.send(3000)
    wire("+0 > . 1:1001(1000) ack 1")


@pytest.mark.rfc("MUST-19", "2525-1")
def test_the_initial_window_is_ten_segments(wire: Wire) -> None:
    """RFC 6928 2."""
    sock = wire.established(rtt=0.1)
    sock.send(20_000)
    wire("\n".join(f"+0 > . {1 + i * 1000}:{1001 + i * 1000}(1000) ack 1" for i in range(10)))
    wire(
        "\n".join(
            ["+.1 < . 1:1(0) ack 2001 win 257"]
            + [f"+0 > . {1 + i * 1000}:{1001 + i * 1000}(1000) ack 1" for i in range(10, 14)]
        )
    )


def test_after_a_timeout_bytes_are_counted_from_nothing(wire: Wire) -> None:
    """RFC 5681 3.1: a window of three segments grows when three have been acknowledged."""
    wire.settings(tcp_congestion_control="reno", tcp_early_retrans=0, tcp_frto=0)
    sock = wire.established(mss=1000, rtt=0.1)
    sock.send(4000)
    wire.advance(0.35)
    wire.sent.clear()
    wire.put("+.1 < . 1:1(0) ack 4001 win 257")
    assert (sock.info.cwnd, sock.info.ssthresh) == (3000, 2000)  # 1000 are left over
    sock.send(3000)
    wire.sent.clear()
    wire.put("+.1 < . 1:1(0) ack 6000 win 257")
    assert sock.info.cwnd == 3000
    wire.put("+0 < . 1:1(0) ack 6001 win 257")
    assert sock.info.cwnd == 4000
    wire.put("+0 < . 1:1(0) ack 7001 win 257")
