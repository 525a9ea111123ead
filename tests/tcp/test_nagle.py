# SPDX-License-Identifier: BSD-3-Clause
"""When small segments go out: Nagle (RFC 9293 3.7.4, SHLD-7), NODELAY (MUST-17), CORK, PSH."""

from __future__ import annotations

import pytest

from ustack._native import lib
from wire import Wire

pytestmark = pytest.mark.both_versions


def test_a_small_segment_goes_when_nothing_is_in_flight(wire: Wire) -> None:
    sock = wire.established()
    sock.send(100)
    wire("+0 > P. 1:101(100) ack 1")


@pytest.mark.rfc("SHLD-7")
def test_a_second_small_segment_waits_for_the_ack_of_the_first(wire: Wire) -> None:
    """RFC 9293 3.7.4."""
    sock = wire.established(rtt=0.1)
    sock.send(100)
    wire("+0 > P. 1:101(100) ack 1")
    sock.send(100)
    sock.send(100)
    wire.quiet(0.1)
    wire("""
        +0 < .  1:1(0) ack 101 win 257
        +0 > P. 101:301(200) ack 1
    """)


@pytest.mark.rfc("SHLD-28")
def test_a_full_segment_does_not_wait(wire: Wire) -> None:
    sock = wire.established(rtt=0.1)
    sock.send(100)
    wire("+0 > P. 1:101(100) ack 1")
    sock.send(950)
    wire.quiet(0.01)
    sock.send(60)
    wire("+0 > . 101:1101(1000) ack 1")


def test_a_small_tail_behind_full_segments_does_not_wait(wire: Wire) -> None:
    """Minshall's variant, as in Linux: only a small segment in flight holds back a small one."""
    sock = wire.established(rtt=0.1)
    sock.send(2100)
    wire("""
        +0 > .  1:1001(1000)    ack 1
        +0 > .  1001:2001(1000) ack 1
        +0 > P. 2001:2101(100)  ack 1
    """)


@pytest.mark.rfc("MUST-17")
def test_nodelay_sends_each_small_segment_at_once(wire: Wire) -> None:
    """RFC 9293 MUST-17."""
    sock = wire.established()
    sock.setopt("NODELAY", 1)
    for i in range(3):
        sock.send(10)
        wire(f"+0 > P. {1 + i * 10}:{11 + i * 10}(10) ack 1")


def test_setting_nodelay_sends_what_nagle_held(wire: Wire) -> None:
    """Linux TCP_NODELAY pushes."""
    sock = wire.established()
    sock.send(100)
    sock.send(100)
    wire("+0 > P. 1:101(100) ack 1")
    sock.setopt("NODELAY", 1)
    wire("+0 > P. 101:201(100) ack 1")


@pytest.mark.parametrize("option", ["NODELAY", "CORK"])
def test_options_of_a_listener_give_it_nothing_to_send(wire: Wire, option: str) -> None:
    """Only a connection stands in the output list (tcb.h, I7)."""
    wire.engine.setopt(wire.listen(), getattr(lib, f"UST_OPT_{option}"), 1)
    assert wire.engine.usage().ready == 0
    wire.silence()


def test_cork_holds_a_partial_segment_and_releases_it(wire: Wire) -> None:
    """Linux TCP_CORK."""
    sock = wire.established()
    sock.setopt("CORK", 1)
    sock.send(600)
    sock.send(600)
    wire("+0 > . 1:1001(1000) ack 1")
    sock.setopt("CORK", 0)
    wire("+0 > P. 1001:1201(200) ack 1")


def test_msg_more_holds_a_partial_segment_until_the_next_send(wire: Wire) -> None:
    """Linux MSG_MORE."""
    sock = wire.established()
    sock.send(100, more=True)
    wire.quiet(0.01)
    sock.send(100)
    wire("+0 > P. 1:201(200) ack 1")


def test_a_fin_releases_what_cork_holds(wire: Wire) -> None:
    sock = wire.established()
    sock.setopt("CORK", 1)
    sock.send(500)
    sock.shutdown()
    wire("+0 > FP. 1:501(500) ack 1")


@pytest.mark.rfc("MUST-60", "MUST-61")
def test_psh_marks_the_end_of_what_the_application_has_sent(wire: Wire) -> None:
    """RFC 9293 3.9.1.2 (MUST-60, MUST-61): the last buffered segment has PSH."""
    sock = wire.established()
    sock.send(1500)
    wire("""
        +0 > .  1:1001(1000)   ack 1
        +0 > P. 1001:1501(500) ack 1
    """)


def test_after_idle_the_window_restarts(wire: Wire) -> None:
    """RFC 5681 4.1: no old, large window in one burst."""
    sock = wire.established(rtt=0.1)
    sock.send(60_000)
    wire.deliver(sock)
    assert sock.info.cwnd > 20_000
    wire.quiet(100)
    sock.send(60_000)
    assert len(list(iter(wire.take, None))) == 10


def test_a_fin_releases_what_nagle_holds(wire: Wire) -> None:
    """Linux: nothing more will come that could fill the segment."""
    sock = wire.established(rtt=0.1)
    sock.send(100)
    sock.send(100)
    wire("+0 > P. 1:101(100) ack 1")
    sock.shutdown()
    wire("+0 > FP. 101:201(100) ack 1")
