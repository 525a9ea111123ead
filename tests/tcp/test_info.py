# SPDX-License-Identifier: BSD-3-Clause
"""TCP_INFO: what a sender's time went by, and Linux's layout of it all."""

from __future__ import annotations

import struct

import pytest
from ustack._ustack import ffi, lib

from wire import Sock, Wire


def linux(sock: Sock) -> object:
    """The same as Linux's structure."""
    out = ffi.new("struct ust_linux_tcp_info *")
    lib.ust_tcp_info_to_linux(sock.info, out)
    return out


@pytest.mark.parametrize(
    ("name", "offset"),
    [
        ("tcpi_rto", 8), ("tcpi_unacked", 24), ("tcpi_pmtu", 60), ("tcpi_snd_cwnd", 80),
        ("tcpi_total_retrans", 100), ("tcpi_pacing_rate", 104), ("tcpi_bytes_received", 128),
        ("tcpi_segs_out", 136), ("tcpi_min_rtt", 148), ("tcpi_delivery_rate", 160),
        ("tcpi_sndbuf_limited", 184), ("tcpi_delivered", 192), ("tcpi_bytes_sent", 200),
        ("tcpi_dsack_dups", 216), ("tcpi_snd_wnd", 228), ("tcpi_total_rto", 240),
        ("tcpi_total_rto_time", 244), ("tcpi_received_ce", 248),
    ],
)  # fmt: skip
def test_linuxs_fields_stand_where_linux_has_them(name: str, offset: int) -> None:
    """<linux/tcp.h> of 6.18."""
    fields = dict(ffi.typeof("struct ust_linux_tcp_info").fields)
    assert fields[name].offset == offset


def test_windows_are_counted_in_segments_and_scales_share_a_byte(wire: Wire) -> None:
    sock = wire.established(rtt=0.1)
    raw = bytes(ffi.buffer(linux(sock)))
    assert raw[0] == 1 and raw[5] == 2 | 4
    assert raw[6] == 8 | sock.info.rcv_wscale << 4
    assert struct.unpack_from("=I", raw, 80) == (10,)
    assert struct.unpack_from("=I", raw, 76) == (0x7FFFFFFF,)
    assert struct.unpack_from("=I", raw, 60) == (1500,)


def test_time_with_the_peers_window_full_is_told(wire: Wire) -> None:
    """tcpi_rwnd_limited, which tcpi_busy_time includes."""
    sock = wire.established(wscale=None, win=2000, rtt=0.1)
    sock.send(3000)
    wire("""
        +0  > .  1:1001(1000)    ack 1
        +0  > .  1001:2001(1000) ack 1
        +.1 < .  1:1(0) ack 2001 win 2000
        +0  > P. 2001:3001(1000) ack 1
        +.1 < .  1:1(0) ack 3001 win 2000
    """)
    wire.advance(1)
    wire.engine.tick()
    info = sock.info
    assert info.rwnd_limited_us == pytest.approx(100_000, abs=1000)
    assert info.busy_us == pytest.approx(200_000, abs=1000)
    assert info.sndbuf_limited_us == 0


def test_time_with_the_send_buffer_full_is_told(wire: Wire) -> None:
    """tcpi_sndbuf_limited: all is sent, and the application waits for room."""
    wire.settings(tcp_pacing=0)
    sock = wire.established(rtt=0.1)
    sock.setopt("SNDBUF", 2304)
    assert sock.send(8000) == 4608
    wire.sent.clear()
    wire.advance(0.05)
    wire.engine.tick()
    wire.sent.clear()
    assert sock.info.sndbuf_limited_us == pytest.approx(50_000, abs=1000)
    assert sock.info.busy_us >= sock.info.sndbuf_limited_us


def test_timeouts_and_how_long_they_lasted_are_told(wire: Wire) -> None:
    """tcpi_total_rto, tcpi_total_rto_recoveries, tcpi_total_rto_time."""
    sock = wire.established(rtt=0.1)
    sock.send(100)
    while sock.info.total_rto < 2:
        wire.take(5)
    wire.advance(0.1)
    wire.put("+0 < . 1:1(0) ack 101 win 257")
    info = sock.info
    assert (info.total_rto, info.total_rto_recoveries) == (2, 1)
    assert info.total_rto_ms >= 700
    wire.sent.clear()


def test_the_last_times_are_how_long_ago(wire: Wire) -> None:
    sock = wire.established(rtt=0.1)
    sock.send(100)
    wire("""
        +0  > P. 1:101(100) ack 1
        +.1 < .  1:1(0) ack 101 win 257
        +.1 < P. 1:11(10) ack 101 win 257
        +0  > .  101:101(0) ack 11
    """)
    wire.advance(0.05)
    wire.engine.tick()
    info = sock.info
    assert info.last_data_sent_ms == 250
    assert info.last_data_recv_ms == 50
    assert info.last_ack_recv_ms == 50


def test_a_window_that_both_sides_keep_small_is_not_the_peers_fault(wire: Wire) -> None:
    """As Linux: rwnd_limited only where the congestion window would allow more."""
    sock = wire.established(wscale=None, win=10_000, rtt=0.1)
    sock.send(15_000)
    while wire.take() is not None:
        pass
    wire.advance(0.05)
    wire.engine.tick()
    assert sock.info.rwnd_limited_us == 0
    assert sock.info.busy_us == pytest.approx(50_000, abs=1000)
    wire.put("+0 < . 1:1(0) ack 10001 win 1500")
    while wire.take() is not None:
        pass
    wire.advance(0.05)
    wire.engine.tick()
    assert sock.info.rwnd_limited_us == pytest.approx(50_000, abs=1000)
    wire.put("+0 < . 1:1(0) ack 11001 win 10000")
    while wire.take() is not None:
        pass


def test_text_that_is_paced_is_not_held_by_the_peers_window(wire: Wire) -> None:
    sock = wire.established(rtt=0.1)
    sock.send(10_000)
    while wire.take() is not None:
        pass
    wire.put("+.1 < . 1:1(0) ack 10001 win 257")
    sock.setopt("MAX_PACING_RATE", 100_000)
    sock.send(10_000)
    for _ in range(5):
        wire.advance(0.01)
    wire.engine.tick()
    info = sock.info
    assert info.unsent > 0
    assert info.rwnd_limited_us == info.sndbuf_limited_us == 0
    assert info.busy_us == pytest.approx(150_000, abs=1000)
    wire.sent.clear()


def test_the_time_of_a_timeout_ends_with_the_first_ack(wire: Wire) -> None:
    """tcpi_total_rto_time grows no more by later ones; the next timeout is another episode."""
    wire.settings(tcp_early_retrans=0, tcp_frto=0)
    sock = wire.established(rtt=0.1)
    sock.send(3000)
    wire.advance(0.31)
    wire.sent.clear()
    wire.put("+.04 < . 1:1(0) ack 1001 win 257")
    first = sock.info.total_rto_ms
    assert first == pytest.approx(50, abs=1)
    wire.sent.clear()
    wire.put("+.1 < . 1:1(0) ack 2001 win 257")
    wire.sent.clear()
    wire.put("+.1 < . 1:1(0) ack 3001 win 257")
    assert sock.info.total_rto_ms == first
    sock.send(1000)
    while sock.info.total_rto == 1:
        wire.advance(0.01)
    wire.sent.clear()
    wire.put("+.02 < . 1:1(0) ack 4001 win 257")
    assert sock.info.total_rto_recoveries == 2
    assert sock.info.total_rto_ms == pytest.approx(first + 20, abs=11)
