# SPDX-License-Identifier: BSD-3-Clause
"""Where the RFCs leave a choice, or Linux differs from them, the engine does as Linux does."""

from __future__ import annotations

import errno

import pytest

from wire import Wire

pytestmark = pytest.mark.both_versions


def test_the_ack_of_a_fin_waits_for_the_application_to_close_too(wire: Wire) -> None:
    """Linux takes a connection that is being closed for an interactive one."""
    sock = wire.established(rtt=0.1)
    wire("""
        +0   < P. 1:1001(1000) ack 1 win 257
        +0   > .  1:1(0) ack 1001
        +0   < F. 1001:1001(0) ack 1 win 257
        +.04 > .  1:1(0) ack 1002
    """)
    assert sock.state == "CLOSE_WAIT"


def test_closing_at_once_carries_the_ack_of_the_fin(wire: Wire) -> None:
    sock = wire.established(rtt=0.1)
    wire("""
        +0   < P. 1:1001(1000) ack 1 win 257
        +0   > .  1:1(0) ack 1001
    """)
    assert len(sock.recv()) == 1000
    wire.put("+0 < F. 1001:1001(0) ack 1 win 257")
    sock.close()
    wire("+0 > F. 1:1(0) ack 1002")


def test_a_fin_that_ends_no_text_is_acknowledged_at_once(wire: Wire) -> None:
    wire.established(rtt=0.1)
    wire("""
        +0 < F. 1:1(0) ack 1 win 257
        +0 > .  1:1(0) ack 2
    """)


def test_a_syn_with_fin_opens_nothing(wire: Wire) -> None:
    wire.listen()
    wire("+0 < SF 0:0(0) win 65535 <mss 1000>")
    wire.quiet(2.0)
    assert wire.engine.usage().requests == 0
    assert wire.stats["tcp.drop.listen"] == 1


@pytest.mark.parametrize("seq", [1, 2000, 64240])
def test_any_rst_in_the_window_ends_a_half_open_connection(wire: Wire, seq: int) -> None:
    """RFC 5961 3.2 would ask for RCV.NXT exactly; nothing is lost with a request."""
    wire.listen()
    wire(f"""
        +0 < S 0:0(0) win 65535 <mss 1000>
        +0 > S. 0:0(0) ack 1 <mss 1460>
        +0 < R {seq}:{seq}(0)
    """)
    assert wire.engine.usage().requests == 0


def test_a_rst_outside_the_window_leaves_a_half_open_connection_alone(wire: Wire) -> None:
    wire.listen()
    wire("""
        +0 < S 0:0(0) win 65535 <mss 1000>
        +0 > S. 0:0(0) ack 1 <mss 1460>
        +0 < R 70000:70000(0)
    """)
    assert wire.engine.usage().requests == 1


def test_a_rst_after_both_sides_have_closed_is_an_error_all_the_same(wire: Wire) -> None:
    sock = wire.established(rtt=0.1)
    wire("""
        +0 < F. 1:1(0) ack 1 win 257
        +0 > .  1:1(0) ack 2
    """)
    sock.shutdown()
    wire("""
        +0 > F. 1:1(0) ack 2
        +0 < R  2:2(0)
    """)
    assert sock.error == errno.ECONNRESET


def test_closing_with_unread_text_sends_a_rst_with_a_timestamp(wire: Wire) -> None:
    """RFC 7323 3.2 lets it be; a peer with PAWS would not believe it otherwise."""
    sock = wire.established(rtt=0.1, ts=True)
    wire("""
        +0 < . 1:1001(1000) ack 1 win 257 <nop,nop,TS val 200 ecr 100>
        +0 > . 1:1(0) ack 1001 <...>
    """)
    sock.close()
    wire("+0 > R. 1:1(0) ack 1001 <nop,nop,TS val 200 ecr 200>")


def test_text_for_an_application_that_has_closed_is_answered_as_by_nobody(wire: Wire) -> None:
    """The RST is that of RFC 9293 3.10.7.1: SEG.ACK, no ACK of its own."""
    sock = wire.established(rtt=0.1)
    sock.close()
    wire("""
        +0 > F. 1:1(0) ack 1
        +0 < .  1:2(1) ack 1 win 257
        +0 > R  1:1(0)
    """)
    assert sock.peer.state == "CLOSED"


def test_the_mss_of_a_tiny_link_is_told_as_it_is(wire: Wire) -> None:
    """MUST-67: what the link carries, less the headers."""
    wire.options["mtu"], mss = (72, 32) if wire.version == 4 else (1280, 1220)
    wire.connect()
    wire(f"+0 > S 0:0(0) <mss {mss},sackOK,TS val 100 ecr 0,nop,wscale 7>")
