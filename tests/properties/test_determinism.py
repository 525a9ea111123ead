# SPDX-License-Identifier: BSD-3-Clause
"""Same configuration, same seed, same calls: same bytes out.

tests/data/link_digest.txt holds the hash of one seeded, lossy transfer. It is the same under every
compiler and optimization. When a change of behaviour is meant, write it anew:

    USTACK_WRITE_DIGEST=1 python3 -m pytest tests/properties/test_determinism.py
"""

from __future__ import annotations

import os
import random
from pathlib import Path

import rig
from link import Link

DIGEST = Path(__file__).parent.parent / "data" / "link_digest.txt"


def transfer(seed: int) -> str:
    """The trace hashes of both ends after a transfer over a bad link."""
    options = {"engine.trace": 1, "tcp.rmem": 100_000}
    with Link(
        seed,
        options,
        delay=0.01,
        jitter=0.003,
        loss=0.03,
        reorder=0.05,
        duplicate=0.02,
        corrupt=0.02,
    ) as link:
        ends = link.connected()
        for end in ends:
            end.send(random.Random(seed).randbytes(200_000))
            end.finish()
        assert link.run(1000, until=lambda: all(end.eof for end in ends))
        return " ".join(f"{end.engine.trace_hash:016x}" for end in ends)


def test_two_runs_give_the_same_trace() -> None:
    assert transfer(1) == transfer(1)


def test_another_seed_gives_another_trace() -> None:
    assert transfer(1) != transfer(2)


def test_the_trace_is_the_committed_one() -> None:
    """Under gcc and clang, -O0 and -O3."""
    digest = transfer(1)
    if os.environ.get("USTACK_WRITE_DIGEST") == "1":
        DIGEST.write_text(digest + "\n")
    assert digest == DIGEST.read_text().strip()


def test_a_clone_goes_on_exactly_like_its_original() -> None:
    """A clone has every byte of state."""
    with Link(3, {"engine.trace": 1}) as link:
        sender, _ = link.connected()
        sender.send(bytes(50_000))
        list(sender.engine.output())
        twin = sender.engine.clone()
        assert twin.trace_hash == sender.engine.trace_hash
        later = sender.engine.now + 30 * rig.SECOND
        assert list(sender.engine.run_until(later)) == list(twin.run_until(later))
        assert twin.trace_hash == sender.engine.trace_hash
        twin.check()
        twin.free()
