# SPDX-License-Identifier: BSD-3-Clause
"""Loss recovery over seeded links: every byte arrives, and the records agree with the flight."""

from __future__ import annotations

import itertools

import pytest

from link import Link

ROUGH = [
    {"loss": 0.1, "delay": 0.025},
    {"reorder": 0.1, "delay": 0.01},
    {"jitter": 0.02, "delay": 0.01},
    {"loss": 0.05, "reorder": 0.05, "duplicate": 0.05, "corrupt": 0.02, "jitter": 0.01},
]


def transfer(link: Link, size: int = 200_000) -> dict[str, int]:
    """Send so many bytes from end 0 to end 1, checking all invariants on the way; its counters."""
    near, far = link.connected()
    turns = itertools.count()
    link.observer = lambda: link.check() if next(turns) % 4 == 0 else None
    data = bytes(i * 7 % 251 for i in range(size))
    near.send(data)
    assert link.run(120, until=lambda: len(far.received) >= size)
    assert far.received == data
    counters: dict[str, int] = near.engine.counters()
    return counters


@pytest.mark.parametrize("conditions", ROUGH, ids=lambda c: "-".join(c))
@pytest.mark.parametrize("settings", [{}, {"tcp.recovery": 0}, {"tcp.sack": 0}], ids=str)
def test_every_byte_arrives_and_the_records_agree(
    conditions: dict[str, float], settings: dict[str, int]
) -> None:
    """T1 to T4 of sent.h after each few frames, with RACK, with RFC 6675, and without SACK."""
    for seed in range(2):
        with Link(seed=seed, settings=settings, **conditions) as link:
            transfer(link)


def test_with_two_records_every_byte_arrives() -> None:
    """The bounds of the pool: precision is lost, text never."""
    with Link(seed=3, settings={"tcp.max_sent_records": 2}, loss=0.05, delay=0.02) as link:
        assert transfer(link)["tcp.sent.merged"] > 0


def test_random_loss_is_repaired_without_timeouts() -> None:
    """1 % at 50 ms: RACK-TLP needs none."""
    for seed in range(5):
        with Link(seed=seed, loss=0.01, delay=0.025) as link:
            counters = transfer(link)
            assert counters["tcp.rexmt.rto"] == 0
            assert counters["tcp.rexmt.segs"] <= 12


def test_mild_reordering_reduces_nothing_in_the_end() -> None:
    """3 ms of jitter on a 20 ms path: at most one spurious episode, and that is undone."""
    for seed in range(5):
        with Link(seed=seed, jitter=0.003, delay=0.01) as link:
            counters = transfer(link)
            undone = counters["tcp.undo.recovery"] + counters["tcp.undo.dsack"]
            assert counters["tcp.rexmt.fast"] <= 1
            assert undone >= counters["tcp.rexmt.fast"]
