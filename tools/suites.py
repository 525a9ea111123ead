# SPDX-License-Identifier: BSD-3-Clause
"""What the tools that run other projects' test suites on a stack share.

A suite is run over the loopback of a stack, in a network namespace where not even the kernel's
loopback is up. A file beside the tool has the tests that are known to fail, a reason each. It may
only shrink: one of them that passes is an error, as is any other that fails.
"""

from __future__ import annotations

import argparse
import ctypes
import fcntl
import importlib.util
import json
import socket as kernel
import struct
import subprocess
import sys
import unittest
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
PATIENCE = 120.0  # seconds for the tests of one process
PROCESSES = 4  # they sleep more than they work
SKIP = 77  # exit status: there is nothing to run here

#: Test → passed, failed or skipped, and why.
Outcomes = dict[str, tuple[str, str]]

__all__ = ["ROOT", "SKIP", "Suite", "main", "of_class", "on_stack", "require_pythons"]


class Suite:
    """One project's tests."""

    def __init__(
        self,
        tool: str,
        groups: Callable[[], dict[str, list[str]]],
        run: Callable[[unittest.TestSuite, unittest.TestResult, list[str]], None],
    ) -> None:
        """tool: the file of the program. groups: names of tests, by what they are one of; raises
        LookupError where they cannot be had. run: runs named tests, in a process of their own.
        """
        self.tool = Path(tool)
        self.groups = groups
        self.run = run

    @property
    def excluded(self) -> Path:
        """The file with the tests that are known to fail."""
        return self.tool.with_suffix(".txt")


def main(suite: Suite, description: str) -> int:
    """Run what the command line asks for; 0 when all is as expected."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("names", nargs="*", help="tests, or classes, as module.Class.test")
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("-v", "--verbose", action="store_true", help="show why tests failed")
    options = parser.parse_args()
    sys.path.insert(0, str(ROOT))
    if options.here:
        if not enter_namespace():
            return SKIP
        suite.run(unittest.TestSuite(), Reporter(), options.names)
        return 0
    try:
        groups = suite.groups()
    except LookupError as error:
        print(error.args[0])
        return SKIP
    wanted = [
        name
        for names in groups.values()
        for name in names
        if not options.names or any(f"{name}.".startswith(f"{n}.") for n in options.names)
    ]
    probe = "import sys; sys.path[:0] = sys.argv[1:]; import suites; suites.probe()"
    here = str(Path(__file__).parent)
    if subprocess.run([sys.executable, "-c", probe, here]).returncode == SKIP:
        print("no network namespace can be made here")
        return SKIP
    outcomes = _run_all(suite, wanted)
    news = {name for name, (how, _) in outcomes.items() if how == "failed"}
    news -= _exclusions(suite.excluded).keys()
    outcomes |= _run_apart(suite, sorted(news))  # alone: some measure time, on a machine in use
    return _judge(suite, outcomes, options)


def probe() -> None:
    """End with SKIP where no namespace can be made."""
    sys.exit(0 if enter_namespace() else SKIP)


def _run_all(suite: Suite, names: list[str]) -> Outcomes:
    """Run tests in several processes; what came of each."""
    outcomes: Outcomes = {}
    with ThreadPoolExecutor(PROCESSES) as pool:
        shares = [names[i::PROCESSES] for i in range(PROCESSES)]
        for found in pool.map(lambda share: _run_apart(suite, share), shares):
            outcomes.update(found)
    return outcomes


def _run_apart(suite: Suite, names: list[str]) -> Outcomes:
    """Run tests in a process of their own; what that does not come to, in another."""
    outcomes: Outcomes = {}
    while names:
        command = [sys.executable, "-X", "faulthandler", str(suite.tool), "--here", *names]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE)
            output, end = done.stdout, f"{done.stderr}\nended with status {done.returncode}"
        except subprocess.TimeoutExpired as error:
            output = (error.stdout or b"").decode()
            end = f"it, or those before it, took more than {PATIENCE:g} s"
        rows = [json.loads(line) for line in output.splitlines() if line.startswith('{"test"')]
        outcomes |= {row["test"]: (row["how"], row["why"] or end) for row in rows}
        if not rows:
            sys.exit(f"no test begins: {end}")
        names = [name for name in names if name not in outcomes]
    return outcomes


def _judge(suite: Suite, outcomes: Outcomes, options: Any) -> int:
    known = _exclusions(suite.excluded)
    failed = {name: why for name, (how, why) in outcomes.items() if how == "failed"}
    passed = {name for name, (how, _) in outcomes.items() if how == "passed"}
    news = sorted(failed.keys() - known.keys())
    stale = sorted(known.keys() & passed)
    for name in news:
        print(f"FAILED {name}: {failed[name].strip().splitlines()[-1]}")
    for name in sorted(failed) if options.verbose else ():
        print(f"== {name}\n{failed[name]}")
    for name in stale:
        print(f"PASSED {name}, which {suite.excluded.name} says fails: take it out")
    print(
        f"{len(passed)} of {len(outcomes)} passed, {len(failed)} failed ({len(news)} unexpectedly),"
        f" {len(outcomes) - len(passed) - len(failed)} were skipped by themselves;"
        f" Python {sys.version.split()[0]}"
    )
    return 1 if news or stale else 0


def _exclusions(file: Path) -> dict[str, str]:
    lines = file.read_text().splitlines()
    rows = [line.partition(": ") for line in lines if line and not line.startswith("#")]
    for name, _, reason in rows:
        if not reason.strip():
            sys.exit(f"{file.name}: {name} has no reason")
    return {name: reason for name, _, reason in rows}


# ------------------------------------------------------------------ what suites are made of


def require_pythons(package: str) -> None:
    """Raise LookupError unless this Python has tests of this name, such as test_socket."""
    if importlib.util.find_spec("test") is None or not importlib.util.find_spec(f"test.{package}"):
        raise LookupError(
            f"{sys.executable} has no test.{package}; Debian: apt install "
            f"libpython3.{sys.version_info.minor}-testsuite"
        )


def of_class(kind: type) -> list[str]:
    """Return the names of the tests of a class."""
    prefix = f"{kind.__module__.rpartition('.')[2]}.{kind.__name__}"
    return [f"{prefix}.{name}" for name in unittest.TestLoader().getTestCaseNames(kind)]  # type: ignore[arg-type]


def on_stack(tests: Iterable[unittest.TestCase], result: unittest.TestResult, prepare: Any) -> None:
    """Run tests in this process, on a stack that is the process's; prepare() is called before."""
    from ustack import Stack, process

    set_loopback(0)  # it was up for what modules find out when they are imported
    with Stack("loop:") as stack:
        process.install(stack)
        process.place(wildcard="ustack")
        prepare()
        unittest.TestSuite(tests).run(result)
        stack.close(linger=0)


class Reporter(unittest.TestResult):
    """Prints a line of JSON for each test when it begins, as failed, and when it has ended."""

    def startTest(self, test: unittest.TestCase) -> None:
        super().startTest(test)
        self._how, self._why = "passed", ""
        _report(test, "failed", "")

    def stopTest(self, test: unittest.TestCase) -> None:
        super().stopTest(test)
        _report(test, self._how, self._why)

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

    def addExpectedFailure(self, test: Any, err: Any) -> None:
        super().addExpectedFailure(test, err)
        self._how, self._why = "skipped", "it is expected to fail"


def _report(test: unittest.TestCase, how: str, why: str) -> None:
    """Tell the other process."""
    name = ".".join(test.id().split(".")[-3:])
    print(json.dumps({"test": name, "how": how, "why": why}), flush=True)


# ----------------------------------------------------------------------------- namespaces


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
