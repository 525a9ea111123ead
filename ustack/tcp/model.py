# SPDX-License-Identifier: BSD-3-Clause
"""RFC 9293's connection in plain Python: what the C beside this file must do, and its oracle.

A `Connection` is one end of one connection, or the listener's side of one flow. It is told what
happens: calls of the application, segments that arrive, segments that the engine sent, time. It
knows for each moment the state, SND.UNA, SND.NXT and RCV.NXT exactly, and of the output

- what *must* leave at once (a RST, a SYN-ACK, a challenge, a duplicate ACK): `owed`;
- by when some segment must carry an ACK: `ack_by`;
- what else *may* leave, because timing is free: text within the peer's window, anything again that
  is not acknowledged, window updates, probes. `sent()` raises `Disagreement` for all the rest.

So there is no congestion control here, no RTO, no SACK: they choose among what may be sent.

Documents: RFC 9293 3.10, RFC 5961 (RST, SYN and ACK validation), RFC 1337 and RFC 6191 (TIME-WAIT),
RFC 7323 2 (window scale). Where the engine does as Linux and BSD do instead, the line says so.

Numbers are absolute and wrap at 2^32; times are seconds.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from ustack.tcp.model_space import (
    RECEIVING,
    UNCONNECTED,
    Disagreement,
    Limits,
    Reply,
    Segment,
    Space,
    State,
    leq,
    lt,
    within,
)

__all__ = ["UNCONNECTED", "Connection", "Disagreement", "Limits", "Reply", "Segment", "State"]


@dataclass
class Connection(Space):
    """One end of a connection; see the top of this file."""

    def __post_init__(self) -> None:
        if self.listening:
            self.state = State.LISTEN

    # --------------------------------------------------------- calls (3.10.1 to 3.10.5)

    def open(self, now: float) -> None:
        """Active OPEN: a SYN must leave."""
        self.__init__(self.limits)  # type: ignore[misc]
        self.state = State.SYN_SENT
        self.waiting_since = now
        self.owed.append(Reply("S"))

    def send(self, taken: int, now: float) -> None:
        """The application's SEND, of which the send buffer had room for so many bytes."""
        if self.send_error():
            raise Disagreement(f"SEND of {taken} bytes in {self.state.value} was taken")
        if taken and self.waiting_since is None:
            self.waiting_since = now
        self.written += taken

    def send_error(self) -> str:
        """The errno's name that SEND earns; "" for none."""
        if self.error:
            return self.error
        if self.state in (State.SYN_SENT, State.SYN_RECEIVED):
            return "EAGAIN"  # the socket interface's way to queue it (3.10.2)
        may = self.state in (State.ESTABLISHED, State.CLOSE_WAIT) and not self.fin_queued
        return "" if may else "EPIPE"

    def receive(self, size: int) -> int | str:
        """How many bytes RECEIVE gives (0: the end), or the name of an errno."""
        if self.unread:
            got = min(size, self.unread)
            self.unread -= got
            return got
        if self.fin_received:
            return 0
        if self.error:
            return self.error
        return 0 if self.reading_shut or self.state in UNCONNECTED else "EAGAIN"

    def take_error(self) -> None:
        """The application has heard the error."""
        self.error = ""

    def shutdown(self, sending: bool, receiving: bool, now: float) -> str:
        """End one direction or both: CLOSE says "I have no more data to send" (3.6)."""
        if self.state in UNCONNECTED | {State.SYN_SENT, State.SYN_RECEIVED, State.TIME_WAIT}:
            return "ENOTCONN"
        self.reading_shut |= receiving
        if sending:
            self._queue_fin(now)
        return ""

    def close(self, now: float) -> None:
        """CLOSE by an application that will not read any more either (3.10.4, SHLD-3)."""
        self.orphan = True
        if self.state is State.SYN_SENT:
            self._delete()
        elif self.state not in UNCONNECTED | {State.TIME_WAIT}:
            if self.unread and not (self.fin_queued and self.fin_received):
                self.abort()  # RFC 2525 2.17: what was not read is lost, and the peer must know
                return
            self.unread = 0
            self._queue_fin(now)
            if self.state is State.FIN_WAIT_2:
                self.fin_wait_2_until = now + self.limits.orphan_fin_wait_2

    def abort(self) -> None:
        """ABORT (3.10.5): <SEQ=SND.NXT><CTL=RST>."""
        self.orphan = True
        if self.state in UNCONNECTED | {State.TIME_WAIT}:
            return
        if self.state is not State.SYN_SENT:
            self.owed.append(Reply("R.", self.snd_nxt, self.rcv_nxt))
        self._delete()

    def _queue_fin(self, now: float) -> None:
        if self.fin_queued:
            return
        self.fin_queued = True
        if self.waiting_since is None:
            self.waiting_since = now
        if self.state is State.ESTABLISHED:
            self.state = State.FIN_WAIT_1
        elif self.state is State.CLOSE_WAIT:
            self.state = State.LAST_ACK

    def _delete(self, error: str = "") -> None:
        """Back to CLOSED, or to LISTEN where there is a listener."""
        self.error = error or self.error
        self.state = State.LISTEN if self.listening else State.CLOSED
        self.held.clear()
        self.ack_by = self.waiting_since = self.fin_wait_2_until = None

    # -------------------------------------------------------------------- time (3.10.8)

    def time_passes(self, now: float, *, gone: bool = False) -> None:
        """What ends by itself ends. gone: the engine says so; FIN-WAIT-2 may wait for some RTOs."""
        until = self.fin_wait_2_until
        if self.state is State.TIME_WAIT:
            until = self.time_wait_until
        elif until is not None and not gone:
            until += self.limits.fin_wait_2_more
        if until is not None and now >= until:
            self._delete()

    def give_up(self, now: float) -> None:
        """The engine has given the connection up; R2 must have passed (3.8.3)."""
        if self.waiting_since is None or now - self.waiting_since < self.limits.patience:
            raise Disagreement(f"{self.state.value} was given up, waiting for nothing")
        self._delete("" if self.passive and self.state is State.SYN_RECEIVED else "ETIMEDOUT")

    # ------------------------------------------------------- segment arrival (3.10.7)

    def segment_arrives(self, seg: Segment, now: float) -> None:
        """Process a segment; what it must bring about is in `owed` and `ack_by` then."""
        match self.state:
            case State.CLOSED:
                self._reset_answer(seg)
            case State.LISTEN:
                self._arrives_in_listen(seg, now)
            case State.SYN_SENT:
                self._arrives_in_syn_sent(seg, now)
            case State.TIME_WAIT:
                self._arrives_in_time_wait(seg, now)
            case _:
                self._arrives_synchronized(seg, now)

    def _reset_answer(self, seg: Segment) -> None:
        """3.10.7.1 and 3.5.2: a RST that the other side will believe."""
        if seg.rst:
            return
        if seg.ack is None:
            self.owed.append(Reply("R.", 0, seg.end))
        else:
            self.owed.append(Reply("R", seg.ack))

    def _arrives_in_listen(self, seg: Segment, now: float) -> None:
        """3.10.7.2. Text and FIN with a SYN are not kept: the peer will send them again."""
        if seg.rst:
            return
        if seg.ack is not None:
            self._reset_answer(seg)
        elif seg.syn and not seg.fin:  # with FIN it opens nothing, as in Linux
            beyond = self.snd_nxt if self.state is State.TIME_WAIT else None
            self.__init__(self.limits)  # type: ignore[misc]
            self.listening = self.passive = True
            self.iss_beyond = beyond
            self.state = State.SYN_RECEIVED
            self.waiting_since = now
            self._take_syn(seg)

    def _take_syn(self, seg: Segment) -> None:
        """Note the peer's SYN; unless it acknowledges ours, a SYN-ACK must leave."""
        self.irs = seg.seq
        self.rcv_nxt = (seg.seq + 1) % 2**32
        self.rcv_edge = (self.rcv_nxt + self.syn_wnd) % 2**32
        self.snd_wnd = self.max_wnd = seg.wnd
        self.snd_wl1, self.snd_wl2 = seg.seq, seg.ack or self.iss
        self.snd_mss = self.limits.default_mss if seg.mss is None else seg.mss
        if seg.wscale is not None and self.limits.wscale:  # RFC 7323 2.2: both or none
            self.snd_shift, self.rcv_shift = min(seg.wscale, 14), self.limits.wscale
        if seg.ack is None:
            self.owed.append(Reply("S.", self.iss if self.iss else None, self.rcv_nxt))

    def _arrives_in_syn_sent(self, seg: Segment, now: float) -> None:
        """3.10.7.3."""
        if seg.ack is not None and (leq(seg.ack, self.iss) or lt(self.snd_nxt, seg.ack)):
            self._reset_answer(seg)
        elif seg.rst:
            if seg.ack is not None:  # one without an ACK could be anybody's
                self._delete("ECONNREFUSED")
        elif seg.syn:
            self._take_syn(seg)
            if seg.ack is None:  # simultaneous open (MUST-10, figure 8)
                self.state = State.SYN_RECEIVED
                return
            self._establish(seg)
            self.snd_wnd = seg.wnd
            self.ack_by = now
            if seg.text_len or seg.fin:
                rest = replace(seg, syn=False, seq=(seg.seq + 1) % 2**32)
                self._arrives_synchronized(rest, now)

    def _establish(self, seg: Segment) -> None:
        assert seg.ack is not None
        self.state = State.FIN_WAIT_1 if self.fin_queued else State.ESTABLISHED
        self.snd_una = seg.ack
        if not self.fin_queued:
            self.waiting_since = None

    def _arrives_in_time_wait(self, seg: Segment, now: float) -> None:
        fin_again = seg.fin and seg.end == self.rcv_nxt
        if seg.syn and not (seg.rst or seg.fin) and seg.ack is None and self.listening:
            if lt(self.rcv_nxt, seg.seq):  # MAY-2, RFC 6191
                self._arrives_in_listen(seg, now)
                return
        if seg.rst:  # RFC 1337
            return
        if fin_again:
            self.time_wait_until = now + self.limits.two_msl
            self.ack_by = now
        elif seg.length or not self._acceptable(seg):
            self._limited_ack(now)
        else:
            self.spare.append(Reply(".", self.snd_nxt, self.rcv_nxt))

    def _arrives_synchronized(self, seg: Segment, now: float) -> None:
        """3.10.7.4, step by step."""
        if self.state is State.SYN_RECEIVED and seg.syn and not seg.rst and seg.seq == self.irs:
            if seg.ack is None and self.passive:
                self.owed.append(Reply("S.", self.iss, self.rcv_nxt))  # it did not hear us
                return
            if seg.ack is not None and not self.passive:  # figure 8: the ACK is what matters
                seg = replace(seg, syn=False, seq=(seg.seq + 1) % 2**32)
        if (
            self._check_seq(seg, now)
            and self._check_rst(seg, now)
            and self._check_syn(seg, now)
            and self._check_ack(seg, now)
        ):
            self._process_text(seg, now)

    def _acceptable(self, seg: Segment) -> bool:
        """Table 6. At a closed window, and at its edge without text, as Linux and BSD."""
        if self.rcv_edge == self.rcv_nxt:
            return seg.seq == self.rcv_nxt  # the text is cut off later, ACK and RST count (MUST-66)
        last = (seg.end - 1) % 2**32
        at_edge = seg.length == 0 and not seg.rst and seg.seq == self.rcv_edge
        return (
            within(self.rcv_nxt, seg.seq, self.rcv_edge)
            or (seg.length > 0 and within(self.rcv_nxt, last, self.rcv_edge))
            or (at_edge and not self._half_open)
        )

    @property
    def _half_open(self) -> bool:
        return self.state is State.SYN_RECEIVED and self.passive

    def _check_seq(self, seg: Segment, now: float) -> bool:
        """First. A SYN out of the window earns its challenge here (RFC 5961 4.2)."""
        if self._acceptable(seg):
            return True
        if seg.rst:
            return False
        if seg.text_len and not seg.syn and not self._half_open:
            self.owed.append(Reply(".", self.snd_nxt, self.rcv_nxt))  # it may be sent again
        else:
            self._limited_ack(now)
        return False

    def _check_rst(self, seg: Segment, now: float) -> bool:
        """Second (RFC 5961 3.2); for a half-open connection any RST in the window, as Linux."""
        if not seg.rst:
            return True
        if seg.seq != self.rcv_nxt and not self._half_open:
            self._limited_ack(now)
            return False
        if self._half_open:
            self._delete()
        elif self.state is State.SYN_RECEIVED:
            self._delete("ECONNREFUSED")
        elif self.state is State.CLOSE_WAIT:
            self._delete("EPIPE")  # as Linux
        else:
            self._delete("ECONNRESET")
        return False

    def _check_syn(self, seg: Segment, now: float) -> bool:
        """Fourth (RFC 5961 4.2)."""
        if not seg.syn:
            return True
        if self._half_open:
            self._delete()  # "return to the LISTEN state"
        else:
            self._limited_ack(now)
        return False

    def _check_ack(self, seg: Segment, now: float) -> bool:
        """Fifth (RFC 5961 5.2). False: the segment, or the connection, ends here."""
        if seg.ack is None:
            return False
        if self.state is State.SYN_RECEIVED:
            if not (lt(self.snd_una, seg.ack) and leq(seg.ack, self.snd_nxt)):
                self.owed.append(Reply("R", seg.ack))
                return False
            self._establish(seg)
            self.max_wnd = 0  # as Linux: what a SYN offered counts no more
            self._set_window(seg)
            return True
        if lt(self.snd_nxt, seg.ack) or lt(seg.ack, self.snd_una - self.max_wnd):
            self._limited_ack(now)
            return False
        if lt(self.snd_una, seg.ack):
            self.snd_una = seg.ack
            waits = self.snd_una != (self.snd_end + self.fin_queued) % 2**32
            self.waiting_since = now if waits else None
        if leq(self.snd_una, seg.ack) and self._newer(seg):
            self._set_window(seg)
        return self._after_fin(now)

    def _newer(self, seg: Segment) -> bool:
        assert seg.ack is not None
        return lt(self.snd_wl1, seg.seq) or (self.snd_wl1 == seg.seq and leq(self.snd_wl2, seg.ack))

    def _set_window(self, seg: Segment) -> None:
        self.snd_wnd = seg.wnd << self.snd_shift
        self.max_wnd = max(self.max_wnd, self.snd_wnd)
        self.snd_wl1, self.snd_wl2 = seg.seq, seg.ack or 0

    def _after_fin(self, now: float) -> bool:
        """Has our FIN been acknowledged? False: there is nothing left to process it."""
        if not (self.fin_sent and self.snd_una == self.snd_nxt):
            return True
        if self.state is State.FIN_WAIT_1:
            self.state = State.FIN_WAIT_2
            if self.orphan:
                self.fin_wait_2_until = now + self.limits.orphan_fin_wait_2
        elif self.state is State.CLOSING:
            self._enter_time_wait(now)
        elif self.state is State.LAST_ACK:
            self._delete()
        return self.state not in (State.TIME_WAIT, *UNCONNECTED)

    def _enter_time_wait(self, now: float) -> None:
        self.state = State.TIME_WAIT
        self.time_wait_until = now + self.limits.two_msl
        self.waiting_since = self.fin_wait_2_until = self.limited = None

    def _process_text(self, seg: Segment, now: float) -> None:
        """Seventh and eighth. MUST-58 and -59: one ACK for it, soon."""
        if not (seg.text_len or seg.fin) or self.state not in RECEIVING:
            return
        if self.orphan and seg.text_len and lt(self.rcv_nxt, seg.end - seg.fin):
            self.owed.append(Reply("R", seg.ack))  # nobody will read it (RFC 1122 4.2.2.13)
            self._delete()
            return
        if seg.text_len and self.rcv_edge == self.rcv_nxt:
            self.ack_by = now  # a probe of our closed window
        lo, hi, fin = self._trim(seg)
        if lo != self.rcv_nxt:
            if fin:
                self.fin_held = hi
            self._hold(lo, hi)
            self.owed.append(Reply(".", self.snd_nxt, self.rcv_nxt))  # RFC 5681 4.2
            return
        if lo != hi:
            self._take(hi, now)
        if (fin and hi == self.rcv_nxt) or self.fin_held == self.rcv_nxt:
            self._take_fin(now)

    def _trim(self, seg: Segment) -> tuple[int, int, bool]:
        """The part in the window: its first number, the one behind its text, whether FIN is in."""
        lo, hi, fin = seg.seq, (seg.seq + seg.text_len) % 2**32, seg.fin
        if lt(lo, self.rcv_nxt):
            lo = self.rcv_nxt
        if lt(self.rcv_edge, hi):
            hi, fin = self.rcv_edge, False
        return lo, hi, fin

    def _hold(self, lo: int, hi: int) -> None:
        if lo != hi:
            self.held.append((lo, hi))

    def _take(self, hi: int, now: float) -> None:
        """Text in order, and what was held behind it."""
        before, holes = self.rcv_nxt, bool(self.held)
        self.rcv_nxt = hi
        for _ in range(len(self.held)):
            for _, end in self._touching():
                self.rcv_nxt = end
        self.held = [piece for piece in self.held if lt(self.rcv_nxt, piece[1])]
        self.unread += (self.rcv_nxt - before) % 2**32
        self._ack_within(0 if holes else self.limits.delayed_ack, now)

    def _touching(self) -> Iterator[tuple[int, int]]:
        for lo, hi in self.held:
            if leq(lo, self.rcv_nxt) and lt(self.rcv_nxt, hi):
                yield lo, hi

    def _take_fin(self, now: float) -> None:
        self.fin_received, self.fin_held = True, None
        self.held.clear()
        self.rcv_nxt = (self.rcv_nxt + 1) % 2**32
        if lt(self.rcv_edge, self.rcv_nxt):
            self.rcv_edge = self.rcv_nxt
        closes = self.state is State.ESTABLISHED  # whose application may close soon, too
        self._ack_within(self.limits.delayed_ack if closes else 0, now)
        if closes:
            self.state = State.CLOSE_WAIT
        elif self.state is State.FIN_WAIT_1:  # ours is not acknowledged, or it were FIN-WAIT-2
            self.state = State.CLOSING
        else:
            self._enter_time_wait(now)

    def _ack_within(self, wait: float, now: float) -> None:
        self.ack_by = min(now + wait, now + wait if self.ack_by is None else self.ack_by)

    def _limited_ack(self, now: float) -> None:
        """An ACK that is sent unless there was one of its kind within a second (RFC 5961 7)."""
        ack = Reply(".", self.snd_nxt, self.rcv_nxt)
        quiet = self.limited is None or now - self.limited > 1.0
        (self.owed if quiet else self.spare).append(ack)
        self.limited = now
