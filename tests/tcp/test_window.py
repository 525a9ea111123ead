# SPDX-License-Identifier: BSD-3-Clause
"""Windows: zero-window probes, shrinking, silly windows, what we offer (RFC 9293 3.8.6)."""

from __future__ import annotations

import pytest

from notation import Segment
from wire import Sock, Wire

pytestmark = pytest.mark.both_versions


def is_probe(segment: Segment, una: int) -> bool:
    """A zero-window probe: one new byte, or one old or no byte at the left edge."""
    return segment.length <= 1 and segment.seq in (una - 1, una) and "." in segment.flags


def stalled(wire: Wire) -> Sock:
    """A connection whose peer has closed its window with 1000 bytes still to send."""
    sock = wire.established(wscale=None, win=2000, rtt=0.1)
    sock.send(3000)
    wire("""
        +0  > .  1:1001(1000)    ack 1
        +0  > .  1001:2001(1000) ack 1
        +.1 < .  1:1(0) ack 2001 win 0
    """)
    return sock


@pytest.mark.rfc("MUST-36", "SHLD-29", "SHLD-30")
def test_a_closed_window_is_probed_at_growing_intervals(wire: Wire) -> None:
    """RFC 9293 3.8.6.1 (MUST-36, SHLD-29, SHLD-30): first after an RTO, then doubling."""
    sock = stalled(wire)
    rto = sock.info.rto_us / 1e6
    gaps = []
    for _ in range(5):
        taken = wire.take(30)
        assert taken is not None and is_probe(taken[1], 2001)
        gaps.append(taken[0])
    assert gaps[0] == pytest.approx(rto, rel=0.5)
    for before, after in zip(gaps, gaps[1:], strict=False):
        assert after == pytest.approx(2 * before, rel=0.3)
    assert wire.stats["tcp.probes"] == 5
    wire.default.sock.abort()
    wire.sent.clear()


@pytest.mark.rfc("MUST-37")
def test_a_window_may_stay_closed_as_long_as_probes_are_acknowledged(wire: Wire) -> None:
    """RFC 9293 MUST-37: an hour, then it goes on."""
    sock = stalled(wire)
    end = wire.engine.now + 3600 * 10**9
    while wire.engine.now < end:
        taken = wire.take(200)
        assert taken is not None and is_probe(taken[1], 2001)
        wire("+0 < . 1:1(0) ack 2001 win 0")
    assert sock.state == "ESTABLISHED"
    wire("""
        +0 < .  1:1(0) ack 2001 win 2000
        +0 > P. 2001:3001(1000) ack 1
        +0 < .  1:1(0) ack 3001 win 2000
    """)


def test_unanswered_probes_end_the_connection(wire: Wire) -> None:
    """RFC 9293 3.8.3 R2 holds for probes, too: nobody is there any more."""
    sock = stalled(wire)
    wire.advance(4000)
    assert sock.state == "CLOSED"
    wire.sent.clear()


@pytest.mark.rfc("2525-12")
def test_a_window_update_resumes_at_once(wire: Wire) -> None:
    stalled(wire)
    wire("""
        +.05 < .  1:1(0) ack 2001 win 2000
        +0   > P. 2001:3001(1000) ack 1
    """)


def test_a_fin_waits_behind_a_closed_window_and_then_goes(wire: Wire) -> None:
    """D14."""
    sock = stalled(wire)
    sock.close()
    taken = wire.take(2)
    assert taken is not None and is_probe(taken[1], 2001)
    wire("""
        +.01 < .  1:1(0) ack 2001 win 2000
        +0   > FP. 2001:3001(1000) ack 1
        +0   < F. 1:1(0) ack 3002 win 2000
        +0   > .  3002:3002(0) ack 2
    """)


def test_a_fin_alone_needs_no_window(wire: Wire) -> None:
    """D14: nothing to send but a FIN while the window is 0; both sides end."""
    sock = wire.established(wscale=None, win=1000, rtt=0.1)
    sock.send(1000)
    wire("""
        +0  > P. 1:1001(1000) ack 1
        +.1 < .  1:1(0) ack 1001 win 0
    """)
    sock.close()
    taken = wire.take(2)
    assert taken is not None
    if "F" not in taken[1].flags:
        assert is_probe(taken[1], 1001)
        wire.put("+0 < . 1:1(0) ack 1001 win 1000")
        taken = wire.take()
    assert taken is not None and "F" in taken[1].flags and taken[1].seq == 1001
    wire("+0 < . 1:1(0) ack 1002 win 1000")
    assert sock.state == "FIN_WAIT_2"


def test_a_closed_window_does_not_hold_an_orphan_for_ever(wire: Wire) -> None:
    """As Linux: tcp.orphan_retries probes, answered or not; else peers could pile them up."""
    sock = stalled(wire)
    sock.close()
    probes = 0
    while probes < 20 and (taken := wire.take(121)):
        assert is_probe(taken[1], 2001)
        wire.put("+0 < . 1:1(0) ack 2001 win 0")
        probes += 1
    assert probes == 8
    assert sock.state == "CLOSED" and wire.stats["tcp.timeouts"] == 1
    assert wire.engine.usage().tcbs == 1  # the listener's


def test_an_orphan_whose_window_opens_may_be_probed_anew(wire: Wire) -> None:
    """The limit is for one stall."""
    sock = stalled(wire)
    sock.close()
    for _ in range(7):
        assert wire.take(121) is not None
        wire.put("+0 < . 1:1(0) ack 2001 win 0")
    wire.put("+0 < . 1:1(0) ack 2001 win 500")
    assert wire.take(121) is not None
    wire.put("+0 < . 1:1(0) ack 2501 win 0")
    for _ in range(8):
        taken = wire.take(121)
        assert taken is not None and is_probe(taken[1], 2501)
        wire.put("+0 < . 1:1(0) ack 2501 win 0")
    wire.quiet(200)
    assert sock.state == "CLOSED"


@pytest.mark.rfc("MUST-34", "SHLD-15", "SHLD-16", "MAY-7")
def test_a_peer_that_shrinks_its_window_is_borne(wire: Wire) -> None:
    """RFC 9293 3.8.6 (MUST-34, SHLD-15, SHLD-16, SHLD-17)."""
    sock = wire.established(wscale=None, win=4000, rtt=0.1)
    sock.send(8000)
    wire("""
        +0  > .  1:1001(1000)    ack 1
        +0  > .  1001:2001(1000) ack 1
        +0  > .  2001:3001(1000) ack 1
        +0  > .  3001:4001(1000) ack 1
        +.1 < .  1:1(0) ack 1001 win 1000
    """)
    assert sock.state == "ESTABLISHED"
    taken = wire.take(2)
    assert taken is not None and taken[1].seq + taken[1].length <= 2001
    wire.put("+.1 < . 1:1(0) ack 4001 win 4000")
    seqs = [segment.seq for _, segment in iter(wire.take, None)]
    assert seqs == [4001, 5001, 6001, 7001][: len(seqs)] and seqs
    wire("+.1 < . 1:1(0) ack 8001 win 4000")
    wire.sent.clear()
    assert sock.info.outq == 0


@pytest.mark.rfc("MUST-35", "SHLD-17")
def test_a_window_shrunk_to_nothing_does_not_end_the_connection(wire: Wire) -> None:
    """RFC 9293 3.8.6 (MUST-35, SHLD-17): probe it like any closed window."""
    sock = wire.established(wscale=None, win=4000, rtt=0.1)
    sock.send(2000)
    wire("""
        +0  > .  1:1001(1000)    ack 1
        +0  > P. 1001:2001(1000) ack 1
        +.1 < .  1:1(0) ack 1 win 0
    """)
    for _ in range(30):
        taken = wire.take(400)
        assert taken is not None and taken[1].seq <= 1
        wire.put("+0 < . 1:1(0) ack 1 win 0")
        while wire.take() is not None:
            pass
    assert sock.state == "ESTABLISHED"
    wire.put("+0 < . 1:1(0) ack 1 win 4000")
    for _ in range(8):
        taken = wire.take(200)
        if taken is None or sock.info.outq == 0:
            break
        wire.inject(wire.default.frame(Segment(".", 1, 0, taken[1].seq + taken[1].length, 4000)))
    assert sock.info.outq == 0


@pytest.mark.rfc("MUST-38")
def test_a_small_part_of_a_window_is_not_used(wire: Wire) -> None:
    """RFC 9293 3.8.6.2.1 (MUST-38): silly window avoidance, with an override timeout."""
    sock = wire.established(wscale=None, win=4000, rtt=0.1)
    sock.setopt("NODELAY", 1)
    sock.send(6000)
    wire("""
        +0  > .  1:1001(1000)    ack 1
        +0  > .  1001:2001(1000) ack 1
        +0  > .  2001:3001(1000) ack 1
        +0  > .  3001:4001(1000) ack 1
        +.1 < .  1:1(0) ack 4001 win 300
    """)
    taken = wire.take(1.1)
    assert taken is not None
    after, segment = taken
    assert after >= 0.1 and (segment.seq, segment.length) in ((4001, 300), (4001, 1), (4000, 0))
    wire.sent.clear()


@pytest.mark.rfc("MUST-38")
def test_half_of_the_greatest_window_is_worth_using(wire: Wire) -> None:
    """RFC 9293 3.8.6.2.1 (3): Fs is one half, for peers with tiny windows."""
    sock = wire.established(mss=1000, wscale=None, win=500, rtt=0.1)
    sock.setopt("NODELAY", 1)
    sock.send(1000)
    wire("+0 > . 1:501(500) ack 1")
    wire("""
        +.1 < .  1:1(0) ack 501 win 500
        +0  > P. 501:1001(500) ack 1
        +.1 < .  1:1(0) ack 1001 win 500
    """)


def test_a_segment_that_fits_exactly_is_sent(wire: Wire) -> None:
    sock = wire.established(wscale=None, win=3000)
    sock.send(3000)
    wire("""
        +0 > .  1:1001(1000)    ack 1
        +0 > .  1001:2001(1000) ack 1
        +0 > P. 2001:3001(1000) ack 1
        +0 < .  1:1(0) ack 3001 win 3000
    """)


# ------------------------------------------------------------- what we offer


def full(wire: Wire, size: int = 4000) -> Sock:
    """A connection whose receive buffer the peer has filled."""
    wire.settings(tcp_rmem=2 * size)
    sock = wire.established(wscale=None, win=65535, sack=False)
    edge = 0
    for seq in range(1, size, 1000):
        wire.put(f"+0 < . {seq}:{seq + 1000}(1000) ack 1 win 65535")
        taken = wire.take(0.05)
        if taken is not None:
            before, edge = edge, (taken[1].ack or 0) + (taken[1].win or 0)
            assert before <= edge <= size + 1
    return sock


@pytest.mark.rfc("SHLD-14")
def test_the_window_shrinks_only_by_what_arrives(wire: Wire) -> None:
    """RFC 9293 SHLD-14: the right edge never moves left."""
    sock = full(wire)
    assert sock.info.rcv_wnd == 0
    assert sock.info.inq == 4000


@pytest.mark.rfc("MAY-8")
def test_a_probe_of_our_closed_window_is_answered(wire: Wire) -> None:
    """D14; RFC 9293 3.8.6.1: a receiver must answer, with its window."""
    full(wire)
    for _ in range(3):
        wire("""
            +1 < . 4001:4002(1) ack 1 win 65535
            +0 > . 1:1(0) ack 4001 win 0
        """)


def test_a_probe_with_an_old_number_is_answered(wire: Wire) -> None:
    """Linux and BSD probe with SEG.SEQ = SND.UNA - 1."""
    full(wire)
    wire("""
        +1 < . 4000:4000(0) ack 1 win 65535
        +0 > . 1:1(0) ack 4001 win 0
    """)


@pytest.mark.rfc("MUST-66")
def test_the_ack_of_a_segment_counts_even_if_its_text_does_not_fit(wire: Wire) -> None:
    """D6; RFC 9293 3.10.7.4 (MUST-66): window 0, but ACKs are processed."""
    sock = full(wire)
    sock.send(100)
    wire("""
        +0  > P. 1:101(100) ack 4001 win 0
        +.1 < .  4001:4101(100) ack 101 win 65535
        +0  > .  101:101(0) ack 4001 win 0
    """)
    assert sock.info.outq == 0


@pytest.mark.rfc("MUST-66")
def test_a_rst_counts_even_if_our_window_is_closed(wire: Wire) -> None:
    """RFC 9293 3.10.7.4 (MUST-66)."""
    sock = full(wire)
    wire("+.1 < R 4001:4001(0)")
    assert sock.state == "CLOSED"


def test_reading_all_opens_the_window_at_once(wire: Wire) -> None:
    sock = full(wire)
    assert len(sock.recv(4000)) == 4000
    wire("+0 > . 1:1(0) ack 4001 win 2000")  # of which one segment stays in reserve


@pytest.mark.rfc("MUST-39")
def test_reading_a_little_opens_no_silly_window(wire: Wire) -> None:
    """RFC 9293 3.8.6.2.2 (MUST-39): at least min(half the buffer, one MSS)."""
    sock = full(wire)
    for _ in range(5):
        sock.recv(100)
    wire.quiet(1)
    wire("""
        +.5 < . 4001:4002(1) ack 1 win 65535
        +0  > . 1:1(0) ack 4001 win 0
    """)
    sock.recv(1000)
    taken = wire.take()
    assert taken is not None and (taken[1].win or 0) >= 1000


def test_text_beyond_the_window_is_cut_off(wire: Wire) -> None:
    """RFC 9293 3.10.7.4 first: trimmed to the window."""
    wire.settings(tcp_rmem=8000)
    sock = wire.established(wscale=None, win=65535, sack=False)
    wire.put("+0 < . 1:5001(5000) ack 1 win 65535")
    taken = wire.take(0.05)
    assert taken is not None and taken[1].ack == 2921  # what the SYN-ACK offered
    assert len(sock.recv()) == 2920
    wire.sent.clear()


def test_text_that_begins_before_the_window_is_cut_off(wire: Wire) -> None:
    """RFC 9293 3.10.7.4 seventh: only what is new is taken."""
    sock = wire.established(sack=False)
    wire("""
        +0      < . 1:1001(1000)    ack 1 win 257
        +0~+.05 > . 1:1(0)          ack 1001
        +0      < . 501:1501(1000)  ack 1 win 257
        +0~+.05 > . 1:1(0)          ack 1501
    """)
    from wire import pattern

    assert sock.recv() == pattern(1, 1501)


def test_a_receive_buffer_of_the_maximum_uses_the_window_scale(wire: Wire) -> None:
    """RFC 7323 2.3; half of the memory is offered."""
    wire.settings(tcp_rmem=2 << 20)
    sock = wire.established(sack=False)
    wire.put("+0 < P. 1:101(100) ack 1 win 257")
    taken = wire.take(0.05)
    assert taken is not None
    assert (1 << 19) < (taken[1].win or 0) << sock.info.rcv_wscale <= 1 << 20


def test_a_fin_beyond_the_window_is_cut_off_with_the_text(wire: Wire) -> None:
    """RFC 9293 3.10.7.4 first, eighth: it comes again when there is room."""
    wire.settings(tcp_rmem=8000)
    sock = wire.established(wscale=None, win=65535, sack=False)
    wire.put("+0 < FP. 1:5001(5000) ack 1 win 65535")
    taken = wire.take(0.05)
    assert taken is not None and taken[1].ack == 2921
    assert sock.state == "ESTABLISHED"


def test_a_window_of_one_byte_is_used_by_the_persist_timer(wire: Wire) -> None:
    """RFC 1122 4.2.3.4: silly window avoidance gives way in the end; no probe is needed."""
    sock = wire.established(mss=1000, wscale=None, win=4000)
    wire("+0 < . 1:1(0) ack 1 win 1")
    sock.send(10)
    took = wire.take(10)
    assert took is not None and took[0] > 0.1
    assert (took[1].seq, took[1].length) == (1, 1)
    assert wire.stats["tcp.probes"] == 0
