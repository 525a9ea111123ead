# SPDX-License-Identifier: BSD-3-Clause
"""Run CPython's own test_socket with ustack.socket in its place: python3 tools/cpython_socket.py.

The tests are those of the Python that runs this, from its package test; Debian has them as
libpython3.11-testsuite. Of them, the classes about TCP, UDP and the module itself run, over the
loopback of a stack, in a network namespace where not even the kernel's loopback is up.

tools/cpython_socket.txt has the tests that are known to fail, a reason each. It may only shrink:
one of them that passes is an error, as is any other that fails. Arguments are names of classes, or
of single tests as Class.test, to run only those.
"""

from __future__ import annotations

import argparse
import ctypes
import fcntl
import importlib.util
import json
import re
import socket as kernel
import struct
import subprocess
import sys
import unittest
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
EXCLUDED = Path(__file__).with_suffix(".txt")
PATIENCE = 60.0  # seconds for the tests of one process
PROCESSES = 4  # they sleep more than they work

#: Classes about other families and protocols, or about nothing that a stack has a part in.
OTHERS = re.compile(
    "CAN|ISOTP|J1939|RDS|QIPCRTR|VSOCK|Bluetooth|UDPLITE|SCTP|Unix|TIPC|Crypto|Abstract"
    "|SCMRights|MacOS|MSWindows|Fds|Pair|Cmsg|Sharing"
)
#: Test → passed, failed or skipped, and why.
Outcomes = dict[str, tuple[str, str]]

SKIP = 77  # exit status: there is nothing to run here


def main() -> int:
    """Run what the arguments ask for; 0 when all is as expected."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("names", nargs="*", help="classes, or tests as Class.test")
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("-v", "--verbose", action="store_true", help="show why tests failed")
    options = parser.parse_args()
    if importlib.util.find_spec("test") is None or not importlib.util.find_spec("test.test_socket"):
        print(
            f"{sys.executable} has no test.test_socket; Debian: apt install "
            f"libpython3.{sys.version_info.minor}-testsuite"
        )
        return SKIP
    if not enter_namespace():
        print("no network namespace can be made here")
        return SKIP
    if options.here:
        return run_here(options.names)
    return run_all(options.names, options.verbose)


# --------------------------------------------------------------------- all of them


def run_all(names: list[str], verbose: bool) -> int:
    """Run the classes in processes of their own, and compare with what is known."""
    asked = names or [name for name, _ in classes(tests())]
    outcomes: Outcomes = {}
    with ThreadPoolExecutor(PROCESSES) as pool:
        shares = [share for i in range(PROCESSES) if (share := asked[i::PROCESSES])]
        for found in pool.map(run_apart, shares):
            outcomes.update(found)
    known = exclusions()
    failed = {name: why for name, (how, why) in outcomes.items() if how == "failed"}
    passed = [name for name, (how, _) in outcomes.items() if how == "passed"]
    news = sorted(failed.keys() - known.keys())
    stale = sorted(known.keys() & set(passed))
    for name in news:
        print(f"FAILED {name}: {failed[name].strip().splitlines()[-1]}")
        if verbose:
            print(failed[name])
    if verbose:
        for name, (how, why) in outcomes.items():
            if how == "skipped":
                print(f"SKIPPED {name}: {why}")
    for name in stale:
        print(f"PASSED {name}, which {EXCLUDED.name} says fails: take it out")
    skipped = len(outcomes) - len(passed) - len(failed)
    print(
        f"{len(passed)} of {len(outcomes)} passed, {len(failed)} failed ({len(news)} unexpectedly),"
        f" {skipped} were skipped by themselves; Python {sys.version.split()[0]}"
    )
    return 1 if news or stale else 0


def exclusions() -> dict[str, str]:
    """Return the tests that are known to fail, with the reasons."""
    lines = EXCLUDED.read_text().splitlines()
    rows = [line.partition(": ") for line in lines if line and not line.startswith("#")]
    for name, _, reason in rows:
        if not reason.strip():
            sys.exit(f"{EXCLUDED.name}: {name} has no reason")
    return {name: reason for name, _, reason in rows}


def run_apart(names: list[str]) -> Outcomes:
    """Run classes, or single tests, in a process of their own.

    If it comes to a bad end, what has not begun yet runs in another.
    """
    outcomes: Outcomes = {}
    while names:
        command = [sys.executable, "-X", "faulthandler", __file__, "--here", *names]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE)
            output, end = done.stdout, f"{done.stderr}\nended with status {done.returncode}"
        except subprocess.TimeoutExpired as error:
            output = (error.stdout or b"").decode()
            end = f"it, or those before it, took more than {PATIENCE:g} s"
        rows = [json.loads(line) for line in output.splitlines() if line.startswith("{")]
        outcomes |= {row["test"]: (row["how"], row["why"] or end) for row in rows}
        begun = {part for row in rows for part in (row["test"], row["test"].partition(".")[0])}
        if not begun:
            sys.exit(f"no test begins: {end}")
        names = [name for name in names if name not in begun]
    return outcomes


# ------------------------------------------------------------------- in one process


class Reporter(unittest.TestResult):
    """Prints a line of JSON for each test when it begins, as failed, and when it has ended."""

    def startTest(self, test: unittest.TestCase) -> None:
        super().startTest(test)
        self._how, self._why = "passed", ""
        report(test, "failed", "")

    def stopTest(self, test: unittest.TestCase) -> None:
        super().stopTest(test)
        report(test, self._how, self._why)

    def addError(self, test: Any, err: Any) -> None:
        super().addError(test, err)
        self._how, self._why = "failed", self.errors[-1][1]

    def addFailure(self, test: Any, err: Any) -> None:
        super().addFailure(test, err)
        self._how, self._why = "failed", self.failures[-1][1]

    def addSubTest(self, test: Any, subtest: Any, err: Any) -> None:
        super().addSubTest(test, subtest, err)
        if err is not None:
            self._how, self._why = "failed", (self.errors + self.failures)[-1][1]

    def addSkip(self, test: Any, reason: str) -> None:
        super().addSkip(test, reason)
        self._how, self._why = "skipped", reason


def report(test: unittest.TestCase, how: str, why: str) -> None:
    """Tell the other process."""
    name = ".".join(test.id().split(".")[-2:])
    print(json.dumps({"test": name, "how": how, "why": why}), flush=True)


def run_here(names: list[str]) -> int:
    """Run tests in this process."""
    sys.path.insert(0, str(ROOT))
    module = tests()
    socket_helper = importlib.import_module("test.support.socket_helper")
    import ustack.socket
    from ustack import Stack, process

    suite = unittest.TestSuite()
    loader = unittest.TestLoader()
    for name in names:
        suite.addTests(loader.loadTestsFromName(name, module))
    set_loopback(0)  # it was up for what the module finds out when it is imported
    vars(module)["socket"] = vars(socket_helper)["socket"] = ustack.socket
    with Stack("loop:") as stack:
        process.install(stack)
        process.place(wildcard="ustack")
        suite.run(Reporter())
        stack.close(linger=0)
    return 0


def tests() -> ModuleType:
    """Return CPython's tests."""
    return importlib.import_module("test.test_socket")


def classes(module: ModuleType) -> Iterator[tuple[str, type]]:
    """Yield the classes that are ours to pass."""
    for name, kind in vars(module).items():
        if (
            isinstance(kind, type)
            and issubclass(kind, unittest.TestCase)
            and kind.__module__ == module.__name__
            and not OTHERS.search(name)
            and unittest.TestLoader().getTestCaseNames(kind)
        ):
            yield name, kind


# ----------------------------------------------------------------------- namespaces


def enter_namespace() -> bool:
    """Move to a network namespace of our own, where the kernel has its loopback."""
    libc = ctypes.CDLL(None, use_errno=True)
    new_user, new_net = 0x10000000, 0x40000000
    if libc.unshare(new_net) != 0 and libc.unshare(new_user | new_net) != 0:
        return False
    set_loopback(1)
    return True


def set_loopback(up: int) -> None:
    """Have the kernel's loopback up, or not."""
    with kernel.socket(kernel.AF_INET, kernel.SOCK_DGRAM) as sock:
        request = struct.pack("16sH14x", b"lo", up)  # struct ifreq with IFF_UP
        fcntl.ioctl(sock, 0x8914, request)  # SIOCSIFFLAGS


if __name__ == "__main__":
    sys.exit(main())
