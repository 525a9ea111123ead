# SPDX-License-Identifier: BSD-3-Clause
"""The control socket of a running stack, and the commands addr, route and neigh that use it."""

from __future__ import annotations

import json
import os
import socket
import stat
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pair import SMALL, ring_url
from ustack import ConfigError, Stack, cli
from ustack.control.place import Place, directory, places
from ustack.control.server import REQUEST_MAX

QUICK = SMALL | {"ip6.dad_transmits": 0}
Ustack = Callable[..., tuple[int, str, str]]


@pytest.fixture(autouse=True)
def runtime(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A runtime directory of our own; its path is short, as those of sockets must be."""
    with tempfile.TemporaryDirectory(prefix="us") as place:
        monkeypatch.setenv("XDG_RUNTIME_DIR", place)
        yield Path(place) / "ustack"


@pytest.fixture
def stack() -> Iterator[Stack]:
    given = ["10.9.0.2/24", "fd00::2/64"]
    with Stack(ring_url(), addresses=given, settings=QUICK, control="web") as stack:
        yield stack


@pytest.fixture
def ustack(capsys: pytest.CaptureFixture[str]) -> Ustack:
    """Run a command in this process: status, stdout, stderr."""

    def run(*argv: str) -> tuple[int, str, str]:
        try:
            status = cli.main(argv)
        except SystemExit as end:
            assert isinstance(end.code, int)
            status = end.code
        return status, *capsys.readouterr()

    return run


def ask(line: bytes) -> dict[str, object]:
    """What the only stack answers to a line."""
    (place,) = places()
    with socket.socket(socket.AF_UNIX) as conn:
        conn.settimeout(10)
        conn.connect(os.fsencode(place.path))
        conn.sendall(line)
        answer = json.loads(conn.makefile("rb").readline())
    assert isinstance(answer, dict)
    return answer


# ---------------------------------------------------------------------------------------- commands


def test_addr_shows_ports_and_addresses(stack: Stack, ustack: Ustack) -> None:
    assert ustack("addr") == (
        0,
        f"1: {stack.ports[0]}: <NO-CARRIER> mtu 1500\n"
        f"    link/ether {stack.mac}\n"
        "    inet 10.9.0.2/24\n"
        "       valid_lft forever\n"
        "    inet6 fd00::2/64\n"
        "       valid_lft forever\n"
        f"    inet6 {stack.addresses[-1]}\n"
        "       valid_lft forever\n",
        "",
    )
    status, out, _ = ustack("addr", "show", "--json", "--name", "web")
    assert status == 0
    assert [row["address"] for row in json.loads(out)] == list(map(str, stack.addresses))


def test_addr_adds_and_takes_back(stack: Stack, ustack: Ustack) -> None:
    assert ustack("addr", "add", "10.9.0.3/24") == (0, "", "")
    assert ustack("addr", "add", "fd00::3/64", "dev", str(stack.ports[0])) == (0, "", "")
    assert stack.owns("10.9.0.3")
    assert stack.owns("fd00::3")
    assert ustack("addr", "del", "10.9.0.3/24") == (0, "", "")
    assert ustack("addr", "del", "fd00::3", "--pid", str(os.getpid())) == (0, "", "")
    assert [str(a) for a in stack.addresses][:-1] == ["10.9.0.2/24", "fd00::2/64"]


def test_route_and_neigh_do_what_they_say(stack: Stack, ustack: Ustack) -> None:
    port = stack.ports[0]
    assert ustack("route") == ustack("neigh") == (0, "", "")
    assert ustack("route", "add", "default", "via", "10.9.0.1") == (0, "", "")
    assert ustack("route", "add", "2001:db8::/32", "via", "fe80::1") == (0, "", "")
    assert ustack("route", "show") == (
        0, f"default via 10.9.0.1 dev {port}\n2001:db8::/32 via fe80::1 dev {port}\n", ""
    )  # fmt: skip
    assert ustack("route", "del", "default", "via", "10.9.0.1") == (0, "", "")
    assert ustack("route", "del", "2001:db8::/32") == (0, "", "")
    assert stack.routes == []
    assert ustack("neigh", "add", "fd00::1", "lladdr", "02:00:00:00:00:09") == (0, "", "")
    assert ustack("neigh") == (0, f"fd00::1 dev {port} lladdr 02:00:00:00:00:09 PERMANENT\n", "")
    assert ustack("neigh", "del", "fd00::1") == (0, "", "")
    assert stack.neighbours == []


@pytest.mark.parametrize(
    ("command", "named"),
    [
        ("addr fly", ["fly", "show"]),
        ("addr show 10.9.0.2", ["'10.9.0.2'", "omit"]),
        ("addr add", ["address", "none", "ustack addr add 10.9.0.3/24"]),
        ("addr add 10.9.0.9", ["CIDR", "'10.9.0.9'", "prefix length"]),
        ("addr add 10.9.0.2/24", ["10.9.0.2/24", "give it once"]),
        ("addr add 10.9.0.3/24 dev", ["dev and a value", "'dev'"]),
        ("addr add 10.9.0.3/24 dev eth0", ["port", "'eth0'", "ring:"]),
        ("addr add 10.9.0.3/24 via 10.9.0.1", ["takes dev", "'via'"]),
        ("addr del 10.9.0.9", ["'10.9.0.9'", "10.9.0.2/24"]),
        ("addr del 10.9.0.9 dev x", ["takes nothing", "'dev'"]),
        ("route add default", ["needs via", "'default'", "default via 10.9.0.1"]),
        ("route add default via 1.2.3.4", ["gateway", "'1.2.3.4'", "neighbour"]),
        ("route add default via 10.9.0.1 via 10.9.0.3", ["'via'"]),
        ("route del default", ["'default'", "there is none"]),
        ("neigh add 10.9.0.1", ["needs lladdr", "10.9.0.1"]),
        ("neigh add 10.9.0.1 lladdr x", ["MAC", "'x'", "six bytes"]),
        ("neigh del 10.9.0.1", ["'10.9.0.1'", "there is none"]),
        ("addr --name db", ["'db'", "web (pid"]),
        ("addr --pid 1", ["pid 1", "web (pid"]),
        ("addr --pid 1 --name x", ["--pid", "--name"]),
    ],
)
def test_what_is_wrong_is_one_line_and_status_2(
    stack: Stack, ustack: Ustack, command: str, named: list[str]
) -> None:
    status, out, err = ustack(*command.split())
    assert (status, out) == (2, "")
    assert err.startswith("ustack: ")
    assert err.count("\n") == 1
    for part in named:
        assert part in err
    assert [str(a) for a in stack.addresses][:-1] == ["10.9.0.2/24", "fd00::2/64"]


def test_of_several_stacks_one_must_be_chosen(stack: Stack, ustack: Ustack) -> None:
    with Stack(ring_url(), "10.9.9.9/24", settings=QUICK, control=True) as other:
        status, _, err = ustack("addr")
        assert status == 2
        pid = os.getpid()
        assert f"web (pid {pid})" in err
        assert "--pid or --name" in err
        chosen = next(place.name for place in places() if place.name != "web")
        assert chosen == str(other.ports[0]).replace(":", "-")
        assert "10.9.9.9/24" in ustack("addr", "--name", chosen)[1]
    assert "10.9.0.2/24" in ustack("addr")[1]


def test_without_a_stack_the_cure_is_told(ustack: Ustack) -> None:
    status, _, err = ustack("route")
    assert status == 2
    assert "no stack runs here" in err
    assert "control=True" in err


# -------------------------------------------------------------------------------------- the socket


def test_the_socket_is_its_users_alone_and_goes_with_the_stack(runtime: Path) -> None:
    with Stack(ring_url(), "10.9.0.2/24", settings=QUICK, control="web"):
        (path,) = runtime.iterdir()
        assert path.name == f"{os.getpid()}.web.sock"
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert stat.S_IMODE(runtime.stat().st_mode) == 0o700
        assert any(thread.name == "ustack-control" for thread in threading.enumerate())
    assert list(runtime.iterdir()) == []
    assert not any(thread.name == "ustack-control" for thread in threading.enumerate())


def test_without_control_there_is_no_socket(runtime: Path) -> None:
    with Stack(ring_url(), "10.9.0.2/24", settings=QUICK):
        assert not runtime.exists()


def test_sockets_of_killed_processes_are_removed(runtime: Path, stack: Stack) -> None:
    left = runtime / "1.gone.sock"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(os.fsencode(left))
        dead.listen()
    (runtime / "no-socket.txt").touch()
    assert [place.name for place in places()] == ["web"]
    assert not left.exists()
    assert (runtime / "no-socket.txt").exists()


def test_two_stacks_of_a_process_have_names_of_their_own(stack: Stack) -> None:
    with pytest.raises(ConfigError, match="'web'; take another"):
        Stack(ring_url(), "10.9.0.9/24", settings=QUICK, control="web")
    url = ring_url()
    one = Stack(url, "10.9.0.3/24", settings=QUICK, control=True)
    two = Stack(url, "10.9.0.4/24", settings=QUICK, control=True)
    with one, two:
        assert len({place.name for place in places()}) == 3


@pytest.mark.parametrize("name", ["a b", "../x", "x" * 33, "ü"])
def test_a_name_that_cannot_be_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match="name of a stack must be 1 to 32 letters"):
        Stack(ring_url(), "10.9.0.2/24", settings=QUICK, control=name)


def test_a_directory_that_others_can_use_is_refused(runtime: Path) -> None:
    runtime.mkdir(mode=0o777)
    runtime.chmod(0o777)
    with pytest.raises(ConfigError, match="must be ours alone"):
        Stack(ring_url(), "10.9.0.2/24", settings=QUICK, control=True)
    runtime.rmdir()
    runtime.symlink_to("/tmp")
    with pytest.raises(ConfigError, match="must be ours alone"):
        directory()


def test_without_a_runtime_directory_it_is_below_tmp(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("XDG_RUNTIME_DIR")
    assert str(directory()).startswith("/tmp/ustack-")
    monkeypatch.setenv("XDG_RUNTIME_DIR", "/nowhere")
    assert str(directory()).startswith("/tmp/ustack-")


def test_a_path_that_is_too_long_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    deep = tmp_path / ("x" * 100)
    deep.mkdir()
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(deep))
    with pytest.raises(ConfigError, match=r"control socket.*shorter"):
        Stack(ring_url(), "10.9.0.2/24", settings=QUICK, control=True)


@pytest.mark.parametrize(
    "line",
    [
        b"\n",
        b"[]\n",
        b"nonsense\n",
        b'{"do": "fly"}\n',
        b'{"do": ["show"]}\n',
        b'{"do": "addr add"}\n',
        b'{"do": "addr add", "with": 7}\n',
        b'{"do": "addr add", "with": {"address": 7}}\n',
        b"[" * 4000 + b"\n",
        b"\xff\xfe\n",
        b"x" * (REQUEST_MAX + 1),
    ],
)
def test_nonsense_is_answered_and_changes_nothing(stack: Stack, line: bytes) -> None:
    assert list(ask(line)) == ["error"]
    assert "ok" in ask(b'{"do": "show"}\n')
    assert len(stack.addresses) == 3


def test_a_client_that_says_nothing_does_not_hold_up_others(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ustack.control.server.TIMEOUT", 0.1)
    (place,) = places()
    with socket.socket(socket.AF_UNIX) as silent:
        silent.connect(os.fsencode(place.path))
        assert "ok" in ask(b'{"do": "show"}\n')


def test_a_change_reaches_a_stack_that_waits(stack: Stack, ustack: Ustack) -> None:
    """The command's thread takes the lock from the one that drives."""
    over = threading.Event()

    def drive() -> None:
        while not over.is_set():
            stack.run_once(1.0)

    thread = threading.Thread(target=drive)
    thread.start()
    try:
        for i in range(3, 9):
            assert ustack("addr", "add", f"10.9.0.{i}/24")[0] == 0
        assert stack.owns("10.9.0.8")
    finally:
        over.set()
        thread.join()


def test_a_place_is_shown_by_name_and_process() -> None:
    assert str(Place(7, "web", Path("x"))) == "web (pid 7)"
