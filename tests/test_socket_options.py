# SPDX-License-Identifier: BSD-3-Clause
"""The options of sockets are Linux's, one by one. Nothing here waits."""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterator

import pytest

from pair import Pair
from ustack import TcpInfo

# Of options that ustack does not have.
_SO_ZEROCOPY, _TCP_MD5SIG, _TCP_REPAIR, _TCP_ZEROCOPY_RECEIVE = 60, 14, 19, 35


@pytest.fixture
def pair() -> Iterator[Pair]:
    with Pair() as pair:
        yield pair


@pytest.mark.parametrize(
    ("level", "name", "value"),
    [
        (socket.SOL_SOCKET, "SO_REUSEADDR", 1),
        (socket.SOL_SOCKET, "SO_KEEPALIVE", 1),
        (socket.SOL_SOCKET, "SO_SNDBUF", 65536),
        (socket.SOL_SOCKET, "SO_RCVBUF", 65536),
        (socket.IPPROTO_TCP, "TCP_NODELAY", 1),
        (socket.IPPROTO_TCP, "TCP_CORK", 1),
        (socket.IPPROTO_TCP, "TCP_QUICKACK", 0),
        (socket.IPPROTO_TCP, "TCP_KEEPIDLE", 30),
        (socket.IPPROTO_TCP, "TCP_KEEPINTVL", 7),
        (socket.IPPROTO_TCP, "TCP_KEEPCNT", 4),
        (socket.IPPROTO_TCP, "TCP_MAXSEG", 1000),
        (socket.IPPROTO_TCP, "TCP_USER_TIMEOUT", 5000),
        (socket.IPPROTO_TCP, "TCP_SYNCNT", 2),
        (socket.IPPROTO_TCP, "TCP_LINGER2", 30),
        (socket.IPPROTO_TCP, "TCP_DEFER_ACCEPT", 3),
        (socket.IPPROTO_TCP, "TCP_WINDOW_CLAMP", 20_000),
        (socket.IPPROTO_TCP, "TCP_NOTSENT_LOWAT", 16_384),
        (socket.SOL_SOCKET, "SO_OOBINLINE", 1),
        (socket.SOL_SOCKET, "SO_RCVLOWAT", 100),
        (socket.IPPROTO_IP, "IP_TOS", 0x10),
        (socket.IPPROTO_IP, "IP_TTL", 33),
    ],
)
def test_an_option_that_can_be_set_can_be_read_back(
    pair: Pair, level: int, name: str, value: int
) -> None:
    sock = pair.client.socket()
    number = getattr(socket, name)
    sock.setsockopt(level, number, value)
    got = sock.getsockopt(level, number)
    assert isinstance(got, int)
    if name in ("SO_SNDBUF", "SO_RCVBUF"):
        assert value <= got <= 2 * value  # socket(7): Linux gives back twice what was asked for
    else:
        assert got == value
    assert sock.getsockopt(level, number, 4) == got.to_bytes(4, "little")


def test_a_boolean_option_becomes_0_or_1(pair: Pair) -> None:
    sock = pair.client.socket()
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, (77).to_bytes(4, "little"))
    assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) == 1


@pytest.mark.parametrize(
    ("linger", "reads"),
    [((0, 0), (0, 0)), ((1, 0), (1, 0)), ((1, 7), (1, 7)), ((0, 7), (0, 0))],
)
def test_linger_is_a_struct(pair: Pair, linger: tuple[int, int], reads: tuple[int, int]) -> None:
    sock = pair.client.socket()
    raw = b"".join(part.to_bytes(4, "little") for part in linger)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, raw)
    expected = b"".join(part.to_bytes(4, "little") for part in reads)
    assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_LINGER, 8) == expected


@pytest.mark.parametrize(
    ("level", "name"),
    [
        (socket.SOL_SOCKET, 9999),
        (socket.SOL_SOCKET, socket.SO_SNDLOWAT),
        (socket.SOL_SOCKET, _SO_ZEROCOPY),
        (socket.IPPROTO_TCP, _TCP_MD5SIG),
        (socket.IPPROTO_TCP, _TCP_REPAIR),
        (socket.IPPROTO_TCP, _TCP_ZEROCOPY_RECEIVE),
        (socket.IPPROTO_TCP, 9999),
        (socket.IPPROTO_IP, 9999),
        (9999, 1),
    ],
)
def test_no_option_is_silently_ignored(pair: Pair, level: int, name: int) -> None:
    sock = pair.client.socket()
    for call in (lambda: sock.setsockopt(level, name, 1), lambda: sock.getsockopt(level, name)):
        with pytest.raises(OSError) as caught:
            call()
        assert caught.value.errno == errno.ENOPROTOOPT


@pytest.mark.parametrize("name", ["SO_ERROR", "SO_ACCEPTCONN", "SO_TYPE", "SO_DOMAIN"])
def test_what_can_only_be_read_cannot_be_set(pair: Pair, name: str) -> None:
    with pytest.raises(OSError) as caught:
        pair.client.socket().setsockopt(socket.SOL_SOCKET, getattr(socket, name), 1)
    assert caught.value.errno == errno.ENOPROTOOPT


def test_a_value_that_is_too_short_is_invalid(pair: Pair) -> None:
    with pytest.raises(OSError) as caught:
        pair.client.socket().setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, b"\1")
    assert caught.value.errno == errno.EINVAL


def test_a_socket_says_what_it_is(pair: Pair) -> None:
    sock, listener = pair.client.socket(), pair.listen()
    get = sock.getsockopt
    assert get(socket.SOL_SOCKET, socket.SO_TYPE) == sock.type == socket.SOCK_STREAM
    assert get(socket.SOL_SOCKET, socket.SO_DOMAIN) == sock.family == socket.AF_INET
    assert get(socket.SOL_SOCKET, socket.SO_PROTOCOL) == sock.proto == socket.IPPROTO_TCP
    assert get(socket.SOL_SOCKET, socket.SO_ACCEPTCONN) == 0
    assert listener.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN) == 1


def test_the_pending_error_is_taken_once(pair: Pair) -> None:
    sock = pair.begin(port=9)
    pair.pump()
    assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == errno.ECONNREFUSED
    assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0


def test_tcp_info_tells_the_state_and_the_bytes(pair: Pair) -> None:
    near, far = pair.connect()
    near.send(bytes(3000))
    pair.pump()
    info = near.tcp_info()
    assert isinstance(info, TcpInfo)
    assert info.state_name == "ESTABLISHED"
    assert info.bytes_sent == 3000
    assert far.tcp_info().inq == 3000
    linux = near.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 104)
    assert isinstance(linux, bytes) and len(linux) == 104
    whole = near.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1024)
    assert isinstance(whole, bytes) and len(whole) == 280
    # But for tcpi_last_data_sent to tcpi_last_ack_recv, the milliseconds since.
    assert whole[:44] + whole[60:104] == linux[:44] + linux[60:]
    assert linux[0] == 1  # TCP_ESTABLISHED
    assert int.from_bytes(linux[16:20], "little") == info.snd_mss  # tcpi_snd_mss
