# SPDX-License-Identifier: BSD-3-Clause
"""A path through routers whose middle link carries 1300 bytes.

    us --- tap 1500 --- this namespace --- veth 1300 --- middle --- veth 1500 --- far

Both ends see 1500 bytes on their own link, so both must hear of the 1300 from the routers.
"""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Iterator
from typing import Any

import pytest

from netlab import (
    KERNEL4,
    KERNEL6,
    OURS,
    Net,
    connected,
    echoing,
    ip,
    kernel_udp,
    our_udp,
    pattern,
    stack,
    sysctl,
    transfer,
)
from ustack import Stack
from ustack.datagram import UdpSocket

pytestmark = pytest.mark.usefixtures("way")

FAR = {4: "10.92.0.2", 6: "fd92::2"}
LENGTH = 50_000_000


def settle() -> None:
    """Let this namespace forward, and use its addresses at once."""
    sysctl("net.ipv4.ip_forward", 1)
    sysctl("net.ipv6.conf.all.forwarding", 1)
    for which in ("all", "default"):
        sysctl(f"net.ipv6.conf.{which}.accept_dad", 0)


def join(here: str, there: str, other: Net, mtu: int) -> None:
    """Lay a veth from this namespace to another."""
    ip("link", "add", here, "mtu", mtu, "type", "veth", "peer", "name", there, "mtu", mtu,
       "netns", other.path)  # fmt: skip
    ip("link", "set", here, "up")
    with other:
        ip("link", "set", there, "up")


def name(device: str, four: str, six: str) -> None:
    ip("addr", "add", f"{four}/24", "dev", device)
    ip("addr", "add", f"{six}/64", "dev", device, "nodad")


@contextlib.contextmanager
def routed(**options: Any) -> Iterator[tuple[Stack, Net]]:
    """The stack, routed, and the namespace at the far end."""
    settle()
    middle, far = Net(), Net()
    with middle:
        settle()
    join("near0", "near1", middle, 1300)
    name("near0", "10.91.0.1", "fd91::1")
    with middle:
        join("far0", "far1", far, 1500)
        name("near1", "10.91.0.2", "fd91::2")
        name("far0", "10.92.0.1", "fd92::1")
        ip("route", "add", "10.9.0.0/24", "via", "10.91.0.1")
        ip("route", "add", "fd09::/64", "via", "fd91::1")
    with far:
        name("far1", FAR[4], FAR[6])
        ip("route", "add", "default", "via", "10.92.0.1")
        ip("route", "add", "default", "via", "fd92::1")
    ip("route", "add", "10.92.0.0/24", "via", "10.91.0.2")
    ip("route", "add", "fd92::/64", "via", "fd91::2")
    with stack(gateways=[KERNEL4, KERNEL6], **options) as ours:
        yield ours, far


@pytest.mark.parametrize("offload", [1, 0])
@pytest.mark.parametrize("version", [4, 6])
def test_fifty_megabytes_pass_when_we_send(version: int, offload: int) -> None:
    """RFC 1191, RFC 8201: what the router says lowers our path MTU, and no segment is too big."""
    with routed(io=f"tap:us0?offload={offload}") as (ours, far):
        sock, accepted = connected(ours, FAR[version], far)
        transfer(sock, accepted, pattern(LENGTH))
        assert ours.counters()["pmtu.lowered"] == 1
        assert ours.path_mtu(FAR[version]) == 1300
        sock.close()


@pytest.mark.parametrize("version", [4, 6])
def test_fifty_megabytes_pass_when_the_far_end_sends(version: int) -> None:
    with routed() as (ours, far):
        sock, accepted = connected(ours, FAR[version], far)
        transfer(accepted, sock, pattern(LENGTH))
        sock.close()


@pytest.mark.parametrize("version", [4, 6])
def test_udp_hears_of_the_path_and_then_fragments(version: int) -> None:
    """The first datagram of 1400 bytes is lost, the error tells; later ones pass in fragments."""
    with routed() as (ours, far):
        with far:
            theirs = kernel_udp(FAR[version], 7)
        sock = our_udp(ours, version)
        sock.connect((FAR[version], 7))
        data = pattern(1400)
        sock.send(data)
        with pytest.raises(OSError) as caught:
            sock.recv(1)
        assert caught.value.errno == errno.EMSGSIZE
        sock.send(data)
        got, sender = theirs.recvfrom(65535)
        assert got == data and sender[0] == OURS[version]
        assert ours.counters()["ip.out.fragments"] == 2


@pytest.mark.parametrize("version", [4, 6])
def test_datagrams_of_all_sizes_come_back_from_beyond_the_narrow_link(version: int) -> None:
    """A datagram may be lost on either way to teach the path; then it is sent again."""
    with routed() as (ours, far), far, kernel_udp(FAR[version], 7) as theirs, echoing(theirs):
        sock = our_udp(ours, version)
        sock.settimeout(0.3)
        for size in (1, 1232, 1273, 1500, 9000, 60_000):
            data = pattern(size)
            assert any(asked(sock, data, (FAR[version], 7)) for _ in range(4)), size


def asked(sock: UdpSocket, data: bytes, address: tuple[str, int]) -> bool:
    sock.sendto(data, address)
    try:
        while sock.recv(65535) != data:
            pass
    except TimeoutError:
        return False
    return True
