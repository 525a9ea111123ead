# SPDX-License-Identifier: BSD-3-Clause
"""The command ustack ping, a stack in this process answering."""

from __future__ import annotations

import _thread
import contextlib
import re
import threading
from collections.abc import Iterator

import pytest

from pair import CLIENT, SERVER, SMALL, ring_url
from ustack import Stack, cli

SERVER6, CLIENT6 = "fd09::1", "fd09::2"
LINE = r"(\d+) bytes from {host}: icmp_seq=(\d+) ttl=64 time=[\d.]+ ms"
SUMMARY = (
    r"(\d+) packets transmitted, (\d+) received(, \+\d+ errors)?, ([\d.]+)% packet loss,"
    r" time \d+ms"
)
TIMES = r"rtt min/avg/max/mdev = [\d.]+/[\d.]+/[\d.]+/[\d.]+ ms"


@contextlib.contextmanager
def answering(**settings: int) -> Iterator[tuple[str, Stack]]:
    """A stack that answers on a ring; the ring's URL."""
    io, over = ring_url(), threading.Event()
    settings = SMALL | {"ip6.dad_transmits": 0} | settings
    with Stack(io, addresses=[f"{SERVER}/24", f"{SERVER6}/64"], settings=settings) as stack:

        def drive() -> None:
            while not over.is_set():
                stack.run_once(0.02)

        thread = threading.Thread(target=drive)
        thread.start()
        try:
            yield io, stack
        finally:
            over.set()
            thread.join()


def ping(io: str, *argv: str) -> int:
    address = f"{CLIENT6}/64" if ":" in argv[-1] else f"{CLIENT}/24"
    return cli.main(
        ["ping", "--io", io, "--address", address, "--set", "ip6.dad_transmits=0", *argv]
    )


@pytest.mark.parametrize(("host", "size"), [(SERVER, 56), (SERVER, 20_000), (SERVER6, 0)])
def test_answers_are_told_one_by_one_and_summed_up(
    capsys: pytest.CaptureFixture[str], host: str, size: int
) -> None:
    with answering() as (io, _):
        assert ping(io, "-c", "3", "-i", "0.01", "-s", str(size), host) == 0
    first, *answers, empty, title, summary, times = capsys.readouterr().out.splitlines()
    assert first == f"PING {host} ({host}) {size} data bytes"
    matches = [re.fullmatch(LINE.format(host=host), line) for line in answers]
    assert [m.groups() for m in matches if m] == [(str(size + 8), str(n)) for n in (1, 2, 3)]
    assert (empty, title) == ("", f"--- {host} ping statistics ---")
    match = re.fullmatch(SUMMARY, summary)
    assert match and match.groups() == ("3", "3", None, "0")
    assert re.fullmatch(TIMES, times)


def test_no_answer_is_exit_status_1(capsys: pytest.CaptureFixture[str]) -> None:
    with answering(**{"icmp.echo_limit": 0}) as (io, _):
        assert ping(io, "-c", "2", "-i", "0.01", "-W", "0.05", SERVER) == 1
    lines = capsys.readouterr().out.splitlines()
    match = re.fullmatch(SUMMARY, lines[-1])
    assert match and match.groups() == ("2", "0", None, "100")
    assert len(lines) == 4


def test_a_host_that_is_not_there_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    with answering() as (io, _):
        quick = ["--set", "neigh.retrans_ms=20", "--set", "neigh.probes=1"]
        assert ping(io, *quick, "-c", "1", "-W", "0.5", "10.9.0.77") == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[1] == "10.9.0.77: No route to host"
    match = re.fullmatch(SUMMARY, lines[-1])
    assert match and match.groups() == ("1", "0", ", +1 errors", "100")


def test_ctrl_c_ends_it_with_the_summary(capsys: pytest.CaptureFixture[str]) -> None:
    with answering() as (io, stack):

        def interrupt() -> None:
            while stack.counters()["icmp.out.echo"] < 3:
                pass
            _thread.interrupt_main()

        thread = threading.Thread(target=interrupt)
        thread.start()
        assert ping(io, "-i", "0.01", SERVER) == 0
        thread.join()
    assert re.search(TIMES, capsys.readouterr().out)
