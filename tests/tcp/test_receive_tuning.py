# SPDX-License-Identifier: BSD-3-Clause
"""Dynamic right-sizing, segment by segment beside a model of Linux's tcp_grow_window,
tcp_rcv_rtt_measure and tcp_rcv_space_adjust (without its memory accounting)."""

from __future__ import annotations

import dataclasses
import random

import pytest

from notation import parse_line
from wire import Sock, Wire

ADVMSS = 1460
FULL = 1448


@dataclasses.dataclass
class Model:
    """The receiver's variables; bytes and us."""

    time: int  # when the measured round trip began …
    limit: int = 65_536  # half of tcp.rmem
    most: int = 3_145_728  # and of tcp.rmem_max
    clamp: int = 65_536 - ADVMSS
    ssthresh: int = 65_536 - ADVMSS
    space: int = 10 * ADVMSS
    seq: int = 1  # … and what had been read then
    nxt: int = 1
    unread: int = 0
    rtt8: int = 0
    window_end: int = 0
    window_at: int | None = None

    def round_trip(self, sample: int, whole_window: bool) -> None:
        """A window's time is an upper bound; an echo's is smoothed."""
        if self.rtt8 == 0 or (whole_window and 8 * sample < self.rtt8):
            self.rtt8 = 8 * sample
        elif not whole_window:
            self.rtt8 += sample - self.rtt8 // 8

    def text(self, size: int, age_ms: int, now: int, offered_to: int) -> None:
        """In-order text, whose echo is so old."""
        self.nxt += size
        self.unread += size
        if self.window_at is None or self.nxt >= self.window_end:
            if self.window_at is not None:
                self.round_trip(now - self.window_at, True)
            self.window_end, self.window_at = offered_to, now
        if size == FULL and 0 < age_ms < 60_000:
            self.round_trip(1000 * age_ms, False)
        most = min(self.clamp, self.limit - self.unread)
        if size >= 128 and most > self.ssthresh:
            self.ssthresh += min(most - self.ssthresh, max(2 * ADVMSS, 2 * size))

    def read(self, size: int, now: int) -> None:
        """The application takes some."""
        self.unread -= size
        took, rtt = now - self.time, self.rtt8 // 8
        if rtt == 0 or took < rtt:
            return
        read_to = self.nxt - self.unread
        copied = max(read_to - self.seq - self.unread, 0) * rtt // took
        if copied > self.space:
            self.grow(copied)
        elif self.unread and took < 2 * rtt:
            return
        self.seq, self.time = read_to, now

    def grow(self, copied: int) -> None:
        """Twice of it, and twice as much more as the sender has just gone faster."""
        wnd = 2 * copied
        wnd += 2 * (wnd * (copied - self.space) // self.space)
        self.space = copied
        if min(wnd, self.most) > self.limit:
            self.limit = min(wnd, self.most)
            self.clamp = max(self.clamp, self.limit)


@dataclasses.dataclass
class Receiver:
    """A connection and its model."""

    wire: Wire
    sock: Sock
    model: Model

    def text(self, size: int, age_ms: int | None, after: float) -> None:
        """A segment; its echo is age_ms old, None: it has none."""
        wire, info = self.wire, self.sock.info
        wire.advance(after)
        option = ""
        if age_ms is not None:
            ms = (wire.engine.now - wire.start) // 1_000_000
            option = f" <nop,nop,TS val {1000 + ms} ecr {100 + ms - age_ms}>"
        at, offered = self.model.nxt, self.sock.peer.theirs(info.rcv_adv)
        flags = "." if size == FULL else "P."  # or equal sizes would tell the peer's MSS
        line = f"+0 < {flags} {at}:{at + size}({size}) ack 1 win 257{option}"
        wire.inject(self.sock.peer.frame(parse_line(line).segment))
        self.model.text(size, age_ms or 0, wire.engine.now // 1000, offered)
        self.check()

    def read(self, size: int) -> None:
        """Read so many bytes."""
        got = len(self.sock.recv(size))
        self.model.read(got, self.wire.engine.now // 1000)
        self.check()

    def check(self) -> None:
        """Compare, and forget what was sent."""
        info, model = self.sock.info, self.model
        assert info.rcv_ssthresh == model.ssthresh
        assert info.rcv_rtt_us == model.rtt8 // 8
        assert info.rcv_space == model.space
        assert info.rcvbuf == 2 * model.limit
        self.wire.sent.clear()


def receiver(wire: Wire, ts: bool = True) -> Receiver:
    sock = wire.established(mss=ADVMSS, rtt=0.1, ts=ts)
    return Receiver(wire, sock, Model(time=wire.engine.now // 1000))


@pytest.mark.parametrize("seed", range(4))
def test_an_application_that_reads_all_at_once(wire: Wire, seed: int) -> None:
    rng = random.Random(seed)
    there = receiver(wire)
    for nth in range(12):
        for _ in range(8 + 3 * nth):
            there.text(rng.choice([FULL, FULL, 100, 127, 128]), rng.choice([50, 90, 100]), 0.003)
        there.read(1 << 20)


@pytest.mark.parametrize("seed", range(4))
def test_an_application_that_leaves_bytes_behind(wire: Wire, seed: int) -> None:
    rng = random.Random(10 + seed)
    there = receiver(wire)
    for _ in range(60):
        for _ in range(rng.choice([1, 4, 9])):
            if there.model.unread < 40_000:
                there.text(FULL, 30, 0.002)
        if there.model.unread:
            there.read(rng.choice([500, 8000, 1 << 20]))


def test_without_timestamps_a_whole_window_is_a_round_trip(wire: Wire) -> None:
    """The least of them; what came in between says nothing."""
    there = receiver(wire, ts=False)
    for pause in (0.003, 0.001, 0.002, 0.0005):
        for _ in range(60):
            there.text(FULL, None, pause)
            if there.model.unread > 20_000:
                there.read(1 << 20)
    assert there.model.rtt8 > 0


def test_echoes_of_no_time_or_of_more_than_a_minute_say_nothing(wire: Wire) -> None:
    """As Linux: below the clock's tick a window tells more; nothing takes a minute."""
    there = receiver(wire)
    wire.advance(100)
    for age in (0, 60_000, 59_999, 0, 60_000, 1):
        there.text(FULL, age, 0)
    assert there.model.rtt8 > 0


# ------------------------------------------------------------------------------ what is offered


@dataclasses.dataclass
class Offers:
    """Linux's __tcp_select_window: RFC 9293 3.8.6.2.2, and an edge that never moves back."""

    model: Model
    scale: int
    edge: int  # the right one
    acked: int = 1

    def next(self, mss: int) -> int:
        """The window of an ACK that leaves now, as in the header."""
        model, unit = self.model, 1 << self.scale
        free, full = max(model.limit - model.unread, 0), min(model.clamp, model.limit)
        told = self.edge - model.nxt
        wnd = self.choose(free, full, min(mss, full))
        if wnd < told:
            wnd = -(-told // unit) * unit
        wnd = min(wnd, 65_535 << self.scale)
        self.edge = max(self.edge, model.nxt + wnd)
        self.acked = model.nxt
        return wnd >> self.scale

    def choose(self, free: int, full: int, mss: int) -> int:
        """What would be best."""
        unit = 1 << self.scale
        if free < full // 2:
            free = free // unit * unit
            if free < self.model.limit // 16 or free < mss:
                return 0
        free = min(free, self.model.ssthresh)
        if self.scale:
            return -(-free // unit) * unit
        offered = self.edge - self.acked
        if offered + mss <= free or offered > free:
            return free // mss * mss
        return offered


@pytest.mark.parametrize("scale", [None, 8])
@pytest.mark.parametrize("seed", range(3))
def test_each_ack_offers_what_linux_would(wire: Wire, seed: int, scale: int | None) -> None:
    """A slow reader: the window closes, in steps, and opens by useful amounts (MUST-39)."""
    rng = random.Random(20 + seed)
    wire.settings(tcp_moderate_rcvbuf=0)
    sock = wire.established(mss=ADVMSS, rtt=0.1, wscale=scale)
    most = min(65_536, 65_535 << sock.info.rcv_wscale)
    model = Model(0, clamp=most - ADVMSS, ssthresh=most - ADVMSS)
    edge = sock.peer.theirs(sock.info.rcv_adv)
    offers = Offers(model, sock.info.rcv_wscale, edge)
    for _ in range(200):
        size = rng.choice([ADVMSS, ADVMSS, 500, 100])
        room = offers.edge - model.nxt
        if room >= size and rng.random() < 0.75:
            line = f"+0 < P. {model.nxt}:{model.nxt + size}({size}) ack 1 win 257"
            wire.inject(sock.peer.frame(parse_line(line).segment))
            model.text(size, 0, 0, offers.edge)
        elif model.unread:
            model.unread -= len(sock.recv(rng.choice([100, 1000, 5000, 20_000])))
        while (taken := wire.take(rng.choice([0, 0.25]))) is not None:
            assert taken[1].win == offers.next(sock.info.rcv_mss)
        assert sock.info.rcvbuf == 2 * model.limit


def test_the_window_of_a_full_buffer_is_closed_and_opens_at_a_segment(wire: Wire) -> None:
    """As Linux: less than a sixteenth of the buffer, or a segment, is not worth telling."""
    sock = wire.established(mss=ADVMSS, rtt=0.1)
    at = 1
    while (room := sock.peer.theirs(sock.info.rcv_adv) - at) > 0:
        size = min(room, ADVMSS)
        line = f"+0 < P. {at}:{at + size}({size}) ack 1 win 257"
        wire.inject(sock.peer.frame(parse_line(line).segment))
        wire.advance(0.25)
        at += size
    assert wire.sent
    wire.sent.clear()
    assert sock.info.rcv_wnd == 0
    sock.recv(4096 - 1460)  # with what the buffer holds beyond the window
    assert wire.take(1) is None
    sock.recv(3 * 1460)
    taken = wire.take(1)
    assert taken is not None and (taken[1].win or 0) << 7 >= 4096


def filled(wire: Wire) -> Sock:
    """A connection whose buffer of 64 KiB is full and whose window is told to be closed."""
    wire.settings(tcp_moderate_rcvbuf=0)
    sock = wire.established(mss=ADVMSS, rtt=0.1)
    at = 1
    while (room := sock.peer.theirs(sock.info.rcv_adv) - at) > 0:
        size = min(room, ADVMSS)
        line = f"+0 < P. {at}:{at + size}({size}) ack 1 win 257"
        wire.inject(sock.peer.frame(parse_line(line).segment))
        wire.advance(0.25)
        at += size
    wire.sent.clear()
    assert sock.info.rcv_wnd == 0
    return sock


@pytest.mark.parametrize(
    ("free", "told"), [(4095, 0), (4096, 4096), (4223, 4096), (4224, 4224), (30_000, 29_952)]
)
def test_a_small_window_is_never_more_than_what_is_free(wire: Wire, free: int, told: int) -> None:
    """As Linux (__tcp_select_window): in units of the scale; a sixteenth of the buffer at least."""
    sock = filled(wire)
    sock.recv(free - (65_536 - sock.info.inq))
    assert 65_536 - sock.info.inq == free
    wire.advance(0.25)
    sent = [segment.win or 0 for _, segment in iter(wire.take, None)]
    assert [win << 7 for win in sent] == [told] * (told > 0)


@pytest.mark.parametrize(("rmem_max", "most"), [(300_000, 300_000), (8_000_000, 2 * 1_048_576)])
def test_a_buffer_of_a_near_peer_grows_to_a_mebibyte_at_most(
    wire: Wire, rmem_max: int, most: int
) -> None:
    """As Linux's tcp_rcvbuf_low_rtt: below a millisecond more would only leave the cache; nor
    ever beyond tcp.rmem_max. Linux counts its overhead: of rcvbuf a half is text."""
    wire.settings(tcp_rmem_max=rmem_max)
    sock = wire.established(mss=ADVMSS, rtt=0.0005)
    at = 1
    for _ in range(30):
        wire.advance(0.0005)
        burst = 200 if sock.info.rcv_rtt_us == 500 else 40
        for _ in range(min(burst, sock.info.rcv_wnd // ADVMSS)):
            line = f"+0 < . {at}:{at + ADVMSS}({ADVMSS}) ack 1 win 257"
            wire.engine.inject(sock.peer.frame(parse_line(line).segment))
            at += ADVMSS
        sock.recv()
        wire.pump()
        wire.sent.clear()
    assert sock.info.rcvbuf == most
