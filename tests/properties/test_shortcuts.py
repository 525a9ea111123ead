# SPDX-License-Identifier: BSD-3-Clause
"""The short ways of common segments (engine.shortcuts) do what the long ones do.

The same talk over the same link, once with them and once without: every frame and its time, every
counter, and every figure of tcp_info must be the same.
"""

from __future__ import annotations

import contextlib
import random
import zlib
from typing import Any

import pytest

import rig
from link import End, Link

LINKS = {
    "clean": {"delay": 0.001},
    "near": {"delay": 0.00001},
    "lossy": {"delay": 0.01, "jitter": 0.002, "loss": 0.03, "reorder": 0.03, "duplicate": 0.02},
    "corrupt": {"delay": 0.005, "corrupt": 0.05},
}
SETTINGS: list[dict[str, int]] = [
    {},
    {"tcp.timestamps": 0},
    {"tcp.sack": 0},
    {"tcp.ecn": 1},
    {"tcp.ecn": 3},
    {"tcp.quickack_segs": 0},
    {"tcp.rmem": 4608, "tcp.window_scaling": 0},
    {"mbuf.small": 600, "mbuf.large": 4, "mbuf.share_part": 16},
    {"tcp.congestion_control": rig.lib.UST_CC_BBR},
    {"tcp.congestion_control": rig.lib.UST_CC_RENO, "tcp.recovery": 3},
    {"tcp.keepalive_time": 1, "tcp.rto_restart": 1, "tcp.early_retrans": 0},
    {"tcp.pacing": 0, "tcp.idle_flights": 0},
    {"tcp.pacing": 0, "tcp.slow_start_after_idle": 0},
]

#: what applications set while they talk, and to what
OPTIONS = {
    rig.lib.UST_OPT_CORK: (0, 0, 1),
    rig.lib.UST_OPT_USER_TIMEOUT: (0, 30_000),
    rig.lib.UST_OPT_MTU_DISCOVER: (0, 1, 2, 3),
    rig.lib.UST_OPT_TOS: (0, 16),
    rig.lib.UST_OPT_QUICKACK: (0, 1),
    rig.lib.UST_OPT_MAX_PACING_RATE: (-1, -1, 5_000_000),
}
FLAGS = (rig.lib.UST_MSG_MORE, rig.lib.UST_MSG_OOB)

CROWD = 300  #: sockets beside, every other time: with so many, bursts are looked at ahead


def told(end: End) -> dict[str, Any]:
    """All that an end tells of itself."""
    info = end.engine.info(end.handle or 0)
    fields = {name: getattr(info, name) for name in dir(info)}
    return {
        "frames": end.engine.trace_hash,
        "counters": end.engine.counters(),
        "info": {name: n for name, n in fields.items() if isinstance(n, int)},
        "received": zlib.crc32(end.received),
        "error": end.error,
    }


def fiddle(rng: random.Random, end: End) -> None:
    """What few applications do, seldom: an option, or a byte that is urgent or to wait."""
    if rng.random() < 0.1:
        option = rng.choice(list(OPTIONS))
        end.engine.setopt(end.handle or 0, option, rng.choice(OPTIONS[option]))
    if rng.random() < 0.05 and not end.pending:
        with contextlib.suppress(BlockingIOError):
            end.engine.send(end.handle or 0, b"!", rng.choice(FLAGS))


def talk(seed: int, settings: dict[str, int], conditions: dict[str, float]) -> list[Any]:
    """What both ends tell, step by step, of some random talk: questions, bulk, silence."""
    rng = random.Random(seed)
    steps = []
    with Link(seed, settings | {"engine.trace": 1, "tcp.max_tcbs": 512}, **conditions) as link:
        for end in link.ends:
            for _ in range(seed % 2 * CROWD):
                end.engine.socket()
        ends = link.connected()
        for end in ends:
            end.engine.setopt(end.handle or 0, rig.lib.UST_OPT_NODELAY, rng.randrange(2))
            end.engine.setopt(end.handle or 0, rig.lib.UST_OPT_KEEPALIVE, rng.randrange(2))
        for _ in range(60):
            for end in rng.sample(ends, rng.choice([1, 1, 1, 2])):
                end.reading = rng.random() < 0.9
                fiddle(rng, end)
                end.send(rng.randbytes(rng.choice([0, 1, 64, 64, 64, 500, 1448, 5000, 40_000])))
            link.run(rng.choice([0, 0.00002, 0.001, 0.0021, 0.02, 0.05, 0.3, 2]))
            steps.append([told(end) for end in ends])
            link.check()
        for end in ends:
            end.reading = True
            end.finish()
        link.run(300, until=lambda: all(end.eof or end.error for end in ends))
        return [*steps, [told(end) for end in ends]]


@pytest.mark.parametrize("conditions", LINKS.values(), ids=LINKS)
@pytest.mark.parametrize("number", range(len(SETTINGS)))
def test_short_ways_and_long_ones_give_the_same_frames(
    number: int, conditions: dict[str, float]
) -> None:
    short = talk(number, SETTINGS[number] | {"engine.shortcuts": 1}, conditions)
    long = talk(number, SETTINGS[number] | {"engine.shortcuts": 0}, conditions)
    for here, there in zip(short, long, strict=True):
        assert here == there
