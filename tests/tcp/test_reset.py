# SPDX-License-Identifier: BSD-3-Clause
"""RSTs, sent and received: RFC 9293 3.5.2, 3.5.3; challenge ACKs: RFC 5961."""

from __future__ import annotations

import errno

import pytest

import frames
import notation
from wire import Peer, Wire

pytestmark = pytest.mark.both_versions


def segment(text: str) -> notation.Segment:
    return notation.parse_segment(text)


def test_a_rst_at_rcv_nxt_resets(wire: Wire) -> None:
    """RFC 5961 3.2 (1)."""
    sock = wire.established()
    wire("+0 < R 1:1(0)")
    assert sock.state == "CLOSED"
    assert sock.error == errno.ECONNRESET
    assert wire.stats["tcp.resets.in"] == 1
    with pytest.raises(BrokenPipeError):
        sock.send(b"x")


@pytest.mark.parametrize("seq", [2, 1001, 60000])
def test_a_rst_elsewhere_in_the_window_is_challenged(wire: Wire, seq: int) -> None:
    """D4; RFC 5961 3.2 (2)."""
    sock = wire.established()
    wire(f"""
        +0 < R {seq}:{seq}(0)
        +0 > . 1:1(0) ack 1
    """)
    assert sock.state == "ESTABLISHED"
    assert wire.stats["tcp.challenge"] == 1
    assert wire.stats["tcp.drop.rst"] == 1


@pytest.mark.parametrize("seq", [0, -1000, -(2**31) + 5, 2**30])
def test_a_rst_outside_the_window_is_silently_dropped(wire: Wire, seq: int) -> None:
    """RFC 5961 3.2 (3)."""
    sock = wire.established(wscale=None, win=1000)
    wire(f"+0 < R {seq}:{seq}(0)")
    assert sock.state == "ESTABLISHED"


@pytest.mark.parametrize("flags", ["R.", "RP.", "RF.", "RS", "RS."])
def test_a_rst_is_a_rst_whatever_else_is_set(wire: Wire, flags: str) -> None:
    """RFC 9293 3.10.7.4: the RST bit is checked second, before all but the number."""
    sock = wire.established()
    ack = " ack 1" if "." in flags else ""
    wire(f"+0 < {flags} 1:1(0){ack}")
    assert sock.state == "CLOSED"


@pytest.mark.rfc("SHLD-2")
def test_a_rst_with_text_resets(wire: Wire) -> None:
    """RFC 9293 3.5.3 (SHLD-2): a RST may carry data."""
    sock = wire.established()
    wire("+0 < R 1:21(20)")
    assert sock.state == "CLOSED"


@pytest.mark.rfc("MUST-12")
def test_data_that_was_received_before_a_rst_can_be_read(wire: Wire) -> None:
    sock = wire.established()
    wire("""
        +0      < P. 1:101(100) ack 1 win 257
        +0~+.05 > .  1:1(0) ack 101
        +0      < R  101:101(0)
    """)
    assert sock.state == "CLOSED"


def test_no_rst_is_ever_answered(wire: Wire) -> None:
    """D13; RFC 9293 3.10.7.1: two stacks would loop."""
    wire.listen()
    for flags in ("R", "R.", "RF.", "RS", "RP."):
        for port in (80, 81):
            wire.peer(41_000 + port, port)(f"+0 < {flags} 5:5(0)" + " ack 7" * ("." in flags))
    assert wire.stats["tcp.resets.out"] == 0


def test_the_challenge_acks_of_a_connection_are_limited(wire: Wire) -> None:
    """RFC 5961 7: ACK throttling."""
    sock = wire.established()
    for _ in range(100):
        wire.inject(wire.default.frame(segment("S 1:1(0) win 100")))
    sent = [str(s) for _, s in iter(wire.take, None)]
    assert 1 <= len(sent) <= 10
    assert all(s.startswith(". 1:1(0) ack 1") for s in sent)
    assert wire.stats["tcp.challenge.limited"] == 100 - len(sent)
    assert sock.state == "ESTABLISHED"
    wire.advance(1.1)
    wire("+0 < S 1:1(0) win 100\n +0 > . 1:1(0) ack 1")


def test_one_connections_challenges_say_nothing_about_anothers(wire: Wire) -> None:
    """CVE-2016-5696: no global budget."""
    wire.established()
    victim = wire.peer(50_000)
    wire.established(peer=victim)
    for _ in range(1000):
        wire.inject(wire.default.frame(segment("S 1:1(0) win 100")))
    while wire.take() is not None:
        pass
    victim("""
        +0 < S 1:1(0) win 100
        +0 > . 1:1(0) ack 1
    """)


@pytest.mark.parametrize("seq", [0, 1, 500, 100_000])
def test_a_syn_on_an_established_connection_is_challenged(wire: Wire, seq: int) -> None:
    """D3, D5; RFC 5961 4.2; then the stream goes on."""
    sock = wire.established()
    wire(f"""
        +0      < S  {seq}:{seq}(0) win 1000 <mss 500>
        +0      > .  1:1(0) ack 1
        +0      < P. 1:101(100) ack 1 win 257
        +0~+.05 > .  1:1(0) ack 101
    """)
    sock.send(1000)
    wire("+0 > P. 1:1001(1000) ack 101\n +0 < . 101:101(0) ack 1001 win 257")
    assert sock.state == "ESTABLISHED"


def test_a_peer_that_has_restarted_resets_by_the_challenge(wire: Wire) -> None:
    """RFC 5961 4.2; RFC 9293 3.5.1: half-open connection, recovered."""
    sock = wire.established()
    wire("""
        +0 < S 5000:5000(0) win 65535 <mss 1000>
        +0 > . 1:1(0) ack 1
        +0 < R 1:1(0)
    """)
    assert sock.state == "CLOSED"
    wire("""
        +1 < S  5000:5000(0) win 65535 <mss 1000>
        +0 > S. 0:0(0) ack 5001 <mss 1460>
    """)


def test_abort_sends_a_rst(wire: Wire) -> None:
    """RFC 9293 3.10.5: <SEQ=SND.NXT><CTL=RST>."""
    sock = wire.established()
    sock.send(1000)
    wire("+0 > P. 1:1001(1000) ack 1")
    sock.abort()
    taken = wire.take()
    assert taken is not None and "R" in taken[1].flags and taken[1].seq == 1001
    assert wire.default.state == "CLOSED"
    assert wire.engine.usage().mbufs_small == 0


@pytest.mark.parametrize("limited", [False, True])
def test_rsts_for_no_connection_are_limited(wire: Wire, limited: bool) -> None:
    """tcp.rst_ratelimit: a flood to closed ports is not reflected."""
    wire.settings(tcp_rst_ratelimit=5 if limited else 1000)
    peer = wire.default
    for seq in range(20):
        wire.inject(peer.frame(segment(f"S {seq}:{seq}(0) win 100")))
    assert len(list(iter(lambda: wire.take(peer=peer), None))) == (5 if limited else 20)


def test_a_rst_has_the_seq_and_ack_that_its_cause_demands(wire: Wire) -> None:
    """RFC 9293 3.5.2 group 1."""
    wire("""
        +0 < S   100:100(0)
        +0 > R.  0:0(0) ack 101
        +0 < S   100:150(50)
        +0 > R.  0:0(0) ack 151
        +0 < SF  100:150(50)
        +0 > R.  0:0(0) ack 152
        +0 < .   100:150(50) ack 777
        +0 > R   777:777(0)
        +0 < F   100:100(0)
        +0 > R.  0:0(0) ack 101
    """)


def test_a_segment_with_no_flags_at_all_is_borne(wire: Wire) -> None:
    """The null and the Christmas tree packet."""
    sock = wire.established()
    for text in ("- 1:1(0)", "- 1:101(100)", "FPU 1:1(0) urg 1"):
        wire(f"+0 < {text}")
    assert sock.state == "ESTABLISHED"
    assert sock.info.inq == 0


@pytest.mark.parametrize("bits", range(256))
def test_any_flags_leave_the_engine_sound(wire: Wire, bits: int) -> None:
    """256 flags, with text and without; at most one answer each."""
    wire.established(wscale=None, win=1000)
    peer = wire.default
    for length in (0, 10):
        frame = peer.frame(segment(f". 1:{1 + length}({length}) ack 1 win 1000"))
        wire.inject(with_flags(peer, frame, bits))
        assert len(list(iter(wire.take, None))) <= 1
        wire.engine.check()


def with_flags(peer: Peer, frame: bytes, bits: int) -> bytes:
    """The same segment with other flags."""
    src, dst = frames.packed(peer.address), frames.packed(peer.wire.engine.address)
    tcp = tcp_of(frame)
    body = frames.tcp(
        src,
        dst,
        peer.port,
        peer.our_port,
        int.from_bytes(tcp[4:8], "big"),
        int.from_bytes(tcp[8:12], "big"),
        bits,
        win=1000,
        payload=tcp[20:],
    )
    return frame[:14] + frames.ip(src, dst, frames.PROTO_TCP, body)


def tcp_of(frame: bytes) -> bytes:
    """The segment in a frame of ours, whose IPv4 headers have no options."""
    return frame[34 if frames.ethertype(frame) == frames.ETH_IPV4 else 54 :]


def test_reserved_bits_are_ignored(wire: Wire) -> None:
    """RFC 9293 3.1: must be ignored by receivers."""
    sock = wire.established()
    peer = wire.default
    frame = peer.frame(segment("P. 1:11(10) ack 1 win 257"))
    body = bytearray(tcp_of(frame))
    body[12] |= 0x0E
    body[16:18] = b"\0\0"
    src, dst = frames.packed(peer.address), frames.packed(wire.engine.address)
    pseudo = frames.pseudo(src, dst, frames.PROTO_TCP, len(body))
    body[16:18] = frames.checksum(pseudo + body).to_bytes(2, "big")
    wire.inject(frame[:14] + frames.ip(src, dst, frames.PROTO_TCP, bytes(body)))
    assert wire.take(0.05) is not None
    assert sock.info.inq == 10


# ------------------------------------------------------------ malformed headers


@pytest.mark.rfc("MUST-3")
@pytest.mark.parametrize(
    ("overrides", "counter"),
    [
        *[({"doff": n}, "tcp.drop.offset") for n in range(5)],
        ({"doff": 15}, "tcp.drop.offset"),
        ({"csum": 0}, "tcp.drop.checksum"),
        ({"csum": 0xFFFF}, "tcp.drop.checksum"),
    ],
    ids=str,
)
def test_a_malformed_header_is_dropped_and_named(
    wire: Wire, overrides: dict[str, int], counter: str
) -> None:
    """RFC 9293 MUST-3 (checksum)."""
    sock = wire.established()
    wire.inject(wire.default.frame(segment("P. 1:11(10) ack 1 win 257"), **overrides))
    wire.quiet(0.1)
    assert wire.stats[counter] == 1
    assert sock.info.inq == 0


@pytest.mark.parametrize("length", range(20))
def test_a_truncated_header_is_dropped_and_named(wire: Wire, length: int) -> None:
    wire.established()
    peer = wire.default
    frame = peer.frame(segment(". 1:1(0) ack 1"))
    src, dst = frames.packed(peer.address), frames.packed(wire.engine.address)
    packet = frames.ip(src, dst, frames.PROTO_TCP, tcp_of(frame)[:length])
    wire.inject(frame[:14] + packet)
    wire.silence()
    assert wire.stats["tcp.drop.short"] == 1


def test_a_reset_after_the_fin_leaves_the_end_of_the_stream_readable(wire: Wire) -> None:
    """As Linux: recv goes on to say EOF; the error is send's and SO_ERROR's."""
    sock = wire.established()
    wire("""
        +0 < F. 1:1(0) ack 1 win 257
        +0 > .  1:1(0) ack 2
        +0 < R  2:2(0) win 0
    """)
    assert [sock.recv(), sock.recv()] == [b"", b""]
    assert sock.error == errno.EPIPE
