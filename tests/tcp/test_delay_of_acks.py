# SPDX-License-Identifier: BSD-3-Clause
"""How long an ACK waits: Linux's rules for its timer (tcp_event_data_recv, tcp_send_delayed_ack,
tcp_delack_timer_handler), segment by segment beside a model. RFC 9293 3.8.6.3: never 500 ms."""

from __future__ import annotations

import dataclasses
import random

import pytest

from wire import Sock, Wire

MS = 1000  # all times of the model are us


@dataclasses.dataclass
class Model:
    """A receiver that reads nothing and has nothing to say."""

    rtt: int
    rto: int
    least: int = 40 * MS
    most: int = 200 * MS
    ato: int = 0
    last: int = 0
    due: int | None = None

    def text(self, now: int) -> bool:
        """A small segment; is it acknowledged at once?"""
        gap, self.last = now - self.last, now
        if self.ato == 0:
            self.ato = self.least
        elif gap <= self.least // 2:
            self.ato = self.ato // 2 + self.least // 2
        elif gap < self.ato:
            self.ato = min(self.ato // 2 + gap, self.rto)
        wait = self.wait()
        if self.due is None:
            self.due = now + wait
        elif self.due <= now + wait // 4:
            self.due = None
            return True
        else:
            self.due = min(self.due, now + wait)
        return False

    def wait(self) -> int:
        """At most a round trip once it is longer than the least."""
        if self.ato <= self.least:
            return min(self.ato, self.most)
        return min(self.ato, self.most, max(self.rtt, self.least))

    def expired(self) -> None:
        """The timer sends the ACK: whoever sends so slowly need not be answered so fast."""
        self.due, self.ato = None, min(2 * self.ato, self.rto)


def receiver(wire: Wire, rtt: float) -> tuple[Sock, Model]:
    """A connection whose ACKs are all delayed."""
    wire.settings(tcp_quickack_segs=0)
    sock = wire.established(mss=1000, rtt=rtt)
    return sock, Model(sock.info.srtt_us, sock.info.rto_us)


@pytest.mark.parametrize(("seed", "rtt"), [(1, 0.01), (2, 0.1), (3, 0.1), (4, 0.3)])
def test_acks_leave_when_linuxs_would(wire: Wire, seed: int, rtt: float) -> None:
    sock, model = receiver(wire, rtt)
    rng, now, at = random.Random(seed), 0, 1
    gaps = [1, 10, 20, 21, 30, 39, 41, 60, 79, 90, 120, 150, 199, 240, 290, 400]
    for _ in range(120):
        gap = rng.choice(gaps) * MS + rng.randrange(0, 900)
        while model.due is not None and model.due <= now + gap:
            taken = wire.take(1)
            assert taken is not None
            assert taken[0] * 1e6 == pytest.approx(model.due - now, abs=2)
            gap, now = gap - (model.due - now), model.due
            model.expired()
        wire.advance(gap / 1e6)
        now += gap
        wire.put(f"+0 < P. {at}:{at + 2}(2) ack 1 win 257")
        at += 2
        assert (wire.take() is not None) == model.text(now)
        assert sock.info.ato_us == model.ato
        if model.due is not None:
            assert (sock.info.delack - wire.engine.now) / 1000 == pytest.approx(
                model.due - now, abs=2
            )
    wire.take(1)


def test_an_answer_in_time_makes_the_least_delay_enough_again(wire: Wire) -> None:
    """As Linux (pingpong): text of ours within ato carries the ACK; when one does not come in
    time, the connection is taken for one-sided again."""
    sock, _ = receiver(wire, 0.3)
    wire("""
        +.5   < P. 1:3(2) ack 1 win 257
        +.04  > .  1:1(0) ack 3
        +.03  < P. 3:5(2) ack 1 win 257
    """)
    assert sock.info.ato_us == 110_000  # half of 80, and the gap of 70
    sock.send(10)
    wire("+0 > P. 1:11(10) ack 5")
    wire.put("+.3 < P. 5:7(2) ack 11 win 257")
    assert sock.info.delack - wire.engine.now == pytest.approx(110e6, abs=1e4)
    wire("+.11 > . 11:11(0) ack 7")
    assert sock.info.ato_us == 40_000


@pytest.mark.parametrize(("segments", "window"), [(2, 2000), (8, 64_000)])
def test_a_new_connection_acknowledges_the_first_segments_at_once(
    wire: Wire, segments: int, window: int
) -> None:
    """As Linux (tcp_incr_quickack): half the window's segments, two at least, 16 at most."""
    wire.settings(tcp_quickack_segs=segments)
    wire.established(mss=1000, rtt=0.1)
    for nth in range(segments):
        wire(f"""
            +0 < P. {1 + 2 * nth}:{3 + 2 * nth}(2) ack 1 win 257
            +0 > . 1:1(0) ack {3 + 2 * nth}
        """)
    end = 1 + 2 * segments
    wire(f"""
        +0   < P. {end}:{end + 2}(2) ack 1 win 257
        +.04 > . 1:1(0) ack {end + 2}
    """)


def test_text_after_a_long_silence_is_acknowledged_at_once(wire: Wire) -> None:
    """As Linux: the sender's window has come down, let it grow again."""
    wire.settings(tcp_quickack_segs=2)
    wire.established(mss=1000, rtt=0.1)
    wire("""
        +0   < P. 1:3(2) ack 1 win 257
        +0   > .  1:1(0) ack 3
        +0   < P. 3:5(2) ack 1 win 257
        +0   > .  1:1(0) ack 5
        +.29 < P. 5:7(2) ack 1 win 257
        +.04 > .  1:1(0) ack 7
        +.31 < P. 7:9(2) ack 1 win 257
        +0   > .  1:1(0) ack 9
    """)


def test_two_quick_acks_are_the_least_however_small_the_window(wire: Wire) -> None:
    """As Linux (tcp_incr_quickack): the window is less than two segments of 1000."""
    wire.settings(tcp_rmem=3000, tcp_moderate_rcvbuf=0)
    sock = wire.established(mss=1000, rtt=0.1)
    for nth in range(4):
        wire.put(f"+.1 < P. {1 + 1000 * nth}:{1001 + 1000 * nth}(1000) ack 1 win 257")
        assert len(sock.recv()) == 1000
        wire.advance(1)
        wire.sent.clear()
    assert sock.info.rcv_wnd < 2000
    wire("""
        +0   < P. 4001:4003(2) ack 1 win 257
        +0   > .  1:1(0) ack 4003
        +0   < P. 4003:4005(2) ack 1 win 257
        +0   > .  1:1(0) ack 4005
        +0   < P. 4005:4007(2) ack 1 win 257
        +.04 > .  1:1(0) ack 4007
    """)


def test_the_last_quick_ack_makes_the_delay_the_least(wire: Wire) -> None:
    """As Linux (tcp_dec_quickack_mode): whatever the gaps have taught meanwhile."""
    wire.settings(tcp_quickack_segs=2)
    sock = wire.established(mss=1000, rtt=0.1)
    wire("""
        +0    < P. 1:3(2) ack 1 win 257
        +0    > .  1:1(0) ack 3
        +.035 < P. 3:5(2) ack 1 win 257
        +0    > .  1:1(0) ack 5
    """)
    assert sock.info.ato_us == 40_000


def test_without_quickack_the_handshakes_ack_waits_200_ms_for_text(wire: Wire) -> None:
    """tcp(7), TCP_QUICKACK; Linux's tcp_rcv_synsent_state_process."""
    sock = wire.connect()
    sock.setopt("QUICKACK", 0)
    wire("""
        +0  > S  0:0(0) <...>
        +.1 < S. 0:0(0) ack 1 win 65535 <mss 1000>
        +.2 > .  1:1(0) ack 1
    """)


def test_a_window_that_reading_has_doubled_is_told_at_once(wire: Wire) -> None:
    """As Linux (tcp_cleanup_rbuf): from anything up to half of the most it may be."""
    wire.settings(tcp_moderate_rcvbuf=0)
    sock = wire.established(mss=1460, rtt=0.1)
    for nth in range(26):
        wire.put(f"+.1 < . {1 + 1460 * nth}:{1461 + 1460 * nth}(1460) ack 1 win 257")
        wire.advance(0.25)
        wire.sent.clear()
    told = sock.info.rcv_wnd
    assert 65_536 / 3 < told < (65_536 - 1460) / 2
    sock.recv()
    taken = wire.take()
    assert taken is not None and (taken[1].win or 0) << 7 >= 2 * told


def test_the_reader_of_a_small_segment_acknowledges_it_at_once(wire: Wire) -> None:
    """As Linux (tcp_measure_rcv_mss, tcp_cleanup_rbuf): the peer has no more, PSH or not."""
    wire.settings(tcp_quickack_segs=0)
    sock = wire.established(mss=1000, rtt=0.1)
    wire.put("+.1 < . 1:1001(1000) ack 1 win 257")
    sock.recv()
    wire("+.04 > . 1:1(0) ack 1001")
    wire.put("+.1 < . 1001:1003(2) ack 1 win 257")
    sock.recv()
    wire("+0 > . 1:1(0) ack 1003")
