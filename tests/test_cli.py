# SPDX-License-Identifier: BSD-3-Clause
"""The command ustack: what cannot be done is one line on stderr and exit status 2."""

import pytest

from ustack import __version__, cli

RING = ["--io", "ring:test-cli", "--address", "10.9.0.2/24"]


def complaint(capsys: pytest.CaptureFixture[str], *argv: str) -> str:
    """Run a command that must fail, and return its one line."""
    try:
        status = cli.main(argv)
    except SystemExit as end:
        status = end.code  # type: ignore[assignment]
    assert status == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("ustack: ")
    assert err.count("\n") == 1
    return err


@pytest.mark.parametrize(
    ("argv", "named"),
    [
        ([], ["COMMAND", "--help"]),
        (["fly"], ["fly", "serve"]),
        (["serve", "echo"], ["--io"]),
        (["serve", "echo", "--io", "ring:test-cli"], ["address", "none", "autoconf"]),
        (["serve", "ftp", *RING], ["ftp", "http"]),
        (["serve", "echo", *RING, "--listen", "x"], ["--listen", "'x'", "65535"]),
        (["serve", "echo", *RING, "--listen", "65536"], ["'65536'"]),
        (["serve", "echo", *RING, "--root", "."], ["--root", "http"]),
        (["serve", "http", *RING, "--root", "/nowhere"], ["--root", "/nowhere", "directory"]),
        (["serve", "echo", *RING, "--set", "tcp.syn_retries"], ["--set", "NAME=VALUE"]),
        (["serve", "echo", *RING, "--set", "no.such=1"], ["no.such"]),
        (["ping", *RING], ["HOST"]),
        (["ping", "10.9.0.1"], ["--io"]),
        (["ping", *RING, "example.org"], ["host", "'example.org'", "resolve"]),
        (["ping", *RING, "224.0.0.1"], ["host", "'224.0.0.1'", "10.9.0.1"]),
        (["ping", *RING, "fe80::1%eth0"], ["host", "'fe80::1%eth0'"]),
        (["ping", *RING, "127.0.0.1"], ["unreachable", "127.0.0.1"]),
        (["ping", *RING, "10.8.0.1"], ["unreachable", "10.8.0.1"]),
        (["ping", *RING, "fd09::1"], ["unreachable", "fd09::1"]),
        (["ping", *RING, "10.9.0.255"], ["denied", "10.9.0.255"]),
        (["ping", *RING, "-c", "0", "10.9.0.1"], ["-c", "'0'", "1.."]),
        (["ping", *RING, "-c", "many", "10.9.0.1"], ["-c", "'many'"]),
        (["ping", *RING, "-s", "65508", "10.9.0.1"], ["-s", "'65508'", "65507"]),
        (["ping", *RING, "-s", "65528", "fd09::1"], ["-s", "65527"]),
        (["ping", *RING, "-s", "\u0663", "10.9.0.1"], ["-s", "'\u0663'"]),  # an Arabic 3
        (["serve", "echo", *RING, "--listen", "\u0663"], ["'\u0663'"]),
        (["ping", *RING, "-i", "0", "10.9.0.1"], ["-i", "'0'", "0.001..3600"]),
        (["ping", *RING, "-W", "nan", "10.9.0.1"], ["-W", "'nan'", "0..3600"]),
        (["serve", "echo", "--io", "ring:x", "--address", "10.9.0.2"], ["CIDR", "10.9.0.2"]),
        (["serve", "echo", "--io", "wire:x", "--address", "10.9.0.2/24"], ["wire", "ring:"]),
    ],
)
def test_what_is_wrong_is_named_with_its_cure(
    capsys: pytest.CaptureFixture[str], argv: list[str], named: list[str]
) -> None:
    line = complaint(capsys, *argv)
    for part in named:
        assert part in line


def test_the_version_is_the_packages(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        cli.main(["--version"])
    assert end.value.code == 0
    assert capsys.readouterr().out == f"ustack {__version__}\n"


@pytest.mark.parametrize("argv", [["--help"], ["serve", "--help"]])
def test_help_is_no_failure(capsys: pytest.CaptureFixture[str], argv: list[str]) -> None:
    with pytest.raises(SystemExit) as end:
        cli.main(argv)
    assert end.value.code == 0
    assert "usage: ustack" in capsys.readouterr().out
