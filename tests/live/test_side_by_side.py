# SPDX-License-Identifier: BSD-3-Clause
"""dev.py test runs a project's tests in two parts: both count, and Ctrl-C ends both at once."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
PATIENCE = 120.0  # seconds, of a machine that has much else to do
RUN = "import dev, sys; sys.exit(dev.run_tests(sys.argv[1:]))"
TESTS = """
import os, pathlib, time, pytest

def test_beside():
    {beside}

@pytest.mark.parametrize("n", range({many}))
def test_many(n):
    assert n != n

@pytest.mark.quiet
def test_alone():
    pathlib.Path("alone").touch()
    {alone}
"""


@contextlib.contextmanager
def running(
    place: Path, *args: str, beside: str = "pass", alone: str = "pass", many: int = 0
) -> Iterator[subprocess.Popen[str]]:
    """dev.py's run of the tests of a project in this place, in a process group of its own."""
    (place / "pytest.ini").write_text("[pytest]\nmarkers = quiet\n")
    (place / "test_it.py").write_text(TESTS.format(beside=beside, alone=alone, many=many))
    shutil.copy(ROOT / "dev.py", place)
    env = {**os.environ, "PYTHONPATH": str(place), "PYTHONSAFEPATH": "1"}
    env |= {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTEST_ADDOPTS": "-p xdist"}
    command = [sys.executable, "-c", RUN, *args]
    with subprocess.Popen(
        command, cwd=place, env=env, stdout=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        try:
            yield process
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


@pytest.mark.parametrize(
    ("how", "status", "last"),
    [
        ({}, 0, "tests passed"),
        ({"beside": "assert False"}, 1, "at a time: failed"),
        ({"alone": "assert False"}, 1, "tests one after another: failed"),
    ],
    ids=["none", "beside", "alone"],
)
def test_a_failure_in_either_part_is_one_of_the_whole(
    tmp_path: Path, how: dict[str, str], status: int, last: str
) -> None:
    with running(tmp_path, **how) as run:
        output = run.communicate(timeout=PATIENCE)[0]
    assert (run.returncode, output.splitlines()[-1].endswith(last)) == (status, True), output
    assert (tmp_path / "alone").exists()


ONCE = "assert os.path.exists('tried') or pathlib.Path('tried').touch()"


@pytest.mark.parametrize("where", ["beside", "alone"])
def test_what_fails_once_and_passes_alone_is_told(tmp_path: Path, where: str) -> None:
    with running(tmp_path, **{where: ONCE}) as run:
        output = run.communicate(timeout=PATIENCE)[0]
    assert (run.returncode, output.splitlines()[-1].endswith("tests passed")) == (0, True), output
    assert f"tests that failed, and passed alone: test_it.py::test_{where}" in output


def test_many_failures_are_not_repeated(tmp_path: Path) -> None:
    with running(tmp_path, many=4) as run:
        output = run.communicate(timeout=PATIENCE)[0]
    assert run.returncode == 1 and output.count("4 failed") == 1, output


def test_arguments_go_to_one_pytest(tmp_path: Path) -> None:
    with running(tmp_path, "-q", "-k", "alone") as run:
        output = run.communicate(timeout=PATIENCE)[0]
    assert "1 passed, 2 deselected" in output and "gw" not in output


def test_ctrl_c_ends_all_of_it(tmp_path: Path) -> None:
    begun = tmp_path / "begun"
    body = "pathlib.Path('pid').write_text(str(os.getpid())); os.rename('pid', 'begun')"
    with running(tmp_path, beside=f"{body}; time.sleep({PATIENCE})") as run:
        end = time.monotonic() + PATIENCE
        while not begun.exists():
            assert run.poll() is None and time.monotonic() < end
            time.sleep(0.01)
        os.killpg(run.pid, signal.SIGINT)
        assert run.wait(PATIENCE / 2) == 130
        with pytest.raises(ProcessLookupError):
            while time.monotonic() < end:
                os.kill(int(begun.read_text()), 0)
                time.sleep(0.01)
    assert not (tmp_path / "alone").exists()
