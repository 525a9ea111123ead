# SPDX-License-Identifier: BSD-3-Clause
"""Fragments of both versions, in and out (RFC 791 3.2, RFC 8200 4.5, RFC 5722, RFC 7112)."""

from __future__ import annotations

import itertools
import struct
from collections.abc import Iterable

import pytest

import frames
import rig
from frames import PROTO_TCP, PROTO_UDP
from lan import HOST_MAC, Lan, icmp_bytes, kind_of

pytestmark = pytest.mark.both_versions

PORT = 9
#: offset and length in bytes, and whether more follow
Piece = tuple[int, int, bool]


def fragment(
    lan: Lan,
    data: bytes,
    offset: int,
    more: bool,
    *,
    ident: int = 1,
    proto: int = PROTO_UDP,
    src: str | None = None,
    **fields: int,
) -> list[bytes]:
    """Send one fragment."""
    if lan.version == 4:
        word = offset // 8 | (0x2000 if more else 0)
        return lan.ip(proto, data, src, frag=word, ident=ident, **fields)
    head = struct.pack("!BBHI", proto, 0, offset | more, ident)
    return lan.ip(44, head + data, src, **fields)


def datagram(lan: Lan, length: int) -> bytes:
    """A UDP datagram of this length, its header included."""
    data = bytes((i * 7 + i // 256) % 251 for i in range(length - 8))
    return frames.udp(frames.packed(lan.them), frames.packed(lan.us), 4000, PORT, data)


def play(lan: Lan, whole: bytes, pieces: Iterable[Piece], ident: int = 1) -> None:
    for offset, length, more in pieces:
        assert fragment(lan, whole[offset : offset + length], offset, more, ident=ident) == []


def cut(length: int, size: int) -> list[Piece]:
    """A datagram of this length in pieces of this size."""
    return [(at, min(size, length - at), at + size < length) for at in range(0, length, size)]


def frags(lan: Lan) -> int:
    return int(lan.engine.usage().frags)


@pytest.fixture
def sink(lan: Lan) -> int:
    """A socket that the datagrams are for."""
    lan.learn()
    return lan.engine.udp(lan.engine.any, PORT)


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
def test_a_datagram_is_put_together_in_any_order(
    lan: Lan, sink: int, order: tuple[int, ...]
) -> None:
    whole = datagram(lan, 3 * 800 - 5)
    pieces = cut(len(whole), 800)
    play(lan, whole, [pieces[i] for i in order])
    data, src, port = lan.engine.recvfrom(sink)
    assert (data, src, port) == (whole[8:], lan.them, 4000)
    assert lan.moved() == {} and lan.held() == 0 and frags(lan) == 0
    assert lan.stats["frag.ok"] == 1


@pytest.mark.parametrize("length", [16, 2000, 20000, 65515])
def test_a_datagram_of_any_size_is_put_together(lan: Lan, sink: int, length: int) -> None:
    whole = datagram(lan, length)
    play(lan, whole, cut(length, 8 if length == 16 else 1480))
    assert lan.engine.recvfrom(sink)[0] == whole[8:]
    lan.engine.check()


class Model:
    """Reassembly as the documents have it, over one key, in the plainest way."""

    def __init__(self) -> None:
        self.pieces: list[Piece] = []
        self.delivered = self.overlaps = self.duplicates = 0

    def add(self, piece: Piece) -> None:
        offset, length, more = piece
        if piece in self.pieces:
            self.duplicates += 1
            return
        ends = [o + n for o, n, m in self.pieces if not m]
        furthest = max((o + n for o, n, _ in self.pieces), default=0)
        end = offset + length
        if (
            any(o < end and offset < o + n for o, n, _ in self.pieces)
            or (ends and (end > ends[0] or not more))
            or (not more and furthest > end)
        ):
            self.overlaps += 1
            self.pieces = []
            return
        self.pieces.append(piece)
        ends = [o + n for o, n, m in self.pieces if not m]
        if ends and sum(n for _, n, _ in self.pieces) == ends[0]:
            self.delivered += 1
            self.pieces = []


#: Pieces of a datagram of 32 bytes, and one of 29, that fit, overlap and contradict.
POOL: list[Piece] = [
    (0, 8, True),
    (0, 16, True),
    (8, 8, True),
    (8, 16, True),
    (16, 8, True),
    (16, 16, False),
    (24, 8, False),
    (24, 5, False),
    (24, 8, True),
    (16, 8, False),
]


def check_against_model(lan: Lan, whole: bytes, sequence: Iterable[Piece], ident: int) -> None:
    model = Model()
    was = lan.engine.counters()
    for piece in sequence:
        offset, length, more = piece
        fragment(lan, whole[offset : offset + length], offset, more, ident=ident)
        model.add(piece)
    now = lan.engine.counters()
    got = tuple(now[n] - was[n] for n in ("frag.ok", "frag.drop.overlap", "frag.duplicate"))
    assert got == (model.delivered, model.overlaps, model.duplicates), list(sequence)
    assert (frags(lan) > 0) == bool(model.pieces), list(sequence)


@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_every_sequence_of_pieces_goes_as_the_model_says(lan: Lan, count: int) -> None:
    """All sequences of up to 4 of 10 pieces: orders, duplicates, overlaps, contradictions."""
    lan.engine.set("icmp.ratelimit", 0)
    whole = datagram(lan, 32)
    for ident, sequence in enumerate(itertools.product(POOL, repeat=count)):
        check_against_model(lan, whole, sequence, ident % 60000)
        if frags(lan):  # what is left must not fill the table
            lan.wait(61)
    lan.engine.check()
    assert lan.held() == 0


def test_five_pieces_in_every_order_with_any_one_replaced(lan: Lan) -> None:
    """120 orders of a datagram in 5, with each piece in turn lost for an overlapping one."""
    lan.engine.set("icmp.ratelimit", 0)
    whole = datagram(lan, 40)
    pieces = cut(40, 8)
    odd: list[Piece | None] = [None, (0, 16, True), (8, 16, True), (24, 16, False), (32, 5, False)]
    for extra in odd:
        for at in range(5):
            chosen = [extra if extra and i == at else piece for i, piece in enumerate(pieces)]
            for ident, order in enumerate(itertools.permutations(chosen)):
                check_against_model(lan, whole, order, ident)
                if frags(lan):
                    lan.wait(61)
            if extra is None:
                break
    lan.engine.check()
    assert lan.held() == 0


def test_a_repeated_fragment_is_ignored(lan: Lan, sink: int) -> None:
    """RFC 8200 4.5; jolt2 sends nothing else."""
    whole = datagram(lan, 1600)
    play(lan, whole, [(0, 800, True)] * 100)
    assert (frags(lan), lan.stats["frag.duplicate"]) == (1, 99)
    play(lan, whole, [(800, 800, False)])
    assert lan.engine.recvfrom(sink)[0] == whole[8:]


def test_an_overlap_drops_the_datagram(lan: Lan, sink: int) -> None:
    """RFC 5722, for IPv4, too: teardrop."""
    whole = datagram(lan, 1600)
    play(lan, whole, [(0, 800, True), (792, 808, False)])
    assert lan.moved() == {"frag.drop.overlap": 1}
    assert lan.held() == frags(lan) == 0
    with pytest.raises(BlockingIOError):
        lan.engine.recvfrom(sink)


def test_datagrams_are_told_apart(lan: Lan, sink: int) -> None:
    """By source, identification and, for IPv4, protocol."""
    whole = datagram(lan, 1600)
    play(lan, whole, [(0, 800, True)], ident=1)
    play(lan, whole, [(800, 800, False)], ident=2)
    other = "10.0.0.9" if lan.version == 4 else "fd00::9"
    fragment(lan, whole[800:], 800, False, src=other)
    assert frags(lan) == 3
    fragment(lan, whole[800:], 800, False, proto=PROTO_TCP)
    assert frags(lan) == (4 if lan.version == 4 else 2)  # RFC 8200 4.5: without the protocol


# ------------------------------------------------------------------ impossible ones

BAD = [
    (0, 12, True),  # a middle one that is no multiple of 8
    (800, 0, True),  # nothing, and more to come
    (800, 0, False),
    (65528, 8, False),  # the ping of death
    (65528, 1400, False),
    (65520, 16, True),
    (64800, 1400, False),
]


@pytest.mark.parametrize("piece", BAD, ids=str)
def test_an_impossible_fragment_is_dropped(lan: Lan, sink: int, piece: Piece) -> None:
    offset, length, more = piece
    out = fragment(lan, bytes(length), offset, more)
    assert lan.moved() == {"frag.drop.bad": 1}
    assert lan.held() == frags(lan) == 0
    # RFC 8200 4.5: the sender hears of it; IPv4's does not
    if lan.version == 4:
        assert out == []
    elif length % 8 and more:
        assert (kind_of(out[0]), icmp_bytes(out[0])[4:8]) == ((4, 0), b"\0\0\0\4")
    elif length:
        assert (kind_of(out[0]), icmp_bytes(out[0])[4:8]) == ((4, 0), b"\0\0\0\x2a")


@pytest.mark.parametrize(("proto", "least"), [(PROTO_TCP, 20), (PROTO_UDP, 8)])
def test_a_tiny_first_fragment_is_dropped(lan: Lan, proto: int, least: int) -> None:
    """RFC 7112; RFC 1858: no header may be pushed into the second."""
    lan.learn()
    for length in range(8, least, 8):
        out = fragment(lan, bytes(length), 0, True, proto=proto)
        assert [kind_of(frame) for frame in out] == [(4, 3)] * (lan.version == 6)
        assert lan.moved() == {"frag.drop.tiny": 1}
        lan.stats.base = lan.engine.counters()
    assert fragment(lan, bytes((least + 7) // 8 * 8), 0, True, proto=proto) == []
    assert frags(lan) == 1


def test_a_first_fragment_holds_all_headers(lan: Lan) -> None:
    """RFC 7112: the upper layer's, too, behind options."""
    if lan.version == 4:
        return
    options = bytes([PROTO_UDP, 0, 1, 4, 0, 0, 0, 0])
    lan.learn()
    for data in (options, bytes([PROTO_UDP, 4]) + bytes(14), bytes([60, 0, 1, 4]) + bytes(4)):
        (answer,) = fragment(lan, data, 0, True, proto=60)
        assert kind_of(answer) == (4, 3)
    assert lan.moved() == {"frag.drop.tiny": 3}
    assert fragment(lan, options + bytes(8), 0, True, proto=60) == []
    assert frags(lan) == 1


def test_options_inside_a_reassembled_packet_are_skipped(lan: Lan, sink: int) -> None:
    if lan.version == 4:
        return
    whole = bytes([PROTO_UDP, 0, 1, 4, 0, 0, 0, 0]) + datagram(lan, 1600)
    for offset, length, more in cut(len(whole), 800):
        fragment(lan, whole[offset : offset + length], offset, more, proto=60)
    assert lan.engine.recvfrom(sink)[0] == whole[16:]


def test_ipv4_options_of_the_first_fragment_are_dropped(lan: Lan, sink: int) -> None:
    """RFC 791 3.2; the whole is delivered, and its quote is a sound packet."""
    if lan.version == 6:
        return
    lan.engine.close(sink)
    whole = datagram(lan, 1600)
    fragment(lan, whole[:800], 0, True, options=bytes([1] * 8))
    (answer,) = fragment(lan, whole[800:], 800, False)
    quote = icmp_bytes(answer)[8:]
    assert (kind_of(answer), quote[0]) == ((3, 3), 0x45)
    assert frames.checksum(quote[:20]) == 0
    assert int.from_bytes(quote[2:4], "big") == 20 + len(whole)


# ------------------------------------------------------------------ bounds


def test_what_does_not_arrive_in_time_is_given_up(lan: Lan) -> None:
    """RFC 1122 3.3.2, RFC 8200 4.5: time exceeded, if the first fragment came."""
    lan.learn()
    seconds = 30 if lan.version == 4 else 60
    whole = datagram(lan, 2400)
    options = {"options": bytes([1] * 4)} if lan.version == 4 else {}
    fragment(lan, whole[:800], 0, True, ident=1, **options)
    fragment(lan, whole[800:1600], 800, True, ident=2)
    assert [f for f in lan.wait(seconds - 1) if f[:6] != HOST_MAC] == []
    lan.learn()
    out = lan.wait(1.1)
    assert [kind_of(f) for f in out] == [(11, 1) if lan.version == 4 else (3, 1)]
    quote = icmp_bytes(out[0])[8:]
    if lan.version == 4:
        assert quote[0] == 0x45 and frames.checksum(quote[:20]) == 0
        assert quote[20:28] == whole[:8]
    else:
        assert (quote[6], quote[40:48]) == (PROTO_UDP, whole[:8])
    assert lan.stats["frag.timeout"] == 2
    assert lan.held() == frags(lan) == 0


def test_a_group_does_not_hear_of_a_timeout(lan: Lan) -> None:
    lan.learn()
    fragment(lan, datagram(lan, 1600)[:800], 0, True, dst_mac=frames.BROADCAST)  # type: ignore[arg-type]
    lan.wait(61)
    assert lan.stats["frag.timeout"] == 1
    assert lan.stats["icmp.out.error"] == 0


def test_a_reassembled_packet_is_to_a_group_if_any_fragment_was(lan: Lan) -> None:
    """RFC 9293 MUST-57."""
    lan.engine.listen(80)
    ends = frames.packed(lan.them), frames.packed(lan.us)
    syn = frames.tcp(*ends, 40000, 80, 1, 0, 2, payload=bytes(12))
    fragment(lan, syn[:24], 0, True, proto=PROTO_TCP, dst_mac=frames.BROADCAST)  # type: ignore[arg-type]
    assert fragment(lan, syn[24:], 24, False, proto=PROTO_TCP) == []
    assert lan.moved() == {"tcp.drop.group": 1}


def test_a_source_has_its_share_only(lan: Lan) -> None:
    lan.engine.set("ip.frag_per_source", 3)
    whole = datagram(lan, 1600)
    for ident in range(10):
        play(lan, whole, [(800, 800, False)], ident=ident)
    assert (frags(lan), lan.moved()) == (3, {"frag.drop.source": 7})


def test_all_sources_together_have_their_share_only() -> None:
    for version in (4, 6):
        lan = Lan({"mbuf.large": 16, "ip.frag_queues": 8}, version)
        whole = datagram(lan, 1600)
        for i in range(20):
            src = f"10.0.0.{20 + i}" if version == 4 else f"fd00::{20 + i}"
            fragment(lan, whole[:800], 0, True, src=src)
        assert (frags(lan), lan.moved()) == (8, {"frag.drop.full": 12})
        assert lan.engine.usage().mbufs_large == 8
        lan.wait(70)  # the sources are not there to hear of it
        assert lan.held() == frags(lan) == 0
        lan.engine.check()


def test_no_large_mbuf_means_no_reassembly(lan: Lan) -> None:
    whole = datagram(lan, 1600)
    for ident in range(6):
        play(lan, whole, [(800, 800, False)], ident=ident)
    assert (frags(lan), lan.moved()) == (4, {"frag.drop.nombuf": 2})


# ------------------------------------------------------------------ out


def reassemble(lan: Lan, out: list[bytes]) -> bytes:
    """What fragments carry together, found whole, in order, and of one identification."""
    data, idents = b"", set()
    for i, frame in enumerate(out):
        _, body, _ = frames.check_ip(frame)
        if lan.version == 4:
            word = int.from_bytes(frame[20:22], "big")
            offset, more, ident = (word & 0x1FFF) * 8, bool(word & 0x2000), frame[18:20]
            assert not word & 0x4000
        else:
            offset, more = struct.unpack("!H", body[2:4])[0] & 0xFFF8, bool(body[3] & 1)
            ident, body = body[4:8], body[8:]
        assert (offset, more) == (len(data), i < len(out) - 1)
        assert not more or len(body) % 8 == 0
        data, _ = data + body, idents.add(ident)
    assert len(idents) == 1
    return data


@pytest.mark.parametrize("length", [1453, 1473, 3000, 20000, 65507])
def test_a_long_datagram_leaves_in_fragments(lan: Lan, sink: int, length: int) -> None:
    """RFC 791 3.2; RFC 8200 4.5."""
    data = bytes(i % 253 for i in range(length))
    lan.engine.sendto(sink, data, lan.them, 4000)
    out = list(lan.engine.output())
    if len(out) == 1:
        assert length == 1453 and lan.version == 4
        return
    assert all(len(frame) <= 1514 for frame in out)
    assert lan.stats["ip.out.fragments"] == len(out)
    body = reassemble(lan, out)
    assert body[8:] == data
    ends = frames.packed(lan.us), frames.packed(lan.them)
    assert frames.checksum(frames.pseudo(*ends, PROTO_UDP, len(body)) + body) == 0
    assert lan.held() == 0


def test_each_datagram_has_its_own_identification(lan: Lan, sink: int) -> None:
    seen = set()
    for _ in range(20):
        lan.engine.sendto(sink, bytes(2000), lan.them, 4000)
        for frame in lan.engine.output():
            seen.add(frame[18:20] if lan.version == 4 else frame[58:62])
    assert len(seen) == 20


def test_a_long_echo_comes_back_in_fragments(lan: Lan) -> None:
    lan.learn()
    if lan.version == 4:
        message = frames.icmp(8, 0, b"\0\1\0\1", bytes(20000))
    else:
        ends = frames.packed(lan.them), frames.packed(lan.us)
        message = frames.icmp6(*ends, 128, 0, b"\0\1\0\1", bytes(20000))
    out: list[bytes] = []
    for offset, length, more in cut(len(message), 1448):
        out += fragment(lan, message[offset : offset + length], offset, more, proto=lan.icmp)
    body = reassemble(lan, out)
    assert body[0] == (0 if lan.version == 4 else 129) and len(body) == len(message)
    assert lan.held() == 0


def test_without_mbufs_the_rest_of_a_datagram_is_dropped(lan: Lan, sink: int) -> None:
    rig.lib.ust_engine_fail_alloc(lan.engine.raw, 3, False)
    with pytest.raises(OSError, match="No buffer space"):
        lan.engine.sendto(sink, bytes(8000), lan.them, 4000)
    assert lan.moved() == {"ip.drop.nombuf": 1}
    assert len(list(lan.engine.output())) == 1
    assert lan.held() == 0
