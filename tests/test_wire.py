# SPDX-License-Identifier: BSD-3-Clause
"""The `wire` fixture itself: it must notice what goes wrong, and say it well."""

from __future__ import annotations

import pytest

import frames
import notation
from wire import Wire, WireError


@pytest.mark.parametrize(
    "text",
    [
        "S 0:0(0) win 65535 <mss 1460,sackOK,TS val 1 ecr 0,nop,wscale 7>",
        "P. 1:1001(1000) ack 1 win 257",
        "- 1:1(0)",
        ". 1:1(0) ack 1 <nop,nop,sack 1001:2001 3001:4001>",
        "SFRPUEW. -5:5(10) ack -1 win 0 urg 3 <hex fe00,eol>",
        "R 5:5(0) <...>",
    ],
)
def test_a_segment_prints_as_it_was_written(text: str) -> None:
    assert str(notation.parse_segment(text)) == text


@pytest.mark.parametrize(
    "text",
    ["+0 . 1:1(0)", "+0 > X 1:1(0)", "+0 > . 1:5(3)", "soon > . 1:1(0)", "+0 > . 1:1(0) <mss>"],
)
def test_a_line_that_makes_no_sense_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not"):
        notation.parse_line(text)


@pytest.mark.parametrize(
    "line",
    [
        "+0 > . 1:1001(1000) ack 1",  # flags
        "+0 > P. 2:1002(1000) ack 1",  # number
        "+0 > P. 1:501(500) ack 1",  # length
        "+0 > P. 1:1001(1000) ack 2",  # ack
        "+0 > P. 1:1001(1000) ack 1 win 1",  # window
        "+0 > P. 1:1001(1000) ack 1 <nop>",  # options
        "+.1 > P. 1:1001(1000) ack 1",  # time
        "+0 < . 1:1(0) ack 1 win 257",  # direction
        "",  # silence
    ],
)
def test_a_line_that_does_not_hold_fails(wire: Wire, line: str) -> None:
    wire.established().send(1000)
    with pytest.raises(WireError, match="expected"):
        wire(line)


def test_a_failure_shows_what_came_the_last_packets_and_the_tcb(wire: Wire) -> None:
    wire.established().send(1000)
    with pytest.raises(WireError) as failed:
        wire("+0 > P. 2:1002(1000) ack 1")
    text = str(failed.value)
    assert "expected  +0 > P. 2:1002(1000) ack 1" in text
    assert "got       > P. 1:1001(1000) ack 1 win" in text
    assert "0.000000 > S. 0:0(0) ack 1" in text
    assert "ESTABLISHED snd 1:1001:1001 wnd 65792" in text


def test_a_missing_segment_says_when_it_came(wire: Wire) -> None:
    wire.established(rtt=0.1).send(1000)
    with pytest.raises(WireError, match=r"nothing for 0.101 s, then > P. 1:1001\(1000\)"):
        wire("+0 > P. 1:1001(1000) ack 1\n +.1 > P. 1:1001(1000) ack 1")


def test_an_unasserted_frame_fails_at_the_end(wire: Wire) -> None:
    wire.established().send(1000)
    with pytest.raises(WireError, match="expected  nothing"):
        wire.finish()


def test_a_frame_for_another_flow_fails(wire: Wire) -> None:
    wire.established().send(10)
    with pytest.raises(WireError, match="goes to"):
        wire.peer(50_000)("+0 > P. 1:11(10) ack 1")


@pytest.mark.parametrize("byte", [14 + 8, 14 + 20 + 4, -1])
def test_a_damaged_frame_is_not_read(wire: Wire, byte: int) -> None:
    """TTL, sequence number, payload: one of the checksums must tell."""
    wire.established().send(10)
    damaged = bytearray(wire.sent[0].frame)
    damaged[byte] ^= 1
    with pytest.raises(AssertionError, match="checksum is wrong"):
        frames.read_tcp(bytes(damaged))
    wire.sent.clear()


def test_payload_that_was_not_sent_fails(wire: Wire) -> None:
    sock = wire.established()
    sock.send(b"abc")
    sock.peer.stream = b"abd"
    with pytest.raises(WireError, match="payload"):
        wire("+0 > P. 1:4(3) ack 1")
