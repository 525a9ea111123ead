# SPDX-License-Identifier: BSD-3-Clause
"""What must be as on the first day when a stack has been up for long."""

from __future__ import annotations

import pytest

from notation import parse_segment
from wire import Wire

MINUTE = 60.0
SYN = "S 0:0(0) win 65535 <mss 1000,sackOK,TS val 100 ecr 0,nop,wscale 7>"


@pytest.mark.parametrize("minutes", [0, 15, 16, 17, 31, 32, 1000, 44_640])
def test_a_cookie_opens_in_whatever_minute(wire: Wire, minutes: int) -> None:
    """RFC 4987 3.6; its slot has four bits, which wrap round."""
    wire.settings(tcp_syncookies=2)
    wire.listen()
    wire.advance(minutes * MINUTE)
    for port, late in ((1001, 0.0), (1002, 59.9)):
        peer = wire.peer(port)
        wire.inject(peer.frame(parse_segment(SYN)))
        assert wire.take(peer=peer) is not None
        ecr = next(int(str(option[1])) for option in wire.last.options if option[0] == "TS")
        wire.advance(late)
        wire.inject(peer.frame(parse_segment(f". 1:1(0) ack 1 win 100 <TS val 110 ecr {ecr}>")))
        assert peer.state == "ESTABLISHED"
    assert wire.stats["tcp.syncookies.in"] == 2


@pytest.mark.parametrize("ms", range(0, 130, 13))
def test_the_timestamp_of_a_cookie_is_never_ahead_of_the_clock(wire: Wire, ms: int) -> None:
    """Its low six bits hold options: RFC 7323 3.2 lets no later one be older."""
    wire.settings(tcp_syncookies=2)
    wire.listen()
    wire.advance(10 + ms / 1000)
    peer = wire.peer(1001)
    wire.inject(peer.frame(parse_segment(SYN)))
    assert wire.take(peer=peer) is not None
    ecr = next(int(str(option[1])) for option in wire.last.options if option[0] == "TS")
    ack = f"P. 1:2(1) ack 1 win 100 <nop,nop,TS val 110 ecr {ecr}>"
    wire.inject(peer.frame(parse_segment(ack)))
    taken = wire.take(1, peer=peer)
    assert taken is not None
    now = next(int(str(option[1])) for option in wire.last.options if option[0] == "TS")
    assert 0 <= (now - ecr) % 2**32 - round(1000 * taken[0]) < 64
