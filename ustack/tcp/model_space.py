# SPDX-License-Identifier: BSD-3-Clause
"""What a connection of the model knows (RFC 9293 3.3.1), and what of it may leave.

`Space` holds the variables and judges each segment that the engine sends: `sent()` finds that it
was owed, or that nothing speaks against it, and moves SND.NXT and the offered window over it.

Not here: what calls, segments and time do to the variables (model.py).

Numbers are absolute and wrap at 2^32; times are seconds.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum


class State(Enum):
    """RFC 9293 3.3.2."""

    CLOSED = "CLOSED"
    LISTEN = "LISTEN"
    SYN_SENT = "SYN_SENT"
    SYN_RECEIVED = "SYN_RECEIVED"
    ESTABLISHED = "ESTABLISHED"
    FIN_WAIT_1 = "FIN_WAIT_1"
    FIN_WAIT_2 = "FIN_WAIT_2"
    CLOSE_WAIT = "CLOSE_WAIT"
    CLOSING = "CLOSING"
    LAST_ACK = "LAST_ACK"
    TIME_WAIT = "TIME_WAIT"


#: In these the peer's text is taken (3.10.7.4, seventh).
RECEIVING = {State.ESTABLISHED, State.FIN_WAIT_1, State.FIN_WAIT_2}
#: In these text or a FIN of ours may leave, for the first time or again.
SENDING = {
    State.ESTABLISHED,
    State.CLOSE_WAIT,
    State.FIN_WAIT_1,
    State.CLOSING,
    State.LAST_ACK,
}
UNCONNECTED = {State.CLOSED, State.LISTEN}


class Disagreement(AssertionError):
    """The engine did what it must not, or did not do what it must."""


@dataclass(frozen=True)
class Segment:
    """A segment's numbers. ack None: no ACK bit. text_len: bytes of payload."""

    seq: int
    ack: int | None = None
    text_len: int = 0
    syn: bool = False
    fin: bool = False
    rst: bool = False
    wnd: int = 65535
    mss: int | None = None
    wscale: int | None = None

    @property
    def length(self) -> int:
        """SEG.LEN: SYN and FIN count."""
        return self.text_len + self.syn + self.fin

    @property
    def end(self) -> int:
        """The number behind its last."""
        return (self.seq + self.length) % 2**32


@dataclass(frozen=True)
class Reply:
    """A segment without text that must leave at once; None: that field is free."""

    flags: str
    seq: int | None = None
    ack: int | None = None

    def matches(self, seg: Segment) -> bool:
        """Is seg this reply?"""
        flags = "S" * seg.syn + "F" * seg.fin + "R" * seg.rst + "." * (seg.ack is not None)
        return (
            flags == self.flags
            and seg.text_len == 0
            and self.seq in (None, seg.seq)
            and self.ack in (None, seg.ack)
        )


@dataclass(frozen=True)
class Limits:
    """What RFC 9293 leaves to the implementation; seconds, bytes."""

    two_msl: float = 60.0  # MUST-13
    orphan_fin_wait_2: float = 60.0  # as Linux and BSD: nobody will ever close that connection
    fin_wait_2_more: float = 420.0  # as Linux: 3.5 RTOs if that is longer
    delayed_ack: float = 0.5  # MUST-40
    patience: float = 10.0  # nothing is given up earlier than this (R2, MUST-20)
    wscale: int = 7  # what we offer
    default_mss: int = 536  # MUST-15; 1220 over IPv6


def lt(a: int, b: int) -> bool:
    """A lies before b (3.4)."""
    return (a - b) % 2**32 >= 2**31


def leq(a: int, b: int) -> bool:
    """A lies before b, or is b."""
    return a == b or lt(a, b)


def within(lo: int, x: int, hi: int) -> bool:
    """Lo <= x < hi."""
    return (x - lo) % 2**32 < (hi - lo) % 2**32


@dataclass
class Space:
    """What one end knows, and which of its segments may leave."""

    limits: Limits = field(default_factory=Limits)
    listening: bool = False  # a listener takes this flow's SYNs
    state: State = State.CLOSED
    passive: bool = False  # opened by a SYN of the peer
    orphan: bool = False  # the application has closed it
    error: str = ""  # what the application hears: an errno's name

    # Send sequence space (figure 3). SND.NXT is the highest ever sent.
    iss: int = 0
    iss_beyond: int | None = None  # what the incarnation before has sent (RFC 6191 3)
    snd_una: int = 0
    snd_nxt: int = 0
    snd_wnd: int = 0
    snd_wl1: int = 0
    snd_wl2: int = 0
    max_wnd: int = 0  # the largest the peer has offered (RFC 5961 5.2)
    snd_mss: int = 536
    snd_shift: int = 0
    written: int = 0  # bytes that the application has given us
    fin_queued: bool = False
    waiting_since: float | None = None  # for an acknowledgment or a window

    # Receive sequence space (figure 4)
    irs: int = 0
    rcv_nxt: int = 0
    rcv_edge: int = 0  # RCV.NXT + RCV.WND as last offered; never retreats (SHLD-14)
    rcv_shift: int = 0
    syn_wnd: int = 0  # in the SYN that we sent
    unread: int = 0  # bytes in order that the application has not read
    held: list[tuple[int, int]] = field(default_factory=list)  # out of order (SHLD-31)
    fin_held: int | None = None  # a FIN out of order: its number
    fin_received: bool = False
    reading_shut: bool = False

    # What is due
    owed: list[Reply] = field(default_factory=list)
    spare: list[Reply] = field(default_factory=list)  # rate-limited: may leave, need not
    ack_by: float | None = None
    time_wait_until: float = 0.0
    fin_wait_2_until: float | None = None
    limited: float | None = None  # when the last rate-limited ACK was earned

    @property
    def snd_end(self) -> int:
        """The number behind the last byte that the application wrote."""
        return (self.iss + 1 + self.written) % 2**32

    @property
    def fin_sent(self) -> bool:
        """Has our FIN left?"""
        return self.fin_queued and self.snd_nxt == (self.snd_end + 1) % 2**32

    def sent(self, seg: Segment, now: float) -> None:
        """The engine has sent this: it must be owed, or at least allowed."""
        for due in (self.owed, self.spare):
            for reply in due:
                if reply.matches(seg):
                    due.remove(reply)
                    if due is self.spare:
                        self.limited = now  # the next of its kind may stay away
                    self._account(seg, now)
                    return
        problem = self._objection(seg)
        if problem:
            raise Disagreement(f"{seg} in {self.state.value}: {problem}")
        self._account(seg, now)

    def settle(self, now: float) -> None:
        """After all that leaves at this moment has left: nothing may still be owed."""
        self.spare.clear()
        if self.owed:
            raise Disagreement(f"not sent in {self.state.value}: {self.owed}")
        if self.ack_by is not None and now >= self.ack_by:
            raise Disagreement(f"no ACK in {self.state.value} by {self.ack_by:.3f}")

    def _objection(self, seg: Segment) -> str:
        """Why this segment must not be sent; "" for no reason."""
        if seg.rst or self.state in UNCONNECTED:
            return "nothing asks for it"
        if seg.syn:
            return self._syn_objection(seg)
        if self.state in (State.SYN_SENT, State.SYN_RECEIVED):
            return "before the connection is established"
        if seg.ack != self.rcv_nxt:
            return f"it does not acknowledge RCV.NXT {self.rcv_nxt}"
        if self._retreats(seg):
            return f"the window's edge retreats from {self.rcv_edge} (SHLD-14)"
        return self._text_objection(seg) if seg.length else self._ack_objection(seg)

    def _syn_objection(self, seg: Segment) -> str:
        """A SYN or SYN-ACK again (3.8.1)."""
        if self.state not in (State.SYN_SENT, State.SYN_RECEIVED):
            return "our SYN has been acknowledged"
        if seg.seq != self.iss or seg.text_len or seg.fin:
            return f"our SYN is at {self.iss}, alone"
        want = None if self.state is State.SYN_SENT else self.rcv_nxt
        return "" if seg.ack == want else f"its ACK is not {want}"

    def _text_objection(self, seg: Segment) -> str:
        text_end = (seg.seq + seg.text_len) % 2**32
        if self.state not in SENDING:
            return "no text may be sent"
        if lt(seg.seq, self.snd_una) or lt(self.snd_nxt, seg.seq):
            return f"it does not begin in SND.UNA {self.snd_una} … SND.NXT {self.snd_nxt}"
        if lt(self.snd_end, text_end):
            return "more than the application wrote"
        if seg.fin and not (self.fin_queued and text_end == self.snd_end):
            return "the FIN is not behind the application's last byte"
        if seg.text_len > self.snd_mss:
            return f"longer than the peer's MSS {self.snd_mss} (MUST-16)"
        if lt(self.snd_nxt, seg.end) and lt((self.snd_una + self.snd_wnd) % 2**32, seg.end):
            return f"new text outside the peer's window of {self.snd_wnd} (3.8.6)"
        return ""

    def _ack_objection(self, seg: Segment) -> str:
        """A bare ACK: because one is due, to open the window, or to probe the peer's."""
        if seg.seq == (self.snd_una - 1) % 2**32:
            blocked = lt(self.snd_una, (self.snd_end + self.fin_queued) % 2**32)
            return "" if blocked else "a probe without anything to send"
        if seg.seq != self.snd_nxt:
            return f"its sequence number is not SND.NXT {self.snd_nxt}"
        if self.ack_by is not None or lt(self.rcv_edge, self._edge(seg)):
            return ""
        return "an ACK that nothing asked for"

    def _edge(self, seg: Segment) -> int:
        return (self.rcv_nxt + (seg.wnd << (0 if seg.syn else self.rcv_shift))) % 2**32

    def _retreats(self, seg: Segment) -> bool:
        """By more than the scale makes it (RFC 7323 2.4)?"""
        rounding = (1 << self.rcv_shift) - 1
        return self.state is not State.TIME_WAIT and lt(self._edge(seg) + rounding, self.rcv_edge)

    def _account(self, seg: Segment, now: float) -> None:
        """Move SND.NXT and the window's edge over what has left."""
        if seg.rst:
            return
        if seg.syn:
            if self.iss_beyond is not None and leq(seg.seq, self.iss_beyond):
                raise Disagreement(f"ISS {seg.seq} was used in the incarnation before")
            self.iss = self.snd_una = seg.seq
            self.snd_nxt = (seg.seq + 1) % 2**32
            self.syn_wnd = seg.wnd
        elif lt(self.snd_nxt, seg.end):
            self.snd_nxt = seg.end
        if seg.ack is None:
            return
        self.ack_by = None
        if lt(self.rcv_edge, self._edge(seg)):
            self.rcv_edge = self._edge(seg)
