# SPDX-License-Identifier: BSD-3-Clause
"""Closing a connection: RFC 9293 3.6, 3.10.4; TIME-WAIT."""

from __future__ import annotations

import pytest

import notation
import rig
from wire import Sock, Wire, pattern

pytestmark = pytest.mark.both_versions


@pytest.mark.rfc("MUST-13")
def test_the_side_that_closes_first_passes_through_time_wait(wire: Wire) -> None:
    """RFC 9293 3.6 figure 12; MUST-13."""
    sock = wire.established(rtt=0.1)
    sock.close()
    wire("+0 > F. 1:1(0) ack 1")
    assert sock.state == "FIN_WAIT_1"
    wire("+.1 < . 1:1(0) ack 2 win 257")
    assert sock.state == "FIN_WAIT_2"
    wire("""
        +.1 < F. 1:1(0) ack 2 win 257
        +0  > .  2:2(0) ack 2
    """)
    assert sock.state == "TIME_WAIT"
    assert wire.engine.usage().tcbs == 1  # the listener: a TIME-WAIT record is no TCB
    wire.quiet(59.9)
    assert sock.state == "TIME_WAIT"
    wire.quiet(0.2)
    assert sock.state == "CLOSED"
    assert wire.engine.usage().timewaits == 0


def test_the_side_that_closes_second_ends_at_once(wire: Wire) -> None:
    """RFC 9293 3.6 figure 12, TCP peer B."""
    sock = wire.established(rtt=0.1)
    wire("""
        +0      < F. 1:1(0) ack 1 win 257
        +0~+.05 > .  1:1(0) ack 2
    """)
    assert sock.recv() == b""
    sock.close()
    wire("+0 > F. 1:1(0) ack 2")
    assert sock.state == "LAST_ACK"
    wire("+.1 < . 2:2(0) ack 2 win 257")
    assert sock.state == "CLOSED"
    assert wire.engine.usage().tcbs == 1
    assert wire.engine.usage().timers == 0


def test_a_simultaneous_close_ends_both_in_time_wait(wire: Wire) -> None:
    """RFC 9293 3.6 figure 13."""
    sock = wire.established(rtt=0.1)
    sock.close()
    wire("""
        +0  > F. 1:1(0) ack 1
        +.1 < F. 1:1(0) ack 1 win 257
        +0  > .  2:2(0) ack 2
    """)
    assert sock.state == "CLOSING"
    wire("+.1 < . 2:2(0) ack 2 win 257")
    assert sock.state == "TIME_WAIT"


def test_a_fin_that_acknowledges_ours_goes_straight_to_time_wait(wire: Wire) -> None:
    """RFC 9293 3.10.7.4 eighth, FIN-WAIT-1."""
    sock = wire.established(rtt=0.1)
    sock.close()
    wire("""
        +0  > F. 1:1(0) ack 1
        +.1 < F. 1:1(0) ack 2 win 257
        +0  > .  2:2(0) ack 2
    """)
    assert sock.state == "TIME_WAIT"


def test_a_half_closed_connection_still_receives(wire: Wire) -> None:
    """RFC 9293 3.6: the other side may send until it, too, closes."""
    sock = wire.established(rtt=0.1)
    sock.shutdown()
    wire("""
        +0      > F. 1:1(0) ack 1
        +.1     < .  1:1(0) ack 2 win 257
        +1      < P. 1:501(500) ack 2 win 257
        +0~+.05 > .  2:2(0) ack 501
    """)
    assert sock.recv() == pattern(1, 501)
    with pytest.raises(BrokenPipeError):
        sock.send(b"more")
    wire("""
        +1 < FP. 501:601(100) ack 2 win 257
        +0 > .   2:2(0) ack 602
    """)
    assert sock.recv() == pattern(501, 601)
    assert sock.recv() == b""


def test_a_half_closed_connection_still_sends(wire: Wire) -> None:
    """RFC 9293 3.6, CLOSE-WAIT."""
    sock = wire.established(rtt=0.1)
    wire("""
        +0      < F. 1:1(0) ack 1 win 257
        +0~+.05 > .  1:1(0) ack 2
    """)
    sock.send(1500)
    wire("""
        +0  > .  1:1001(1000)   ack 2
        +0  > P. 1001:1501(500) ack 2
        +.1 < .  2:2(0) ack 1501 win 257
    """)
    sock.close()
    wire("+0 > F. 1501:1501(0) ack 2\n +.1 < . 2:2(0) ack 1502 win 257")
    assert sock.state == "CLOSED"


def test_close_sends_what_is_queued_before_the_fin(wire: Wire) -> None:
    """RFC 9293 3.10.4."""
    sock = wire.established(rtt=0.1, wscale=None, win=2000)
    sock.send(3000)
    sock.close()
    wire("""
        +0  > .   1:1001(1000)    ack 1
        +0  > .   1001:2001(1000) ack 1
        +.1 < .   1:1(0) ack 2001 win 2000
        +0  > FP. 2001:3001(1000) ack 1
    """)


def test_a_fin_with_data_delivers_the_data_first(wire: Wire) -> None:
    """RFC 9293 3.10.7.4 seventh, then eighth."""
    sock = wire.established()
    wire("""
        +0 < FP. 1:501(500) ack 1 win 257
        +0 > .   1:1(0) ack 502
    """)
    assert sock.state == "CLOSE_WAIT"
    assert sock.recv() == pattern(1, 501)
    assert sock.recv() == b""


@pytest.mark.rfc("SHLD-31")
def test_a_fin_out_of_order_waits_for_the_data_before_it(wire: Wire) -> None:
    """RFC 9293 3.10.7.4: segments with higher beginning numbers are held (SHLD-31)."""
    sock = wire.established(sack=False)
    wire("""
        +0 < FP. 501:1001(500) ack 1 win 257
        +0 > .   1:1(0) ack 1
    """)
    assert sock.state == "ESTABLISHED"
    wire("""
        +0 < . 1:501(500) ack 1 win 257
        +0 > . 1:1(0) ack 1002
    """)
    assert sock.state == "CLOSE_WAIT"
    assert sock.recv() == pattern(1, 1001)


def test_text_behind_a_fin_is_not_delivered(wire: Wire) -> None:
    """RFC 9293 3.10.7.4 seventh, CLOSE-WAIT: ignore the segment text."""
    sock = wire.established()
    wire("""
        +0 < F. 1:1(0) ack 1 win 257
        +0 > .  1:1(0) ack 2
        +0 < P. 2:102(100) ack 1 win 257
    """)
    assert sock.recv() == b""
    assert sock.info.inq == 0


def test_a_lost_fin_is_sent_again(wire: Wire) -> None:
    """RFC 9293 3.10.7.4, RFC 6298: a FIN is retransmitted like data."""
    wire.settings(tcp_early_retrans=0)
    sock = wire.established(rtt=0.1)
    sock.close()
    wire("""
        +0  > F. 1:1(0) ack 1
        +.3 > F. 1:1(0) ack 1
        +.6 > F. 1:1(0) ack 1
        +0  < .  1:1(0) ack 2 win 257
    """)
    assert sock.state == "FIN_WAIT_2"


def test_a_lost_segment_before_a_fin_is_sent_again_with_it(wire: Wire) -> None:
    sock = wire.established(rtt=0.1)
    sock.setopt("CORK", 1)
    sock.send(500)
    sock.close()
    wire("""
        +0  > FP. 1:501(500) ack 1
        +.3 > FP. 1:501(500) ack 1
        +.1 < .   1:1(0) ack 502 win 257
    """)
    assert sock.state == "FIN_WAIT_2"


def test_a_fin_is_retried_a_limited_number_of_times_for_an_orphan(wire: Wire) -> None:
    """Linux tcp_orphan_retries; nobody waits for it any more."""
    wire.settings(tcp_orphan_retries=3)
    wire.settings(tcp_early_retrans=0)
    sock = wire.established(rtt=0.1)
    sock.close()
    wire.advance(60)
    fins = [s for _, s in iter(wire.take, None) if "F" in s.flags]
    assert len(fins) == 1 + 3
    assert sock.state == "CLOSED"
    assert wire.engine.usage().tcbs == 1
    wire.sent.clear()


def test_an_orphan_does_not_stay_in_fin_wait_2(wire: Wire) -> None:
    """Linux tcp_fin_timeout: the peer may be gone."""
    sock = wire.established(rtt=0.1)
    sock.close()
    wire("""
        +0  > F. 1:1(0) ack 1
        +.1 < .  1:1(0) ack 2 win 257
    """)
    wire.advance(61)
    wire.sent.clear()
    assert sock.state in ("CLOSED", "TIME_WAIT")
    assert wire.engine.usage().tcbs == 1


def test_a_half_close_stays_in_fin_wait_2_while_the_application_holds_it(wire: Wire) -> None:
    """RFC 9293 3.6: no time limit on the other side's data."""
    sock = wire.established(rtt=0.1)
    sock.shutdown()
    wire("""
        +0  > F. 1:1(0) ack 1
        +.1 < .  1:1(0) ack 2 win 257
    """)
    wire.quiet(3600)
    assert sock.state == "FIN_WAIT_2"


@pytest.mark.rfc("SHLD-3", "MAY-1", "2525-17")
def test_close_with_unread_data_resets(wire: Wire) -> None:
    """RFC 9293 3.6.1 (SHLD-3), RFC 2525 2.17: the peer learns that data was lost."""
    sock = wire.established()
    wire("""
        +0      < P. 1:101(100) ack 1 win 257
        +0~+.05 > .  1:1(0) ack 101
    """)
    sock.close()
    wire("+0 > R. 1:1(0) ack 101")
    assert sock.state == "CLOSED"


@pytest.mark.rfc("SHLD-3", "MAY-1", "2525-16")
def test_data_after_close_resets(wire: Wire) -> None:
    """RFC 9293 3.6.1 (SHLD-3); RFC 1122 4.2.2.13."""
    sock = wire.established(rtt=0.1)
    sock.close()
    wire("""
        +0  > F. 1:1(0) ack 1
        +.1 < .  1:1(0) ack 2 win 257
    """)
    wire.inject(wire.default.frame(notation.parse_segment("P. 1:101(100) ack 2 win 257")))
    taken = wire.take()
    assert taken is not None and "R" in taken[1].flags and taken[1].seq == 2
    assert sock.state == "CLOSED"


def test_data_for_a_connection_shut_for_reading_is_discarded(wire: Wire) -> None:
    """As Linux: SHUT_RD reads the end; the stream goes on."""
    sock = wire.established()
    sock.shutdown(0)
    assert sock.recv() == b""
    assert sock.state == "ESTABLISHED"


# ------------------------------------------------------------------ TIME-WAIT


def time_wait(wire: Wire, **options: object) -> Sock:
    """A connection in TIME-WAIT."""
    sock = wire.established(rtt=0.1, **options)  # type: ignore[arg-type]
    sock.close()
    ts = " <nop,nop,TS val 200 ecr 100>" if options.get("ts") else ""
    any_options = " <...>" if ts else ""
    wire(f"""
        +0  > F. 1:1(0) ack 1 {any_options}
        +.1 < F. 1:1(0) ack 2 win 257 {ts}
        +0  > .  2:2(0) ack 2 {any_options}
    """)
    assert sock.state == "TIME_WAIT"
    return sock


def test_a_repeated_fin_is_acknowledged_and_restarts_time_wait(wire: Wire) -> None:
    """RFC 9293 3.10.7.4 fifth, eighth: 2 MSL again."""
    sock = time_wait(wire)
    wire.quiet(50)
    wire("""
        +0 < F. 1:1(0) ack 2 win 257
        +0 > .  2:2(0) ack 2
    """)
    wire.quiet(59)
    assert sock.state == "TIME_WAIT"
    wire.quiet(1.1)
    assert sock.state == "CLOSED"


def test_a_rst_does_not_end_time_wait(wire: Wire) -> None:
    """RFC 1337 3: TIME-WAIT assassination."""
    sock = time_wait(wire)
    wire("+1 < R 2:2(0)\n +0 < R. 2:2(0) ack 2")
    assert sock.state == "TIME_WAIT"


@pytest.mark.rfc("MAY-2")
def test_a_newer_syn_reopens_time_wait_with_a_greater_isn(wire: Wire) -> None:
    """RFC 1122 4.2.2.13, RFC 6191: ISN beyond what the old connection used (MUST-8)."""
    time_wait(wire)
    old = wire.default.iss
    wire("""
        +1 < S  100000:100000(0) win 65535 <mss 1000>
        +0 > S. 0:0(0) ack 100001 <mss 1460>
    """)
    assert wire.default.state == "SYN_RECEIVED"
    assert wire.stats["tcp.timewait.reused"] == 1
    assert old is not None and 0 < (wire.default.iss - old) % 2**32 < 2**31
    wire("+0 < . 100001:100001(0) ack 1 win 65535")
    assert wire.accept().state == "ESTABLISHED"


def test_a_syn_with_fin_does_not_end_time_wait(wire: Wire) -> None:
    """A listener takes none, so it must not cost the record either (RFC 9293 MUST-13)."""
    time_wait(wire)
    wire("+1 < SF 100000:100000(0) win 65535\n+0 > . 2:2(0) ack 2")
    assert wire.default.state == "TIME_WAIT"
    assert wire.stats["tcp.timewait.reused"] == 0


def test_a_reopened_connection_begins_beyond_the_numbers_of_the_old_one(wire: Wire) -> None:
    """RFC 1122 4.2.2.13 (1): even if the old one has outrun the ISN clock."""
    sock = wire.established(mss=1460, win=10_000)
    sock.send(500_000)
    wire.deliver(sock, rtt=0.001, win=10_000)
    sock.close()
    wire("""
        +0 > F. 500001:500001(0) ack 1
        +0 < F. 1:1(0) ack 500002 win 257
        +0 > .  500002:500002(0) ack 2
    """)
    last = ((wire.default.iss or 0) + 500_002) % 2**32
    wire("""
        +0 < S  100000:100000(0) win 65535 <mss 1000>
        +0 > S. 0:0(0) ack 100001 <mss 1460>
    """)
    assert 0 < ((wire.default.iss or 0) - last) % 2**32 < 2**31


def test_a_new_syn_that_a_full_listener_refuses_leaves_time_wait(wire: Wire) -> None:
    """RFC 9293 MUST-13: the record goes only when a new connection takes its place."""
    sock = time_wait(wire)
    rig.check(rig.lib.ust_listen(wire.engine.raw, wire._listener, 0))
    wire.peer(5000)("""
        +0 < S  0:0(0) win 65535 <mss 1000>
        +0 > S. 0:0(0) ack 1 <...>
    """)
    wire("+.1 < S 100000:100000(0) win 65535 <mss 1000>")
    assert sock.state == "TIME_WAIT"


def test_an_older_syn_does_not_reopen_time_wait(wire: Wire) -> None:
    """RFC 1122 4.2.2.13 (2); RFC 5961 4.2."""
    sock = time_wait(wire)
    wire("""
        +1 < S -1000:-1000(0) win 65535 <mss 1000>
        +0 > . 2:2(0) ack 2
    """)
    assert sock.state == "TIME_WAIT"


@pytest.mark.rfc("SHLD-4")
def test_a_newer_timestamp_reopens_time_wait_whatever_the_number(wire: Wire) -> None:
    """RFC 6191 2."""
    time_wait(wire, ts=True)
    wire("""
        +1 < S  -1000:-1000(0) win 65535 <mss 1000,sackOK,TS val 5000 ecr 0>
        +0 > S. 0:0(0) ack -999 <...>
    """)
    assert wire.default.state == "SYN_RECEIVED"


@pytest.mark.rfc("SHLD-4")
def test_an_older_timestamp_does_not_reopen_time_wait(wire: Wire) -> None:
    """RFC 6191 2."""
    sock = time_wait(wire, ts=True)
    wire("""
        +1 < S 100000:100000(0) win 65535 <mss 1000,sackOK,TS val 10 ecr 0>
        +0 > . 2:2(0) ack 2 <...>
    """)
    assert sock.state == "TIME_WAIT"


def test_time_wait_records_are_bounded(wire: Wire) -> None:
    """The oldest goes."""
    wire.settings(tcp_max_tw_buckets=4)
    for i in range(10):
        peer = wire.peer(50_000 + i)
        sock = wire.established(rtt=0.1, peer=peer)
        sock.close()
        peer("""
            +0  > F. 1:1(0) ack 1
            +.1 < F. 1:1(0) ack 2 win 257
            +0  > .  2:2(0) ack 2
        """)
    assert wire.engine.usage().timewaits == 4
    assert wire.stats["tcp.timewait.evicted"] == 6
    wire.quiet(100)
    assert wire.engine.usage().timewaits == 0
    assert wire.engine.usage().timers == 0


@pytest.mark.rfc("MUST-13")
def test_time_wait_of_the_rfc_profile_lasts_two_msl(wire: Wire) -> None:
    """RFC 9293 MUST-13: MSL is 2 minutes."""
    wire.options["profile"] = "rfc"
    wire.settings(tcp_delack_ms=40)
    sock = time_wait(wire)
    wire.quiet(239)
    assert sock.state == "TIME_WAIT"
    wire.quiet(2)
    assert sock.state == "CLOSED"


def test_text_behind_a_fin_is_thrown_away(wire: Wire) -> None:
    """RFC 9293 3.10.7.4 seventh: there is none after a FIN."""
    sock = wire.established()
    wire("""
        +0 < .  2:12(10) ack 1 win 257
        +0 > .  1:1(0) ack 1 <sack 2:12>
        +0 < F. 1:1(0) ack 1 win 257
        +0 > .  1:1(0) ack 2
    """)
    assert sock.state == "CLOSE_WAIT"
    assert wire.engine.usage().reass == 0
    assert wire.engine.usage().mbufs_small == 0


def test_text_for_an_orphan_is_answered_as_for_no_connection(wire: Wire) -> None:
    """RFC 9293 3.6.1; Linux: a RST with the segment's own ACK as its number, which is believed."""
    sock = wire.established(rtt=0.1)
    sock.close()
    wire("""
        +0  > F. 1:1(0) ack 1
        +.1 < .  1:2(1) ack 1 win 257
        +0  > R  1:1(0)
    """)
    assert wire.default.state == "CLOSED"
