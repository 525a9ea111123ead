# SPDX-License-Identifier: BSD-3-Clause
"""A peer may drop what it has sacked (RFC 2018 8), and must get it again."""

from __future__ import annotations

import pytest

from flight import LOSS, OPEN, ack, flight, leaves, packets, sent
from wire import Wire

pytestmark = pytest.mark.both_versions


def test_what_was_sacked_and_dropped_is_sent_again(wire: Wire) -> None:
    """The ACK stops before sacked text: after 10 ms, as Linux waits, all is lost."""
    sock = flight(wire)
    wire.put(ack(0, (1, 4), when="+.1"))
    leaves(wire, [0])
    wire.put(ack(1, when="+.1"))  # 1 to 3 were sacked
    assert sock.info.ca_state != LOSS
    sent(wire)
    leaves(wire, [1], 0.01)
    assert sock.info.ca_state == LOSS
    assert wire.stats["tcp.sack.reneged"] == 1
    assert packets(sock)[1] == 0
    wire.put(ack(4, when="+.1"))
    while sock.info.outq:
        sent(wire)
        wire.advance(0.1)
        wire.put(ack(10))
    sent(wire)
    assert sock.info.ca_state == OPEN


def test_an_ack_that_moves_on_in_time_shows_that_nothing_was_dropped(wire: Wire) -> None:
    """Linux: two ACKs may have been swapped."""
    sock = flight(wire)
    wire.put(ack(0, (1, 4), when="+.1"))
    leaves(wire, [0])
    wire.put(ack(1, when="+.1"))
    sent(wire)
    wire.put(ack(10, when="+.005"))
    sent(wire)
    wire.advance(1)
    assert wire.stats["tcp.sack.reneged"] == 0
    assert sock.info.ca_state == OPEN


def test_until_a_timeout_sacked_text_stays_in_the_send_buffer(wire: Wire) -> None:
    """RFC 2018 8: a sender MUST NOT discard what is only sacked."""
    wire.settings(tcp_early_retrans=0)
    sock = flight(wire, 3)
    wire.put(ack(0, (1, 3), when="+.1"))
    assert sock.info.outq == 3000
    sent(wire)
    wire.advance(2)
    sent(wire)
    wire.put(ack(1))
    sent(wire)
    wire.advance(0.5)
    assert 1 in sent(wire)
