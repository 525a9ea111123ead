# SPDX-License-Identifier: BSD-3-Clause
"""Each test here runs in a process and in namespaces of its own.

As root it runs twice: as root in a new network namespace, and as nobody, who becomes root of a user
namespace first. Without root, only the latter. What this machine does not allow is skipped, with
the reason.
"""

from __future__ import annotations

import concurrent.futures.thread  # noqa: F401  (what nobody may not be able to read later)
import ctypes
import faulthandler
import os
import pickle
import signal
import sys
import tempfile
import traceback
from typing import Any

import pyroute2.netlink.exceptions  # noqa: F401  (the same)
import pytest

from ustack.io import userns

NOBODY = 65534
LIMIT = 60  # seconds for one test
CLONE_NEWNS = 0x20000
MS_BIND, MS_REC, MS_PRIVATE = 0x1000, 0x4000, 0x40000
PR_SET_DUMPABLE = 4

WAYS = ["root", "nobody"] if os.geteuid() == 0 else ["unprivileged"]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    metafunc.fixturenames.append("_way")
    metafunc.parametrize("_way", WAYS)


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool:
    names = pyfuncitem._fixtureinfo.argnames
    arguments = {name: pyfuncitem.funcargs[name] for name in names}
    verdict, text = _in_child(pyfuncitem.callspec.params["_way"], pyfuncitem.obj, arguments)
    if verdict == "skipped":
        pytest.skip(text)
    if verdict == "failed":
        pytest.fail(text, pytrace=False)
    return True


def _in_child(way: str, function: Any, arguments: dict[str, Any]) -> tuple[str, str]:
    """Run the test in a child process; "passed", "skipped" or "failed", and why."""
    readable, writable = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(readable)
        os.set_inheritable(writable, False)
        _be_test(way, function, arguments, writable)
    os.close(writable)
    with open(readable, "rb") as pipe:
        said = pipe.read()
    _, status = os.waitpid(child, 0)
    if not said:
        return "failed", f"the test's process ended with {os.waitstatus_to_exitcode(status)}"
    verdict: tuple[str, str] = pickle.loads(said)
    return verdict


def _be_test(way: str, function: Any, arguments: dict[str, Any], writable: int) -> None:
    faulthandler.register(signal.SIGALRM, file=sys.__stderr__, chain=True)
    signal.alarm(LIMIT)  # whose default is to end the process
    try:
        _isolate(way)
        function(**arguments)
        verdict = ("passed", "")
    except pytest.skip.Exception as skipped:
        verdict = ("skipped", str(skipped))
    except BaseException:
        verdict = ("failed", traceback.format_exc())
    os.write(writable, pickle.dumps(verdict))
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


def _isolate(way: str) -> None:
    try:
        if way == "nobody":
            _open_tun_to_all()
            _become_nobody()
        if not os.access("/dev/net/tun", os.R_OK | os.W_OK):
            pytest.skip("no privilege: tap (/dev/net/tun)")
        userns.isolate()
    except OSError as error:
        pytest.skip(f"no privilege: namespaces ({error})")


def _open_tun_to_all() -> None:
    """Give this process a /dev/net/tun that all may open, as distributions have it."""
    libc = ctypes.CDLL(None, use_errno=True)
    where = tempfile.mkdtemp()
    for step in (
        lambda: libc.unshare(CLONE_NEWNS),
        lambda: libc.mount(None, b"/", None, MS_REC | MS_PRIVATE, None),
        lambda: libc.mount(b"none", where.encode(), b"tmpfs", 0, b"mode=755"),
    ):
        if step() != 0:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    os.mknod(f"{where}/tun", 0o20666, os.makedev(10, 200))
    os.chmod(f"{where}/tun", 0o666)
    if libc.mount(f"{where}/tun".encode(), b"/dev/net/tun", None, MS_BIND, None) != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def _become_nobody() -> None:
    os.setgroups([])
    os.setresgid(NOBODY, NOBODY, NOBODY)
    os.setresuid(NOBODY, NOBODY, NOBODY)
    ctypes.CDLL(None).prctl(PR_SET_DUMPABLE, 1, 0, 0, 0)  # else /proc/self stays root's
