# SPDX-License-Identifier: BSD-3-Clause
"""Many datagrams in one frame: UDP segmentation offload, both ways, and without."""

from __future__ import annotations

import socket

import pytest

from netlab import KERNEL, OURS, kernel_udp, our_udp, pattern, stack
from ustack import Stack
from ustack._native import lib
from ustack.datagram import UdpSocket

pytestmark = pytest.mark.usefixtures("way")

UDP_SEGMENT, UDP_GRO = 103, 104
SIZE, LENGTH = 1400, 56_700  # 40 datagrams and a half
DATA = pattern(LENGTH)
DATAGRAMS = [DATA[at : at + SIZE] for at in range(0, LENGTH, SIZE)]


def insist_on_uso(ours: Stack) -> None:
    if not ours.ports[0].info.caps & lib.UST_CAP_USO:
        pytest.skip("this kernel has no USO for taps")


def sender(ours: Stack, version: int) -> UdpSocket:
    """Return a socket that cuts what it sends; the kernel's MAC is known."""
    sock = our_udp(ours, version)
    with kernel_udp(KERNEL[version], 7) as theirs:
        sock.sendto(b"x", (KERNEL[version], 7))
        theirs.recv(1)
    sock.setsockopt(socket.IPPROTO_UDP, UDP_SEGMENT, SIZE)
    return sock


@pytest.mark.parametrize("version", [4, 6])
def test_one_frame_carries_all_and_one_recv_takes_it(version: int) -> None:
    with stack() as ours:
        insist_on_uso(ours)
        sock = sender(ours, version)
        with kernel_udp(KERNEL[version], 9) as theirs:
            theirs.setsockopt(socket.IPPROTO_UDP, UDP_GRO, 1)
            before = ours.counters()
            sock.sendto(DATA, (KERNEL[version], 9))
            got, extra, _, _ = theirs.recvmsg(65535, 100)
            after = ours.counters()
        assert got == DATA
        assert [int.from_bytes(value[:2], "little") for _, _, value in extra] == [SIZE]
        assert after["port.tx_frames"] - before["port.tx_frames"] < 5
        assert after["udp.out"] - before["udp.out"] == len(DATAGRAMS)


@pytest.mark.parametrize("offload", [1, 0])
@pytest.mark.parametrize("version", [4, 6])
def test_a_plain_socket_receives_datagram_by_datagram(version: int, offload: int) -> None:
    with stack(f"tap:us0?offload={offload}") as ours:
        sock = sender(ours, version)
        with kernel_udp(KERNEL[version], 9) as theirs:
            sock.sendto(DATA, (KERNEL[version], 9))
            assert [theirs.recv(65535) for _ in DATAGRAMS] == DATAGRAMS


@pytest.mark.parametrize("offload", [1, 0])
@pytest.mark.parametrize("version", [4, 6])
def test_what_linux_sends_at_once_arrives_datagram_by_datagram(version: int, offload: int) -> None:
    with stack(f"tap:us0?offload={offload}") as ours, kernel_udp(KERNEL[version]) as theirs:
        if offload:
            insist_on_uso(ours)
        sock = our_udp(ours, version, 7)
        theirs.sendto(b"x", (OURS[version], 7))
        sock.recv(1)
        theirs.setsockopt(socket.IPPROTO_UDP, UDP_SEGMENT, SIZE)
        before = ours.counters()["port.rx_frames"]
        theirs.sendto(DATA, (OURS[version], 7))
        assert [sock.recv(65535) for _ in DATAGRAMS] == DATAGRAMS
        frames = ours.counters()["port.rx_frames"] - before
        assert frames < 5 if offload else frames >= len(DATAGRAMS)
