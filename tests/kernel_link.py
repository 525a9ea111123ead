# SPDX-License-Identifier: BSD-3-Clause
"""This machine's own TCP over a link of ours in real time: what to compare a simulation with.

Each pair of hosts is two processes, each in a network namespace of its own with one tap. Frames go
from tap to tap through two ustack.sim.Path objects, driven by the clock. Nothing of the machine's
own network is touched.

    goodputs = run([Conditions(rate=100e6, delay=0.025, loss=0.01)], pairs=10, seconds=30)

Only nightly jobs use this: it takes real time.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import select
import signal
import socket
import struct
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass

from ustack.io import userns
from ustack.sim import Conditions, Path

TUNSETIFF = 0x400454CA
SIOCSIFADDR, SIOCSIFNETMASK, SIOCSIFFLAGS, SIOCSIFTXQLEN = 0x8916, 0x891C, 0x8914, 0x8943
IFF_TAP_NO_PI, IFF_UP = 0x1002, 1
ADDRESSES = ("10.77.0.1", "10.77.0.2")
PORT = 5001
LINGER = 1.0  # seconds
TXQLEN = 10_000  # the queue is to be the link's, not the tap's


@dataclass(frozen=True)
class Outcome:
    """What one transfer came to.

    goodput: bits per second read. rtt, min_rtt: the kernel's, smoothed at the end, and least;
    seconds. rexmts: segments. late: how much later than due a frame was handed over, on average.
    """

    goodput: float
    rtt: float
    min_rtt: float
    rexmts: int
    late: float


class Side:
    """A process with a namespace and a tap of its own; one end of a pair."""

    def __init__(self, index: int, work: Callable[[socket.socket], bytes]) -> None:
        """work: what it does when told to, with the socket to this process; returns the result."""
        ours, theirs = socket.socketpair()
        self.pid = os.fork()
        if self.pid == 0:
            ours.close()
            _child(index, theirs, work)
        theirs.close()
        self.channel = ours
        message, fds, _, _ = socket.recv_fds(ours, 100, 1)
        if message != b"tap":
            raise RuntimeError(f"no tap: {message.decode(errors='replace')}")
        self.tap = fds[0]
        os.set_blocking(self.tap, False)

    def tell(self) -> None:
        """Let it do its work."""
        self.channel.send(b"go")

    def close(self) -> None:
        """End the process."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)
        os.close(self.tap)
        self.channel.close()


def _child(index: int, channel: socket.socket, work: Callable[[socket.socket], bytes]) -> None:
    """Live in a namespace until killed."""
    try:
        userns.isolate()
        tap = _open_tap(ADDRESSES[index])
        socket.send_fds(channel, [b"tap"], [tap])
        channel.recv(2)
        channel.send(work(channel))
    except BaseException as error:
        traceback.print_exc(file=sys.stderr)
        with contextlib.suppress(OSError):
            channel.send(f"{error}".encode())
    finally:
        with contextlib.suppress(OSError):
            channel.recv(1)
        os._exit(0)


def _open_tap(address: str) -> int:
    tap = os.open("/dev/net/tun", os.O_RDWR | os.O_CLOEXEC)
    fcntl.ioctl(tap, TUNSETIFF, struct.pack("16sH22x", b"tap0", IFF_TAP_NO_PI))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:

        def configure(request: int, value: bytes) -> None:
            fcntl.ioctl(sock, request, struct.pack("16s", b"tap0") + value.ljust(24, b"\0"))

        for request, text in ((SIOCSIFADDR, address), (SIOCSIFNETMASK, "255.255.255.0")):
            packed = struct.pack("=HH4s", socket.AF_INET, 0, socket.inet_aton(text))
            configure(request, packed)
        configure(SIOCSIFTXQLEN, struct.pack("=i", TXQLEN))
        configure(SIOCSIFFLAGS, struct.pack("=H", IFF_UP))
    return tap


# --------------------------------------------------------------------------------- transfers


def receive(seconds: float) -> Callable[[socket.socket], bytes]:
    """Read for so many seconds from one connection: work for the second side of a pair."""

    def work(channel: socket.socket) -> bytes:
        listener = socket.create_server((ADDRESSES[1], PORT))
        channel.send(b"ok")
        sock, _ = listener.accept()
        begin, total = time.monotonic(), 0
        while (left := begin + seconds - time.monotonic()) > 0:
            sock.settimeout(max(left, 0.001))
            with contextlib.suppress(TimeoutError):
                total += len(sock.recv(1 << 20))
        goodput = 8 * total / (time.monotonic() - begin)
        time.sleep(LINGER)  # the sender has not looked yet
        return f"{goodput}".encode()

    return work


def send(seconds: float, congestion: str) -> Callable[[socket.socket], bytes]:
    """Write for so many seconds: work for the first side of a pair."""

    def work(channel: socket.socket) -> bytes:
        sock = socket.socket()
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, congestion.encode())
        sock.connect((ADDRESSES[1], PORT))
        data, end = bytes(1 << 16), time.monotonic() + seconds
        sock.settimeout(0.5)
        while time.monotonic() < end:
            with contextlib.suppress(TimeoutError):
                sock.send(data)
        info = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 160)
        rtt, rexmts, least = (struct.unpack_from("=I", info, at)[0] for at in (68, 100, 148))
        return f"{rtt / 1e6} {least / 1e6} {rexmts}".encode()

    return work


def run(
    forward: Conditions,
    back: Conditions,
    *,
    pairs: int,
    seconds: float,
    congestion: str = "cubic",
    seed: int = 1,
) -> list[Outcome]:
    """Transfer over so many links at once, each with chances of its own; the outcomes.

    forward: from the sender to the receiver.
    """
    sides = [(Side(0, send(seconds, congestion)), Side(1, receive(seconds))) for _ in range(pairs)]
    try:
        paths = [
            (Path(forward, 2 * (seed + i)), Path(back, 2 * (seed + i) + 1)) for i in range(pairs)
        ]
        for _, receiver in sides:
            receiver.tell()
            receiver.channel.recv(2)
        for sender, _ in sides:
            sender.tell()
        late = shuttle(sides, paths, seconds + 2 * LINGER)
        return [
            Outcome(float(receiver.channel.recv(100)), *_numbers(sender.channel.recv(100)), late)
            for sender, receiver in sides
        ]
    finally:
        for pair in sides:
            for side in pair:
                side.close()


def _numbers(text: bytes) -> tuple[float, float, int]:
    rtt, least, rexmts = text.split()
    return float(rtt), float(least), int(rexmts)


def shuttle(
    sides: list[tuple[Side, Side]], paths: list[tuple[Path, Path]], seconds: float
) -> float:
    """Carry frames for so many seconds: out of a tap, through a path, into the other tap.

    Returns how many seconds too late they were handed over, on average.
    """
    ways = {}
    late = count = 0
    for (a, b), (forward, back) in zip(sides, paths, strict=True):
        ways[a.tap], ways[b.tap] = (forward, b.tap), (back, a.tap)
    begin = time.monotonic_ns()
    end = begin + int(seconds * 1e9)
    while (now := time.monotonic_ns()) < end:
        due = min(path.deadline for path, _ in ways.values())
        wait = max(0, min(due, end) - now) / 1e9
        for tap in select.select(list(ways), [], [], wait)[0]:
            _read(tap, ways[tap][0])
        now = time.monotonic_ns()
        for path, to in ways.values():
            while (due := path.deadline) <= now:
                frame = path.recv(now)
                if frame is None:
                    continue
                late, count = late + now - due, count + 1
                with contextlib.suppress(BlockingIOError):
                    os.write(to, frame)
    return late / count / 1e9 if count else 0.0


def _read(tap: int, path: Path) -> None:
    for _ in range(64):
        try:
            frame = os.read(tap, 65536)
        except BlockingIOError:
            return
        path.send(time.monotonic_ns(), frame)
