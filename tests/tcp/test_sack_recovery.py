# SPDX-License-Identifier: BSD-3-Clause
"""Recovery with selective acknowledgments: RFC 2018, RFC 6675, as Linux does it."""

from __future__ import annotations

import random

import pytest

import notation
from flight import DISORDER, OPEN, RECOVERY, ack, flight, leaves, packets, sent
from wire import Wire

pytestmark = pytest.mark.both_versions


def test_only_the_holes_are_sent_again(wire: Wire) -> None:
    """RFC 6675 5: segments 0 and 3 of ten are lost; nothing sacked is resent."""
    sock = flight(wire)
    wire.put(ack(0, (1, 2), when="+.1"))
    wire.put(ack(0, (1, 3)))
    wire.put(ack(0, (4, 5), (1, 3)))
    leaves(wire, [0])
    assert sock.info.ca_state == RECOVERY
    assert packets(sock) == (10, 3, 2, 1)
    wire.put(ack(0, (4, 6), (1, 3)))
    leaves(wire, [3])
    wire.put(ack(0, (4, 10), (1, 3)))
    wire.put(ack(3, (4, 10), when="+.1"))
    wire.put(ack(10))
    assert sock.info.ca_state == OPEN
    assert packets(sock) == (0, 0, 0, 0)
    assert sock.info.total_retrans == 2
    assert wire.stats["tcp.rexmt.rto"] == 0
    wire.quiet(10)


def test_a_sacked_segment_is_disorder_and_not_yet_a_loss(wire: Wire) -> None:
    sock = flight(wire)
    wire.put(ack(0, (2, 3), when="+.1"))
    assert sock.info.ca_state == DISORDER
    assert packets(sock) == (10, 1, 0, 0)
    wire.put(ack(3))
    assert sock.info.ca_state == OPEN
    assert packets(sock) == (7, 0, 0, 0)


def test_the_first_two_duplicates_each_let_new_text_out(wire: Wire) -> None:
    """RFC 3042."""
    flight(wire, unsent=3)
    wire.put(ack(0, (1, 2), when="+.1"))
    leaves(wire, [10])
    wire.put(ack(0, (1, 3)))
    leaves(wire, [11])


def test_an_overtaken_ack_still_tells_what_is_sacked(wire: Wire) -> None:
    """RFC 2018 4: blocks are news whatever the ACK says."""
    sock = flight(wire)
    wire.put(ack(3, (5, 6), when="+.1"))
    assert packets(sock) == (7, 1, 0, 0)
    wire.put(ack(1, (5, 8)))
    assert packets(sock)[1] == 3
    sent(wire)


def test_a_part_of_a_segment_is_not_sacked(wire: Wire) -> None:
    """As Linux: only whole segments leave the network."""
    sock = flight(wire)
    wire("+.1 < . 1:1(0) ack 1 win 257 <sack 1501:3501>")
    assert packets(sock) == (10, 1, 0, 0)
    wire("+0 < . 1:1(0) ack 1 win 257 <sack 1501:4001>")
    assert packets(sock) == (10, 2, 0, 0)
    wire("+0 < . 1:1(0) ack 1 win 257 <sack 1001:4001>")
    assert packets(sock)[1] == 3


def test_a_block_that_repeats_adds_nothing(wire: Wire) -> None:
    sock = flight(wire)
    for n in range(20):
        wire.put(ack(0, (4, 5), (2, 3), when="+0" if n else "+.1"))
    assert packets(sock) == (10, 2, 0, 0)
    assert wire.stats["tcp.rexmt.fast"] == 0


@pytest.mark.parametrize("lost", [(0, 1), (0, 9), (0, 2, 4, 6), (3, 4, 5), (7, 8)])
def test_whatever_is_lost_is_repaired_without_a_timeout(wire: Wire, lost: tuple[int, ...]) -> None:
    """A receiver that acknowledges each arrival, for ten segments of which some are lost."""
    sock = flight(wire, unsent=6)
    held, edge, gone = set[int](), 0, set(lost)
    arriving = list(range(10))
    for _ in range(60):
        wire.advance(0.1 if arriving else 0.03)
        arriving += sent(wire)
        flying = [number for number in arriving if number not in gone or gone.remove(number)]
        arriving = []
        for number in flying:
            held.add(number)
            while edge in held:
                edge += 1
            blocks = ranges([n for n in held if n > edge])[:3]
            wire.put(ack(edge, *blocks))
            arriving += sent(wire)
        wire.engine.check()
    assert edge == 16
    assert sock.info.outq == 0
    assert wire.stats["tcp.rexmt.rto"] == 0
    assert wire.stats["tcp.rexmt.segs"] <= len(lost) + 1  # a tail probe


def ranges(numbers: list[int]) -> list[tuple[int, int]]:
    """Sorted numbers as ranges, the last first."""
    out: list[tuple[int, int]] = []
    for n in sorted(numbers):
        if out and out[-1][1] == n:
            out[-1] = (out[-1][0], n + 1)
        else:
            out.append((n, n + 1))
    return out[::-1]


def test_a_lost_retransmission_is_found_without_a_timeout(wire: Wire) -> None:
    """RFC 8985 3.3: something sent after it has arrived."""
    sock = flight(wire, unsent=10)
    wire.put(ack(0, (1, 2), when="+.1"))
    leaves(wire, [10])
    wire.put(ack(0, (1, 3)))
    leaves(wire, [11])
    wire.put(ack(0, (1, 4)))
    leaves(wire, [0])
    wire.put(ack(0, (1, 10)))
    new = sent(wire)
    assert new and new[0] == 12
    wire.put(ack(0, (1, 13), when="+.1"))
    assert sent(wire)[0] == 0
    assert wire.stats["tcp.rexmt.lost"] == 1
    assert wire.stats["tcp.rexmt.rto"] == 0
    assert sock.info.ca_state == RECOVERY


def test_a_retransmission_that_is_sacked_is_neither_lost_nor_in_flight(wire: Wire) -> None:
    """RFC 6675 4, SetPipe(): of the two holes one is left, and its retransmission."""
    sock = flight(wire)
    wire.put(ack(0, (2, 10), when="+.1"))
    leaves(wire, [0, 1])
    assert packets(sock) == (10, 8, 2, 2)
    wire.put(ack(0, (1, 10), when="+.1"))
    leaves(wire, [0])
    assert packets(sock) == (10, 9, 1, 1)


def test_without_rack_three_sacked_segments_above_mean_a_loss(wire: Wire) -> None:
    """RFC 6675 4, IsLost: the first two holes have three above them, the last has not."""
    wire.settings(tcp_recovery=0)
    sock = flight(wire)
    wire.put(ack(0, (6, 7), (3, 4), (1, 2), when="+.1"))
    assert packets(sock)[2] == 1
    assert sent(wire) == [0]
    wire.put(ack(0, (6, 8), (3, 4), (1, 2)))
    assert packets(sock)[2] == 2
    leaves(wire, [2])
    wire.quiet(0.15)


def test_holes_by_the_hundred_cost_bounded_records(wire: Wire) -> None:
    """CVE-2019-11477 and its kin: random segments of a large flight are sacked, without end."""
    wire.settings(tcp_max_sent_records=64)
    sock = wire.established(mss=500, rtt=0.1, win=60000)
    sock.setopt("SNDBUF", 1 << 20)
    while sock.info.cwnd < 300_000:
        sock.send(sock.info.cwnd)
        say(wire, sock.peer.ours(sock.info.snd_max))
    sock.send(300_000)
    base = sock.peer.ours(sock.info.snd_una)
    rnd = random.Random(1)
    for _ in range(300):
        edges = [base + 1000 * rnd.randrange(300) + 500 for _ in range(4)]
        say(wire, base, " ".join(f"{lo}:{lo + 500}" for lo in edges))
    assert wire.engine.usage().sents <= 64
    assert wire.stats["tcp.sent.uncut"] > 0
    wire.engine.check()
    sock.abort()
    wire.sent.clear()
    assert wire.engine.usage().sents == 0


def say(wire: Wire, ack_seq: int, blocks: str = "") -> None:
    """An ACK, past the wire, which would look at every segment that it lets out."""
    option = f" <sack {blocks}>" if blocks else ""
    segment = notation.parse_segment(f". 1:1(0) ack {ack_seq} win 60000{option}")
    while wire.engine.extract():
        pass
    wire.sent.clear()
    wire.engine.now += 10**7
    wire.engine.inject(wire.default.frame(segment))
    while wire.engine.extract():
        pass


def test_when_records_run_out_text_is_sent_all_the_same(wire: Wire) -> None:
    wire.settings(tcp_sent_records=0)
    sock = flight(wire, unsent=30)
    wire.put(ack(0, (2, 3), when="+.1"))
    wire.put(ack(5))
    assert sent(wire)
    while sock.info.outq:
        wire.advance(0.1)
        sent(wire)
        wire.put(f"+0 < . 1:1(0) ack {sock.peer.ours(sock.info.snd_max)} win 257")
    assert wire.stats["tcp.sent.merged"] > 0
    assert wire.stats["tcp.rexmt.rto"] == 0


def test_sacks_of_what_is_behind_do_not_put_the_timeout_off(wire: Wire) -> None:
    """As Linux: the front was sent at 0.1, the timeout is due 300 ms later whatever is sacked."""
    wire.settings(tcp_early_retrans=0, tcp_recovery=0, tcp_reordering=20, tcp_frto=0)
    flight(wire, unsent=5)
    for n in range(4):
        wire.put(ack(0, (1, n + 2), when="+.1" if n == 0 else "+.03"))
        leaves(wire, [10 + n])
    wire.quiet(0.005)
    leaves(wire, [0], 0.3 - 0.195)


def test_lost_small_segments_are_gathered_into_one(wire: Wire) -> None:
    """As Linux's tcp_retrans_collapse: RFC 9293 3.8.6 allows to repacketize."""
    wire.settings(tcp_early_retrans=0)
    sock = wire.established(mss=1000, rtt=0.1)
    sock.setopt("NODELAY", 1)
    for n in range(5):
        sock.send(100)
        wire(f"+0 > P. {n * 100 + 1}:{n * 100 + 101}(100) ack 1")
    wire("+.3 > P. 1:501(500) ack 1")
    wire("+.1 < . 1:1(0) ack 501 win 257")
    assert sock.info.total_retrans == 1


def test_the_last_of_several_segments_at_once_carries_push(wire: Wire) -> None:
    """As Linux, for receivers that gather segments; a lone one inside the stream does not."""
    sock = wire.established(mss=1000, rtt=0.1, wscale=None, win=3000)
    sock.send(9000)
    assert [segment.flags for _, segment in iter(wire.take, None)] == [".", "P.", "."]
    wire.put("+.1 < . 1:1(0) ack 3001 win 2000")
    assert [segment.flags for _, segment in iter(wire.take, None)] == [".", "P."]


def test_an_old_block_is_not_a_bad_one(wire: Wire) -> None:
    """An ACK that was overtaken: what it reports is acknowledged by now (as Linux)."""
    flight(wire)
    wire.put(ack(5, when="+.1"))
    wire.put(ack(0, (2, 3)))
    assert wire.stats["tcp.sack.bad"] == 0
    wire.put("+0 < . 1:1(0) ack 5001 win 257 <sack 20001:21001>")
    assert wire.stats["tcp.sack.bad"] == 1
    wire.put(ack(10, when="+.1"))


def test_only_blocks_that_are_there_are_looked_at(wire: Wire) -> None:
    """Wherever our numbers stand, upper half or lower."""
    for port in range(1001, 1009):
        peer = wire.peer(port)
        sock = wire.established(mss=1000, rtt=0.1, peer=peer)
        sock.send(3000)
        sent(wire)
        peer("+.01 < . 1:1(0) ack 1 win 257 <sack 1001:2001>")
        peer("+0 < . 1:1(0) ack 3001 win 257")
    assert wire.stats["tcp.sack.in"] == 8
    assert wire.stats["tcp.sack.bad"] == 0


def test_without_sack_a_partial_ack_takes_one_less_than_it_covers_from_the_guess(
    wire: Wire,
) -> None:
    """RFC 6582: the hole itself had earned no duplicate; the others that left had, one each."""
    sock = flight(wire, sack=False)
    for nth in range(6):
        sent(wire)
        wire.put(ack(0, when="+.1" if nth == 0 else "+0"))
    sent(wire)
    assert packets(sock)[:2] == (10, 6)
    wire.put(ack(3, when="+.1"))
    sent(wire)
    assert packets(sock)[:2] == (7, 4)
