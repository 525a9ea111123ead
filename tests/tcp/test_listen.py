# SPDX-License-Identifier: BSD-3-Clause
"""Listening: SYN queue, accept queue, backlog (RFC 9293 3.10.1; Linux listen(2))."""

from __future__ import annotations

import errno

import pytest
from ustack._ustack import lib

import notation
import rig
from notation import Segment
from wire import Peer, Wire

pytestmark = pytest.mark.both_versions


def handshake(peer: Peer) -> None:
    """SYN, SYN-ACK, ACK; whatever else the engine answers is taken."""
    wire = peer.wire
    wire.inject(peer.frame(notation.parse_segment("S 0:0(0) win 65535 <mss 1000>")))
    if wire.take(peer=peer) is not None:
        wire.inject(peer.frame(notation.parse_segment(". 1:1(0) ack 1 win 65535")))


def test_connections_are_accepted_in_the_order_of_their_establishment(wire: Wire) -> None:
    listener = wire.listen()
    for port in (1001, 1002, 1003):
        handshake(wire.peer(port))
    ports = [wire.engine.names(wire.engine.accept(listener))[1] for _ in range(3)]
    assert ports == [1001, 1002, 1003]
    with pytest.raises(BlockingIOError):
        wire.engine.accept(listener)


def test_a_listener_is_readable_when_a_connection_waits(wire: Wire) -> None:
    listener = wire.listen()
    assert wire.engine.ready(listener) & rig.lib.UST_READABLE == 0
    handshake(wire.peer(1001))
    assert wire.engine.ready(listener) & rig.lib.UST_READABLE


def test_a_full_accept_queue_drops_the_last_ack_and_recovers(wire: Wire) -> None:
    """Linux tcp_abort_on_overflow=0: the client believes it is connected and will send again."""
    listener = wire.listen(backlog=2)
    peers = [wire.peer(1000 + i) for i in range(8)]
    for peer in peers:
        handshake(peer)
    states = [peer.state for peer in peers]
    assert states.count("ESTABLISHED") in (2, 3)
    assert wire.stats["tcp.drop.acceptq"] + wire.stats["tcp.drop.backlog"] >= 1
    while True:
        try:
            wire.engine.accept(listener)
        except BlockingIOError:
            break
    for peer, state in zip(peers, states, strict=True):
        if state == "SYN_RECEIVED":
            wire.inject(peer.frame(notation.parse_segment("P. 1:11(10) ack 1 win 65535")))
            assert peer.state == "ESTABLISHED"
            break
    wire.sent.clear()


def test_the_syn_queue_is_bounded_and_empties(wire: Wire) -> None:
    """D7: no TCB for a SYN, a bounded number of requests, all expire."""
    wire.settings(tcp_timestamps=0, tcp_syncookies=0)
    wire.listen(backlog=1000)
    for port in range(1, 500):
        wire.inject(Peer(wire, port).frame(notation.parse_segment("S 0:0(0) win 65535 <mss 1000>")))
    usage = wire.engine.usage()
    assert usage.requests <= usage.requests_max == 64
    assert usage.tcbs == 1
    assert wire.stats["tcp.drop.backlog"] > 0
    wire.advance(70)
    wire.sent.clear()
    assert wire.engine.usage().requests == 0
    assert wire.engine.usage().timers == 0
    wire.established(peer=wire.peer(50_000))


def test_requests_of_one_listener_do_not_starve_another(wire: Wire) -> None:
    wire.listen(81, backlog=4)
    wire.listen(80)
    for port in range(1, 100):
        wire.inject(Peer(wire, port, 81).frame(notation.parse_segment("S 0:0(0) win 65535")))
    wire.sent.clear()
    wire.established()


def test_closing_a_listener_ends_what_waits_on_it(wire: Wire) -> None:
    """RFC 9293 3.10.4, LISTEN; Linux resets what was not accepted."""
    listener = wire.listen()
    half, whole = wire.peer(1001), wire.peer(1002)
    half("+0 < S 0:0(0) win 65535 <mss 1000>\n +0 > S. 0:0(0) ack 1 <mss 1460>")
    handshake(whole)
    wire.engine.close(listener)
    resets = [segment for _, segment in iter(wire.take, None)]
    assert all("R" in segment.flags for segment in resets)
    assert (half.state, whole.state) == ("CLOSED", "CLOSED")
    usage = wire.engine.usage()
    assert (usage.tcbs, usage.requests, usage.listeners, usage.flows, usage.timers) == (0,) * 5


def test_a_port_can_be_listened_on_once(wire: Wire) -> None:
    wire.listen()
    with pytest.raises(OSError) as caught:
        wire.engine.listen(80)
    assert caught.value.errno == errno.EADDRINUSE


def test_a_closed_listener_can_be_opened_again(wire: Wire) -> None:
    wire.engine.close(wire.listen())
    wire.listen()
    wire.established()


def test_a_reset_in_the_accept_queue_leaves_it_sound(wire: Wire) -> None:
    """A connection that its peer resets before accept()."""
    listener = wire.listen()
    peer = wire.peer(1001)
    handshake(peer)
    peer("+0 < R 1:1(0)")
    handshake(wire.peer(1002))
    try:
        wire.engine.accept(listener)
    except OSError as error:
        assert error.errno in (errno.ECONNABORTED, errno.EAGAIN)
    wire.engine.check()


def test_data_may_wait_in_a_connection_that_is_not_accepted_yet(wire: Wire) -> None:
    listener = wire.listen()
    peer = wire.peer(1001)
    handshake(peer)
    peer("""
        +0      < P. 1:101(100) ack 1 win 65535
        +0~+.05 > .  1:1(0) ack 101
    """)
    assert len(wire.engine.recv(wire.engine.accept(listener))) == 100


def test_a_syn_is_dropped_while_the_accept_queue_is_full(wire: Wire) -> None:
    """Linux: no half-open connection that could not be accepted."""
    wire.listen(backlog=0)
    handshake(wire.peer(1001))
    wire.peer(1002)("+0 < S 0:0(0) win 65535 <mss 1000>")
    assert wire.stats["tcp.drop.acceptq"] == 1
    assert wire.engine.usage().requests == 0


def test_listening_again_changes_the_backlog(wire: Wire) -> None:
    """As listen(2): of 1, two connections may wait; of 0, one."""
    for backlog, fits in ((1, 2), (0, 1)):
        listener = wire.engine.listen(1000 + backlog, backlog=8)
        assert lib.ust_listen(wire.engine.raw, listener, backlog) == 0
        states = []
        for i in range(3):
            peer = wire.peer(50000 + 10 * backlog + i, our_port=1000 + backlog)
            wire.inject(peer.frame(Segment("S", 0, 0, None, 65535)))
            while wire.take(peer=peer):
                pass
            wire.inject(peer.frame(Segment(".", 1, 0, 1, 65535)))
            while wire.take(peer=peer):
                pass
            states.append(peer.state)
        assert states.count("ESTABLISHED") == fits
