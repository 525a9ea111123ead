# SPDX-License-Identifier: BSD-3-Clause
"""UDP super-segments between two engines: one frame on the ring, many datagrams at the socket."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

import rig
from link import ADDRESSES, MACS
from rig import ffi, lib

ENDS = {4: ADDRESSES, 6: ("fd00::1", "fd00::2")}


class Joined:
    """Two engines on a ring that carries super-segments, driven by hand."""

    def __init__(self, version: int) -> None:
        caps = lib.UST_CAP_USO | lib.UST_CAP_TX_CSUM
        self.ports = ffi.new("struct ust_port *[2]")
        assert lib.ust_ring_pair(self.ports, 1, 1500, 0, caps) == 0
        self.engines, self.workers = [], []
        for i, address in enumerate(ENDS[version]):
            engine = rig.Engine(
                address, mac=MACS[i], caps=caps, prefix=24, settings={"mbuf.large": 16}
            )
            engine.neighbour(ENDS[version][1 - i], MACS[1 - i])
            self.engines.append(engine)
            self.workers.append(lib.ust_worker_new(engine.raw, self.ports[i], 0, 0, 0))

    def pump(self) -> None:
        """Drive both until neither has anything to do."""
        while sum(lib.ust_worker_poll(worker) for worker in self.workers):
            pass

    def free(self) -> None:
        for worker, port, engine in zip(self.workers, self.ports, self.engines, strict=True):
            lib.ust_worker_free(worker)
            lib.ust_port_close(port)
            engine.check()
            engine.free()


@pytest.fixture(params=[4, 6], ids=["ipv4", "ipv6"])
def joined(request: pytest.FixtureRequest) -> Iterator[Joined]:
    pair = Joined(request.param)
    yield pair
    pair.free()


def received(engine: rig.Engine, sock: int) -> list[bytes]:
    got = []
    while engine.ready(sock) & lib.UST_READABLE:
        got.append(engine.recv(sock))
    return got


@pytest.mark.parametrize(("length", "size"), [(250, 100), (6000, 1000), (30_000, 1400), (900, 900)])
def test_a_super_segment_is_many_datagrams_at_the_other_end(
    joined: Joined, length: int, size: int
) -> None:
    """UDP_SEGMENT over a port that carries it whole."""
    near, far = joined.engines
    sock, sink = near.udp(near.address, 9), far.udp(far.address, 9)
    near.setopt(sock, lib.UST_OPT_GSO_SIZE, size)
    data = bytes(i % 251 for i in range(length))
    before = far.counters()["eth.in"]
    assert near.sendto(sock, data, far.address, 9) == length
    joined.pump()
    assert received(far, sink) == [data[at : at + size] for at in range(0, length, size)]
    assert far.counters()["eth.in"] - before <= 3  # beside what the engines say of themselves
    assert far.usage().mbufs_large == 0


def test_datagrams_that_find_no_mbuf_are_counted(joined: Joined) -> None:
    near, far = joined.engines
    sock, sink = near.udp(near.address, 9), far.udp(far.address, 9)
    near.setopt(sock, lib.UST_OPT_GSO_SIZE, 100)
    joined.pump()
    for nth in range(1, 8):
        near.sendto(sock, bytes(500), far.address, 9)
        lib.ust_engine_fail_alloc(far.raw, nth, False)
        joined.pump()
        received(far, sink)
        lib.ust_engine_fail_alloc(far.raw, 0, False)
    assert far.counters()["udp.drop.nombuf"] >= 1
    assert far.usage().mbufs_small == 0


def test_segments_that_do_not_fit_the_path_are_refused(joined: Joined) -> None:
    near, far = joined.engines
    sock = near.udp(near.address, 9)
    near.setopt(sock, lib.UST_OPT_GSO_SIZE, 1490)
    with pytest.raises(OSError, match="Invalid"):
        near.sendto(sock, bytes(3000), far.address, 9)
    near.setopt(sock, lib.UST_OPT_GSO_SIZE, 1)
    with pytest.raises(OSError, match="Invalid"):
        near.sendto(sock, bytes(3000), far.address, 9)


def test_a_datagram_in_a_large_buffer_is_put_into_small_ones(joined: Joined) -> None:
    """A queue must not hold the buffers that reassembly needs."""
    near, far = joined.engines
    sock, sink = near.udp(near.address, 9), far.udp(far.address, 9)
    data = bytes(i % 251 for i in range(5000))
    near.sendto(sock, data, far.address, 9)
    joined.pump()
    assert far.usage().mbufs_large == 0
    assert far.recv(sink) == data
    for nth in range(1, 12):
        near.sendto(sock, data, far.address, 9)
        lib.ust_engine_fail_alloc(far.raw, nth, False)
        joined.pump()
        received(far, sink)
        lib.ust_engine_fail_alloc(far.raw, 0, False)
    assert far.usage().mbufs_small == 0
