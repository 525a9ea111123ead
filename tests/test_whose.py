# SPDX-License-Identifier: BSD-3-Clause
"""--only, --also and --config of ustack run: what they mean, and what is said of bad ones."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from pathlib import Path

import pytest

from ustack import ConfigError, Stack, process, socket
from ustack._whose import Rules, parse_where
from ustack.launch.config import load

#: only, also, (address, port) → whose; None: as the address says
CASES = [
    (None, [], ("10.9.0.1", 80), None),
    (None, [":9100"], ("10.9.0.1", 9100), "kernel"),
    (None, [":9100"], ("0.0.0.0", 9100), "kernel"),
    (None, [":9100"], ("::", 9100), "kernel"),
    (None, [":9100"], ("10.9.0.1", 9101), None),
    (None, ["10.9.0.1"], ("10.9.0.1", 1), "kernel"),
    (None, ["10.9.0.1"], ("::ffff:10.9.0.1", 1), "kernel"),
    (None, ["10.9.0.1"], ("10.9.0.2", 1), None),
    (None, ["0.0.0.0/0"], ("0.0.0.0", 1), None),
    (None, ["10.0.0.0/8:8000-8999"], ("10.1.2.3", 8999), "kernel"),
    (None, ["10.0.0.0/8:8000-8999"], ("10.1.2.3", 9000), None),
    (None, ["*:53", "[fd09::1]:80"], ("fd09::1", 53), "kernel"),
    (None, ["*:53", "[fd09::1]:80"], ("fd09::1", 80), "kernel"),
    (None, ["*:53", "[fd09::1]:80"], ("fd09::2", 80), None),
    (None, ["fd09::/16"], ("fd09::2", 80), "kernel"),
    (None, ["fd09::/16"], ("10.9.0.1", 80), None),
    ("ustack", [], ("192.0.2.1", 80), "ustack"),
    ("ustack", [], ("0.0.0.0", 80), "ustack"),
    ("ustack", ["127.0.0.1:5432"], ("127.0.0.1", 5432), "kernel"),
    ("ustack", ["127.0.0.1:5432"], ("127.0.0.1", 5433), "ustack"),
    ("kernel", [], ("10.9.0.1", 80), "kernel"),
    ("kernel", ["*:8080"], ("0.0.0.0", 8080), "ustack"),
    ("kernel", ["*:8080"], ("10.9.0.1", 8081), "kernel"),
]


@pytest.mark.parametrize(("only", "also", "where", "whose"), CASES)
def test_only_and_also_say_whose(
    only: str | None, also: list[str], where: tuple[str, int], whose: str | None
) -> None:
    assert Rules.parse(only, also).whose(*where) == whose


NOWHERE = ["", "*", ":", "me", "10.9.0.1/33", "10.9.0.1/24", "[::1", "[::1]x"]


@pytest.mark.parametrize("text", [*NOWHERE, ":0", ":65536", ":9-8", ":x"])
def test_what_also_cannot_be_is_named(text: str) -> None:
    with pytest.raises(ConfigError, match="also") as caught:
        parse_where(text)
    assert repr(text) in str(caught.value)


@pytest.fixture
def stack() -> Iterator[Stack]:
    with Stack("loop:", "10.9.0.2/24") as stack:
        process.install(stack)
        yield stack
        process.place()
        process.install(None)


def test_sockets_are_whose_the_rules_say(stack: Stack) -> None:
    """Bound to an address, to all of them, and connected."""
    process.place(rules=Rules.parse(None, [":9100"]))
    with socket.socket() as ours, socket.socket() as theirs, socket.socket() as both:
        ours.bind(("10.9.0.2", 9101))
        assert ours.endpoint is not None
        with pytest.raises(OSError):
            theirs.bind(("10.9.0.2", 9100))  # no address of the kernel's
        both.bind(("0.0.0.0", 0))
        assert both.endpoint is not None and both.fileno() >= 0
    process.place(rules=Rules.parse("ustack", []))
    with socket.socket() as sock, socket.socket() as wild:
        with pytest.raises(OSError) as caught:
            sock.connect(("192.0.2.1", 80))
        assert caught.value.errno == errno.ENETUNREACH
        wild.bind(("0.0.0.0", 0))
        assert wild._twin is None and wild.endpoint is not None
    process.place(rules=Rules.parse("kernel", ["10.9.0.2:9102"]))
    with socket.socket() as theirs, socket.socket() as ours:
        theirs.bind(("127.0.0.1", 0))
        assert theirs.endpoint is None
        ours.bind(("10.9.0.2", 9102))
        assert ours.endpoint is not None


def test_a_file_says_all(tmp_path: Path) -> None:
    path = tmp_path / "web.toml"
    path.write_text(
        """
        address = "10.9.0.2/24"
        gateway = ["10.9.0.1", "fd09::1"]
        loopback = true
        spin = "never"
        only = "ustack"
        also = [":9100"]
        [io]
        "tap:us0" = "10.9.0.2/24"
        [settings]
        tcp.sack = 0
        "tcp.congestion_control" = "bbr"
        """
    )
    assert load(str(path)) == {
        "io": {"tap:us0": ["10.9.0.2/24"]},
        "address": ["10.9.0.2/24"],
        "gateway": ["10.9.0.1", "fd09::1"],
        "loopback": True,
        "spin": "never",
        "only": "ustack",
        "also": [":9100"],
        "settings": {"tcp.sack": 0, "tcp.congestion_control": "bbr"},
    }


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("adress = '1'", ["web.toml", "'adress'", "did you mean 'address'?"]),
        ("zzzzz = 1", ["web.toml", "'zzzzz'", "io, address"]),
        ("address = 5", ["web.toml: address", "string", "5"]),
        ("io = 5", ["web.toml: io", "string", "5"]),
        ("loopback = 'yes'", ["web.toml: loopback", "true or false", "'yes'"]),
        ("spin = true", ["web.toml: spin", "seconds", "True"]),
        ("settings = 1", ["web.toml: settings", "table", "1"]),
        ("settings = {a = 1.5}", ["web.toml: settings.a", "1.5"]),
        ("only = 'me'", ["web.toml", "only", "'me'", "kernel"]),
        ("also = 'me'", ["web.toml", "also", "'me'"]),
        ("io = ", ["web.toml", "Invalid value"]),
    ],
)
def test_what_is_wrong_with_a_file_is_named(tmp_path: Path, text: str, named: list[str]) -> None:
    path = tmp_path / "web.toml"
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        load(str(path))
    assert all(name in str(caught.value) for name in named), caught.value
