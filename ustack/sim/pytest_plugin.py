# SPDX-License-Identifier: BSD-3-Clause
"""A pytest plugin: the fixture `ustack_network`, an empty simulated network for one test.

Installed with ustack; docs/virtual_time.md shows its use.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from ustack.sim import Network

__all__ = ["ustack_network"]

_NETWORK: pytest.StashKey[Network] = pytest.StashKey()


def pytest_addoption(parser: pytest.Parser) -> None:
    """One option."""
    parser.addoption(
        "--ustack-seed",
        type=int,
        default=1,
        metavar="N",
        help="seed of the fixture ustack_network: the same gives the same frames (1)",
    )


@pytest.fixture
def ustack_network(request: pytest.FixtureRequest) -> Network:
    """An empty simulated network, seeded by --ustack-seed; its invariants hold at the end."""
    from ustack.sim import Network

    net = Network(seed=request.config.getoption("--ustack-seed"))
    request.node.stash[_NETWORK] = net
    request.addfinalizer(net.check)
    return net


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, Any, Any]:
    """Say of a test that failed how its network ran."""
    report = yield
    net = item.stash.get(_NETWORK, None)
    if net is not None and report.when == "call" and report.failed:
        told = f"--ustack-seed {net.seed}: {net.now:.6f} s of virtual time, digest {net.digest()}"
        report.sections.append(("ustack network", told))
    return report
