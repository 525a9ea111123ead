# SPDX-License-Identifier: BSD-3-Clause
"""Path MTU (RFC 1191, RFC 8201): learnt, floored, aged, and not believed from strangers."""

from __future__ import annotations

import errno
import struct

import pytest

import frames
import rig
from flow import OUR_IPS, THEIR_IPS
from frames import PROTO_TCP, PROTO_UDP
from lan import HOST_MAC, OUR_MAC, Lan
from link import MACS, Link
from wire import Wire

pytestmark = pytest.mark.both_versions


def too_big(version: int, quoted: bytes, mtu: int, src: str | None = None) -> bytes:
    """A frame with the router's message about a packet of ours."""
    ends = frames.packed(src or THEIR_IPS[version]), frames.packed(OUR_IPS[version])
    if version == 4:
        body = frames.icmp(3, 4, struct.pack("!HH", 0, mtu), quoted)
        return frames.ip_frame(OUR_MAC, HOST_MAC, frames.ipv4(*ends, 1, body))
    body = frames.icmp6(*ends, 2, 0, struct.pack("!I", mtu), quoted)
    return frames.ip_frame(OUR_MAC, HOST_MAC, frames.ipv6(*ends, 58, body))


def about_tcp(wire: Wire, seq: int, mtu: int) -> None:
    """The message, about the segment with this relative sequence number."""
    peer = wire.default
    head = struct.pack("!HHI", peer.our_port, peer.port, ((peer.iss or 0) + seq) % 2**32)
    ends = frames.packed(wire.engine.address), frames.packed(peer.address)
    wire.inject(too_big(wire.version, frames.ip(*ends, PROTO_TCP, head), mtu))


def narrow(wire: Wire, mtu: int) -> None:
    """The message, about the first segment; what is sent again for it is not looked at."""
    about_tcp(wire, 1, mtu)
    list(iter(wire.take, None))


def about_udp(lan: Lan, sport: int, dport: int, mtu: int) -> None:
    ends = frames.packed(lan.us), frames.packed(lan.them)
    head = frames.udp(*ends, sport, dport)
    lan.send(too_big(lan.version, frames.ip(*ends, PROTO_UDP, head), mtu))


def test_tcp_sends_smaller_segments_at_once(wire: Wire) -> None:
    """RFC 1191 6.4, RFC 8201 5.2: what was lost is sent again, cwnd untouched."""
    sock = wire.established(mss=1440)
    sock.send(2880)
    wire("""
        +0 > .  1:1441(1440)    ack 1
        +0 > P. 1441:2881(1440) ack 1
    """)
    cwnd = sock.info.cwnd
    about_tcp(wire, 1, 1300)
    mss = 1260 if wire.version == 4 else 1240
    wire(f"""
        +0 > .  1:{1 + mss}({mss})             ack 1
        +0 > .  {1 + mss}:{1 + 2 * mss}({mss}) ack 1
        +0 > P. {1 + 2 * mss}:2881({2880 - 2 * mss}) ack 1
    """)
    assert sock.info.snd_mss == mss
    assert sock.info.cwnd >= cwnd - 2 * 1440
    assert wire.stats["pmtu.lowered"] == 1
    wire("+.01 < . 1:1(0) ack 2881 win 257")


def test_what_already_fits_the_path_is_not_sent_again(wire: Wire) -> None:
    """RFC 8201 5.2: only what was sent from the first segment that was too big on."""
    sock = wire.established(mss=1440)
    sock.setopt("NODELAY", 1)
    sock.send(1000)
    sock.send(100)
    sock.send(1440)
    wire("""
        +0 > P. 1:1001(1000)    ack 1
        +0 > P. 1001:1101(100)  ack 1
        +0 > P. 1101:2541(1440) ack 1
    """)
    about_tcp(wire, 1101, 1300)
    end = 1101 + (1260 if wire.version == 4 else 1240)
    wire(f"""
        +0   > .  1101:{end}({end - 1101}) ack 1
        +0   > P. {end}:2541({2541 - end}) ack 1
        +.01 < .  1:1(0) ack 2541 win 257
    """)
    assert wire.stats["tcp.rexmt.segs"] == 2


@pytest.mark.parametrize("seq", [-1, 1001, 100_000])
def test_a_message_about_what_is_not_in_flight_is_not_believed(wire: Wire, seq: int) -> None:
    """RFC 5927 4.1."""
    sock = wire.established()
    sock.send(1000)
    wire("+0 > P. 1:1001(1000) ack 1")
    about_tcp(wire, seq, 1300)
    assert wire.stats["icmp.drop.quote"] == 1
    assert wire.engine.usage().pmtus == 0
    wire("+.01 < . 1:1(0) ack 1001 win 257")


@pytest.mark.parametrize("mtu", [0, 1, 68, 551, 552, 1279, 1280, 1400, 1520, 9000, 65535])
def test_a_path_mtu_has_a_floor_and_the_link_for_a_ceiling(wire: Wire, mtu: int) -> None:
    """ip.min_pmtu; RFC 8201 4: less than 1280 is not believed; a router that says 0: RFC 1191 5."""
    sock = wire.established(mss=1460)
    link = wire.engine.path_mtu(wire.their_ip)
    sock.send(100)
    wire("+0 > P. 1:101(100) ack 1")
    narrow(wire, mtu)
    got = wire.engine.path_mtu(wire.their_ip)
    if wire.version == 4:
        assert got == min(max(mtu, 552), link)
    else:
        assert got == (min(mtu, link) if mtu >= 1280 else link)
    wire("+.01 < . 1:1(0) ack 101 win 257")


def test_a_path_is_tried_larger_again_after_ten_minutes(wire: Wire) -> None:
    """RFC 1191 6.3, RFC 8201 4."""
    sock = wire.established(mss=1440)
    sock.send(100)
    wire("+0 > P. 1:101(100) ack 1")
    narrow(wire, 1300)
    wire("+.01 < . 1:1(0) ack 101 win 257")
    assert wire.engine.path_mtu(wire.their_ip) == 1300
    wire.quiet(599.9)
    assert wire.engine.path_mtu(wire.their_ip) == 1300
    wire.quiet(0.2)
    assert wire.stats["pmtu.expired"] == 1
    sock.send(1440)
    wire("""
        +0   > P. 101:1541(1440) ack 1
        +.01 < .  1:1(0) ack 1541 win 257
    """)


def test_hearing_of_it_again_does_not_raise_it(wire: Wire) -> None:
    sock = wire.established(mss=1440)
    sock.send(100)
    wire("+0 > P. 1:101(100) ack 1")
    for mtu, known in ((1400, 1400), (1450, 1400), (1300, 1300), (1300, 1300)):
        narrow(wire, mtu)
        assert wire.engine.path_mtu(wire.their_ip) == known
    assert wire.engine.usage().pmtus == 1
    wire("+.01 < . 1:1(0) ack 101 win 257")


def test_a_new_connection_begins_with_what_is_known(wire: Wire) -> None:
    sock = wire.established(mss=1440)
    sock.send(100)
    wire("+0 > P. 1:101(100) ack 1")
    narrow(wire, 1300)
    wire("+.01 < . 1:1(0) ack 101 win 257")
    second = wire.established(mss=1440, peer=wire.peer(port=40001))
    assert second.info.snd_mss == (1260 if wire.version == 4 else 1240)


def test_the_oldest_path_is_forgotten_for_a_new_one(lan: Lan) -> None:
    """A bounded table."""
    lan.engine.route("0.0.0.0" if lan.version == 4 else "::", 0, lan.them)
    lan.engine.udp(lan.engine.any, 9)
    for i in range(20):
        far = f"192.0.2.{i + 1}" if lan.version == 4 else f"2001:db8::{i + 1}"
        ends = frames.packed(lan.us), frames.packed(far)
        lan.send(too_big(lan.version, frames.ip(*ends, PROTO_UDP, frames.udp(*ends, 9, 5)), 1400))
        assert lan.engine.path_mtu(far) == 1400
    assert lan.engine.usage().pmtus == 8
    assert lan.engine.path_mtu("192.0.2.1" if lan.version == 4 else "2001:db8::1") == 1500
    lan.engine.check()
    lan.wait(601)
    assert lan.engine.usage().pmtus == 0


def test_udp_fragments_to_the_path_or_says_so(lan: Lan) -> None:
    """IP_MTU_DISCOVER: want, do, probe, dont."""
    lan.learn()
    lan.engine.set("neigh.reachable_ms", 86_400_000)
    lan.engine.neighbour(lan.them, HOST_MAC)
    handle = lan.engine.udp(lan.us, 9)
    lan.engine.associate(handle, lan.them, 5)
    about_udp(lan, 9, 5, 1300)
    with pytest.raises(OSError) as told:
        lan.engine.send(handle, bytes(10))
    assert told.value.errno == errno.EMSGSIZE
    assert lan.engine.getopt(handle, rig.lib.UST_OPT_MTU) == 1300

    def sizes(discover: int, length: int) -> list[int]:
        lan.engine.setopt(handle, rig.lib.UST_OPT_MTU_DISCOVER, discover)
        lan.engine.send(handle, bytes(length))
        return [len(frame) - 14 for frame in lan.engine.output()]

    assert len(sizes(1, 1400)) == 2 and max(sizes(1, 1400)) <= 1300
    assert len(sizes(0, 1400)) == 2
    with pytest.raises(OSError, match="too long"):
        sizes(2, 1400)
    assert sizes(2, 1000) == [1028 if lan.version == 4 else 1048]
    assert lan.engine.usage().mbufs_small == 0


def test_a_probe_may_be_larger_than_the_known_path(lan: Lan) -> None:
    """IP_PMTUDISC_PROBE: up to the link's MTU, never in fragments."""
    lan.engine.neighbour(lan.them, HOST_MAC)
    handle = lan.engine.udp(lan.us, 9)
    about_udp(lan, 9, 5, 1300)
    lan.engine.setopt(handle, rig.lib.UST_OPT_MTU_DISCOVER, 3)
    lan.engine.sendto(handle, bytes(1400), lan.them, 5)
    (frame,) = lan.engine.output()
    assert len(frame) > 1400
    with pytest.raises(OSError, match="too long"):
        lan.engine.sendto(handle, bytes(1500), lan.them, 5)


class Router:
    """What lies between the ends of a link: drops what is too long for it, and says so."""

    def __init__(self, link: Link, version: int, mtu: int) -> None:
        self.link, self.version, self.mtu = link, version, mtu

    def __call__(self, to: int, frame: bytes) -> bool:
        if len(frame) - 14 <= self.mtu:
            return True
        ip = frame[14:]
        if self.version == 4:
            body = frames.icmp(3, 4, struct.pack("!HH", 0, self.mtu), ip[:28])
            answer = frames.ipv4(ip[16:20], ip[12:16], 1, body)
        else:
            src, dst = ip[8:24], ip[24:40]
            body = frames.icmp6(dst, src, 2, 0, struct.pack("!I", self.mtu), ip[:1232])
            answer = frames.ipv6(dst, src, 58, body)
        self.link._transmit(1 - to, frames.ip_frame(MACS[1 - to], MACS[to], answer))
        return False


def link_of(version: int) -> Link:
    """A link whose ends know each other by addresses of this version."""
    link = Link(seed=3, delay=0.005)
    if version == 6:
        for i, end in enumerate(link.ends):
            end.engine.add_addr(f"fd00::{1 + i}", 64)
            end.engine.neighbour(f"fd00::{2 - i}", MACS[1 - i])
            end.engine.any, end.engine.address = "::", f"fd00::{1 + i}"
    return link


@pytest.mark.parametrize("version", [4, 6])
def test_a_transfer_through_a_narrow_path_completes(version: int) -> None:
    """A router with an MTU of 1300 in the middle; after ten minutes the path is wide again."""
    with link_of(version) as link:
        link.filter = router = Router(link, version, 1300)
        client, server = link.connected()
        data = bytes(i % 251 for i in range(1_000_000))
        client.send(data)
        assert link.run(30, lambda: len(server.received) == len(data))
        assert server.received == data
        counters = client.engine.counters()
        assert (counters["pmtu.lowered"], counters["tcp.rexmt.rto"]) == (1, 0)
        mss = client.engine.info(client.handle or 0).snd_mss
        assert mss == 1300 - (52 if version == 4 else 72)
        router.mtu = 1500
        link.run(601)
        client.send(data)
        assert link.run(30, lambda: len(server.received) == 2 * len(data))
        assert client.engine.info(client.handle or 0).snd_mss == mss + 200
        link.check()
