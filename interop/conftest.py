# SPDX-License-Identifier: BSD-3-Clause
"""Each test here runs in a process and in namespaces of its own, with the kernel on a tap.

So nothing touches the machine's network, a test may change sysctls, and what it leaves behind ends
with it. Where the system grants no namespaces or no tap, the tests are skipped.

Those that use the fixture `way` run twice as root: as root, and as nobody, who becomes root of a
user namespace first.
"""

from __future__ import annotations

import concurrent.futures.thread  # noqa: F401  (what nobody may be unable to read later)
import ctypes
import json
import os
import select
import signal
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyroute2.netlink.exceptions  # noqa: F401  (the same)
import pytest
from _pytest.runner import runtestprotocol

pytest.register_assert_rewrite("lab", "netlab", "unmodified")

from ustack.io import open_port, userns  # noqa: E402

HERE = Path(__file__).parent
PATIENCE = 120.0  # seconds for one test
NOBODY = 65534
WAYS = ["root", "nobody"] if os.geteuid() == 0 else ["unprivileged"]
CLONE_NEWNS = 0x20000
MS_BIND, MS_REC, MS_PRIVATE = 0x1000, 0x4000, 0x40000
PR_SET_DUMPABLE = 4


def pytest_sessionstart() -> None:
    """Hear Ctrl-C, which a shell lets what it starts in the background ignore."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item, nextitem: pytest.Item | None) -> bool | None:
    """Run a test of this directory in a child."""
    if HERE not in item.path.parents:
        return None
    hook, where = item.ihook, item.location
    hook.pytest_runtest_logstart(nodeid=item.nodeid, location=where)
    for report in run_in_child(item):
        hook.pytest_runtest_logreport(report=report)
    hook.pytest_runtest_logfinish(nodeid=item.nodeid, location=where)
    return True


def run_in_child(item: pytest.Item) -> list[pytest.TestReport]:
    """Set a test up, call it and tear it down in a child; the reports."""
    read_end, write_end = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(read_end)
        status = 1
        try:
            with os.fdopen(write_end, "w") as pipe:
                json.dump(child(item), pipe)
            status = 0
        finally:
            os._exit(status)
    os.close(write_end)
    text = read_all(read_end)
    os.close(read_end)
    if not text:
        os.kill(pid, signal.SIGKILL)
    _, status = os.waitpid(pid, 0)
    if not text:
        code = os.waitstatus_to_exitcode(status)
        why = f"its process ended with {code}, or took more than {PATIENCE:.0f} s"
        return [report(item, "call", "failed", why)]
    done = json.loads(text)
    if isinstance(done, str):  # at one place in one file, so that pytest counts them as one reason
        why = (__file__, child.__code__.co_firstlineno, f"Skipped: no privilege: {done}")
        return [report(item, "setup", "skipped", why)]
    return [restored(item, data) for data in done]


def child(item: pytest.Item) -> list[dict[str, Any]] | str:
    """Leave the machine's network and run the test; its reports, or why it cannot be."""
    try:
        if item_way(item) == "nobody":
            become_nobody()
        userns.isolate()
        open_port("tap:us0", addresses=["10.9.0.2/24"]).close()
    except OSError as error:
        return str(error)
    store = item.config.hook.pytest_report_to_serializable
    return [store(config=item.config, report=done) for done in runtestprotocol(item, log=False)]


def restored(item: pytest.Item, data: dict[str, Any]) -> pytest.TestReport:
    restore = item.config.hook.pytest_report_from_serializable
    done: pytest.TestReport = restore(config=item.config, data=data)
    if isinstance(done.longrepr, list):  # where it was skipped, and why: JSON has no tuples
        done.longrepr = tuple(done.longrepr)
    return done


def report(item: pytest.Item, when: Any, outcome: Any, why: Any) -> pytest.TestReport:
    keywords = dict.fromkeys(item.keywords, 1)
    return pytest.TestReport(item.nodeid, item.location, keywords, outcome, why, when)


def read_all(fd: int) -> bytes:
    """Read until the end, or nothing at all when that takes too long."""
    data, end = b"", time.monotonic() + PATIENCE
    while select.select([fd], [], [], max(end - time.monotonic(), 0))[0]:
        piece = os.read(fd, 1 << 16)
        if not piece:
            return data
        data += piece
    return b""


@pytest.fixture
def lab(request: pytest.FixtureRequest) -> Iterator[Any]:
    """A stack on a tap; its URL's query is what the test is parametrized with, if it is."""
    from lab import Lab

    with Lab(getattr(request, "param", "")) as lab:
        yield lab


# ---------------------------------------------------------------------------------- as nobody


@pytest.fixture(params=WAYS)
def way(request: pytest.FixtureRequest) -> str:
    """As whom the test runs."""
    return str(request.param)


def item_way(item: pytest.Item) -> str:
    return str(item.callspec.params.get("way", "")) if hasattr(item, "callspec") else ""


def become_nobody() -> None:
    """Give up root, in a mount namespace where /dev/net/tun is open to all, as usual."""
    where = tempfile.mkdtemp()
    try:
        libc("unshare", CLONE_NEWNS)
        libc("mount", None, b"/", None, MS_REC | MS_PRIVATE, None)
        libc("mount", b"none", where.encode(), b"tmpfs", 0, b"mode=755")
        os.mknod(f"{where}/tun", 0o20666, os.makedev(10, 200))
        os.chmod(f"{where}/tun", 0o666)
        libc("mount", f"{where}/tun".encode(), b"/dev/net/tun", None, MS_BIND, None)
        libc("umount2", where.encode(), 2)
    finally:
        os.rmdir(where)
    os.setgroups([])
    os.setresgid(NOBODY, NOBODY, NOBODY)
    os.setresuid(NOBODY, NOBODY, NOBODY)
    libc("prctl", PR_SET_DUMPABLE, 1, 0, 0, 0)  # else /proc/self stays root's


def libc(name: str, *arguments: Any) -> None:
    library = ctypes.CDLL(None, use_errno=True)
    if getattr(library, name)(*arguments) != 0:
        code = ctypes.get_errno()
        raise OSError(code, f"{name}: {os.strerror(code)}")
