# SPDX-License-Identifier: BSD-3-Clause
"""The public suites' scripts pass, as far as they are at hand: see suites.py.

What does not pass yet stands in expected_failures.txt, and must fail: a script that begins to pass
is taken out of it.
"""

from __future__ import annotations

import public_suites as suites
import pytest

from ustack.drill import Mode
from ustack.drill.command import play

ABSENT = "the suites' scripts are not here (set USTACK_SHARED to the folder above packetdrill/)"
EXPECTED = suites.expected_failures()

pytestmark = pytest.mark.skipif(not suites.SHARED.exists(), reason=ABSENT)


def params(mode: Mode) -> list[object]:
    """A parameter for each script and version of IP."""
    found = []
    for name, ip in suites.cases(mode):
        fails = f"{mode.value} {ip} {name}" in EXPECTED
        marks = (
            [
                pytest.mark.xfail(
                    strict=True,
                    reason="does not pass yet; when it does: python tests/drill/public_suites.py",
                )
            ]
            if fails
            else []
        )
        found.append(pytest.param(name, ip, id=f"{name}-{ip}", marks=marks))
    return found or [pytest.param("", 4, id="absent")]


def check(name: str, ip: int, mode: Mode) -> None:
    verdict = play(str(suites.SHARED / name), mode, ip)
    if not verdict.passed:
        pytest.fail(str(verdict), pytrace=False)


@pytest.mark.parametrize(("name", "ip"), params(Mode.STRICT))
def test_sends_every_segment_as_written(name: str, ip: int) -> None:
    check(name, ip, Mode.STRICT)


@pytest.mark.parametrize(("name", "ip"), params(Mode.SEMANTIC))
def test_goes_through_the_states_as_written(name: str, ip: int) -> None:
    check(name, ip, Mode.SEMANTIC)


@pytest.mark.parametrize(("name", "ip"), params(Mode.API))
def test_gives_the_application_what_is_written(name: str, ip: int) -> None:
    check(name, ip, Mode.API)


def test_every_expected_failure_is_in_a_list() -> None:
    known = {f"{m.value} {ip} {name}" for m in Mode for name, ip in suites.cases(m)}
    assert known >= EXPECTED


def test_verdicts_do_not_change_from_run_to_run() -> None:
    """All of a run, its trace included, follows from the script alone."""
    for name, ip in suites.cases(Mode.STRICT):
        runs = {play(str(suites.SHARED / name), Mode.STRICT, ip).to_json() for _ in range(3)}
        assert len(runs) == 1, name
