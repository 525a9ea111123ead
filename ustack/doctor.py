# SPDX-License-Identifier: BSD-3-Clause
"""ustack doctor: four lines that say what works here, and what to do about what does not.

Each way in is tried, in a process of its own: two sides of a ring, a tap in namespaces, and a stack
that talks to itself.
"""

import argparse
import os
import platform
from collections.abc import Callable
from importlib import metadata

import ustack
from ustack._native import lib
from ustack.errors import UstackError
from ustack.io import open_port, userns
from ustack.stack import Stack

__all__ = ["add_arguments", "main"]

TAP = "tap:usdoctor"
FRAME = b"from one side to the other".ljust(60)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what `ustack doctor` understands: nothing."""


def main(args: argparse.Namespace) -> int:
    """Print the four lines; the exit status, 1 if there is no way in at all."""
    print(f"{'python':8}{python()}")
    ways = {"ring": tried(ring), "tap": tried(tap), "loop": tried(loop)}
    for name, (works, text) in ways.items():
        print(f"{name:8}{'ok' if works else 'no'}: {text}")
    return 0 if ways["ring"][0] or ways["tap"][0] else 1


def python() -> str:
    """Return what Python, extension and event loop this is."""
    try:
        uvloop = f"uvloop {metadata.version('uvloop')}"
    except metadata.PackageNotFoundError:
        uvloop = "no uvloop (only benchmarks want it: pip install uvloop)"
    try:
        from ustack import aio  # noqa: F401

        transports = "asyncio transports in C"
    except ImportError as error:
        transports = f"no asyncio transports ({error}); build again: python3 dev.py build"
    name = f"{platform.python_implementation()} {platform.python_version()}"
    return f"{name}, ustack {ustack.__version__} with {transports}, {uvloop}"


def ring() -> str:
    """Send a frame across a ring; what there is to say about it."""
    url = f"ring:doctor-{os.getpid()}"
    with open_port(url) as near, open_port(url) as far:
        if not near.send(FRAME) or far.recv() != FRAME:
            raise UstackError(f"a frame sent by one side of {url} did not reach the other")
    return "two processes share memory; nothing is needed"


def tap() -> str:
    """Make a tap where it meets nobody; what there is to say about it."""
    how = _enter()
    with open_port(TAP, addresses=["10.9.0.2/24"]) as port:
        caps, runs = port.info.caps, port.info.runs
    granted = [
        name
        for cap, name in ((lib.UST_CAP_RX_CSUM, "checksums"), (lib.UST_CAP_LRO, "super-segments"))
        if caps & cap
    ]
    uring = "" if runs else "; the system refuses io_uring: one system call a frame"
    return f"{how}, offload: {' and '.join(granted) or 'none'}{uring}"


def loop() -> str:
    """Send a datagram from a stack to itself; what there is to say about it."""
    with Stack("loop:") as stack, stack.udp(("127.0.0.1", 0)) as sock:
        sock.settimeout(1.0)
        sock.sendto(FRAME, sock.getsockname())
        if sock.recv(100) != FRAME:
            raise UstackError("a datagram to 127.0.0.1 came back changed")
    return "a stack talks to itself; nothing is needed"


def _enter() -> str:
    """Leave the machine's network, if that is possible; by which right a tap can be made."""
    privileged = userns.is_privileged()
    try:
        userns.isolate()
    except OSError:
        if not privileged:
            raise
    if privileged:
        return "by CAP_NET_ADMIN"
    return "by namespaces of its own (you are not root)"


def tried(way: Callable[[], str]) -> tuple[bool, str]:
    """Run a check in a process of its own; whether it worked, and what it said."""
    read_end, write_end = os.pipe()
    pid = os.fork()
    if pid == 0:
        works, text = _outcome(way)
        os.write(write_end, text.encode())
        os._exit(0 if works else 1)
    os.close(write_end)
    with os.fdopen(read_end) as pipe:
        text = pipe.read()
    _, status = os.waitpid(pid, 0)
    if not text:
        text = f"the check ended with status {os.waitstatus_to_exitcode(status)}; please report it"
    return status == 0, text


def _outcome(way: Callable[[], str]) -> tuple[bool, str]:
    try:
        return True, way()
    except Exception as error:
        text = " ".join(str(error).split()) or type(error).__name__
        return False, text.removeprefix(f"cannot open {TAP}: ").removeprefix("tap: ")
