# SPDX-License-Identifier: BSD-3-Clause
"""ARP (RFC 826, RFC 1122 2.3.2, RFC 5227) and the neighbour table."""

from __future__ import annotations

import errno

import pytest

import frames
import rig
from frames import ARP_REPLY, ARP_REQUEST, BROADCAST
from lan import HOST_IP, HOST_MAC, NO_MAC, OUR_IP, OUR_MAC, Lan, arp_of, dst_mac, is_arp

OTHER_IP, OTHER_MAC = "10.0.0.9", bytes.fromhex("020000000009")


def syn_to(lan: Lan, ip: str, port: int = 80) -> None:
    """Make the engine want to send a packet to a host."""
    lan.engine.connect(ip, port)


def macs_used(out: list[bytes]) -> list[bytes]:
    """Where the IP frames among these go."""
    return [dst_mac(frame) for frame in out if not is_arp(frame)]


def test_a_request_for_our_address_is_answered_to_its_sender(lan: Lan) -> None:
    """RFC 826, packet reception."""
    (answer,) = lan.arp(ARP_REQUEST)
    arp = arp_of(answer)
    assert (dst_mac(answer), arp.op) == (HOST_MAC, ARP_REPLY)
    assert (frames.mac(arp.hwsrc), arp.psrc) == (OUR_MAC, OUR_IP)
    assert (frames.mac(arp.hwdst), arp.pdst) == (HOST_MAC, HOST_IP)
    assert lan.stats["arp.out.reply"] == 1


def test_a_request_for_another_address_is_not_answered(lan: Lan) -> None:
    assert lan.arp(ARP_REQUEST, target_ip=OTHER_IP) == []
    assert lan.moved() == {"arp.drop.target": 1}
    assert lan.engine.usage().neighs == 0


def test_the_sender_of_a_request_to_us_is_learned(lan: Lan) -> None:
    """RFC 826: it will want an answer at once."""
    lan.learn()
    syn_to(lan, HOST_IP)
    assert macs_used(lan.wait(0)) == [HOST_MAC]
    assert lan.stats["arp.out.request"] == 0


def test_an_unasked_reply_is_not_learned(lan: Lan) -> None:
    """No cache poisoning: only existing or incomplete entries change."""
    assert lan.arp(ARP_REPLY) == []
    assert lan.moved() == {"arp.drop.unasked": 1}
    assert lan.engine.usage().neighs == 0


def test_a_gratuitous_announcement_of_a_stranger_is_not_learned(lan: Lan) -> None:
    assert lan.arp(ARP_REQUEST, HOST_IP, HOST_IP) == []
    assert lan.engine.usage().neighs == 0


@pytest.mark.parametrize("op", [ARP_REQUEST, ARP_REPLY])
def test_a_gratuitous_announcement_updates_a_known_neighbour(lan: Lan, op: int) -> None:
    """RFC 826 (merge), RFC 5227 3."""
    lan.learn()
    lan.arp(op, HOST_IP, HOST_IP, sender_mac=OTHER_MAC)
    syn_to(lan, HOST_IP)
    assert macs_used(lan.wait(0)) == [OTHER_MAC]


def test_a_permanent_neighbour_is_not_updated(lan: Lan) -> None:
    lan.engine.neighbour(HOST_IP, HOST_MAC)
    lan.arp(ARP_REPLY, HOST_IP, OUR_IP, sender_mac=OTHER_MAC)
    syn_to(lan, HOST_IP)
    assert macs_used(lan.wait(0)) == [HOST_MAC]


def test_the_first_packet_to_an_unknown_host_is_sent_when_it_answers(lan: Lan) -> None:
    """RFC 1122 2.3.2.2: a link layer saves at least one packet."""
    syn_to(lan, HOST_IP)
    (request,) = lan.wait(0)
    arp = arp_of(request)
    assert (dst_mac(request), arp.op, arp.psrc, arp.pdst) == (
        BROADCAST,
        ARP_REQUEST,
        OUR_IP,
        HOST_IP,
    )
    (syn,) = lan.arp(ARP_REPLY)
    assert dst_mac(syn) == HOST_MAC
    assert frames.read_tcp(syn).dst == HOST_IP
    assert lan.stats["arp.in.reply"] == 1


def test_one_neighbour_is_asked_for_once_a_second(lan: Lan) -> None:
    """RFC 1122 2.3.2.1: at most one request a second and host."""
    for port in range(20):
        syn_to(lan, HOST_IP, 1000 + port)
    assert [is_arp(frame) for frame in lan.wait(0.999)] == [True]
    assert len([frame for frame in lan.wait(1.002) if is_arp(frame)]) <= 2


def test_the_pending_queue_drops_the_oldest_packet_over_its_limit(lan: Lan) -> None:
    """RFC 1122 2.3.2.2: keep the latest."""
    lan.engine.set("neigh.pending", 3)
    for port in range(5):
        syn_to(lan, HOST_IP, 1000 + port)
    lan.wait(0)
    assert lan.moved() == {"neigh.drop.pending": 2}
    ports = {frames.read_tcp(frame).dport for frame in lan.arp(ARP_REPLY)}
    assert ports == {1002, 1003, 1004}


def test_a_host_that_never_answers_is_given_up_after_three_requests(lan: Lan) -> None:
    lan.engine.set("tcp.syn_retries", 0)
    syn_to(lan, HOST_IP)
    out = lan.wait(10)
    assert len(out) == 3 and all(map(is_arp, out))
    assert lan.stats["neigh.failed"] == 1
    assert lan.moved() == {"neigh.drop.failed": 1}
    assert lan.engine.usage().mbufs_small == 0


def test_a_connect_to_a_host_that_does_not_answer_fails_at_once(lan: Lan) -> None:
    """RFC 1122 2.4 and Linux: the three requests over, EHOSTUNREACH, not the SYN's timeout."""
    handle = lan.engine.connect(HOST_IP, 80)
    lan.wait(2.9)
    value = rig.ffi.new("int64_t *")
    assert rig.lib.ust_ready(lan.engine.raw, handle) == 0
    lan.wait(0.2)
    assert rig.lib.ust_ready(lan.engine.raw, handle) & rig.lib.UST_ERROR
    rig.lib.ust_getopt(lan.engine.raw, handle, rig.lib.UST_OPT_ERROR, value)
    assert value[0] == errno.EHOSTUNREACH


def test_a_stale_neighbour_in_use_is_asked_by_unicast_after_a_delay(lan: Lan) -> None:
    """RFC 4861 7.3.3, for ARP, too; RFC 1122 2.3.2.1 (2): unicast poll."""
    lan.learn()
    assert lan.engine.neighbours()[HOST_IP] == ("STALE", HOST_MAC)
    lan.engine.set("tcp.syn_retries", 0)
    syn_to(lan, HOST_IP)
    assert macs_used(lan.wait(0)) == [HOST_MAC]
    assert lan.engine.neighbours()[HOST_IP][0] == "DELAY"
    assert lan.wait(4.99) == []
    (poll,) = lan.wait(0.02)
    assert (dst_mac(poll), arp_of(poll).pdst) == (HOST_MAC, HOST_IP)
    assert lan.engine.neighbours()[HOST_IP][0] == "PROBE"
    assert lan.arp(ARP_REPLY) == []
    assert lan.engine.neighbours()[HOST_IP][0] == "REACHABLE"


def test_an_unused_neighbour_is_forgotten(lan: Lan) -> None:
    lan.learn()
    assert lan.engine.usage().neighs == 1
    lan.wait(121)
    assert lan.engine.usage().neighs == 0


def test_a_thousand_unknown_hosts_leave_memory_bounded() -> None:
    """Entries and the packets that wait for them are limited."""
    lan = Lan({"neigh.entries": 32, "tcp.max_tcbs": 4096, "mbuf.small": 256})
    for i in range(1000):
        lan.engine.connect(f"10.0.0.{3 + i % 250}", 1000 + i)
        lan.wait(0)
    usage = lan.engine.usage()
    assert usage.neighs <= 32
    assert usage.mbufs_small <= 32 * 3 + 1
    lan.engine.check()


def test_requests_of_many_hosts_do_not_grow_the_table() -> None:
    """A flood of distinct senders."""
    lan = Lan({"neigh.entries": 16})
    for i in range(500):
        sender = bytes([2, 0, 0, 1, i >> 8, i & 255])
        assert len(lan.arp(ARP_REQUEST, f"10.0.0.{3 + i % 250}", sender_mac=sender)) == 1
    assert lan.engine.usage().neighs <= 16
    assert lan.stats["neigh.evicted"] > 0
    lan.engine.check()


def test_a_new_address_is_announced() -> None:
    """RFC 5227 2.3."""
    lan = Lan()
    (announcement,) = lan.first
    arp = arp_of(announcement)
    assert (dst_mac(announcement), arp.op) == (BROADCAST, ARP_REQUEST)
    assert (arp.psrc, arp.pdst, frames.mac(arp.hwsrc)) == (OUR_IP, OUR_IP, OUR_MAC)


def test_our_address_is_defended_once_in_ten_seconds(lan: Lan) -> None:
    """RFC 5227 2.4 (b)."""
    (defence,) = lan.arp(ARP_REQUEST, OUR_IP, OUR_IP, sender_mac=OTHER_MAC)
    assert arp_of(defence).psrc == OUR_IP
    assert lan.arp(ARP_REPLY, OUR_IP, OUR_IP, sender_mac=OTHER_MAC) == []
    assert lan.stats["arp.conflict"] == 2
    lan.wait(10)
    assert len(lan.arp(ARP_REQUEST, OUR_IP, OUR_IP, sender_mac=OTHER_MAC)) == 1


def test_a_probe_is_answered_but_teaches_nothing(lan: Lan) -> None:
    """RFC 5227 2.1.1: a probe has no sender address."""
    (answer,) = lan.arp(ARP_REQUEST, "0.0.0.0", OUR_IP)
    assert arp_of(answer).op == ARP_REPLY
    assert lan.engine.usage().neighs == 0


@pytest.mark.parametrize(
    "fields", [{"hrd": 6}, {"pro": 0x86DD}, {"hln": 8}, {"pln": 16}, {"hln": 0}]
)
def test_malformed_arp_is_dropped(lan: Lan, fields: dict[str, int]) -> None:
    """RFC 826: ?Do I have the hardware type in ar$hrd? …"""
    assert lan.arp(ARP_REQUEST, **fields) == []
    assert lan.moved() == {"arp.drop.malformed": 1}


@pytest.mark.parametrize("op", [0, 3, 8, 9, 65535])
def test_other_arp_operations_are_dropped(lan: Lan, op: int) -> None:
    assert lan.arp(op) == []
    assert lan.moved() == {"arp.drop.malformed": 1}


@pytest.mark.parametrize("length", range(14, 42))
def test_truncated_arp_is_dropped(lan: Lan, length: int) -> None:
    packet = frames.arp(ARP_REQUEST, HOST_MAC, frames.ip4(HOST_IP), NO_MAC, frames.ip4(OUR_IP))
    frame = frames.ethernet(BROADCAST, HOST_MAC, frames.ETH_ARP, packet)
    assert lan.send(frame[:length]) == []
    assert lan.moved() == {"arp.drop.malformed": 1}


@pytest.mark.parametrize(
    ("ip", "mac"),
    [
        (HOST_IP, BROADCAST),
        (HOST_IP, bytes.fromhex("01005e000001")),
        ("224.0.0.1", HOST_MAC),
        ("255.255.255.255", HOST_MAC),
        ("10.0.0.255", HOST_MAC),
        ("127.0.0.1", HOST_MAC),
        (OUR_IP, OUR_MAC),
    ],
)
def test_arp_from_what_is_no_host_is_dropped(lan: Lan, ip: str, mac: bytes) -> None:
    """RFC 1812 3.3.2."""
    packet = frames.arp(ARP_REQUEST, mac, frames.ip4(ip), NO_MAC, frames.ip4(OUR_IP))
    assert lan.send(frames.ethernet(BROADCAST, HOST_MAC, frames.ETH_ARP, packet)) == []
    assert lan.moved() == {"arp.drop.sender": 1}
    assert lan.engine.usage().neighs == 0
