# SPDX-License-Identifier: BSD-3-Clause
"""Connections that their application has closed and their peer keeps (ROBUSTNESS S18, S19): how
long, how many, and which goes first."""

from __future__ import annotations

import pytest

from notation import parse_segment as segment
from wire import Sock, Wire

pytestmark = pytest.mark.both_versions


def forget(wire: Wire) -> list[str]:
    """What we send now, as flags and number."""
    wire.pump()
    said = [str(sent) for _, sent in iter(wire.take, None)]
    return [text.split(":", 1)[0] for text in said]


def connection(wire: Wire, port: int, win: int = 257) -> Sock:
    """A connection whose peer is at this port."""
    peer = wire.peers.get((wire.their_ip, port, 80)) or wire.peer(port)
    return wire.established(peer=peer, win=win, wscale=None)


def fin_wait_2(wire: Wire, port: int) -> Sock:
    """A closed connection whose FIN is acknowledged."""
    sock = connection(wire, port)
    sock.close()
    forget(wire)
    wire.inject(sock.peer.frame(segment(". 1:1(0) ack 2 win 257")))
    assert sock.state == "FIN_WAIT_2"
    return sock


def fin_wait_1(wire: Wire, port: int, data: int = 100) -> Sock:
    """A closed connection with bytes under way."""
    sock = connection(wire, port)
    sock.send(data)
    sock.close()
    forget(wire)
    assert sock.state == "FIN_WAIT_1"
    return sock


def orphans(wire: Wire) -> int:
    """How many there are."""
    wire.engine.check()
    return int(wire.engine.usage().orphans)


def test_a_closed_connection_is_an_orphan_until_it_ends(wire: Wire) -> None:
    sock = connection(wire, 1001)
    assert orphans(wire) == 0
    sock.close()
    assert orphans(wire) == 1
    forget(wire)
    wire.inject(sock.peer.frame(segment("F. 1:1(0) ack 2 win 257")))
    forget(wire)
    assert sock.state == "TIME_WAIT"
    assert orphans(wire) == 0


@pytest.mark.parametrize("how", ["reset", "abort", "timeout"])
def test_however_it_ends_it_is_counted_no_more(wire: Wire, how: str) -> None:
    sock = fin_wait_1(wire, 1001)
    assert orphans(wire) == 1
    if how == "reset":
        wire.inject(sock.peer.frame(segment("R 1:1(0)")))
    elif how == "abort":
        wire.inject(sock.peer.frame(segment("P. 1:11(10) ack 1 win 257")))
    else:
        wire.advance(600)
    assert orphans(wire) == 0
    assert wire.engine.usage().tcbs == 1
    forget(wire)


def test_a_half_closed_connection_is_none(wire: Wire) -> None:
    """shutdown() keeps the socket."""
    sock = connection(wire, 1001)
    sock.shutdown()
    forget(wire)
    assert orphans(wire) == 0


def test_connections_that_die_with_their_listener_are_counted_out(wire: Wire) -> None:
    listener = wire.listen()
    for port in (1001, 1002):
        peer = wire.peer(port)
        wire.inject(peer.frame(segment("S 0:0(0) win 65535 <mss 1000>")))
        wire.take(peer=peer)
        wire.inject(peer.frame(segment(". 1:1(0) ack 1 win 9")))
    wire.engine.close(listener)
    assert orphans(wire) == 0
    assert wire.engine.usage().tcbs == 0
    forget(wire)


# ------------------------------------------------------------------ FIN-WAIT-2


def test_fin_wait_2_ends_after_its_timeout(wire: Wire) -> None:
    """S19: a peer that never closes; 60 s as in Linux."""
    sock = fin_wait_2(wire, 1001)
    wire.quiet(59.9)
    assert sock.state == "FIN_WAIT_2"
    wire.quiet(0.2)
    assert sock.state == "CLOSED"
    assert orphans(wire) == 0


def test_acks_do_not_prolong_fin_wait_2(wire: Wire) -> None:
    """S19: a peer that says nothing else (NKiller2)."""
    sock = fin_wait_2(wire, 1001)
    for _ in range(61):
        wire.inject(sock.peer.frame(segment(". 1:1(0) ack 2 win 257")))
        wire.advance(1)
    forget(wire)
    assert sock.state == "CLOSED"


def test_close_after_a_half_close_starts_the_timeout(wire: Wire) -> None:
    sock = connection(wire, 1001)
    sock.shutdown()
    forget(wire)
    wire.inject(sock.peer.frame(segment(". 1:1(0) ack 2 win 257")))
    wire.quiet(600)
    assert sock.state == "FIN_WAIT_2"
    wire.engine.tick()
    sock.close()
    wire.quiet(61)
    assert sock.state == "CLOSED"


def test_a_flood_of_half_closed_peers_keeps_the_youngest(wire: Wire) -> None:
    """Beyond tcp.max_orphans the oldest in FIN-WAIT-2 goes, silently: its bytes have arrived."""
    wire.settings(tcp_max_orphans=8)
    socks = [fin_wait_2(wire, 1000 + i) for i in range(30)]
    assert orphans(wire) == 8
    assert [sock.state for sock in socks] == ["CLOSED"] * 22 + ["FIN_WAIT_2"] * 8
    assert wire.stats["tcp.orphans.ended"] == 22
    assert wire.stats["tcp.resets.out"] == 0
    forget(wire)
    wire.quiet(61)
    assert orphans(wire) == 0
    assert wire.engine.usage().timers == 0


def test_an_orphan_with_bytes_outlives_those_in_fin_wait_2(wire: Wire) -> None:
    """What is still to be delivered comes first."""
    wire.settings(tcp_max_orphans=4)
    sending = [fin_wait_1(wire, 1000 + i) for i in range(3)]
    waiting = [fin_wait_2(wire, 2000 + i) for i in range(3)]
    assert {sock.state for sock in sending} == {"FIN_WAIT_1"}
    assert [sock.state for sock in waiting] == ["CLOSED", "CLOSED", "FIN_WAIT_2"]
    forget(wire)


# ------------------------------------------------------------------ the limit


def test_one_orphan_too_many_is_reset(wire: Wire) -> None:
    wire.settings(tcp_max_orphans=3)
    first = [fin_wait_1(wire, 1000 + i) for i in range(3)]
    extra = connection(wire, 2000)
    extra.send(100)
    forget(wire)
    extra.close()
    assert extra.state == "CLOSED"
    assert forget(wire) == ["R. 101"]
    assert {sock.state for sock in first} == {"FIN_WAIT_1"}
    assert wire.stats["tcp.orphans.ended"] == 1


def test_no_orphan_may_be_kept_at_all(wire: Wire) -> None:
    """tcp.max_orphans=0: every close with a peer that still has to answer is a reset."""
    wire.settings(tcp_max_orphans=0)
    sock = connection(wire, 1001)
    sock.close()
    assert sock.state == "CLOSED"
    assert forget(wire)[-1].startswith("R.")


def test_what_the_application_holds_is_never_ended(wire: Wire) -> None:
    wire.settings(tcp_max_orphans=1)
    held = [connection(wire, 1000 + i) for i in range(10)]
    for i in range(5):
        fin_wait_1(wire, 2000 + i) if i == 0 else connection(wire, 2000 + i).close()
        forget(wire)
    assert {sock.state for sock in held} == {"ESTABLISHED"}
    assert orphans(wire) == 1


def test_a_closed_window_counts_double(wire: Wire) -> None:
    """As Linux: under the limit an orphan is probed, above half of it it is reset."""
    wire.settings(tcp_max_orphans=3)
    stuck = [connection(wire, 1000 + i, win=0) for i in range(2)]
    for sock in stuck:
        sock.send(10)
        sock.close()
    forget(wire)
    assert orphans(wire) == 2
    wire.advance(5)
    assert wire.stats["tcp.orphans.ended"] == 1
    assert sorted(sock.state for sock in stuck) == ["CLOSED", "FIN_WAIT_1"]
    assert any(said.startswith("R.") for said in forget(wire))


# ------------------------------------------------------------------ silence and closed windows


def test_a_silent_peer_is_given_up_after_orphan_retries(wire: Wire) -> None:
    wire.settings(tcp_orphan_retries=3)
    sock = fin_wait_1(wire, 1001)
    wire.advance(1 + 2 + 4 + 8 + 1)
    assert sock.state == "CLOSED"
    assert wire.stats["tcp.timeouts"] == 1
    forget(wire)


def test_a_peer_that_keeps_its_window_closed_cannot_keep_an_orphan(wire: Wire) -> None:
    """S18: for an application MUST-37 holds the connection open; nobody holds this one."""
    sock = connection(wire, 1001, win=0)
    sock.send(1000)
    sock.close()
    for _ in range(2000):
        wire.advance(0.5)
        if wire.sent:
            forget(wire)
            if sock.state != "CLOSED":
                wire.inject(sock.peer.frame(segment(". 1:1(0) ack 1 win 0")))
    assert sock.state == "CLOSED"
    assert orphans(wire) == 0
    usage = wire.engine.usage()
    assert (usage.mbufs_small, usage.mbufs_large, usage.timers) == (0, 0, 0)


def test_a_thousand_of_them_hold_no_more_than_the_limit_allows(wire: Wire) -> None:
    """S19: whatever stage they stop at."""
    wire.settings(tcp_max_orphans=16, tcp_max_tcbs=64)
    listener = wire.listen()
    for i in range(1000):
        peer = wire.peer(1000 + i)
        wire.inject(peer.frame(segment("S 0:0(0) win 100 <mss 1000>")))
        if wire.take(peer=peer) is None:
            continue
        wire.inject(peer.frame(segment(f". 1:1(0) ack 1 win {i % 2 * 100}")))
        handle = wire.engine.accept(listener)
        wire.engine.send(handle, bytes(50))
        wire.engine.close(handle)
        forget(wire)
        if i % 4 == 1:
            wire.inject(peer.frame(segment(". 1:1(0) ack 52 win 100")))
            forget(wire)
        assert wire.engine.usage().orphans <= 16
        assert wire.engine.usage().tcbs <= 18
    wire.engine.check()
    wire.advance(1200)
    forget(wire)
    usage = wire.engine.usage()
    assert (usage.orphans, usage.tcbs, usage.mbufs_small, usage.timers) == (0, 1, 0, 0)


def test_those_in_fin_wait_2_go_in_the_order_in_which_they_came(wire: Wire) -> None:
    wire.settings(tcp_max_orphans=3)
    waiting = [fin_wait_2(wire, 1000 + i) for i in range(3)]
    for gone in range(3):
        assert waiting[gone].state == "FIN_WAIT_2"
        fin_wait_2(wire, 2000 + gone)
        assert waiting[gone].state == "CLOSED"
        assert orphans(wire) == 3


def test_one_in_fin_wait_2_may_end_between_others(wire: Wire) -> None:
    """Those that came before and after it still go in their order."""
    wire.settings(tcp_max_orphans=2)
    first, *others = [fin_wait_2(wire, 1000 + i) for i in range(2)]
    wire.settings(tcp_max_orphans=3)
    others.append(fin_wait_2(wire, 1002))
    for sock in others:
        wire.inject(sock.peer.frame(segment("F. 1:1(0) ack 2 win 257")))
        forget(wire)
    wire.settings(tcp_max_orphans=2)
    second = fin_wait_2(wire, 2000)
    for sock in (first, second):
        assert sock.state == "FIN_WAIT_2"
        fin_wait_2(wire, sock.peer.port + 2000)
        assert sock.state == "CLOSED"
