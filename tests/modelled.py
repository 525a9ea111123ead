# SPDX-License-Identifier: BSD-3-Clause
"""The model of ustack/tcp/model.py and an engine, side by side.

`Pair` does everything to both: calls, segments that arrive, time. After each step it shows the
model what the engine has sent, and compares states, SND.UNA, SND.NXT and RCV.NXT, what calls
returned, and the bytes that went either way.

Not here: which steps are taken (tests/properties/test_model.py).
"""

from __future__ import annotations

import errno
import struct
from dataclasses import dataclass
from typing import Any

from ustack._ustack import lib

import frames
import notation
import rig
from flow import OUR_IPS, OUR_PORT, THEIR_IPS, THEIR_MAC, THEIR_PORT
from ustack.tcp.model import UNCONNECTED, Connection, Disagreement, Limits, Segment, State

MODULUS = 2**32
PATTERN = 2 * bytes((7 * i + i // 256) % 251 for i in range(1 << 16))
#: What the engine is slower or quicker by than the model: its timers are ticks.
SLACK = 0.01

LIMITS = {"linux": Limits(), "rfc": Limits(two_msl=240.0)}


def pattern(first: int, end: int) -> bytes:
    """The bytes of either stream from one place to another."""
    return PATTERN[first:end]


@dataclass(frozen=True)
class Out:
    """A frame of the engine: its segment for the model, and its payload."""

    segment: Segment
    payload: bytes
    ports: tuple[int, int]


def read(frame: bytes) -> Out | None:
    """A frame of ours, if it is TCP; quicker than frames.read_tcp()."""
    if not frames.is_tcp(frame):
        return None
    at = 54 if frames.ethertype(frame) == frames.ETH_IPV6 else 34
    sport, dport, seq, ack, offset, bits, wnd = struct.unpack("!HHIIBBH", frame[at : at + 16])
    total = 40 + struct.unpack("!H", frame[18:20])[0] if at == 54 else 0
    total = total or struct.unpack("!H", frame[16:18])[0]
    payload = frame[at + (offset >> 4) * 4 : 14 + total]
    segment = Segment(
        seq,
        ack if bits & 16 else None,
        len(payload),
        syn=bool(bits & 2),
        fin=bool(bits & 1),
        rst=bool(bits & 4),
        wnd=wnd,
    )
    return Out(segment, payload, (sport, dport))


def header_options(seg: Segment, sacks: tuple[tuple[int, int], ...]) -> bytes:
    """Its options, for the header."""
    options: list[notation.Option] = []
    if seg.mss is not None:
        options.append(("mss", seg.mss))
    if seg.wscale is not None:
        options += [("nop",), ("wscale", seg.wscale)]
    if seg.syn:
        options += [("sackOK",), ("nop",), ("nop",)]
    elif sacks:
        options += [("nop",), ("nop",), ("sack", *sacks)]
    raw = notation.options_bytes(tuple(options))
    return raw + bytes(-len(raw) % 4)


class Pair:
    """One flow of an engine, and its model."""

    def __init__(
        self, *, passive: bool, profile: str = "linux", version: int = 4, settings: dict[str, int]
    ) -> None:
        address = {"address": OUR_IPS[6], "prefix": 64} if version == 6 else {}
        self.engine = rig.Engine(
            profile=profile, settings={"arp.announce": 0} | settings, **address
        )
        self.their_ip = THEIR_IPS[version]
        self.engine.neighbour(self.their_ip, THEIR_MAC)
        shift = 0
        while self.engine.get("tcp.rmem_max") >> shift > 65535:
            shift += 1
        limits = LIMITS[profile]
        default_mss = {4: 536, 6: 1220}[version]
        self.model = Connection(
            Limits(two_msl=limits.two_msl, wscale=shift, default_mss=default_mss), listening=passive
        )
        self.passive = passive
        self.listener = self.engine.listen(OUR_PORT) if passive else None
        self.handle: int | None = None
        self.our_port, self.their_port = OUR_PORT, THEIR_PORT
        self.their_iss = 0x7FFF_FF00  # wraps into the other half soon
        self.sent: list[Out] = []
        self.trace: list[str] = []

    # ------------------------------------------------------------- the clock

    @property
    def now(self) -> float:
        """Seconds."""
        return self.engine.now / rig.SECOND

    # ------------------------------------------------------------- steps

    def arrive(self, seg: Segment, *, psh: bool = False, urg: bool = False, **more: Any) -> None:
        """A segment from the wire. sacks: blocks that it carries."""
        self.note(f"< {seg}")
        src, dst = frames.packed(self.their_ip), frames.packed(self.engine.address)
        bits = seg.fin | seg.syn << 1 | seg.rst << 2 | psh << 3 | urg << 5
        bits |= (seg.ack is not None) << 4
        body = frames.tcp(
            src,
            dst,
            self.their_port,
            self.our_port,
            seg.seq,
            seg.ack or 0,
            bits,
            win=seg.wnd,
            options=header_options(seg, more.get("sacks", ())),
            payload=self.their_bytes(seg.seq + seg.syn, seg.text_len),
        )
        packet = frames.ip(src, dst, frames.PROTO_TCP, body)
        self.engine.inject(frames.ip_frame(self.engine.mac, THEIR_MAC, packet))
        self.model.segment_arrives(seg, self.now)
        self.settle()

    @staticmethod
    def their_bytes(first: int, length: int) -> bytes:
        """The peer's payload, which depends on nothing but its sequence numbers."""
        first %= 1 << 16
        return pattern(first, first + length)

    def wait(self, seconds: float) -> None:
        """Let time pass; what leaves meanwhile is shown to the model at its time."""
        self.note(f"  {seconds} s pass")
        until = self.engine.now + round(seconds * rig.SECOND)
        for frame in self.engine.run_until(until):
            self.expire(self.now)
            self.show(frame)
        self.settle()

    def expire(self, now: float) -> None:
        """The model's timers, unless they are about to fire and the engine's has not."""
        gone = self.engine_state in UNCONNECTED
        self.model.time_passes(now + SLACK if gone else now - SLACK, gone=gone)

    def open(self) -> None:
        """Active OPEN, from a port of the engine's choice."""
        self.note("open")
        self.drop_handle()
        self.their_port = 1024 + (self.their_port + 1) % 60000
        self.handle = self.engine.connect(self.their_ip, self.their_port)
        self.our_port = self.engine.names(self.handle)[0]
        self.model.open(self.now)
        self.settle()

    def accept(self) -> None:
        """Take what waits in the accept queue."""
        if self.listener is None or self.handle is not None:
            return
        try:
            self.handle = self.engine.accept(self.listener)
        except BlockingIOError:
            return
        self.note("accept")

    def drop_handle(self) -> None:
        """Give back the handle of a connection that is over."""
        if self.handle is not None:
            self.engine.close(self.handle)
            self.handle = None

    def forget(self) -> None:
        """A new connection has begun in place of one that the application still holds."""
        if self.passive:
            self.drop_handle()

    def call(self, text: str, function: Any, *args: Any) -> Any:
        """The engine's answer to a call: a number, bytes, or an errno's name."""
        try:
            answer = function(*args)
        except OSError as error:
            answer = errno.errorcode[error.errno or 0]
        self.note(f"{text} -> {len(answer) if isinstance(answer, bytes) else answer}")
        return answer

    def send(self, size: int) -> None:
        """SEND so many bytes."""
        first = self.model.written
        data = pattern(first % (1 << 16), first % (1 << 16) + size)
        answer = self.call(f"send {size}", self.engine.send, self.handle, data)
        if isinstance(answer, int):
            self.model.send(answer, self.now)
        else:
            want = self.model.send_error() or "EAGAIN"
            assert answer == want, f"send gives {answer}, not {want}"
            if want == self.model.error:
                self.model.take_error()
        self.settle()

    def recv(self, size: int) -> None:
        """RECEIVE so many bytes."""
        first = self.model.rcv_nxt - self.model.unread - self.model.fin_received
        want = self.model.receive(size)
        answer = self.call(f"recv {size}", self.engine.recv, self.handle, size)
        if isinstance(want, int):
            assert answer == self.their_bytes(first, want), f"recv: not {want} bytes"
        else:
            assert answer == want, f"recv gives {answer}, not {want}"
            if want == self.model.error:
                self.model.take_error()
        self.settle()

    def shutdown(self, how: int) -> None:
        """SHUT_RD, SHUT_WR or SHUT_RDWR."""
        want = self.model.shutdown(how != lib.UST_SHUT_RD, how != lib.UST_SHUT_WR, self.now)
        answer = self.call(f"shutdown {how}", self.engine.shutdown, self.handle, how)
        assert answer == (want or None), f"shutdown gives {answer}, not {want or 'success'}"
        self.settle()

    def close(self) -> None:
        """CLOSE."""
        self.note("close")
        self.engine.close(self.handle or 0)
        self.handle = None
        self.model.close(self.now)
        self.settle()

    def abort(self) -> None:
        """ABORT."""
        self.note("abort")
        self.engine.abort(self.handle or 0)
        self.handle = None
        self.model.abort()
        self.settle()

    # ------------------------------------------------------------- comparing

    def note(self, text: str) -> None:
        """A line of the trace."""
        self.trace.append(f"{self.now:.6f} {text}")

    def show(self, frame: bytes) -> None:
        """Show the model a frame that the engine has sent."""
        out = read(frame)
        if out is None:
            return
        self.note(f"> {out.segment}")
        assert out.ports == (self.our_port, self.their_port)
        self.model.sent(out.segment, self.now)
        first = (out.segment.seq - self.model.iss - 1) % MODULUS % (1 << 16)
        assert out.payload == pattern(first, first + len(out.payload)), (
            "payload is not what was sent"
        )
        self.sent.append(out)

    def settle(self) -> None:
        """Take what the engine sends at this moment; then both must agree."""
        for frame in self.engine.output():
            self.show(frame)
        self.expire(self.now)
        self.model.settle(self.now)
        self.compare()

    @property
    def engine_state(self) -> State:
        """The flow's state in the engine."""
        info = self.engine.flow(self.our_port, self.their_ip, self.their_port)
        if info is None:
            return State.LISTEN if self.passive else State.CLOSED
        return State(rig.STATES[info.state])

    def compare(self) -> None:
        """States and numbers are the same."""
        info = self.engine.flow(self.our_port, self.their_ip, self.their_port)
        state, model = self.engine_state, self.model
        if state in UNCONNECTED and model.state not in UNCONNECTED:
            model.give_up(self.now)
        if state is not model.state:
            raise Disagreement(f"the engine is in {state.value}, the model in {model.state.value}")
        if info is None:
            return
        pairs = {
            "SND.UNA": (info.snd_una, model.snd_una),
            "SND.NXT": (info.snd_max, model.snd_nxt),
            "RCV.NXT": (info.rcv_nxt, model.rcv_nxt),
        }
        for name, (engine, wanted) in pairs.items():
            if engine != wanted:
                raise Disagreement(f"{name} is {engine} in the engine, {wanted} in the model")
        self.engine.check()
