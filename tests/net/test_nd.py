# SPDX-License-Identifier: BSD-3-Clause
"""Neighbour discovery (RFC 4861), duplicate addresses and autoconfiguration (RFC 4862)."""

from __future__ import annotations

import ipaddress
import struct

import pytest

import frames
import rig
from frames import PROTO_ICMP6
from lan import (
    ALL_NODES,
    HOST_IP6,
    HOST_MAC,
    NA,
    NS,
    OUR_IP6,
    OUR_MAC,
    OVERRIDE,
    RA,
    ROUTER,
    RS,
    SOLICITED,
    Lan,
    dst_mac,
    icmp_bytes,
    kind_of,
    link_address,
    solicited_node,
)

OTHER_MAC = bytes.fromhex("020000000009")
LINK_LOCAL = "fe80::ff:fe00:2"
ROUTER_IP, ROUTER_MAC = "fe80::1", bytes.fromhex("020000000051")
PREFIX, AUTO = "2001:db8:1::", "2001:db8:1::ff:fe00:2"
INFINITE = 0xFFFFFFFF


def prefix_option(
    prefix: str = PREFIX,
    length: int = 64,
    flags: int = 0xC0,
    valid: int = 7200,
    preferred: int = 3600,
) -> bytes:
    """RFC 4861 4.6.2. flags: 0x80 on-link, 0x40 autonomous."""
    head = struct.pack("!BBBBIII", 3, 4, length, flags, valid, preferred, 0)
    return head + frames.packed(prefix)


def mtu_option(mtu: int) -> bytes:
    return struct.pack("!BBHI", 5, 1, 0, mtu)


def advertise(
    lan: Lan,
    *options: bytes,
    lifetime: int = 1800,
    hop: int = 0,
    src: str = ROUTER_IP,
    **fields: int,
) -> list[bytes]:
    """A router advertisement: then the times, then options."""
    rest = struct.pack("!BBH", hop, 0, lifetime)
    payload = bytes(8) + b"".join(options)
    return lan.nd(RA, None, payload, src=src, rest=rest, src_mac=ROUTER_MAC, **fields)  # type: ignore[arg-type]


@pytest.fixture
def auto() -> Lan:
    """An engine that heeds routers, its beginning over."""
    lan = Lan({"ip6.accept_ra": 1}, version=6)
    lan.wait(20)
    return lan


def use(lan: Lan, ip: str = HOST_IP6) -> list[bytes]:
    """Make the engine send a packet to a host; what comes out."""
    handle = lan.engine.udp("::", 0)
    lan.engine.sendto(handle, b"x", ip, 9)
    lan.engine.close(handle)
    return list(lan.engine.output())


def states(lan: Lan, ip: str = HOST_IP6) -> str:
    return lan.engine.neighbours().get(ip, ("", b""))[0]


# ------------------------------------------------------------------ solicitations


def test_a_solicitation_is_answered_to_its_sender(lan6: Lan) -> None:
    """RFC 4861 7.2.4."""
    (answer,) = lan6.nd(NS, OUR_IP6, link_address(1, HOST_MAC))
    ip6, body = frames.check_ipv6(answer), icmp_bytes(answer)
    assert (ip6.src, ip6.dst, ip6.hlim, dst_mac(answer)) == (OUR_IP6, HOST_IP6, 255, HOST_MAC)
    assert (kind_of(answer), body[4]) == ((NA, 0), SOLICITED | OVERRIDE)
    assert body[8:] == frames.packed(OUR_IP6) + link_address(2, OUR_MAC)
    assert lan6.engine.neighbours()[HOST_IP6] == ("DELAY", HOST_MAC)  # stale, and used at once
    assert lan6.stats["nd.in.ns"] == lan6.stats["nd.out.na"] == 1


def test_a_probe_for_our_address_is_answered_to_everybody(lan6: Lan) -> None:
    """RFC 4861 7.2.4; RFC 4862 5.4.4."""
    (answer,) = lan6.nd(NS, OUR_IP6, src="::")
    ip6, body = frames.check_ipv6(answer), icmp_bytes(answer)
    assert (ip6.dst, body[4], dst_mac(answer)) == (ALL_NODES, OVERRIDE, b"\x33\x33\0\0\0\1")
    assert lan6.engine.usage().neighs == 0


def test_a_solicitation_without_a_source_address_option_is_answered_after_asking(lan6: Lan) -> None:
    (question,) = lan6.nd(NS, OUR_IP6, dst=OUR_IP6)
    assert kind_of(question) == (NS, 0)
    (answer,) = lan6.nd(NA, HOST_IP6, link_address(2, HOST_MAC), flags=SOLICITED)
    assert kind_of(answer) == (NA, 0)


def test_an_address_of_another_host_is_not_answered_for(lan6: Lan) -> None:
    assert lan6.nd(NS, "fd00::77", dst=solicited_node(OUR_IP6)) == []
    assert lan6.moved() == {"nd.drop.target": 1}


def test_an_address_of_another_interface_is_not_answered_for(lan6: Lan) -> None:
    other = lan6.engine.add_iface(bytes.fromhex("020000000003"))
    lan6.engine.add_addr("fd01::2", 64, other)
    assert lan6.nd(NS, "fd01::2", link_address(1, HOST_MAC)) == []
    assert lan6.nd(NA, "fd01::2", link_address(2, HOST_MAC)) == []
    assert lan6.moved() == {"nd.drop.target": 1, "nd.drop.unasked": 1}


def test_a_mapped_address_is_no_target(lan6: Lan) -> None:
    """ND must not speak for ARP's neighbours."""
    lan6.engine.add_addr("10.0.0.2", 24)
    lan6.arp(frames.ARP_REQUEST)
    before = lan6.engine.neighbours()
    mapped = b"".join([bytes(10), b"\xff\xff", bytes([10, 0, 0])])
    for kind, last in ((NS, 2), (NA, 1), (NA, 2)):
        rest = struct.pack("!I", (SOLICITED | OVERRIDE) << 24 if kind == NA else 0)
        payload = mapped + bytes([last]) + link_address(2 if kind == NA else 1, OTHER_MAC)
        assert lan6.nd(kind, None, payload, dst=OUR_IP6, rest=rest) == []
    assert lan6.moved() == {"nd.drop.malformed": 3}
    assert lan6.engine.neighbours() == before


MALFORMED = [
    (NS, {"target": "ff02::1", "dst": ALL_NODES}),
    (NS, {"target": "::", "dst": ALL_NODES}),
    (NA, {"target": "ff02::1"}),
    (NS, {"target": OUR_IP6, "code": 1}),
    (NA, {"target": HOST_IP6, "code": 9}),
    (NS, {"target": OUR_IP6, "src": "::", "options": link_address(1, HOST_MAC)}),
    (NS, {"target": OUR_IP6, "src": "::", "dst": ALL_NODES}),
    (NA, {"target": HOST_IP6, "dst": ALL_NODES, "flags": SOLICITED}),
    (NS, {"target": OUR_IP6, "options": bytes(8)}),
    (NA, {"target": HOST_IP6, "options": bytes([2, 0]) + HOST_MAC}),
    (NS, {"target": OUR_IP6, "options": link_address(1, HOST_MAC)[:7]}),
    (NS, {"target": OUR_IP6, "options": bytes([1, 2]) + HOST_MAC}),
    (NS, {"target": OUR_IP6, "options": link_address(1, frames.BROADCAST)}),
    (NA, {"target": HOST_IP6, "options": link_address(2, b"\x33\x33\0\0\0\1")}),
    (RA, {"rest": bytes(4), "src": ROUTER_IP, "options": bytes(7)}),
    (RA, {"rest": bytes(4), "src": ROUTER_IP, "options": bytes(8) + bytes([3, 0])}),
    (RS, {"rest": b"", "src": HOST_IP6}),
]


@pytest.mark.parametrize(("kind", "fields"), MALFORMED, ids=str)
def test_a_malformed_message_teaches_nothing(
    auto: Lan, kind: int, fields: dict[str, object]
) -> None:
    """RFC 4861 6.1, 7.1; 4.6: an option of length 0."""
    auto.learn()
    auto.stats.base = auto.engine.counters()
    before = auto.engine.neighbours(), auto.engine.addrs().keys()
    assert auto.nd(kind, **fields) == []  # type: ignore[arg-type]
    drop = "icmp.drop.short" if kind == RS else "nd.drop.malformed"
    assert auto.moved() == {drop: 1}
    assert (auto.engine.neighbours(), auto.engine.addrs().keys()) == before


@pytest.mark.parametrize("kind", [NS, NA, RA, RS, 137])
@pytest.mark.parametrize("ttl", [0, 1, 64, 254])
def test_a_message_that_crossed_a_router_is_dropped(auto: Lan, kind: int, ttl: int) -> None:
    """RFC 4861 6.1, 7.1: hop limit 255."""
    auto.stats.base = auto.engine.counters()
    assert auto.nd(kind, OUR_IP6, bytes(24), ttl=ttl, dst=OUR_IP6, src=ROUTER_IP) == []
    assert auto.moved() == {"nd.drop.hoplimit": 1}


@pytest.mark.parametrize("length", range(4, 24))
def test_a_truncated_message_is_dropped(lan6: Lan, length: int) -> None:
    ends = frames.packed(HOST_IP6), frames.packed(OUR_IP6)
    body = frames.icmp6(*ends, NS, 0, (bytes(4) + frames.packed(OUR_IP6))[: length - 4])
    assert lan6.ip(PROTO_ICMP6, body, ttl=255) == []
    drop = "icmp.drop.short" if length < 8 else "nd.drop.malformed"
    assert lan6.moved() == {drop: 1}


def test_a_message_in_fragments_is_dropped(lan6: Lan) -> None:
    """RFC 6980."""
    ends = frames.packed(HOST_IP6), frames.packed(OUR_IP6)
    body = frames.icmp6(
        *ends, NS, 0, bytes(4), frames.packed(OUR_IP6) + link_address(1, HOST_MAC) * 2
    )
    for offset, more in ((0, 1), (24, 0)):
        part = body[offset:][: 24 if more else None]
        head = struct.pack("!BBHI", PROTO_ICMP6, 0, offset | more, 1)
        assert lan6.ip(44, head + part, ttl=255) == []
    assert lan6.moved() == {"nd.drop.malformed": 1}
    assert lan6.engine.usage().neighs == 0


def test_redirects_and_router_solicitations_are_ignored(lan6: Lan) -> None:
    """RFC 4861 8.3 lets a host ignore redirects; we are no router."""
    ours = frames.packed(OUR_IP6)
    assert lan6.nd(137, HOST_IP6, ours, dst=OUR_IP6) == lan6.nd(RS, None, dst="ff02::1") == []
    assert lan6.moved() == {"icmp.drop.type": 2}


# ------------------------------------------------------------------ advertisements


def test_a_host_is_asked_for_in_its_group_and_gets_what_waits(lan6: Lan) -> None:
    """RFC 4861 7.2.2."""
    (question,) = use(lan6)
    ip6, body = frames.check_ipv6(question), icmp_bytes(question)
    assert (ip6.src, ip6.dst, ip6.hlim) == (OUR_IP6, solicited_node(HOST_IP6), 255)
    assert dst_mac(question) == bytes.fromhex("3333ff000001")
    assert body[8:] == frames.packed(HOST_IP6) + link_address(1, OUR_MAC)
    assert states(lan6) == "INCOMPLETE"
    (datagram,) = lan6.nd(NA, HOST_IP6, link_address(2, HOST_MAC), flags=SOLICITED | OVERRIDE)
    assert dst_mac(datagram) == HOST_MAC
    assert states(lan6) == "REACHABLE"


def test_an_advertisement_nobody_asked_for_makes_no_entry(lan6: Lan) -> None:
    """RFC 4861 7.2.5."""
    assert lan6.nd(NA, HOST_IP6, link_address(2, HOST_MAC), flags=OVERRIDE) == []
    assert lan6.moved() == {"nd.drop.unasked": 1}
    assert lan6.engine.usage().neighs == 0


#: flags of an advertisement with this MAC (None: no option), for an entry REACHABLE at HOST_MAC
RULES = [
    (SOLICITED | OVERRIDE, OTHER_MAC, ("REACHABLE", OTHER_MAC)),
    (OVERRIDE, OTHER_MAC, ("STALE", OTHER_MAC)),
    (SOLICITED, OTHER_MAC, ("STALE", HOST_MAC)),
    (0, OTHER_MAC, ("STALE", HOST_MAC)),
    (SOLICITED, HOST_MAC, ("REACHABLE", HOST_MAC)),
    (OVERRIDE, HOST_MAC, ("REACHABLE", HOST_MAC)),
    (0, HOST_MAC, ("REACHABLE", HOST_MAC)),
    (SOLICITED, None, ("REACHABLE", HOST_MAC)),
    (0, None, ("REACHABLE", HOST_MAC)),
]


@pytest.mark.parametrize(("flags", "mac", "result"), RULES)
def test_an_advertisement_changes_a_reachable_entry_by_its_flags(
    lan6: Lan, flags: int, mac: bytes | None, result: tuple[str, bytes]
) -> None:
    """RFC 4861 7.2.5, appendix C."""
    use(lan6)
    lan6.nd(NA, HOST_IP6, link_address(2, HOST_MAC), flags=SOLICITED | OVERRIDE)
    lan6.nd(NA, HOST_IP6, link_address(2, mac) if mac else b"", flags=flags)
    assert lan6.engine.neighbours()[HOST_IP6] == result


@pytest.mark.parametrize(
    ("flags", "mac", "state"),
    [(0, HOST_MAC, "STALE"), (SOLICITED, HOST_MAC, "REACHABLE"), (SOLICITED, None, "INCOMPLETE")],
)
def test_an_advertisement_completes_an_entry_only_with_an_address(
    lan6: Lan, flags: int, mac: bytes | None, state: str
) -> None:
    """RFC 4861 7.2.5."""
    use(lan6)
    lan6.nd(NA, HOST_IP6, link_address(2, mac) if mac else b"", flags=flags)
    assert states(lan6) == state


def test_a_permanent_entry_is_not_changed(lan6: Lan) -> None:
    lan6.engine.neighbour(HOST_IP6, HOST_MAC)
    lan6.nd(NA, HOST_IP6, link_address(2, OTHER_MAC), flags=OVERRIDE)
    lan6.nd(NS, OUR_IP6, link_address(1, OTHER_MAC))
    assert lan6.engine.neighbours()[HOST_IP6] == ("PERMANENT", HOST_MAC)
    assert lan6.moved() == {"nd.drop.unasked": 1}


def test_an_advertisement_of_our_own_address_is_a_conflict_only(lan6: Lan) -> None:
    """RFC 4862 5.4.4: on an address in use it is for the operator to see."""
    assert lan6.nd(NA, OUR_IP6, link_address(2, OTHER_MAC), flags=OVERRIDE) == []
    assert lan6.stats["arp.conflict"] == 1
    assert OUR_IP6 in lan6.engine.addrs()


def test_unreachability_is_found_out(lan6: Lan) -> None:
    """RFC 4861 7.3.3: STALE, DELAY for 5 s, three unicast probes, gone."""
    lan6.learn()
    assert [dst_mac(frame) for frame in use(lan6)] == [HOST_MAC]
    assert states(lan6) == "DELAY"
    assert lan6.wait(4.99) == []
    probes = lan6.wait(2.99)
    assert states(lan6) == "PROBE"
    assert [(kind_of(p), dst_mac(p), frames.check_ipv6(p).dst) for p in probes] == [
        ((NS, 0), HOST_MAC, HOST_IP6)
    ] * 3
    assert lan6.wait(0.1) == []
    assert states(lan6) == "FAILED"
    assert use(lan6) == []
    assert lan6.moved() == {"neigh.drop.failed": 1}
    lan6.wait(1)
    assert states(lan6) == ""


# ------------------------------------------------------------------ our addresses


def test_an_address_is_tentative_until_nobody_has_objected() -> None:
    """RFC 4862 5.4."""
    lan = Lan({"ip6.dad_transmits": 2}, version=6)
    asked = {str(ipaddress.ip_address(icmp_bytes(p)[8:24])) for p in lan.first}
    assert asked == {OUR_IP6, LINK_LOCAL}
    for probe in lan.first:
        ip6 = frames.check_ipv6(probe)
        assert (ip6.src, ip6.hlim, len(icmp_bytes(probe))) == ("::", 255, 24)
    assert lan.engine.addrs()[OUR_IP6].flags == rig.lib.UST_ADDR_TENTATIVE
    assert not rig.lib.ust_engine_owns(lan.engine.raw, rig.addr(OUR_IP6))
    assert lan.nd(NS, OUR_IP6, link_address(1, HOST_MAC)) == lan.echo() == []
    assert lan.moved() == {"nd.drop.target": 1, "ip6.drop.dst": 1}
    assert len(lan.wait(1.5)) == 2
    assert lan.wait(0.6) == []
    assert lan.engine.addrs()[OUR_IP6].flags == 0
    assert len(lan.nd(NS, OUR_IP6, link_address(1, HOST_MAC))) == 1


@pytest.mark.parametrize("kind", [NS, NA])
def test_a_duplicate_address_is_given_up(kind: int) -> None:
    """RFC 4862 5.4.3, 5.4.4."""
    lan = Lan({"ip6.dad_transmits": 1}, version=6)
    if kind == NS:
        lan.nd(NS, OUR_IP6, src="::")
    else:
        lan.nd(NA, OUR_IP6, link_address(2, OTHER_MAC), dst=ALL_NODES)
    assert list(lan.engine.addrs()) == [LINK_LOCAL]
    assert lan.stats["nd.dad.failed"] == 1
    lan.wait(2)
    assert lan.engine.addrs()[LINK_LOCAL].flags == 0
    lan.engine.check()


def test_dad_of_a_moved_entry_goes_on() -> None:
    """The table closes the gap of a removed address; timers move along."""
    lan = Lan({"ip6.dad_transmits": 1}, version=6)
    lan.wait(0.5)
    lan.engine.add_addr("fd00::7", 64)
    lan.engine.del_addr(OUR_IP6)
    lan.wait(0.6)
    assert lan.engine.addrs()["fd00::7"].flags == rig.lib.UST_ADDR_TENTATIVE
    lan.wait(0.5)
    assert lan.engine.addrs()["fd00::7"].flags == 0
    lan.engine.check()


def test_routers_are_solicited_three_times() -> None:
    """RFC 4861 6.3.7."""
    lan = Lan({"ip6.accept_ra": 1}, version=6)
    out = lan.wait(30)
    assert [kind_of(frame) for frame in out] == [(RS, 0)] * 3
    for frame in out:
        ip6 = frames.check_ipv6(frame)
        assert (ip6.src, ip6.dst, ip6.hlim) == (LINK_LOCAL, "ff02::2", 255)
        assert icmp_bytes(frame)[8:] == link_address(1, OUR_MAC)


def test_an_answer_ends_the_soliciting() -> None:
    lan = Lan({"ip6.accept_ra": 1}, version=6)
    assert len(lan.wait(1.5)) == 1
    advertise(lan)
    assert [frame for frame in lan.wait(30) if kind_of(frame) == (RS, 0)] == []


def test_a_tentative_address_solicits_without_naming_itself() -> None:
    """RFC 4861 4.1: no source address option from ::."""
    lan = Lan({"ip6.accept_ra": 1, "ip6.dad_transmits": 3}, version=6)
    solicitations = [f for f in lan.wait(1.5) if kind_of(f) == (RS, 0)]
    assert [(frames.check_ipv6(f).src, len(icmp_bytes(f))) for f in solicitations] == [("::", 8)]


# ------------------------------------------------------------------ routers


def test_an_advertisement_gives_an_address_and_a_route(auto: Lan) -> None:
    """RFC 4862 5.5.3; RFC 4861 6.3.4."""
    advertise(auto, prefix_option(), link_address(1, ROUTER_MAC), hop=17)
    row = auto.engine.addrs()[AUTO]
    assert (row.prefix_len, row.flags) == (64, rig.lib.UST_ADDR_AUTO)
    assert row.valid_until == auto.engine.now + 7200 * rig.SECOND
    assert auto.engine.routes() == [("::", 0, ROUTER_IP)]
    (datagram,) = use(auto, "2001:db8:9::1")
    ip6 = frames.check_ipv6(datagram)
    assert (ip6.src, ip6.hlim, dst_mac(datagram)) == (AUTO, 17, ROUTER_MAC)


def test_advertisements_are_not_heeded_unless_asked_for(lan6: Lan) -> None:
    advertise(lan6, prefix_option())
    assert lan6.moved() == {"nd.drop.ra": 1}
    assert lan6.engine.routes() == []


def test_only_link_local_routers_are_believed(auto: Lan) -> None:
    """RFC 4861 6.1.2."""
    advertise(auto, prefix_option(), src="fd00::51")
    assert auto.moved() == {"nd.drop.ra": 1}
    assert AUTO not in auto.engine.addrs()


def test_a_router_lifetime_of_0_ends_its_route(auto: Lan) -> None:
    """RFC 4861 6.3.4."""
    advertise(auto)
    advertise(auto, lifetime=0)
    assert auto.engine.routes() == []
    advertise(auto, lifetime=0)
    assert auto.engine.routes() == []


def test_a_router_is_forgotten_when_its_lifetime_ends(auto: Lan) -> None:
    advertise(auto, prefix_option(), lifetime=60)
    auto.wait(59)
    assert use(auto, "2001:db8:9::1")
    auto.wait(2)
    with pytest.raises(OSError, match="unreachable"):
        use(auto, "2001:db8:9::1")


@pytest.mark.parametrize("first", [60, 1800], ids=["as it was said", "shortened"])
def test_a_way_that_is_remembered_ends_with_its_routers_lifetime(auto: Lan, first: int) -> None:
    """RFC 4861 6.3.4. Who answers an echo asks for no route but by sending."""
    auto.engine.neighbour(ROUTER_IP, ROUTER_MAC)  # for ever, so that it does not end the way
    advertise(auto, prefix_option(), lifetime=first)
    auto.wait(20)
    assert auto.echo(src="2001:db8:9::1", dst=AUTO)
    if first > 60:
        advertise(auto, prefix_option(), lifetime=60)
    auto.wait(39)
    assert auto.echo(src="2001:db8:9::1", dst=AUTO)
    auto.wait(22)
    assert auto.echo(src="2001:db8:9::1", dst=AUTO) == []


def test_a_neighbour_that_routes_no_more_loses_its_route(auto: Lan) -> None:
    """RFC 4861 7.2.5: the R flag cleared."""
    advertise(auto, link_address(1, ROUTER_MAC))
    auto.nd(NA, ROUTER_IP, link_address(2, ROUTER_MAC), flags=SOLICITED | ROUTER)
    assert auto.engine.routes() == [("::", 0, ROUTER_IP)]
    auto.nd(NA, ROUTER_IP, link_address(2, ROUTER_MAC), flags=SOLICITED)
    assert auto.engine.routes() == []


def test_a_configured_route_is_not_touched_by_advertisements(auto: Lan) -> None:
    auto.engine.route("::", 0, ROUTER_IP)
    auto.engine.route(PREFIX, 64, "fe80::99")
    advertise(auto, prefix_option(flags=0x80, valid=1, preferred=1), lifetime=1)
    auto.wait(2)
    advertise(auto, prefix_option(flags=0x80, valid=0, preferred=0), lifetime=0)
    assert auto.engine.routes() == [("::", 0, ROUTER_IP), (PREFIX, 64, "fe80::99")]


def test_a_prefix_may_be_on_the_link_without_an_address(auto: Lan) -> None:
    advertise(auto, prefix_option(flags=0x80), prefix_option("2001:db8:2::", 48, 0xC0), lifetime=0)
    assert auto.engine.routes() == [(PREFIX, 64, "::"), ("2001:db8:2::", 48, "::")]
    assert len(auto.engine.addrs()) == 2


def test_an_address_may_come_without_the_link(auto: Lan) -> None:
    """RFC 4861 6.3.4: A without L."""
    advertise(auto, prefix_option(flags=0x40), link_address(1, ROUTER_MAC))
    (datagram,) = use(auto, "2001:db8:1::99")
    assert dst_mac(datagram) == ROUTER_MAC


BAD_PREFIXES = [
    prefix_option("fe80::"),
    prefix_option("ff0e::"),
    prefix_option("::"),
    prefix_option("::ffff:0:0", 96, 0x80),
    prefix_option(preferred=7201),
    prefix_option(length=129, flags=0x80),
    prefix_option(flags=0),
    prefix_option(valid=0, preferred=0),
    prefix_option(valid=0, preferred=0, flags=0x40),
    bytes([3, 3]) + bytes(22),
]


@pytest.mark.parametrize("option", BAD_PREFIXES, ids=lambda option: option.hex()[:12])
def test_a_prefix_that_makes_no_sense_is_ignored(auto: Lan, option: bytes) -> None:
    """RFC 4862 5.5.3 (a) to (d)."""
    advertise(auto, option, lifetime=0)
    assert auto.engine.routes() == []
    assert len(auto.engine.addrs()) == 2


def test_a_lifetime_is_not_shortened_below_two_hours(auto: Lan) -> None:
    """RFC 4862 5.5.3 (e)."""
    hours = 3600 * rig.SECOND

    def left() -> float:
        return (auto.engine.addrs()[AUTO].valid_until - auto.engine.now) / hours

    advertise(auto, prefix_option(valid=4 * 3600))
    advertise(auto, prefix_option(valid=60, preferred=60))
    assert left() == 2  # it was more: not less than two hours now
    auto.wait(3600)
    advertise(auto, prefix_option(valid=60, preferred=60))
    assert left() == 1  # it was less: ignored
    advertise(auto, prefix_option(valid=2 * 3600 - 60))
    assert left() == pytest.approx(2 - 60 / 3600)  # longer than what remained
    advertise(auto, prefix_option(valid=3 * 3600))
    assert left() == 3  # more than two hours
    advertise(auto, prefix_option(valid=INFINITE, preferred=INFINITE))
    assert auto.engine.addrs()[AUTO].valid_until == rig.NEVER


def test_an_address_ends_with_its_lifetime(auto: Lan) -> None:
    advertise(auto, prefix_option(valid=100, preferred=50))
    auto.wait(99)
    assert AUTO in auto.engine.addrs()
    auto.wait(2)
    assert AUTO not in auto.engine.addrs()
    auto.engine.check()


def test_a_configured_address_is_not_touched_by_advertisements(auto: Lan) -> None:
    auto.engine.add_addr(AUTO, 64)
    advertise(auto, prefix_option(valid=10800, preferred=10800))
    advertise(auto, prefix_option(valid=0, preferred=0))
    assert auto.engine.addrs()[AUTO].valid_until == rig.NEVER
    assert auto.engine.addrs()[AUTO].flags == 0


def test_a_deprecated_address_is_not_chosen_while_there_is_another(auto: Lan) -> None:
    """RFC 6724 5, rule 3."""
    advertise(auto, prefix_option(preferred=10), link_address(1, ROUTER_MAC))
    auto.engine.neighbour(ROUTER_IP, ROUTER_MAC)
    assert frames.check_ipv6(use(auto, "2001:db8:9::1")[0]).src == AUTO
    auto.wait(11)
    assert frames.check_ipv6(use(auto, "2001:db8:9::1")[0]).src == OUR_IP6


@pytest.mark.parametrize(
    ("option", "mtu"), [(1280, 1280), (1400, 1400), (1500, 1500), (1279, 1500), (9000, 1500)]
)
def test_an_mtu_option_is_obeyed_within_reason(auto: Lan, option: int, mtu: int) -> None:
    """RFC 4861 6.3.4."""
    advertise(auto, mtu_option(option), link_address(1, ROUTER_MAC))
    assert auto.engine.path_mtu(HOST_IP6) == auto.engine.path_mtu("2001:db8::9") == mtu
    auto.learn()
    reply = auto.echo(bytes(1500 - 48))
    assert max(map(len, reply)) - 14 <= mtu
    assert len(reply) == (1 if mtu == 1500 else 2)


def test_a_flood_of_advertisements_leaves_room() -> None:

    lan = Lan({"ip6.accept_ra": 1}, version=6)
    for i in range(200):
        options = [prefix_option(f"2001:db8:{i:x}::"), prefix_option(f"2001:db8:{i:x}::", 48, 0x80)]
        advertise(lan, *options, src=f"fe80::{i + 1:x}")
    assert len(lan.engine.addrs()) <= 2 + rig.lib.UST_MAX_ADDRS // 2
    assert len(lan.engine.routes()) <= rig.lib.UST_MAX_ROUTES // 2
    lan.engine.add_addr("fd00::77", 64)
    lan.engine.route("fd05::", 64, HOST_IP6)
    lan.engine.check()


def test_expired_routes_make_room_for_new_ones(auto: Lan) -> None:
    for i in range(100):
        advertise(auto, lifetime=1, src=f"fe80::{i + 1:x}")
        auto.wait(2)
    advertise(auto, lifetime=1000)
    assert auto.engine.routes() == [("::", 0, ROUTER_IP)]


def test_ipv6_is_enabled_once() -> None:
    lan = Lan()
    lan.engine.enable_ipv6()
    lan.engine.enable_ipv6()
    assert list(lan.engine.addrs()) == ["10.0.0.2", LINK_LOCAL]


def test_no_mbuf_means_no_answer() -> None:
    lost = 0
    for nth in range(2, 5):  # the first is the frame itself
        lan = Lan(version=6)
        rig.lib.ust_engine_fail_alloc(lan.engine.raw, nth, False)
        lan.nd(NS, OUR_IP6, link_address(1, HOST_MAC))
        lan.engine.check()
        lost += lan.stats["ip.drop.nombuf"]
    assert lost == 1
