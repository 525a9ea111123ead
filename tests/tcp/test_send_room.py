# SPDX-License-Identifier: BSD-3-Clause
"""Room in the send buffer, in bytes: SO_SNDBUF, TCP_NOTSENT_LOWAT and tcp.wmem_max, as Linux."""

from __future__ import annotations

import pytest

import rig
from flight import ack, halved, sent
from wire import Sock, Wire

MSS = 1000
WRITABLE = rig.lib.UST_WRITABLE


def marked(wire: Wire, lowat: int) -> Sock:
    """A connection that may send ten segments, and hold little more."""
    sock = wire.established(mss=MSS, rtt=0.1)
    sock.setopt("NOTSENT_LOWAT", lowat)
    return sock


@pytest.mark.parametrize(
    ("lowat", "more"), [(1, 1), (1000, 1), (1001, 2), (2500, 3), (3000, 3), (3001, 4)]
)
def test_what_cannot_be_sent_may_reach_the_mark_in_whole_segments(
    wire: Wire, lowat: int, more: int
) -> None:
    """As Linux, which fills a segment that it has begun."""
    sock = marked(wire, lowat)
    assert sock.getopt("SNDROOM") == (10 + more) * MSS
    sock.send(4 * MSS)  # leaves at once, so it is no matter
    assert sock.getopt("SNDROOM") == (6 + more) * MSS
    assert sock.send(50 * MSS) == (6 + more) * MSS
    assert sock.getopt("SNDROOM") == 0
    assert sent(wire) == list(range(10))
    wire.sent.clear()


def test_below_half_of_the_mark_it_is_writable_again(wire: Wire) -> None:
    """As Linux: not at half of it."""
    sock = marked(wire, 4000)
    assert sock.send(50 * MSS) == 14 * MSS
    with pytest.raises(BlockingIOError):
        sock.send(1)
    assert not sock.ready & WRITABLE
    sent(wire)
    sock.setopt("NOTSENT_LOWAT", 8000)  # 4000 bytes are half of it
    assert not sock.ready & WRITABLE
    sock.setopt("NOTSENT_LOWAT", 8001)
    assert sock.ready & WRITABLE
    wire.put(ack(10, when="+.1"))
    sent(wire)
    wire.put(ack(14, when="+.1"))


def test_the_mark_counts_super_segments_where_the_port_cuts_them(wire: Wire) -> None:
    """As Linux: no more than half of the peer's window; 65792 / 2 holds 32 segments."""
    wire.options["caps"] = rig.lib.UST_CAP_TSO | rig.lib.UST_CAP_TX_CSUM
    sock = marked(wire, 1)
    sock.setopt("SNDBUF", 1_000_000)
    assert sock.getopt("SNDROOM") == (10 + 32) * MSS


def test_a_setting_marks_every_socket(wire: Wire) -> None:
    """tcp.notsent_lowat, where the socket has none."""
    wire.settings(tcp_notsent_lowat=2000)
    sock = wire.established(mss=MSS, rtt=0.1)
    assert sock.getopt("SNDROOM") == 12 * MSS
    sock.setopt("NOTSENT_LOWAT", 1000)
    assert sock.getopt("SNDROOM") == 11 * MSS


def test_a_third_of_the_buffer_free_makes_it_writable(wire: Wire) -> None:
    """As Linux's sk_stream_is_writeable: free is no less than half of what is used."""
    sock = wire.established(mss=MSS, rtt=0.1)
    sock.setopt("SNDBUF", 4500)
    assert sock.info.sndbuf == 9000
    assert sock.send(20_000) == 9000
    with pytest.raises(BlockingIOError):
        sock.send(1)
    assert sent(wire) == list(range(9))
    wire.put("+.1 < . 1:1(0) ack 3000 win 257")
    assert not sock.ready & WRITABLE
    wire.put("+0 < . 1:1(0) ack 3001 win 257")
    assert sock.ready & WRITABLE
    assert sock.getopt("SNDROOM") == 3000
    wire.put(ack(9))


@pytest.mark.parametrize(("most", "size"), [(30_000, 30_000), (4_000_000, 46_080)])
def test_the_buffer_grows_to_its_greatest_size(wire: Wire, most: int, size: int) -> None:
    """tcp.wmem_max; else ten segments of 2048 + 256 bytes, twice."""
    wire.settings(tcp_wmem=4608, tcp_wmem_max=most)
    assert wire.established(mss=MSS, rtt=0.1).info.sndbuf == size


@pytest.mark.parametrize(("mss", "memory"), [(384, 1024), (385, 2048), (1408, 2048), (1409, 4096)])
def test_segments_take_memory_as_in_linux(wire: Wire, mss: int, memory: int) -> None:
    """640 bytes more, rounded up to a power of 2, and 256."""
    wire.settings(tcp_wmem=4608)
    assert wire.established(mss=mss, rtt=0.1).info.sndbuf == 20 * (memory + 256)


def test_a_buffer_of_the_applications_size_does_not_grow(wire: Wire) -> None:
    wire.settings(tcp_wmem=4608)
    listener = wire.listen()
    wire.engine.setopt(listener, rig.lib.UST_OPT_SNDBUF, 5000)
    assert wire.established(mss=MSS, rtt=0.1).info.sndbuf == 10_000


# ------------------------------------------------------------------- how the window follows its use


def used(wire: Wire, *flights: int) -> Sock:
    """A window of 40 segments of which so many are in flight in each round trip."""
    sock = wire.established(mss=MSS, rtt=0.1, win=1000)
    for segments in (10, 20, *flights):
        sock.send(segments * MSS)
        wire.deliver(sock, win=1000)
    return sock


def test_a_window_shrinks_halfway_to_the_most_that_was_used_in_an_rto(wire: Wire) -> None:
    """RFC 2861; 19 of 40 were, though not in each round trip. ssthresh: three quarters."""
    sock = used(wire)
    assert sock.info.cwnd == 40 * MSS
    for segments in (12, 19):
        assert sock.info.cwnd == 40 * MSS
        sock.send(segments * MSS)
        wire.deliver(sock, win=1000)
    assert sock.info.cwnd == 29_500
    assert sock.info.ssthresh == 2**32 - 1


def test_ssthresh_is_three_quarters_of_what_idleness_takes(wire: Wire) -> None:
    """RFC 2861 3.1: a known ssthresh is raised to that, never lowered."""
    sock = halved(wire)
    while sock.info.cwnd < 16 * MSS:
        sock.send(sock.info.cwnd + 1000)
        wire.deliver(sock, win=1000)
    assert sock.info.cwnd == 16 * MSS
    wire.advance(10)
    sock.send(MSS)
    assert sent(wire)
    assert (sock.info.cwnd, sock.info.ssthresh) == (10 * MSS, 12 * MSS)
    end = sock.peer.ours(sock.info.snd_max)
    wire.put(f"+.1 < . 1:1(0) ack {end} win 1000")
