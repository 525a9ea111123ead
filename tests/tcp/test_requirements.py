# SPDX-License-Identifier: BSD-3-Clause
"""What RFC 9293 asks for and no other file's topic covers; see docs/rfc9293.md for all of it."""

from __future__ import annotations

import errno
import itertools
import struct

import pytest
from ustack._ustack import lib

import frames
import rig
from flow import THEIR_MAC
from notation import Segment
from wire import Wire

pytestmark = pytest.mark.both_versions


def tcp_bytes(wire: Wire) -> bytes:
    """The next frame's TCP segment as it is on the wire."""
    wire.pump()
    frame = wire.sent.popleft().frame
    return frame[54 if frames.ethertype(frame) == frames.ETH_IPV6 else 34 :]


@pytest.mark.rfc("MUST-2")
def test_the_checksum_of_a_segment_is_right(wire: Wire) -> None:
    """RFC 9293 3.1, computed here once more by hand."""
    sock = wire.established(mss=1000)
    sock.send(999)
    body = tcp_bytes(wire)
    ends = frames.packed(wire.engine.address), frames.packed(wire.their_ip)
    total = frames.pseudo(*ends, frames.PROTO_TCP, len(body)) + body + b"\0"
    total = sum(struct.unpack(f"!{len(total) // 2}H", total))
    assert total % 65535 == 0 and body[16:18] != b"\0\0"


@pytest.mark.rfc("MUST-65")
def test_only_syns_say_our_mss(wire: Wire) -> None:
    """RFC 9293 3.2, table 1: the lines without <> have no option at all."""
    sock = wire.connect()
    wire("""
        +0 > S  0:0(0) <...>
        +0 < S. 0:0(0) ack 1 win 65535 <mss 1000>
        +0 > .  1:1(0) ack 1
    """)
    sock.send(10)
    wire("+0 > P. 1:11(10) ack 1")
    sock.close()
    wire("+0 > F. 11:11(0) ack 1")


@pytest.mark.rfc("MUST-68", "MUST-69", "MUST-4")
def test_the_options_that_we_write_fill_their_room(wire: Wire) -> None:
    """RFC 9293 3.1: lengths add up to the data offset; nothing but NOPs fills the gaps."""
    wire.connect()
    body = tcp_bytes(wire)
    options = body[20 : (body[12] >> 4) * 4]
    at, kinds = 0, []
    while at < len(options):
        kinds.append(options[at])
        at += 1 if options[at] == 1 else options[at + 1]
    assert at == len(options)
    assert kinds.count(2) == 1 and 0 not in kinds


@pytest.mark.rfc("MUST-5", "MUST-6", "MUST-7")
@pytest.mark.parametrize("option", ["mss 900", "wscale 3", "hex fe0412ab", "hex fe00", "hex fe01"])
def test_an_option_on_text_does_no_harm(wire: Wire, option: str) -> None:
    """RFC 9293 3.1: known where it is not expected, unknown, of an impossible length."""
    sock = wire.established(mss=1000)
    wire(f"+0 < P. 1:11(10) ack 1 win 257 <{option}>\n+0 > . 1:1(0) ack 11")
    assert len(sock.recv()) == 10
    assert sock.info.snd_mss == 1000


@pytest.mark.rfc("MUST-64")
@pytest.mark.parametrize("nops", range(4))
def test_an_option_may_begin_anywhere(wire: Wire, nops: int) -> None:
    """RFC 9293 3.1."""
    wire.listen()
    padding = "nop," * nops
    wire(f"""
        +0 < S  0:0(0) win 65535 <{padding}mss 777>
        +0 > S. 0:0(0) ack 1 <...>
        +0 < .  1:1(0) ack 1 win 65535
    """)
    assert wire.accept().info.snd_mss == 777


@pytest.mark.rfc("MUST-15")
def test_a_peer_that_says_no_mss_gets_the_default_of_its_version(wire: Wire) -> None:
    """RFC 9293 3.7.1: 536 over IPv4, 1220 over IPv6."""
    default = {4: 536, 6: 1220}[wire.version]
    sock = wire.established(mss=None)
    sock.send(default)
    wire(f"+0 > P. 1:{default + 1}({default}) ack 1")


@pytest.mark.rfc("MUST-1")
def test_a_window_above_32767_is_not_negative(wire: Wire) -> None:
    """RFC 9293 3.1."""
    wire.settings(tcp_initial_window=100, tcp_pacing=0)
    sock = wire.established(mss=1000, wscale=None, win=65535)
    sock.send(100_000)
    sent = [segment for _, segment in iter(wire.take, None)]
    assert sent[-1].seq + sent[-1].length == 65001
    assert sock.info.snd_wnd == 65535


@pytest.mark.rfc("REC-1")
def test_windows_are_kept_in_32_bits(wire: Wire) -> None:
    """RFC 9293 3.8.6; RFC 7323 2.3: 2^30."""
    sock = wire.established(mss=1000, wscale=14, win=65535)
    assert sock.info.snd_wnd == 65535 << 14


@pytest.mark.rfc("MUST-58", "MUST-59")
def test_a_burst_of_segments_earns_one_ack(wire: Wire) -> None:
    """RFC 9293 3.10.7.4: what has come is processed before any ACK leaves."""
    sock = wire.established(mss=1000)
    for first in (1, 1001, 2001, 3001):
        segment = Segment(".", first, 1000, 1, 257)
        wire.engine.inject(sock.peer.frame(segment))
    wire("+0 > . 1:1(0) ack 4001")


@pytest.mark.rfc("SHLD-27", "SHLD-28", "MAY-16", "MUST-61")
def test_small_writes_become_full_segments_with_one_psh(wire: Wire) -> None:
    """RFC 9293 3.9.1.2: bits of successive writes collapse; the last segment has PSH."""
    sock = wire.established(mss=1000)
    sock.send(500)
    wire("+0 > P. 1:501(500) ack 1")
    for _ in range(3):
        sock.send(300)
    wire("""
        +.1 < .  1:1(0) ack 501 win 257
        +0  > P. 501:1401(900)  ack 1
    """)
    sock.send(2500)
    wire("""
        +0  > .  1401:2401(1000) ack 1
        +0  > .  2401:3401(1000) ack 1
        +.01 < . 1:1(0) ack 3401 win 257
        +0  > P. 3401:3901(500)  ack 1
    """)


@pytest.mark.rfc("MUST-42", "MUST-41")
def test_a_port_is_listened_on_while_it_has_connections(wire: Wire) -> None:
    """RFC 9293 3.9.1.1: listening again is refused, and touches neither listener nor connection."""
    sock = wire.established(mss=1000)
    with pytest.raises(OSError) as error:
        wire.engine.listen(80)
    assert error.value.errno == errno.EADDRINUSE
    other = wire.peer(40001)
    assert wire.established(mss=1000, peer=other).state == "ESTABLISHED"
    sock.send(10)
    wire("+0 > P. 1:11(10) ack 1")


@pytest.mark.rfc("MUST-43", "MUST-45")
def test_an_open_may_name_its_local_address(wire: Wire) -> None:
    """RFC 9293 3.9.1.1; the address stays the connection's."""
    address = {4: "10.0.0.77", 6: "fd00::77"}[wire.version]
    engine = wire.engine
    engine.add_addr(address, 24 if wire.version == 4 else 64)
    handle = engine.socket()
    rig.check(lib.ust_bind(engine.raw, handle, rig.addr(address), 0))
    lib.ust_connect(engine.raw, handle, rig.addr(wire.their_ip), 8080)
    frame = next(engine.output())
    assert frames.read_tcp(frame).src == address


@pytest.mark.rfc("MUST-44")
def test_an_open_without_a_local_address_asks_the_routes(wire: Wire) -> None:
    """RFC 9293 3.9.1.1: the second interface's peer is reached from the second address."""
    ours, theirs, prefix = {
        4: ("192.0.2.2", "192.0.2.1", 24),
        6: ("2001:db8::2", "2001:db8::1", 64),
    }[wire.version]
    engine = wire.engine
    second = engine.add_iface(bytes.fromhex("020000000022"))
    engine.add_addr(ours, prefix, second)
    engine.neighbour(theirs, THEIR_MAC, second)
    engine.connect(theirs, 8080)
    tcp = frames.read_tcp(next(engine.output()))
    assert (tcp.src, tcp.dst) == (ours, theirs)


@pytest.mark.rfc("MUST-46")
def test_a_connection_to_a_group_is_refused(wire: Wire) -> None:
    """RFC 9293 3.9.2.3."""
    groups = {4: ["224.0.0.1", "255.255.255.255", "10.0.0.255"], 6: ["ff02::1", "ff0e::1"]}
    for group in groups[wire.version]:
        with pytest.raises(OSError) as error:
            wire.engine.connect(group, 80)
        assert error.value.errno == errno.ENETUNREACH
    assert wire.stats["tcp.out"] == 0


@pytest.mark.rfc("MUST-12")
def test_the_application_can_tell_a_close_from_an_abort(wire: Wire) -> None:
    """RFC 9293 3.6."""
    closed, aborted = wire.established(), wire.established(peer=wire.peer(40001))
    closed.peer("+0 < F. 1:1(0) ack 1 win 257\n+0 > . 1:1(0) ack 2")
    aborted.peer("+0 < R. 1:1(0) ack 1 win 257")
    assert closed.recv() == b""
    with pytest.raises(ConnectionResetError):
        aborted.recv()


@pytest.mark.rfc("MUST-24", "MUST-27")
def test_keepalives_are_turned_on_and_off(wire: Wire) -> None:
    """RFC 9293 3.8.4."""
    sock = wire.established()
    sock.setopt("KEEPIDLE", 10)
    sock.setopt("KEEPALIVE", 1)
    wire("+10 > . 0:0(0) ack 1\n+0 < . 1:1(0) ack 1 win 257")
    sock.setopt("KEEPALIVE", 0)
    wire.quiet(100)


@pytest.mark.rfc("SHLD-12")
def test_a_keepalive_has_no_text(wire: Wire) -> None:
    """RFC 9293 3.8.4."""
    sock = wire.established()
    sock.setopt("KEEPIDLE", 1)
    sock.setopt("KEEPALIVE", 1)
    wire("+1 > . 0:0(0) ack 1\n+0 < . 1:1(0) ack 1 win 257")


@pytest.mark.rfc("MUST-48", "SHLD-21", "SHLD-22")
def test_the_application_chooses_the_ds_field_and_changes_it(wire: Wire) -> None:
    """RFC 9293 3.9.1.9: it goes to IP as it is; the low bits are ECN's."""
    sock = wire.established(mss=1000)
    for tos in (0x28, 0xB8, 0):
        sock.setopt("TOS", tos)
        sock.send(10)
        first = sock.info.snd_max - sock.info.iss - 10
        wire(f"+0 > P. {first}:{first + 10}(10) ack 1\n+0 < . 1:1(0) ack {first + 10} win 257")
        assert wire.last.tos == tos


@pytest.mark.rfc("MUST-20", "SHLD-10")
def test_after_r1_the_neighbour_is_doubted(wire: Wire) -> None:
    """RFC 9293 3.8.3 (a): negative advice to IP; the third RTO in a row."""
    wire.settings(tcp_early_retrans=0)
    wire.engine.forget_neighbour(wire.their_ip)
    learn(wire)
    sock = wire.established(mss=1000, rtt=0.01)
    sock.send(10)
    wire("+0 > P. 1:11(10) ack 1\n+.01 < . 1:1(0) ack 11 win 257")
    assert state_of_neighbour(wire) == "REACHABLE"
    sock.send(10)
    for _ in range(3):
        wire.take(10)
    assert state_of_neighbour(wire) == "REACHABLE"
    wire.take(10)
    assert state_of_neighbour(wire) == "DELAY"


@pytest.mark.rfc("SHLD-9")
def test_the_application_can_see_that_segments_are_lost(wire: Wire) -> None:
    """RFC 9293 3.8.3 (e): TCP_INFO counts the RTOs in a row."""
    wire.settings(tcp_early_retrans=0)
    sock = wire.established(mss=1000)
    sock.send(10)
    assert sock.info.retransmits == 0
    for _ in range(4):
        wire.take(10)
    assert sock.info.retransmits == 3


def learn(wire: Wire) -> None:
    """Make the peer known as any host would, so that it can be doubted."""
    ours, theirs = frames.packed(wire.engine.address), frames.packed(wire.their_ip)
    if wire.version == 4:
        body = frames.arp(1, THEIR_MAC, theirs, bytes(6), ours)
        wire.inject(frames.ethernet(b"\xff" * 6, THEIR_MAC, frames.ETH_ARP, body))
        return
    body = frames.icmp6(theirs, ours, 135, 0, bytes(4), ours + b"\x01\x01" + THEIR_MAC)
    packet = frames.ipv6(theirs, ours, frames.PROTO_ICMP6, body, ttl=255)
    wire.inject(frames.ip_frame(wire.engine.mac, THEIR_MAC, packet))


def state_of_neighbour(wire: Wire) -> str:
    """Its state's name."""
    return wire.engine.neighbours()[wire.their_ip][0]


@pytest.mark.rfc("2525-3")
def test_without_an_mss_the_initial_window_is_ten_small_segments(wire: Wire) -> None:
    """RFC 2525 2.3, RFC 6928 2."""
    sock = wire.established(mss=None)
    assert sock.info.cwnd == 10 * sock.info.snd_mss


@pytest.mark.rfc("2525-4")
def test_a_retransmission_has_the_bytes_that_were_sent(wire: Wire) -> None:
    """RFC 2525 2.4: whatever was written since; the wire compares each byte."""
    wire.settings(tcp_early_retrans=0)
    sock = wire.established(mss=1000)
    sock.send(700)
    wire("+0 > P. 1:701(700) ack 1")
    sock.send(700)
    _, again = wire.take(10) or (0.0, None)
    assert again is not None and again.seq == 1 and again.length in (700, 1000)
    payload = wire.last.payload
    assert payload == sock.peer.stream[: len(payload)]


@pytest.mark.rfc("2525-6", "MUST-19")
def test_congestion_avoidance_grows_by_a_segment_a_round_trip(wire: Wire) -> None:
    """RFC 2525 2.6, RFC 5681 3.1: without a constant in addition."""
    wire.settings(
        tcp_pacing=0, tcp_early_retrans=0, tcp_frto=0, tcp_congestion_control=lib.UST_CC_RENO
    )
    sock = wire.established(mss=1000, win=65535, rtt=0.1)
    sock.send(300_000)
    while wire.take(0.5):
        pass  # the initial window, then an RTO: half of it is ssthresh
    sizes = []
    while sock.info.unsent:
        wire.advance(0.1)
        end = sock.peer.ours(sock.info.snd_max)
        wire.inject(sock.peer.frame(Segment(".", 1, 0, end, 257)))
        while wire.take():
            pass
        if sock.info.cwnd > sock.info.ssthresh:
            sizes.append(sock.info.cwnd)
    steps = [after - before for before, after in itertools.pairwise(sizes)]
    assert len(steps) > 5 and max(steps) <= 1000
