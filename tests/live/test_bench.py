# SPDX-License-Identifier: BSD-3-Clause
"""ustack bench: what it prints, and how it fails. No figure is judged here but for being there."""

import json
import os
import subprocess
import sys
from typing import Any

import pytest

from ustack import Stack
from ustack._native import ffi, lib, pack_address
from ustack.bench.load import Load
from ustack.bench.report import ratios
from ustack.io import ring_pair

QUICK = ["--seconds", "0.02", "--repetitions", "1"]


def bench(*argv: str) -> subprocess.CompletedProcess[str]:
    """Run `ustack bench` to its end."""
    return subprocess.run(
        [sys.executable, "-m", "ustack", "bench", *argv],
        capture_output=True,
        text=True,
        timeout=120,
    )


def measured(*argv: str) -> dict[str, Any]:
    """Run it with --json; skip when this system gives no tap."""
    done = bench(*argv, "--json")
    if done.returncode == 2 and "tap:" in done.stderr:
        pytest.skip(done.stderr.strip())
    assert (done.returncode, done.stderr) == (0, "")
    return dict(json.loads(done.stdout))


def ios() -> list[Any]:
    """Return both ways in, under names of this process' own."""
    ring, tap = f"ring:test-bench-{os.getpid()}", f"tap:b{os.getpid()}"
    return [pytest.param(ring, id="ring"), pytest.param(tap, id="tap")]


@pytest.mark.parametrize("io", ios())
def test_rpc_tells_each_side_and_the_ratio(io: str) -> None:
    got = measured("rpc", "--io", io, "--connections", "4", "--vs", "asyncio", *QUICK)
    assert (got["bench"], got["io"], got["connections"], got["size"]) == ("rpc", io, 4, 64)
    assert (got["seconds"], got["repetitions"]) == (0.02, 1)
    for side in ("ustack", "asyncio"):
        for figure in ("requests_per_s", "server_ns_per_request", "p50_us", "p99_us"):
            assert got[side][figure] > 0, (side, figure)
        assert got[side]["p50_us"] <= got[side]["p99_us"]
    ratio = got["ustack"]["requests_per_s"] / got["asyncio"]["requests_per_s"]
    assert got["ratio"] == {"asyncio": pytest.approx(ratio, rel=1e-4)}


@pytest.mark.parametrize("io", ios())
def test_bulk_tells_both_directions(io: str) -> None:
    got = measured("bulk", "--io", io, "--vs", "asyncio", *QUICK)
    for side in ("ustack", "asyncio"):
        for way in ("in", "out"):
            assert got[side][way]["gbps"] > 0, (side, way)
            assert got[side][way]["server_ns_per_kib"] > 0, (side, way)
    assert set(got["ratio"]["asyncio"]) == {"in", "out"}


def test_a_number_of_requests_bounds_a_repetition_instead_of_time() -> None:
    got = measured("rpc", "--requests", "500", "--repetitions", "2", "--vs", "none")
    assert got["requests"] == 500
    assert "seconds" not in got
    assert got["ratio"] == {}


def test_the_table_names_sides_ratio_and_notes() -> None:
    done = bench("rpc", "--connections", "2", "--vs", "asyncio", *QUICK)
    assert done.returncode == 0
    for part in ("ustack ", "asyncio ", "ustack ÷ asyncio", "requests/s", "p99", "loopback"):
        assert part in done.stdout
    assert done.stderr == ""  # no progress bar where there is no terminal


@pytest.mark.parametrize(
    ("argv", "named"),
    [
        (["rpc", "--connections", "0"], ["--connections", "0"]),
        (["rpc", "--requests", "-1"], ["--requests", "-1"]),
        (["bulk", "--seconds", "nan"], ["--seconds", "nan"]),
        (["bulk", "--io", "wire:x"], ["wire:x", "ring:"]),
        (["walk"], ["walk", "rpc"]),
    ],
)
def test_what_is_wrong_is_one_line_and_status_2(argv: list[str], named: list[str]) -> None:
    done = bench(*argv)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("ustack: ")
    assert done.stderr.count("\n") == 1
    for part in named:
        assert part in done.stderr


def test_a_taken_ring_is_told_in_one_line() -> None:
    io = f"ring:test-bench-taken-{os.getpid()}"
    with Stack(io, "10.9.0.1/24"), Stack(io, "10.9.0.2/24"):
        done = bench("rpc", "--io", io, *QUICK)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "both sides are taken" in done.stderr


def test_a_load_counts_what_was_echoed_and_orders_its_latencies() -> None:
    ours, theirs = ring_pair()
    with Stack(ours, "10.9.0.1/24") as client, Stack(theirs, "10.9.0.2/24") as server:
        listener = server.listen(("10.9.0.2", 7))
        load = Load(client, "echo", 1, 100, ("10.9.0.2", 7))
        while not lib.ust_load_open(load._load, 1000):
            server.run_once()
        conn, _ = listener.accept()
        for _ in range(3):
            assert lib.ust_load_run(load._load, 1000, 0) == 0
            assert len(conn.recv(200)) == 100
            conn.sendall(bytes(100))
            assert lib.ust_load_run(load._load, 10**9, 1) == 0
        result = load._result()
        assert (result.requests, result.bytes) == (3, 300)
        assert 0 < result.p50_ns <= result.p99_ns <= result.p999_ns
        lib.ust_load_clear(load._load)
        assert load._result().requests == 0
        load.close()


def test_a_refused_load_says_so() -> None:
    ours, theirs = ring_pair()
    with Stack(ours, "10.9.0.1/24") as client, Stack(theirs, "10.9.0.2/24") as server:
        what = (lib.UST_LOAD_ECHO, 1, 64, pack_address("10.9.0.2"), 7)
        load = lib.ust_load_stack(client._worker, client._engine, *what)
        assert load != ffi.NULL
        result = 0
        while result == 0:
            result = lib.ust_load_open(load, 1000)
            server.run_once()
        assert result == -111  # ECONNREFUSED
        lib.ust_load_free(load)


def test_ratios_are_ours_over_theirs() -> None:
    figures = {"ustack": {"x": 30.0}, "slow": {"x": 10.0}, "fast": {"x": 60.0}}
    assert ratios(figures) == {"slow": {"x": 3.0}, "fast": {"x": 0.5}}
