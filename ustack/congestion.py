# SPDX-License-Identifier: BSD-3-Clause
"""Congestion controls written in Python: in a simulation, and on a running stack.

    class Aimd(ustack.CongestionControl):
        def on_ack(self, ack: ustack.Ack) -> None:
            self.cwnd += self.mss * ack.acked / self.cwnd

        def on_loss(self, loss: ustack.Loss) -> None:
            self.cwnd = loss.prior_cwnd / 2

    net.bulk(a, b, congestion=Aimd)          # in a simulation
    ustack.control_congestion(stack, Aimd)   # all connections of a stack from now on

Each connection gets an object of its own. The engine does not wait for it: until the answer comes
the window stays as it is, or is halved at a loss. Several ACKs may have come together by the time
that Python hears of them; in a simulation each is told by itself.
"""

import errno
import threading
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from ustack._native import ffi, lib

if TYPE_CHECKING:
    from ustack.stack import Stack

__all__ = ["Ack", "Congestion", "CongestionControl", "Controllers", "Loss"]
__all__ += ["control_congestion", "for_engine"]

MAX_REPORTS = 64
_IDLE_NS = 20_000_000
_SWEEP = 1024  # objects of connections that may be gone, before it is looked


@dataclass(frozen=True, slots=True)
class Ack:
    """What one ACK, or several since the last call, told. Times in seconds.

    acked: bytes newly delivered. in_flight: bytes before the last ACK. rtt: the last measured;
    None: none was. srtt, min_rtt: None before the first measurement. limited: cwnd is what holds
    sending back; if it is not, there is little reason to let it grow.
    """

    now: float
    acked: int
    in_flight: int
    rtt: float | None
    srtt: float | None
    min_rtt: float | None
    acks: int
    limited: bool


@dataclass(frozen=True, slots=True)
class Loss:
    """A sign of congestion. cause: "loss", "ecn" or "timeout"; prior_cwnd: bytes, before it."""

    now: float
    cause: str
    prior_cwnd: int
    in_flight: int


class CongestionControl:
    """Decides one connection's window. Derive, override what you need, assign cwnd.

    cwnd: bytes; what the engine has now, before each call. In recovery and in slow start after a
    timeout or a pause, which the engine sees to, it is what the window will be then. pacing_rate:
    bytes a second; 0: as cwnd and the RTT give it. mss: bytes.
    """

    #: False: on_ack() is called with sums, not for each ACK; set by itself when on_ack is not
    #: overridden, which makes less work.
    per_ack = True

    cwnd: float
    mss: int
    pacing_rate: float = 0.0

    def on_start(self) -> None:
        """The connection is established; cwnd is the initial window."""

    def on_ack(self, ack: Ack) -> None:
        """Text has been acknowledged."""

    def on_round(self, ack: Ack) -> None:
        """A round trip has ended; ack is of its last ACK."""

    def on_loss(self, loss: Loss) -> None:
        """Congestion. The engine has halved cwnd already (RFC 5681 3.2)."""

    def on_undo(self) -> None:
        """The last loss was none; the engine has restored cwnd."""

    def on_restart(self, idle: float) -> None:
        """Sending begins again after so many seconds without anything in flight."""


Congestion: TypeAlias = type[CongestionControl]


class Controllers:
    """The objects of one engine's connections, and what they are told."""

    def __init__(
        self,
        reports: Callable[[Any, int], int],
        update: Callable[[int, int, int, int], int],
        choose: Callable[[int], Congestion | None],
    ) -> None:
        """reports, update: the calls of ustack.h for an engine. choose: the class by handle."""
        self._take, self._update, self._choose = reports, update, choose
        self._raw = ffi.new("struct ust_cc_report[]", MAX_REPORTS)
        self._objects: dict[int, CongestionControl] = {}

    def run(self) -> int:
        """Hand out the reports that there are: how many."""
        count = self._take(self._raw, MAX_REPORTS)
        for i in range(count):
            self._tell(self._raw[i])
        return count

    def _tell(self, raw: Any) -> None:
        handle = int(raw.handle)
        control = self._objects.get(handle) or self._begin(handle)
        if control is None:
            return
        control.mss, control.cwnd = raw.mss, raw.cwnd
        losing = raw.news & (lib.UST_CC_LOSS | lib.UST_CC_ECN | lib.UST_CC_TIMEOUT)
        before = (control.cwnd, control.pacing_rate)
        if raw.news & lib.UST_CC_START:
            control.on_start()
        if raw.news & lib.UST_CC_UNDO:
            control.on_undo()
        if raw.news & lib.UST_CC_RESTART:
            control.on_restart(raw.idle_ns / 1e9)
        if raw.news & lib.UST_CC_ACK:
            _tell_ack(control, raw)
        if losing:
            loss = Loss(raw.now / 1e9, _cause(raw.news), raw.prior_cwnd, raw.in_flight)
            control.on_loss(loss)
        if (control.cwnd, control.pacing_rate) != before or raw.news & lib.UST_CC_START:
            self._set(handle, control)

    def _begin(self, handle: int) -> CongestionControl | None:
        kind = self._choose(handle)
        if kind is None:
            return None
        if len(self._objects) >= _SWEEP and len(self._objects) % _SWEEP == 0:
            self._objects = {h: c for h, c in self._objects.items() if self._set(h, c)}
        control = self._objects[handle] = kind()
        return control

    def _set(self, handle: int, control: CongestionControl) -> bool:
        """Tell the engine; whether there is still such a connection."""
        cwnd = min(max(int(control.cwnd), control.mss), 1 << 30)
        rate = max(int(control.pacing_rate), 0)
        return self._update(handle, cwnd, rate, not _hears_each_ack(control)) == 0


def _hears_each_ack(control: CongestionControl) -> bool:
    return control.per_ack and type(control).on_ack is not CongestionControl.on_ack


def _tell_ack(control: CongestionControl, raw: Any) -> None:
    srtt = raw.srtt_us / 1e6 if raw.srtt_us else None
    least = raw.min_rtt_us / 1e6 if raw.min_rtt_us != 0xFFFFFFFF else None
    rtt = raw.rtt_us / 1e6 if raw.rtt_us else None
    limited = bool(raw.limited)
    ack = Ack(raw.now / 1e9, raw.acked, raw.in_flight, rtt, srtt, least, raw.n_acks, limited)
    control.on_ack(ack)
    if raw.news & lib.UST_CC_ROUND:
        control.on_round(ack)


def _cause(news: int) -> str:
    if news & lib.UST_CC_TIMEOUT:
        return "timeout"
    return "loss" if news & lib.UST_CC_LOSS else "ecn"


def for_engine(engine: Any, choose: Callable[[int], Congestion | None]) -> Controllers:
    """Return the controllers of an engine that nothing else drives meanwhile: a simulation's."""
    return Controllers(
        lambda raw, count: int(lib.ust_cc_reports(engine, raw, count)),
        lambda *args: int(lib.ust_cc_update(engine, *args)),
        choose,
    )


# ------------------------------------------------------------------------------ running stacks


def control_congestion(stack: "Stack", kind: Congestion) -> None:
    """Let objects of this class control the connections that a stack makes from now on.

    A thread hands out what happened whenever the stack has worked. When a method raises, the
    exception is printed, the thread ends, and the connections keep the windows that they have.
    """
    worker = stack._worker
    stack.settings["tcp.congestion_control"] = "python"
    controllers = Controllers(
        lambda raw, count: int(lib.ust_worker_cc_reports(worker, raw, count)),
        lambda *args: int(lib.ust_worker_cc_update(worker, *args)),
        lambda handle: kind,
    )
    run = threading.Thread(
        target=_serve, args=(worker, controllers), name=f"ustack {kind.__name__}", daemon=True
    )
    run.start()


def _serve(worker: Any, controllers: Controllers) -> None:
    """Hand out reports until the stack is closed."""
    try:
        while lib.ust_worker_idle(worker, _IDLE_NS) != -errno.EBADF:  # law 3: once a round
            while controllers.run():
                pass
    except Exception:
        traceback.print_exc()
