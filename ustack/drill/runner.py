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

import contextlib
import errno
import os
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass

from ustack.drill import packet as wire
from ustack.drill import tcpinfo
from ustack.drill.backend import MS, SECOND, Backend, Host
from ustack.drill.calls import READERS, Attempt, Fd, Mismatch
from ustack.drill.compare import Mode
from ustack.drill.engine import EngineBackend
from ustack.drill.expression import evaluate
from ustack.drill.flow import Flow
from ustack.drill.host import Environment, apply_options
from ustack.drill.pipes import PipeCalls
from ustack.drill.script import Call, Code, Command, Event, Packet, Script, ScriptError, WhenKind
from ustack.drill.traffic import Failure, Traffic, Window
from ustack.drill.verdict import Verdict

__all__ = ["Failure", "run"]

TOLERANCE = 4 * MS
_DEFINES = {"CMSG_LEVEL_IP": 0, "CMSG_TYPE_RECVERR": 11}


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
        verdict.trace, verdict.skipped = list(runner.traffic.trace), runner.environment.skipped
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
        tolerance = max(TOLERANCE, int(script.options.get("tolerance_usecs", 0)) * 1000)
        self.names = _DEFINES | tcpinfo.CONSTANTS
        for name, text in script.defines.items():
            self.names[name] = _defined(name, text)
        for event in script.events:
            if event.when is not None:
                break
            self._command(event)
        self.backend = make(self.host)
        for what in self.backend.unknown:
            self.environment.skip(what)
        self.environment.sysctl = self.backend.sysctl
        self.calls = PipeCalls(self.backend, self.names)
        self.calls.on_connect = self._on_connect
        self.calls.on_accept = self._on_accept
        self.calls.on_listen = lambda fd: self._listening.append(fd)
        self._listening: list[Fd] = []
        self.start = self.base = self.backend.now
        self.traffic = Traffic(self.backend, mode, self._advance, self._is_listening)
        self.traffic.tolerance = self.tolerance = tolerance
        self.traffic.ts_tick_ns = int(script.options.get("tcp_ts_tick_usecs", 0)) * 1000
        self.waiting: Waiting | None = None
        self.failed_line = 0
        self.variables: dict[str, object] = dict(tcpinfo.CONSTANTS)
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
                self._demand(event, event.action, low, high)
                return
            case Packet():
                self._sleep(low)
                self.traffic.put(event.action)
                self._retry()
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
        flow = self.traffic.flow
        if flow is None:
            return ""
        return self.backend.describe(flow.local_port, self.host.remote, flow.remote_port)

    def _window(self, event: Event) -> tuple[int, int]:
        """The first and the last moment of an event."""
        when = event.when
        assert when is not None
        if when.kind is WhenKind.ANY:
            return self.backend.now, self.backend.now + self.backend.patience
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
        self.traffic.note(f"{waiting.event.text.split(') =')[0]}) = {got}", now)
        if not self._is_compared(call):
            return
        self.failed_line = waiting.event.line
        wanted = evaluate(call.result, self.names)
        wanted_error = getattr(errno, call.errno, -1) if call.errno else 0
        if (wanted is not ... and wanted != result) or wanted_error != error:
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
            raise Failure(waiting.event.text, "it still blocks")
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
        fd.flow = flow
        self.traffic.begin(flow)

    def _on_accept(self, fd: Fd) -> None:
        """A connection of the peer's has a socket now."""
        _, local_port, _, remote_port = self.backend.names(fd.handle)
        fd.flow = self.traffic.flows.get((local_port, remote_port))
        if fd.flow is not None:
            fd.flow.handle = fd.handle

    def _is_listening(self) -> bool:
        return any(fd in self.calls.fds.values() for fd in self._listening)

    # ------------------------------------------------------- packets, commands, code

    def _demand(self, event: Event, packet: Packet, low: int, high: int) -> None:
        """An outbound line."""
        if self.mode is Mode.API:
            self._sleep(low)
            self.traffic.forget()
            self._settle(event, low)
            return
        assert event.when is not None
        early = 0 if event.when.kind is WhenKind.ANY else low - self._slack(low)
        window = Window(self.base, early, high + self._slack(high))
        at = self.traffic.demand(packet, event.text, window)
        self.base = at if event.when.is_range else low

    def _command(self, event: Event) -> None:
        assert isinstance(event.action, Command)
        text = event.action.text
        if re.match(r"\s*sysctl -w (net\.inet|kern)\.", text):  # BSD's; Linux has net.ipv4
            return
        question = self.environment.run(text)
        if question is None or self.mode is Mode.API:
            return
        states = [self.traffic.state(flow) for flow in self.traffic.flows.values()]
        if question.state == "LISTEN":
            states = ["LISTEN"] * sum(fd in self.calls.fds.values() for fd in self._listening)
        count = states.count(question.state)
        if count != question.count:
            raise Failure(f"{question.count} in {question.state}", f"{count}: {', '.join(states)}")

    def _code(self, code: Code) -> None:
        """Run a script's Python: one program in pieces, with tcp_info's fields as names."""
        flow = self.traffic.flow
        if flow is not None and flow.handle is not None:
            try:
                self.variables.update(tcpinfo.fields(self.backend.tcp_info(flow.handle)))
            except OSError:
                pass  # the socket is closed: the names keep what they were
        if self.mode is Mode.API:
            return
        text = _dedent(code.text)
        try:
            with contextlib.redirect_stdout(sys.stderr):  # stdout is for verdicts
                exec(compile(text, "<code>", "exec"), self.variables)
        except Exception as error:
            kind = type(error).__name__
            raise Failure(
                " ".join(text.split()), f"{kind}: {error}" if str(error) else kind
            ) from None


def _defined(name: str, text: str) -> int:
    from ustack.drill.expression import ExpressionReader

    value = evaluate(ExpressionReader(text, f"--define={name}").read_expression(), {})
    if not isinstance(value, int):
        raise ScriptError(f"--define={name}={text}: expected a number")
    return value


def _dedent(text: str) -> str:
    import textwrap

    return textwrap.dedent(text) if text.startswith("\n") else text.strip()
