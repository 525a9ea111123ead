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
payload must be what the socket was given. The neighbour is permanent, so no ARP disturbs.

Not here: building frames (frames.py), the notation (notation.py), the engine's calls (rig.py).
"""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from ustack._ustack import lib

import frames
import notation
import rig
from notation import Line, Option, Segment

THEIR_MAC = bytes.fromhex("020000000001")
THEIR_IP = "10.0.0.1"
OUR_PORT = 80
THEIR_PORT = 40000

TOLERANCE = rig.MS
PATIENCE = 600 * rig.SECOND  # how long a missing segment is waited for, to say when it came
TRACE_LEN = 16


def pattern(start: int, end: int) -> bytes:
    """The payload that the peer sends for these relative sequence numbers."""
    return bytes((7 * i + i // 256) % 251 for i in range(start, end))


class WireError(AssertionError):
    """The conversation did not go as written."""


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


@dataclasses.dataclass
class Sent:
    """A frame that left the engine and has not been asserted yet."""

    at: int
    frame: bytes


class Sock:
    """A socket of the engine under test. After each call, what is due goes out onto the wire."""

    def __init__(self, wire: Wire, handle: int, peer: Peer) -> None:
        self.wire, self.handle, self.peer = wire, handle, peer
        peer.sock = self

    def send(self, data: bytes | int, more: bool = False) -> int:
        """Send bytes, or so many of a pattern; how many were taken."""
        if isinstance(data, int):
            first = len(self.peer.stream)
            data = bytes((i * 5 + i // 256 + 1) % 253 for i in range(first, first + data))
        taken = self.wire.engine.send(self.handle, data, lib.UST_MSG_MORE if more else 0)
        self.peer.stream += data[:taken]
        self.wire.pump()
        return taken

    def recv(self, size: int = 1 << 20) -> bytes:
        """Bytes; b"" at the end; BlockingIOError when there are none yet."""
        data = self.wire.engine.recv(self.handle, size)
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
        address: str = THEIR_IP,
    ) -> None:
        self.wire, self.port, self.our_port, self.address = wire, port, our_port, address
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
        src, dst = frames.ip4(self.address), frames.ip4(self.wire.engine.address)
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
        packet = frames.ipv4(src, dst, frames.PROTO_TCP, body)
        return frames.ethernet(self.wire.engine.mac, THEIR_MAC, frames.ETH_IPV4, packet)

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
            bits, seq, len(tcp.payload), ack, tcp.win, tcp.urg if "U" in bits else None, options
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


class Wire:
    """Plays conversations with one engine; see the top of this file."""

    def __init__(self, **options: Any) -> None:
        self.options = options  # for rig.Engine
        self.config: dict[str, int] = {}
        self.sent: collections.deque[Sent] = collections.deque()
        self.trace: collections.deque[str] = collections.deque(maxlen=TRACE_LEN)
        self.others: list[bytes] = []  # frames that are not TCP, in order
        self.peers: dict[tuple[str, int, int], Peer] = {}
        self.line_time = 0  # when the last line happened
        self._engine: rig.Engine | None = None
        self._listener: int | None = None
        self._peer: Peer | None = None

    # ------------------------------------------------------------------ set-up

    def settings(self, **values: int) -> None:
        """Change settings: `tcp_delack_ms=200` is tcp.delack_ms."""
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
            self._engine = rig.Engine(settings={"arp.announce": 0} | self.config, **self.options)
            self._engine.neighbour(THEIR_IP, THEIR_MAC)
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
            or self.peers[THEIR_IP, self.engine.names(handle)[1], self.engine.names(handle)[0]],
        )

    def connect(self, port: int = 8080, **options: Any) -> Sock:
        """Start an active open to this port of the peer; the SYN is then to be asserted."""
        handle = self.engine.connect(THEIR_IP, port)
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
        for field in ("flags", "seq", "length", "ack"):
            if getattr(want, field) != getattr(got, field):
                return field
        if want.win is not None and want.win != got.win:
            return "win"
        if want.urg != got.urg:
            return "urg"
        if want.options is not None and not same_options(want.options, got.options or ()):
            return "options"
        return self._compare_payload(peer, got, tcp)

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
