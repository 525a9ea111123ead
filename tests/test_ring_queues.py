# SPDX-License-Identifier: BSD-3-Clause
"""A side of a ring with a queue for each of several users, of whom any may go and come again."""

from __future__ import annotations

import dataclasses
import errno
import itertools
from collections.abc import Iterator

import pytest

from pair import ring_url
from test_rings import drain, files_of, udp
from ustack import ConfigError, PortError
from ustack.io import Port, RingUrl, open_port, parse_url

KEEPER = -2


@pytest.fixture
def url() -> str:
    return ring_url()


def open_share(url: str, side: int, queue: int) -> Port:
    parsed = parse_url(f"{url}?queues=2")
    assert isinstance(parsed, RingUrl)
    return open_port(dataclasses.replace(parsed, side=side, queue=queue))


@pytest.fixture
def crew(url: str) -> Iterator[tuple[Port, Port, Port]]:
    """A client that has side 0 as a whole, and two users with a queue of side 1 each."""
    with (
        open_share(url, 0, -1) as client,
        open_share(url, 1, 0) as first,
        open_share(url, 1, 1) as second,
    ):
        yield client, first, second


def sources(queue: int, client: Port, users: tuple[Port, Port]) -> Iterator[int]:
    """Source ports of flows that RSS gives to a queue."""
    for port in itertools.count(1024):
        assert client.send(udp(port))
        mine, other = drain(users[queue], queue), drain(users[1 - queue], 1 - queue)
        assert len(mine) + len(other) == 1
        if mine:
            yield port


def test_each_user_gets_the_frames_of_its_queue_alone(crew: tuple[Port, Port, Port]) -> None:
    client, first, second = crew
    frames = [udp(port) for port in range(1024, 1224)]
    assert all(map(client.send, frames))
    got = [drain(first, 0), drain(second, 1)]
    assert sorted(got[0] + got[1]) == sorted(frames)
    assert min(map(len, got)) > 60
    assert first.info.mac == second.info.mac != client.info.mac


def test_what_the_users_send_reaches_the_other_side(crew: tuple[Port, Port, Port]) -> None:
    client, first, second = crew
    client.receive_on(1)
    assert first.send(udp(1), queue=0) and second.send(udp(2), queue=1)
    assert drain(client) == [udp(1), udp(2)]


@pytest.mark.parametrize("queue", [0, -1, KEEPER])
def test_what_is_taken_cannot_be_taken_again(url: str, queue: int) -> None:
    with open_share(url, 1, 0), pytest.raises(PortError, match=r"of side 1 is|side 1 is") as caught:
        open_share(url, 1, queue)
    assert caught.value.errno == errno.EADDRINUSE


def test_a_queue_of_a_side_that_has_one_user_is_taken(url: str) -> None:
    with open_share(url, 1, -1), pytest.raises(PortError, match=r"queue 1 of side 1 is taken"):
        open_share(url, 1, 1)


def test_a_keeper_holds_the_side_for_users_of_its_queues(url: str) -> None:
    with open_share(url, -1, KEEPER) as keeper, open_share(url, -1, -1) as other:
        assert not other.info.link_up  # nobody is there who would receive
        with open_share(url, 0, 1) as second:
            assert other.info.link_up
            assert keeper.info.mac == second.info.mac != other.info.mac
        with pytest.raises(PortError, match=r"both sides are taken"):
            open_share(url, -1, -1)


def test_a_successor_skips_and_counts_what_was_for_its_predecessor(
    url: str, crew: tuple[Port, Port, Port]
) -> None:
    client, first, second = crew
    port = next(sources(1, client, (first, second)))
    for _ in range(3):
        assert client.send(udp(port))
    second.close()
    with open_share(url, 1, 1) as successor:
        assert successor.recv(1) is None
        assert successor.stats().rx_stale == 3
        assert client.send(udp(port))
        assert drain(successor, 1) == [udp(port)]
        assert successor.send(udp(9), queue=1)


def test_a_dead_users_queue_does_not_block_the_others(
    url: str, crew: tuple[Port, Port, Port]
) -> None:
    client, first, second = crew
    users = first, second
    here, there = next(sources(0, client, users)), next(sources(1, client, users))
    lost, served = udp(there), udp(here)
    second.close()
    for _ in range(3000):  # more than there are slots
        assert client.send(lost)
        assert client.send(served) and first.recv(0) == served
    assert client.stats().tx_lost > 1000
    assert client.stats().tx_full == 0
    with open_share(url, 1, 1) as successor:
        assert client.send(udp(there))
        assert drain(successor, 1) == [udp(there)]


def test_a_user_who_does_not_read_is_waited_for(crew: tuple[Port, Port, Port]) -> None:
    client, first, second = crew
    there = next(sources(1, client, (first, second)))
    frame, n = udp(there), 0
    while client.send(frame):
        n += 1
    assert n > 500
    assert (client.stats().tx_full, client.stats().tx_lost) == (1, 0)
    assert len(drain(second, 1)) == n


def test_newcomers_leave_the_table_of_their_side_as_it_is(url: str) -> None:
    with open_share(url, 0, -1) as client, open_share(url, 1, KEEPER) as keeper:
        keeper.set_rss(table=[1])
        with open_share(url, 1, 0) as first, open_share(url, 1, 1) as second:
            for port in range(1024, 1064):
                assert client.send(udp(port))
            assert (len(drain(first, 0)), len(drain(second, 1))) == (0, 40)


def test_the_last_user_removes_the_segment(url: str) -> None:
    users = [open_share(url, 1, queue) for queue in (KEEPER, 0, 1)]
    assert len(files_of(url)) == 5  # the segment and four doorbells
    for user in users:
        assert len(files_of(url)) == 5
        user.close()
    assert files_of(url) == []


@pytest.mark.parametrize(
    ("query", "complaint"),
    [
        ("queue=0", r"queue=0 must come with the side that it is of; add &side=0"),
        ("side=0&queue=1", r"queue must be 0\.\.0, got '1'"),
        ("side=2", r"side must be 0\.\.1, got '2'"),
    ],
)
def test_a_share_that_cannot_be_is_refused(query: str, complaint: str) -> None:
    with pytest.raises(ConfigError, match=complaint):
        parse_url(f"ring:x?{query}")
