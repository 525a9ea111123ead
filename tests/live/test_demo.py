# SPDX-License-Identifier: BSD-3-Clause
"""ustack demo and ustack doctor, as their users run them."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import pytest

from ustack.apps.http import pattern
from ustack.demo.ping import ping
from ustack.demo.report import KNOWN

Demo: TypeAlias = Callable[..., subprocess.CompletedProcess[str]]

SMALL = ["--bytes", "1000000", "--seconds", "0.05"]


def run(*argv: str, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run a Python to its end."""
    command = [sys.executable, *argv]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, **options)


@pytest.fixture
def capture(tmp_path: Path) -> Path:
    return tmp_path / "demo.pcapng"


@pytest.fixture
def demo(capture: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs the demo; skips where there is no tap to be had."""

    def demo(*argv: str, **options: Any) -> subprocess.CompletedProcess[str]:
        done = run("-m", "ustack", "demo", "--capture", str(capture), *argv, **options)
        if "--tap" in argv and done.returncode == 2 and "tap:" in done.stderr:
            pytest.skip(f"no privilege: {done.stderr.strip()}")
        return done

    return demo


def rows(report: str) -> dict[str, str]:
    """The lines of the table by their first word."""
    return {line.split()[0]: line for line in report.splitlines() if line.startswith("  ")}


def test_the_known_digest_is_that_of_the_bytes() -> None:
    for length, digest in KNOWN.items():
        assert hashlib.sha256(b"".join(pattern(length))).hexdigest() == digest


def test_it_fetches_and_echoes_between_two_processes(demo: Demo, capture: Path) -> None:
    done = demo(*SMALL)
    assert (done.returncode, done.stderr) == (0, "")
    table = rows(done.stdout)
    assert "1 MB" in table["http"] and "Gb/s" in table["http"]
    assert "64 connections" in table["echo"] and "requests/s" in table["echo"]
    assert "retransmits" in table["segments"]
    assert str(capture) in done.stdout
    assert capture.stat().st_size > 10_000


@pytest.mark.skipif(shutil.which("tshark") is None, reason="tshark is missing")
def test_its_capture_holds_the_first_thousand_frames(demo: Demo, capture: Path) -> None:
    assert demo(*SMALL).returncode == 0
    read = ["tshark", "-r", str(capture), "-T", "fields", "-e", "_ws.col.Protocol"]
    frames = subprocess.run(read, capture_output=True, text=True, check=True).stdout.split()
    assert len(frames) == 1000
    assert {"ARP", "TCP", "HTTP"} <= set(frames)


no_sanitizer = pytest.mark.skipif(
    "USTACK_SANITIZER" in os.environ, reason="a sanitizer's runtime in curl stops it"
)
PATHS = [
    pytest.param(os.environ["PATH"], id="with curl and ping", marks=no_sanitizer),
    pytest.param("/nowhere", id="with Python alone"),
]


@pytest.mark.parametrize("path", PATHS)
def test_with_tap_the_kernel_is_the_client(demo: Demo, path: str) -> None:
    done = demo("--tap", *SMALL, env=os.environ | {"PATH": path})
    assert (done.returncode, done.stderr) == (0, "")
    table = rows(done.stdout)
    for way in ("download", "upload"):
        assert "1 MB, SHA-256 as it must be" in table[way]
    assert "100 of 100 answered" in table["ping"]
    assert "requests/s" in table["echo"]


@no_sanitizer
def test_with_tap_it_leaves_the_machines_interfaces_alone(demo: Demo) -> None:
    before = Path("/proc/net/dev").read_text().count(":")
    done = demo("--tap", *SMALL)
    assert done.returncode == 0
    assert Path("/proc/net/dev").read_text().count(":") == before


@pytest.mark.parametrize(
    "argv", [["--bytes", "0"], ["--seconds", "0"], ["--capture", "/nowhere/x"]]
)
def test_what_cannot_be_is_one_line(demo: Demo, argv: list[str]) -> None:
    done = demo(*argv)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("ustack: ") and done.stderr.count("\n") == 1
    assert argv[1] in done.stderr


def test_a_capture_that_is_not_asked_for_is_a_new_file(tmp_path: Path) -> None:
    done = run("-m", "ustack", "demo", *SMALL, env=os.environ | {"TMPDIR": str(tmp_path)})
    (capture,) = tmp_path.glob("ustack-demo-*.pcapng")
    assert str(capture) in done.stdout


MAIN = """
import sys
from ustack import cli
sys.exit(cli.main(["demo", *sys.argv[1:]]))
"""


def test_a_body_that_is_not_right_fails_the_demo(capture: Path) -> None:
    expect_zeros = "from ustack.demo import report; report.KNOWN[1000000] = 64 * '0'"
    done = run("-c", expect_zeros + MAIN, *SMALL, "--capture", str(capture))
    assert (done.returncode, done.stdout) == (1, "")
    assert "must be 000" in done.stderr and done.stderr.count("\n") == 1


def test_the_end_of_the_server_process_ends_the_demo(capture: Path) -> None:
    """It is killed when the first bytes arrive."""
    kill = """
import os
from ustack.apps import fetch
from ustack.demo import child

class Server(child.Server):
    def __init__(self, process):
        super().__init__(process)
        fetch._Client.on_body = lambda client, data: os.kill(self.pid, 9)

child.Server = Server
"""
    done = run("-c", kill + MAIN, "--bytes", "1000000000", "--capture", str(capture))
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "ustack: demo: http: the server process has ended\n"


def test_doctor_takes_four_lines() -> None:
    done = run("-m", "ustack", "doctor")
    assert (done.returncode, done.stderr) == (0, "")
    python, ring, tap, loop = done.stdout.splitlines()
    assert python.startswith("python ") and "transports in C" in python
    assert ring.startswith("ring    ok: ")
    assert tap.startswith(("tap     ok: ", "tap     no: "))
    assert loop.startswith("loop    ok: ")


@pytest.mark.skipif(os.geteuid() != 0, reason="no privilege: to take /dev/net/tun away")
def test_doctor_tells_what_is_missing_and_the_cure() -> None:
    """In a mount namespace of its own."""
    hide = 'mount -t tmpfs none /dev/net && exec "$@"'
    command = ["unshare", "-m", "sh", "-c", hide, "sh", sys.executable, "-m", "ustack", "doctor"]
    done = subprocess.run(command, capture_output=True, text=True)
    if "mount:" in done.stderr or "unshare:" in done.stderr:
        pytest.skip(f"no privilege: {done.stderr.strip()}")
    assert (done.returncode, done.stderr) == (0, "")
    tap = done.stdout.splitlines()[2]
    assert tap.startswith("tap     no: /dev/net/tun does not exist; modprobe tun")


def test_ping_counts_what_comes_back() -> None:
    try:
        assert ping("127.0.0.1", 5, 0.001)[0] == 5
    except PermissionError:
        pytest.skip("no privilege: raw sockets")
