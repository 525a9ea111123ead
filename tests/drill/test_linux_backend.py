# SPDX-License-Identifier: BSD-3-Clause
"""The Linux backend: the same script, this machine's kernel, the wall's clock.

Linux is late now and then, so each script has fifteen tries, and two of the suites' may fail.
"""

from __future__ import annotations

import os

import public_suites as suites
import pytest

from ustack.drill import Mode, parse, parse_file
from ustack.drill.linux import play, why_not

TRIES = 15

pytestmark = [
    pytest.mark.quiet,
    pytest.mark.skipif(why_not() != "", reason=f"no tun device here: {why_not()}"),
    pytest.mark.skipif(
        "USTACK_SANITIZER" in os.environ, reason="a sanitized player is late for the wall's clock"
    ),
]

CLIENT = """
 0   socket(..., SOCK_STREAM, IPPROTO_TCP) = 3
+0...0.1 connect(3, ..., ...) = 0
+0   > S 0:0(0) <...>
+.1  < S. 0:0(0) ack 1 win 65535 <mss 1000>
+0   > . 1:1(0) ack 1
+0   write(3, ..., 500) = 500
+0   > P. 1:501(500) ack 1
"""


@pytest.mark.parametrize("version", [4, 6])
def test_linux_plays_a_script(version: int) -> None:
    verdict = play(parse(CLIENT), Mode.STRICT, version, TRIES)
    assert verdict.passed, verdict


def test_linux_fails_a_script_that_is_wrong() -> None:
    verdict = play(parse(CLIENT.replace("P. 1:501", "F. 1:501")), Mode.STRICT, 4)
    assert verdict.verdict == "fail"
    assert "(flags)" in verdict.got


@pytest.mark.skipif(not suites.SHARED.exists(), reason="the suites' scripts are not here")
def test_linux_passes_the_strict_list_but_for_two() -> None:
    """That it does calibrates the interpreter."""
    failed = [
        name
        for name, ip in suites.cases(Mode.STRICT)
        if ip == 4 and not play(parse_file(suites.SHARED / name), Mode.STRICT, ip, TRIES).passed
    ]
    assert len(failed) <= 2, failed
