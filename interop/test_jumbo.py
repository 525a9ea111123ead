# SPDX-License-Identifier: BSD-3-Clause
"""Frames of 9000 bytes: datagrams whole, and bulk."""

import pytest

from netlab import KERNEL, OURS, connected, kernel_udp, our_udp, pattern, stack, transfer

pytestmark = pytest.mark.usefixtures("way")


@pytest.mark.parametrize("version", [4, 6])
def test_a_datagram_of_8000_bytes_passes_whole_both_ways(version: int) -> None:
    with stack("tap:us0?mtu=9000") as ours:
        sock, theirs, data = our_udp(ours, version, 7), kernel_udp(KERNEL[version]), pattern(8000)
        theirs.sendto(data, (OURS[version], 7))
        got, sender = sock.recvfrom(65535)
        assert got == data
        sock.sendto(data, sender)
        assert theirs.recv(65535) == data
        counters = ours.counters()
        assert counters["frag.in"] == counters["ip.out.fragments"] == 0


@pytest.mark.parametrize("offload", [1, 0])
@pytest.mark.parametrize("version", [4, 6])
def test_bulk_passes_both_ways(version: int, offload: int) -> None:
    with stack(f"tap:us0?mtu=9000&offload={offload}") as ours:
        sock, accepted = connected(ours, KERNEL[version])
        transfer(sock, accepted, pattern(10_000_000))
        transfer(accepted, sock, pattern(10_000_000))
        sock.close()
