# SPDX-License-Identifier: BSD-3-Clause
"""A stack's addresses, routes, neighbours and ports: listed and changed while it runs."""

from __future__ import annotations

import ipaddress
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pair import CLIENT, SERVER, SMALL, Pair, ring_url
from ustack import ConfigError, Neighbour, Route, Stack, UstackError
from ustack.io import open_port

QUICK = SMALL | {"ip6.dad_transmits": 0}
MAC = "02:00:00:00:00:09"


@pytest.fixture
def pair() -> Iterator[Pair]:
    with Pair(settings=QUICK) as pair:
        yield pair


def shown(stack: Stack) -> list[str]:
    """The addresses but for the link-local ones."""
    return [str(a) for a in stack.addresses if not a.interface.is_link_local]


def talk(near: Stack, far: Stack, host: str, port: int = 80) -> str:
    """Connect near to far by TCP, where each is driven in turn; near's own address."""
    with far.listen((host, port)) as listener, near.socket(listener.family) as sock:
        listener.setblocking(False)
        sock.setblocking(False)
        sock.connect_ex((host, port))
        while near.run_once() | far.run_once():
            pass
        conn, _ = listener.accept()
        with conn:
            conn.send(b"hello")
            while near.run_once() | far.run_once():
                pass
            assert sock.recv(10) == b"hello"
        return str(sock.getsockname()[0])


# --------------------------------------------------------------------------------------- addresses


def test_addresses_are_listed_in_the_order_given_link_local_ones_last() -> None:
    url = ring_url()
    given = ["10.9.0.2/24", "fd00::2/64", "10.9.1.2/16", "fd01::2/48"]
    with Stack(url, addresses=given, settings=QUICK) as stack:
        assert shown(stack) == given
        last = stack.addresses[-1]
        assert (last.interface.is_link_local, last.port, last.valid) == (True, url, None)
        assert not any(a.tentative or a.auto for a in stack.addresses)
        assert stack.addresses[0].host == "10.9.0.2"


def test_an_address_can_be_added_and_taken_back(pair: Pair) -> None:
    pair.server.add_address("192.0.2.1/24")
    pair.client.add_address("192.0.2.2/24")
    assert talk(pair.client, pair.server, "192.0.2.1") == "192.0.2.2"
    assert pair.server.owns("192.0.2.1")
    pair.server.remove_address("192.0.2.1/24")
    assert shown(pair.server) == [f"{SERVER}/24"]
    assert not pair.server.owns("192.0.2.1")
    pair.server.add_address("192.0.2.1/24")
    pair.server.remove_address("192.0.2.1")


def test_tcp_runs_over_ipv6(pair: Pair) -> None:
    pair.server.add_address("fd00::1/64")
    pair.client.add_address("fd00::2/64")
    assert talk(pair.client, pair.server, "fd00::1") == "fd00::2"


def test_the_constructor_waits_until_ipv6_addresses_are_usable() -> None:
    settings = SMALL | {"neigh.retrans_ms": 50}
    with Stack(ring_url(), "fd00::2/64", settings=settings) as stack:
        assert not any(a.tentative for a in stack.addresses)
        stack.add_address("fd00::3/64", wait=False)
        assert [str(a) for a in stack.addresses if a.tentative] == ["fd00::3/64"]
        stack.add_address("fd00::4/64")
        assert not any(a.tentative for a in stack.addresses)
        with stack.udp(("fd00::4", 0)) as sock:
            assert sock.getsockname()[0] == "fd00::4"


def test_an_address_that_another_host_has_is_refused() -> None:
    """RFC 4862 5.4.5."""
    with Pair(settings=SMALL | {"neigh.retrans_ms": 50}) as pair:
        pair.server.add_address("fd00::1/64")
        pair.client.add_address("fd00::1/64", wait=False)
        pair.pump()
        with pytest.raises(ConfigError, match=r"fd00::9/64 is another host's.*take another"):
            pair.client._settle([ipaddress.ip_interface("fd00::9/64")])
        assert shown(pair.client) == [f"{CLIENT}/24"]


BAD_CHANGES: dict[str, tuple[str, tuple[Any, ...], tuple[str, ...]]] = {
    "address twice": ("add_address", (f"{CLIENT}/24",), ("address", CLIENT, "give it once")),
    "address no CIDR": ("add_address", ("10.9.0.9",), ("address", "'10.9.0.9'", "prefix length")),
    "address of no port": ("add_address", ("1.2.3.4/8", "ring:x"), ("port", "'ring:x'", "test-")),
    "address not ours": ("remove_address", ("1.2.3.4",), ("address", "'1.2.3.4'", CLIENT)),
    "address other length": ("remove_address", (f"{CLIENT}/8",), ("address", f"{CLIENT}/24")),
    "address no text": ("remove_address", ("all",), ("address", "'all'", CLIENT)),
    "route no network": ("add_route", ("x", SERVER), ("route", "'x'", "10.0.0.0/8")),
    "route far gateway": ("add_route", ("default", "1.2.3.4"), ("gateway", "1.2.3.4", "neighbour")),
    "route version": ("add_route", ("fd00::/8", SERVER), ("fd00::/8", "IPv6 gateway", SERVER)),
    "route of none": ("remove_route", ("1.0.0.0/8",), ("route", "'1.0.0.0/8'", "there is none")),
    "route by none": ("remove_route", ("default", SERVER), ("route", "'default'", SERVER)),
    "neighbour no address": ("add_neighbour", ("x", MAC), ("neighbour", "'x'", "10.9.0.1")),
    "neighbour a group": ("add_neighbour", ("224.0.0.1", MAC), ("neighbour", "'224.0.0.1'")),
    "neighbour far": ("add_neighbour", ("1.2.3.4", MAC), ("neighbour", "'1.2.3.4'", "network")),
    "neighbour no MAC": ("add_neighbour", (SERVER, "02:00"), ("MAC", "'02:00'", "six bytes")),
    "neighbour group MAC": ("add_neighbour", (SERVER, "01" + MAC[2:]), ("MAC", "'01:", "another")),
    "neighbour of none": ("remove_neighbour", ("10.9.0.77",), ("neighbour", "'10.9.0.77'")),
}


@pytest.mark.parametrize("case", BAD_CHANGES)
def test_a_change_that_cannot_be_is_named_with_its_value_and_its_cure(
    pair: Pair, case: str
) -> None:
    call, arguments, names = BAD_CHANGES[case]
    before = shown(pair.client), pair.client.routes
    with pytest.raises(ConfigError) as caught:
        getattr(pair.client, call)(*arguments)
    assert all(name in str(caught.value) for name in names), str(caught.value)
    assert (shown(pair.client), pair.client.routes) == before


def test_addresses_and_routes_are_bounded(pair: Pair) -> None:
    with pytest.raises(ConfigError, match="at most 16 addresses"):
        for i in range(20):
            pair.client.add_address(f"192.0.{i}.2/24")
    with pytest.raises(ConfigError, match="at most 64 routes"):
        for i in range(100):
            pair.client.add_route(f"198.{i}.0.0/16", SERVER)


# ------------------------------------------------------------------------------------------ routes


def test_routes_are_listed_added_and_taken_back(pair: Pair) -> None:
    stack, url = pair.client, str(pair.client.ports[0])
    assert stack.routes == []
    stack.add_route("default", SERVER)
    stack.add_route("192.0.2.0/24", "10.9.0.9")
    gateways = [ipaddress.ip_address(text) for text in (SERVER, "10.9.0.9")]
    networks = [ipaddress.ip_network(text) for text in ("0.0.0.0/0", "192.0.2.0/24")]
    assert stack.routes == [Route(networks[i], gateways[i], url) for i in (0, 1)]
    assert stack.reaches("192.0.2.1")
    stack.remove_route("default")
    assert not stack.reaches("1.2.3.4")
    stack.remove_route("192.0.2.0/24", "10.9.0.9")
    assert stack.routes == []


def test_a_default_route_is_of_its_gateways_version() -> None:
    given = {"addresses": ["10.9.0.2/24", "fd00::2/64"], "gateways": ["10.9.0.1", "fe80::1"]}
    with Stack(ring_url(), settings=QUICK, **given) as stack:
        assert [str(r.network) for r in stack.routes] == ["0.0.0.0/0", "::/0"]
        assert stack.reaches("2001:db8::1")
        assert stack.reaches("192.0.2.1")
        stack.remove_route("default")
        assert stack.routes == []
        stack.add_route("default", "fd00::9")
        assert str(stack.routes[0]) == "::/0 by way of fd00::9"


def test_reaches_and_owns_answer_for_any_text(pair: Pair) -> None:
    assert pair.client.owns(CLIENT)
    assert pair.client.reaches(SERVER)
    for text in (SERVER, "localhost", "", "fd00::1"):
        assert not pair.client.owns(text)
    for text in ("1.2.3.4", "localhost", "", "fd00::1"):
        assert not pair.client.reaches(text)


def test_the_path_mtu_is_the_ports_at_first(pair: Pair) -> None:
    assert pair.client.path_mtu(SERVER) == 1500
    with pytest.raises(OSError, match=r"unreachable: 1\.2\.3\.4"):
        pair.client.path_mtu("1.2.3.4")


# -------------------------------------------------------------------------------------- neighbours


def test_neighbours_are_listed_with_their_state(pair: Pair) -> None:
    talk(pair.client, pair.server, SERVER)
    url = str(pair.client.ports[0])
    address = ipaddress.ip_address(SERVER)
    assert pair.client.neighbours == [Neighbour(address, pair.server.mac, "REACHABLE", url)]
    with pair.client.udp() as sock:
        sock.sendto(b"x", ("10.9.0.77", 9))
        (waiting,) = [n for n in pair.client.neighbours if n.state == "INCOMPLETE"]
    assert (waiting.mac, waiting.pending) == (None, 1)


def test_a_neighbour_that_is_given_is_not_asked_for(pair: Pair) -> None:
    pair.client.add_neighbour(SERVER, pair.server.mac)
    pair.server.add_neighbour(CLIENT, pair.client.mac.upper().replace(":", "-"))
    talk(pair.client, pair.server, SERVER)
    assert [n.state for n in pair.client.neighbours] == ["PERMANENT"]
    assert pair.server.counters()["arp.in.request"] == 0
    pair.client.remove_neighbour(SERVER)
    assert pair.client.neighbours == []


# ------------------------------------------------------------------------------------------- ports


def test_a_stack_between_two_others_talks_to_both() -> None:
    left, right = ring_url(), ring_url()
    middle_io = {left: ["10.1.0.1/24", "fd01::1/64"], right: "10.2.0.1/24"}
    with (
        Stack(middle_io, settings=QUICK, spin=0, guardian=False) as middle,
        Stack(
            left, addresses=["10.1.0.2/24", "fd01::2/64"], settings=QUICK, spin=0, guardian=False
        ) as a,
        Stack(right, "10.2.0.2/24", settings=QUICK, spin=0, guardian=False) as b,
    ):
        assert [str(port) for port in middle.ports] == [left, right]
        assert [x.port for x in middle.addresses][:3] == [left, left, right]
        assert talk(middle, a, "10.1.0.2") == "10.1.0.1"
        assert talk(middle, b, "10.2.0.2") == "10.2.0.1"
        assert talk(a, middle, "fd01::1") == "fd01::2"
        assert talk(b, middle, "10.2.0.1") == "10.2.0.2"
        assert {n.port for n in middle.neighbours} == {left, right}
        with middle.udp(("", 53)) as sock, b.udp() as sender:
            sock.setsockopt(socket.IPPROTO_IP, 8, 1)  # IP_PKTINFO
            sender.sendto(b"x", ("10.2.0.1", 53))
            middle.run_once()
            assert sock.recvmsg(9, 100)[1][0][2][0] == 2  # the second port
        assert middle.counters()["port.rx_frames"] > b.counters()["port.rx_frames"]


def test_what_is_behind_a_port_is_found_by_its_network() -> None:
    left, right = ring_url(), ring_url()
    io = {left: ["10.1.0.1/24", "fd01::1/64"], right: ["10.2.0.1/24", "fd02::1/64"]}
    with Stack(io, settings=QUICK) as stack:
        stack.add_route("192.0.2.0/24", "10.2.0.9")
        stack.add_neighbour("10.2.0.8", MAC)
        stack.add_address("10.3.0.1/24", right)
        stack.add_route("default", "fe80::1", right)
        assert [r.port for r in stack.routes] == [right, right]
        assert stack.neighbours[0].port == right
        assert [a.port for a in stack.addresses if str(a) == "10.3.0.1/24"] == [right]
        with pytest.raises(ConfigError, match=r"fe80::1 may be behind .* or .*; say which port"):
            stack.add_route("default", "fe80::1")


BAD_PORTS: dict[str, tuple[dict[str, Any], tuple[str, ...]]] = {
    "none": ({"io": []}, ("1 to 4 ports", "got 0", "io=")),
    "too many": (
        {"io": {f"ring:x{i}": "10.9.0.1/24" for i in range(5)}}, ("1 to 4 ports", "got 5")
    ),
    "address beside": (
        {"io": {"ring:x": "10.9.0.1/24"}, "address": "1.2.3.4/8"}, ("'1.2.3.4/8'", "io=", "move")
    ),
    "address of which": (
        {"io": ["ring:x", "ring:y"], "address": "1.2.3.4/8"}, ("1.2.3.4/8", "which", "ring:x")
    ),
    "no addresses": ({"io": {"ring:x": []}}, ("address", "none", "autoconf")),
    "gateways a text": (
        {"address": "10.9.0.2/24", "gateways": "10.9.0.1"}, ("gateways", "10.9.0.1", "gateway=")
    ),
    "autoconf": ({"autoconf": 99}, ("autoconf", "99", "0..60 seconds")),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD_PORTS)
def test_ports_that_cannot_be_are_named_with_the_cure(case: str) -> None:
    options, names = BAD_PORTS[case]
    with pytest.raises(ConfigError) as caught:
        Stack(**({"io": ring_url(), "settings": SMALL} | options))
    assert all(name in str(caught.value) for name in names), str(caught.value)


def test_an_ipv6_address_needs_a_large_mtu() -> None:
    """RFC 8200 5."""
    with pytest.raises(ConfigError, match=r"needs an mtu of 1280.*has 576.*mtu=1500"):
        Stack(f"{ring_url()}?mtu=576", "fd00::1/64", settings=QUICK)


def test_an_open_port_may_be_given_and_is_the_stacks_then() -> None:
    url = ring_url()
    port = open_port(url)
    with Stack([port], "10.9.0.2/24", settings=QUICK) as stack:
        assert stack.ports == [port]
    assert "closed" in repr(port)


def test_every_port_has_a_capture_of_its_own(tmp_path: Path) -> None:
    io = {ring_url(): "10.1.0.1/24", ring_url(): "10.2.0.1/24"}
    with Stack(io, settings=QUICK | {"arp.announce": 1}, capture=tmp_path / "all.pcapng"):
        pass
    assert sorted(os.listdir(tmp_path)) == ["all-2.pcapng", "all.pcapng"]


def test_a_closed_stack_lists_nothing() -> None:
    stack = Stack(ring_url(), "10.9.0.2/24", settings=QUICK)
    stack.close(linger=0)
    with pytest.raises(UstackError, match="closed"):
        _ = stack.addresses
    assert not stack.owns("10.9.0.2")
    assert not stack.reaches("10.9.0.1")
