# SPDX-License-Identifier: BSD-3-Clause
"""Text that comes twice is reported, once, in the first SACK block (RFC 2883)."""

from __future__ import annotations

import pytest

from notation import parse_line
from wire import Wire

pytestmark = pytest.mark.both_versions


def test_an_old_segment_is_reported_once(wire: Wire) -> None:
    """RFC 2883 4.1.1: below the ACK number there is no other block."""
    wire.established(rtt=0.1)
    wire("""
        +0 < . 1:1001(1000) ack 1 win 257
        +0 > . 1:1(0) ack 1001
        +0 < . 1:1001(1000) ack 1 win 257
        +0 > . 1:1(0) ack 1001 <nop,nop,sack 1:1001>
        +0 < . 3001:4001(1000) ack 1 win 257
        +0 > . 1:1(0) ack 1001 <nop,nop,sack 3001:4001>
    """)


def test_a_held_segment_is_reported_before_the_block_it_is_in(wire: Wire) -> None:
    """RFC 2883 4.1.2."""
    wire.established(rtt=0.1)
    wire("""
        +0 < . 1001:2001(1000) ack 1 win 257
        +0 > . 1:1(0) ack 1 <nop,nop,sack 1001:2001>
        +0 < . 2001:3001(1000) ack 1 win 257
        +0 > . 1:1(0) ack 1 <nop,nop,sack 1001:3001>
        +0 < . 1501:2001(500) ack 1 win 257
        +0 > . 1:1(0) ack 1 <nop,nop,sack 1501:2001 1001:3001>
    """)


@pytest.mark.parametrize(
    ("seg", "twice", "held"),
    [
        ("1501:2501(1000)", "1501:2001", "1001:2501"),
        ("501:1501(1000)", "1001:1501", "501:2001"),
        ("501:2501(2000)", "1001:2001", "501:2501"),
    ],
)
def test_of_a_segment_only_what_is_held_is_reported(
    wire: Wire, seg: str, twice: str, held: str
) -> None:
    wire.established(rtt=0.1)
    wire(f"""
        +0 < . 1001:2001(1000) ack 1 win 257
        +0 > . 1:1(0) ack 1 <nop,nop,sack 1001:2001>
        +0 < . {seg} ack 1 win 257
        +0 > . 1:1(0) ack 1 <nop,nop,sack {twice} {held}>
    """)


def test_what_fills_a_hole_and_more_reports_the_first_range_it_repeats(wire: Wire) -> None:
    """As Linux: one block, for the first of the ranges that were held."""
    wire.established(rtt=0.1)
    wire("""
        +0 < . 1001:2001(1000) ack 1 win 257
        +0 > . 1:1(0) ack 1 <nop,nop,sack 1001:2001>
        +0 < . 3001:4001(1000) ack 1 win 257
        +0 > . 1:1(0) ack 1 <nop,nop,sack 3001:4001 1001:2001>
        +0 < . 5001:6001(1000) ack 1 win 257
        +0 > . 1:1(0) ack 1 <nop,nop,sack 5001:6001 3001:4001 1001:2001>
        +0 < . 1:4501(4500) ack 1 win 257
        +0 > . 1:1(0) ack 4501 <nop,nop,sack 1001:2001 5001:6001>
    """)


def test_a_connection_without_sack_reports_nothing(wire: Wire) -> None:
    wire.established(rtt=0.1, sack=False)
    wire("""
        +0 < . 1:1001(1000) ack 1 win 257
        +0 > . 1:1(0) ack 1001
        +0 < . 1:1001(1000) ack 1 win 257
        +0 > . 1:1(0) ack 1001
    """)


def test_the_setting_turns_the_reports_off(wire: Wire) -> None:
    wire.settings(tcp_dsack=0)
    wire.established(rtt=0.1)
    wire("""
        +0 < . 1:1001(1000) ack 1 win 257
        +0 > . 1:1(0) ack 1001
        +0 < . 1:1001(1000) ack 1 win 257
        +0 > . 1:1(0) ack 1001
    """)


def burst(wire: Wire, *lines: str) -> None:
    """Segments that come together, before anything is answered."""
    for line in lines:
        wire.engine.inject(wire.default.frame(parse_line(line).segment))
    wire.pump()


@pytest.mark.parametrize("second", ["1001:2401(1400)", "1001:2301(1300)"])
def test_pieces_that_adjoin_are_reported_as_one(wire: Wire, second: str) -> None:
    """As Linux: what one burst repeats goes into one block, where it can."""
    wire.established(rtt=0.1)
    wire("""
        +0 < . 2001:2501(500) ack 1 win 257
        +0 > . 1:1(0) ack 1 <nop,nop,sack 2001:2501>
    """)
    burst(wire, "+0 < . 2301:2501(200) ack 1 win 257", f"+0 < . {second} ack 1 win 257")
    wire("""
        +0 > . 1:1(0) ack 1 <nop,nop,sack 2001:2501 1001:2501>
        +0 > . 1:1(0) ack 1 <nop,nop,sack 1001:2501>
    """)


def test_the_block_that_a_duplicate_is_in_stands_first_again(wire: Wire) -> None:
    """RFC 2883 4 (5), RFC 2018 4: behind the duplicate itself."""
    wire.established()
    wire("""
        +0 < P. 3001:3501(500) ack 1 win 257
        +0 > .  1:1(0) ack 1 <sack 3001:3501>
        +0 < P. 1001:1501(500) ack 1 win 257
        +0 > .  1:1(0) ack 1 <sack 1001:1501 3001:3501>
        +0 < P. 3001:3501(500) ack 1 win 257
        +0 > .  1:1(0) ack 1 <sack 3001:3501 3001:3501 1001:1501>
        +0 < P. 5001:5501(500) ack 1 win 257
        +0 > .  1:1(0) ack 1 <sack 5001:5501 3001:3501 1001:1501>
    """)
