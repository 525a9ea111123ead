# SPDX-License-Identifier: BSD-3-Clause
"""Run CPython's own test_asyncio on our event loop: python3 tools/cpython_asyncio.py.

The tests are those of the Python that runs this, from its package test; Debian has them as
libpython3.11-testsuite. Of them, the classes that open connections run, on the loop that extends
asyncio's. See tools/suites.py for how; tools/cpython_asyncio.txt has what is known to fail.
"""

from __future__ import annotations

import importlib
import sys
import unittest
from typing import Any

import suites

#: Module: class. Of those that come once for each selector, the one of epoll.
CLASSES = {
    "test_events": "EPollEventLoopTests",
    "test_sock_lowlevel": "EPollEventLoopTests",
    "test_streams": "StreamTests",
    "test_server": "SelectorStartServerTests",
    "test_buffered_proto": "BufferedProtocolSelectorTests",
    "test_sslproto": "SelectorStartTLSTests",
    "test_ssl": "TestSSL",
    "test_sendfile": "EPollEventLoopTests",
}


def find(module: str) -> Any:
    """Return a class of tests."""
    return getattr(importlib.import_module(f"test.test_asyncio.{module}"), CLASSES[module])


def groups() -> dict[str, list[str]]:
    """Return the tests, by class."""
    suites.require_pythons("test_asyncio")
    return {module: suites.of_class(find(module)) for module in CLASSES}


def run(tests: unittest.TestSuite, result: unittest.TestResult, names: list[str]) -> None:
    """Run tests in this process."""
    for name in names:
        module, _, method = name.split(".")
        tests.addTest(find(module)(method))

    def prepare() -> None:
        import asyncio

        from ustack.launch import patches

        patches.apply()

        def create_event_loop(self: Any) -> Any:
            return asyncio.SelectorEventLoop()

        for module in CLASSES:
            kind = find(module)
            if hasattr(kind, "create_event_loop"):
                kind.create_event_loop = create_event_loop

    suites.on_stack(list(tests), result, prepare)


if __name__ == "__main__":
    sys.exit(suites.main(suites.Suite(__file__, groups, run), (__doc__ or "").partition("\n")[0]))
