# SPDX-License-Identifier: BSD-3-Clause
"""The `wire` fixture: a conversation with one engine in packetdrill lines, on virtual time.

    sock = wire.established(mss=1000)
    sock.send(bytes(2000))
    wire('''
        +0   >  .  1:1001(1000)    ack 1
        +0   >  P. 1001:2001(1000) ack 1
        +.1  <  .  1:1(0)          ack 2001 win 257
    ''')

An inbound line lets its time pass, then puts the segment into the engine; nothing unasserted may
leave meanwhile. An outbound line demands the next segment, at that time to the millisecond. When
the block ends, nothing more may be waiting to be sent. Sequence numbers are relative: each side's
SYN is 0. Without `<…>` a segment has no options; NOPs count only in a line that writes some; `win`
is the field itself and is checked where written. Timestamps are mapped by the first pair written.

Every outbound frame is read by scapy, with lengths, both checksums, addresses and MACs verified;
payload must be what the socket was given. The neighbour is permanent, so no ARP disturbs, and text
is not paced unless a test says so. In a test that is marked both_versions the same conversation is
had over IPv4 and over IPv6, whose MTU is then 20 bytes larger, so that segments are as long.
PSH at the end of a burst, inside what the socket was given, is checked only where a line writes it.

Not here: building frames (frames.py), the notation (notation.py), the engine's calls (rig.py), what
a flow's numbers are relative to (flow.py).
"""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Iterable
from typing import Any

import frames
import notation
import rig
from flow import (
    OUR_IPS,
    OUR_PORT,
    THEIR_IP,
    THEIR_IPS,
    THEIR_MAC,
    THEIR_PORT,
    Peer,
    Sock,
    Stats,
    pattern,
    tcb_text,
)
from notation import Line, Option, Segment

__all__ = ["THEIR_IP", "THEIR_MAC", "Peer", "Sock", "Stats", "Wire", "WireError", "pattern"]

UNDISTURBED = {"arp.announce": 0, "tcp.pacing": 0}
TOLERANCE = rig.MS
PATIENCE = 600 * rig.SECOND  # how long a missing segment is waited for, to say when it came
TRACE_LEN = 16


class WireError(AssertionError):
    """The conversation did not go as written."""


@dataclasses.dataclass
class Sent:
    """A frame that left the engine and has not been asserted yet."""

    at: int
    frame: bytes


class Wire:
    """Plays conversations with one engine; see the top of this file."""

    def __init__(self, version: int = 4, **options: Any) -> None:
        self.version, self.their_ip = version, THEIR_IPS[version]
        if version == 6:
            options = {"address": OUR_IPS[6], "prefix": 64, "mtu": 1520} | options
        self.options = options  # for rig.Engine
        self.config: dict[str, int | str] = {}
        self.sent: collections.deque[Sent] = collections.deque()
        self.trace: collections.deque[str] = collections.deque(maxlen=TRACE_LEN)
        self.others: list[bytes] = []  # frames that are not TCP, in order
        self.peers: dict[tuple[str, int, int], Peer] = {}
        self.line_time = 0  # when the last line happened
        self._engine: rig.Engine | None = None
        self._listener: int | None = None
        self._peer: Peer | None = None

    # ------------------------------------------------------------------ set-up

    def settings(self, **values: int | str) -> None:
        """Change settings: `tcp_delack_ms=200` is tcp.delack_ms; a choice by its name."""
        for key, value in values.items():
            name = key.replace("_", ".", 1)
            if self._engine is None:
                self.config[name] = value
            else:
                self._engine.set(name, value)

    @property
    def engine(self) -> rig.Engine:
        """The engine under test, made on first use."""
        if self._engine is None:
            self._engine = rig.Engine(settings=UNDISTURBED | self.config, **self.options)
            self._engine.neighbour(self.their_ip, THEIR_MAC)
            self.line_time = self.start = self._engine.now
            self.stats = Stats(self._engine)
        return self._engine

    def peer(self, port: int = THEIR_PORT, our_port: int = OUR_PORT, **options: Any) -> Peer:
        """A further flow; call it with lines. The first one made is `wire(…)`'s own."""
        assert self.engine
        peer = Peer(self, port, our_port, **options)
        self.peers[peer.address, port, our_port] = peer
        if self._peer is None:
            self._peer = peer
        return peer

    @property
    def default(self) -> Peer:
        """The flow of `wire(…)`."""
        return self._peer or self.peer()

    def listen(self, port: int = OUR_PORT, backlog: int = 8) -> int:
        """Listen; connections go to the accept queue."""
        self._listener = self.engine.listen(port, backlog)
        return self._listener

    def accept(self, peer: Peer | None = None) -> Sock:
        """The next connection from the accept queue."""
        assert self._listener is not None
        handle = self.engine.accept(self._listener)
        return Sock(
            self,
            handle,
            peer
            or self.peers[
                self.their_ip, self.engine.names(handle)[1], self.engine.names(handle)[0]
            ],
        )

    def connect(self, port: int = 8080, **options: Any) -> Sock:
        """Start an active open to this port of the peer; the SYN is then to be asserted."""
        handle = self.engine.connect(self.their_ip, port)
        peer = self.peer(port, self.engine.names(handle)[0], **options)
        self._peer = peer
        sock = Sock(self, handle, peer)
        self.pump()
        return sock

    def established(
        self,
        mss: int | None = 1000,
        *,
        win: int = 257,
        wscale: int | None = 8,
        sack: bool = True,
        ts: bool = False,
        rtt: float = 0.0,
        active: bool = False,
        peer: Peer | None = None,
    ) -> Sock:
        """A connection that has just been made; win and wscale are the peer's window afterwards.

        Without a scale the peer's window is win alone. active: by connect() instead of accept().
        """
        options = [f"mss {mss}"] if mss is not None else []
        options += ["sackOK"] * sack + ["TS val 100 ecr 0"] * ts
        options += ["nop", f"wscale {wscale}"] if wscale is not None else []
        syn_options = f"<{','.join(options)}>" if options else ""
        ack_options = "<nop,nop,TS val 100 ecr 100>" if ts else ""
        our_options = "<...>"
        if active:
            sock = self.connect(**({"isn": peer.irs} if peer else {}))
            self._play(sock.peer, f"+0 > S 0:0(0) {our_options}")
            ecr = self._first_ts(sock.peer) if ts else 0
            self._play(
                sock.peer,
                f"+{rtt} < S. 0:0(0) ack 1 win 65535 " + syn_options.replace("ecr 0", f"ecr {ecr}"),
            )
            self._play(sock.peer, "+0 > . 1:1(0) ack 1 <...>")
            if not ts:
                self._play(sock.peer, f"+0 < . 1:1(0) ack 1 win {win}")
            return sock
        peer = peer or self.default
        if self._listener is None:
            self.listen(peer.our_port)
        self._play(peer, f"+0 < S 0:0(0) win 65535 {syn_options}")
        self._play(peer, f"+0 > S. 0:0(0) ack 1 {our_options}")
        if ts:
            self._first_ts(peer)
        self._play(peer, f"+{rtt} < . 1:1(0) ack 1 win {win} {ack_options}")
        return self.accept(peer)

    def _play(self, peer: Peer, line: str) -> None:
        """One line; what is sent besides waits for the next."""
        __tracebackhide__ = True
        self._step(peer, notation.parse_line(line))

    def _first_ts(self, peer: Peer) -> int:
        """Map the TSval of the frame asserted last to 100."""
        for option in self.last.options:
            if option[0] == "TS":
                peer.ts_offset = (int(option[1]) - 100) % 2**32  # type: ignore[call-overload]
                return 100
        raise WireError("our SYN or SYN-ACK has no timestamp")

    # ---------------------------------------------------------------- playing

    def __call__(self, text: str) -> None:
        """Play lines on the default flow."""
        __tracebackhide__ = True
        self.default(text)

    def play(self, peer: Peer, lines: Iterable[Line]) -> None:
        """Play lines on one flow; afterwards nothing may be waiting to be sent."""
        __tracebackhide__ = True
        assert self.engine
        self.pump()
        for line in lines:
            self._step(peer, line)
        self.silence()

    def _step(self, peer: Peer, line: Line) -> None:
        """Play one line."""
        __tracebackhide__ = True
        if not line.inbound:
            self._expect(peer, line)
            return
        self._pass_time(line)
        self.trace.append(f"{self._clock()} {line}"[:160])
        self.engine.inject(peer.frame(line.segment))
        self.pump()

    def put(self, line: str) -> None:
        """One inbound line, whose answer the test will take() or assert later."""
        __tracebackhide__ = True
        self._play(self.default, line)

    def inject(self, frame: bytes, flags: int = 0) -> None:
        """Put any bytes into the engine as a frame."""
        self.trace.append(f"{self._clock()} < {len(frame)} raw bytes")
        self.engine.inject(frame, flags)
        self.pump()

    def advance(self, seconds: float) -> None:
        """Let time pass; what is sent meanwhile waits to be asserted."""
        self._run_until(self.engine.now + round(seconds * rig.SECOND))
        self.line_time = self.engine.now

    def quiet(self, seconds: float) -> None:
        """Let time pass in silence."""
        __tracebackhide__ = True
        self.silence()
        self.advance(seconds)
        self.silence()

    def take(self, seconds: float = 0.0, peer: Peer | None = None) -> tuple[float, Segment] | None:
        """The next frame within so many seconds: how long it took, and what it says.

        For what a test cannot say in a line, such as probes that may take several forms.
        """
        begin = self.engine.now
        self.pump()
        if not self.sent:
            self._run_until(begin + round(seconds * rig.SECOND), stop_at_frame=True)
        if not self.sent:
            self.line_time = self.engine.now
            return None
        sent = self.sent.popleft()
        self.last = frames.read_tcp(sent.frame)
        self.trace.append(f"{self._clock(sent.at)} > {self._describe(sent)}")
        peer = peer or self.peers[self.last.dst, self.last.dport, self.last.sport]
        self.line_time = sent.at
        return max(sent.at - begin, 0) / rig.SECOND, peer.outbound(self.last)

    def deliver(self, sock: Sock, rtt: float = 0.1, win: int = 257) -> list[Segment]:
        """Let the peer acknowledge every round trip until all is; the segments that were sent."""
        sent: list[Segment] = []
        while sock.info.outq:
            sent += [segment for _, segment in iter(self.take, None)]
            self._run_until(self.engine.now + round(rtt * rig.SECOND))
            end = max(segment.seq + segment.length for segment in sent)
            self.inject(sock.peer.frame(Segment(".", self.their_next(sock), 0, end, win)))
        self.line_time = self.engine.now
        return sent

    @staticmethod
    def their_next(sock: Sock) -> int:
        """The peer's next sequence number."""
        return sock.peer.theirs(sock.info.rcv_nxt)

    def silence(self) -> None:
        """Fail if there is a frame that no line has asserted."""
        __tracebackhide__ = True
        self.pump()
        if self.sent:
            self._fail("nothing", f"> {self._describe(self.sent[0])}")

    def pump(self) -> None:
        """Collect what the engine has to send now."""
        for frame in self.engine.output():
            self._collect(frame)

    def _collect(self, frame: bytes) -> None:
        if not frames.is_tcp(frame):
            self.others.append(frame)
            return
        sent = Sent(self.engine.now, frame)
        self.sent.append(sent)

    def _run_until(self, until: int, stop_at_frame: bool = False) -> None:
        for frame in self.engine.run_until(until):
            self._collect(frame)
            if stop_at_frame and self.sent:
                return

    def _pass_time(self, line: Line) -> None:
        """Go to an inbound line's time; no frame may leave on the way."""
        __tracebackhide__ = True
        if self.sent:
            self._fail(str(line), f"> {self._describe(self.sent[0])}")
        low, _ = self._window(line)
        self._run_until(max(low, self.engine.now), stop_at_frame=True)
        if self.sent:
            self._fail(str(line), f"> {self._describe(self.sent[0])}")
        self.line_time = self.engine.now

    def _window(self, line: Line) -> tuple[int, int]:
        """The first and last moment of a line."""
        base = self.line_time if line.when.relative else self.start
        low = base + round(line.when.low * rig.SECOND)
        high = rig.NEVER if line.when.high is None else base + round(line.when.high * rig.SECOND)
        return low, high

    def _expect(self, peer: Peer, line: Line) -> None:
        """Demand that the next frame is this line's."""
        __tracebackhide__ = True
        low, high = self._window(line)
        if not self.sent:
            self._run_until(min(high + TOLERANCE, self.engine.now + PATIENCE), stop_at_frame=True)
        if not self.sent:
            waited = (self.engine.now - self.line_time) / rig.SECOND
            self._run_until(self.engine.now + PATIENCE, stop_at_frame=True)
            late = f", then > {self._describe(self.sent[0])}" if self.sent else ", nor later"
            self._fail(str(line), f"nothing for {waited:g} s{late}")
        sent = self.sent.popleft()
        problem = self._compare(peer, line.segment, sent)
        if not low - TOLERANCE <= sent.at <= high + TOLERANCE:
            problem = problem or f"at +{(sent.at - self.line_time) / rig.SECOND:.6f}"
        if problem:
            self._fail(str(line), f"> {self._describe(sent)}   ({problem})")
        self.trace.append(f"{self._clock(sent.at)} > {self._describe(sent)}")
        self.line_time = sent.at

    # -------------------------------------------------------------- comparing

    def _compare(self, peer: Peer, want: Segment, sent: Sent) -> str:
        """What is wrong with a frame, or ""."""
        tcp = frames.read_tcp(sent.frame)
        self.last = tcp
        if (tcp.dst, tcp.dport, tcp.sport) != (peer.address, peer.port, peer.our_port):
            return f"goes to {tcp.dst}:{tcp.dport} from port {tcp.sport}"
        if tcp.dst_mac != THEIR_MAC or tcp.src_mac != self.engine.mac:
            return "has the wrong MACs"
        got = peer.outbound(tcp)
        if want.options is not None:
            got = self._map_timestamp(peer, want, tcp)
        if "." in got.flags:
            peer.right_edge = peer.theirs(tcp.ack) + tcp.win
        got = self._without_inner_push(peer, want, got)
        for field in ("flags", "seq", "length", "ack"):
            if getattr(want, field) != getattr(got, field):
                return field
        if want.mark is not None and want.mark != got.mark:
            return "mark"
        if want.win is not None and want.win != got.win:
            return "win"
        if want.urg != got.urg:
            return "urg"
        if want.options is not None and not same_options(want.options, got.options or ()):
            return "options"
        return self._compare_payload(peer, got, tcp)

    @staticmethod
    def _without_inner_push(peer: Peer, want: Segment, got: Segment) -> Segment:
        """Leave out the PSH that ends a burst inside the text, unless the line writes it."""
        inside = got.length > 0 and got.seq + got.length <= len(peer.stream)
        if not inside or "P" in want.flags:
            return got
        return dataclasses.replace(got, flags=got.flags.replace("P", ""))

    @staticmethod
    def _map_timestamp(peer: Peer, want: Segment, tcp: frames.TcpFrame) -> Segment:
        """Let the first TSval that a line writes stand for the one that was sent."""
        if peer.ts_offset is None:
            wanted = [option[1] for option in want.options or () if option[0] == "TS"]
            real = [option[1] for option in tcp.options if option[0] == "TS"]
            if wanted and real:
                peer.ts_offset = (real[0] - wanted[0]) % 2**32  # type: ignore[operator]
        return peer.outbound(tcp)

    @staticmethod
    def _compare_payload(peer: Peer, got: Segment, tcp: frames.TcpFrame) -> str:
        """Payload must be what the socket was given."""
        first = got.seq - 1
        known = peer.stream[max(first, 0) : first + got.length]
        if first >= 0 and known != tcp.payload[: len(known)]:
            return "payload is not what was sent"
        return ""

    # -------------------------------------------------------------- reporting

    def _describe(self, sent: Sent) -> str:
        """A frame as a line would write it."""
        tcp = frames.read_tcp(sent.frame)
        peer = self.peers.get((tcp.dst, tcp.dport, tcp.sport))
        if peer is None:
            return f"{tcp}"
        return str(peer.outbound(tcp))

    def _clock(self, at: int | None = None) -> str:
        now = self.engine.now if at is None else at
        return f"{(now - self.start) / rig.SECOND:.6f}"

    def _fail(self, expected: str, got: str) -> None:
        """Raise with what was expected, what came, the last packets and the TCB."""
        __tracebackhide__ = True
        lines = [f"expected  {expected}", f"  got       {got}   at {self._clock()}", "  trace"]
        lines += [f"    {line}" for line in self.trace]
        lines += [
            f"    {self._clock(sent.at)} > {self._describe(sent)}   (unasserted)"
            for sent in list(self.sent)[:TRACE_LEN]
        ]
        lines += [f"  tcb       {tcb_text(peer)}" for peer in self.peers.values()]
        lines += [f"  counters  {self.stats.changed()}"]
        self.sent.clear()
        raise WireError("\n".join(lines))

    def free(self) -> None:
        """Give the engine's memory back."""
        if self._engine is not None:
            self._engine.free()

    def finish(self) -> None:
        """The end of a test: nothing unasserted, every invariant holds."""
        __tracebackhide__ = True
        if self._engine is not None:
            self.silence()
            self._engine.check()


def same_options(want: tuple[Option, ...], got: tuple[Option, ...]) -> bool:
    """Are they the same, in order? NOPs count only if the line writes some."""
    if ("nop",) not in want:
        got = tuple(option for option in got if option != ("nop",))
    return want == got
