# SPDX-License-Identifier: BSD-3-Clause
"""Options of a TCP socket are set, told and refused as the kernel's are. Nothing is connected.

Each case sets a value on a fresh socket of both and compares the errno, then what is told. Where we
differ it is listed, with the reason; a difference that is none any more fails, too.
"""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterator
from typing import Any

import pytest

from pair import Pair

SOL, TCP, IP = socket.SOL_SOCKET, socket.IPPROTO_TCP, socket.IPPROTO_IP
INTS = [
    -2,
    -1,
    0,
    1,
    2,
    3,
    4,
    5,
    6,
    87,
    88,
    120,
    121,
    127,
    128,
    255,
    256,
    1000,
    32767,
    32768,
    100_000,
]

NAMES: dict[str, tuple[int, int]] = {
    "SO_KEEPALIVE": (SOL, socket.SO_KEEPALIVE),
    "SO_OOBINLINE": (SOL, socket.SO_OOBINLINE),
    "SO_REUSEADDR": (SOL, socket.SO_REUSEADDR),
    "SO_RCVLOWAT": (SOL, socket.SO_RCVLOWAT),
    "SO_SNDBUF": (SOL, socket.SO_SNDBUF),
    "SO_RCVBUF": (SOL, socket.SO_RCVBUF),
    "TCP_NODELAY": (TCP, socket.TCP_NODELAY),
    "TCP_CORK": (TCP, socket.TCP_CORK),
    "TCP_MAXSEG": (TCP, socket.TCP_MAXSEG),
    "TCP_KEEPIDLE": (TCP, socket.TCP_KEEPIDLE),
    "TCP_KEEPINTVL": (TCP, socket.TCP_KEEPINTVL),
    "TCP_KEEPCNT": (TCP, socket.TCP_KEEPCNT),
    "TCP_SYNCNT": (TCP, socket.TCP_SYNCNT),
    "TCP_LINGER2": (TCP, socket.TCP_LINGER2),
    "TCP_DEFER_ACCEPT": (TCP, socket.TCP_DEFER_ACCEPT),
    "TCP_WINDOW_CLAMP": (TCP, socket.TCP_WINDOW_CLAMP),
    "TCP_QUICKACK": (TCP, socket.TCP_QUICKACK),
    "TCP_USER_TIMEOUT": (TCP, socket.TCP_USER_TIMEOUT),
    "TCP_NOTSENT_LOWAT": (TCP, socket.TCP_NOTSENT_LOWAT),
    "TCP_FASTOPEN": (TCP, socket.TCP_FASTOPEN),
    "TCP_FASTOPEN_CONNECT": (TCP, 30),
    "TCP_INQ": (TCP, 36),
    "IP_TOS": (IP, socket.IP_TOS),
    "IP_TTL": (IP, socket.IP_TTL),
    "IP_MTU_DISCOVER": (IP, 10),
}

#: (option, value) → why ours is another.
DEVIATIONS: dict[tuple[str, int], str] = {
    (name, value): "tcp.rmem_max and tcp.wmem_max bound both; Linux has net.core's for setsockopt()"
    for name in ("SO_RCVLOWAT", "SO_SNDBUF", "SO_RCVBUF")
    for value in (-2, -1)
}


@pytest.fixture(scope="module")
def pair() -> Iterator[Pair]:
    with Pair() as pair:
        yield pair


def attempt(sock: Any, name: str, value: int | bytes) -> tuple[str, object]:
    """The errno of setting, and what is told afterwards."""
    try:
        sock.setsockopt(*NAMES[name], value)
        said = "set"
    except OSError as error:
        said = errno.errorcode[error.errno or 0]
    return said, sock.getsockopt(*NAMES[name])


def outcomes(sock_of: Any, name: str) -> dict[int, tuple[str, object]]:
    """What comes of each value."""
    result = {}
    for value in INTS:
        with sock_of() as sock:
            result[value] = attempt(sock, name, value)
    return result


@pytest.mark.parametrize("name", NAMES)
def test_values_are_taken_told_and_refused_as_by_the_kernel(pair: Pair, name: str) -> None:
    theirs = outcomes(socket.socket, name)
    ours = outcomes(pair.client.socket, name)
    different = {
        value: (ours[value], theirs[value]) for value in INTS if ours[value] != theirs[value]
    }
    assert set(different) == {v for n, v in DEVIATIONS if n == name}, different


@pytest.mark.parametrize("name", [name for name in NAMES if name not in ("SO_SNDBUF", "SO_RCVBUF")])
def test_a_fresh_socket_tells_the_kernels_defaults(pair: Pair, name: str) -> None:
    with socket.socket() as theirs, pair.client.socket() as ours:
        assert ours.getsockopt(*NAMES[name]) == theirs.getsockopt(*NAMES[name])


def test_buffers_that_nobody_set_begin_as_the_kernels_do(pair: Pair) -> None:
    """tcp_rmem and tcp_wmem, unless this machine has others."""
    with pair.client.socket() as ours:
        assert ours.getsockopt(SOL, socket.SO_RCVBUF) == 131072
        assert ours.getsockopt(SOL, socket.SO_SNDBUF) == 16384


@pytest.mark.parametrize("raw", [b"", b"\1", b"\1\0\0", b"\1\0\0\0\0"])
def test_values_of_odd_lengths_are_taken_as_by_the_kernel(pair: Pair, raw: bytes) -> None:
    for name in ("TCP_NODELAY", "TCP_KEEPCNT", "SO_KEEPALIVE", "IP_TTL", "IP_MTU_DISCOVER"):
        with socket.socket() as theirs, pair.client.socket() as ours:
            assert attempt(ours, name, raw) == attempt(theirs, name, raw), name
