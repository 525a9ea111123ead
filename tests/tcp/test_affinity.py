# SPDX-License-Identifier: BSD-3-Clause
"""Active opens of several engines: the local port brings the answers to the engine that opened.

Each test runs tests/c/affinity.c over random rules, among which are those of a NIC that hashes the
ports, and those with which ports name their engine by themselves.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from programs import compile_with_engine, figures

#: tests/c/affinity.c's numbers.
HASHED = {"random": 0, "symmetric key": 1, "symmetric by xor": 2}
NAMED = {"short key": 3, "addresses alone": 4}


@pytest.fixture(scope="module")
def affinity(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """tests/c/affinity.c with the engine."""
    return compile_with_engine("affinity", tmp_path_factory.mktemp("affinity"))


@pytest.mark.parametrize("kind", HASHED)
def test_a_nic_brings_every_answer_to_the_engine_that_opened(affinity: Path, kind: str) -> None:
    found = figures(affinity, "open", HASHED[kind], 12, 840)
    assert found["opens"] == 10_080
    assert found["wrong"] == found["failed"] == 0
    if kind != "symmetric key":  # some of which do not let the port reach every bucket
        assert found["handed"] == 0
    assert found["steered"] + found["handed"] == 10_080


@pytest.mark.parametrize("kind", NAMED)
def test_where_the_port_decides_nothing_answers_are_handed_to_the_engine_that_opened(
    affinity: Path, kind: str
) -> None:
    found = figures(affinity, "open", NAMED[kind], 8, 250)
    assert found["wrong"] == found["failed"] == 0
    assert found["handed"] == found["opens"] - found["steered"] > 0


@pytest.mark.parametrize("kind", HASHED | NAMED)
def test_a_port_is_chosen_in_a_few_steps(affinity: Path, kind: str) -> None:
    """Of the ephemeral range, which is 43 % of all ports; up to 8 steps are RFC 6056's own."""
    found = figures(affinity, "open", (HASHED | NAMED)[kind], 4, 500)
    assert found["tries"] <= 12


@pytest.mark.quiet
def test_99_of_100_ports_are_chosen_within_5_microseconds(affinity: Path) -> None:
    assert figures(affinity, "open", HASHED["random"], 4, 500)["ns"] < 5000


@pytest.mark.parametrize("ports", [3000, 100])
@pytest.mark.parametrize("kind", HASHED | NAMED)
def test_no_two_engines_open_the_same_flow_and_no_port_is_left_over(
    affinity: Path, kind: str, ports: int
) -> None:
    """To one peer, until every engine says EADDRNOTAVAIL."""
    found = figures(affinity, "crowd", (HASHED | NAMED)[kind], 2, ports)
    assert found["opens"] == 2 * ports
    assert found["collisions"] == 0
