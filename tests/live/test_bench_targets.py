# SPDX-License-Identifier: BSD-3-Clause
"""ustack bench: the table of targets, and which cells are compared."""

import argparse
import contextlib
import errno
import io
import json
import os
from pathlib import Path
from typing import Any

import pytest
from benching import bench, cells

from ustack._native import lib
from ustack._progress import Progress
from ustack.bench import (
    BENCHES,
    add_arguments,
    machine,
    report,
    rounds,
    rpc,
    table,
    targets,
)
from ustack.bench.definition import Bench, Task, Work
from ustack.bench.sides import Cell, Side
from ustack.errors import UstackError

pytestmark = pytest.mark.quiet

# ------------------------------------------------------------------ targets


@pytest.mark.parametrize(
    ("at_most", "value", "word"),
    [(False, 9, "missed"), (False, 10, "must"), (False, 15, "goal"), (True, 9, "goal")],
)
def test_a_target_is_judged_by_its_bounds(at_most: bool, value: float, word: str) -> None:
    target = table.Target("", "rpc", "", lambda found: table.Value(0, 0, 0), 10, 15, at_most)
    assert table.judge(target, value) == word


def test_every_target_and_every_point_of_the_grid_can_be_asked_for() -> None:
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    rows = [*table.TARGETS, *table.beside("lwip")]
    for argv in [*(target.argv for target in rows), *table.GRID]:
        args = parser.parse_args(argv.format(ring="x", tap="y").split())
        assert args.server is None or args.server in BENCHES[args.bench].servers


def told(**figures: float) -> dict[str, Any]:
    """Return what the JSON has of one task, each figure between half and twice as much."""
    spread = {f"{name}_spread": [n / 2, 2 * n] for name, n in figures.items()}
    return {**figures, **spread, "cells": 3, "placement": "near"}


def play(monkeypatch: pytest.MonkeyPatch, answers: dict[str, Any]) -> None:
    """Have only targets of these commands, and these answers instead of measuring."""
    monkeypatch.setattr(targets, "TARGETS", [t for t in table.TARGETS if t.argv in answers])
    monkeypatch.setattr(targets, "_run", lambda argv, extra: answers[argv])


def test_targets_tell_what_they_could_not_measure(monkeypatch: pytest.MonkeyPatch) -> None:
    """Figures come from the JSON of a run; a run that fails is a row that says why."""
    rpc_found = {"ratio": {"uvloop": 12.0}, "ratio_spread": {"uvloop": [11.0, 14.0]}}
    play(monkeypatch, {"rpc": rpc_found, "conn": "no uvloop here"})
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        assert targets.run_targets([], as_json=True) == 0
    rows = json.loads(out.getvalue())["targets"]
    assert [row.get("reached", row.get("error")) for row in rows] == ["must", "no uvloop here"]
    assert rows[0]["spread"] == [11, 14]


def test_a_share_has_the_ends_of_both_spreads(monkeypatch: pytest.MonkeyPatch) -> None:
    rates = {"64": told(requests_per_s=100.0), "4,096": told(requests_per_s=70.0)}
    play(monkeypatch, {table.MANY: {"ustack": rates | {"65,536": told(requests_per_s=10.0)}}})
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        targets.run_targets([], as_json=True)
    first, last = json.loads(out.getvalue())["targets"]
    assert (first["value"], first["spread"]) == (0.7, [35 / 200, 140 / 50])
    assert (first["reached"], last["reached"]) == ("must", "missed")
    assert first["placement"] == "near"


def test_another_stack_has_rows_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    runs: list[tuple[str, list[str]]] = []

    def run(argv: str, extra: list[str]) -> dict[str, Any] | str:
        runs.append((argv, extra))
        if argv.startswith("rpc"):
            return {"ratio": {"lwip": 0.8}, "ratio_spread": {"lwip": [0.7, 0.9]}}
        return "it does not"

    monkeypatch.setattr(targets, "TARGETS", [])
    monkeypatch.setattr(targets, "_run", run)
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        targets.run_targets(["--seconds", "1"], as_json=True, peers=["lwip=./bench {io}"])
    rows = json.loads(out.getvalue())["targets"]
    assert {row["what"] for row in rows} == {"÷ lwip"}
    assert [row.get("reached") for row in rows] == ["must", "missed", None, None, "missed"]
    assert all(e == ["--seconds", "1", "--peer-cmd", "lwip=./bench {io}"] for _, e in runs)


def test_a_record_is_the_table_with_machine_commit_and_commands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ratio = {"ratio": {"one": 1.9}, "ratio_spread": {"one": [1.7, 2.0]}}
    play(monkeypatch, {"cores": {"two": told(), "one": told(), **ratio}})
    file = tmp_path / "bench.md"
    targets.run_targets(["--seconds", "2.0"], as_json=False, record=str(file))
    lines = file.read_text().splitlines()
    row = "| two engines on two cores | ÷ one | 1.90 | 1.70…2.00 | 1.80 | 1.95 | must | near |"
    assert lines[-1] == f"{row} `ustack bench cores` |"
    for fact in (f"commit {machine.commit()}", "`ustack bench targets --seconds 2.0`", "Python"):
        assert fact in lines[2]
    assert "1.70…2.00" in capsys.readouterr().out


def test_a_record_that_cannot_be_written_is_told_before_anything_is_measured(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(targets, "_run", lambda argv, extra: pytest.fail("it measures"))
    with pytest.raises(UstackError, match="--record /nonexistent/x"):
        targets.run_targets([], as_json=False, record="/nonexistent/x")


def test_targets_take_no_option_of_one_benchmark() -> None:
    done = bench("targets", "--connections", "3")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "--connections" in done.stderr


# ------------------------------------------------------------------ which cells are compared


def test_only_cells_of_one_placement_are_compared() -> None:
    ours, theirs = cells("nfn", 30, 1, 50), cells("nnm", 10, 20, 1)
    found = rounds.summarize(rpc.BENCH, {"": {"ustack": ours, "slow": theirs}})
    assert (found["ustack"]["requests_per_s"], found["slow"]["requests_per_s"]) == (40, 15)
    assert (found["ustack"]["placement"], found["ustack"]["apart"]) == ("near", 1)
    assert found["ratio"] == {"slow": pytest.approx(40 / 15, rel=1e-4)}
    assert found["ratio_spread"] == {"slow": [2.5, 3.0]}


def test_a_ratio_lies_within_its_spread_however_many_cells_there_are() -> None:
    ours, theirs = cells("n", 30), cells("nn", 30, 10)
    found = rounds.summarize(rpc.BENCH, {"": {"ustack": ours, "slow": theirs}})
    assert (found["ratio"]["slow"], found["ratio_spread"]["slow"]) == (1.5, [1, 1.5])


def test_without_a_common_placement_the_ratio_is_marked() -> None:
    by_side = {"ustack": cells("nn", 30, 40), "slow": cells("ff", 10, 20)}
    found = rounds.summarize(rpc.BENCH, {"": by_side})
    assert found["slow"]["placement"] == "mixed"
    told = report.as_table({"bench": "rpc"}, rpc.BENCH, found, [])
    assert "do not trust the ratio" in told


class Moving(Side):
    """A side whose host moves the cores."""

    def __init__(self, name: str, modes: str) -> None:
        super().__init__(name)
        self.left = list(modes)

    def measure(self, bench: Bench, work: Work, task: Task) -> Cell:
        return cells(self.left.pop(0), 1.0)[0]


def test_cells_of_another_placement_are_measured_again_but_not_for_ever(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(rounds, "placement", lambda: ("near", 60.0))
    monkeypatch.setattr(rounds, "placed", lambda cell, before, after: cell)
    work = Work(None, None, 1, 0.0, 3, "protocol")
    moving: list[Side] = [
        Moving("ustack", "nnn"),
        Moving("lucky", "nfnn"),
        Moving("not", "nffffff"),
    ]
    with Progress("", 9) as progress:
        got = rounds.interleave(rpc.BENCH, work, moving, progress)[""]
    assert [len(got[name]) for name in ("ustack", "lucky", "not")] == [3, 4, 6]


def test_a_slice_in_which_a_process_waited_for_its_core_is_not_quiet(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine, "CORES", [0, 1])
    monkeypatch.setattr(machine, "_stolen", lambda: 0)
    watch = machine.Watch(os.getpid())
    file = tmp_path / "schedstat"
    watch._files = [file]
    file.write_text("5 0 1")
    watch._seen = watch._read()
    assert watch.is_quiet()
    file.write_text("5 100000000000 2")
    assert not watch.is_quiet()
    assert watch.is_quiet()


def test_a_ping_needs_two_cores_that_there_are() -> None:
    assert lib.ust_cache_ping(-1, 0, 1000) == -errno.EINVAL
    assert machine.placement()[0] in ("near", "far", "alone", "unknown")
