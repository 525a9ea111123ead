# SPDX-License-Identifier: BSD-3-Clause
"""SYN cookies (RFC 4987 3.6; options in the timestamp as in Linux): no state for a SYN, all of it
back with the ACK."""

from __future__ import annotations

from pathlib import Path

import pytest

import notation
import rig
from programs import compile_with_engine, figures
from wire import Peer, Wire

MILLION = 10**6
MINUTE = 60
FULL_SYN = "S 0:0(0) win 65535 <mss 1000,sackOK,TS val 100 ecr 0,nop,wscale 7>"

both_versions = pytest.mark.both_versions


def overflow(wire: Wire, backlog: int = 1) -> int:
    """Listen, and fill the SYN queue with peers that will not answer."""
    listener = wire.listen(backlog=backlog)
    for port in range(1, backlog + 2):
        wire.inject(Peer(wire, port).frame(notation.parse_segment("S 0:0(0) win 65535")))
        wire.take(peer=Peer(wire, port))
    return listener


def forget(wire: Wire) -> None:
    """Let what waits to be sent go by."""
    wire.pump()
    wire.sent.clear()


def synack(wire: Wire, peer: Peer, syn: str = FULL_SYN) -> notation.Segment:
    """Send a SYN; the answer."""
    wire.inject(peer.frame(notation.parse_segment(syn)))
    taken = wire.take(peer=peer)
    assert taken is not None and taken[1].flags == "S."
    return taken[1]


def ecr(wire: Wire) -> int:
    """The TSval of the frame taken last, absolute."""
    return next(int(str(option[1])) for option in wire.last.options if option[0] == "TS")


def ack(wire: Wire, peer: Peer, echo: int | None = None, text: str = ". 1:1(0) ack 1") -> None:
    """The handshake's ACK, with an absolute TSecr."""
    options = f"<nop,nop,TS val 110 ecr {echo}>" if echo is not None else ""
    wire.inject(peer.frame(notation.parse_segment(f"{text} win 100 {options}")))


@both_versions
def test_a_full_syn_queue_answers_without_a_block(wire: Wire) -> None:
    overflow(wire)
    before = wire.engine.usage()
    synack(wire, wire.peer(1001))
    after = wire.engine.usage()
    assert (after.requests, after.tcbs, after.flows, after.timers) == (
        before.requests,
        before.tcbs,
        before.flows,
        before.timers,
    )
    assert wire.stats["tcp.syncookies.out"] == 1


@both_versions
def test_a_cookie_brings_all_options_back(wire: Wire) -> None:
    overflow(wire)
    peer = wire.peer(1001)
    answer = synack(wire, peer)
    assert answer.options is not None
    assert {option[0] for option in answer.options} >= {"mss", "sackOK", "TS", "wscale"}
    ack(wire, peer, ecr(wire))
    assert peer.state == "ESTABLISHED"
    info = peer.info
    assert info is not None
    assert (info.snd_mss, info.snd_wscale, info.snd_wnd) == (1000 - 12, 7, 100 << 7)
    assert (info.sack_ok, info.ts_ok, info.ts_recent) == (1, 1, 110)
    assert wire.stats["tcp.syncookies.in"] == 1


@pytest.mark.parametrize("sack", [False, True])
@pytest.mark.parametrize("wscale", [None, 0, 1, 14])
def test_each_option_is_kept_as_it_was(wire: Wire, sack: bool, wscale: int | None) -> None:
    """A scale of 0 is not the same as none."""
    overflow(wire)
    peer = wire.peer(1001)
    options = ["mss 1000", *["sackOK"] * sack, "TS val 100 ecr 0"]
    options += [] if wscale is None else [f"wscale {wscale}"]
    synack(wire, peer, f"S 0:0(0) win 65535 <{','.join(options)}>")
    ack(wire, peer, ecr(wire))
    info = peer.info
    assert info is not None
    assert (info.sack_ok, info.wscale_ok) == (sack, wscale is not None)
    assert info.snd_wscale == (wscale or 0)
    assert info.ts_ok == 1


@pytest.mark.parametrize("mss", [*range(48, 1500, 37), 1459, 1460])
def test_the_mss_is_never_larger_than_the_peers_and_nearly_as_large(wire: Wire, mss: int) -> None:
    overflow(wire)
    peer = wire.peer(1001)
    synack(wire, peer, f"S 0:0(0) win 65535 <mss {mss}>")
    ack(wire, peer)
    info = peer.info
    assert info is not None
    assert 0.37 * mss <= info.snd_mss <= mss
    if mss in (1459, 1460):
        assert info.snd_mss >= 1440


def test_a_syn_without_an_mss_is_sent_536_bytes(wire: Wire) -> None:
    """MUST-15"""
    overflow(wire)
    peer = wire.peer(1001)
    synack(wire, peer, "S 0:0(0) win 65535")
    ack(wire, peer)
    assert peer.info is not None and peer.info.snd_mss == 536


@both_versions
def test_without_timestamps_a_cookie_offers_an_mss_only(wire: Wire) -> None:
    """As Linux: there is nowhere to keep a scale, so none may be agreed."""
    overflow(wire)
    peer = wire.peer(1001)
    answer = synack(wire, peer, "S 0:0(0) win 65535 <mss 1000,sackOK,nop,wscale 7>")
    assert answer.options is not None and {option[0] for option in answer.options} == {"mss"}
    ack(wire, peer)
    info = peer.info
    assert info is not None
    assert (info.snd_mss, info.snd_wscale, info.snd_wnd, info.sack_ok) == (1000, 0, 100, 0)


@both_versions
def test_a_connection_by_cookie_carries_data_both_ways(wire: Wire) -> None:
    listener = overflow(wire)
    peer = wire.peer(1001)
    synack(wire, peer, "S 0:0(0) win 65535 <mss 1000>")
    ack(wire, peer)
    handle = wire.engine.accept(listener)
    peer("""
        +0      < P. 1:101(100) ack 1 win 100
        +0~+.05 > .  1:1(0) ack 101
    """)
    assert len(wire.engine.recv(handle)) == 100
    peer.stream = b"x" * 50
    wire.engine.send(handle, peer.stream)
    wire.pump()
    peer("+0 > P. 1:51(50) ack 101\n +.01 < . 101:101(0) ack 51 win 100")
    wire.engine.check()


def test_the_first_data_opens_the_connection_when_the_ack_was_lost(wire: Wire) -> None:
    listener = overflow(wire)
    peer = wire.peer(1001)
    synack(wire, peer)
    ack(wire, peer, ecr(wire), "P. 1:11(10) ack 1")
    forget(wire)
    assert len(wire.engine.recv(wire.engine.accept(listener))) == 10


def test_our_timestamps_never_step_back_behind_a_cookies(wire: Wire) -> None:
    """RFC 7323 5.3: the peer would drop what follows."""
    overflow(wire)
    for step in range(70):
        wire.advance(0.001)
        forget(wire)
        peer = wire.peer(1001 + step)
        synack(wire, peer)
        cookie = ecr(wire)
        ack(wire, peer, cookie, "P. 1:11(10) ack 1")
        if (taken := wire.take(0.05, peer)) is not None:
            assert rig.lib.ust_seq_leq(cookie, ecr(wire)), taken
        wire.engine.abort(wire.engine.accept(wire._listener or 0))
        forget(wire)


def test_a_burst_of_syns_larger_than_the_backlog_is_served_at_once(wire: Wire) -> None:
    """Nobody waits for a SYN's second sending."""
    listener = wire.listen(backlog=4)
    peers = [wire.peer(1000 + i) for i in range(40)]
    echoes = [ecr(wire) for peer in peers if synack(wire, peer)]
    for peer, echo in zip(peers, echoes, strict=True):
        ack(wire, peer, echo)
        wire.engine.accept(listener)
    assert {peer.state for peer in peers} == {"ESTABLISHED"}
    assert wire.stats["tcp.rexmt.syn"] == 0


@both_versions
def test_a_cookie_dies_in_its_third_minute(wire: Wire) -> None:
    overflow(wire)
    peer = wire.peer(1001)
    synack(wire, peer)
    echo = ecr(wire)
    wire.advance(2 * MINUTE)
    forget(wire)
    synack(wire, wire.peer(1002))  # the queue is empty by now: a block
    overflowed = wire.engine.usage().requests
    assert overflowed == 1
    ack(wire, peer, echo)
    assert peer.state == "CLOSED"
    assert wire.take(peer=peer) is not None and wire.last.bits & 4  # RST


def test_a_cookie_opens_in_the_minute_after_its_own(wire: Wire) -> None:
    overflow(wire)
    peer = wire.peer(1001)
    synack(wire, peer)
    echo = ecr(wire)
    wire.advance(MINUTE)
    forget(wire)
    ack(wire, peer, echo)
    assert peer.state == "ESTABLISHED"


def test_an_old_cookie_is_refused_though_the_listener_sends_new_ones(wire: Wire) -> None:
    wire.settings(tcp_syncookies=2)
    wire.listen()
    peer = wire.peer(1001)
    synack(wire, peer)
    echo = ecr(wire)
    for minute in range(1, 40):
        wire.advance(MINUTE)
        synack(wire, wire.peer(2000 + minute))
        if minute >= 2:
            ack(wire, peer, echo)
            assert peer.state == "CLOSED", f"after {minute} minutes"
            assert wire.take(peer=peer) is not None
    assert wire.stats["tcp.syncookies.bad"] == 38


def test_no_ack_is_read_as_a_cookie_when_none_were_sent(wire: Wire) -> None:
    """A quiet listener cannot be opened by guessing."""
    wire.listen()
    ack(wire, wire.peer(1001))
    assert wire.take() is not None and wire.last.bits & 4
    assert wire.stats["tcp.syncookies.bad"] == 0


@pytest.mark.parametrize("bit", range(32))
@pytest.mark.parametrize("field", ["seq", "ack"])
def test_a_cookie_with_a_bit_turned_over_is_refused(wire: Wire, field: str, bit: int) -> None:
    """The MSS that it holds is not to be chosen by the peer."""
    overflow(wire)
    peer = wire.peer(1001)
    synack(wire, peer, "S 0:0(0) win 65535 <mss 1000>")
    assert peer.iss is not None
    numbers = {"seq": peer.irs + 1, "ack": peer.iss + 1}
    numbers[field] ^= 1 << bit
    segment = notation.parse_segment(". 1:1(0) ack 1 win 100")
    wire.inject(
        peer.frame(
            notation.Segment(
                segment.flags, numbers["seq"] - peer.irs, 0, numbers["ack"] - peer.iss, 100
            )
        )
    )
    assert peer.state == "CLOSED"
    assert wire.take(peer=peer) is not None and wire.last.bits & 4
    assert wire.stats["tcp.syncookies.bad"] == 1


def test_a_cookie_belongs_to_its_flow(wire: Wire) -> None:
    overflow(wire)
    peer, thief = wire.peer(1001), wire.peer(1002)
    synack(wire, peer, "S 0:0(0) win 65535 <mss 1000>")
    thief.iss = peer.iss
    ack(wire, thief)
    assert thief.state == "CLOSED"
    assert wire.take(peer=thief) is not None and wire.last.bits & 4


@pytest.mark.parametrize("age", [-64, 64_000, 150_000, 2**31])
def test_a_timestamp_that_we_did_not_send_opens_nothing(wire: Wire, age: int) -> None:
    """Else the peer could pretend to options that it never offered, at any later time."""
    overflow(wire)
    peer = wire.peer(1001)
    synack(wire, peer)
    ack(wire, peer, (ecr(wire) - age) % 2**32)
    assert peer.state == ("ESTABLISHED" if age == 64_000 else "CLOSED")
    forget(wire)


@pytest.mark.parametrize(
    "text", ["S. 1:1(0) ack 1", "R. 1:1(0) ack 1", "R 1:1(0)", "SR. 1:1(0) ack 1"]
)
def test_only_a_plain_ack_brings_a_cookie(wire: Wire, text: str) -> None:
    overflow(wire)
    peer = wire.peer(1001)
    synack(wire, peer, "S 0:0(0) win 65535 <mss 1000>")
    ack(wire, peer, text=text)
    assert peer.state == "CLOSED"
    forget(wire)


def test_a_cookie_opens_though_a_block_was_made_for_a_later_syn(wire: Wire) -> None:
    """The SYN-ACK was slow, the SYN came again, and there was room by then."""
    overflow(wire)
    peer = wire.peer(1001)
    synack(wire, peer)
    first, echo = peer.iss, ecr(wire)
    for port in (1, 2):
        wire.inject(Peer(wire, port).frame(notation.parse_segment("R 1:1(0)")))
    synack(wire, peer)
    assert peer.state == "SYN_RECEIVED" and peer.iss != first
    peer.iss = first
    ack(wire, peer, echo)
    assert peer.state == "ESTABLISHED"
    assert wire.engine.usage().requests == 0
    assert wire.stats["tcp.resets.out"] == 0


def test_a_full_accept_queue_takes_no_cookie(wire: Wire) -> None:
    """And the peer's data, when it comes again, opens the connection."""
    listener = overflow(wire, backlog=0)
    peers = [wire.peer(1001), wire.peer(1002)]
    echoes = [ecr(wire) for peer in peers if synack(wire, peer)]
    for peer, echo in zip(peers, echoes, strict=True):
        ack(wire, peer, echo)
    assert [peer.state for peer in peers] == ["ESTABLISHED", "CLOSED"]
    assert wire.stats["tcp.drop.acceptq"] == 1
    wire.engine.accept(listener)
    ack(wire, peers[1], echoes[1], "P. 1:11(10) ack 1")
    assert peers[1].state == "ESTABLISHED"
    forget(wire)


def test_cookies_can_be_off(wire: Wire) -> None:
    """tcp.syncookies=0"""
    wire.settings(tcp_syncookies=0)
    overflow(wire)
    wire.peer(1001)("+0 < S 0:0(0) win 65535 <mss 1000>")
    assert wire.stats["tcp.drop.backlog"] == 1


def test_cookies_can_be_all_there_is(wire: Wire) -> None:
    """tcp.syncookies=2"""
    wire.settings(tcp_syncookies=2)
    wire.listen()
    peer = wire.peer(1001)
    synack(wire, peer)
    assert wire.engine.usage().requests == 0
    ack(wire, peer, ecr(wire))
    assert peer.state == "ESTABLISHED"


def test_two_engines_with_different_secrets_send_different_cookies(wire: Wire) -> None:
    seen = set()
    for number in range(8):
        other = Wire(secret=bytes([number]) * 32)
        overflow(other)
        peer = other.peer(1001)
        synack(other, peer)
        seen.add(peer.iss)
        other.free()
    assert len(seen) == 8


def test_nothing_of_slot_and_mss_shows_in_a_cookie(wire: Wire) -> None:
    """Else a forger would know eight bits of any cookie: the top ones are spread evenly."""
    overflow(wire)
    tops = [0] * 16
    for port in range(1001, 1801):
        peer = Peer(wire, port)
        synack(wire, peer)
        assert peer.iss is not None
        tops[peer.iss >> 28] += 1
    assert sum((n - 50) ** 2 / 50 for n in tops) < 37.7  # chi-square, 15 degrees, 0.1 %


# ------------------------------------------------------------------ a million of each


@pytest.fixture(scope="module")
def synflood(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """tests/c/synflood.c with the engine."""
    return compile_with_engine("synflood", tmp_path_factory.mktemp("synflood"))


@pytest.fixture(scope="module", params=[4, 6], ids=["ipv4", "ipv6"])
def flood(request: pytest.FixtureRequest, synflood: Path) -> dict[str, int]:
    """What it printed: 10^6 SYNs, a handshake, 2 * 10^6 forged ACKs."""
    return figures(synflood, request.param, MILLION, MILLION)


def test_a_million_syns_take_no_memory(flood: dict[str, int]) -> None:
    """ROBUSTNESS S01: 100,000 a second of random sources. Only the SYN queue fills."""
    assert flood["cookies"] >= MILLION - 512
    assert flood["tcbs"] <= 1 + 2  # the listener, and the two that meant it
    assert flood["requests"] == 512
    assert flood["flows"] <= 512 + 3 and flood["timers"] <= 512 + 8
    assert flood["mbufs"] <= 4 and flood["neighs"] == 1


def test_every_syn_of_a_flood_gets_one_answer(flood: dict[str, int]) -> None:
    """S01, BA: what goes out but once is a SYN-ACK; the blocks' are sent again."""
    assert MILLION <= flood["out"] <= MILLION + 512 * 6


def test_a_peer_that_means_it_connects_in_the_flood_with_all_options(flood: dict[str, int]) -> None:
    assert flood["state"] == rig.lib.UST_ESTABLISHED
    assert flood["wscale"] == 9
    assert flood["sack"] == flood["ts"] == 1
    assert flood["mss"] in (1460 - 12, 1440 - 12)


def test_no_forged_ack_of_two_million_opens_a_connection(flood: dict[str, int]) -> None:
    """S02: the odds are 2^-27 each, 1.5 % for all of these; the seed is fixed."""
    assert flood["forged"] == 0
    assert flood["refused"] == 2 * MILLION + 64
    assert flood["genuine"] == 1


def test_every_bit_of_a_cookie_changes_with_the_minute(wire: Wire) -> None:
    """RFC 4987 3.6: all but the top eight are of the hash, and must be guessed."""
    wire.settings(tcp_syncookies=2)
    wire.listen()
    peer, seen, changed = Peer(wire, 1001), set(), 0
    for _ in range(24):
        synack(wire, peer)
        assert peer.iss is not None
        seen.add(peer.iss)
        changed |= peer.iss ^ min(seen)
        wire.advance(MINUTE)
    assert changed & 0xFFFFFF == 0xFFFFFF
