# SPDX-License-Identifier: BSD-3-Clause
"""ustack bench: the table of targets, and which cells are compared."""

import argparse
import contextlib
import errno
import io
import json
import os
from pathlib import Path

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
    targets,
)
from ustack.bench.definition import Bench, Task, Work
from ustack.bench.sides import Cell, Side

pytestmark = pytest.mark.quiet

# ------------------------------------------------------------------ targets


@pytest.mark.parametrize(
    ("at_most", "value", "word"),
    [(False, 9, "missed"), (False, 10, "must"), (False, 15, "goal"), (True, 9, "goal")],
)
def test_a_target_is_judged_by_its_bounds(at_most: bool, value: float, word: str) -> None:
    target = targets.Target("", "rpc", "", lambda found: 0.0, 10, 15, at_most)
    assert targets.judge(target, value) == word


def test_every_target_and_every_point_of_the_grid_can_be_asked_for() -> None:
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    for argv in [*(target.argv for target in targets.TARGETS), *targets.GRID]:
        args = parser.parse_args(argv.format(ring="x", tap="y").split())
        assert args.server is None or args.server in BENCHES[args.bench].servers


def test_targets_tell_what_they_could_not_measure(monkeypatch: pytest.MonkeyPatch) -> None:
    """Figures come from the JSON of a run; a run that fails is a row that says why."""
    answers = {"rpc": {"ratio": {"uvloop": 12.0}}, "conn": "no uvloop here"}
    monkeypatch.setattr(targets, "TARGETS", [t for t in targets.TARGETS if t.argv in answers])
    monkeypatch.setattr(targets, "_run", lambda argv, extra: answers[argv])
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        assert targets.run_targets([], as_json=True) == 0
    rows = json.loads(out.getvalue())["targets"]
    assert [row.get("reached", row.get("error")) for row in rows] == ["must", "no uvloop here"]


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
