# SPDX-License-Identifier: BSD-3-Clause
"""Ten thousand connections from the kernel, and what they leave behind."""

from __future__ import annotations

import resource

import pytest

from lab import Lab
from netlab import kernel_connect
from ustack.apps.echo import Echo

COUNT = 10_000


@pytest.fixture
def at_once() -> int:
    """How many may be open together: as many as this process may have descriptors for."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    return min(COUNT, most - 100)


class Hasty(Echo):
    """Echoes once and closes: then TIME-WAIT is ours."""

    def data_received(self, data: bytes) -> None:
        self.transport.write(data)
        self.transport.close()


@pytest.mark.parametrize("factory", [Echo, Hasty], ids=["kernel closes", "stack closes"])
def test_ten_thousand_connections_leave_nothing_but_time_wait(
    lab: Lab, at_once: int, factory: type[Echo]
) -> None:
    lab.serve(factory)
    for first in range(0, COUNT, at_once):
        use(min(at_once, COUNT - first))
    assert lab.counter("tcp.opens.passive") == COUNT
    lab.until(lambda: lab.stack.usage()["tcbs"] == 1)
    left = lab.stack.usage()
    for name in ("mbufs_small", "mbufs_large", "mbufs_ref", "requests", "reass", "ready", "outq"):
        assert left[name] == 0, name
    assert left["listeners"] == 1
    reused = lab.counter("tcp.timewait.reused")  # the kernel took a port again (RFC 6191)
    assert left["timewaits"] + reused == (COUNT if factory is Hasty else 0)
    assert left["flows"] == left["timewaits"] + left["listeners"]
    assert left["timers"] <= left["timewaits"] + left["neighs"]


def use(count: int) -> None:
    """Open so many connections, use each, and close them all."""
    socks = [kernel_connect() for _ in range(count)]
    for number, sock in enumerate(socks):
        sock.sendall(b"%d" % number)
    for number, sock in enumerate(socks):
        assert sock.recv(100) == b"%d" % number
    for sock in socks:
        sock.close()
