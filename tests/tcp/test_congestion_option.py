# SPDX-License-Identifier: BSD-3-Clause
"""Which congestion control: tcp.congestion_control, TCP_CONGESTION, and whence its state."""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterator

import pytest
from ustack._ustack import ffi, lib

import ustack
from pair import Pair
from wire import Sock, Wire

NAMES = [ffi.string(lib.ust_cc_name(i)).decode() for i in range(lib.UST_CCS)]
TCP_CONGESTION = (socket.IPPROTO_TCP, socket.TCP_CONGESTION)


@pytest.fixture
def pair() -> Iterator[Pair]:
    with Pair() as pair:
        yield pair


def chosen(sock: Sock) -> str:
    return NAMES[sock.info.congestion]


# ------------------------------------------------------------------------------------ the setting


@pytest.mark.rfc("MAY-18")
def test_cubic_is_the_default_and_reno_that_of_the_rfc_profile() -> None:
    assert ustack.settings()["tcp.congestion_control"].value == "cubic"
    assert ustack.settings("rfc")["tcp.congestion_control"].value == "reno"


def test_the_setting_lists_the_names_that_it_takes() -> None:
    assert list(ustack.settings()["tcp.congestion_control"].choices) == NAMES
    assert ustack.settings()["tcp.sack"].choices == ()


def test_the_setting_is_a_name_in_a_running_stack(pair: Pair) -> None:
    pair.server.set("tcp.congestion_control", "reno")
    assert pair.server.get("tcp.congestion_control") == "reno"


@pytest.mark.parametrize("value", ["vegas", 1, "CUBIC", ""])
def test_a_congestion_control_that_there_is_not_is_refused(pair: Pair, value: str) -> None:
    with pytest.raises(ustack.ConfigError, match=r"congestion_control must be one of reno, "):
        pair.server.set("tcp.congestion_control", value)


def test_a_number_is_not_taken_from_a_name(pair: Pair) -> None:
    with pytest.raises(ustack.ConfigError, match=r"tcp.sack must be 0..1 .* got 'on'"):
        pair.server.set("tcp.sack", "on")


def test_the_c_call_knows_names_of_choices_only() -> None:
    find = lib.ust_config_choice
    assert find(b"tcp.congestion_control", b"cubic") == lib.UST_CC_CUBIC
    assert find(b"tcp.congestion_control", b"vegas") == -errno.ENOENT
    assert find(b"tcp.sack", b"1") == find(b"tcp.none", b"cubic") == -errno.ENOENT


def test_a_new_socket_takes_the_setting(wire: Wire) -> None:
    wire.settings(tcp_congestion_control="reno")
    assert chosen(wire.established()) == "reno"


# ------------------------------------------------------------------------------------- the option


@pytest.mark.parametrize("name", NAMES)
def test_the_option_is_set_and_read_by_name(pair: Pair, name: str) -> None:
    near, _ = pair.connect()
    near.setsockopt(*TCP_CONGESTION, name.encode())
    assert near.getsockopt(*TCP_CONGESTION, 16) == name.encode().ljust(16, b"\0")
    assert NAMES[near.tcp_info().congestion] == name


def test_the_option_is_read_as_linux_gives_it(pair: Pair) -> None:
    sock = pair.server.socket()
    assert sock.getsockopt(*TCP_CONGESTION, 3) == b"cub"
    assert sock.getsockopt(*TCP_CONGESTION, 100) == b"cubic".ljust(16, b"\0")
    assert sock.getsockopt(*TCP_CONGESTION) == int.from_bytes(b"cubi", "little")


def test_a_name_may_end_with_a_nul(pair: Pair) -> None:
    sock = pair.server.socket()
    sock.setsockopt(*TCP_CONGESTION, b"reno\0rubbish")
    assert bytes(sock.getsockopt(*TCP_CONGESTION, 16)).rstrip(b"\0") == b"reno"  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "error"),
    [
        (b"vegas", errno.ENOENT),
        (b"\0", errno.ENOENT),
        (b"cubic2", errno.ENOENT),
        (1, errno.ENOENT),
        (b"", errno.EINVAL),
    ],
)
def test_a_name_that_there_is_not_is_refused(pair: Pair, name: bytes, error: int) -> None:
    sock = pair.server.socket()
    with pytest.raises(OSError) as caught:
        sock.setsockopt(*TCP_CONGESTION, name)
    assert caught.value.errno == error
    assert "reno" in str(caught.value) or error == errno.EINVAL


def test_an_accepted_socket_has_its_listeners(wire: Wire) -> None:
    listener = wire.listen()
    wire.engine.setopt(listener, lib.UST_OPT_CONGESTION, lib.UST_CC_RENO)
    assert chosen(wire.established()) == "reno"


def test_a_number_that_there_is_not_is_refused(wire: Wire) -> None:
    sock = wire.established()
    for number in (-1, lib.UST_CCS, 2**40):
        with pytest.raises(FileNotFoundError):
            sock.setopt("CONGESTION", number)
    assert chosen(sock) == "cubic"


def test_a_change_keeps_the_window(wire: Wire) -> None:
    """As in Linux: only who decides changes."""
    sock = wire.established(rtt=0.1)
    sock.send(10_000)
    wire.deliver(sock)
    before = sock.info.cwnd
    sock.setopt("CONGESTION", lib.UST_CC_RENO)
    assert (sock.info.cwnd, chosen(sock)) == (before, "reno")
    assert wire.engine.usage().cc_states == 0


# ------------------------------------------------------------------------------------- the states


def test_only_a_connection_that_sends_has_a_state(wire: Wire) -> None:
    sock = wire.established()
    assert wire.engine.usage().cc_states == 0
    sock.send(1000)
    wire.deliver(sock)
    assert wire.engine.usage().cc_states == 1
    sock.abort()
    assert wire.take() is not None
    assert wire.engine.usage().cc_states == 0


def senders(wire: Wire, n: int) -> list[Sock]:
    """Connections that have sent a segment each."""
    socks = []
    for i in range(n):
        sock = wire.established(peer=wire.peer(40000 + i), rtt=0.01)
        sock.send(1000)
        wire.deliver(sock)
        socks.append(sock)
    return socks


def test_a_state_is_taken_from_an_idle_connection(wire: Wire) -> None:
    """Whose RTO has passed: its window has to start anew in any case."""
    wire.settings(tcp_max_cc_states=2)
    senders(wire, 2)
    wire.advance(1)
    senders_of_more = wire.established(peer=wire.peer(41000))
    senders_of_more.send(1000)
    wire.deliver(senders_of_more)
    assert wire.stats["tcp.cc.state_taken"] == 1
    assert wire.stats["tcp.cc.state_none"] == 0


def test_without_a_state_reno_controls(wire: Wire) -> None:
    """The pool is bounded; a window all the same is kept."""
    wire.settings(tcp_max_cc_states=1)
    first, second = (wire.established(peer=wire.peer(40000 + i), rtt=0.1) for i in range(2))
    for sock in (first, second):
        sock.send(10_000)
        while wire.take(peer=sock.peer):
            pass
    for sock in (first, second):
        sock.peer("+.05 < . 1:1(0) ack 10001 win 257")
    assert wire.stats["tcp.cc.state_none"] > 0
    assert first.info.cwnd == second.info.cwnd == 20_000
