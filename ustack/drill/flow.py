# SPDX-License-Identifier: BSD-3-Clause
"""One connection of a script: whose numbers are relative to what.

Scripts count sequence numbers from each side's SYN. Ours begin at local_base, which the first SYN
that the stack sends tells; the peer's begin at remote_base, which is ours to choose. Timestamps of
the stack are mapped: the value that a script writes stands for the one that was sent.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from ustack.drill.packet import FLAG_BITS, Live
from ustack.drill.script import Option, Segment

__all__ = ["Flow", "pattern", "signed"]

REMOTE_BASE = 0x6000_0000
_PERIOD = bytes(range(251))


def pattern(first: int, length: int) -> bytes:
    """What either side sends at these offsets of its stream."""
    first %= len(_PERIOD)
    return (_PERIOD * ((first + length) // len(_PERIOD) + 1))[first : first + length]


def signed(number: int) -> int:
    """A difference of sequence numbers as -2^31 … 2^31-1."""
    return (number + 2**31) % 2**32 - 2**31


@dataclass
class Flow:
    """A flow. handle: of its socket, once there is one. proto: TCP or UDP."""

    local_port: int
    remote_port: int
    proto: int = 6
    passive: bool = True
    handle: int | None = None
    remote_base: int = REMOTE_BASE
    local_base: int | None = None
    renew: bool = True  # the next SYN of ours tells a new local_base
    first_ts: tuple[int, int] | None = None  # as written, as sent
    ts_sent: dict[int, int] = field(default_factory=dict)  # by what is written
    written: int = 0  # bytes that the application gave
    read: int = 0  # bytes that it took
    checked: bool = True  # is its data pattern()?

    # ---------------------------------------------------------------- inbound

    def seq_in(self, seq: int) -> int:
        """The peer's number, absolute."""
        return (self.remote_base + seq) % 2**32

    def ack_in(self, ack: int) -> int:
        """A number of ours that the peer writes, absolute."""
        return ((self.local_base or 0) + ack) % 2**32

    def options_in(self, options: tuple[Option, ...]) -> tuple[Option, ...]:
        """Options as the wire has them."""
        return tuple(map(self._option_in, options))

    def _option_in(self, option: Option) -> Option:
        match option:
            case ("TS", int(val), int(ecr)):
                return ("TS", val, self._ecr_in(ecr))
            case ("sack", *blocks):
                return ("sack", *((self.ack_in(lo), self.ack_in(hi)) for lo, hi in blocks))
        return option

    def _ecr_in(self, ecr: int) -> int:
        if ecr in self.ts_sent:
            return self.ts_sent[ecr]
        if self.first_ts is None or ecr == 0:
            return ecr
        return (ecr - self.first_ts[0] + self.first_ts[1]) % 2**32

    # --------------------------------------------------------------- outbound

    def learn(self, live: Live) -> None:
        """Take note of a SYN of ours."""
        if live.bits & FLAG_BITS["S"] and self.renew:
            self.local_base, self.renew = live.seq, False

    def learn_ts(self, written: int, live: Live) -> None:
        """A line that writes this TSval stands for a packet."""
        for option in live.options:
            if option[0] == "TS" and isinstance(option[1], int):
                self.ts_sent[written] = option[1]
                self.first_ts = self.first_ts or (written, option[1])

    def segment(self, live: Live) -> Segment:
        """A packet of ours as a script would write it; TSvals as far as they can be told."""
        seq = signed(live.seq - (self.local_base or 0))
        if live.seq == 0 and live.flags in ("R.", "R"):
            seq = 0  # RFC 9293 3.10.7.1: an answer to a segment that acknowledges nothing
        has = live.bits.__and__
        return Segment(
            live.flags,
            seq,
            len(live.payload),
            signed(live.ack - self.remote_base) if has(FLAG_BITS["."]) else None,
            live.win,
            live.urg if has(FLAG_BITS["U"]) else None,
            tuple(map(self._option_out, live.options)),
        )

    def _option_out(self, option: Option) -> Option:
        match option:
            case ("TS", int(val), int(ecr)) if self.first_ts is not None:
                return ("TS", signed(val - self.first_ts[1]) + self.first_ts[0], ecr)
            case ("sack", *blocks):
                base = self.remote_base
                return ("sack", *((signed(lo - base), signed(hi - base)) for lo, hi in blocks))
        return option


def with_ace(segment: Segment) -> Segment:
    """A segment whose digit is written out as its three flags (RFC 9768 3.2.2)."""
    if segment.ace is None:
        return segment
    letters = "".join(c for bit, c in ((1, "E"), (2, "W"), (4, "A")) if segment.ace & bit)
    flags = segment.flags + letters
    ordered = "".join(c for c in "SFRPUEWA." if c in flags)
    return replace(segment, flags=ordered, ace=None)
