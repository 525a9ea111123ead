# SPDX-License-Identifier: BSD-3-Clause
"""Which way, and from which address: routes, several interfaces, RFC 6724's rules."""

from __future__ import annotations

import errno

import pytest

import frames
from lan import Lan
from rig import lib

MAC_B = bytes.fromhex("020000000003")


def far(lan: Lan, n: int) -> str:
    return f"192.0.2.{n}" if lan.version == 4 else f"2001:db8::{n}"


def host(lan: Lan, n: int, net: int = 0) -> str:
    return f"10.0.{net}.{n}" if lan.version == 4 else f"fd0{net}::{n}"


def default(lan: Lan) -> str:
    return "0.0.0.0" if lan.version == 4 else "::"


def mac(n: int) -> bytes:
    return bytes([2, 0, 0, 0, 1, n])


def goes(lan: Lan, dst: str) -> tuple[int, str]:
    """The last byte of the MAC that a datagram goes to, and its source address."""
    sock = lan.engine.udp()
    lan.engine.sendto(sock, b"x", dst, 9)
    lan.engine.close(sock)
    (frame,) = lan.engine.output()
    return frame[5], str(frames.check_ip(frame)[0].src)


@pytest.mark.both_versions
class TestRoutes:
    """Over both versions."""

    def test_the_longest_prefix_wins(self, lan: Lan) -> None:
        lan = self.prepare(lan)
        long, longer = (24, 28) if lan.version == 4 else (64, 124)
        lan.engine.route(default(lan), 0, host(lan, 3))
        lan.engine.route(far(lan, 0), long, host(lan, 4))
        lan.engine.route(far(lan, 0), longer, host(lan, 5, 1), 1)
        lan.engine.route(far(lan, 9), 32 if lan.version == 4 else 128, host(lan, 6))
        elsewhere = "198.51.100.1" if lan.version == 4 else "2001:db9::1"
        assert goes(lan, elsewhere) == (3, host(lan, 2))
        assert goes(lan, far(lan, 99)) == (4, host(lan, 2))
        assert goes(lan, far(lan, 1)) == (0x15, host(lan, 2, 1))
        assert goes(lan, far(lan, 9)) == (6, host(lan, 2))

    def test_of_equal_routes_the_older_one_wins(self, lan: Lan) -> None:
        """RFC 1812 5.2.4.3."""
        lan = self.prepare(lan)
        lan.engine.route(default(lan), 0, host(lan, 3))
        lan.engine.route(default(lan), 0, host(lan, 4, 1), 1)
        assert goes(lan, far(lan, 1)) == (3, host(lan, 2))
        lan.engine.del_route(default(lan), 0, host(lan, 3))
        assert goes(lan, far(lan, 1)) == (0x14, host(lan, 2, 1))

    def test_what_is_on_the_link_needs_no_gateway(self, lan: Lan) -> None:
        lan = self.prepare(lan)
        assert goes(lan, host(lan, 7)) == (7, host(lan, 2))
        assert goes(lan, host(lan, 7, 1)) == (0x17, host(lan, 2, 1))
        lan.engine.route(far(lan, 0), 24 if lan.version == 4 else 64, default(lan))
        lan.engine.neighbour(far(lan, 8), mac(8))
        assert goes(lan, far(lan, 8)) == (8, host(lan, 2))

    def test_without_a_route_nothing_is_sent(self, lan: Lan) -> None:
        sock = lan.engine.udp()
        with pytest.raises(OSError) as told:
            lan.engine.sendto(sock, b"x", far(lan, 1), 9)
        assert told.value.errno == errno.ENETUNREACH
        assert lan.engine.path_mtu(far(lan, 1)) == 0
        assert lan.echo(src=far(lan, 1)) == []
        assert lan.moved() == {"ip.drop.noroute": 1}

    def test_the_path_has_the_mtu_of_its_interface(self, lan: Lan) -> None:
        lan.engine.add_iface(MAC_B, 9000)
        lan.engine.add_addr(host(lan, 2, 1), 24 if lan.version == 4 else 64, 1)
        assert lan.engine.path_mtu(host(lan, 3)) == 1500
        assert lan.engine.path_mtu(host(lan, 3, 1)) == 9000

    def test_the_table_of_routes_is_bounded(self, lan: Lan) -> None:
        for i in range(lib.UST_MAX_ROUTES):
            lan.engine.route(far(lan, 0), 24, host(lan, 3 + i % 5))
        with pytest.raises(OSError, match="No space"):
            lan.engine.route(far(lan, 0), 24, host(lan, 3))

    def test_calls_that_make_no_sense_are_refused(self, lan: Lan) -> None:
        engine, bits = lan.engine, 33 if lan.version == 4 else 129
        for act in (
            lambda: engine.route(far(lan, 0), bits, host(lan, 3)),
            lambda: engine.route(far(lan, 0), 24, host(lan, 3), 1),
            lambda: engine.route(far(lan, 0), 24, host(lan, 3), -1),
            lambda: engine.del_route(far(lan, 0), bits),
            lambda: engine.add_addr(host(lan, 5), bits),
            lambda: engine.add_addr(host(lan, 5), 24, 1),
            lambda: engine.add_addr(default(lan), 24),
            lambda: engine.add_addr("224.0.0.1" if lan.version == 4 else "ff02::1", 24),
            lambda: engine.neighbour(host(lan, 5), frames.BROADCAST),
            lambda: engine.neighbour(host(lan, 5), mac(1), 1),
            lambda: engine.add_iface(frames.BROADCAST),
            lambda: engine.add_iface(MAC_B, 67),
            lambda: engine.add_iface(MAC_B, 65536),
        ):
            with pytest.raises(OSError) as told:
                act()
            assert told.value.errno == errno.EINVAL
        for act, number in (
            (lambda: engine.del_route(far(lan, 0), 24), errno.ESRCH),
            (lambda: engine.del_addr(host(lan, 5)), errno.EADDRNOTAVAIL),
            (lambda: engine.forget_neighbour(host(lan, 5)), errno.ENOENT),
            (lambda: engine.add_addr(lan.us, 24), errno.EEXIST),
        ):
            with pytest.raises(OSError) as told:
                act()
            assert told.value.errno == number

    def test_tables_of_interfaces_and_addresses_are_bounded(self, lan: Lan) -> None:
        for _ in range(lib.UST_MAX_IFACES - 1):
            lan.engine.add_iface(MAC_B)
        with pytest.raises(OSError, match="No space"):
            lan.engine.add_iface(MAC_B)
        have = len(lan.engine.addrs())
        for n in range(have, lib.UST_MAX_ADDRS):
            lan.engine.add_addr(host(lan, 20 + n), 64 if lan.version == 6 else 24)
        with pytest.raises(OSError, match="No space"):
            lan.engine.add_addr(host(lan, 99), 64 if lan.version == 6 else 24)

    def test_a_removed_address_is_not_ours_any_more(self, lan: Lan) -> None:
        lan.learn()
        assert len(lan.echo()) == 1
        lan.engine.del_addr(lan.us)
        assert lan.echo() == []
        assert lan.moved().keys() == {"ip.drop.dst" if lan.version == 4 else "ip6.drop.dst"}

    @staticmethod
    def prepare(lan: Lan) -> Lan:
        second = lan.engine.add_iface(MAC_B)
        lan.engine.add_addr(host(lan, 2, 1), 24 if lan.version == 4 else 64, second)
        for n in range(3, 10):
            lan.engine.neighbour(host(lan, n), mac(n))
            lan.engine.neighbour(host(lan, n, 1), mac(0x10 + n), second)
        list(lan.engine.output())
        return lan


def test_an_ipv4_source_is_of_the_next_hops_network() -> None:
    """RFC 1122 3.3.4.3."""
    lan = Lan()
    lan.engine.add_addr("10.9.0.2", 16)
    lan.engine.add_addr("10.0.0.4", 25)
    lan.engine.neighbour("10.9.0.1", mac(9))
    lan.engine.route("192.0.2.0", 24, "10.9.0.1")
    list(lan.engine.output())
    assert goes(lan, "192.0.2.1") == (9, "10.9.0.2")


#: RFC 6724 5: our addresses, the destination, the source that is chosen.
RULES = {
    "scope (2): a link-local one": (["fd00::5"], "fe80::9", "fe80::ff:fe00:2"),
    "scope (2): a global one": (["2001:db8::2"], "2001:db8:f::1", "2001:db8::2"),
    "longest prefix (8)": (["2001:db8:1::2", "2001:db8:2::2"], "2001:db8:2::9", "2001:db8:2::2"),
    "longest prefix (8), afar": (["2001:db8::2", "2a00::2"], "2a00:1::1", "2a00::2"),
    "of a group of the link": (["2001:db8::2"], "ff02::1", "fe80::ff:fe00:2"),
}


@pytest.mark.parametrize("rule", RULES)
def test_an_ipv6_source_is_chosen_by_the_rules(lan6: Lan, rule: str) -> None:
    addresses, dst, source = RULES[rule]
    for address in addresses:
        lan6.engine.add_addr(address, 64)
    lan6.engine.route("::", 0, "fe80::9")
    for neighbour in ("fe80::9", "2001:db8:2::9"):
        lan6.engine.neighbour(neighbour, mac(9))
    assert goes(lan6, dst)[1] == source


def test_a_tentative_address_is_no_source() -> None:
    lan = Lan(version=6)
    lan.engine.set("ip6.dad_transmits", 1)
    lan.engine.route("::", 0, lan.them)
    lan.engine.neighbour(lan.them, mac(1))
    lan.engine.add_addr("2001:db8::2", 64)
    list(lan.engine.output())
    assert goes(lan, "2001:db8:f::1")[1] == lan.us
    lan.wait(2)
    assert goes(lan, "2001:db8:f::1")[1] == "2001:db8::2"


def test_an_ipv6_prefix_holds_no_ipv4_addresses() -> None:
    """Mapped addresses begin with 80 zeros, as ::/64 does."""
    lan = Lan(version=6)
    lan.engine.add_addr("::1:2", 64)
    lan.engine.add_addr("10.0.0.2", 24)
    assert lan.engine.path_mtu("192.0.2.1") == 0
    assert lan.engine.path_mtu("::1:9") == 1500


def test_a_hop_limit_is_that_of_the_interfaces_router() -> None:
    """Two routers on two links advertise two hop limits."""
    lan = Lan({"ip6.accept_ra": 1}, version=6)
    lan.engine.add_iface(MAC_B)
    lan.engine.enable_ipv6(1)
    for iface, hops in ((0, 10), (1, 20)):
        rest = bytes([hops, 0, 0, 0])
        body = frames.icmp6(
            frames.packed("fe80::1"), frames.packed("ff02::1"), 134, 0, rest, bytes(8)
        )
        packet = frames.ipv6(frames.packed("fe80::1"), frames.packed("ff02::1"), 58, body, ttl=255)
        frame = frames.ip_frame(b"\x33\x33\0\0\0\1", mac(1), packet)
        lan.engine.inject(frame, iface=iface)
    lan.engine.add_addr("fd01::2", 64, 1)
    lan.engine.neighbour("fd00::1", mac(1))
    lan.engine.neighbour("fd01::1", mac(1), 1)
    list(lan.engine.output())
    sock = lan.engine.udp("::", 9)
    lan.engine.sendto(sock, b"x", "fd00::1", 9)
    lan.engine.sendto(sock, b"x", "fd01::1", 9)
    assert [frames.check_ip(frame)[2] for frame in lan.engine.output()] == [10, 20]


def test_a_frame_of_no_interface_is_dropped(lan: Lan) -> None:
    lan.engine.inject(bytes(60), iface=2)
    assert lan.moved() == {"eth.drop.iface": 1}
