# SPDX-License-Identifier: BSD-3-Clause
"""The supervisor: forks workers, brings back those that die, and passes signals on.

It opens no stack and starts no thread, so that a fork of it is a good beginning: the port's queues
and the crew's memory are inherited, and nothing is imported twice.

    SIGTERM, SIGINT   all drain and end; a second one ends them at once
    SIGHUP            each drains and is replaced, one after the other
    SIGUSR1           a table of the workers on standard error

What ends by itself with status 0 is done, and not replaced. When the first of a worker fails at
once, all end with its status.
"""

import atexit
import contextlib
import os
import select
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from types import FrameType
from typing import Any

from ustack._native import ffi, lib
from ustack.crew.member import Member
from ustack.crew.plan import Queues, Workers
from ustack.crew.table import STATES, Row, render
from ustack.errors import ConfigError, UstackError

__all__ = ["Supervisor"]

STEADY = 10.0  # seconds of life that make a worker's past forgotten
YOUNG = 1.0  # seconds within which a first worker that fails will not do better again
GRACE = 2.0  # seconds beyond the drain until a worker is killed
_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGCHLD)


@dataclass
class _Slot:
    """The place of a worker, whoever has it."""

    number: int
    pid: int | None = None
    started: float = 0.0
    served: bool = False  # this one has said so
    failures: int = 0  # in a row, of those that did not live long
    restarts: int = 0
    start_at: float | None = 0.0  # when the next is due; None: none is
    kill_at: float | None = None  # when it is to be killed, since it drains
    seen: tuple[float, int] = field(default=(0.0, 0))  # frames, when the last table was made


class Supervisor:
    """Workers and their supervisor; `run` is all there is to do with one."""

    def __init__(self, workers: Workers, queues: Queues) -> None:
        """queues: what `Queues` has opened for so many workers; closed at the end of `run`."""
        err = ffi.new("int *")
        crew = lib.ust_crew_new(workers.count, err)
        if crew == ffi.NULL:
            raise OSError(-err[0], f"{os.strerror(-err[0])}: memory for {workers.count} workers")
        self._crew = ffi.gc(crew, lib.ust_crew_free)
        self._workers = workers
        self._queues = queues
        self._secret = os.urandom(lib.UST_SECRET_LEN)
        self._slots = [_Slot(number) for number in range(workers.count)]
        self._stopping = 0  # signals that said so
        self._rolling: list[_Slot] = []  # to be replaced, the first of them now
        self._ever_served = False
        self._status = 0

    def run(
        self, body: Callable[[Member], int | None], on_ready: Callable[[], None] | None = None
    ) -> int:
        """Have body run in each worker until all have ended; the exit status.

        body: its result, or its SystemExit, is the worker's exit status. on_ready: called here
        when all serve for the first time.

        Raises ConfigError where there are threads already, or this is not the main one.
        """
        _check_threads()
        self._body, self._on_ready = body, on_ready
        with contextlib.ExitStack() as stack:
            stack.callback(self._queues.close)
            self._signals, self._bell = stack.enter_context(_pipes())
            self._handlers = stack.enter_context(_handling(self._signals[1]))
            try:
                self._watch()
            finally:
                self._kill_all()
        return self._status

    # ------------------------------------------------------------------------- the loop

    def _watch(self) -> None:
        poll = select.poll()
        for fd in (self._signals[0], self._bell[0]):
            poll.register(fd, select.POLLIN)
        while True:
            due = self._act(time.monotonic())
            if due is None and all(slot.pid is None for slot in self._slots):
                break
            left = None if due is None else max(due - time.monotonic(), 0) * 1000 + 1
            poll.poll(left)
            for number in _read(self._bell[0]):
                self._serves(self._slots[number])
            for number in _read(self._signals[0]):
                self._heed(signal.Signals(number))
        if self._ever_served:
            self._tell(self.table())

    def _act(self, now: float) -> float | None:
        """Do what is due; return when something will be."""
        for slot in self._slots:
            if slot.start_at is not None and slot.start_at <= now:
                self._start(slot, now)
            if slot.kill_at is not None and slot.kill_at <= now:
                slot.kill_at = None
                self._send(slot, signal.SIGKILL)
        times = [t for slot in self._slots for t in (slot.start_at, slot.kill_at) if t is not None]
        return min(times, default=None)

    def _heed(self, number: signal.Signals) -> None:
        if number == signal.SIGCHLD:
            for slot in self._slots:
                self._reap(slot)
        elif number == signal.SIGUSR1:
            self._tell(self.table())
        elif number == signal.SIGHUP:
            self._roll()
        else:
            self._stop()

    # ------------------------------------------------------------------ birth and death

    def _start(self, slot: _Slot, now: float) -> None:
        slot.start_at, slot.started, slot.served = None, now, False
        slot.seen = (now, 0)
        member = Member(
            slot.number, self._workers, self._queues, self._crew, self._secret, self._bell[1]
        )
        parent = os.getpid()
        sys.stdout.flush()
        sys.stderr.flush()
        before = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
        pid = os.fork()
        if pid == 0:
            self._be(member, parent, before)
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        slot.pid = pid

    def _be(self, member: Member, parent: int, mask: set[Any]) -> None:
        """Be a worker: the child's whole life."""
        status = 1
        try:
            signal.set_wakeup_fd(-1)
            for number, handler in self._handlers.items():
                signal.signal(number, handler)
            os.setpgid(0, 0)  # a terminal's Ctrl-C is the supervisor's to pass on
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
            atexit._clear()
            member.settle(parent)
            status = _run_body(self._body, member)
            threading._shutdown()  # type: ignore[attr-defined]
            atexit._run_exitfuncs()
            sys.stdout.flush()
            sys.stderr.flush()
        finally:
            os._exit(status)

    def _serves(self, slot: _Slot) -> None:
        slot.served = True
        if not self._ever_served and all(s.served for s in self._slots):
            self._ever_served = True
            if self._on_ready is not None:
                self._on_ready()
        if self._rolling and self._rolling[0] is slot:
            self._rolling.pop(0)
            self._replace_next()

    def _reap(self, slot: _Slot) -> None:
        if slot.pid is None:
            return
        pid, status = os.waitpid(slot.pid, os.WNOHANG)
        if pid == 0:
            return
        code = os.waitstatus_to_exitcode(status)
        drained, slot.pid, slot.kill_at = slot.kill_at is not None, None, None
        if self._stopping:
            return
        if drained and self._rolling and self._rolling[0] is slot:
            slot.restarts += 1
            slot.start_at = time.monotonic()
        elif code == 0 and not drained:
            return
        elif self._cannot_start(slot, code):
            self._status = code if code > 0 else 128 - code
            self._tell(f"worker {slot.number} (pid {pid}) {_how(code)} at its start; all end")
            self._stop()
        else:
            self._bring_back(slot, pid, code)

    def _cannot_start(self, slot: _Slot, code: int) -> bool:
        """Return whether a worker's end says that others would end so, too."""
        young = time.monotonic() - slot.started < YOUNG
        return not self._ever_served or (code > 0 and slot.restarts == 0 and young)

    def _bring_back(self, slot: _Slot, pid: int, code: int) -> None:
        now = time.monotonic()
        slot.failures = 0 if now - slot.started >= STEADY else slot.failures + 1
        most = self._workers.backoff_max
        delay = min(self._workers.backoff * 2.0 ** min(max(slot.failures - 1, 0), 30), most)
        slot.restarts += 1
        slot.start_at = now + delay
        who = f"worker {slot.number} (pid {pid})"
        self._tell(f"{who} {_how(code)}; the next starts in {delay:.2f} s")

    # -------------------------------------------------------------------------- signals

    def _stop(self) -> None:
        """Have all end: in peace, and if that was said already, now."""
        self._stopping += 1
        self._rolling.clear()
        drain = self._workers.drain if self._stopping == 1 else 0.0
        for slot in self._slots:
            slot.start_at = None
            self._drain(slot, drain)

    def _drain(self, slot: _Slot, seconds: float) -> None:
        if slot.pid is not None:
            slot.kill_at = time.monotonic() + seconds + GRACE
            self._send(slot, signal.SIGTERM)

    def _roll(self) -> None:
        """Replace all, one after the other."""
        if not self._stopping and not self._rolling:
            self._rolling = [slot for slot in self._slots if slot.pid is not None]
            self._replace_next()

    def _replace_next(self) -> None:
        if self._rolling:
            self._drain(self._rolling[0], self._workers.drain)

    def _send(self, slot: _Slot, number: signal.Signals) -> None:
        if slot.pid is not None:
            os.kill(slot.pid, number)  # it is there until it is reaped, dead or alive

    def _kill_all(self) -> None:
        """Leave nobody behind."""
        for slot in self._slots:
            self._send(slot, signal.SIGKILL)
            if slot.pid is not None:
                os.waitpid(slot.pid, 0)

    # ---------------------------------------------------------------------------- words

    def table(self) -> str:
        """Return a line of status for each worker, under a head."""
        return render([self._row(slot) for slot in self._slots])

    def _row(self, slot: _Slot) -> Row:
        raw = ffi.new("struct ust_crew_status *")
        lib.ust_crew_status(self._crew, slot.number, raw)  # law 3: a tool's
        if raw.pid != slot.pid and slot.pid is not None:  # its predecessor's last words
            raw = ffi.new("struct ust_crew_status *", {"state": lib.UST_CREW_STARTING})
        now, frames = time.monotonic(), raw.rx_frames + raw.tx_frames
        past, before = slot.seen
        slot.seen = now, frames
        alive = slot.pid is not None
        return Row(
            slot.number,
            slot.pid,
            raw.core - 1 if raw.core else None,
            STATES[raw.state] if alive else "ended",
            raw.connections if alive else 0,
            raw.accepted,
            max(frames - before, 0) / max(now - past, 1e-3),
            raw.handed_out,
            raw.handed_in,
            raw.handed_full + raw.handed_stale,
            slot.restarts,
        )

    def _tell(self, text: str) -> None:
        for line in text.splitlines():
            print(f"ustack: {line}", file=sys.stderr, flush=True)


# ---------------------------------------------------------------------------------- pieces


def _how(code: int) -> str:
    return f"ended with status {code}" if code >= 0 else f"was killed by signal {-code}"


def _run_body(body: Callable[[Member], int | None], member: Member) -> int:
    """Return the exit status that a worker's body leads to."""
    try:
        return int(body(member) or 0)
    except SystemExit as end:
        if end.code is None or isinstance(end.code, int):
            return end.code or 0
        print(end.code, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    except (UstackError, OSError) as error:
        print(f"ustack: worker {member.number}: {error}", file=sys.stderr)
        return 2
    except BaseException:
        traceback.print_exc()
        return 1


def _check_threads() -> None:
    others = [thread.name for thread in threading.enumerate()]
    if threading.current_thread() is not threading.main_thread() or len(others) > 1:
        raise ConfigError(
            f"workers must be started before any other thread, got {', '.join(others)};"
            " start threads in main()"
        )


@contextlib.contextmanager
def _pipes() -> Iterator[tuple[tuple[int, int], tuple[int, int]]]:
    """Have two pipes that never block: for signals, and for workers that serve."""
    pipes = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC), os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        yield pipes
    finally:
        for fd in (*pipes[0], *pipes[1]):
            os.close(fd)


@contextlib.contextmanager
def _handling(fd: int) -> Iterator[dict[signal.Signals, Any]]:
    """Have signals written to fd; yields the handlers that there were."""

    def heard(number: int, frame: FrameType | None) -> None:
        pass  # set_wakeup_fd() has written it

    before = {number: signal.signal(number, heard) for number in _SIGNALS}
    past = signal.set_wakeup_fd(fd, warn_on_full_buffer=False)
    try:
        yield before
    finally:
        signal.set_wakeup_fd(past)
        for number, handler in before.items():
            signal.signal(number, handler)


def _read(fd: int) -> bytes:
    try:
        return os.read(fd, 4096)
    except BlockingIOError:
        return b""
