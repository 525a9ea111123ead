# SPDX-License-Identifier: BSD-3-Clause
"""Few buffers and many who want them (ROBUSTNESS S18, S23; RFC 9293 SHLD-14; base/share.h): each
gets a share, whoever comes late gets on, what was offered stays offered."""

from __future__ import annotations

import pytest

import rig
from notation import parse_segment as segment
from wire import Sock, Wire, pattern

both_versions = pytest.mark.both_versions

SMALL = 2048  # bytes of a small buffer
POOL = 2048  # small buffers of a test's engine
SEGMENT = 1000


def forget(wire: Wire) -> None:
    """Let what waits to be sent go by."""
    wire.pump()
    wire.sent.clear()


def put(wire: Wire, sock: Sock, seq: int, length: int = SEGMENT) -> None:
    """So many bytes of the peer's."""
    wire.inject(sock.peer.frame(segment(f". {seq}:{seq + length}({length}) ack 1 win 257")))
    forget(wire)


def fill(wire: Wire, sock: Sock, most: int = 1 << 30) -> int:
    """The peer sends what it may until nothing more is taken; how much that was."""
    begin = sock.info.rcv_nxt
    while (taken := (sock.info.rcv_nxt - begin) % 2**32) < most:
        room = (sock.info.rcv_adv - sock.info.rcv_nxt) % 2**32
        if room < SEGMENT:
            wire.advance(0.05)  # an ACK may be delayed
            forget(wire)
            if (sock.info.rcv_adv - sock.info.rcv_nxt) % 2**32 < SEGMENT:
                break
            continue
        put(wire, sock, wire.their_next(sock))
        if (sock.info.rcv_nxt - begin) % 2**32 == taken:
            break
    return (sock.info.rcv_nxt - begin) % 2**32


def unread(wire: Wire, n: int, first: int = 1000) -> list[Sock]:
    """Connections that are sent all they take and that nobody reads."""
    socks = [wire.established(peer=wire.peer(first + i)) for i in range(n)]
    for sock in socks:
        fill(wire, sock)
    wire.engine.check()
    return socks


def free(wire: Wire) -> int:
    """Small buffers that are free."""
    usage = wire.engine.usage()
    return int(usage.mbufs_small_max - usage.mbufs_small)


def hungry(wire: Wire) -> None:
    """Receive buffers that alone would take the pool."""
    wire.settings(tcp_rmem=4_000_000, tcp_rmem_max=8_000_000)


# ------------------------------------------------------------------ receiving


def test_far_from_the_bound_nobody_notices(wire: Wire) -> None:
    socks = unread(wire, 8)
    assert {sock.info.inq for sock in socks} == {socks[0].info.inq}
    assert socks[0].info.inq > 40_000, "the window of tcp.rmem"
    assert wire.stats["tcp.drop.share"] == 0


@both_versions
def test_one_connection_alone_gets_a_third_of_what_is_above_the_floor(wire: Wire) -> None:
    """Half of what is then still free (mbuf.share_part is 2, mbuf.share_floor 25 %)."""
    hungry(wire)
    (sock,) = unread(wire, 1)
    above = 0.75 * POOL - 64
    assert above / 3 - 4 <= sock.info.rcv_charged / SMALL <= above / 3 + 4


@pytest.mark.parametrize("part", [1, 4, 16])
def test_the_part_is_a_setting(wire: Wire, part: int) -> None:
    hungry(wire)
    wire.settings(mbuf_share_part=part, mbuf_share_floor=0)
    (sock,) = unread(wire, 1)
    want = (POOL - 64) / (part + 1)
    assert want - 4 <= sock.info.rcv_charged / SMALL <= want + 4


@pytest.mark.parametrize("n", [2, 4, 8])
def test_connections_that_take_all_they_can_leave_as_much_as_each_has(wire: Wire, n: int) -> None:
    hungry(wire)
    socks = unread(wire, n)
    held = [sock.info.rcv_charged for sock in socks]
    assert held == sorted(held, reverse=True), "who comes first gets more"
    assert free(wire) - 64 - POOL / 4 >= min(held) / SMALL - 1
    assert min(held) >= 8 * SMALL


def test_connections_that_fill_together_share_alike(wire: Wire) -> None:
    """None is favoured for having been first."""
    hungry(wire)
    socks = [wire.established(peer=wire.peer(1000 + i)) for i in range(5)]
    for _ in range(60):
        for sock in socks:
            fill(wire, sock, 10_000)
    held = [sock.info.rcv_charged for sock in socks]
    assert max(held) <= 1.2 * min(held), held
    assert max(held) / SMALL <= (0.75 * POOL - 64) / 7 * 1.2


@both_versions
def test_a_late_connection_gets_on_beside_sixty_that_nobody_reads(wire: Wire) -> None:
    """The 22 connections of 1 MB that starved all others; here the pool is an eighth."""
    wire.settings(tcp_max_tcbs=80, tcp_rmem=400_000)
    unread(wire, 60)
    sock = wire.established(peer=wire.peer(5000))
    data = b""
    for _ in range(200):
        nxt = wire.their_next(sock)
        put(wire, sock, nxt)
        data += sock.recv()
        wire.advance(0.01)
        forget(wire)
    assert data == pattern(1, 200_001)


def test_latecomers_have_the_floor_for_themselves(wire: Wire) -> None:
    """mbuf.share_floor: who holds less than mbuf.share_least is served down to the reserve."""
    wire.settings(tcp_max_tcbs=100, tcp_rmem=400_000, mbuf_share_least=4 * SMALL)
    unread(wire, 60)
    late = [wire.established(peer=wire.peer(5000 + i)) for i in range(30)]
    assert all(fill(wire, sock) >= 4 * SEGMENT for sock in late)
    assert free(wire) >= 64, "mbuf.reserve"


def test_a_window_that_was_offered_is_never_taken_back(wire: Wire) -> None:
    """SHLD-14, under pressure too: the right edge stands, and what comes may be dropped."""
    wire.settings(tcp_max_tcbs=80, tcp_rmem=400_000)
    watched = wire.established(peer=wire.peer(900), win=257)
    edges = []
    for i in range(40):
        other = wire.established(peer=wire.peer(1000 + i))
        fill(wire, other)
        put(wire, watched, wire.their_next(watched), 10)
        wire.advance(0.05)
        forget(wire)
        edges.append((watched.info.rcv_adv - watched.info.irs) % 2**32)
    assert edges == sorted(edges)


def test_under_pressure_the_window_opens_no_further(wire: Wire) -> None:
    hungry(wire)
    (hog,) = unread(wire, 1)
    before = hog.info.rcv_adv
    wire.inject(
        hog.peer.frame(segment(f". {wire.their_next(hog)}:{wire.their_next(hog)}(0) ack 1"))
    )
    wire.advance(1)
    forget(wire)
    assert hog.info.rcv_adv == before


@pytest.mark.parametrize("hogs", [0, 8])
def test_a_connection_that_is_read_is_offered_its_share(wire: Wire, hogs: int) -> None:
    """Alone a large window; beside others less, though its own buffer is empty."""
    hungry(wire)
    unread(wire, hogs)
    sock = wire.established(peer=wire.peer(5000))
    for _ in range(400):
        put(wire, sock, wire.their_next(sock))
        sock.recv()
    forget(wire)
    share = (free(wire) - 64 - POOL / 4) / 2 * SMALL  # mbuf.share_part is 2
    assert sock.info.rcv_wnd <= max(share / 2, 65_535) + 256
    assert (sock.info.rcv_wnd > 300_000) == (hogs == 0)


def test_the_last_large_buffer_may_be_kept_by_who_holds_nothing(wire: Wire) -> None:
    wire.settings(mbuf_large=1)
    sock = wire.established()
    put(wire, sock, 1, 2000)
    assert wire.engine.usage().mbufs_large == 1
    assert sock.info.inq == 2000


def test_text_beyond_the_share_is_dropped_counted_and_answered(wire: Wire) -> None:
    """The peer believes in the window that it was offered while there was plenty."""
    wire.settings(tcp_max_tcbs=80, tcp_rmem=400_000)
    victim = wire.established(peer=wire.peer(900))
    fill(wire, victim, 60_000)
    unread(wire, 60)
    room = (victim.info.rcv_adv - victim.info.rcv_nxt) % 2**32
    assert room >= SEGMENT
    nxt = wire.their_next(victim)
    dropped = wire.stats["tcp.drop.share"]
    wire.inject(victim.peer.frame(segment(f". {nxt}:{nxt + 500}(500) ack 1 win 257")))
    taken = wire.take(0.1)
    assert wire.stats["tcp.drop.share"] == dropped + 1
    assert taken is not None and taken[1].ack == nxt
    assert victim.info.inq == nxt - 1


def test_reading_opens_the_window_again(wire: Wire) -> None:
    """Nothing is lost by a refusal: the peer sends it again."""
    hungry(wire)
    socks = unread(wire, 4)
    for sock in socks:
        assert len(sock.recv(1 << 24)) > 0
        forget(wire)
    assert free(wire) >= POOL - 8
    data = fill(wire, socks[0], 100_000)
    assert data >= 100_000
    begin = wire.their_next(socks[0]) - data
    assert socks[0].recv(1 << 24) == pattern(begin, begin + data)
    forget(wire)


def test_text_in_order_displaces_what_waits_out_of_order(wire: Wire) -> None:
    """As Linux prunes: under pressure a connection's own later text goes first."""
    wire.settings(tcp_max_tcbs=80, tcp_rmem=400_000, mbuf_share_least=2048)
    sock = wire.established(peer=wire.peer(900))
    for i in range(20):
        put(wire, sock, 2001 + 2 * i * SEGMENT)
    assert sock.info.ooo_bytes == 20 * SEGMENT
    unread(wire, 60)
    before = sock.info.ooo_bytes
    put(wire, sock, 1)
    assert sock.info.inq >= SEGMENT
    assert sock.info.ooo_bytes < before
    assert wire.stats["tcp.ooo.pruned"] > 0
    wire.engine.check()


def test_text_out_of_order_displaces_only_what_is_later(wire: Wire) -> None:
    wire.settings(tcp_max_tcbs=80, tcp_rmem=400_000, mbuf_share_least=2048)
    sock = wire.established(peer=wire.peer(900))
    for i in range(20):
        put(wire, sock, 2001 + 2 * i * SEGMENT)
    unread(wire, 60)
    put(wire, sock, 2001 + 9 * SEGMENT)
    assert sock.info.ooo_bytes == 5 * SEGMENT
    assert wire.stats["tcp.ooo.pruned"] == 15
    wire.engine.check()


def test_the_handshake_works_while_nobody_reads(wire: Wire) -> None:
    """mbuf.reserve: segments without text do not wait for text to be read."""
    wire.settings(tcp_max_tcbs=200, tcp_rmem=400_000)
    unread(wire, 80)
    for i in range(40):
        assert wire.established(peer=wire.peer(5000 + i)).state == "ESTABLISHED"
    assert wire.stats["tcp.out.nombuf"] == 0


def test_connections_nobody_accepts_hold_their_share_only(wire: Wire) -> None:
    """An accept-queue flood with data."""
    wire.settings(tcp_rmem=400_000)
    listener = wire.listen(backlog=30)
    for i in range(30):
        peer = wire.peer(1000 + i)
        wire.inject(peer.frame(segment("S 0:0(0) win 65535 <mss 1000>")))
        assert wire.take(peer=peer) is not None
        wire.inject(peer.frame(segment(". 1:1(0) ack 1 win 257")))
        for seq in range(1, 60_000, SEGMENT):
            wire.inject(peer.frame(segment(f". {seq}:{seq + SEGMENT}({SEGMENT}) ack 1 win 257")))
        forget(wire)
    assert free(wire) >= 64
    wire.engine.check()
    wire.engine.close(listener)
    forget(wire)
    assert free(wire) == POOL


def test_udp_sockets_have_shares_too(wire: Wire) -> None:
    """A socket that nobody reads leaves another its datagrams."""
    wire.settings(udp_rmem=100_000_000)
    hog, other = wire.engine.udp("0.0.0.0", 9), wire.engine.udp("0.0.0.0", 10)
    engine = wire.engine
    import frames
    from flow import THEIR_IP, THEIR_MAC

    def datagram(port: int) -> bytes:
        ends = frames.packed(THEIR_IP), frames.packed(engine.address)
        body = frames.udp(*ends, 7, port, bytes(SEGMENT))
        return frames.ip_frame(engine.mac, THEIR_MAC, frames.ip(*ends, frames.PROTO_UDP, body))

    for _ in range(2 * POOL):
        engine.inject(datagram(9))
    assert abs(POOL - free(wire) - (0.75 * POOL - 64) / 3) <= 4
    assert wire.stats["udp.drop.share"] > POOL
    for _ in range(20):
        engine.inject(datagram(10))
    assert engine.ready(other) & rig.lib.UST_READABLE
    assert wire.stats["udp.in"] == 2 * POOL - wire.stats["udp.drop.share"] + 20
    engine.close(hog)
    engine.close(other)


# ------------------------------------------------------------------ sending (Sockstress)


def stuck(wire: Wire, n: int, data: int = 200_000) -> list[Sock]:
    """Connections whose peer keeps its window closed; each is given all it takes to send."""
    socks = []
    for i in range(n):
        sock = wire.established(peer=wire.peer(1000 + i), win=0, wscale=None)
        sock.setopt("SNDBUF", 2_000_000)
        while True:
            try:
                wire.engine.send(sock.handle, bytes(data))
            except OSError:
                break
        socks.append(sock)
    forget(wire)
    return socks


@both_versions
def test_peers_that_never_read_leave_others_room_to_send(wire: Wire) -> None:
    """S18: closed windows on 40 connections."""
    wire.settings(tcp_wmem_max=4_000_000)
    socks = stuck(wire, 40)
    assert wire.stats["sock.share"] > 0
    assert all(sock.info.outq > 0 for sock in socks)
    sock = wire.established(peer=wire.peer(5000))
    sent = 0
    while sent < 50_000:
        sent += sock.send(5000)
        wire.deliver(sock, rtt=0.01)
    assert sock.info.bytes_acked == sent
    wire.engine.check()


def test_a_user_timeout_ends_a_closed_window(wire: Wire) -> None:
    """RFC 5482; RFC 9293 MUST-37 keeps the others, as long as their peers answer."""
    socks = stuck(wire, 4, data=5000)
    socks[0].setopt("USER_TIMEOUT", 30_000)
    for _ in range(900):
        wire.advance(0.1)
        if wire.sent:
            forget(wire)
            for sock in socks:
                if sock.state == "ESTABLISHED":
                    wire.inject(sock.peer.frame(segment(". 1:1(0) ack 1 win 0")))
    assert [sock.state for sock in socks] == ["CLOSED"] + ["ESTABLISHED"] * 3
    forget(wire)


def test_what_stuck_connections_hold_comes_back_when_they_are_closed(wire: Wire) -> None:
    """As orphans they are probed a while, and then are gone."""
    socks = stuck(wire, 10, data=20_000)
    for sock in socks:
        sock.close()
    wire.advance(1000)
    forget(wire)
    usage = wire.engine.usage()
    assert (usage.mbufs_small, usage.mbufs_large, usage.mbufs_ref, usage.orphans) == (0, 0, 0, 0)


def test_a_connection_that_holds_nothing_may_always_send_a_little(wire: Wire) -> None:
    wire.settings(tcp_wmem_max=4_000_000, tcp_max_tcbs=100)
    stuck(wire, 60)
    for i in range(20):
        sock = wire.established(peer=wire.peer(5000 + i))
        assert sock.send(2000) == 2000
        wire.deliver(sock, rtt=0.01)
        forget(wire)


def test_a_write_that_takes_all_that_is_left_is_not_cut(wire: Wire) -> None:
    """sock.share counts those that were."""
    wires = [wire, Wire()]
    rooms = []
    for one in wires:
        one.settings(tcp_wmem_max=4_000_000)
        sock = one.established(win=0, wscale=None)
        sock.setopt("SNDBUF", 100_000_000)
        size = rooms[0] if rooms else 50_000_000
        rooms.append(one.engine.send(sock.handle, bytes(size)))
        assert one.stats["sock.share"] == (size == 50_000_000)
        forget(one)
    assert rooms[0] == rooms[1] < 50_000_000
    wires[1].free()
