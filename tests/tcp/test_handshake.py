# SPDX-License-Identifier: BSD-3-Clause
"""Opening a connection: RFC 9293 3.5, and the options of the SYN (3.7.1, RFC 7323, RFC 2018)."""

from __future__ import annotations

import errno

import pytest

from ustack._native import lib
from wire import Wire

pytestmark = pytest.mark.both_versions


@pytest.mark.rfc("MUST-14", "SHLD-5")
def test_a_passive_open_answers_with_all_options_in_linux_order(wire: Wire) -> None:
    """RFC 9293 3.5 figure 6; RFC 7323 2.2, 3.2; RFC 2018 2; wscale covers tcp.rmem_max."""
    wire.listen()
    wire("""
        +0  < S  0:0(0)       win 65535 <mss 1460,sackOK,TS val 100 ecr 0,nop,wscale 7>
        +0  > S. 0:0(0) ack 1           <mss 1460,sackOK,TS val 700 ecr 100,nop,wscale 7>
        +.1 < .  1:1(0) ack 1 win 257   <nop,nop,TS val 200 ecr 700>
    """)
    sock = wire.accept()
    assert sock.state == "ESTABLISHED"
    info = sock.info
    assert (info.ts_ok, info.sack_ok, info.wscale_ok) == (1, 1, 1)
    assert (info.snd_wscale, info.snd_wnd) == (7, 257 << 7)
    assert wire.stats["tcp.opens.passive"] == 1


@pytest.mark.rfc("MUST-14", "SHLD-5", "MAY-3")
def test_an_active_open_offers_all_options_in_linux_order(wire: Wire) -> None:
    sock = wire.connect()
    wire("""
        +0  > S  0:0(0)                 <mss 1460,sackOK,TS val 700 ecr 0,nop,wscale 7>
        +.1 < S. 0:0(0) ack 1 win 65535 <mss 1400,sackOK,TS val 100 ecr 700,nop,wscale 9>
        +0  > .  1:1(0) ack 1           <nop,nop,TS val 800 ecr 100>
    """)
    assert sock.state == "ESTABLISHED"
    assert sock.info.snd_mss == 1400 - 12
    assert wire.stats["tcp.opens.active"] == 1


@pytest.mark.rfc("MUST-15", "MAY-3")
def test_a_peer_without_options_gets_none_but_mss(wire: Wire) -> None:
    """D9; RFC 9293 MUST-15: its MSS is 536, over IPv6 1220."""
    mss = {4: 536, 6: 1220}[wire.version]
    wire.listen()
    wire("""
        +0 < S  0:0(0)       win 8000
        +0 > S. 0:0(0) ack 1           <mss 1460>
        +0 < .  1:1(0) ack 1 win 8000
    """)
    sock = wire.accept()
    info = sock.info
    assert (info.ts_ok, info.sack_ok, info.wscale_ok) == (0, 0, 0)
    sock.send(mss + 464)
    wire(f"""
        +0 > .  1:{mss + 1}({mss})    ack 1
        +0 > P. {mss + 1}:{mss + 465}(464) ack 1
        +0 < .  1:1(0) ack {mss + 465} win 8000
    """)


@pytest.mark.parametrize(
    ("offer", "answer"),
    [
        ("mss 1460,sackOK", "mss 1460,nop,nop,sackOK"),
        ("mss 1460,nop,wscale 3", "mss 1460,nop,wscale 7"),
        ("mss 1460,nop,nop,TS val 5 ecr 0", "mss 1460,nop,nop,TS val 9 ecr 5"),
        ("mss 1460,sackOK,nop,wscale 3", "mss 1460,nop,nop,sackOK,nop,wscale 7"),
    ],
)
def test_each_option_is_answered_only_when_offered(wire: Wire, offer: str, answer: str) -> None:
    """RFC 7323 1.3, 2.2; RFC 2018 2: a SYN-ACK may carry it only if the SYN did."""
    wire.listen()
    wire(f"""
        +0 < S  0:0(0) win 65535 <{offer}>
        +0 > S. 0:0(0) ack 1     <{answer}>
    """)


@pytest.mark.parametrize(
    ("setting", "syn"),
    [
        ("tcp_timestamps", "mss 1460,nop,nop,sackOK,nop,wscale 7"),
        ("tcp_sack", "mss 1460,nop,nop,TS val 9 ecr 0,nop,wscale 7"),
        ("tcp_window_scaling", "mss 1460,sackOK,TS val 9 ecr 0"),
    ],
)
def test_an_option_that_is_off_is_not_offered(wire: Wire, setting: str, syn: str) -> None:
    wire.settings(**{setting: 0})
    wire.connect()
    wire(f"+0 > S 0:0(0) <{syn}>")


def test_window_scales_above_14_count_as_14(wire: Wire) -> None:
    """RFC 7323 2.3."""
    sock = wire.established(wscale=15, win=1)
    assert (sock.info.snd_wscale, sock.info.snd_wnd) == (14, 1 << 14)


def test_the_window_of_a_syn_is_not_scaled(wire: Wire) -> None:
    """RFC 7323 2.2."""
    sock = wire.connect()
    wire("""
        +0 > S  0:0(0) <...>
        +0 < S. 0:0(0) ack 1 win 3000 <mss 1000,nop,wscale 8>
        +0 > .  1:1(0) ack 1
    """)
    assert sock.info.snd_wnd == 3000


def test_a_window_scale_on_a_later_segment_is_ignored(wire: Wire) -> None:
    """RFC 7323 2.2: only in SYNs."""
    sock = wire.established(wscale=None, win=1000)
    wire("+0 < . 1:1(0) ack 1 win 1000 <nop,wscale 5>")
    assert sock.info.snd_wnd == 1000


@pytest.mark.rfc("MUST-67", "SHLD-6")
@pytest.mark.parametrize(("mtu", "mss"), [(576, 536), (1280, 1240), (9000, 8960)])
def test_the_mss_we_offer_is_the_mtu_less_headers(mtu: int, mss: int) -> None:
    """RFC 9293 3.7.1 (MUST-67)."""
    wire = Wire(mtu=mtu)
    wire.settings(tcp_timestamps=0)
    wire.connect()
    wire(f"+0 > S 0:0(0) <mss {mss},nop,nop,sackOK,nop,wscale 7>")


@pytest.mark.rfc("MUST-16")
def test_we_never_send_more_than_our_own_mtu(wire: Wire) -> None:
    """RFC 9293 3.7.1: Eff.snd.MSS is bounded by MMS_S."""
    sock = wire.established(mss=8960)
    sock.send(2000)
    wire("""
        +0 > .  1:1461(1460)   ack 1
        +0 > P. 1461:2001(540) ack 1
        +0 < .  1:1(0) ack 2001 win 257
    """)


def test_a_segment_longer_than_any_super_segment_goes_alone() -> None:
    """An MSS near 64 KiB leaves TSO nothing to cut."""
    wire = Wire(mtu=65535, caps=lib.UST_CAP_TSO)
    wire.settings(tcp_initial_window=1)
    sock = wire.established(mss=65495)
    sock.send(65496)
    wire("""
        +0 > .  1:65496(65495) ack 1
        +0 < .  1:1(0) ack 65496 win 257
        +0 > P. 65496:65497(1) ack 1
    """)
    wire.finish()


@pytest.mark.rfc("MUST-16", "2525-18")
def test_timestamps_take_their_room_from_each_segment(wire: Wire) -> None:
    """RFC 6691 3; RFC 9293 MUST-16."""
    sock = wire.established(mss=1012, ts=True)
    sock.send(1001)
    wire("""
        +0 > .  1:1001(1000)  ack 1 <nop,nop,TS val 100 ecr 100>
        +0 > P. 1001:1002(1)  ack 1 <nop,nop,TS val 100 ecr 100>
        +0 < .  1:1(0) ack 1002 win 257 <nop,nop,TS val 100 ecr 100>
    """)


def test_maxseg_limits_what_we_offer_and_send(wire: Wire) -> None:
    """RFC 9293 3.7.1; Linux TCP_MAXSEG."""
    wire.settings(tcp_timestamps=0)
    listener = wire.listen()
    wire.engine.setopt(listener, wire_opt("MAXSEG"), 700)
    wire("""
        +0 < S  0:0(0)       win 65535 <mss 1460>
        +0 > S. 0:0(0) ack 1           <mss 700>
        +0 < .  1:1(0) ack 1 win 65535
    """)
    sock = wire.accept()
    sock.send(1000)
    wire("""
        +0 > .  1:701(700)    ack 1
        +0 > P. 701:1001(300) ack 1
        +0 < .  1:1(0) ack 1001 win 65535
    """)


def wire_opt(name: str) -> int:
    import rig

    return int(getattr(rig.lib, f"UST_OPT_{name}"))


def test_text_on_a_syn_is_not_delivered_before_the_handshake(wire: Wire) -> None:
    """RFC 9293 3.10.7.2 (third): not acknowledged, the peer sends it again."""
    wire.listen()
    wire("""
        +0 < S  0:100(100)   win 65535 <mss 1000>
        +0 > S. 0:0(0) ack 1           <mss 1460>
        +0 < .  1:1(0) ack 1 win 65535
    """)
    sock = wire.accept()
    with pytest.raises(BlockingIOError):
        sock.recv()


@pytest.mark.parametrize("flags", ["SE", "SW", "SEW"])
def test_a_syn_with_ecn_bits_is_answered_without_ecn(wire: Wire, flags: str) -> None:
    """D15; RFC 3168 6.1.1: no ECN-setup SYN-ACK, and no RST."""
    wire.settings(tcp_ecn=0)
    wire.listen()
    wire(f"""
        +0 < {flags} 0:0(0) win 65535 <mss 1000>
        +0 > S. 0:0(0) ack 1 <mss 1460>
        +0 < . 1:1(0) ack 1 win 65535
    """)
    assert wire.accept().state == "ESTABLISHED"


@pytest.mark.rfc("MUST-10")
def test_a_simultaneous_open_establishes_both(wire: Wire) -> None:
    """RFC 9293 3.5 figure 7 (MUST-10)."""
    sock = wire.connect()
    wire("""
        +0 > S  0:0(0) <...>
        +0 < S  0:0(0)       win 65535 <mss 1000>
        +0 > S. 0:0(0) ack 1           <...>
    """)
    assert sock.state == "SYN_RECEIVED"
    wire.put("+0 < S. 0:0(0) ack 1 win 65535 <mss 1000>")
    if (extra := wire.take()) is not None:  # figure 7 shows none; an ACK does no harm
        assert str(extra[1]).startswith(". 1:1(0) ack 1")
    assert sock.state == "ESTABLISHED"
    sock.send(100)
    wire("+0 > P. 1:101(100) ack 1\n +0 < . 1:1(0) ack 101 win 65535")


def test_a_simultaneous_open_may_end_with_a_bare_ack(wire: Wire) -> None:
    """RFC 9293 3.10.7.4 fifth, SYN-RECEIVED."""
    sock = wire.connect()
    wire("""
        +0 > S  0:0(0) <...>
        +0 < S  0:0(0)       win 65535 <mss 1000>
        +0 > S. 0:0(0) ack 1           <...>
        +0 < .  1:1(0) ack 1 win 65535
    """)
    assert sock.state == "ESTABLISHED"


@pytest.mark.rfc("MUST-11")
def test_a_rst_in_a_simultaneous_open_refuses_the_connection(wire: Wire) -> None:
    """RFC 9293 3.10.7.4 second: SYN-RECEIVED of an active open."""
    sock = wire.connect()
    wire("""
        +0 > S  0:0(0) <...>
        +0 < S  0:0(0)       win 65535 <mss 1000>
        +0 > S. 0:0(0) ack 1           <...>
        +0 < R  1:1(0)
    """)
    assert sock.state == "CLOSED"
    assert sock.error == errno.ECONNREFUSED


def test_a_rst_among_the_flags_of_a_repeated_syn_ack_refuses_nothing(wire: Wire) -> None:
    """RFC 5961 3.2: it is not at RCV.NXT, but one before."""
    sock = wire.connect()
    wire("""
        +0 > S   0:0(0) <...>
        +0 < S   0:0(0)       win 65535 <mss 1000>
        +0 > S.  0:0(0) ack 1           <...>
        +0 < SR. 0:0(0) ack 1 win 65535 <mss 1000>
    """)
    assert sock.state == "SYN_RECEIVED"
    assert wire.stats["tcp.drop.seq"] == 1


def test_close_in_a_simultaneous_open_sends_a_fin_when_it_is_established(wire: Wire) -> None:
    """RFC 9293 3.10.4, SYN-RECEIVED: queue it for processing after entering ESTABLISHED."""
    sock = wire.connect()
    wire("""
        +0 > S  0:0(0) <...>
        +0 < S  0:0(0)       win 65535 <mss 1000>
        +0 > S. 0:0(0) ack 1           <...>
    """)
    sock.close()
    assert sock.state == "SYN_RECEIVED"
    wire("""
        +0 < .  1:1(0) ack 1 win 65535
        +0 > F. 1:1(0) ack 1
    """)
    assert sock.state == "FIN_WAIT_1"


def test_a_connection_to_ourselves_by_figure_7_needs_no_listener(wire: Wire) -> None:
    """RFC 9293 3.10.7.3: a SYN-ACK that acknowledges nothing of ours earns a RST."""
    wire.connect()
    wire("""
        +0 > S  0:0(0) <...>
        +0 < S. 0:0(0) ack 77 win 65535
        +0 > R  77:77(0)
    """)


def test_a_refused_connection_reports_econnrefused(wire: Wire) -> None:
    """RFC 9293 3.10.7.3 second."""
    sock = wire.connect()
    wire("""
        +0 > S  0:0(0) <...>
        +0 < R. 0:0(0) ack 1
    """)
    assert sock.state == "CLOSED"
    assert sock.error == errno.ECONNREFUSED
    assert wire.stats["tcp.resets.in"] == 1


def test_a_rst_without_ack_does_not_refuse_a_connection(wire: Wire) -> None:
    """RFC 9293 3.10.7.3 second: only if the ACK was acceptable."""
    sock = wire.connect()
    wire("""
        +0 > S 0:0(0) <...>
        +0 < R 0:0(0)
    """)
    assert sock.state == "SYN_SENT"


def test_an_old_duplicate_syn_is_recovered_from(wire: Wire) -> None:
    """RFC 9293 3.5 figure 8."""
    wire.listen()
    wire("""
        +0 < S  -500:-500(0) win 65535 <mss 1000>
        +0 > S. 0:0(0) ack -499 <...>
        +0 < R  -499:-499(0)
        +0 < S  0:0(0) win 65535 <mss 1000>
        +0 > S. 0:0(0) ack 1 <...>
        +0 < .  1:1(0) ack 1 win 65535
    """)
    assert wire.accept().state == "ESTABLISHED"


@pytest.mark.rfc("MUST-22", "2525-7")
def test_a_lost_syn_is_sent_again_at_doubling_intervals(wire: Wire) -> None:
    """RFC 6298 2.1, 5.5; R1/R2 for SYNs (MUST-23: R2 of 3 minutes is for the rfc profile)."""
    wire.settings(tcp_timestamps=0)
    sock = wire.connect()
    syn = "> S 0:0(0) <mss 1460,nop,nop,sackOK,nop,wscale 7>"
    wire("\n".join(f"{t} {syn}" for t in ("+0", "+1", "+2", "+4", "+8", "+16", "+32")))
    wire.quiet(63.9)
    assert sock.state == "SYN_SENT"
    wire.quiet(0.2)
    assert sock.state == "CLOSED"
    assert sock.error == errno.ETIMEDOUT
    assert wire.stats["tcp.rexmt.syn"] == 6
    assert wire.stats["tcp.timeouts"] == 1


def test_syncnt_limits_the_syns_of_one_socket(wire: Wire) -> None:
    """Linux TCP_SYNCNT."""
    sock = wire.connect()
    sock.setopt("SYNCNT", 1)
    wire("""
        +0 > S 0:0(0) <...>
        +1 > S 0:0(0) <...>
    """)
    wire.quiet(2.01)
    assert sock.error == errno.ETIMEDOUT


@pytest.mark.rfc("MUST-23")
def test_the_rfc_profile_tries_a_syn_for_three_minutes(wire: Wire) -> None:
    """RFC 9293 MUST-23."""
    wire.options["profile"] = "rfc"
    sock = wire.connect()
    wire.advance(180)
    assert sock.state == "SYN_SENT"
    wire.advance(200)
    assert sock.error == errno.ETIMEDOUT
    wire.sent.clear()


def test_a_lost_syn_ack_is_sent_again_and_given_up(wire: Wire) -> None:
    """RFC 6298 5; D7: a half-open connection expires."""
    wire.settings(tcp_timestamps=0)
    wire.listen()
    wire.put("+0 < S 0:0(0) win 65535 <mss 1000>")
    for when in ("+0", "+1", "+2", "+4", "+8", "+16"):
        wire(f"{when} > S. 0:0(0) ack 1 <mss 1460>")
    assert wire.engine.usage().requests == 1
    wire.quiet(32.1)
    assert wire.engine.usage().requests == 0
    assert wire.default.state == "CLOSED"


def test_a_repeated_syn_repeats_the_syn_ack(wire: Wire) -> None:
    """RFC 9293 3.8.1: the SYN-ACK was lost; its sequence number stays."""
    wire.listen()
    wire("""
        +0  < S  0:0(0) win 65535 <mss 1000>
        +0  > S. 0:0(0) ack 1 <mss 1460>
        +.5 < S  0:0(0) win 65535 <mss 1000>
        +0  > S. 0:0(0) ack 1 <mss 1460>
        +0  < .  1:1(0) ack 1 win 65535
    """)
    assert wire.engine.usage().requests == 0
    assert wire.accept().state == "ESTABLISHED"


def test_data_with_the_last_ack_of_the_handshake_is_delivered(wire: Wire) -> None:
    """RFC 9293 3.10.7.4 fifth and seventh."""
    wire.listen()
    wire("""
        +0      < S  0:0(0) win 65535 <mss 1000>
        +0      > S. 0:0(0) ack 1 <mss 1460>
        +0      < P. 1:101(100) ack 1 win 65535
        +0~+.05 > .  1:1(0) ack 101
    """)
    assert len(wire.accept().recv()) == 100


def test_data_completes_a_handshake_whose_ack_was_lost(wire: Wire) -> None:
    wire.listen()
    wire("""
        +0      < S  0:0(0) win 65535 <mss 1000>
        +0      > S. 0:0(0) ack 1 <mss 1460>
        +.3     < P. 1:101(100) ack 1 win 65535
        +0~+.05 > .  1:1(0) ack 101
    """)
    assert wire.accept().state == "ESTABLISHED"


@pytest.mark.parametrize("ack", [0, 2, 1000])
def test_a_wrong_ack_of_the_syn_ack_earns_a_rst(wire: Wire, ack: int) -> None:
    """RFC 9293 3.10.7.4 fifth, SYN-RECEIVED: <SEQ=SEG.ACK><CTL=RST>."""
    wire.listen()
    wire(f"""
        +0 < S  0:0(0) win 65535 <mss 1000>
        +0 > S. 0:0(0) ack 1 <mss 1460>
        +0 < .  1:1(0) ack {ack} win 65535
        +0 > R  {ack}:{ack}(0)
    """)
    assert wire.default.state == "SYN_RECEIVED"


@pytest.mark.parametrize(("wscale", "win"), [("", 2920), (",nop,wscale 3", 22)])
def test_a_half_open_connection_offers_one_window(wire: Wire, wscale: str, win: int) -> None:
    """RFC 9293 SHLD-14, RFC 7323 2.2: an ACK of SYN-RECEIVED promises what the SYN-ACK did."""
    wire.settings(tcp_rmem=2 * 2920, tcp_timestamps=0)
    wire.listen()
    wire(f"""
        +0 < S  0:0(0) win 65535 <mss 1000{wscale}>
        +0 > S. 0:0(0) ack 1 win 2920 <...>
        +0 < .  0:0(0) ack 1 win 1000
        +0 > .  1:1(0) ack 1 win {win}
    """)


def test_acks_for_segments_outside_a_half_open_window_are_limited(wire: Wire) -> None:
    """RFC 9293 3.10.7.4 first; tcp.invalid_ratelimit_ms."""
    wire.listen()
    wire("""
        +0  < S  0:0(0) win 65535 <mss 1000>
        +0  > S. 0:0(0) ack 1 <mss 1460>
        +0  < .  0:0(0) ack 1 win 1000
        +0  > .  1:1(0) ack 1
        +0  < .  0:0(0) ack 1 win 1000
        +.1 < .  0:0(0) ack 1 win 1000
        +.5 < .  0:0(0) ack 1 win 1000
        +0  > .  1:1(0) ack 1
    """)


def test_a_slow_simultaneous_open_leaves_no_backoff(wire: Wire) -> None:
    """RFC 6298 5.7: after a SYN that was lost the RTO begins anew, with 3 s."""
    sock = wire.connect()
    wire("""
        +0 > S  0:0(0) <...>
        +1 > S  0:0(0) <...>
        +2 > S  0:0(0) <...>
        +0 < S  0:0(0)       win 65535 <mss 1000>
        +0 > S. 0:0(0) ack 1           <...>
        +0 < .  1:1(0) ack 1 win 65535
    """)
    assert sock.state == "ESTABLISHED"
    assert sock.info.backoff == 0
    assert sock.info.rto_us == 3_000_000
