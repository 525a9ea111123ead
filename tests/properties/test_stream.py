# SPDX-License-Identifier: BSD-3-Clause
"""Whatever the link does, the bytes that go in come out: in order, once, on both sides."""

from __future__ import annotations

import errno
import random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import rig
from link import End, Link

CONDITIONS = st.fixed_dictionaries(
    {
        "delay": st.sampled_from([0.0001, 0.005, 0.05]),
        "jitter": st.sampled_from([0.0, 0.0, 0.01]),
        "loss": st.sampled_from([0.0, 0.02, 0.1, 0.25]),
        "duplicate": st.sampled_from([0.0, 0.05, 0.3]),
        "reorder": st.sampled_from([0.0, 0.05, 0.3]),
        "corrupt": st.sampled_from([0.0, 0.05]),
    }
)
SETTINGS = st.fixed_dictionaries(
    {
        "tcp.timestamps": st.sampled_from([0, 1]),
        "tcp.sack": st.sampled_from([0, 1]),
        "tcp.window_scaling": st.sampled_from([0, 1]),
        "tcp.rmem": st.sampled_from([2048, 5000, 65536, 1 << 20]),
        "tcp.wmem": st.sampled_from([2048, 65536, 1 << 20]),
        "tcp.retries2": st.just(100),
        "tcp.syn_retries": st.just(100),
        "tcp.synack_retries": st.just(100),
    }
)
SIZES = st.sampled_from([0, 1, 1459, 5000, 30_000, 100_000])


def content(seed: int, size: int) -> bytes:
    """Bytes that tell where they belong."""
    return random.Random(seed).randbytes(size)


def finished(ends: tuple[End, ...]) -> bool:
    """Have both sides read the other's end?"""
    return all(end.eof or end.error for end in ends)


@settings(
    max_examples=1000, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
@given(
    seed=st.integers(0, 2**32),
    conditions=CONDITIONS,
    options=SETTINGS,
    sizes=st.tuples(SIZES, SIZES),
    chunk=st.sampled_from([1, 100, 1460, 100_000]),
)
def test_bytes_out_are_bytes_in(
    seed: int,
    conditions: dict[str, float],
    options: dict[str, int],
    sizes: tuple[int, int],
    chunk: int,
) -> None:
    """The stream, an end for every connection, and nothing left behind."""
    data = [content(seed + i, size) for i, size in enumerate(sizes)]
    with Link(seed, options, **conditions) as link:
        ends = link.connected()
        for end, text in zip(ends, data, strict=True):
            step = max(chunk, len(text) // 20 + 1)
            for at in range(0, len(text), step):
                end.send(text[at : at + step])
            end.finish()
        assert link.run(20_000, until=lambda: finished(ends)), [end.state for end in ends]
        assert [end.error for end in ends] == [0, 0]
        assert bytes(ends[1].received) == data[0]
        assert bytes(ends[0].received) == data[1]
        link.check()
        quiesce(link)


def quiesce(link: Link) -> None:
    """After close and TIME-WAIT nothing is held any more."""
    for end in link.ends:
        end.engine.close(end.handle or 0)
        end.handle = None
    link.run(2000)
    link.check()
    for end in link.ends:
        usage = end.engine.usage()
        assert (
            usage.mbufs_small,
            usage.mbufs_large,
            usage.mbufs_ref,
            usage.timewaits,
            usage.requests,
            usage.reass,
            usage.timers,
        ) == (0,) * 7
        assert usage.tcbs == usage.listeners


def test_a_megabyte_goes_both_ways_across_the_wrap() -> None:
    """D12: ISS = 2^32 - 10,000 or so on one side; 1 MB each way."""
    probe = Link(7)
    client, _ = probe.connected()
    iss = client.engine.info(client.handle or 0).iss
    link = Link(7)
    shift = ((2**32 - 10_000 - iss) % 2**32) << 12
    for end in link.ends:
        end.engine.now += shift
        end.engine.tick()
    link.now += shift
    ends = link.connected()
    assert 2**32 - 20_000 < ends[0].engine.info(ends[0].handle or 0).iss < 2**32
    data = [content(i, 1_000_000) for i in (1, 2)]
    for end, text in zip(ends, data, strict=True):
        end.send(text)
        end.finish()
    assert link.run(600, until=lambda: finished(ends))
    assert bytes(ends[1].received) == data[0]
    assert bytes(ends[0].received) == data[1]


def test_a_slow_reader_gets_everything() -> None:
    """Stalls of the window, opened again and again."""
    link = Link(3, {"tcp.rmem": 8192}, delay=0.01, loss=0.02)
    sender, reader = link.connected()
    data = content(5, 100_000)
    reader.reading = False
    sender.send(data)
    sender.finish()
    for _ in range(2000):
        link.run(1)
        if reader.eof:
            break
        try:
            got = reader.engine.recv(reader.handle or 0, 3000)
            reader.received += got
            reader.eof = not got
        except BlockingIOError:
            pass
    assert bytes(reader.received) == data


def test_a_partition_heals() -> None:
    """30 s without a frame, then it goes on."""
    link = Link(4)
    sender, reader = link.connected()
    data = content(6, 300_000)
    sender.send(data)
    link.run(0.05)
    link.up = False
    link.run(30)
    link.up = True
    assert link.run(240, until=lambda: len(reader.received) == len(data))
    assert bytes(reader.received) == data


def test_two_idle_peers_exchange_nothing() -> None:
    """No keep-alive, no ACK of an ACK."""
    link = Link(5)
    ends = link.connected()
    ends[0].send(b"x" * 5000)
    link.run(5)
    before = [end.sent_frames for end in ends]
    link.run(1000)
    assert [end.sent_frames for end in ends] == before


def test_the_sender_never_goes_past_the_window_it_was_offered() -> None:
    """RFC 9293 3.8.6: the right edge that the peer has offered."""
    link = Link(8, {"tcp.rmem": 20_000}, delay=0.02, loss=0.05)
    sender, reader = link.connected()

    def observe() -> None:
        info = sender.engine.info(sender.handle or 0)
        theirs = reader.engine.info(reader.handle or 0)
        beyond = (info.snd_max - theirs.rcv_adv) % 2**32
        assert beyond == 0 or beyond >= 2**31, f"{beyond} bytes past the edge"

    link.observer = observe
    sender.send(content(9, 200_000))
    assert link.run(600, until=lambda: len(reader.received) == 200_000)


@pytest.mark.parametrize("seed", range(5))
def test_a_dead_peer_is_noticed(seed: int) -> None:
    """RFC 9293 3.8.3: an error in finite time, with ever longer gaps between attempts."""
    link = Link(seed, {"tcp.retries2": 8})
    sender, _ = link.connected()
    link.up = False
    sender.send(b"x" * 1000)
    assert link.run(1000, until=lambda: sender.error != 0 or bool(lost(sender)))
    assert lost(sender) in (0, errno.ETIMEDOUT)
    assert sender.engine.usage().mbufs_small == 0


def lost(end: End) -> int:
    """The error that the engine has for a connection."""
    return end.engine.getopt(end.handle or 0, rig.lib.UST_OPT_ERROR)
