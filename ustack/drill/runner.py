# SPDX-License-Identifier: BSD-3-Clause
"""Play a script: each event at its time, every packet of the stack against its line.

    verdict = run(parse_file("handshake.pkt"), mode=Mode.STRICT)

An inbound line lets its time pass and then puts the packet into the stack. An outbound line demands
the next packet of the flow at hand, at that time within the tolerance. The times of lines behind
`*` or a range count from when the packet came, all others from when it should have come, so that
nothing drifts. Packets that no line asks for wait for the next line; after the last they are free.

A call that would block waits, while the events behind it are played if it has an end (`...t`).

Not here: calls (calls.py), what counts as the same packet (compare.py), commands (host.py).
"""

from __future__ import annotations

import errno
import os
import re
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import NoReturn

from ustack.drill import packet as wire
from ustack.drill import tcp_options, tcpinfo
from ustack.drill.backend import MS, SECOND, Backend, Host
from ustack.drill.calls import READERS, Attempt, Fd, Mismatch
from ustack.drill.compare import Mode, differs, ip_differs, is_pure_ack
from ustack.drill.engine import EngineBackend
from ustack.drill.expression import evaluate
from ustack.drill.flow import Flow, pattern, with_ace
from ustack.drill.host import Environment, apply_options
from ustack.drill.packet import FLAG_BITS, Live
from ustack.drill.script import (
    Call,
    Code,
    Command,
    Event,
    Icmp,
    Packet,
    Script,
    ScriptError,
    Segment,
    Udp,
    WhenKind,
)  # fmt: skip
from ustack.drill.show import show, show_live
from ustack.drill.verdict import Verdict
from ustack.drill.wait import AllCalls

__all__ = ["Failure", "run"]

TOLERANCE = 4 * MS
PATIENCE = 600 * SECOND  # how long `*`, and a call without an end, are waited for
TRACE_LEN = 60
_DEFINES = {"CMSG_LEVEL_IP": 0, "CMSG_TYPE_RECVERR": 11}
_STREAM_FLAGS = FLAG_BITS["P"] | FLAG_BITS["F"]


class Failure(Exception):
    """A line did not go as written."""

    def __init__(self, expected: str, got: str) -> None:
        super().__init__(f"expected {expected}, got {got}")
        self.expected, self.got = expected, got


@dataclass
class Waiting:
    """A call that has not returned yet."""

    event: Event
    call: Call
    attempt: Attempt
    end: int  # when it is to return


def run(
    script: Script,
    mode: Mode = Mode.STRICT,
    version: int | None = None,
    make: Callable[[Host], Backend] = EngineBackend,
) -> Verdict:
    """Play a script on a fresh stack, by default the engine.

    version: of IP, where the script leaves it open. make: gives the backend for a host.
    """
    verdict = Verdict(script.path, mode.value, version or 4)
    runner = None
    line = 0
    try:
        runner = Runner(script, mode, version, make)
        verdict.version = runner.host.version
        for event in script.events:
            line = event.line
            runner.play(event)
        runner.end()
    except (Failure, Mismatch) as failure:
        if runner is not None and runner.failed_line:
            line = runner.failed_line
        verdict.verdict, verdict.line = "fail", line
        verdict.expected, verdict.got = failure.expected, failure.got
    except (ScriptError, OSError) as error:
        verdict.verdict, verdict.line, verdict.got = "error", line or None, str(error)
    if runner is not None:
        verdict.trace, verdict.skipped = list(runner.trace), runner.environment.skipped
        verdict.seconds = (runner.backend.now - runner.start) / SECOND
        if not verdict.passed:
            verdict.state = runner.describe()
        runner.backend.free()
    return verdict


class Runner:
    """A script in progress on one backend."""

    def __init__(
        self, script: Script, mode: Mode, version: int | None, make: Callable[[Host], Backend]
    ) -> None:
        self.mode = mode
        self.host = apply_options(script, version)
        self.environment = Environment(self.host)
        self.tolerance = max(TOLERANCE, int(script.options.get("tolerance_usecs", 0)) * 1000)
        self.ts_tick = int(script.options.get("tcp_ts_tick_usecs", 0))
        self.names = _DEFINES | tcpinfo.CONSTANTS
        for name, text in script.defines.items():
            self.names[name] = _defined(name, text)
        for event in script.events:
            if event.when is not None:
                break
            self._command(event)
        self.backend = make(self.host)
        self.environment.set = self.backend.set
        self.calls = AllCalls(self.backend, self.names)
        self.calls.on_connect = self._on_connect
        self.calls.on_accept = self._on_accept
        self.calls.on_listen = lambda fd: self._listening.append(fd)
        self._listening: list[Fd] = []
        self.start = self.base = self.backend.now
        self.flows: dict[tuple[int, int], Flow] = {}
        self.flow: Flow | None = None
        self.inbox: deque[tuple[int, Live]] = deque()
        self.waiting: Waiting | None = None
        self.failed_line = 0
        self.trace: deque[str] = deque(maxlen=TRACE_LEN)
        self.variables: dict[str, object] = dict(tcpinfo.CONSTANTS)
        self._next_port = 40000
        self._begun = False

    # ------------------------------------------------------------------- events

    def play(self, event: Event) -> None:
        """One event, at its time."""
        if event.when is None:
            if self._begun:
                self._command(event)
            return
        self._begun = True
        low, high = self._window(event)
        match event.action:
            case Packet(inbound=False):
                self._outbound(event.action, low, high, event)
                return
            case Packet():
                self._sleep(low)
                self._inbound(event.action)
            case Call():
                self._call(event, event.action, low)
            case Command():
                self._sleep(low)
                self._command(event)
            case Code():
                self._sleep(low)
                self._code(event.action)
        self._settle(event, low)

    def end(self) -> None:
        """Behind the last event: calls return, and the stack must be in order."""
        self._finish_call()
        problem = self.backend.finish()
        if problem:
            raise Failure("a stack in order", problem)

    def describe(self) -> str:
        """The state of the flow at hand."""
        if self.flow is None:
            return ""
        flow = self.flow
        return self.backend.describe(flow.local_port, self.host.remote, flow.remote_port)

    def _window(self, event: Event) -> tuple[int, int]:
        """The first and the last moment of an event."""
        when = event.when
        assert when is not None
        if when.kind is WhenKind.ANY:
            return self.backend.now, self.backend.now + PATIENCE
        base = self.base if when.kind is WhenKind.RELATIVE else self.start
        return base + when.low, base + when.high

    def _settle(self, event: Event, at: int) -> None:
        """What the next event's time counts from."""
        assert event.when is not None
        self.base = max(at, self.backend.now) if event.when.is_range else at

    def _slack(self, moment: int) -> int:
        """How far from a moment its event may be."""
        return self.tolerance + max(moment - self.base, 0) // 100

    # --------------------------------------------------------------------- time

    def _sleep(self, until: int) -> None:
        """Let time pass."""
        self._advance(until, lambda: False)

    def _advance(self, until: int, stop: Callable[[], bool]) -> bool:
        """The same, at most until stop() is true; a call that waits goes on meanwhile."""

        def something_happened() -> bool:
            self._retry()
            return stop()

        while True:
            deadline = self.calls.deadline if self.waiting else None
            target = until if deadline is None else min(until, max(deadline, self.backend.now))
            if self.backend.advance(target, something_happened):
                return True
            if target == until:
                return False
            self._retry()

    # -------------------------------------------------------------------- calls

    def _call(self, event: Event, call: Call, low: int) -> None:
        """Begin a call; it must return at once, unless it is one that blocks."""
        self._finish_call()
        self._sleep(low)
        if self._is_bsd_only(call):
            return
        attempt, fd = self.calls.start(call)
        when = event.when
        assert when is not None
        end = low if when.end is None else self.base + when.end
        if when.kind is WhenKind.ABSOLUTE and when.end is not None:
            end = self.start + when.end
        self.waiting = Waiting(event, call, attempt, end)
        self.calls.deadline = None
        self._retry(fd is not None and fd.nonblocking)
        if self.waiting and when.end is None:
            self._finish_call()

    def _retry(self, nonblocking: bool = False) -> None:
        """Try the call that waits once more."""
        waiting = self.waiting
        if waiting is None:
            return
        try:
            result = waiting.attempt()
        except BlockingIOError as error:
            if not nonblocking:
                return
            self._returned(waiting, -1, error.errno or errno.EAGAIN)
        except OSError as error:
            self._returned(waiting, -1, abs(error.errno or 0))
        except Mismatch as mismatch:
            self.failed_line = waiting.event.line
            if self._is_compared(waiting.call):
                raise Failure(f"{waiting.event.text}: {mismatch.expected}", mismatch.got) from None
            self.waiting = None
        else:
            self._returned(waiting, result, 0)

    def _returned(self, waiting: Waiting, result: int, error: int) -> None:
        """Compare a call's result and when it came."""
        self.waiting = None
        call, now = waiting.call, self.backend.now
        name = errno.errorcode.get(error, str(error))
        got = f"{result}" if not error else f"{result} {name} ({os.strerror(error)})"
        self._note(f"{waiting.event.text.split(') =')[0]}) = {got}", now)
        if not self._is_compared(call):
            return
        self.failed_line = waiting.event.line
        wanted = evaluate(call.result, self.names)
        if (wanted is not ... and wanted != result) or (call.errno or "") != (
            name if error else ""
        ):
            if wanted is not ... or call.errno:
                raise Failure(waiting.event.text, got)
        if abs(now - waiting.end) > self._slack(waiting.end) and self.mode is not Mode.API:
            late = (now - waiting.end) / SECOND
            raise Failure(waiting.event.text, f"{got}, {late:+.6f} s from when it was to return")
        self.failed_line = 0

    def _finish_call(self) -> None:
        """Wait for the call that waits, no longer than it may take."""
        if self.waiting is None:
            return
        waiting = self.waiting
        until = max(waiting.end + self._slack(waiting.end), self.backend.now)
        if self._advance(until, lambda: self.waiting is not waiting):
            return
        self.failed_line = waiting.event.line
        if self._is_compared(waiting.call):
            raise Failure(waiting.event.text, f"it still blocks at {self._clock(self.backend.now)}")
        self.waiting = None

    def _is_compared(self, call: Call) -> bool:
        return self.mode is not Mode.API or call.name in READERS

    def _is_bsd_only(self, call: Call) -> bool:
        """SO_RCVBUF has other values on every system."""
        if self.mode is Mode.STRICT or call.name != "getsockopt":
            return False
        return len(call.args) > 2 and evaluate(call.args[2], self.names) == 8

    def _on_connect(self, fd: Fd, address: str, port: int) -> None:
        """A connection of ours begins: the lines that follow are about it."""
        try:
            _, local_port, _, _ = self.backend.names(fd.handle)
        except OSError:
            return
        if fd.flow is not None and fd.flow.local_port == local_port:
            return
        proto = wire.TCP if fd.kind == 1 else wire.UDP
        flow = Flow(local_port, port, proto, passive=False, handle=fd.handle)
        fd.flow = self.flow = flow
        self.flows[local_port, port] = flow

    def _on_accept(self, fd: Fd) -> None:
        """A connection of the peer's has a socket now."""
        _, local_port, _, remote_port = self.backend.names(fd.handle)
        fd.flow = self.flows.get((local_port, remote_port))
        if fd.flow is not None:
            fd.flow.handle = fd.handle

    # ---------------------------------------------------------- commands, code

    def _command(self, event: Event) -> None:
        assert isinstance(event.action, Command)
        text = event.action.text
        if re.match(r"\s*sysctl -w (net\.inet|kern)\.", text):  # BSD's; Linux has net.ipv4
            return
        question = self.environment.run(text)
        if question is None or self.mode is Mode.API:
            return
        states = [self._state(flow) for flow in self.flows.values()]
        if question.state == "LISTEN":
            states = ["LISTEN"] * sum(fd in self.calls.fds.values() for fd in self._listening)
        count = states.count(question.state)
        if count != question.count:
            raise Failure(f"{question.count} in {question.state}", f"{count}: {', '.join(states)}")

    def _state(self, flow: Flow) -> str:
        return self.backend.state(flow.local_port, self.host.remote, flow.remote_port)

    def _code(self, code: Code) -> None:
        """Run a script's Python: one program in pieces, with tcp_info's fields as names."""
        if self.flow is not None and self.flow.handle is not None:
            try:
                self.variables.update(tcpinfo.fields(self.backend.tcp_info(self.flow.handle)))
            except OSError:
                pass  # the socket is closed: the names keep what they were
        if self.mode is Mode.API:
            return
        text = _dedent(code.text)
        try:
            exec(compile(text, "<code>", "exec"), self.variables)
        except Exception as error:
            kind = type(error).__name__
            raise Failure(
                " ".join(text.split()), f"{kind}: {error}" if str(error) else kind
            ) from None

    # ------------------------------------------------------------------ inbound

    def _inbound(self, packet: Packet) -> None:
        """Put a packet into the stack."""
        self._collect()
        flow = self._flow_for(packet)
        raw = self._build(packet, flow)
        self._note(show(packet), self.backend.now)
        self.backend.inject(raw)
        self._retry()

    def _flow_for(self, packet: Packet) -> Flow:
        """The flow of an inbound packet: a SYN to a listener may begin a new one."""
        body = packet.body
        flow = self.flow
        begins = isinstance(body, Segment) and "S" in body.flags and "." not in body.flags
        if flow is None:
            return self._new_passive(body)
        if begins and self._is_listening():
            over = self._state(flow) == "CLOSED" and flow.local_base is not None
            if over or not flow.passive:
                return self._new_passive(body)
        if begins and self._state(flow) in ("CLOSED", "TIME_WAIT"):
            flow.renew = True
        return flow

    def _is_listening(self) -> bool:
        return any(fd in self.calls.fds.values() for fd in self._listening)

    def _new_passive(self, body: Segment | Udp | Icmp) -> Flow:
        proto = wire.UDP if isinstance(body, Udp) else wire.TCP
        self.flow = Flow(self.host.bind_port, self._next_port, proto)
        self.flows[self.flow.local_port, self._next_port] = self.flow
        self._next_port += 1
        return self.flow

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

    def _outbound(self, packet: Packet, low: int, high: int, event: Event) -> None:
        """Demand the next packet of the flow."""
        if self.mode is Mode.API:
            self._sleep(low)
            while self._take(low):
                pass
            self._settle(event, low)
            return
        want = packet.body
        late = high + self._slack(high)
        at, live = self._next(late, packet, event)
        if isinstance(want, Segment):
            live = self._merge(want, live, late)
            while problem := self._compare(packet, want, live):
                superseded = self._superseded(want, live, late, problem)
                if superseded is None:
                    self._fail(event, live, problem)
                at, live = superseded
                live = self._merge(want, live, late)
        elif problem := self._compare_other(packet, live):
            self._fail(event, live, problem)
        early = low - self._slack(low)
        if not early <= at <= late and event.when and event.when.kind is not WhenKind.ANY:
            self._fail(event, live, f"at +{(at - self.base) / SECOND:.6f}")
        assert event.when is not None
        self.base = at if event.when.is_range else low

    def _next(self, until: int, packet: Packet, event: Event) -> tuple[int, Live]:
        """The next packet of the flow at hand, or a failure."""
        found = self._take(until)
        if found is not None:
            return found
        now = self.backend.now
        found = self._take(now + 60 * SECOND)
        what = "nothing was sent"
        if found is not None:
            what += f" until then; the next is {self._show(found[1])}"
            what += f" at +{(found[0] - self.base) / SECOND:.6f}"
        raise Failure(event.text, what)

    def _take(self, until: int) -> tuple[int, Live] | None:
        """The next packet of the flow at hand until then."""
        self._collect()
        if not self.inbox and until >= self.backend.now:
            self._advance(until, self._collect)
        if not self.inbox:
            return None
        at, live = self.inbox.popleft()
        self._note(self._show(live), at)
        return at, live

    def _collect(self) -> bool:
        """File the packets that the stack has sent; is there one of the flow at hand?"""
        sent = self.backend.sent
        while sent:
            item = sent.popleft()
            live = wire.read(item.packet)
            if live is None or not self._is_ours(live):
                self._note("> something else, not of this flow", item.at)
                continue
            self.inbox.append((item.at, live))
        return bool(self.inbox)

    def _is_ours(self, live: Live) -> bool:
        """Does a packet belong to the flow at hand? A connect() may have begun one unheard of."""
        if live.proto not in (wire.TCP, wire.UDP):
            return True
        key = live.sport, live.dport
        if key not in self.flows:
            if live.dst != self.host.remote_bytes:
                return False
            self.flows[key] = self.flow = Flow(*key, proto=live.proto, passive=False)
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
                    return f"TS val, a tick being {self.ts_tick} us"
                flow.learn_ts(option[1], live)
        first = got.seq - 1 + ("S" in got.flags)
        if flow.checked and live.payload and first + len(live.payload) <= flow.written:
            if live.payload != pattern(first, len(live.payload)):
                return "the payload is not what was written"
        return ""

    def _ts_is_wrong(self, flow: Flow, written: int, live: Live) -> bool:
        """Is a TSval not as far from the first as it is written?"""
        if not self.ts_tick or flow.first_ts is None:
            return False
        sent = next((int(str(o[1])) for o in live.options if o[0] == "TS"), 0)
        off = (sent - flow.first_ts[1]) - (written - flow.first_ts[0])
        return abs(off) * self.ts_tick * 1000 > self.tolerance

    def _superseded(
        self, want: Segment, live: Live, until: int, problem: str
    ) -> tuple[int, Live] | None:
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

    def _fail(self, event: Event, live: Live, problem: str) -> NoReturn:
        raise Failure(event.text, f"{self._show(live)}   ({problem})")

    def _show(self, live: Live) -> str:
        flow = self.flows.get((live.sport, live.dport))
        tcp = live.proto == wire.TCP and flow is not None
        return show_live(live, flow.segment(live) if tcp and flow else None)

    def _clock(self, at: int) -> str:
        return f"{(at - self.start) / SECOND:.6f}"

    def _note(self, text: str, at: int) -> None:
        self.trace.append(f"{self._clock(at)} {text}"[:200])


def _defined(name: str, text: str) -> int:
    from ustack.drill.expression import ExpressionReader

    value = evaluate(ExpressionReader(text, f"--define={name}").read_expression(), {})
    if not isinstance(value, int):
        raise ScriptError(f"--define={name}={text}: expected a number")
    return value


def _dedent(text: str) -> str:
    import textwrap

    return textwrap.dedent(text) if text.startswith("\n") else text.strip()
