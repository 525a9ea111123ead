# SPDX-License-Identifier: BSD-3-Clause
"""Sequence numbers that pass 2^32: D12, RFC 9293 3.4."""

from __future__ import annotations

import pytest

import rig
from wire import Wire, pattern

pytestmark = pytest.mark.both_versions


def near_wrap(distance: int) -> Wire:
    """A wire whose engine's next ISN for the default flow lies that far before 2^32.

    The ISN is a clock of 4.096 us plus a hash (RFC 6528), so the right time gives the right ISN.
    """
    probe = Wire()
    probe.listen()
    probe.put("+0 < S 0:0(0) win 65535")
    probe.take()
    assert probe.default.iss is not None
    ticks = (2**32 - distance - probe.default.iss) % 2**32
    return Wire(now=rig.SECOND + (ticks << 12))


@pytest.mark.parametrize("distance", [0, 1, 2, 500, 1001, 2500])
def test_our_numbers_wrap_in_the_middle_of_a_transfer(distance: int) -> None:
    wire = near_wrap(distance)
    sock = wire.established(rtt=0.1)
    assert wire.default.iss == (2**32 - distance) % 2**32
    sock.send(30_000)
    sent = wire.deliver(sock)
    assert [segment.seq for segment in sent] == list(range(1, 30_001, 1000))
    assert wire.stats["tcp.rexmt.segs"] == 0
    sock.close()
    wire("+0 > F. 30001:30001(0) ack 1\n +.1 < . 1:1(0) ack 30002 win 257")
    assert sock.state == "FIN_WAIT_2"


def test_a_retransmission_across_the_wrap() -> None:
    wire = near_wrap(1500)
    sock = wire.established(rtt=0.1, sack=False)
    sock.send(4000)
    wire("""
        +0  > .  1:1001(1000)    ack 1
        +0  > .  1001:2001(1000) ack 1
        +0  > .  2001:3001(1000) ack 1
        +0  > P. 3001:4001(1000) ack 1
        +.1 < .  1:1(0) ack 1 win 257
        +0  < .  1:1(0) ack 1 win 257
        +0  < .  1:1(0) ack 1 win 257
        +0  > .  1:1001(1000)    ack 1
        +.1 < .  1:1(0) ack 4001 win 257
    """)
    assert sock.info.outq == 0


@pytest.mark.parametrize("distance", [0, 1, 2, 500, 1001, 2500])
def test_their_numbers_wrap_in_the_middle_of_a_transfer(wire: Wire, distance: int) -> None:
    peer = wire.peer(isn=(2**32 - distance) % 2**32)
    sock = wire.established(peer=peer)
    for order in ((1001, 1), (3001, 2001)):
        for seq in order:
            wire.put(f"+0 < . {seq}:{seq + 1000}(1000) ack 1 win 257")
            while wire.take(0.05) is not None:
                pass
    assert sock.recv() == pattern(1, 4001)
    wire("+0 < F. 4001:4001(0) ack 1 win 257\n +.04 > . 1:1(0) ack 4002")
    assert sock.recv() == b""


def test_sack_blocks_across_the_wrap(wire: Wire) -> None:
    wire.established(peer=wire.peer(isn=2**32 - 2500))
    wire("""
        +0 < . 2001:3001(1000) ack 1 win 257
        +0 > . 1:1(0) ack 1 <nop,nop,sack 2001:3001>
        +0 < . 1001:2001(1000) ack 1 win 257
        +0 > . 1:1(0) ack 1 <nop,nop,sack 1001:3001>
        +0 < . 1:1001(1000) ack 1 win 257
        +0 > . 1:1(0) ack 3001
    """)
