# SPDX-License-Identifier: BSD-3-Clause
"""Explicit congestion notification in the classic way: RFC 3168."""

from __future__ import annotations

import pytest

import rig
from wire import Sock, Wire

pytestmark = pytest.mark.both_versions

MSS = 1000
ECN_SYN = "+0 < SEW 0:0(0) win 65535 <mss 1000,sackOK,nop,wscale 8>"


def passive(wire: Wire, syn: str = ECN_SYN, answer: str = "SE.") -> Sock:
    """A connection that the peer has opened."""
    wire.listen()
    peer = wire.default
    peer(f"{syn}\n+0 > [noecn] {answer} 0:0(0) ack 1 <...>\n+.01 < . 1:1(0) ack 1 win 1000")
    return wire.accept(peer)


def active(wire: Wire, ask: int = 1, answer: str = "SE.") -> Sock:
    """A connection that we have opened."""
    wire.settings(tcp_ecn=ask)
    sock = wire.connect()
    flags = {0: "S", 1: "SEW", 2: "S", 3: "SEWA", 4: "SEW", 5: "S"}[ask]
    wire(f"""
        +0   > [noecn] {flags} 0:0(0) <...>
        +.01 < {answer} 0:0(0) ack 1 win 65535 <mss 1000,sackOK,nop,wscale 8>
        +0   > . 1:1(0) ack 1
        +0   < . 1:1(0) ack 1 win 1000
    """)
    return sock


# -------------------------------------------------------------------------------------- handshake


@pytest.mark.rfc("SHLD-8")
@pytest.mark.parametrize("ask", [1, 2, 4])
def test_who_asks_is_given(wire: Wire, ask: int) -> None:
    """RFC 3168 6.1.1; 2 is the default."""
    wire.settings(tcp_ecn=ask)
    assert passive(wire).info.ecn == 1


@pytest.mark.rfc("SHLD-8")
def test_who_asks_is_given_by_default(wire: Wire) -> None:
    """As Linux."""
    assert passive(wire).info.ecn == 1


def test_nobody_is_given_when_it_is_off(wire: Wire) -> None:
    wire.settings(tcp_ecn=0)
    assert passive(wire, answer="S.").info.ecn == 0


@pytest.mark.parametrize("flags", ["S", "SE", "SW"])
def test_half_a_question_is_none(wire: Wire, flags: str) -> None:
    """RFC 3168 6.1.1: both flags make an ECN-setup SYN."""
    assert passive(wire, ECN_SYN.replace("SEW", flags), "S.").info.ecn == 0


def test_a_marked_syn_is_not_answered_with_ecn(wire: Wire) -> None:
    """As Linux: a path that sets ECT on a SYN sets it on anything."""
    assert passive(wire, ECN_SYN.replace("SEW", "[ect0] SEW"), "S.").info.ecn == 0


@pytest.mark.parametrize("ask", [1, 4])
def test_we_ask_when_we_may(wire: Wire, ask: int) -> None:
    assert active(wire, ask).info.ecn == 1


@pytest.mark.parametrize("ask", [0, 2, 5])
def test_we_do_not_ask_otherwise(wire: Wire, ask: int) -> None:
    assert active(wire, ask).info.ecn == 0


@pytest.mark.parametrize("answer", ["S.", "SEW.", "SW."])
def test_a_peer_without_ecn_gets_none(wire: Wire, answer: str) -> None:
    """RFC 3168 6.1.1: ECE alone is the answer; both flags only mirror ours."""
    assert active(wire, answer=answer).info.ecn == 0


def test_a_syn_is_repeated_without_the_flags(wire: Wire) -> None:
    """RFC 3168 6.1.1.1: some drop it for them."""
    wire.settings(tcp_ecn=1)
    wire.connect()
    wire("""
        +0 > SEW 0:0(0) <...>
        +1 > S   0:0(0) <...>
    """)


def test_a_simultaneous_open_has_what_both_ask_for(wire: Wire) -> None:
    wire.settings(tcp_ecn=1)
    sock = wire.connect()
    wire("""
        +0 > SEW 0:0(0) <...>
        +0 < SEW 0:0(0) win 1000 <mss 1000>
        +0 > SE. 0:0(0) ack 1 <...>
        +0 < .   1:1(0) ack 1 win 1000
    """)
    assert sock.info.ecn == 1


def test_a_cookie_keeps_ecn(wire: Wire) -> None:
    """In the place that the timestamp has for it."""
    wire.settings(tcp_syncookies=2)
    wire.listen()
    wire.put("+0 < SEW 0:0(0) win 65535 <mss 1000,sackOK,TS val 100 ecr 0,nop,wscale 8>")
    taken = wire.take()
    assert taken is not None
    assert taken[1].flags == "SE."
    (ts,) = (option for option in wire.last.options if option[0] == "TS")
    wire.default.ts_offset = 0
    wire(f"+.01 < . 1:1(0) ack 1 win 1000 <nop,nop,TS val 110 ecr {ts[1]}>")
    assert wire.accept(wire.default).info.ecn == 1


def test_a_cookie_gives_no_ecn_to_who_did_not_ask(wire: Wire) -> None:
    wire.settings(tcp_syncookies=2)
    wire.listen()
    wire.put("+0 < S 0:0(0) win 65535 <mss 1000,sackOK,TS val 100 ecr 0,nop,wscale 8>")
    taken = wire.take()
    assert taken is not None
    assert taken[1].flags == "S."
    (ts,) = (option for option in wire.last.options if option[0] == "TS")
    wire.default.ts_offset = 0
    wire(f"+.01 < . 1:1(0) ack 1 win 1000 <nop,nop,TS val 110 ecr {ts[1]}>")
    assert wire.accept(wire.default).info.ecn == 0


# ----------------------------------------------------------------------------------------- sender


def test_only_text_that_is_new_is_ect(wire: Wire) -> None:
    """RFC 3168 6.1.4, 6.1.5: neither pure ACKs nor retransmissions."""
    sock = passive(wire)
    sock.send(500)
    wire("""
        +0   > [ect0]  P. 1:501(500) ack 1
        +.01 < P. 1:101(100) ack 1 win 1000
        +0   > [noecn] .  501:501(0) ack 101
    """)
    taken = wire.take(1)
    assert taken is not None
    assert (taken[1].seq, taken[1].mark) == (1, 0)
    wire("+0 < . 101:101(0) ack 501 win 1000")


def test_a_connection_without_ecn_sends_no_ect(wire: Wire) -> None:
    sock = wire.established(mss=MSS)
    sock.send(500)
    wire("+0 > [noecn] P. 1:501(500) ack 1")


def test_a_fin_without_text_is_not_ect(wire: Wire) -> None:
    sock = passive(wire)
    sock.shutdown()
    wire("+0 > [noecn] F. 1:1(0) ack 1")


@pytest.mark.rfc("SHLD-8")
def test_an_echo_brings_the_window_down_once_a_round_trip(wire: Wire) -> None:
    """RFC 3168 6.1.2: as for a loss, but nothing is sent again; and CWR tells of it."""
    wire.settings(tcp_congestion_control="reno")
    sock = passive(wire)
    sock.send(20 * MSS)
    wire(
        "\n".join(f"+0 > [ect0] . {n}001:{n + 1}001(1000) ack 1" for n in range(10)).replace(
            " 0001:", " 1:"
        )
    )
    flags = []

    def acknowledge(line: str) -> None:
        wire.put(line)
        while taken := wire.take():
            flags.append(taken[1].flags)

    acknowledge("+.01 < E. 1:1(0) ack 2001 win 1000")
    assert sock.info.ca_state == rig.lib.UST_CA_CWR
    acknowledge("+0 < E. 1:1(0) ack 4001 win 1000")
    for end in range(6001, 20002, 2000):
        acknowledge(f"+.001 < . 1:1(0) ack {end} win 1000")
    assert ["W" in each for each in flags] == [True] + [False] * (len(flags) - 1)
    assert sock.info.ca_state == rig.lib.UST_CA_OPEN
    assert sock.info.ssthresh == 5 * MSS
    assert wire.stats["tcp.rexmt.segs"] == 0


def test_a_second_mark_in_the_next_round_trip_brings_it_down_again(wire: Wire) -> None:
    wire.settings(tcp_congestion_control="reno")
    sock = passive(wire)
    for _ in range(2):
        before = sock.info.ssthresh
        sock.send(20 * MSS)
        while wire.take():
            pass
        end = sock.peer.ours(sock.info.snd_max)
        wire.put(f"+.01 < E. 1:1(0) ack {end} win 1000")
        assert sock.info.ssthresh < before
        wire.deliver(sock, win=1000)
        sock.send(MSS)
        wire.deliver(sock, win=1000)


def test_an_echo_without_ecn_is_nothing(wire: Wire) -> None:
    sock = wire.established(mss=MSS)
    sock.send(MSS)
    wire("""
        +0   > P. 1:1001(1000) ack 1
        +.01 < E. 1:1(0) ack 1001 win 257
    """)
    assert sock.info.ssthresh == 2**32 - 1
    assert sock.info.delivered_ce == 0


def test_cwr_goes_with_one_segment_of_a_window(wire: Wire) -> None:
    """A super-segment's flags would be copied to all its parts."""
    wire.options["caps"] = rig.lib.UST_CAP_TSO | rig.lib.UST_CAP_TX_CSUM
    sock = passive(wire)
    sock.send(30 * MSS)
    while wire.take():
        pass
    wire.put("+.01 < E. 1:1(0) ack 10001 win 1000")
    sent = [segment for _, segment in iter(wire.take, None)]
    assert ["W" in segment.flags for segment in sent] == [True] + [False] * (len(sent) - 1)
    assert sent[0].length == MSS
    assert max(segment.length for segment in sent[1:]) > MSS


# --------------------------------------------------------------------------------------- receiver


@pytest.mark.rfc("SHLD-8")
def test_a_mark_is_echoed_until_cwr_comes(wire: Wire) -> None:
    """RFC 3168 6.1.3."""
    passive(wire)
    wire("""
        +0 < [ect0] P. 1:1001(1000) ack 1 win 1000
        +0 > . 1:1(0) ack 1001
        +0 < [ce]   P. 1001:2001(1000) ack 1 win 1000
        +0 > E. 1:1(0) ack 2001
        +0 < [ect0] P. 2001:3001(1000) ack 1 win 1000
        +0 > E. 1:1(0) ack 3001
        +0 < [ect0] PW. 3001:4001(1000) ack 1 win 1000
        +0 > . 1:1(0) ack 4001
    """)


def test_a_mark_on_the_text_that_has_cwr_is_echoed(wire: Wire) -> None:
    """RFC 3168 6.1.3: CWR first, then the mark."""
    passive(wire)
    wire("""
        +0 < [ce] P. 1:1001(1000) ack 1 win 1000
        +0 > E. 1:1(0) ack 1001
        +0 < [ce] PW. 1001:2001(1000) ack 1 win 1000
        +0 > E. 1:1(0) ack 2001
    """)


def test_our_text_echoes_too(wire: Wire) -> None:
    sock = passive(wire)
    wire("""
        +0 < [ce] P. 1:1001(1000) ack 1 win 1000
        +0 > E. 1:1(0) ack 1001
    """)
    sock.send(100)
    wire("+0 > [ect0] PE. 1:101(100) ack 1001")


def test_a_mark_on_a_pure_ack_is_not_echoed(wire: Wire) -> None:
    """RFC 3168 6.1.4: it should not be there."""
    sock = passive(wire)
    sock.send(100)
    wire("""
        +0 > P. 1:101(100) ack 1
        +0 < [ce] . 1:1(0) ack 101 win 1000
    """)
    sock.send(100)
    wire("+0 > P. 101:201(100) ack 1")


def test_a_mark_without_ecn_is_not_echoed(wire: Wire) -> None:
    wire.established(mss=MSS)
    wire("""
        +0 < [ce] P. 1:1001(1000) ack 1 win 1000
        +0 > . 1:1(0) ack 1001
    """)


def test_tos_keeps_out_of_the_marks(wire: Wire) -> None:
    """As Linux: the two low bits belong to ECN."""
    sock = passive(wire)
    sock.setopt("TOS", 0xFF)
    assert sock.getopt("TOS") == 0xFC
    sock.send(100)
    wire("+0 > [ect0] P. 1:101(100) ack 1")
    assert wire.last.tos == 0xFE


def test_text_with_cwr_is_acknowledged_at_once(wire: Wire) -> None:
    """RFC 3168 6.1.3; as Linux: its window may be so small that no second segment comes."""
    wire.settings(tcp_ecn=1, tcp_quickack_segs=0)
    passive(wire)
    wire("""
        +0   < [ect0] P. 1:101(100) ack 1 win 1000
        +.04 > . 1:1(0) ack 101
        +0   < [ect0] PW. 101:201(100) ack 1 win 1000
        +0   > . 1:1(0) ack 201
    """)


def test_the_window_is_ssthresh_when_what_was_in_flight_has_arrived(wire: Wire) -> None:
    """RFC 3168 6.1.2: half, whatever the ACKs have let out in the meantime."""
    wire.settings(tcp_congestion_control="reno")
    sock = passive(wire)
    sock.send(10 * MSS)
    while wire.take() is not None:
        pass
    wire.put("+.01 < E. 1:1(0) ack 1001 win 1000")
    assert sock.info.ssthresh == 5 * MSS
    sock.send(5 * MSS)
    while wire.take() is not None:
        pass
    wire.put("+.01 < . 1:1(0) ack 10001 win 1000")
    while wire.take() is not None:
        pass
    end = sock.peer.ours(sock.info.snd_max)
    assert end > 10_001
    wire.put(f"+.01 < . 1:1(0) ack {end} win 1000")
    assert sock.info.ca_state == rig.lib.UST_CA_OPEN
    assert sock.info.cwnd == 6 * MSS  # and one for the window that this ACK acknowledges
    while wire.take() is not None:
        pass


def test_text_without_ect_after_text_with_it_is_acknowledged_at_once(wire: Wire) -> None:
    """RFC 3168 6.1.5: it is a retransmission, says Linux, and the peer has a small window."""
    wire.settings(tcp_quickack_segs=1)
    sock = passive(wire)
    assert not sock.info.ecn_seen
    wire("""
        +0 < [ect0] P. 1:101(100) ack 1 win 1000
        +0 > . 1:1(0) ack 101
        +0 < [ect0] P. 101:201(100) ack 1 win 1000
        +.01 < [noecn] P. 201:301(100) ack 1 win 1000
        +0 > . 1:1(0) ack 301
    """)
    assert sock.info.ecn_seen


def test_an_ack_of_all_and_more_brings_the_window_to_ssthresh_at_once(wire: Wire) -> None:
    """RFC 3168 6.1.2: not only ACK by ACK; two segments are of what it acknowledges."""
    wire.settings(tcp_congestion_control="reno")
    sock = passive(wire)
    sock.send(20 * MSS)
    while wire.take() is not None:
        pass
    wire.put("+.01 < E. 1:1(0) ack 1001 win 1000")
    while wire.take() is not None:
        pass
    end = sock.peer.ours(sock.info.snd_max)
    assert end > 10_001 and sock.info.cwnd > 7 * MSS
    wire.put(f"+.01 < . 1:1(0) ack {end} win 1000")
    assert sock.info.ca_state == rig.lib.UST_CA_OPEN
    assert sock.info.cwnd <= 7 * MSS
    wire.sent.clear()
    sock.abort()
    wire.sent.clear()
