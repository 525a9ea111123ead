# SPDX-License-Identifier: BSD-3-Clause
"""Defects that other stacks had, D1 to D16: none of them is here.

Where a topic has more to say, it says so in tests/tcp and tests/net; this file is the list.
"""

from __future__ import annotations

import errno
import random

import pytest

import frames
import notation
import rig
from lan import HOST_IP, OUR_IP, Lan
from link import Link
from wire import THEIR_MAC, Peer, Wire, pattern


@pytest.mark.rfc("MUST-7")
@pytest.mark.parametrize(
    "options", ["hex fe00", "hex fe000000", "hex 0101fe00", "hex fe01", "hex 0200"]
)
@pytest.mark.parametrize("where", ["syn", "data"])
def test_d1_an_unknown_option_of_length_0_ends_the_options(
    wire: Wire, options: str, where: str
) -> None:
    """An endless loop elsewhere; RFC 9293 MUST-7: handle illegal lengths without crashing."""
    if where == "syn":
        wire.listen()
        wire(f"+0 < S 0:0(0) win 65535 <{options}>\n +0 > S. 0:0(0) ack 1 <mss 1460>")
        return
    sock = wire.established(sack=False)
    wire(f"+0 < P. 1:101(100) ack 1 win 257 <{options}>\n +0~+.05 > . 1:1(0) ack 101")
    assert sock.info.inq == 100


@pytest.mark.parametrize("mss", [0, 1, 12, 47, 48, 65535])
@pytest.mark.parametrize("ts", [False, True])
def test_d2_any_mss_of_the_peer_leaves_room_for_data(mss: int, ts: bool) -> None:
    """MSS 12 with timestamps was an effective MSS of 0, a division by zero; also CVE-2019-11479."""
    wire = Wire()
    sock = wire.established(mss=mss, ts=ts, rtt=0.1)
    assert 36 <= sock.info.snd_mss <= 1460
    sock.send(1000)
    sent = wire.deliver(sock)
    assert sum(segment.length for segment in sent) >= 1000


def test_d3_a_syn_in_the_window_changes_nothing(wire: Wire) -> None:
    """It was accepted elsewhere and spoiled snd_nxt; RFC 5961 4.2: challenge ACK."""
    sock = wire.established(sack=False)
    sock.send(100)
    wire("""
        +0      > P. 1:101(100) ack 1
        +0      < S  50:50(0) win 1000 <mss 100>
        +0      > .  101:101(0) ack 1
        +0      < P. 1:51(50) ack 101 win 257
        +0~+.05 > .  101:101(0) ack 51
    """)
    assert sock.recv() == pattern(1, 51)


def test_d4_a_rst_next_to_rcv_nxt_does_not_kill(wire: Wire) -> None:
    """RFC 5961 3.2: challenge ACK."""
    sock = wire.established()
    wire("+0 < R 2:2(0)\n +0 > . 1:1(0) ack 1")
    assert sock.state == "ESTABLISHED"


def test_d5_a_syn_in_the_window_is_not_answered_by_a_rst(wire: Wire) -> None:
    """RFC 5961 4.2."""
    sock = wire.established()
    wire("+0 < S. 1:1(0) ack 1 win 257\n +0 > . 1:1(0) ack 1")
    assert sock.state == "ESTABLISHED"
    assert wire.stats["tcp.resets.out"] == 0


def test_d6_the_ack_of_data_that_does_not_fit_frees_the_send_buffer(wire: Wire) -> None:
    """RFC 9293 MUST-66: with a window of 0, ACKs are still taken."""
    wire.settings(tcp_rmem=2 * 1460)
    sock = wire.established(wscale=None, win=65535, sack=False)
    sock.send(100)
    wire("+0 > P. 1:101(100) ack 1")
    wire.put("+0 < . 1:1461(1460) ack 1 win 65535")
    assert wire.take(0.05) is not None
    wire.put("+0 < . 1461:1561(100) ack 101 win 65535")
    wire.take(0.05)
    assert (sock.info.outq, sock.info.inq) == (0, 1460)


def test_d7_a_hundred_thousand_syns_do_not_keep_a_client_out_for_long() -> None:
    """Half-open connections are bounded and expire; a client gets in when some have."""
    wire = Wire()
    wire.settings(tcp_synack_retries=1)
    wire.listen(backlog=1000)
    us, them = frames.ip4(OUR_IP), frames.ip4("10.0.0.1")
    template = frames.tcp(them, us, 0, 80, 0, 0, 2)
    for i in range(100_000):
        body = (i % 60_000 + 1).to_bytes(2, "big") + template[2:]
        wire.engine.inject(
            frames.ethernet(wire.engine.mac, THEIR_MAC, 0x0800, frames.ipv4(them, us, 6, body)),
            rig.lib.UST_FRAME_CSUM_OK,
        )
        if i % 100 == 0:
            list(wire.engine.output())
    list(wire.engine.output())
    assert wire.engine.usage().requests == wire.engine.usage().requests_max
    assert wire.stats["tcp.in"] == 100_000
    wire.engine.check()
    wire.advance(3.5)
    wire.sent.clear()
    assert wire.engine.usage().requests == 0
    wire.established(peer=wire.peer(65_000))


def test_d8_isns_are_neither_constant_nor_counted() -> None:
    """RFC 6528."""
    isns = []
    for port in range(1000, 1050):
        engine = rig.Engine()
        engine.neighbour(HOST_IP, THEIR_MAC)
        engine.connect(HOST_IP, port, 5000)
        isns += [frames.read_tcp(f).seq for f in engine.output() if frames.is_tcp(f)]
    steps = {(b - a) % 2**32 for a, b in zip(isns, isns[1:], strict=False)}
    assert len(isns) == 50 and len(steps) == 49


def test_d9_a_peer_without_timestamps_goes_at_full_speed() -> None:
    """It was refused, or dropped in silence."""
    with Link(1, {"tcp.timestamps": 0}, delay=0.005) as link:
        sender, reader = link.connected()
        data = random.Random(1).randbytes(1_000_000)
        sender.send(data)
        assert link.run(5, until=lambda: len(reader.received) == len(data))
        assert bytes(reader.received) == data
        assert sender.engine.counters()["tcp.rexmt.segs"] == 0


def test_d10_the_rto_adapts_without_timestamps(wire: Wire) -> None:
    """RFC 6298 2.3."""
    sock = wire.established(rtt=0.3)
    for _ in range(10):
        sock.send(1000)
        wire.deliver(sock, rtt=0.1)
    assert sock.info.srtt_us < 200_000


@pytest.mark.parametrize("last", range(256))
def test_d11_an_option_cut_off_at_the_last_byte_is_not_read_past_the_end(
    wire: Wire, last: int
) -> None:
    """Under AddressSanitizer this reads no byte too many."""
    wire.listen()
    segment = notation.parse_segment("S 0:0(0) win 65535")
    for head in ("010101", "0204", "03030103"):
        options = bytes.fromhex(head) + bytes([last])
        options = b"\1" * (-len(options) % 4) + options
        wire.inject(wire.default.frame(segment, options=options))
        wire.take()
    wire.engine.check()


def test_d12_numbers_wrap() -> None:
    """See tests/tcp/test_wrap.py; here with the peer's side: ISN 2^32 - 10,000, 1 MB."""
    wire = Wire()
    sock = wire.established(peer=wire.peer(isn=2**32 - 10_000), sack=False, win=65535)
    got = bytearray()
    for seq in range(1, 1_000_001, 1000):
        wire.inject(
            wire.default.frame(
                notation.parse_segment(f". {seq}:{seq + 1000}(1000) ack 1 win 65535")
            )
        )
        wire.sent.clear()
        got += sock.recv()
    assert bytes(got) == pattern(1, 1_000_001)


def test_d13_a_rst_is_not_answered(wire: Wire) -> None:
    """Two stacks would go on for ever."""
    wire("+0 < R 5:5(0)\n +0 < R. 5:5(0) ack 9\n +0 < RS 5:5(0)\n +0 < RF. 5:15(10) ack 1")
    assert wire.stats["tcp.resets.out"] == 0


@pytest.mark.parametrize("case", ["probe", "shrunk", "fin"])
def test_d14_windows_of_zero_end(case: str) -> None:
    """A probe unanswered, a window that shrank, a FIN stuck behind a closed window."""
    with Link(2, {"tcp.rmem": 4096}, delay=0.01, loss=0.2 if case == "shrunk" else 0.0) as link:
        sender, reader = link.connected()
        reader.reading = False
        sender.send(bytes(4096 if case == "fin" else 20_000))
        sender.finish()
        link.run(60)
        assert sender.engine.info(sender.handle or 0).state != rig.lib.UST_CLOSED
        reader.reading = True
        assert link.run(300, until=lambda: reader.eof)
        assert len(reader.received) == (4096 if case == "fin" else 20_000)


@pytest.mark.parametrize(("flags", "answer"), [("SE", "S."), ("SEW", "SE.")])
def test_d15_a_syn_that_asks_for_ecn_is_not_refused(wire: Wire, flags: str, answer: str) -> None:
    """Linux with tcp_ecn=1 connects; RFC 3168 6.1.1."""
    wire.listen()
    wire(f"""
        +0 < {flags} 0:0(0) win 65535 <mss 1000>
        +0 > {answer} 0:0(0) ack 1 <mss 1460>
        +0 < .  1:1(0) ack 1 win 65535
    """)


@pytest.mark.parametrize("src", ["0.0.0.0", "255.255.255.255", "10.0.0.255", "224.0.0.1"])
def test_d16_a_syn_from_no_host_is_dropped_in_silence(lan: Lan, src: str) -> None:
    """It panicked elsewhere; RFC 9293 MUST-63."""
    lan.engine.listen(80)
    syn = frames.tcp(frames.ip4(src), frames.ip4(OUR_IP), 1000, 80, 1, 0, 2)
    assert lan.ip(frames.PROTO_TCP, syn, src=src) == []
    assert lan.wait(5) == []
    assert lan.moved() == {"ip.drop.martian": 1}


def test_a_destination_without_a_route_is_an_error_at_once(wire: Wire) -> None:
    """Not a silent wait."""
    with pytest.raises(OSError) as caught:
        wire.engine.connect("192.0.2.1", 80)
    assert caught.value.errno in (errno.ENETUNREACH, errno.EHOSTUNREACH)
    assert Peer(wire).state == "CLOSED"
