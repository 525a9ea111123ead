# SPDX-License-Identifier: BSD-3-Clause
"""ustack bench: whom it is compared with."""

import argparse
import errno
import os
import shlex
import sys
from pathlib import Path

import pytest
from benching import FEW, QUICK, bench, measured

from ustack.bench import (
    BENCHES,
    add_arguments,
    measure,
    nginx,
    rpc,
    veth,
    wrk,
)
from ustack.bench.definition import Work
from ustack.bench.peers import CommandSide, choose_sides
from ustack.errors import PortError, UstackError

pytestmark = pytest.mark.quiet

# ------------------------------------------------------------------ veth, nginx, wrk


def test_peers_at_the_other_end_of_a_veth_pair() -> None:
    """The pair is in namespaces of its own, and gone afterwards."""
    argv = ["--connections", "2", "--vs", "veth-asyncio", "--vs", "veth-epoll"]
    got = measured("rpc", *argv, "--io", f"tap:v{os.getpid()}", *QUICK)
    assert set(got["ratio"]) == {"veth-asyncio", "veth-epoll"}
    assert (
        "veth-epoll: a server in C over the kernel's TCP on a veth pair, MTU 1500" in got["notes"]
    )
    assert not Path("/sys/class/net", veth.NAMES[0]).exists()


def test_a_veth_pair_that_cannot_be_is_told_by_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> None:
        raise PortError("tap: user namespaces are forbidden here", errno.EPERM)

    monkeypatch.setattr("ustack.bench.userns.isolate", refuse)
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    with pytest.raises(UstackError, match=r"^a veth pair: user namespaces are forbidden"):
        measure(parser.parse_args(["rpc", "--vs", "veth-epoll"]))


@pytest.mark.parametrize("size", ["64", "100000"])
def test_nginx_is_a_peer_of_http_with_a_body_of_any_size(size: str) -> None:
    if nginx.program() is None:
        pytest.skip("not installed: nginx")
    argv = ["--connections", "2", "--requests", "20", "--repetitions", "1", "--vs", "nginx"]
    got = measured("http", "--server", "c", "--size", size, *argv)
    assert got["nginx"]["requests_per_s"] > 0
    assert set(got["ratio"]) == {"nginx"}


def test_where_there_is_no_nginx_a_note_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nginx, "program", lambda: None)
    work = Work(2, 64, 1, 0.0, 1, "c")
    there, notes = choose_sides("ring:x", BENCHES["http"], work, ["nginx"], [])
    assert [side.name for side in there] == ["ustack"]
    assert any("nginx is not installed" in note for note in notes)


def test_wrk_is_a_client_of_http_over_a_tap() -> None:
    if wrk.program() is None:
        pytest.skip("not installed: wrk")
    io = f"tap:w{os.getpid()}"
    argv = ["--io", io, "--size", "64", "--connections", "2", "--client", "wrk", "--vs", "none"]
    got = measured("http", *argv, *QUICK)
    assert got["ustack"]["requests_per_s"] > 0
    assert 0 < got["ustack"]["p50_us"] <= got["ustack"]["p99_us"]
    assert "p99_9_us" not in got["ustack"]


WRK = """  Latency Distribution
     50%  412.00us
     75%  500.00us
     90%    1.00ms
     99%    1.50ms
  12345 requests in 1.50s, 2.00MB read
{}Requests/sec:   8230.00
"""


def test_what_wrk_prints_is_a_sample() -> None:
    got = wrk.parse(WRK.format(""), cpu=0.5, disturbed=True)
    assert (got.requests, got.seconds, got.server_cpu, got.disturbed) == (12345, 1.5, 0.5, True)
    assert (got.p50, got.p99) == (pytest.approx(412e-6), pytest.approx(1.5e-3))


@pytest.mark.parametrize("error", ["  Socket errors: connect 0, read 9", "  Non-2xx responses: 3"])
def test_errors_that_wrk_tells_of_are_ours(error: str) -> None:
    with pytest.raises(UstackError, match=error.strip()):
        wrk.parse(WRK.format(error + "\n"), cpu=0.0, disturbed=False)


# ------------------------------------------------------------------ a peer of one's own


def test_a_peers_command_is_told_the_work_and_compared(tmp_path: Path) -> None:
    program = tmp_path / "peer.py"
    program.write_text(
        "import sys; assert sys.argv[2].startswith('ring:')\n"
        'print(\'{"mine": {"requests_per_s": 1%s}}\' % sys.argv[1])'
    )
    words = f"{shlex.quote(sys.executable)} {shlex.quote(str(program))}"
    command = f"mine={words} {{connections}} {{io}}"
    got = measured("rpc", "--connections", "2", *FEW, "--peer-cmd", command)
    assert got["mine"]["requests_per_s"] == 12
    assert got["ratio"]["mine"] == pytest.approx(got["ustack"]["requests_per_s"] / 12, rel=1e-4)


@pytest.mark.parametrize("command", ["false", "uvloop=false"])
def test_a_peers_name_must_be_there_and_free(command: str) -> None:
    done = bench("rpc", "--peer-cmd", command)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert "--peer-cmd" in done.stderr and command.partition("=")[0] in done.stderr


@pytest.mark.parametrize(
    ("command", "named"),
    [
        ("false", "status 1"),
        ("echo {}", "requests_per_s"),
        ("echo 7", "JSON"),
        ("echo no", "JSON"),
        ("/nonexistent", "/nonexistent"),
    ],
)
def test_a_peers_command_that_fails_says_how(command: str, named: str) -> None:
    work = Work(None, None, 1, 0.0, 1, "protocol")
    side = CommandSide("mine", command)
    with pytest.raises(UstackError, match=f"mine.*{named}"):
        side.measure(rpc.BENCH, work, rpc.BENCH.tasks(work)[""])
