# SPDX-License-Identifier: BSD-3-Clause
"""Neighbours and routers: Linux's tables about us, ours about Linux, and radvd's advertisements."""

from __future__ import annotations

import ipaddress
import tempfile
import time
from pathlib import Path

import pytest

from netlab import (
    KERNEL,
    OURS,
    connected,
    ip,
    kernel_udp,
    our_udp,
    pattern,
    run,
    running,
    stack,
    sysctl,
    transfer,
    until,
)
from ustack import Stack

pytestmark = pytest.mark.usefixtures("way")

SHORT = {"neigh.reachable_ms": 200, "neigh.delay_ms": 100, "neigh.retrans_ms": 100}


@pytest.mark.parametrize("version", [4, 6])
def test_linux_holds_us_for_reachable(version: int) -> None:
    with stack() as ours:
        run("ping", "-n", f"-{version}", "-c1", OURS[version])
        entry = ip("neigh", "show", OURS[version], "dev", "us0").split()
        assert entry[2] == ours.mac and entry[-1] == "REACHABLE", entry


@pytest.mark.parametrize("version", [4, 6])
def test_we_hold_linux_for_reachable(version: int) -> None:
    with stack(settings=SHORT) as ours, kernel_udp(KERNEL[version], 7) as theirs:
        our_udp(ours, version).sendto(b"x", (KERNEL[version], 7))
        theirs.recv(1)
        assert state(ours, version) == "REACHABLE"


@pytest.mark.parametrize("version", [4, 6])
def test_we_find_linux_again_when_its_mac_changes(version: int) -> None:
    """RFC 4861 7.3: nothing tells us but that our probes stay without an answer."""
    with stack(settings=SHORT) as ours, kernel_udp(KERNEL[version], 7) as theirs:
        sock = our_udp(ours, version)
        sock.sendto(b"before", (KERNEL[version], 7))
        assert theirs.recv(100) == b"before"
        ip("link", "set", "us0", "address", "02:00:00:00:00:77")
        theirs.settimeout(0.05)
        lost, end = 0, time.monotonic() + 10
        while time.monotonic() < end:
            sock.sendto(b"after", (KERNEL[version], 7))
            try:
                assert theirs.recv(100) == b"after"
                break
            except TimeoutError:
                lost += 1
        assert 0 < lost < 100
        assert state(ours, version) == "REACHABLE"
        assert ours.counters()["neigh.failed"] == 1


def state(ours: Stack, version: int) -> str:
    """Return what we think of the kernel's end."""
    return next(n.state for n in ours.neighbours if str(n.address) == KERNEL[version])


def automatic(ours: Stack) -> str:
    """Return the address that a router gave us, "" so far."""
    found = [a.host for a in ours.addresses if a.auto and not a.tentative]
    return found[0] if found else ""


RADVD = """
interface us0 {
    AdvSendAdvert on;
    MinRtrAdvInterval 3;
    MaxRtrAdvInterval 4;
    AdvLinkMTU 1400;
    prefix fd5a::/64 { AdvOnLink on; AdvAutonomous on; };
};
"""


def test_a_router_gives_us_an_address_a_route_and_an_mtu() -> None:
    """RFC 4861 6.3.4, RFC 4862 5.5.3; TCP to the router, and by way of it to what is behind."""
    sysctl("net.ipv6.conf.all.forwarding", 1)
    for which in ("all", "default"):
        sysctl(f"net.ipv6.conf.{which}.accept_dad", 0)
    with stack(settings={"ip6.accept_ra": 1}) as ours, tempfile.TemporaryDirectory() as where:
        ip("addr", "add", "fd5a::1/64", "dev", "us0", "nodad")
        ip("addr", "add", "fd77::1/128", "dev", "lo", "nodad")
        config = Path(where, "radvd.conf")
        config.write_text(RADVD)
        with running("radvd", "-n", "-m", "stderr", "-C", config, "-p", f"{where}/pid"):
            mine = until(lambda: automatic(ours), "our address")
            mac = bytes.fromhex(ours.mac.replace(":", ""))
            eui64 = bytes([mac[0] ^ 2]) + mac[1:3] + b"\xff\xfe" + mac[3:]
            assert ipaddress.ip_address(mine).packed[8:] == eui64
            assert ours.path_mtu("fd77::1") == 1400
            for host in ("fd5a::1", "fd77::1"):
                sock, accepted = connected(ours, host)
                assert accepted.getpeername()[0] == mine  # RFC 6724 5, rule 8
                transfer(sock, accepted, pattern(1_000_000))
                transfer(accepted, sock, pattern(1_000_000))
                sock.close()
            said = run("ping", "-n", "-c1", "-W2", mine)
            assert "1 received" in said
