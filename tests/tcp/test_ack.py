# SPDX-License-Identifier: BSD-3-Clause
"""When data is acknowledged: RFC 9293 3.8.6.3, RFC 5681 4.2."""

from __future__ import annotations

import pytest

from wire import Wire, pattern

pytestmark = pytest.mark.both_versions


@pytest.fixture
def slow(wire: Wire) -> Wire:
    """A wire whose engine delays ACKs from the start."""
    wire.settings(tcp_quickack_segs=0)
    return wire


@pytest.mark.rfc("SHLD-18", "MUST-40")
def test_an_ack_is_delayed_for_a_lone_segment(slow: Wire) -> None:
    """RFC 9293 MUST-40: less than 0.5 s; Linux's 40 ms."""
    slow.established()
    slow("""
        +0   < P. 1:101(100) ack 1 win 257
        +.04 > .  1:1(0) ack 101
    """)
    assert slow.stats["tcp.delacks"] == 1


@pytest.mark.rfc("MUST-58", "SHLD-19", "2525-13")
def test_every_second_full_segment_is_acknowledged_at_once(slow: Wire) -> None:
    """RFC 9293 MUST-58, RFC 5681 4.2; as Linux, with the window that reading opens."""
    sock = slow.established()
    for seq in (1, 2001):
        slow(f"""
            +0 < . {seq}:{seq + 1000}(1000)        ack 1 win 257
            +0 < . {seq + 1000}:{seq + 2000}(1000) ack 1 win 257
        """)
        sock.recv()
        slow(f"+0 > . 1:1(0) ack {seq + 2000}")
    assert slow.stats["tcp.delacks"] == 0


def test_an_answer_carries_the_delayed_ack(slow: Wire) -> None:
    """RFC 9293 3.8.6.3: a chance to piggyback."""
    sock = slow.established()
    slow("+0 < P. 1:101(100) ack 1 win 257")
    slow.advance(0.01)
    sock.send(50)
    slow("+0 > P. 1:51(50) ack 101\n +.01 < . 101:101(0) ack 51 win 257")
    slow.quiet(1)


@pytest.mark.rfc("MUST-40")
def test_the_delayed_ack_timer_is_not_restarted_by_more_data(slow: Wire) -> None:
    """RFC 9293 MUST-40: the first byte's 0.5 s counts."""
    slow.established()
    slow("""
        +0   < P. 1:11(10)  ack 1 win 257
        +.02 < P. 11:21(10) ack 1 win 257
        +.02 > .  1:1(0) ack 21
    """)


def test_the_first_segments_are_acknowledged_at_once(wire: Wire) -> None:
    """Linux's quick acknowledgment, tcp.quickack_segs: the peer's slow start goes faster."""
    wire.established()
    for i in range(8):
        wire(f"""
            +0 < P. {1 + i * 100}:{101 + i * 100}(100) ack 1 win 257
            +0 > .  1:1(0) ack {101 + i * 100}
        """)


def test_quickack_acknowledges_at_once(wire: Wire) -> None:
    """Linux TCP_QUICKACK."""
    sock = wire.established()
    sock.setopt("QUICKACK", 0)
    wire("""
        +0   < P. 1:101(100) ack 1 win 257
        +.04 > .  1:1(0) ack 101
    """)
    sock.setopt("QUICKACK", 1)
    wire("""
        +0 < P. 101:201(100) ack 1 win 257
        +0 > .  1:1(0) ack 201
    """)


def test_setting_quickack_sends_a_waiting_ack(slow: Wire) -> None:
    """Linux TCP_QUICKACK: an owed ACK goes now."""
    sock = slow.established()
    slow("+0 < P. 1:101(100) ack 1 win 257")
    sock.setopt("QUICKACK", 1)
    slow("+0 > . 1:1(0) ack 101")


@pytest.mark.rfc("MAY-13")
def test_every_out_of_order_segment_earns_its_own_duplicate_ack(slow: Wire) -> None:
    """RFC 5681 4.2."""
    slow.established(sack=False)
    slow("""
        +0 < . 1001:2001(1000) ack 1 win 257
        +0 > . 1:1(0) ack 1
        +0 < . 2001:3001(1000) ack 1 win 257
        +0 > . 1:1(0) ack 1
        +0 < . 3001:4001(1000) ack 1 win 257
        +0 > . 1:1(0) ack 1
    """)
    assert slow.stats["tcp.dupacks.out"] == 3


def test_a_segment_that_fills_a_hole_is_acknowledged_at_once(slow: Wire) -> None:
    """RFC 5681 4.2."""
    sock = slow.established(sack=False)
    slow("""
        +0 < . 1001:2001(1000) ack 1 win 257
        +0 > . 1:1(0) ack 1
        +0 < . 1:1001(1000) ack 1 win 257
        +0 > . 1:1(0) ack 2001
    """)
    assert sock.recv() == pattern(1, 2001)


def test_a_burst_of_out_of_order_segments_in_one_input_earns_all_its_acks(wire: Wire) -> None:
    """RFC 5681 4.2: what is owed is state; a burst does not merge duplicate ACKs."""
    import notation

    wire.established(sack=False)
    peer = wire.default
    for seq in (1001, 2001, 3001):
        line = notation.parse_segment(f". {seq}:{seq + 1000}(1000) ack 1 win 257")
        wire.engine.inject(peer.frame(line))
    wire("\n".join(["+0 > . 1:1(0) ack 1"] * 3))


@pytest.mark.rfc("2525-15")
def test_a_fin_is_acknowledged_at_once(slow: Wire) -> None:
    sock = slow.established()
    slow("""
        +0 < F. 1:1(0) ack 1 win 257
        +0 > .  1:1(0) ack 2
    """)
    assert sock.state == "CLOSE_WAIT"


def test_a_pure_ack_is_never_acknowledged(wire: Wire) -> None:
    """RFC 9293 3.10.7.4: two idle peers exchange nothing."""
    sock = wire.established()
    sock.send(1000)
    wire("+0 > P. 1:1001(1000) ack 1\n +.1 < . 1:1(0) ack 1001 win 257")
    for _ in range(10):
        wire("+0 < . 1:1(0) ack 1001 win 257")
    wire.quiet(100)


def test_a_segment_without_ack_is_dropped(wire: Wire) -> None:
    """RFC 9293 3.10.7.4 fifth: if the ACK bit is off, drop."""
    sock = wire.established()
    wire("+0 < P 1:101(100) win 257")
    assert sock.info.inq == 0
    assert wire.stats["tcp.drop.noack"] == 1


def test_old_segments_are_acknowledged_once_in_half_a_second(wire: Wire) -> None:
    """RFC 9293 3.10.7.4 first, with a limit: else two hosts that disagree would never stop."""
    wire.established(rtt=0.1)
    wire("""
        +0  < . 0:0(0) ack 1 win 257
        +0  > . 1:1(0) ack 1
        +.1 < . 0:0(0) ack 1 win 257
        +.1 < . 0:0(0) ack 1 win 257
        +.3 < . 0:0(0) ack 1 win 257
        +0  > . 1:1(0) ack 1
    """)
    assert wire.stats["tcp.ack.oow"] == 2
    assert wire.stats["tcp.ack.oow.limited"] == 2


def test_each_retransmission_of_old_data_is_acknowledged(wire: Wire) -> None:
    """RFC 9293 3.10.7.4 first: the peer has lost our ACK; it must not wait."""
    wire.established(sack=False)
    wire("""
        +0 < P. 1:1001(1000) ack 1 win 257
        +0 > .  1:1(0) ack 1001
        +0 < P. 1:1001(1000) ack 1 win 257
        +0 > .  1:1(0) ack 1001
        +0 < P. 1:1001(1000) ack 1 win 257
        +0 > .  1:1(0) ack 1001
    """)


def test_an_old_ack_does_not_use_up_the_answer_to_old_data(wire: Wire) -> None:
    """RFC 9293 3.10.7.4 first: the limit is for segments without text."""
    wire.established(sack=False)
    wire("""
        +0 < P. 1:1001(1000) ack 1 win 257
        +0 > .  1:1(0) ack 1001
        +0 < .  1000:1000(0) ack 1 win 257
        +0 > .  1:1(0) ack 1001
        +0 < P. 1:1001(1000) ack 1 win 257
        +0 > .  1:1(0) ack 1001
    """)


@pytest.mark.rfc("MAY-12")
def test_an_ack_of_the_future_is_challenged_and_its_text_dropped(wire: Wire) -> None:
    """RFC 9293 3.10.7.4 fifth, RFC 5961 5.2."""
    sock = wire.established()
    wire("""
        +0 < P. 1:101(100) ack 2 win 257
        +0 > .  1:1(0) ack 1
    """)
    assert sock.info.inq == 0
    assert wire.stats["tcp.drop.ack"] == 1
    assert wire.stats["tcp.challenge"] == 1


@pytest.mark.rfc("MAY-12")
def test_an_ack_older_than_the_greatest_window_is_challenged(wire: Wire) -> None:
    """RFC 5961 5.2: SND.UNA - MAX.SND.WND <= SEG.ACK."""
    sock = wire.established(wscale=None, win=1000)
    wire("""
        +0 < P. 1:101(100) ack -1000 win 1000
        +0 > .  1:1(0) ack 1
    """)
    assert sock.info.inq == 0
    assert wire.stats["tcp.drop.ack"] == 1


def test_an_ack_that_is_only_a_little_old_leaves_its_text_good(wire: Wire) -> None:
    """RFC 5961 5.2; RFC 9293 3.10.7.4 fifth: a duplicate can be ignored."""
    sock = wire.established(wscale=None, win=5000)
    sock.send(100)
    wire("""
        +0  > P. 1:101(100) ack 1
        +.1 < .  1:1(0) ack 101 win 5000
        +0  < P. 1:11(10) ack 1 win 5000
        +0  > .  101:101(0) ack 11
    """)
    assert sock.info.inq == 10


def test_a_bare_ack_at_the_right_edge_is_taken(wire: Wire) -> None:
    """As Linux and BSD: a peer that has filled our window sends its ACKs from there."""
    sock = wire.established(wscale=None, win=65535, sack=False)
    sock.send(100)
    wire("+0 > P. 1:101(100) ack 1")
    edge = wire.default.right_edge
    wire(f"+.01 < . {edge}:{edge}(0) ack 101 win 65535")
    assert sock.info.outq == 0


def test_quick_acknowledgments_end_after_their_number(wire: Wire) -> None:
    """tcp.quickack_segs: then ACKs are delayed."""
    wire.settings(tcp_quickack_segs=4)
    wire.established()
    for i in range(4):
        wire(f"""
            +0 < P. {1 + i * 10}:{11 + i * 10}(10) ack 1 win 257
            +0 > .  1:1(0) ack {11 + i * 10}
        """)
    wire("""
        +0   < P. 41:51(10) ack 1 win 257
        +.04 > .  1:1(0) ack 51
    """)
