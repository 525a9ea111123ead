# SPDX-License-Identifier: BSD-3-Clause
"""What only a connection with text in flight has (ustack/tcp/flight.c)."""

from __future__ import annotations

import pytest

from link import Link
from wire import Wire


def test_an_idle_connection_gives_back_what_its_flight_needed(wire: Wire) -> None:
    wire.settings(tcp_idle_flights=0)
    sock = wire.established(mss=1000)
    sock.send(b"x" * 500)
    wire("+0 > P. 1:501(500) ack 1")
    assert wire.engine.usage().flights == 1
    wire("+.1 < . 1:1(0) ack 501 win 257")
    assert wire.engine.usage().flights == 0
    assert sock.info.delivered == 1
    wire.engine.check()


def test_text_waits_while_all_flights_are_taken(wire: Wire) -> None:
    """tcp.max_flights: nothing is lost, and the other connection goes on in its turn."""
    wire.settings(tcp_max_flights=1)
    first = wire.established(mss=1000)
    second = wire.established(mss=1000, peer=wire.peer(port=40001))
    first.send(b"x" * 500)
    while wire.engine.extract():
        pass
    second.send(b"y" * 500)
    assert not wire.engine.extract()
    assert second.info.unsent == 500
    assert wire.stats["tcp.flight.none"] == 1
    wire.engine.check()
    first.abort()
    wire.advance(0.02)
    assert second.info.unsent == 0
    wire.engine.check()
    wire.sent.clear()


def chat(idle_flights: int, conditions: dict[str, float]) -> list[tuple[int, bytes]]:
    """All frames, with their times, of a conversation with pauses."""
    frames: list[tuple[int, bytes]] = []

    with Link(seed=5, settings={"tcp.idle_flights": idle_flights}, **conditions) as link:

        def note(to: int, frame: bytes) -> bool:
            frames.append((link.now, frame))
            return True

        link.filter = note
        link.observer = link.check
        near, far = link.connected()
        for turn in range(12):
            for end, other in ((near, far), (far, near)):
                end.send(bytes(turn * 3000 + 100))
                size = len(other.received) + turn * 3000 + 100
                assert link.run(120, until=lambda: len(other.received) >= size)  # noqa: B023
            link.run(0.05 * (turn % 4))
    return frames


@pytest.mark.parametrize(
    "conditions",
    [{"delay": 0.01}, {"loss": 0.05, "delay": 0.02}, {"reorder": 0.1, "duplicate": 0.05}],
    ids=lambda c: "-".join(c),
)
def test_giving_back_changes_nothing_on_the_wire(conditions: dict[str, float]) -> None:
    assert chat(0, conditions) == chat(1024, conditions)
