# SPDX-License-Identifier: BSD-3-Clause
"""Ping sockets in the manner of Linux's. Nothing here waits; tests/live/ has the command."""

from __future__ import annotations

import errno
import socket
import struct
from collections.abc import Iterator

import pytest

from pair import CLIENT, SERVER, SMALL, Pair
from ustack import PingSocket, Stack, UdpSocket

SERVER6, CLIENT6 = "fd00::1", "fd00::2"
HOSTS = {4: (CLIENT, SERVER), 6: (CLIENT6, SERVER6)}
IP_RECVTTL = 12
FAMILIES = {4: socket.AF_INET, 6: socket.AF_INET6}
PROTOS = {4: socket.IPPROTO_ICMP, 6: socket.IPPROTO_ICMPV6}

both = pytest.mark.parametrize("version", [4, 6])


@pytest.fixture
def pair() -> Iterator[Pair]:
    with Pair(settings=SMALL | {"ip6.dad_transmits": 0}) as pair:
        pair.server.add_address(f"{SERVER6}/64")
        pair.client.add_address(f"{CLIENT6}/64")
        yield pair


def pinger(stack: Stack, version: int, ident: int | None = None) -> UdpSocket:
    sock = stack.socket(FAMILIES[version], socket.SOCK_DGRAM, PROTOS[version])
    sock.setblocking(False)
    if ident is not None:
        sock.bind((HOSTS[version][0], ident))
    return sock


def request(version: int, payload: bytes = b"", number: int = 1) -> bytes:
    return struct.pack("!BBHHH", 8 if version == 4 else 128, 0, 0, 0, number) + payload


@both
@pytest.mark.parametrize("size", [0, 1, 1472, 1473, 20_000])
def test_a_request_is_answered(pair: Pair, version: int, size: int) -> None:
    far = HOSTS[version][1]
    data = bytes(i % 251 for i in range(size))
    with pinger(pair.client, version, 77) as sock:
        assert sock.sendto(request(version, data, 3), (far, 0)) == 8 + size
        pair.pump()
        reply, source = sock.recvfrom(65535)
        assert reply[0] == (0 if version == 4 else 129)
        assert reply[4:] == struct.pack("!HH", 77, 3) + data
        assert source[:2] == (far, 0)
    assert pair.client.counters()["icmp.in.reply"] == 1
    assert pair.server.counters()["icmp.out.echo"] == 1


@both
def test_it_says_what_it_is(pair: Pair, version: int) -> None:
    near, far = HOSTS[version]
    with pinger(pair.client, version, 77) as sock:
        assert type(sock) is PingSocket
        assert (sock.family, sock.type, sock.proto) == (
            FAMILIES[version],
            socket.SOCK_DGRAM,
            PROTOS[version],
        )
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_PROTOCOL) == PROTOS[version]
        assert sock.getsockname()[:2] == (near, 77)
        with pytest.raises(OSError) as told:
            sock.getpeername()
        assert told.value.errno == errno.ENOTCONN
        assert "->" not in repr(sock)
        sock.connect((far, 0))
        assert sock.getpeername()[:2] == (far, 0)
        assert "PingSocket" in repr(sock) and f"{far}" in repr(sock)
        sock.connect(None)
        assert "->" not in repr(sock)


@both
def test_the_handle_can_move(pair: Pair, version: int) -> None:
    handle = pinger(pair.client, version, 77).detach()
    with PingSocket(pair.client, FAMILIES[version], handle=handle) as sock:
        assert sock.getsockname()[1] == 77


@both
def test_a_connected_socket_sends_and_hears_one_peer(pair: Pair, version: int) -> None:
    with pinger(pair.client, version) as sock:
        sock.connect((HOSTS[version][1], 4711))  # a port means nothing
        sock.send(request(version, b"abc"))
        pair.pump()
        assert sock.recv(100)[8:] == b"abc"


@both
def test_ancillary_data_has_the_ttl(pair: Pair, version: int) -> None:
    option = (
        (socket.IPPROTO_IP, IP_RECVTTL)
        if version == 4
        else (socket.IPPROTO_IPV6, socket.IPV6_RECVHOPLIMIT)
    )
    with pinger(pair.client, version) as sock:
        sock.setsockopt(*option, 1)
        sock.sendto(request(version, b"abcdef"), (HOSTS[version][1], 0))
        pair.pump()
        data, ancdata, flags, _ = sock.recvmsg(10, 100)
        assert (data[8:], flags) == (b"ab", socket.MSG_TRUNC)
        assert [int.from_bytes(raw[:4], "little") for _, _, raw in ancdata] == [64]


@both
def test_bad_messages_are_refused(pair: Pair, version: int) -> None:
    far = HOSTS[version][1]
    with pinger(pair.client, version) as sock:
        for message in (b"", b"1234567", request(10 - version), b"\0" + request(version)[1:]):
            with pytest.raises(OSError) as told:
                sock.sendto(message, (far, 0))
            assert told.value.errno == errno.EINVAL
        with pytest.raises(OSError) as told:
            sock.sendto(request(version, bytes(65530)), (far, 0))
        assert told.value.errno == errno.EMSGSIZE
        with pytest.raises(socket.gaierror):
            sock.sendto(request(version), (HOSTS[10 - version][1], 0))
        with pytest.raises(OSError) as told:
            sock.setsockopt(socket.IPPROTO_UDP, 103, 100)
        assert told.value.errno == errno.ENOPROTOOPT


def test_an_ipv6_socket_pings_no_ipv4(pair: Pair) -> None:
    with pinger(pair.client, 6) as sock:
        for act in (sock.connect, sock.bind):
            with pytest.raises(OSError) as told:
                act(("::ffff:10.9.0.1", 0))
            assert told.value.errno == errno.EINVAL


@pytest.mark.parametrize(
    ("family", "kind", "proto"),
    [
        (socket.AF_INET, socket.SOCK_DGRAM, socket.IPPROTO_ICMPV6),
        (socket.AF_INET6, socket.SOCK_DGRAM, socket.IPPROTO_ICMP),
        (socket.AF_INET, socket.SOCK_DGRAM, socket.IPPROTO_TCP),
        (socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_ICMP),
        (socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_UDP),
    ],
)
def test_a_protocol_that_does_not_go_with_the_kind_is_named(
    pair: Pair, family: int, kind: int, proto: int
) -> None:
    with pytest.raises(OSError, match=rf"{int(proto)} for SOCK_.*IPPROTO_ICMP ") as told:
        pair.client.socket(family, kind, proto)  # type: ignore[call-overload]
    assert told.value.errno == errno.EPROTONOSUPPORT


def test_the_usual_protocols_may_be_named(pair: Pair) -> None:
    for kind, proto in ((socket.SOCK_STREAM, 6), (socket.SOCK_DGRAM, 17), (socket.SOCK_DGRAM, 0)):
        with pair.client.socket(socket.AF_INET, kind, proto) as sock:  # type: ignore[call-overload]
            assert sock.proto in (6, 17) and not isinstance(sock, PingSocket)
