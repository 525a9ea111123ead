# SPDX-License-Identifier: BSD-3-Clause
"""One direction of a simulated link: rate, delay, queues, and what chance does to frames."""

from __future__ import annotations

import pytest

import frames
from ustack import sim
from ustack.errors import ConfigError

MS = 1_000_000
NEVER = 2**64 - 1
MACS = (bytes.fromhex("020000000001"), bytes.fromhex("020000000000"))


def path(seed: int = 1, **values: object) -> sim.Path:
    """A path with these conditions."""
    return sim.Path(sim.Conditions(**values), seed)  # type: ignore[arg-type]


def arrivals(link: sim.Path) -> list[tuple[int, bytes]]:
    """All that is still to come, with its time."""
    out = []
    while (now := link.deadline) != NEVER:
        while (frame := link.recv(now)) is not None:
            out.append((now, frame))
    return out


def numbered(count: int, size: int = 1000) -> list[bytes]:
    """Frames that begin with their number."""
    return [i.to_bytes(4, "big").ljust(size, b"\0") for i in range(count)]


def order(link: sim.Path) -> list[int]:
    """The numbers of the frames in the order in which they arrive."""
    return [int.from_bytes(frame[:4], "big") for _, frame in arrivals(link)]


def ip_frame(ecn: int, version: int = 4) -> bytes:
    """A packet with these ECN bits."""
    if version == 6:
        head = (6 << 28 | ecn << 20).to_bytes(4, "big") + (960).to_bytes(2, "big") + b"\x3b\x40"
        return frames.ethernet(*MACS, 0x86DD, head + bytes(32 + 960))
    packet = bytearray(frames.ipv4(bytes(4), bytes(4), 17, bytes(980)))
    packet[1] |= ecn
    packet[10:12] = b"\0\0"
    packet[10:12] = frames.checksum(bytes(packet[:20])).to_bytes(2, "big")
    return frames.ethernet(*MACS, 0x0800, bytes(packet))


def test_a_frame_takes_its_transmission_time_and_the_delay() -> None:
    link = path(rate=8e6, delay=0.01)
    link.send(5 * MS, bytes(1000))
    assert arrivals(link) == [(16 * MS, bytes(1000))]


def test_frames_wait_for_those_before_them() -> None:
    link = path(rate=8e6, delay=0.01)
    for frame in numbered(3):
        link.send(0, frame)
    assert [at for at, _ in arrivals(link)] == [11 * MS, 12 * MS, 13 * MS]


def test_without_a_rate_nothing_waits() -> None:
    link = path(delay=0.01)
    for frame in numbered(100):
        link.send(0, frame)
    assert [at for at, _ in arrivals(link)] == [10 * MS] * 100


def test_a_full_queue_drops_the_last_to_come() -> None:
    link = path(rate=8e6, queue=sim.DropTail(frames=2))
    for frame in numbered(5):  # one is being sent, two wait
        link.send(0, frame)
    assert order(link) == [0, 1, 2]
    assert link.stats(0).drop_queue == 2


def test_a_queue_can_be_limited_in_bytes() -> None:
    link = path(rate=8e6, queue=sim.DropTail(frames=None, bytes=2500))
    for frame in numbered(5):
        link.send(0, frame)
    assert order(link) == [0, 1, 2]


def test_queue_statistics_integrate_over_time() -> None:
    link = path(rate=8e6)
    for frame in numbered(3):  # the second waits 1 ms, the third 2 ms
        link.send(0, frame)
    arrivals(link)
    stats = link.stats(10 * MS)
    assert (stats.queue_byte_us, stats.queue_bytes_max) == (3_000_000, 2000)
    assert (stats.waited_ns, stats.waited_ns_max) == (3 * MS, 2 * MS)


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("ecn", [1, 2])
def test_above_the_threshold_packets_are_marked(version: int, ecn: int) -> None:
    """RFC 8257 3.1; the header checksum stays right."""
    link = path(rate=8e6, queue=sim.DropTail(mark=1500))
    for _ in range(4):
        link.send(0, ip_frame(ecn, version))
    clean, marked = ip_frame(ecn, version), ip_frame(3, version)
    assert [frame for _, frame in arrivals(link)] == [clean, clean, marked, marked]
    assert link.stats(0).marked == 2


def test_a_packet_that_does_not_do_ecn_is_not_marked() -> None:
    link = path(rate=8e6, queue=sim.DropTail(mark=1))
    for _ in range(4):
        link.send(0, ip_frame(0))
    assert [frame for _, frame in arrivals(link)] == [ip_frame(0)] * 4


def test_codel_leaves_a_queue_alone_that_drains_within_an_interval() -> None:
    """RFC 8289 3: a burst is no standing queue."""
    link = path(rate=8e6, queue=sim.CoDel())
    for frame in numbered(99):
        link.send(0, frame)
    assert order(link) == list(range(99))


def test_codel_drops_faster_the_longer_a_queue_stands() -> None:
    """RFC 8289 5.4: the n-th drop comes interval / sqrt(n) after the one before."""
    link = path(rate=8e6, queue=sim.CoDel(frames=None))
    for frame in numbered(1000):
        link.send(0, frame)
    missing = sorted(set(range(1000)) - set(order(link)))
    assert link.stats(0).drop_codel == len(missing) > 5
    # The first frame that waited 5 ms is sent at 5 ms; each drop lets the next frame go at once.
    sent_at = [n - i for i, n in enumerate(missing)]
    gaps = [b - a for a, b in zip(sent_at, sent_at[1:], strict=False)]
    assert sent_at[0] == 105
    assert gaps[:5] == pytest.approx([100, 70.7, 57.7, 50, 44.7], abs=1)


def test_codel_marks_instead_where_ecn_is_on() -> None:
    link = path(rate=8e6, queue=sim.CoDel(frames=None, ecn=True))
    for _ in range(300):
        link.send(0, ip_frame(2))
    assert len(arrivals(link)) == 300
    assert link.stats(0).marked > 2


def test_loss_is_as_often_as_it_says() -> None:
    link = path(loss=0.1)
    for frame in numbered(10_000, 60):
        link.send(0, frame)
    assert 8800 < len(arrivals(link)) < 9200


def test_gilbert_loss_comes_in_bursts() -> None:
    """A bad time begins every 100 frames and lasts 10 of them."""
    link = path(loss=sim.Gilbert(to_bad=0.01, to_good=0.1))
    for frame in numbered(20_000, 60):
        link.send(0, frame)
    got = order(link)
    gaps = [b - a - 1 for a, b in zip(got, got[1:], strict=False) if b - a > 1]
    assert 7 < sum(gaps) / len(gaps) < 13
    assert 0.06 < 1 - len(got) / 20_000 < 0.12


def test_more_jitter_loses_the_same_frames() -> None:
    """Each chance has a generator of its own."""
    lost = []
    for jitter in (0.0, 0.01):
        link = path(loss=0.3, jitter=jitter)
        for frame in numbered(100):
            link.send(0, frame)
        lost.append(set(range(100)) - set(order(link)))
    assert lost[0] == lost[1] != set()


def test_jitter_keeps_the_order_unless_it_may_not() -> None:
    for keep_order in (True, False):
        link = path(jitter=0.01, keep_order=keep_order)
        for i, frame in enumerate(numbered(100)):
            link.send(i * MS, frame)
        assert (order(link) == list(range(100))) == keep_order


def test_a_frame_held_back_is_overtaken() -> None:
    link = path(delay=0.01, reorder=0.1, reorder_delay=0.0025)
    for i, frame in enumerate(numbered(100)):
        link.send(i * MS, frame)
    got = order(link)
    assert sorted(got) == list(range(100))
    late = [n for i, n in enumerate(got) if i and n < got[i - 1]]
    assert 0 < len(late) <= link.stats(0).held_back


def test_doubles_and_damage() -> None:
    link = path(duplicate=1.0, corrupt=1.0)
    link.send(0, bytes(100))
    first, second = (frame for _, frame in arrivals(link))
    assert first == second
    assert sum(byte.bit_count() for byte in first) == 1


def test_what_is_too_large_and_what_finds_it_down_is_dropped() -> None:
    link = path(mtu=1000)
    link.send(0, bytes(1014))
    link.send(0, bytes(1015))
    link.conditions = link.conditions.change(up=False)
    link.send(0, bytes(100))
    assert [len(frame) for _, frame in arrivals(link)] == [1014]
    stats = link.stats(0)
    assert (stats.drop_mtu, stats.drop_down, stats.drops) == (1, 1, 2)


def test_a_large_frame_passes_and_a_new_rate_counts_from_the_next() -> None:
    link = path(rate=8e6)
    for frame in numbered(2, 60_000):
        link.send(0, frame)
    link.conditions = link.conditions.change(rate=80e6)
    assert [at for at, _ in arrivals(link)] == [60 * MS, 66 * MS]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"loss": 1.5}, "loss must be 0..1, got 1.5"),
        ({"rate": 0}, "rate must be 1..1e+12 bit/s, got 0"),
        ({"delay": -1}, "delay must be 0..3.6e+06 seconds, got -1"),
        ({"queue": sim.CoDel(interval=0)}, "queue.interval must be 0.001..3600 seconds, got 0"),
    ],
)
def test_bad_conditions_are_named(values: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message.replace("+", r"\+")):
        path(**values)
