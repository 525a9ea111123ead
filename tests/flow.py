# SPDX-License-Identifier: BSD-3-Clause
"""One flow of a conversation: the socket on the engine's side, the peer on the test's.

A `Sock` calls the engine and lets what is due go out. A `Peer` knows what its numbers are relative
to, turns segments of the notation into frames, and the engine's frames into segments.

Not here: time, what is expected when (wire.py).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from ustack._ustack import lib

import frames
import notation
import rig
from notation import Option, Segment

if TYPE_CHECKING:
    from wire import Wire

THEIR_MAC = bytes.fromhex("020000000001")
OUR_IPS = {4: "10.0.0.2", 6: "fd00::2"}
THEIR_IPS = {4: "10.0.0.1", 6: "fd00::1"}
THEIR_IP = THEIR_IPS[4]
OUR_PORT = 80
THEIR_PORT = 40000


def pattern(start: int, end: int) -> bytes:
    """The payload that the peer sends for these relative sequence numbers."""
    return bytes((7 * i + i // 256) % 251 for i in range(start, end))


class Stats(Mapping[str, int]):
    """Counters, as differences since the conversation began."""

    def __init__(self, engine: rig.Engine) -> None:
        self.engine = engine
        self.base = engine.counters()

    def __getitem__(self, name: str) -> int:
        return self.engine.counters()[name] - self.base[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.base)

    def __len__(self) -> int:
        return len(self.base)

    def changed(self) -> dict[str, int]:
        """Those that are not 0."""
        now = self.engine.counters()
        return {name: now[name] - was for name, was in self.base.items() if now[name] != was}


class Sock:
    """A socket of the engine under test. After each call, what is due goes out onto the wire."""

    def __init__(self, wire: Wire, handle: int, peer: Peer) -> None:
        self.wire, self.handle, self.peer = wire, handle, peer
        peer.sock = self

    def send(self, data: bytes | int, more: bool = False, urgent: bool = False) -> int:
        """Send bytes, or so many of a pattern; how many were taken. urgent: the last byte is."""
        if isinstance(data, int):
            first = len(self.peer.stream)
            data = bytes((i * 5 + i // 256 + 1) % 253 for i in range(first, first + data))
        flags = (lib.UST_MSG_MORE if more else 0) | (lib.UST_MSG_OOB if urgent else 0)
        taken = self.wire.engine.send(self.handle, data, flags)
        self.peer.stream += data[:taken]
        self.wire.pump()
        return taken

    def recv(self, size: int = 1 << 20, flags: int = 0) -> bytes:
        """Bytes; b"" at the end; BlockingIOError when there are none yet."""
        data = self.wire.engine.recv(self.handle, size, flags)
        self.wire.pump()
        return data

    def shutdown(self, how: int = lib.UST_SHUT_WR) -> None:
        """End one direction, by default sending."""
        self.wire.engine.shutdown(self.handle, how)
        self.wire.pump()

    def close(self) -> None:
        """Close in an orderly way."""
        self.wire.engine.close(self.handle)
        self.wire.pump()

    def abort(self) -> None:
        """Close with a RST."""
        self.wire.engine.abort(self.handle)
        self.wire.pump()

    def setopt(self, name: str, value: int) -> None:
        """Set an option by the end of its enum's name: "NODELAY"."""
        self.wire.engine.setopt(self.handle, getattr(lib, f"UST_OPT_{name}"), value)
        self.wire.pump()

    def getopt(self, name: str) -> int:
        """An option's value."""
        return self.wire.engine.getopt(self.handle, getattr(lib, f"UST_OPT_{name}"))

    @property
    def ready(self) -> int:
        """Readiness bits of now."""
        return self.wire.engine.ready(self.handle)

    @property
    def error(self) -> int:
        """Take the pending error: a positive errno or 0."""
        return self.getopt("ERROR")

    @property
    def info(self) -> Any:
        """`struct ust_tcp_info`, by handle while there is one."""
        return self.wire.engine.info(self.handle)

    @property
    def state(self) -> str:
        """The flow's state; CLOSED when nothing is left of it."""
        return self.peer.state


class Peer:
    """The other end of one flow: its ports, what its numbers are relative to, what it was sent."""

    def __init__(
        self,
        wire: Wire,
        port: int = THEIR_PORT,
        our_port: int = OUR_PORT,
        isn: int = 0x7000_0000,
        address: str | None = None,
    ) -> None:
        self.wire, self.port, self.our_port = wire, port, our_port
        self.address = address or wire.their_ip
        self.irs = isn  # their ISN: 0 of inbound sequence numbers
        self.iss: int | None = None  # ours: known from the first SYN that we send
        self.ts_offset: int | None = None
        self.stream = b""  # what the socket was given to send
        self.right_edge = 0  # of our receive window, as on the wire without scaling
        self.sock: Sock | None = None

    def __call__(self, text: str) -> None:
        """Play lines on this flow."""
        __tracebackhide__ = True
        self.wire.play(self, notation.parse_lines(text))

    @property
    def info(self) -> Any | None:
        """`struct ust_tcp_info` of the flow, or None."""
        return self.wire.engine.flow(self.our_port, self.address, self.port)

    @property
    def state(self) -> str:
        """The flow's state; CLOSED when there is none."""
        info = self.info
        return rig.STATES[info.state] if info is not None else "CLOSED"

    # ------------------------------------------- relative and absolute numbers

    def ours(self, absolute: int) -> int:
        """A number in our sequence space, relative."""
        return signed(absolute - (self.iss or 0))

    def theirs(self, absolute: int) -> int:
        """A number in their sequence space, relative."""
        return signed(absolute - self.irs)

    def frame(self, segment: Segment, **overrides: Any) -> bytes:
        """The inbound frame that a line describes. overrides: fields of frames.tcp()."""
        src, dst = frames.packed(self.address), frames.packed(self.wire.engine.address)
        options = notation.options_bytes(tuple(map(self.inbound_option, segment.options or ())))
        fields: dict[str, Any] = {
            "win": 65535 if segment.win is None else segment.win,
            "urg": segment.urg or 0,
            "options": options,
            "payload": self.payload(segment),
        } | overrides
        body = frames.tcp(
            src,
            dst,
            self.port,
            self.our_port,
            self.irs + segment.seq,
            0 if segment.ack is None else (self.iss or 0) + segment.ack,
            segment.bits,
            **fields,
        )
        packet = frames.ip(src, dst, frames.PROTO_TCP, body, tos=segment.mark or 0)
        return frames.ip_frame(self.wire.engine.mac, THEIR_MAC, packet)

    @staticmethod
    def payload(segment: Segment) -> bytes:
        """What the peer sends at these sequence numbers."""
        first = segment.seq + ("S" in segment.flags)
        return pattern(first, first + segment.length)

    def inbound_option(self, option: Option) -> Option:
        """An option as a line writes it, with absolute numbers."""
        match option:
            case ("TS", val, int(ecr)):
                return ("TS", val, ecr + (self.ts_offset or 0) if ecr else 0)
            case ("sack", *blocks):
                iss = self.iss or 0
                return ("sack", *((lo + iss, hi + iss) for lo, hi in blocks))  # type: ignore[misc]
        return option

    def outbound(self, tcp: frames.TcpFrame) -> Segment:
        """A frame of ours as a line would write it."""
        bits = notation.flag_text(tcp.bits)
        if "S" in bits:
            self.iss = tcp.seq
        seq = 0 if tcp.seq == 0 and "R" in bits and "." in bits else self.ours(tcp.seq)
        ack = self.theirs(tcp.ack) if "." in bits else None
        options = tuple(map(self.outbound_option, tcp.options))
        return Segment(
            bits,
            seq,
            len(tcp.payload),
            ack,
            tcp.win,
            tcp.urg if "U" in bits else None,
            options,
            tcp.tos & 3,
        )

    def outbound_option(self, option: Option) -> Option:
        """One of our options with relative numbers; TSvals stay absolute until they are mapped."""
        match option:
            case ("TS", int(val), ecr):
                return ("TS", signed(val - (self.ts_offset or 0)), ecr)
            case ("sack", *blocks):
                return ("sack", *((self.theirs(lo), self.theirs(hi)) for lo, hi in blocks))  # type: ignore[misc]
        return option


def signed(number: int) -> int:
    """A difference of sequence numbers as -2^31 … 2^31-1."""
    return (number + 2**31) % 2**32 - 2**31


def tcb_text(peer: Peer) -> str:
    """A flow's state and the numbers that decide what is sent."""
    info = peer.info
    if info is None:
        return "CLOSED"
    ca = {0: "open", 1: "disorder", 3: "recovery", 4: "loss"}.get(info.ca_state, "?")
    ssthresh = "inf" if info.ssthresh == 2**32 - 1 else info.ssthresh
    return (
        f"{peer.state} snd {peer.ours(info.snd_una)}:{peer.ours(info.snd_nxt)}"
        f":{peer.ours(info.snd_max)} wnd {info.snd_wnd} rcv {peer.theirs(info.rcv_nxt)}"
        f" wnd {info.rcv_wnd} mss {info.snd_mss} cwnd {info.cwnd} ssthresh {ssthresh} ca {ca}"
        f" rto {info.rto_us} us srtt {info.srtt_us} us dupacks {info.dupacks_in}"
        f" outq {info.outq} inq {info.inq}"
    )
