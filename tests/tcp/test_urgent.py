# SPDX-License-Identifier: BSD-3-Clause
"""Urgent data: RFC 6093 on the wire, Linux's MSG_OOB, SO_OOBINLINE and SIOCATMARK above it."""

from __future__ import annotations

import pytest
from ustack._ustack import ffi, lib

from wire import Wire, pattern

pytestmark = pytest.mark.both_versions


@pytest.mark.rfc("MUST-30", "MUST-62")
def test_the_pointer_of_what_we_send_is_behind_the_urgent_byte(wire: Wire) -> None:
    """RFC 6093 3.1."""
    sock = wire.established()
    sock.send(b"ab!", urgent=True)
    wire("+0 > PU. 1:4(3) ack 1 urg 3")


def test_urgent_data_does_not_wait_for_nagle(wire: Wire) -> None:
    sock = wire.established()
    sock.send(b"x")
    wire("+0 > P. 1:2(1) ack 1")
    sock.send(b"!", urgent=True)
    wire("+0 > PU. 2:3(1) ack 1 urg 1")


@pytest.mark.rfc("MUST-31")
def test_every_segment_before_the_mark_points_at_it(wire: Wire) -> None:
    """RFC 9293 3.8.5; and none behind it, nor once it is acknowledged."""
    sock = wire.established(rtt=0.1)
    sock.send(2100, urgent=True)
    wire("""
        +0 > U.  1:1001(1000)    ack 1 urg 2100
        +0 > U.  1001:2001(1000) ack 1 urg 1100
        +0 > PU. 2001:2101(100)  ack 1 urg 100
    """)
    sock.setopt("NODELAY", 1)
    sock.send(10)
    wire("""
        +0  > P. 2101:2111(10) ack 1
        +.1 < .  1:1(0) ack 2111 win 257
    """)
    sock.send(10)
    wire("+0 > P. 2111:2121(10) ack 1")


def test_a_mark_too_far_ahead_is_announced_without_its_place(wire: Wire) -> None:
    """RFC 6093 3.1, as Linux: 65535 stands for "further than this" when all of it can be sent."""
    sock = wire.established(win=1000, rtt=0.1)
    sock.send(70_000, urgent=True)
    taken = wire.take()
    assert taken is not None and taken[1].flags == "U." and taken[1].urg == 65535
    wire.sent.clear()


@pytest.mark.rfc("MUST-32")
def test_the_urgent_byte_is_read_out_of_line(wire: Wire) -> None:
    """tcp(7), MSG_OOB: the byte in front of the pointer, and recv passes over it."""
    sock = wire.established()
    wire("""
        +0 < PU. 1:11(10) ack 1 win 257 urg 5
        +0 > .   1:1(0) ack 11
    """)
    assert sock.ready & lib.UST_URGENT
    assert sock.getopt("INQ") == 4
    assert sock.recv(flags=lib.UST_MSG_OOB | lib.UST_MSG_PEEK) == pattern(5, 6)
    assert sock.recv(flags=lib.UST_MSG_OOB) == pattern(5, 6)
    assert not sock.ready & lib.UST_URGENT
    with pytest.raises(OSError, match="Invalid argument"):
        sock.recv(flags=lib.UST_MSG_OOB)
    assert sock.recv() == pattern(1, 5)
    assert sock.getopt("ATMARK") == 1
    assert sock.recv(flags=lib.UST_MSG_PEEK) == pattern(6, 11)
    assert sock.recv() == pattern(6, 11)
    assert sock.getopt("ATMARK") == 0


@pytest.mark.rfc("MUST-33")
def test_in_line_reading_stops_at_the_mark_and_then_goes_on(wire: Wire) -> None:
    """RFC 6093 6: SO_OOBINLINE, what new applications should use."""
    sock = wire.established()
    sock.setopt("OOBINLINE", 1)
    wire("""
        +0 < PU. 1:11(10) ack 1 win 257 urg 5
        +0 > .   1:1(0) ack 11
    """)
    assert not sock.ready & lib.UST_URGENT
    with pytest.raises(OSError, match="Invalid argument"):
        sock.recv(flags=lib.UST_MSG_OOB)
    assert sock.recv() == pattern(1, 5)
    assert sock.getopt("ATMARK") == 1
    assert sock.recv() == pattern(5, 11)
    assert sock.getopt("ATMARK") == 0


def test_a_mark_before_the_end_of_the_stream_is_found(wire: Wire) -> None:
    """A FIN takes a sequence number, and is nothing to read."""
    sock = wire.established()
    sock.setopt("OOBINLINE", 1)
    wire("""
        +0 < FPU. 1:11(10) ack 1 win 257 urg 5
        +0 > .    1:1(0) ack 12
    """)
    assert sock.recv() == pattern(1, 5)
    assert sock.getopt("ATMARK") == 1
    assert sock.recv() == pattern(5, 11)
    assert sock.recv() == b""


def test_an_announced_byte_that_has_not_come_cannot_be_read(wire: Wire) -> None:
    """MSG_OOB never waits."""
    sock = wire.established()
    wire("""
        +0 < U. 1:11(10) ack 1 win 257 urg 15
        +0 > .  1:1(0) ack 11
    """)
    with pytest.raises(BlockingIOError):
        sock.recv(flags=lib.UST_MSG_OOB)
    wire("""
        +0 < P. 11:21(10) ack 1 win 257
        +0 > .  1:1(0) ack 21
    """)
    assert sock.recv(flags=lib.UST_MSG_OOB) == pattern(15, 16)
    assert sock.recv() == pattern(1, 15)
    assert sock.recv() == pattern(16, 21)


@pytest.mark.rfc("MUST-32")
def test_a_lone_urgent_byte_makes_nothing_readable(wire: Wire) -> None:
    sock = wire.established()
    wire("""
        +0 < PU. 1:2(1) ack 1 win 257 urg 1
        +0 > .   1:1(0) ack 2
    """)
    assert sock.ready & (lib.UST_URGENT | lib.UST_READABLE) == lib.UST_URGENT
    with pytest.raises(BlockingIOError):
        sock.recv()
    assert sock.getopt("INQ") == 0


def test_an_old_pointer_is_no_news(wire: Wire) -> None:
    sock = wire.established()
    wire("""
        +0 < P.  1:11(10) ack 1 win 257
        +0 > .   1:1(0) ack 11
        +0 < PU. 1:11(10) ack 1 win 257 urg 3
        +0 > .   1:1(0) ack 11 <nop,nop,sack 1:11>
    """)
    assert not sock.ready & lib.UST_URGENT
    assert sock.recv() == pattern(1, 11)


def test_a_second_mark_puts_the_first_byte_back_in_line(wire: Wire) -> None:
    """As Linux: only the byte of the last mark is kept aside."""
    sock = wire.established()
    wire("""
        +0 < PU. 1:4(3) ack 1 win 257 urg 3
        +0 > .   1:1(0) ack 4
        +0 < PU. 4:7(3) ack 1 win 257 urg 3
        +0 > .   1:1(0) ack 7
    """)
    assert sock.recv(flags=lib.UST_MSG_OOB) == pattern(6, 7)
    assert sock.recv() == pattern(1, 6)


def test_an_urgent_pointer_without_a_flag_means_nothing(wire: Wire) -> None:
    sock = wire.established()
    wire("""
        +0 < P. 1:11(10) ack 1 win 257 urg 5
        +0 > .  1:1(0) ack 11
    """)
    assert not sock.ready & lib.UST_URGENT
    assert sock.recv() == pattern(1, 11)


def test_an_urgent_byte_beyond_a_hole_is_an_event(wire: Wire) -> None:
    """As Linux: it may be read at once, out of its turn, though no other byte may."""
    sock = wire.established()
    events = ffi.new("struct ust_event[]", 8)
    lib.ust_engine_events(wire.engine.raw, events, 8)
    wire("""
        +0 < PU. 101:111(10) ack 1 win 257 urg 10
        +0 > .   1:1(0) ack 1 <nop,nop,sack 101:111>
    """)
    n = lib.ust_engine_events(wire.engine.raw, events, 8)
    assert [event.events & lib.UST_URGENT for event in events[0:n]] == [lib.UST_URGENT]
    assert sock.ready & (lib.UST_URGENT | lib.UST_READABLE) == lib.UST_URGENT


def test_a_mark_too_far_ahead_is_announced_only_where_there_is_no_more_in_flight(
    wire: Wire,
) -> None:
    """As Linux (tcp_transmit_skb): 65535 must point beyond all that was sent, or it lies."""
    wire.settings(tcp_early_retrans=0)
    sock = wire.established(mss=1285, win=65535, wscale=None, rtt=0.1)
    sock.setopt("SNDBUF", 1_000_000)
    for _ in range(3):
        sock.send(60 * 1285)
        wire.deliver(sock, win=65535)
    sock.send(70_000, urgent=True)
    flags = [segment.flags for _, segment in iter(wire.take, None)]
    assert len(flags) == 51  # the window, to the byte
    assert all("U" in text for text in flags)
    taken = wire.take(1)
    assert taken is not None and taken[1].seq == 180 * 1285 + 1
    assert "U" not in taken[1].flags
    sock.abort()
    wire.sent.clear()


def test_a_byte_that_is_read_past_is_gone(wire: Wire) -> None:
    """As Linux: MSG_OOB after the text behind the mark was read is an error."""
    sock = wire.established()
    wire("""
        +0 < PU. 1:11(10) ack 1 win 257 urg 5
        +0 > .   1:1(0) ack 11
    """)
    assert sock.recv() == pattern(1, 5)
    assert sock.recv() == pattern(6, 11)
    with pytest.raises(OSError, match="Invalid argument"):
        sock.recv(flags=lib.UST_MSG_OOB)


def test_a_lone_byte_that_nobody_has_read_goes_with_the_next_mark(wire: Wire) -> None:
    """As Linux's tcp_check_urg()."""
    sock = wire.established()
    wire("""
        +0 < PU. 1:2(1) ack 1 win 257 urg 1
        +0 > .   1:1(0) ack 2
        +0 < PU. 2:3(1) ack 1 win 257 urg 1
        +0 > .   1:1(0) ack 3
    """)
    assert sock.recv(flags=lib.UST_MSG_OOB) == pattern(2, 3)
    with pytest.raises(BlockingIOError):
        sock.recv()
