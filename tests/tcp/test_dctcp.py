# SPDX-License-Identifier: BSD-3-Clause
"""DCTCP: RFC 8257."""

from __future__ import annotations

import rig
from ustack.sim import DropTail, Network
from wire import Sock, Wire

MSS = 1000
DCTCP = rig.lib.UST_CC_DCTCP


def connection(wire: Wire) -> Sock:
    """A connection that both ends run DCTCP on."""
    wire.settings(tcp_congestion_control="dctcp")
    wire.listen()
    wire("""
        +0   < SEW 0:0(0) win 65535 <mss 1000,sackOK,nop,wscale 8>
        +0   > SE. 0:0(0) ack 1 <...>
        +.01 < .   1:1(0) ack 1 win 1000
    """)
    return wire.accept(wire.default)


def round_trip(wire: Wire, sock: Sock, marked: int) -> None:
    """A window is sent and acknowledged, the first so many segments as marked."""
    begin = sock.peer.ours(sock.info.snd_una)
    sock.send(sock.info.cwnd)
    end = begin
    while taken := wire.take():
        end = max(end, taken[1].seq + taken[1].length)
    wire.advance(0.01)
    for nth, ack in enumerate(range(begin + MSS, end + 1, MSS)):
        wire.put(f"+0 < {'E.' if nth < marked else '.'} 1:1(0) ack {ack} win 1000")


def test_it_asks_for_ecn_though_the_setting_does_not(wire: Wire) -> None:
    """RFC 8257 3: it lives on it. As Linux."""
    wire.settings(tcp_ecn=0, tcp_congestion_control="dctcp")
    wire.connect()
    wire("+0 > SEW 0:0(0) <...>")


def test_a_listener_gives_ecn_though_the_setting_does_not(wire: Wire) -> None:
    wire.settings(tcp_ecn=0)
    assert connection(wire).info.ecn == 1


def test_everything_that_it_sends_is_ect(wire: Wire) -> None:
    """RFC 8257 3.5's concern: what is not ECT is dropped where the rest is marked. As Linux."""
    sock = connection(wire)
    wire("""
        +0 < [ect0] P. 1:1001(1000) ack 1 win 1000
        +0 > [ect0] . 1:1(0) ack 1001
    """)
    sock.send(100)
    wire("+0 > [ect0] P. 1:101(100) ack 1001")
    taken = wire.take(1)
    assert taken is not None
    assert taken[1].mark == 2
    wire("+0 < . 1001:1001(0) ack 101 win 1000")


def test_each_ack_tells_of_its_own_text(wire: Wire) -> None:
    """RFC 8257 3.2: the echo ends with the marks, not with CWR."""
    connection(wire)
    wire("""
        +0 < [ect0] P. 1:1001(1000) ack 1 win 1000
        +0 > . 1:1(0) ack 1001
        +0 < [ce] P. 1001:2001(1000) ack 1 win 1000
        +0 > E. 1:1(0) ack 2001
        +0 < [ce] PW. 2001:3001(1000) ack 1 win 1000
        +0 > E. 1:1(0) ack 3001
        +0 < [ect0] P. 3001:4001(1000) ack 1 win 1000
        +0 > . 1:1(0) ack 4001
    """)


def test_a_change_acknowledges_at_once_what_came_before_it(wire: Wire) -> None:
    """RFC 8257 3.2: a delayed ACK must not tell of both."""
    wire.settings(tcp_quickack_segs=0)
    connection(wire)
    wire("""
        +0 < [ect0] P. 1:1001(1000) ack 1 win 1000
        +0 < [ce]   P. 1001:2001(1000) ack 1 win 1000
        +0 > .  1:1(0) ack 1001
        +0 > E. 1:1(0) ack 2001
        +0 < [ce]   P. 2001:3001(1000) ack 1 win 1000
        +0 < [ect0] P. 3001:4001(1000) ack 1 win 1000
        +0 > E. 1:1(0) ack 3001
        +0 > .  1:1(0) ack 4001
    """)


def test_a_few_marks_cost_a_little(wire: Wire) -> None:
    """RFC 8257 3.3: by alpha / 2, and alpha is (15/16)^20 after 20 round trips without."""
    wire.settings(tcp_slow_start_after_idle=0)
    sock = connection(wire)
    round_trip(wire, sock, 1)  # alpha is 1 at first: halves
    assert sock.info.ssthresh == 5 * MSS
    for _ in range(20):
        round_trip(wire, sock, 0)
    before = sock.info.cwnd
    round_trip(wire, sock, 1)
    assert before * 0.8 <= sock.info.ssthresh < before


def test_marks_on_everything_halve(wire: Wire) -> None:
    """RFC 8257 3.3: alpha tends to 1."""
    sock = connection(wire)
    for _ in range(8):
        before = sock.info.cwnd
        round_trip(wire, sock, 1000)
        assert sock.info.ssthresh <= max(before * 0.55, 2 * MSS)


def test_a_loss_halves(wire: Wire) -> None:
    """RFC 8257 3.4."""
    wire.settings(tcp_slow_start_after_idle=0)
    sock = connection(wire)
    round_trip(wire, sock, 1)
    for _ in range(20):
        round_trip(wire, sock, 0)
    before = sock.info.cwnd
    una = sock.peer.ours(sock.info.snd_una)
    sock.send(10 * MSS)
    while wire.take():
        pass
    wire.advance(0.01)
    for n in range(2, 5):
        wire.put(f"+0 < . 1:1(0) ack {una} win 1000 <sack {una + MSS}:{una + n * MSS}>")
        while wire.take():
            pass
    assert sock.info.ssthresh == before // 2 // MSS * MSS
    wire.put(f"+.001 < . 1:1(0) ack {una + 10 * MSS} win 1000")


def test_marks_are_counted(wire: Wire) -> None:
    sock = connection(wire)
    round_trip(wire, sock, 4)
    assert sock.info.delivered_ce == 4


def test_a_change_to_dctcp_on_a_connection_without_ecn_is_reno(wire: Wire) -> None:
    sock = wire.established(mss=MSS, rtt=0.01)
    sock.setopt("CONGESTION", DCTCP)
    sock.send(MSS)
    wire("+0 > [noecn] P. 1:1001(1000) ack 1\n+.01 < . 1:1(0) ack 1001 win 257")


def mean_queue(congestion: str, mark: int | None) -> tuple[float, float]:
    """Two transfers through a switch: the queue's mean in bytes, the goodput in bits a second."""
    net = Network(seed=1)
    switch = net.switch("switch")
    hosts = [net.host(name, settings={"tcp.ecn": 1}) for name in ("a", "b", "sink")]
    for host in hosts[:2]:
        net.link(host, switch, rate=1e9, delay=0.0001)
    queue = DropTail(bytes=1_000_000, mark=mark)
    link = net.link(switch, hosts[2], rate=100e6, delay=0.0005, queue=queue)
    flows = [net.bulk(host, hosts[2], congestion=congestion) for host in hosts[:2]]
    net.run(1)
    before = link.forward.stats(net.now_ns).queue_byte_us
    net.run(2)
    waited = link.forward.stats(net.now_ns).queue_byte_us - before
    return waited / 2e6, sum(flow.goodput for flow in flows)


def test_its_queue_is_a_fifth_of_cubics_at_most() -> None:
    """A switch marks beyond 30 kB of its 1 MB; CUBIC, without marks, fills it."""
    cubic, _ = mean_queue("cubic", None)
    dctcp, goodput = mean_queue("dctcp", 30_000)
    assert dctcp < 0.2 * cubic
    assert goodput > 0.93 * 100e6
