# SPDX-License-Identifier: BSD-3-Clause
"""More accurate ECN: RFC 9768. ACE is the number of AE, CWR, ECE: `A` is 4, `W` 2, `E` 1."""

from __future__ import annotations

import pytest

import rig
from wire import Sock, Wire

MSS = 1000
NONE, CLASSIC, ACCURATE = 0, 1, 2
FIRST = "ECN e1b 1 ceb 0 e0b 1"


def flags(ace: int) -> str:
    """ACE in the notation."""
    return "E" * (ace & 1) + "W" * (ace >> 1 & 1) + "A" * (ace >> 2)


def passive(
    wire: Wire,
    *,
    ace: int = 7,
    mark: str = "noecn",
    answer: int | None = 2,
    third: int = 2,
    option: str = "",
) -> Sock:
    """A connection that the peer has opened; answer None: is not asserted."""
    wire.listen()
    wire.put(f"+0 < [{mark}] S{flags(ace)} 0:0(0) win 65535 <mss 1000,sackOK,nop,wscale 8>")
    taken = wire.take()
    assert taken is not None
    if answer is not None:
        assert taken[1].flags == f"S{flags(answer)}."
    wire.put(f"+.01 < {flags(third)}. 1:1(0) ack 1 win 1000 {option}")
    return wire.accept(wire.default)


def active(wire: Wire, answer: int, mark: str = "noecn", option: str = "") -> Sock:
    """A connection that we ask AccECN for."""
    wire.settings(tcp_ecn=3)
    sock = wire.connect()
    wire("+0 > [noecn] SEWA 0:0(0) <...>")
    wire.put(
        f"+.01 < [{mark}] S{flags(answer)}. 0:0(0) ack 1 win 65535 "
        f"<mss 1000,sackOK,nop,wscale 8{option}>"
    )
    return sock


# ---------------------------------------------------------------------- handshake: who gets what


@pytest.mark.parametrize(
    ("setting", "ace", "answer", "mode"),
    [
        # tcp.ecn 3..5 give AccECN to who asks for it (RFC 9768 table 2)
        (3, 7, 2, ACCURATE),
        (4, 7, 2, ACCURATE),
        (5, 7, 2, ACCURATE),
        # what has no meaning yet is taken as if it were 7 (RFC 9768 3.1.3)
        (3, 1, 2, ACCURATE),
        (3, 2, 2, ACCURATE),
        (3, 4, 2, ACCURATE),
        (3, 5, 2, ACCURATE),
        (3, 6, 2, ACCURATE),
        # classic ECN to who asks for that
        (3, 3, 1, CLASSIC),
        (5, 3, 1, CLASSIC),
        # and nothing to who asks for nothing
        (3, 0, 0, NONE),
        # who does not speak AccECN takes AE for nothing (RFC 3168)
        (1, 7, 1, CLASSIC),
        (2, 7, 1, CLASSIC),
        (2, 3, 1, CLASSIC),
        (2, 4, 0, NONE),
        (2, 6, 0, NONE),
        (2, 5, 0, NONE),
        (0, 7, 0, NONE),
        (0, 3, 0, NONE),
    ],
)
def test_a_listener_answers_by_the_table(
    wire: Wire, setting: int, ace: int, answer: int, mode: int
) -> None:
    wire.settings(tcp_ecn=setting)
    assert passive(wire, ace=ace, answer=answer, third=answer).info.ecn == mode


@pytest.mark.parametrize(("mark", "answer"), [("noecn", 2), ("ect1", 3), ("ect0", 4), ("ce", 6)])
def test_the_answer_tells_how_the_syn_arrived(wire: Wire, mark: str, answer: int) -> None:
    """RFC 9768 table 2."""
    wire.settings(tcp_ecn=3)
    assert passive(wire, mark=mark, answer=answer).info.ecn == ACCURATE


@pytest.mark.parametrize(
    ("answer", "mode"),
    [
        (2, ACCURATE),
        (3, ACCURATE),
        (4, ACCURATE),
        (6, ACCURATE),
        (5, ACCURATE),  # RFC 9768 3.1.3: of the future
        (1, CLASSIC),
        (0, NONE),
        (7, NONE),  # a broken one, which mirrors
    ],
)
def test_we_take_the_answer_by_the_table(wire: Wire, answer: int, mode: int) -> None:
    sock = active(wire, answer)
    while wire.take():
        pass
    assert sock.info.ecn == mode


@pytest.mark.parametrize(("mark", "third"), [("noecn", 2), ("ect1", 3), ("ect0", 4), ("ce", 6)])
def test_the_third_segment_tells_how_the_answer_arrived(wire: Wire, mark: str, third: int) -> None:
    """RFC 9768 table 3."""
    active(wire, 2, mark)
    wire(f"+0 > {flags(third)}. 1:1(0) ack 1")


def test_the_third_segment_has_no_text(wire: Wire) -> None:
    """RFC 9768 3.2.2.1: its ACE would be taken for a count."""
    sock = active(wire, 2)
    wire("+0 > W. 1:1(0) ack 1")
    sock.send(500)
    wire("+0 > [ect0] PEA. 1:501(500) ack 1")


def test_text_that_waited_for_the_handshake_follows_the_third_segment(wire: Wire) -> None:
    wire.settings(tcp_ecn=3)
    sock = wire.connect()
    wire("+0 > SEWA 0:0(0) <...>")
    wire.put("+.01 < SW. 0:0(0) ack 1 win 65535 <mss 1000,sackOK,nop,wscale 8>")
    sock.send(500)
    wire("""
        +0 > W.   1:1(0) ack 1
        +0 > PEA. 1:501(500) ack 1
    """)


def test_a_syn_is_repeated_once_with_the_flags(wire: Wire) -> None:
    """RFC 9768 3.1.4.1."""
    wire.settings(tcp_ecn=3)
    wire.connect()
    wire("""
        +0 > SEWA 0:0(0) <...>
        +1 > SEWA 0:0(0) <...>
        +2 > S    0:0(0) <...>
    """)


def test_an_answer_is_repeated_without_option_and_then_without_flags(wire: Wire) -> None:
    """RFC 9768 3.2.3.2.2; the mode stays."""
    wire.settings(tcp_ecn=3)
    wire.listen()
    wire(f"""
        +0 < SEWA 0:0(0) win 65535 <mss 1000>
        +0 > SW.  0:0(0) ack 1 <mss 1460,{FIRST}>
        +1 > SW.  0:0(0) ack 1 <mss 1460>
        +2 > S.   0:0(0) ack 1 <mss 1460>
        +0 < W.   1:1(0) ack 1 win 1000
    """)
    assert wire.accept(wire.default).info.ecn == ACCURATE


def test_the_options_stand_as_in_linux(wire: Wire) -> None:
    wire.settings(tcp_ecn=3)
    wire.listen()
    wire(f"""
        +0 < SEWA 0:0(0) win 65535 <mss 1000,sackOK,nop,wscale 8>
        +0 > SW.  0:0(0) ack 1 <mss 1460,{FIRST},nop,nop,nop,sackOK,nop,wscale 7>
    """)


def test_a_simultaneous_open_gets_it(wire: Wire) -> None:
    wire.settings(tcp_ecn=3)
    sock = wire.connect()
    wire(f"""
        +0 > SEWA 0:0(0) <...>
        +0 < SEWA 0:0(0) win 1000 <mss 1000>
        +0 > SW.  0:0(0) ack 1 <mss 1460,{FIRST}>
        +0 < .    1:1(0) ack 1 win 1000
    """)
    assert sock.info.ecn == ACCURATE


def test_a_cookie_leads_to_classic_ecn(wire: Wire) -> None:
    """There is no place for more."""
    wire.settings(tcp_ecn=3, tcp_syncookies=2)
    wire.listen()
    wire("""
        +0 < SEWA 0:0(0) win 65535 <mss 1000,sackOK,TS val 100 ecr 0,nop,wscale 8>
        +0 > SE.  0:0(0) ack 1 <...>
    """)


# ---------------------------------------------------------------------- handshake: broken paths


@pytest.mark.parametrize("answer", [3, 4, 6])
def test_a_mark_that_our_syn_did_not_have_means_no_ect(wire: Wire, answer: int) -> None:
    """RFC 9768 3.2.2.3: the path changes marks; we still tell of the peer's."""
    sock = active(wire, answer)
    while wire.take():
        pass
    sock.send(500)
    wire("+0 > [noecn] PEA. 1:501(500) ack 1")


@pytest.mark.parametrize("third", [0, 3, 4, 6])
def test_a_third_segment_that_cannot_be_means_no_ect(wire: Wire, third: int) -> None:
    """RFC 9768 table 4 and 3.2.2.4: zero was cleared on the way."""
    wire.settings(tcp_ecn=3)
    sock = passive(wire, third=third)
    sock.send(500)
    wire("+0 > [noecn] PEA. 1:501(500) ack 1")


@pytest.mark.parametrize("third", [1, 2, 5, 7])
def test_other_third_segments_do_no_harm(wire: Wire, third: int) -> None:
    """RFC 9768 table 4."""
    wire.settings(tcp_ecn=3)
    sock = passive(wire, third=third)
    sock.send(500)
    wire("+0 > [ect0] PEA. 1:501(500) ack 1")
    assert sock.info.delivered_ce == 0


# ------------------------------------------------------------------------------------- receiving


def test_each_mark_is_counted_in_the_header(wire: Wire) -> None:
    """RFC 9768 3.2.2: the counter begins at 5, modulo 8."""
    wire.settings(tcp_ecn=3)
    passive(wire)
    count = 5
    for nth in range(12):
        mark = "ce" if nth % 3 == 0 else "ect0"
        count += mark == "ce"
        wire(f"""
            +0 < [{mark}] P. {1 + nth * MSS}:{1001 + nth * MSS}(1000) ack 1 win 1000
            +0 > {flags(count % 8)}. 1:1(0) ack {1001 + nth * MSS}
        """)


def test_a_mark_on_a_pure_ack_is_counted_but_not_acknowledged(wire: Wire) -> None:
    """RFC 9768 3.2.2.5.1: or two hosts would go on for ever."""
    wire.settings(tcp_ecn=3)
    sock = passive(wire)
    sock.send(500)
    wire("""
        +0   > PEA. 1:501(500) ack 1
        +.01 < [ce] EA. 1:1(0) ack 501 win 1000
    """)
    sock.send(500)
    wire("+0 > PWA. 501:1001(500) ack 1")


def test_a_change_of_the_mark_is_told_at_once(wire: Wire) -> None:
    """RFC 9768 3.2.2.5.1: change-triggered ACKs."""
    wire.settings(tcp_ecn=3, tcp_quickack_segs=0)
    passive(wire)
    wire("""
        +0 < [ect0] P. 1:101(100) ack 1 win 1000
        +0 > EA. 1:1(0) ack 101
        +0 < [ect0] P. 101:201(100) ack 1 win 1000
        +0 < [ce]   P. 201:301(100) ack 1 win 1000
        +0 > WA. 1:1(0) ack 301
        +0 < [ect0] P. 301:401(100) ack 1 win 1000
        +0 > WA. 1:1(0) ack 401
    """)


def test_bytes_are_told_by_their_mark(wire: Wire) -> None:
    """RFC 9768 3.2.3: once the peer has shown the option."""
    wire.settings(tcp_ecn=3)
    passive(wire, option=f"<{FIRST}>")
    wire("""
        +0 < [ect0] P. 1:1001(1000) ack 1 win 1000
        +0 > EA. 1:1(0) ack 1001 <ECN e1b 1 ceb 0 e0b 1001>
        +0 < [ce] P. 1001:1501(500) ack 1 win 1000
        +0 > WA. 1:1(0) ack 1501 <ECN e1b 1 ceb 500 e0b 1001>
        +0 < [ect1] P. 1501:1601(100) ack 1 win 1000
        +0 > WA. 1:1(0) ack 1601 <ECN e1b 101 ceb 500 e0b 1001>
        +0 < P. 1601:1701(100) ack 1 win 1000
        +0 > WA. 1:1(0) ack 1701 <ECN e1b 101 ceb 500 e0b 1001>
    """)


def test_tcp_info_tells_the_counts(wire: Wire) -> None:
    wire.settings(tcp_ecn=3)
    sock = passive(wire)
    wire("""
        +0 < [ect0] P. 1:1001(1000) ack 1 win 1000
        +0 > EA. 1:1(0) ack 1001
        +0 < [ce] P. 1001:1501(500) ack 1 win 1000
        +0 > WA. 1:1(0) ack 1501
    """)
    info = sock.info
    assert (info.received_ce, info.received_ce_bytes) == (1, 500)
    assert (info.received_e0_bytes, info.received_e1_bytes) == (1000, 0)
    assert info.ecn_seen


def test_the_option_makes_room_for_sack(wire: Wire) -> None:
    """RFC 9768 3.2.3.3: SACK goes first."""
    wire.settings(tcp_ecn=3)
    passive(wire, option=f"<{FIRST}>")
    three = "5001:5501 3001:3501 1001:1501"
    wire(f"""
        +0 < [ect0] P. 1001:1501(500) ack 1 win 1000
        +0 > EA. 1:1(0) ack 1 <ECN e1b 1 ceb 0 e0b 501,nop,nop,nop,sack 1001:1501>
        +0 < [ect0] P. 3001:3501(500) ack 1 win 1000
        +0 > EA. 1:1(0) ack 1 <ECN e1b 1 ceb 0 e0b 1001,nop,nop,nop,sack 3001:3501 1001:1501>
        +0 < [ect0] P. 5001:5501(500) ack 1 win 1000
        +0 > EA. 1:1(0) ack 1 <ECN e1b 1 ceb 0 e0b 1501,nop,nop,nop,sack {three}>
        +0 < [ect0] P. 7001:7501(500) ack 1 win 1000
        +0 > EA. 1:1(0) ack 1 <nop,nop,sack 7001:7501 {three}>
    """)


def test_beside_timestamps_and_two_blocks_the_option_has_two_fields(wire: Wire) -> None:
    """RFC 9768 3.2.3: trailing fields may be left out; eight bytes are free."""
    wire.settings(tcp_ecn=3)
    wire.listen()
    wire(f"""
        +0 < SEWA 0:0(0) win 65535 <mss 1000,sackOK,TS val 100 ecr 0,nop,wscale 8>
        +0 > SW. 0:0(0) ack 1 <mss 1460,sackOK,TS val 100 ecr 100,{FIRST},wscale 7>
        +0 < W. 1:1(0) ack 1 win 1000 <nop,nop,TS val 100 ecr 100,{FIRST}>
        +0 < [ect0] P. 1001:1501(500) ack 1 win 1000 <nop,nop,TS val 100 ecr 100>
        +0 > EA. 1:1(0) ack 1 <TS val 100 ecr 100,ECN e1b 1 ceb 0 e0b 501,sack 1001:1501>
        +0 < [ect0] P. 3001:3501(500) ack 1 win 1000 <nop,nop,TS val 100 ecr 100>
        +0 > EA. 1:1(0) ack 1 <TS val 100 ecr 100,ECN e1b 1 ceb 0,sack 3001:3501 1001:1501>
    """)


@pytest.mark.parametrize("setting", [0, 1])
def test_the_option_can_be_rare_or_off(wire: Wire, setting: int) -> None:
    wire.settings(tcp_ecn=3, tcp_ecn_option=setting)
    passive(wire, option=f"<{FIRST}>")
    changed = "<ECN e1b 1 ceb 0 e0b 1001>" if setting else ""
    wire(f"""
        +0 < [ect0] P. 1:1001(1000) ack 1 win 1000
        +0 > EA. 1:1(0) ack 1001 {changed}
        +0 < [ect0] P. 1001:2001(1000) ack 1 win 1000
        +0 > EA. 1:1(0) ack 2001
    """)


def test_a_full_segment_has_no_option(wire: Wire) -> None:
    """It would not fit into the packet."""
    wire.settings(tcp_ecn=3)
    sock = passive(wire, option=f"<{FIRST}>")
    sock.send(1100)
    wire(f"""
        +0 > [ect0] EA.  1:1001(1000) ack 1
        +0 > [ect0] PEA. 1001:1101(100) ack 1 <{FIRST}>
    """)


def test_malformed_options_are_nothing(wire: Wire) -> None:
    """MUST-7."""
    wire.settings(tcp_ecn=3)
    passive(wire, option="<hex ae0400000101>")
    wire("""
        +0 < P. 1:1001(1000) ack 1 win 1000
        +0 > EA. 1:1(0) ack 1001
    """)


# ---------------------------------------------------------------------------------------- sending


def sending(wire: Wire, segments: int = 10, option: str = "") -> Sock:
    """A connection with so many segments in flight."""
    wire.settings(tcp_ecn=3, tcp_congestion_control="reno")
    sock = passive(wire, option=option)
    sock.send(segments * MSS)
    while wire.take():
        pass
    return sock


def test_a_mark_brings_the_window_down_and_sends_no_cwr(wire: Wire) -> None:
    """RFC 9768 3.3: as a classic echo; the flag belongs to the counter."""
    sock = sending(wire)
    wire.put("+.01 < WA. 1:1(0) ack 2001 win 1000")
    assert sock.info.ca_state == rig.lib.UST_CA_CWR
    assert sock.info.ssthresh == 5 * MSS
    assert sock.info.delivered_ce == 1
    wire.put("+.001 < WA. 1:1(0) ack 10001 win 1000")
    sock.send(500)
    wire("+0 > PEA. 10001:10501(500) ack 1")


def test_the_same_count_again_is_no_news(wire: Wire) -> None:
    sock = sending(wire)
    wire.put("+.01 < EA. 1:1(0) ack 2001 win 1000")
    wire.put("+.001 < EA. 1:1(0) ack 4001 win 1000")
    assert sock.info.delivered_ce == 0
    assert sock.info.ca_state == rig.lib.UST_CA_OPEN


def test_a_lap_of_the_counter_is_assumed_where_it_may_be(wire: Wire) -> None:
    """RFC 9768 A.2: ten packets in one ACK, the count one further: nine is the safe guess."""
    sock = sending(wire)
    wire.put("+.01 < WA. 1:1(0) ack 10001 win 1000")
    assert sock.info.delivered_ce == 9


def test_the_option_says_that_there_was_no_lap(wire: Wire) -> None:
    """RFC 9768 A.2.2."""
    sock = sending(wire, option=f"<{FIRST}>")
    wire.put("+.01 < WA. 1:1(0) ack 10001 win 1000 <ECN e1b 1 ceb 1000 e0b 9001>")
    assert sock.info.delivered_ce == 1


def test_the_other_order_of_the_option_is_understood(wire: Wire) -> None:
    """RFC 9768 3.2.3: kind 172."""
    sock = sending(wire, option="<ECN e0b 1 ceb 0 e1b 1>")
    wire.put("+.01 < WA. 1:1(0) ack 10001 win 1000 <ECN e0b 9001 ceb 1000 e1b 1>")
    assert sock.info.delivered_ce == 1


def test_a_duplicate_ack_tells_no_count(wire: Wire) -> None:
    """Its place in time is not known."""
    sock = sending(wire)
    wire.put("+.01 < EA. 1:1(0) ack 1001 win 1000")
    wire.put("+.001 < WA. 1:1(0) ack 1001 win 1000")
    assert sock.info.delivered_ce == 0


def test_a_count_with_the_cwr_bit_goes_with_single_segments(wire: Wire) -> None:
    """An offload engine clears CWR after the first part (RFC 9768 5.2)."""
    wire.options["caps"] = rig.lib.UST_CAP_TSO | rig.lib.UST_CAP_TX_CSUM
    wire.settings(tcp_ecn=3)
    sock = passive(wire)
    sock.send(4 * MSS)
    assert [segment.length for _, segment in iter(wire.take, None)] == [2 * MSS, 2 * MSS]
    wire("""
        +.01 < [ce] PEA. 1:1001(1000) ack 4001 win 1000
        +0 > WA. 4001:4001(0) ack 1001
    """)
    sock.send(2 * MSS)
    wire("""
        +0 > WA.  4001:5001(1000) ack 1001
        +0 > PWA. 5001:6001(1000) ack 1001
    """)


def test_two_fields_are_told_where_three_do_not_fit(wire: Wire) -> None:
    """RFC 9768 3.2.3: beside timestamps and two SACK blocks there are eight bytes."""
    wire.settings(tcp_ecn=3)
    wire.listen()
    ts = "<mss 1000,sackOK,TS val 100 ecr 0,nop,wscale 8>"
    wire.put(f"+0 < SEWA 0:0(0) win 65535 {ts}")
    assert wire.take() is not None
    ecr = wire._first_ts(wire.default)
    stamp = f"nop,nop,TS val 101 ecr {ecr}"
    wire.put(f"+.01 < W. 1:1(0) ack 1 win 1000 <{stamp},{FIRST}>")
    wire.accept(wire.default)
    wire.put(f"+0 < [ect0] P. 1001:1501(500) ack 1 win 1000 <{stamp}>")
    _, one = wire.take() or (0, None)
    assert one is not None and ("ECN", *_ecn(one)) == ("ECN", 1, 0, 501)
    wire.put(f"+0 < [ce] P. 3001:3501(500) ack 1 win 1000 <{stamp}>")
    _, two = wire.take() or (0, None)
    assert two is not None and _ecn(two) == [1, 500]


def _ecn(segment: object) -> list[int]:
    """The numbers of the option."""
    for option in segment.options:  # type: ignore[attr-defined]
        if option[0] == "ECN":
            return [int(field[-1]) for field in option[1:]]
    return []


def test_an_option_that_comes_later_shows_that_the_path_bears_it(wire: Wire) -> None:
    """RFC 9768 3.2.3.2."""
    wire.settings(tcp_ecn=3)
    passive(wire)
    wire(f"""
        +0 < [ect0] P. 1:1001(1000) ack 1 win 1000
        +0 > EA. 1:1(0) ack 1001
        +0 < [ect0] P. 1001:2001(1000) ack 1 win 1000 <{FIRST}>
        +0 > EA. 1:1(0) ack 2001 <ECN e1b 1 ceb 0 e0b 2001>
    """)


def test_the_bytes_may_leap_by_almost_half_of_their_range(wire: Wire) -> None:
    """RFC 9768 3.2.3: modulo 2^24; only what is beyond the half of that is of an older ACK."""
    sock = sending(wire, option=f"<{FIRST}>")
    wire.put("+.01 < WA. 1:1(0) ack 1001 win 1000 <ECN e1b 1 ceb 8000000 e0b 1>")
    wire.put("+.001 < EWA. 1:1(0) ack 10001 win 1000 <ECN e1b 1 ceb 8001000 e0b 8001>")
    assert sock.info.delivered_ce == 2  # by a thousand bytes, so there was no lap
