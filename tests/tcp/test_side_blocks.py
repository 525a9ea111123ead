# SPDX-License-Identifier: BSD-3-Clause
"""What some connections have beside their TCB (traffic.c, flight.c, extra.c) is one's alone."""

from __future__ import annotations

from wire import Sock, Wire


def talk(wire: Wire, count: int, port: int) -> list[Sock]:
    """So many connections; the nth, from 1 on, has had n segments of text acknowledged."""
    socks = []
    for n in range(1, count + 1):
        sock = wire.established(mss=1000, peer=wire.peer(port + n))
        for i in range(n):
            sock.send(b"x" * 500)
            at = 1 + 500 * i
            sock.peer(f"+0 > P. {at}:{at + 500}(500) ack 1")
            sock.peer(f"+.1 < . 1:1(0) ack {at + 500} win 257")
        sock.setopt("KEEPIDLE", 100 + n)
        socks.append(sock)
    return socks


def test_what_connections_have_given_back_goes_to_one_other_each(wire: Wire) -> None:
    for sock in talk(wire, 4, 40000):
        sock.abort()
    wire.sent.clear()
    socks = talk(wire, 5, 41000)
    assert [sock.info.delivered for sock in socks] == [1, 2, 3, 4, 5]
    assert [sock.getopt("KEEPIDLE") for sock in socks] == [101, 102, 103, 104, 105]
    for sock in socks:
        sock.send(b"y" * 500)
    wire.sent.clear()
    assert [sock.info.unacked for sock in socks] == [1, 1, 1, 1, 1]
    wire.engine.check()
