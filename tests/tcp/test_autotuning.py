# SPDX-License-Identifier: BSD-3-Clause
"""Buffers grow as they are used: dynamic right-sizing of the receiver's, cwnd's of the sender."""

from __future__ import annotations

import pytest

import rig
from link import Link
from notation import Segment
from wire import Sock, Wire

MIB = 1 << 20


def receive_rounds(wire: Wire, sock: Sock, sizes: list[int], rtt: float = 0.1) -> None:
    """Each round trip the peer sends so many segments of 1000 bytes; all are read at once."""
    seq = 1
    for size in sizes:
        wire.advance(rtt)
        for _ in range(size):
            wire.inject(sock.peer.frame(Segment(".", seq, 1000, 1, 257)))
            seq += 1000
        sock.recv()
        wire.sent.clear()


def test_the_receive_buffer_follows_what_is_read_in_a_round_trip(wire: Wire) -> None:
    """Linux's tcp_rcv_space_adjust: at least twice of it is offered."""
    sock = wire.established(rtt=0.1)
    assert sock.info.rcvbuf == 131072
    receive_rounds(wire, sock, [10, 20, 40, 60, 60, 60])
    assert sock.info.rcvbuf // 2 >= 2 * 60_000
    assert sock.info.rcv_wnd >= 2 * 60_000


def test_the_receive_buffer_grows_no_further_than_its_maximum(wire: Wire) -> None:
    wire.settings(tcp_rmem_max=200_000)
    sock = wire.established(rtt=0.1)
    receive_rounds(wire, sock, [10, 20, 40, 60, 60, 60, 60])
    assert sock.info.rcvbuf == 200_000


def test_on_a_short_path_the_receive_buffer_stays_in_the_caches(wire: Wire) -> None:
    """tcp.rcvbuf_low_rtt: a window of 1 MiB is more than a path below 1 ms needs."""
    wire.settings(mbuf_small=4096)
    sock = wire.established(rtt=0.0001)
    seq = 1
    for _ in range(12):  # each round trip the peer fills the window
        wire.advance(0.0003)
        for _ in range(min(sock.info.rcv_wnd // 1000, 900)):
            wire.inject(sock.peer.frame(Segment(".", seq, 1000, 1, 257)))
            seq += 1000
        sock.recv(1 << 21)
        wire.sent.clear()
    assert sock.info.rcvbuf == 2 * MIB


def test_without_moderation_the_receive_buffer_stays(wire: Wire) -> None:
    wire.settings(tcp_moderate_rcvbuf=0)
    sock = wire.established(rtt=0.1)
    receive_rounds(wire, sock, [10, 20, 40, 60, 60, 60])
    assert sock.info.rcvbuf == 131072


def test_a_receive_buffer_that_the_application_chose_stays(wire: Wire) -> None:
    """socket(7): SO_RCVBUF is doubled, and ends autotuning."""
    sock = wire.established(rtt=0.1)
    sock.setopt("RCVBUF", 70_000)
    receive_rounds(wire, sock, [10, 20, 40, 60, 60, 60])
    assert sock.info.rcvbuf == sock.getopt("RCVBUF") == 140_000


def test_an_application_that_does_not_read_gets_no_larger_buffer(wire: Wire) -> None:
    sock = wire.established(rtt=0.1)
    for seq in range(1, 40_000, 1000):
        wire.put(f"+.01 < . {seq}:{seq + 1000}(1000) ack 1 win 257")
        wire.sent.clear()
    wire.advance(0.05)
    wire.sent.clear()
    assert sock.info.rcvbuf == 131072


def test_the_window_opens_by_what_arrives_not_at_once(wire: Wire) -> None:
    """Linux's rcv_ssthresh: a large buffer is offered in steps of two segments."""
    wire.settings(tcp_rmem=8 * MIB, tcp_rmem_max=8 * MIB)
    wire.listen()
    sock = wire.established(wscale=8)
    sock.setopt("RCVBUF", 8 * MIB)
    offered = []
    for seq in range(1, 5000, 1000):
        wire.put(f"+0 < . {seq}:{seq + 1000}(1000) ack 1 win 257")
        taken = wire.take(0.05)
        assert taken is not None
        offered.append((taken[1].win or 0) << sock.info.rcv_wscale)
    assert all(
        after <= before + 4 * 1460 for before, after in zip(offered, offered[1:], strict=False)
    )


def test_the_send_buffer_follows_the_congestion_window(wire: Wire) -> None:
    """Linux's tcp_sndbuf_expand: when an application waits for room."""
    wire.settings(tcp_wmem=16384)
    sock = wire.established(mss=1000, win=4000, rtt=0.01)
    start = sock.info.sndbuf
    assert start >= 2 * sock.info.cwnd
    data = bytes(100_000)
    for _ in range(6):
        while True:
            try:
                sock.send(data)
            except BlockingIOError:
                break
        wire.deliver(sock, rtt=0.01, win=4000)
        assert sock.info.sndbuf >= 2 * min(sock.info.cwnd, 4000 << 8)
    assert sock.info.sndbuf > 2 * start


def test_a_send_buffer_that_the_application_chose_stays(wire: Wire) -> None:
    wire.settings(tcp_wmem=16384)
    sock = wire.established(mss=1000, win=1000, rtt=0.01)
    sock.setopt("SNDBUF", 20_000)
    assert sock.send(bytes(100_000)) == 40_000
    with pytest.raises(BlockingIOError):
        sock.send(b"x")
    wire.deliver(sock, rtt=0.01, win=1000)
    assert sock.info.sndbuf == sock.getopt("SNDBUF") == 40_000


def test_children_have_the_buffers_of_their_listener(wire: Wire) -> None:
    """As in Linux, the choice is inherited, and so is that it was made."""
    handle = wire.listen()
    wire.engine.setopt(handle, rig.lib.UST_OPT_RCVBUF, 20_000)
    wire.engine.setopt(handle, rig.lib.UST_OPT_SNDBUF, 30_000)
    wire("""
        +0 < S  0:0(0) win 32792 <mss 1000,nop,wscale 7>
        +0 > S. 0:0(0) ack 1 win 18980 <mss 1460,nop,wscale 0>
        +0 < .  1:1(0) ack 1 win 257
    """)
    sock = wire.accept()
    assert (sock.getopt("RCVBUF"), sock.getopt("SNDBUF")) == (40_000, 60_000)
    receive_rounds(wire, sock, [10] * 6)
    assert sock.info.rcvbuf == 40_000


@pytest.mark.parametrize(
    ("setting", "win", "scale"),
    [(131072, 64240, 7), (540_000, 65535, 7), (20_000, 8760, 7)],
)
def test_a_syn_offers_whole_segments_of_half_the_buffer(
    wire: Wire, setting: int, win: int, scale: int
) -> None:
    """Linux's tcp_select_initial_window."""
    wire.settings(tcp_rmem=setting, tcp_timestamps=0)
    wire.connect()
    wire(f"+0 > S 0:0(0) win {win} <mss 1460,nop,nop,sackOK,nop,wscale {scale}>")


def test_default_buffers_fill_100_mbit_at_100_ms() -> None:
    """At least 1.25 MB a round trip, soon after the start."""
    settings = {"tcp.wmem": 16384, "mbuf.small": 16384, "mbuf.refs": 16384}
    with Link(1, settings, delay=0.05) as link:
        a, b = link.connected()
        a.send(bytes(24 * MIB))
        link.run(1.2)
        before = len(b.received)
        link.run(0.5)
        assert len(b.received) - before >= 6_250_000
        link.check()
