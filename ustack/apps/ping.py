# SPDX-License-Identifier: BSD-3-Clause
"""ustack ping: echo requests from a stack of its own (RFC 792, RFC 4443 4), told as Linux's ping.

The exit status is 0 when something was answered, 1 when nothing was.
"""

import argparse
import math
import os
import socket
import struct
import sys
import time
from dataclasses import dataclass, field

from ustack import Stack
from ustack._addressing import Gateway, parse_host
from ustack._options import LINUX
from ustack.apps.serve import add_stack_arguments, open_stack
from ustack.datagram import PingSocket
from ustack.errors import ConfigError

__all__ = ["Pinger", "Plan", "Tally", "add_arguments", "main", "ping"]

HEADER = struct.Struct("!BBHHH")  # type, code, checksum, identifier, sequence number
REQUEST = {4: 8, 6: 128}
LONGEST = {4: 65535 - 20 - HEADER.size, 6: 65535 - HEADER.size}
NUMBERS = 1 << 16
SEND_PATIENCE = 1.0  # seconds that sending may take when buffers are short


@dataclass(frozen=True, slots=True)
class Plan:
    """What to send: count requests (None: no end) of size bytes, and when.

    interval, wait: seconds between two requests, and to wait for the last answers.
    """

    count: int | None = None
    size: int = 56
    interval: float = 1.0
    wait: float = 2.0


@dataclass(slots=True)
class Tally:
    """What came of it. Times are in seconds."""

    sent: int = 0
    received: int = 0
    duplicates: int = 0
    errors: int = 0
    shortest: float = math.inf
    longest: float = 0.0
    total: float = 0.0
    squares: float = 0.0
    started: float = field(default_factory=time.monotonic)

    def answered(self, seconds: float) -> None:
        """Count one answer that took so long."""
        self.received += 1
        self.shortest = min(self.shortest, seconds)
        self.longest = max(self.longest, seconds)
        self.total += seconds
        self.squares += seconds * seconds

    def __str__(self) -> str:
        """Return the summary: two lines, or one when nothing was answered."""
        parts = [f"{self.sent} packets transmitted", f"{self.received} received"]
        if self.duplicates:
            parts.append(f"+{self.duplicates} duplicates")
        if self.errors:
            parts.append(f"+{self.errors} errors")
        loss = 100 * (self.sent - self.received) / max(self.sent, 1)
        parts += [
            f"{loss:g}% packet loss",
            f"time {1000 * (time.monotonic() - self.started):.0f}ms",
        ]
        lines = ", ".join(parts)
        if self.received:
            mean = self.total / self.received
            spread = math.sqrt(max(self.squares / self.received - mean * mean, 0.0))
            times = (self.shortest, mean, self.longest, spread)
            lines += "\nrtt min/avg/max/mdev = "
            lines += "/".join(f"{1000 * seconds:.3f}" for seconds in times) + " ms"
        return lines


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what `ustack ping` understands."""
    parser.add_argument("host", metavar="HOST", help="whom to ask: an IPv4 or IPv6 address")
    parser.add_argument("-c", metavar="N", help="end after so many requests (Ctrl-C does, too)")
    parser.add_argument("-s", metavar="SIZE", default="56", help="bytes behind the header (56)")
    parser.add_argument("-i", metavar="SECONDS", default="1", help="from one to the next (1)")
    parser.add_argument("-W", metavar="SECONDS", default="2", help="for the last answers (2)")
    add_stack_arguments(parser)


def main(args: argparse.Namespace) -> int:
    """Ask until Ctrl-C or the last answer; the exit status."""
    host = _host(args.host)
    plan = Plan(
        None if args.c is None else _whole("-c", args.c, 1, 10**9),
        _whole("-s", args.s, 0, LONGEST[host.version]),
        _seconds("-i", args.i, 0.001),
        _seconds("-W", args.W, 0.0),
    )
    with open_stack(args) as stack:
        tally = ping(stack, str(host), plan)
    return 0 if tally.received else 1


def ping(stack: Stack, host: str, plan: Plan) -> Tally:
    """Send echo requests from a stack, print each answer and a summary, and return the tally.

    Raises OSError(ENETUNREACH) without a route to host.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with PingSocket(stack, family) as sock:
        sock.connect((host, 0))
        print(f"PING {host} ({host}) {plan.size} data bytes", flush=True)
        pinger = Pinger(sock, host, plan)
        try:
            pinger.run()
        except KeyboardInterrupt:
            print()
    print(f"\n--- {host} ping statistics ---\n{pinger.tally}", flush=True)
    return pinger.tally


class Pinger:
    """One run: requests out by the clock, answers in between."""

    def __init__(self, sock: PingSocket, host: str, plan: Plan) -> None:
        self._sock = sock
        self._host = host
        self._plan = plan
        self._text = bytes(i & 0xFF for i in range(plan.size))
        self._open: dict[int, float] = {}  # unanswered: number → when it was sent
        self.tally = Tally()
        if sock.proto == socket.IPPROTO_ICMP:
            self._kind = REQUEST[4]
            sock.setsockopt(socket.IPPROTO_IP, LINUX["IP_RECVTTL"], 1)
        else:
            self._kind = REQUEST[6]
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVHOPLIMIT, 1)

    def run(self) -> None:
        """Send all requests, and wait for the last answers."""
        due = time.monotonic()
        while True:
            self._send()
            if self.tally.sent == self._plan.count:
                break
            due = max(due + self._plan.interval, time.monotonic())
            self._collect(due, until_all=False)
        self._collect(time.monotonic() + self._plan.wait, until_all=True)

    def _send(self) -> None:
        self.tally.sent += 1
        number = self.tally.sent % NUMBERS
        message = HEADER.pack(self._kind, 0, 0, 0, number) + self._text
        self._sock.settimeout(SEND_PATIENCE)
        for _ in range(2):  # the first may only tell of an error about an earlier one
            self._open[number] = time.monotonic()
            try:
                self._sock.send(message)
            except OSError as error:
                del self._open[number]
                self._complain(error)
            else:
                return

    def _collect(self, end: float, *, until_all: bool) -> None:
        """Take answers until a time, or until there are no more to come."""
        while (left := end - time.monotonic()) > 0 and not (until_all and not self._open):
            self._sock.settimeout(left)
            try:
                message, ancdata, _, _ = self._sock.recvmsg(65535, 64)
            except (TimeoutError, BlockingIOError):
                continue
            except OSError as error:
                self._complain(error)
            else:
                ttl = int.from_bytes(ancdata[0][2][:4], sys.byteorder)
                self.take(message, ttl, time.monotonic())

    def take(self, message: bytes, ttl: int, now: float) -> None:
        """Count and print an answer that came at a time (time.monotonic())."""
        number = HEADER.unpack_from(message)[4]
        line = f"{len(message)} bytes from {self._host}: icmp_seq={number} ttl={ttl}"
        started = self._open.pop(number, None)
        if message[HEADER.size :] != self._text:
            self.tally.errors += 1
            print(f"{line} (wrong data)", flush=True)
        elif started is None:
            self.tally.duplicates += 1
            print(f"{line} (DUP!)", flush=True)
        else:
            self.tally.answered(now - started)
            print(f"{line} time={_milliseconds(now - started)} ms", flush=True)

    def _complain(self, error: OSError) -> None:
        self.tally.errors += 1
        print(f"{self._host}: {os.strerror(error.errno or 0)}", flush=True)


def _milliseconds(seconds: float) -> str:
    """Return a time with three digits that matter, as Linux's ping does."""
    ms = 1000 * seconds
    return f"{ms:.{3 if ms < 1 else 2 if ms < 10 else 1 if ms < 100 else 0}f}"


def _host(text: str) -> Gateway:
    address = parse_host(text)
    if address is None:
        raise ConfigError(
            f"host must be an IPv4 or IPv6 address, got {text!r}; resolve names first"
        )
    if address.is_multicast or address.is_unspecified or "%" in text:
        raise ConfigError(f"host must be one host's plain address, got {text!r}; such as 10.9.0.1")
    return address


def _whole(name: str, text: str, least: int, most: int) -> int:
    if not (text.isascii() and text.isdecimal()) or not least <= int(text) <= most:
        raise ConfigError(f"{name} must be a number, {least}..{most}, got {text!r}; see --help")
    return int(text)


def _seconds(name: str, text: str, least: float) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not least <= seconds <= 3600:
        raise ConfigError(f"{name} must be {least:g}..3600 seconds, got {text!r}; see --help")
    return seconds
