# SPDX-License-Identifier: BSD-3-Clause
"""What ustack ping makes of answers that are not quite as they should be."""

from __future__ import annotations

import time

import pytest

from pair import SERVER, Pair
from ustack import PingSocket, cli
from ustack.apps.ping import HEADER, Pinger, Plan, Tally


def test_a_second_answer_is_a_duplicate_and_changed_bytes_are_an_error(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with Pair() as pair, PingSocket(pair.client) as sock:
        sock.connect((SERVER, 0))
        pinger = Pinger(sock, SERVER, Plan(count=1, size=4, wait=0.0))
        pinger.run()
        now, reply = time.monotonic(), HEADER.pack(0, 0, 0, 1, 1)
        pinger.take(reply + b"\0\1\2\3", 64, now)
        pinger.take(reply + b"\0\1\2\3", 64, now)
        pinger.take(reply + b"\0\1\2\4", 63, now)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith(f"12 bytes from {SERVER}: icmp_seq=1 ttl=64 time=")
    assert lines[1:] == [
        f"12 bytes from {SERVER}: icmp_seq=1 ttl=64 (DUP!)",
        f"12 bytes from {SERVER}: icmp_seq=1 ttl=63 (wrong data)",
    ]
    assert "1 received, +1 duplicates, +1 errors, 0% packet loss" in str(pinger.tally)


def test_an_own_address_answers(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["ping", "--io", "loop:", "-c", "2", "-i", "0.01", "127.0.0.1"]) == 0
    assert "2 received, 0% packet loss" in capsys.readouterr().out


def test_the_summary_has_the_spread_of_the_times() -> None:
    tally = Tally(sent=3)
    for seconds in (0.001, 0.003):
        tally.answered(seconds)
    first, second = str(tally).splitlines()
    assert first.startswith("3 packets transmitted, 2 received, 33.3333% packet loss, time ")
    assert second == "rtt min/avg/max/mdev = 1.000/2.000/3.000/1.000 ms"
