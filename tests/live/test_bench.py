# SPDX-License-Identifier: BSD-3-Clause
"""ustack bench: what it prints, and how it fails. No figure is judged here but for being there."""

import contextlib
import os
import socket
import subprocess
from pathlib import Path
from typing import Any, cast

import pytest
from benching import FEW, QUICK, bench, cells, measured

from ustack import Stack
from ustack._native import ffi, lib, pack_address
from ustack.bench import (
    BENCHES,
    inside,
    machine,
    rounds,
    rpc,
    sides,
)
from ustack.bench.definition import Task, Work
from ustack.bench.load import Load
from ustack.bench.sides import Cell
from ustack.io import ring_pair

pytestmark = pytest.mark.quiet


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
        (["bulk", "--server", "uvicorn"], ["--server", "bulk", "uvicorn", "protocol"]),
        (["bulk", "--inside"], ["--inside", "rpc", "bulk"]),
        (["rpc", "--vs", "nginx"], ["--vs nginx", "http"]),
        (["rpc", "--client", "wrk"], ["--client wrk", "http"]),
        (["http", "--client", "wrk"], ["--client wrk", "tap:"]),
        (["http", "--io", "tap:x", "--client", "wrk", "--requests", "9"], ["wrk", "--seconds"]),
        (["rpc", "--ends"], ["--ends", "rpc"]),
        (["cores", "--vs", "uvloop"], ["--vs", "cores"]),
        (["loss", "--io", "ring:x"], ["--io", "loss"]),
        (["loss", "--size", "7"], ["--size", "loss"]),
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
        for number in range(3):
            assert lib.ust_load_run(load._load, 1000, 0) == 0
            assert len(conn.recv(200)) == 100
            conn.sendall(bytes(100))
            assert lib.ust_load_run(load._load, 10**9, 1) == 0
            lib.ust_load_keep(load._load, number == 0)  # the others were disturbed
        result, kept = load._result(kept=False), load._result(kept=True)
        assert (result.requests, result.bytes) == (3, 300)
        assert 0 < result.p50_ns <= result.p99_ns <= result.p999_ns
        assert (kept.requests, kept.bytes) == (1, 100)
        assert 0 < kept.ns < result.ns
        lib.ust_load_clear(load._load)
        assert load.requests == 0
        load.close()


def test_short_connections_end_by_fin_and_leave_a_time_wait_each() -> None:
    ours, theirs = ring_pair()
    with (
        Stack(ours, "10.9.0.1/24", guardian=False) as client,
        Stack(theirs, "10.9.0.2/24", guardian=False) as server,
        Load(client, "conn", 4, 64, ("10.9.0.2", 7)) as load,
        contextlib.closing(inside.ServerInC(server)) as echo,
    ):
        while load.requests < 20:
            load.turn()
            echo.turn()
        for _ in range(100):  # until the last FINs are there
            echo.turn()
            client.run_once()
        done = load.requests
        assert client.usage()["timewaits"] >= done
        counters = client.counters()
        assert not any(n for name, n in counters.items() if "rst" in name)


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


def test_a_limited_load_has_its_requests_on_the_connections_in_turn() -> None:
    ours, theirs = ring_pair()
    with (
        Stack(ours, "10.9.0.1/24", guardian=False) as client,
        Stack(theirs, "10.9.0.2/24", guardian=False) as server,
        Load(client, "echo", 3, 64, ("10.9.0.2", 7)) as load,
    ):
        listener = server.listen(("10.9.0.2", 7))
        load.limit(1)
        while not load.turn_to_open():
            server.run_once()
        conns = [listener.accept()[0] for _ in range(3)]
        for conn in conns:
            conn.setblocking(False)
        order: list[int] = []
        while len(order) < 6:
            load.turn()
            server.run_once()
            asked = []
            for number, conn in enumerate(conns):
                with contextlib.suppress(BlockingIOError):
                    conn.sendall(conn.recv(64))
                    asked.append(number)
            assert len(asked) <= 1
            order += asked
        assert sorted(order[:3]) == [0, 1, 2]
        assert order[3:6] == order[:3]


# ------------------------------------------------------------------ other benchmarks


@pytest.mark.parametrize("server", ["protocol", "streams", "sockets", "c"])
def test_rpc_with_every_kind_of_server(server: str) -> None:
    got = measured("rpc", "--server", server, "--connections", "2", *FEW)
    assert got["server"] == server
    assert got["ustack"]["requests_per_s"] > 0
    assert got["ustack"]["p99_us"] <= got["ustack"]["p99_9_us"]


def test_echoes_larger_than_any_buffer_come_back_whole_from_the_servers_in_c() -> None:
    """Client and server in turns: over a ring, and over the kernel."""
    ours, theirs = ring_pair()
    with (
        Stack(ours, "10.9.0.1/24", guardian=False) as client,
        Stack(theirs, "10.9.0.2/24", guardian=False) as server,
        Load(client, "echo", 1, 9_000_000, ("10.9.0.2", 7)) as load,
        contextlib.closing(inside.ServerInC(server)) as echo,
    ):
        while load.requests < 2:
            if load.turn_to_open():
                load.turn()
            echo.turn()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)
        kernel = lib.ust_serve_kernel(listener.fileno(), lib.UST_SERVE_ECHO, b"", 0)
        with Load(None, "echo", 1, 9_000_000, listener.getsockname()) as load:
            while load.requests < 2:
                if load.turn_to_open():
                    load.turn()
                assert lib.ust_serve_run(kernel, 0) >= 0
        lib.ust_serve_free(kernel)


def test_conn_is_compared_with_a_server_in_c_on_epoll() -> None:
    argv = ["--server", "c", "--connections", "4", "--requests", "30", "--repetitions", "1"]
    got = measured("conn", *argv)
    for side in ("ustack", "epoll"):
        assert got[side]["connections_per_s"] > 0
        assert got[side]["out_of_ports"] == 0
    assert set(got["ratio"]) == {"epoll"}


@pytest.mark.parametrize("server", ["protocol", "uvicorn", "aiohttp", "c"])
def test_http_with_every_kind_of_server(server: str) -> None:
    if server in ("uvicorn", "aiohttp"):
        pytest.importorskip(server)
    got = measured("http", "--server", server, "--size", "1000", "--connections", "2", *FEW)
    assert got["ustack"]["requests_per_s"] > 0


def test_http_has_a_row_for_each_size() -> None:
    got = measured("http", "--connections", "2", *FEW)
    assert set(got["ustack"]) == {"64 B", "1 KB", "100 KB"}


@pytest.mark.skipif(
    "USTACK_SANITIZER" in os.environ, reason="matplotlib does not load beside a sanitizer"
)
def test_a_plot_is_an_svg(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    picture = tmp_path / "rpc.svg"
    measured("rpc", "--connections", "2", "--plot", str(picture), *FEW)
    assert picture.read_text().rstrip().endswith("</svg>")


def test_mem_and_scale_have_a_row_for_each_number_of_connections() -> None:
    got = measured("mem", "--connections", "3000", "--server", "c", *FEW)
    assert 100 < got["ustack"]["3,000"]["process_bytes"] < 100_000
    got = measured("scale", "--connections", "100", "--server", "c", *FEW)
    assert list(got["ustack"]) == ["64", "100"]


def test_mem_inside_is_of_both_ends() -> None:
    """Each has an engine of its own with room for them; the least that can be is twice a TCB."""
    got = measured("mem", "--inside", "--connections", "3000", "--repetitions", "1")
    one = measured("mem", "--server", "c", "--connections", "3000", *FEW)["ustack"]["3,000"]
    both = got["both"]["3,000"]
    assert both["bytes_per_connection"] == both["process_bytes"] > one["process_bytes"]


def test_mem_inside_takes_as_many_stacks_as_it_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each pair has addresses and ports for a million; here, for a thousand."""
    opened = []
    monkeypatch.setattr(inside, "PAIR", 1000)
    monkeypatch.setattr(inside, "_open_idle", lambda exits, task: opened.append(task.connections))
    work, task = Work(2500, None, 0, 1.0, 1, "c"), Task("both", "idle", 2500, 64)
    inside.BothIdle("both").measure(BENCHES["mem"], work, task)
    assert opened == [1000, 1000, 500]


def test_the_ends_of_scale_are_the_fewest_and_the_most_connections() -> None:
    work = Work(1_000_000, None, 0, 1.0, 1, "c", ends=True)
    assert list(BENCHES["scale"].tasks(work)) == ["64", "1,000,000"]


def test_a_million_connections_have_addresses_enough() -> None:
    few, many = (Task("echo", "echo", n, 64) for n in (64, 1_000_000))
    assert sides.spread_of(few) == 1
    assert sides.spread_of(many) * (65536 - 1024) > 1_000_000
    assert sides.spread_of(many) <= lib.UST_MAX_ADDRS


def test_each_of_many_connections_has_had_a_turn_before_it_counts() -> None:
    class Noted:
        runs: list[tuple[float, int]] = []

        def open(self, alive: Any) -> None:
            """Open nothing."""

        def run(self, seconds: float, requests: int, alive: Any, pid: int) -> None:
            self.runs.append((seconds, requests))

    work, task = Work(None, None, 0, 1.0, 1, "c"), Task("echo", "echo", sides.MANY + 1, 64)
    with subprocess.Popen(["true"], text=True) as process:
        sides._measure(cast(Load, Noted()), task, work, process)
    assert Noted.runs == [(0.2, 0), (0.0, sides.MANY + 1), (1.0, 0)]


def test_inside_tells_a_protocol_beside_c_and_their_difference() -> None:
    argv = ["rpc", "--inside", "--connections", "4", "--requests", "100"]
    done = bench(*argv, *QUICK[2:])
    assert (done.returncode, done.stderr) == (0, "")
    assert "Python's share" in done.stdout
    got = measured(*argv, *QUICK[2:])
    costs = [got[name]["server_ns_per_request"] for name in ("protocol", "c")]
    assert got["python_ns_per_request"] == pytest.approx(costs[0] - costs[1], rel=1e-3, abs=0.1)
    assert len(got["python_ns_per_request_spread"]) == 2


def test_pythons_share_is_of_cells_of_one_placement() -> None:
    by_side = {
        name: cells(modes, *costs, figure="server_ns_per_request")
        for name, modes, costs in [
            ("protocol", "nfn", (300, 900, 320)),
            ("c", "nnn", (200, 210, 260)),
        ]
    }
    got = inside.share(by_side)
    assert got["python_ns_per_request"] == 310 - 210
    assert got["python_ns_per_request_spread"] == [100, 110]


def test_every_figure_has_its_spread() -> None:
    figures = [{"requests_per_s": value, "p50_us": 10 / value} for value in (1.0, 2.0, 5.0)]
    told = rounds.summarize(rpc.BENCH, {"": {"ustack": [Cell(f, mode="near") for f in figures]}})
    assert told["ustack"]["p50_us"] == 5
    assert told["ustack"]["p50_us_spread"] == [2, 10]


def test_both_ends_in_one_thread_take_turns_and_count_the_time_of_both() -> None:
    ours, theirs = ring_pair()
    with (
        Stack(ours, "10.9.0.1/24", guardian=False) as client,
        Stack(theirs, "10.9.0.2/24", guardian=False) as server,
        contextlib.closing(inside.ServerInC(server)) as echo,
        Load(client, "echo", 2, 64, ("10.9.0.2", 7), serve=echo.raw) as load,
    ):
        while not load.turn_to_open():
            echo.turn()
        sample = load.run(0, 300, lambda: True, os.getpid())
        assert 300 <= sample.requests <= 302
        assert 0 < sample.server_cpu <= 2 * sample.seconds


@pytest.mark.skipif(len(machine.CORES) < 2, reason="one core only")
def test_cores_tells_two_engines_beside_one() -> None:
    got = measured("cores", "--connections", "4", *QUICK)
    assert (got["io"], got["server"]) == ("ring: in memory", "c")
    ratio = got["two"]["requests_per_s"] / got["one"]["requests_per_s"]
    assert got["ratio"] == {"one": pytest.approx(ratio, rel=1e-4)}
    assert len(got["ratio_spread"]["one"]) == 2


def test_loss_tells_the_cost_of_a_segment_at_each_chance_of_loss() -> None:
    got = measured("loss", "--requests", "4000", "--repetitions", "2")["ustack"]
    assert list(got) == ["0 %", "0.1 %", "1 %", "3 %"]
    resent = [told["resent"] for told in got.values()]
    assert resent[0] == 0
    assert resent[1] < resent[2] < resent[3]
    for told in got.values():
        assert told["ns_per_segment"] > 0
        assert len(set(told["resent_spread"])) == 1  # the same frames are lost each time
