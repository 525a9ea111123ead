# SPDX-License-Identifier: BSD-3-Clause
"""Fixtures of all tests."""

from __future__ import annotations

import signal
from collections.abc import Generator, Iterator
from typing import TYPE_CHECKING, Any

import hypothesis
import pytest

if TYPE_CHECKING:
    from lan import Lan
    from wire import Wire

pytest.register_assert_rewrite("frames", "rig", "wire", "flow", "lan", "link")

# An example takes as long as the machine likes.
hypothesis.settings.register_profile("ustack", deadline=None)
hypothesis.settings.load_profile("ustack")

FAILED = pytest.StashKey[bool]()


def pytest_sessionstart() -> None:
    """Hear Ctrl-C, which a shell lets what it starts in the background ignore."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, Any, Any]:
    """Let fixtures know, when they end, that the test has failed already."""
    report = yield
    if report.when == "call" and report.failed:
        item.stash[FAILED] = True
    return report


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Play a test over both versions of IP where it says that it can be."""
    if not metafunc.definition.get_closest_marker("both_versions"):
        return
    for name in {"wire", "lan"}.intersection(metafunc.fixturenames):
        metafunc.parametrize(name, [4, 6], ids=["ipv4", "ipv6"], indirect=True)


@pytest.fixture
def wire(request: pytest.FixtureRequest) -> Iterator[Wire]:
    """A conversation with one engine on virtual time; see wire.py.

    At the end no frame may be unasserted, and every invariant of the engine must hold.
    """
    from wire import Wire

    conversation = Wire(getattr(request, "param", 4))
    yield conversation
    if not request.node.stash.get(FAILED, False):
        conversation.finish()
    conversation.free()


@pytest.fixture
def lan(request: pytest.FixtureRequest) -> Iterator[Lan]:
    """One engine among hosts that the test plays; see lan.py."""
    from lan import Lan

    network = Lan(version=getattr(request, "param", 4))
    yield network
    network.engine.check()
    network.engine.free()


@pytest.fixture
def lan6() -> Iterator[Lan]:
    """The same, always with IPv6."""
    from lan import Lan

    network = Lan(version=6)
    yield network
    network.engine.check()
    network.engine.free()
