# SPDX-License-Identifier: BSD-3-Clause
"""Each test here runs in a process and in namespaces of its own, with the kernel on a tap.

So nothing touches the machine's network, a test may change sysctls, and what it leaves behind ends
with it. Where the system grants no namespaces or no tap, the tests are skipped.
"""

from __future__ import annotations

import json
import os
import select
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from _pytest.runner import runtestprotocol

pytest.register_assert_rewrite("lab")

from lab import Lab  # noqa: E402
from ustack.errors import PortError  # noqa: E402
from ustack.io import open_port, userns  # noqa: E402

HERE = Path(__file__).parent
PATIENCE = 60.0  # seconds for one test

refused: str | None = None  # in the test's process: why it cannot be


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
            write_all(write_end, child(item))
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
        why = f"its process ended with {os.waitstatus_to_exitcode(status)} or took {PATIENCE:.0f} s"
        return [failed(item, why)]
    restore = item.config.hook.pytest_report_from_serializable
    return [restore(config=item.config, data=data) for data in json.loads(text)]


def child(item: pytest.Item) -> bytes:
    """Leave the machine's network and run the test; its reports as JSON."""
    global refused
    try:
        userns.isolate()
        open_port("tap:us0", addresses=["10.9.0.2/24"]).close()
    except PortError as error:
        refused = str(error)
    reports = runtestprotocol(item, log=False)
    store = item.config.hook.pytest_report_to_serializable
    return json.dumps([store(config=item.config, report=report) for report in reports]).encode()


def failed(item: pytest.Item, why: str) -> pytest.TestReport:
    keywords = dict.fromkeys(item.keywords, 1)
    return pytest.TestReport(item.nodeid, item.location, keywords, "failed", why, "call")


def write_all(fd: int, data: bytes) -> None:
    with os.fdopen(fd, "wb") as pipe:
        pipe.write(data)


def read_all(fd: int) -> bytes:
    """Read until the end, or nothing at all when that takes too long."""
    data, end = b"", time.monotonic() + PATIENCE
    while select.select([fd], [], [], max(end - time.monotonic(), 0))[0]:
        piece = os.read(fd, 1 << 16)
        if not piece:
            return data
        data += piece
    return b""


@pytest.fixture(autouse=True)
def privilege() -> None:
    if refused is not None:
        pytest.skip(f"no privilege: {refused}")


@pytest.fixture
def lab(request: pytest.FixtureRequest) -> Iterator[Lab]:
    """A stack on a tap; its URL's query is what the test is parametrized with, if it is."""
    with Lab(getattr(request, "param", "")) as lab:
        yield lab
