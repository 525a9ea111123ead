# SPDX-License-Identifier: BSD-3-Clause
"""Run uvloop's own tests on our event loops: python3 tools/uvloop_suite.py.

The tests are those of uvloop's source archive, which pip downloads into build/cache once. Of them,
the half that uvloop runs on asyncio's loop runs on ours that extends asyncio's. See tools/suites.py
for how; tools/uvloop_suite.txt has what is known to fail. Without the archive, or what the tests
import (uvloop, aiohttp, psutil, pyOpenSSL), there is nothing to run.
"""

from __future__ import annotations

import importlib
import importlib.util
import subprocess
import sys
import tarfile
import unittest
from typing import Any

import suites

VERSION = "0.23.0"
CACHE = suites.ROOT / "build" / "cache"
SOURCE = CACHE / f"uvloop-{VERSION}" / "tests"

#: Module: class. Others are about processes, pipes, signals and the like.
CLASSES = {
    "test_tcp": ("Test_AIO_TCP", "Test_AIO_TCPSSL"),
    "test_sockets": ("TestAIOSockets",),
    "test_udp": ("Test_AIO_UDP",),
    "test_base": ("TestBaseAIO",),
    "test_context": ("Test_AIO_Context",),
}


def fetch() -> None:
    """Have the tests in the cache; LookupError where they cannot be had."""
    if SOURCE.is_dir():
        return
    CACHE.mkdir(parents=True, exist_ok=True)
    archive = CACHE / f"uvloop-{VERSION}.tar.gz"
    if not archive.exists():
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary=:all:"]
        pip += ["--no-build-isolation", "-d", str(CACHE), f"uvloop=={VERSION}"]
        try:
            subprocess.run(pip, capture_output=True, timeout=120)
        except subprocess.TimeoutExpired:
            pass
    if not archive.exists():
        raise LookupError(f"pip cannot download the source archive of uvloop {VERSION}")
    with tarfile.open(archive) as tar:
        inside = f"uvloop-{VERSION}/tests/"
        tar.extractall(CACHE, [m for m in tar.getmembers() if m.name.startswith(inside)])


def find(module: str, name: str) -> Any:
    """Return a class of tests."""
    if str(SOURCE.parent) not in sys.path:
        sys.path.insert(0, str(SOURCE.parent))
    return getattr(importlib.import_module(f"tests.{module}"), name)


def groups() -> dict[str, list[str]]:
    """Return the tests, by class."""
    fetch()
    for needed in ("uvloop", "aiohttp", "psutil", "OpenSSL"):
        if importlib.util.find_spec(needed) is None:
            raise LookupError(f"uvloop's tests import {needed}, which is not installed")
    return {
        name: suites.of_class(find(module, name))
        for module, names in CLASSES.items()
        for name in names
    }


def run(tests: unittest.TestSuite, result: unittest.TestResult, names: list[str]) -> None:
    """Run tests in this process."""
    for name in names:
        module, kind, method = name.split(".")
        tests.addTest(find(module, kind)(method))

    def prepare() -> None:
        from uvloop import _testbase

        from ustack.launch import patches

        patches.apply()
        # It is what it is called; ours is a subclass of asyncio's.
        _testbase.AIOTestCase.is_asyncio_loop = lambda self: True

    suites.on_stack(list(tests), result, prepare)


if __name__ == "__main__":
    sys.exit(suites.main(suites.Suite(__file__, groups, run), (__doc__ or "").partition("\n")[0]))
