# SPDX-License-Identifier: BSD-3-Clause
"""Scenarios in TOML and the command that runs them."""

from __future__ import annotations

import json
import os
import re
import sys
from pathlib import Path

import pytest

from ustack import cli
from ustack.errors import ConfigError
from ustack.sim import scenario
from ustack.sim.table import chance, rate, seconds, size

SIMPLE = """
duration = "2 s"
[hosts]
a = {}
b = {}
[[links]]
between = ["a", "b"]
rate = "8 Mbit/s"
delay = "10 ms"
[[flows]]
from = "a"
to = "b"
bytes = "100 kB"
"""


def write(tmp_path: Path, text: str) -> str:
    """A scenario file with this text."""
    path = tmp_path / "mine.toml"
    path.write_text(text)
    return str(path)


@pytest.mark.parametrize("name", list(scenario.ready()))
def test_every_ready_scenario_runs(name: str) -> None:
    net = scenario.load(name).build()
    net.run(2)
    assert any(flow.goodput for flow in net.flows) or name == "bufferbloat"
    assert all(flow.error == 0 for flow in net.flows)
    net.check()


@pytest.mark.parametrize(
    ("convert", "text", "value"),
    [
        (seconds, "25 ms", 0.025),
        (seconds, 3, 3.0),
        (seconds, "1.5min", 90.0),
        (rate, "10 Mbit/s", 10e6),
        (size, "64 KiB", 65536),
        (size, "1.5 kB", 1500),
        (chance, "1 %", 0.01),
        (chance, 0.5, 0.5),
    ],
)
def test_units(convert, text, value) -> None:
    assert convert("x", text) == pytest.approx(value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            ("delay =", "dealy ="),
            "mine.toml: links[0]: there is no key 'dealy'; did you mean 'delay'",
        ),
        (('"10 ms"', '"10 parsecs"'), "mine.toml: links[0].delay must be like '25 ms' (s, ms, us"),
        (('"8 Mbit/s"', "0"), "mine.toml: links[0]: rate must be 1..1e+12 bit/s, got 0"),
        (('to = "b"', 'to = "c"'), "mine.toml: flows[0]: there is no host 'c'; there are a, b"),
        (('between = ["a", "b"]', ""), "mine.toml: links[0]: the key 'between' is missing"),
        (('from = "a"', 'form = "a"'), "key 'from' is missing; is it 'form'?"),
        (("duration", "durration"), "there is no key 'durration'; did you mean 'duration'?"),
        (
            ("a = {}", 'a = { settings = { "tcp.sak" = 1 } }'),
            "no setting 'tcp.sak'; did you",
        ),
        (('bytes = "100 kB"', 'kind = "bulky"'), "flows[0].kind must be 'bulk' or 'requests', got"),
        (("[hosts]", "[hosts"), "mine.toml: "),
        (
            ('rate = "8 Mbit/s"', 'queue = { kind = "red" }'),
            "links[0].queue.kind must be 'drop-tail'",
        ),
        (('rate = "8 Mbit/s"', "queue = { limit = 3 }"), "links[0].queue: there is no key 'limit'"),
        (('rate = "8 Mbit/s"', "loss = 2"), "links[0].loss must be 0..1 or like '1 %', got 2"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, change: tuple[str, str], message: str) -> None:
    text = SIMPLE.replace(*change)
    assert text != SIMPLE
    with pytest.raises(ConfigError, match=re.escape(message)):
        scenario.load(write(tmp_path, text)).build()


def test_a_misspelt_name_is_guessed() -> None:
    with pytest.raises(
        ConfigError, match="there is no scenario 'bufferblot'; did you mean 'buffer"
    ):
        scenario.load("bufferblot")


def test_events_change_links(tmp_path: Path) -> None:
    text = SIMPLE + '[[events]]\nat = "0.05 s"\nlink = "a-*"\ndelay = "100 ms"\n'
    net = scenario.load(write(tmp_path, text)).build()
    net.run(0.04)
    assert net.links[0].forward.conditions.delay == 0.01
    net.run(0.02)
    assert net.links[0].forward.conditions.delay == 0.1
    assert net.links[0].forward.conditions.rate == 8e6


def test_the_same_seed_gives_the_same_json(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    outputs = []
    for seed in ("1", "1", "2"):
        assert cli.main(["sim", "cellular", "--seed", seed, "--seconds", "5", "--json"]) == 0
        outputs.append(capsys.readouterr().out)
    assert outputs[0] == outputs[1] != outputs[2]
    told = json.loads(outputs[0])
    assert told["flows"][0]["goodput"] > 1e5
    samples = told["samples"]["flows"]["bulk0"]
    assert len(samples["cwnd"]) == len(samples["time"]) > 40


def test_the_table_and_the_captures(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = write(tmp_path, SIMPLE)
    assert cli.main(["sim", file, "--capture", str(tmp_path / "pcaps")]) == 0
    out = capsys.readouterr().out
    assert "bulk0" in out and "Mbit/s" in out and "a-b" in out
    assert sorted(path.name for path in (tmp_path / "pcaps").iterdir()) == ["a.pcap", "b.pcap"]


@pytest.mark.skipif(
    "USTACK_SANITIZER" in os.environ, reason="matplotlib does not load beside a sanitizer"
)
def test_a_plot_is_the_same_for_the_same_seed(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    images = []
    for name in ("one.svg", "two.svg"):
        place = str(tmp_path / name)
        assert cli.main(["sim", "fairness", "--seconds", "2", "--plot", place]) == 0
        images.append(Path(place).read_bytes())
    assert images[0] == images[1]
    assert b"cwnd" in images[0] or b"<svg" in images[0]


def test_without_matplotlib_a_plot_says_how_to_get_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    file = write(tmp_path, SIMPLE)
    assert cli.main(["sim", file, "--plot", str(tmp_path / "out.svg")]) == 2
    assert "pip install 'ustack[plot]'" in capsys.readouterr().err
