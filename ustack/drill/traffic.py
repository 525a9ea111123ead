# SPDX-License-Identifier: BSD-3-Clause
"""The packets of a script: those it puts into the stack, those it demands of it.

A script speaks of one flow at a time: the one that a connect() or a SYN to a listener began last.
Packets of other flows are noted in the trace and passed over. What no line asks for waits in the
inbox for the next line that asks.

Not here: when a line's time is (runner.py), what counts as the same packet (compare.py).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace

from ustack.drill import packet as wire
from ustack.drill import tcp_options
from ustack.drill.backend import SECOND, Backend
from ustack.drill.compare import Mode, differs, ip_differs, is_pure_ack
from ustack.drill.flow import Flow, pattern, with_ace
from ustack.drill.packet import FLAG_BITS, Live
from ustack.drill.script import Icmp, Packet, ScriptError, Segment, Udp
from ustack.drill.show import show, show_live

__all__ = ["Failure", "Traffic", "Window"]

TRACE_LEN = 60
FIRST_PORT = 40000  # of peers that connect to us
_STREAM_FLAGS = FLAG_BITS["P"] | FLAG_BITS["F"]

#: ICMP messages that a stack sends for itself (neighbours, groups) are none of a script's business.
_ICMP_HEARD = {wire.ICMP: {0, 3, 4, 5, 8, 11, 12}, wire.ICMP6: {1, 2, 3, 4, 128, 129}}


class Failure(Exception):
    """A line did not go as written."""

    def __init__(self, expected: str, got: str) -> None:
        super().__init__(f"expected {expected}, got {got}")
        self.expected, self.got = expected, got


@dataclass(frozen=True)
class Window:
    """When a packet may come: from early to late; base: what its line's time counts from."""

    base: int
    early: int
    late: int


class Traffic:
    """The flows of one script, and the packets of the stack that are still to be accounted for.

    advance(until, stop): lets time pass. is_listening(): may a SYN begin a connection?
    """

    def __init__(
        self,
        backend: Backend,
        mode: Mode,
        advance: Callable[[int, Callable[[], bool]], bool],
        is_listening: Callable[[], bool],
    ) -> None:
        self.backend, self.host, self.mode = backend, backend.host, mode
        self.advance, self.is_listening = advance, is_listening
        self.start = backend.now
        self.ts_tick_ns, self.tolerance = 0, 0
        self.flows: dict[tuple[int, int], Flow] = {}
        self.flow: Flow | None = None
        self.inbox: deque[tuple[int, Live]] = deque()
        self.trace: deque[str] = deque(maxlen=TRACE_LEN)
        self._next_port = FIRST_PORT

    def state(self, flow: Flow) -> str:
        """The state of a flow."""
        return self.backend.state(flow.local_port, self.host.remote, flow.remote_port)

    def begin(self, flow: Flow) -> None:
        """A flow begins, and the lines that follow are about it."""
        self.flow = self.flows[flow.local_port, flow.remote_port] = flow

    def note(self, text: str, at: int) -> None:
        """A line of the trace."""
        self.trace.append(f"{(at - self.start) / SECOND:.6f} {text}"[:200])

    # ------------------------------------------------------------------ inbound

    def put(self, packet: Packet) -> None:
        """Put a packet into the stack."""
        self.collect()
        flow = self._flow_for(packet)
        raw = self._build(packet, flow)
        self.note(show(packet), self.backend.now)
        self.backend.inject(raw)

    def _flow_for(self, packet: Packet) -> Flow:
        """The flow of an inbound packet: a SYN to a listener may begin a new one."""
        body = packet.body
        flow = self.flow
        begins = isinstance(body, Segment) and "S" in body.flags and "." not in body.flags
        if flow is None:
            return self._new_passive(body)
        if begins and self.is_listening():
            over = self.state(flow) == "CLOSED" and flow.local_base is not None
            if over or not flow.passive:
                return self._new_passive(body)
        if begins and self.state(flow) in ("CLOSED", "TIME_WAIT"):
            flow.renew = True
        return flow

    def _new_passive(self, body: Segment | Udp | Icmp) -> Flow:
        proto = wire.UDP if isinstance(body, Udp) else wire.TCP
        flow = Flow(self.host.bind_port, self._next_port, proto)
        self._next_port += 1
        self.begin(flow)
        return flow

    def _build(self, packet: Packet, flow: Flow) -> bytes:
        body, ip = packet.body, packet.ip
        tos = (ip.tos or 0) & ~3 | (ip.ecn if ip.ecn is not None else (ip.tos or 0) & 3)
        ttl = ip.ttl if ip.ttl is not None else 64
        src, dst = self.host.remote_bytes, self.host.local_bytes
        ports = flow.remote_port, flow.local_port
        if isinstance(body, Udp):
            return wire.build_udp(src, dst, ports, pattern(0, body.length), tos=tos, ttl=ttl)
        if isinstance(body, Icmp):
            return self._build_icmp(body, flow)
        segment = with_ace(body)
        if segment.options is None:
            raise ScriptError("<...> says nothing in an inbound packet")
        if segment.urg:
            flow.checked = False
        first = segment.seq - 1 + ("S" in segment.flags)
        return wire.build_tcp(
            src, dst, ports,
            flow.seq_in(segment.seq),
            flow.ack_in(segment.ack) if segment.ack is not None else 0,
            sum(FLAG_BITS[flag] for flag in segment.flags),
            win=0 if segment.win is None else segment.win,
            urg=segment.urg or 0,
            options=tcp_options.encode(flow.options_in(segment.options)),
            payload=pattern(first, segment.length),
            tos=tos, ttl=ttl, label=ip.flow_label or 0,
        )  # fmt: skip

    def _build_icmp(self, icmp: Icmp, flow: Flow) -> bytes:
        """An ICMP error about a packet of ours."""
        src, dst = self.host.remote_bytes, self.host.local_bytes
        ports = flow.local_port, flow.remote_port
        if isinstance(icmp.quoted, Udp) or (icmp.quoted is None and flow.proto == wire.UDP):
            length = icmp.quoted.length if isinstance(icmp.quoted, Udp) else 0
            quoted = wire.build_udp(dst, src, ports, bytes(length))
        else:
            seq, length = icmp.quoted or (1, 0)
            quoted = wire.build_tcp(
                dst, src, ports, flow.ack_in(seq), 0, FLAG_BITS["."], payload=bytes(length)
            )
        try:
            return wire.build_icmp(src, dst, icmp.kind, icmp.code, icmp.mtu, quoted)
        except ValueError as error:
            raise ScriptError(str(error)) from None

    # ----------------------------------------------------------------- outbound

    def demand(self, packet: Packet, text: str, window: Window) -> int:
        """Demand the next packet of the flow, and return when it came.

        text: of the line. Raises Failure.
        """
        want = packet.body
        at, live = self._next(text, window)
        if isinstance(want, Segment):
            live = self._merge(want, live, window.late)
            while problem := self._compare(packet, want, live):
                superseded = self._superseded(live, window.late)
                if superseded is None:
                    raise Failure(text, f"{self._show(live)}   ({problem})")
                at, live = superseded
                live = self._merge(want, live, window.late)
        elif problem := self._compare_other(packet, live):
            raise Failure(text, f"{self._show(live)}   ({problem})")
        if not window.early <= at <= window.late:
            raise Failure(text, f"{self._show(live)}   (at +{(at - window.base) / SECOND:.6f})")
        return at

    def forget(self) -> None:
        """Let all go that the stack has sent up to now."""
        while self._take(self.backend.now):
            pass

    def _next(self, text: str, window: Window) -> tuple[int, Live]:
        """The next packet of the flow at hand, or a failure."""
        found = self._take(window.late)
        if found is not None:
            return found
        found = self._take(self.backend.now + self.backend.patience)
        what = "nothing was sent"
        if found is not None:
            at, live = found
            what += f" until then; the next is {self._show(live)}"
            what += f" at +{(at - window.base) / SECOND:.6f}"
        raise Failure(text, what)

    def _take(self, until: int) -> tuple[int, Live] | None:
        """The next packet of the flow at hand until then."""
        self.collect()
        if not self.inbox and until >= self.backend.now:
            self.advance(until, self.collect)
        if not self.inbox:
            return None
        at, live = self.inbox.popleft()
        self.note(self._show(live), at)
        return at, live

    def collect(self) -> bool:
        """File the packets that the stack has sent; is there one of the flow at hand?"""
        sent = self.backend.sent
        while sent:
            item = sent.popleft()
            live = wire.read(item.packet)
            if live is None or not self._is_ours(live):
                self.note("> something else, not of this flow", item.at)
                continue
            self.inbox.append((item.at, live))
        return bool(self.inbox)

    def _is_ours(self, live: Live) -> bool:
        """Does a packet belong to the flow at hand? A connect() may have begun one unheard of."""
        if live.proto not in (wire.TCP, wire.UDP):
            return bool(live.payload) and live.payload[0] in _ICMP_HEARD.get(live.proto, ())
        key = live.sport, live.dport
        if key not in self.flows:
            if live.dst != self.host.remote_bytes:
                return False
            self.begin(Flow(*key, proto=live.proto, passive=False))
        flow = self.flows[key]
        flow.learn(live)
        return flow is self.flow

    def _merge(self, want: Segment, live: Live, until: int) -> Live:
        """Several segments in a row as the one large segment that a line writes.

        A stack may also have cut at other places (TSO): what is too much waits for the next line.
        """
        flow = self.flow
        assert flow is not None
        while 0 < len(live.payload) < want.length and not live.bits & FLAG_BITS["F"]:
            found = self._take(until)
            if found is None:
                return live
            at, more = found
            follows = (live.seq + len(live.payload)) % 2**32 == more.seq
            if not follows or not more.payload or more.ack != live.ack:
                self.inbox.appendleft((at, more))
                return live
            live = live.with_payload(
                live.payload + more.payload, live.bits & ~_STREAM_FLAGS | more.bits
            )
        if len(live.payload) > want.length > 0:
            rest = replace(
                live, seq=(live.seq + want.length) % 2**32, payload=live.payload[want.length :]
            )
            self.inbox.appendleft((self.backend.now, rest))
            live = live.with_payload(live.payload[: want.length], live.bits & ~_STREAM_FLAGS)
        return live

    def _compare(self, packet: Packet, want: Segment, live: Live) -> str:
        """What is wrong with a TCP packet; "" if nothing."""
        flow = self.flow
        if flow is None or live.proto != wire.TCP:
            return "protocol"
        got = flow.segment(live)
        problem = live.problem or differs(want, got, self.mode) or ip_differs(packet.ip, live)
        if problem:
            return problem
        for option in want.options or ():
            if option[0] == "TS" and isinstance(option[1], int):
                if self._ts_is_wrong(flow, option[1], live):
                    return f"TS val, a tick being {self.ts_tick_ns // 1000} us"
                flow.learn_ts(option[1], live)
        first = got.seq - 1 + ("S" in got.flags)
        if flow.checked and live.payload and first + len(live.payload) <= flow.written:
            if live.payload != pattern(first, len(live.payload)):
                return "the payload is not what was written"
        return ""

    def _ts_is_wrong(self, flow: Flow, written: int, live: Live) -> bool:
        """Is a TSval not as far from the first as it is written?"""
        if not self.ts_tick_ns or flow.first_ts is None:
            return False
        sent = next((int(str(o[1])) for o in live.options if o[0] == "TS"), 0)
        off = (sent - flow.first_ts[1]) - (written - flow.first_ts[0])
        return abs(off) * self.ts_tick_ns > self.tolerance

    def _superseded(self, live: Live, until: int) -> tuple[int, Live] | None:
        """In semantic mode, the packet behind an ACK that it makes superfluous."""
        flow = self.flow
        if self.mode is not Mode.SEMANTIC or flow is None or live.proto != wire.TCP:
            return None
        if not is_pure_ack(flow.segment(live)):
            return None
        found = self._take(until)
        if found is None or (found[1].ack - live.ack) % 2**32 >= 2**31:
            return None
        return found

    def _compare_other(self, packet: Packet, live: Live) -> str:
        body = packet.body
        if isinstance(body, Udp):
            if live.proto != wire.UDP or len(live.payload) != body.length:
                return "not this datagram"
            return ip_differs(packet.ip, live)
        if live.proto not in (wire.ICMP, wire.ICMP6):
            return "not an ICMP message"
        assert isinstance(body, Icmp)
        src, dst = live.src, live.dst
        wanted = wire.build_icmp(src, dst, body.kind, body.code, body.mtu, b"")
        at = 20 if live.version == 4 else 40
        return "" if wanted[at : at + 2] == live.payload[:2] else "type or code"

    # ----------------------------------------------------------------- telling

    def _show(self, live: Live) -> str:
        flow = self.flows.get((live.sport, live.dport))
        tcp = live.proto == wire.TCP and flow is not None
        return show_live(live, flow.segment(live) if tcp and flow else None)
