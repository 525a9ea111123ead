# SPDX-License-Identifier: BSD-3-Clause
"""Run CPython's own test_socket with ustack.socket in its place: python3 tools/cpython_socket.py.

The tests are those of the Python that runs this, from its package test; Debian has them as
libpython3.11-testsuite. Of them, the classes about TCP, UDP and the module itself run. See
tools/suites.py for how; tools/cpython_socket.txt has what is known to fail.
"""

from __future__ import annotations

import importlib
import re
import sys
import unittest
from typing import Any

import suites

#: Classes about other families and protocols, or about nothing that a stack has a part in.
OTHERS = re.compile(
    "CAN|ISOTP|J1939|RDS|QIPCRTR|VSOCK|Bluetooth|UDPLITE|SCTP|Unix|TIPC|Crypto|Abstract"
    "|SCMRights|MacOS|MSWindows|Fds|Pair|Cmsg|Sharing"
)


def groups() -> dict[str, list[str]]:
    """Return the tests that are ours to pass, by class."""
    suites.require_pythons("test_socket")
    module = importlib.import_module("test.test_socket")
    return {
        name: suites.of_class(kind)
        for name, kind in vars(module).items()
        if isinstance(kind, type)
        and issubclass(kind, unittest.TestCase)
        and kind.__module__ == module.__name__
        and not OTHERS.search(name)
    }


def run(tests: unittest.TestSuite, result: unittest.TestResult, names: list[str]) -> None:
    """Run tests in this process."""
    module: Any = importlib.import_module("test.test_socket")
    helper: Any = importlib.import_module("test.support.socket_helper")
    for name in names:
        _, kind, method = name.split(".")
        tests.addTest(getattr(module, kind)(method))

    def prepare() -> None:
        import ustack.socket

        module.socket = helper.socket = ustack.socket

    suites.on_stack(list(tests), result, prepare)


if __name__ == "__main__":
    sys.exit(suites.main(suites.Suite(__file__, groups, run), (__doc__ or "").partition("\n")[0]))
