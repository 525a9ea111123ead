# SPDX-License-Identifier: BSD-3-Clause
"""UDP sockets answer as Linux's do. Nothing here waits; tests/live/ has what blocks."""

from __future__ import annotations

import errno
import gc
import select
import socket
import struct
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from pair import CLIENT, SERVER, SMALL, Pair
from ustack import Stack, UdpSocket

SERVER6, CLIENT6 = "fd00::1", "fd00::2"
IP_PKTINFO, IP_RECVTTL, IP_RECVTOS, IP_MTU_DISCOVER, IP_MTU, UDP_SEGMENT = 8, 12, 13, 10, 14, 103


@pytest.fixture
def pair() -> Iterator[Pair]:
    with Pair(settings=SMALL | {"ip6.dad_transmits": 0}) as pair:
        pair.server.add_address(f"{SERVER6}/64")
        pair.client.add_address(f"{CLIENT6}/64")
        yield pair


def bound(stack: Stack, host: str, port: int = 0) -> UdpSocket:
    sock = stack.udp((host, port))
    sock.setblocking(False)
    return sock


def unbound(stack: Stack, family: int = socket.AF_INET) -> UdpSocket:
    sock = stack.udp(family=family)
    sock.setblocking(False)
    return sock


# ------------------------------------------------------------------------------------------ passing


@pytest.mark.parametrize(("near", "far"), [(CLIENT, SERVER), (CLIENT6, SERVER6)])
@pytest.mark.parametrize("size", [0, 1, 1472, 1473, 9000, 60_000])
def test_a_datagram_arrives_whole_and_is_answered(
    pair: Pair, near: str, far: str, size: int
) -> None:
    server, client = bound(pair.server, far, 53), bound(pair.client, near)
    data = bytes(i % 251 for i in range(size))
    assert client.sendto(data, (far, 53)) == size
    pair.pump()
    got, source = server.recvfrom(65535)
    assert got == data
    assert source == client.getsockname()
    server.sendto(got[::-1], source)
    pair.pump()
    assert client.recv(65535) == data[::-1]


def test_every_way_to_send_and_to_receive(pair: Pair) -> None:
    server, client = bound(pair.server, SERVER, 53), unbound(pair.client)
    client.connect((SERVER, 53))
    ways: list[Callable[[], int]] = [
        lambda: client.send(b"one"),
        lambda: client.send(bytearray(b"one")),
        lambda: client.sendto(memoryview(b"one"), (SERVER, 53)),
        lambda: client.sendto(b"one", 0, (SERVER, 53)),
        lambda: client.sendmsg([b"o", memoryview(b"ne")]),
        lambda: client.sendmsg([b"one"], [], 0, (SERVER, 53)),
    ]
    assert [way() for way in ways] == [3] * 6
    pair.pump()
    buffer, source = bytearray(5), client.getsockname()
    assert server.recv(10) == b"one"
    assert (server.recv_into(buffer), buffer) == (3, b"one\0\0")
    assert server.recvfrom(10) == (b"one", source)
    assert server.recvfrom_into(buffer, 2) == (2, source)
    assert server.recvmsg(10) == (b"one", [], 0, source)
    first, second = bytearray(2), bytearray(4)
    assert server.recvmsg_into([first, second]) == (3, [], 0, source)
    assert (first, second) == (b"on", b"e\0\0\0")
    with pytest.raises(BlockingIOError):
        server.recv(1)


def test_what_does_not_fit_is_lost_and_said_to_be(pair: Pair) -> None:
    server, client = bound(pair.server, SERVER, 53), unbound(pair.client)
    for _ in range(5):
        client.sendto(b"abcdef", (SERVER, 53))
    pair.pump()
    assert server.recv(2) == b"ab"
    assert server.recvmsg(2)[::2] == (b"ab", socket.MSG_TRUNC)
    assert server.recvmsg(6)[::2] == (b"abcdef", 0)
    assert server.recv_into(bytearray(2), 0, socket.MSG_TRUNC) == 6
    assert server.recv(0, socket.MSG_TRUNC) == b""
    with pytest.raises(BlockingIOError):
        server.recv(1)


def test_peeking_leaves_the_datagram(pair: Pair) -> None:
    server, client = bound(pair.server, SERVER, 53), unbound(pair.client)
    client.sendto(b"abc", (SERVER, 53))
    pair.pump()
    assert server.recv(2, socket.MSG_PEEK) == b"ab"
    assert server.recv_into(bytearray(1), 1, socket.MSG_PEEK | socket.MSG_TRUNC) == 3
    assert server.recv(10) == b"abc"


def test_a_connected_socket_hears_its_peer_only(pair: Pair) -> None:
    peer, other = bound(pair.server, SERVER, 53), bound(pair.server, SERVER, 54)
    client = bound(pair.client, CLIENT, 1000)
    client.connect((SERVER, 53))
    assert client.getpeername() == (SERVER, 53)
    other.sendto(b"no", (CLIENT, 1000))
    peer.sendto(b"yes", (CLIENT, 1000))
    pair.pump()
    assert client.recvfrom(10) == (b"yes", (SERVER, 53))
    client.connect(None)
    with pytest.raises(OSError) as caught:
        client.getpeername()
    assert caught.value.errno == errno.ENOTCONN
    other.sendto(b"now", (CLIENT, 1000))
    pair.pump()
    assert client.recvfrom(10) == (b"now", (SERVER, 54))


def test_disconnecting_gives_back_what_bind_did_not_give(pair: Pair) -> None:
    given, chosen = bound(pair.client, "", 1000), unbound(pair.client)
    for sock in (given, chosen):
        sock.connect((SERVER, 53))
        assert sock.getsockname()[0] == CLIENT
        sock.connect(None)
    assert given.getsockname() == ("0.0.0.0", 1000)
    assert chosen.getsockname() == ("0.0.0.0", 0)


def test_a_broadcast_needs_leave(pair: Pair) -> None:
    server, client = bound(pair.server, "", 53), unbound(pair.client)
    with pytest.raises(PermissionError):
        client.sendto(b"x", ("<broadcast>", 53))
    with pytest.raises(PermissionError):
        client.connect(("10.9.0.255", 53))
    client.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
    client.sendto(b"all", ("<broadcast>", 53))
    client.sendto(b"net", ("10.9.0.255", 53))
    pair.pump()
    assert [server.recv(9), server.recv(9)] == [b"all", b"net"]


# ----------------------------------------------------------------------------- both IP versions


def test_an_ipv6_socket_takes_both_versions(pair: Pair) -> None:
    server = bound(pair.server, "::", 53)
    v4, v6 = unbound(pair.client), unbound(pair.client, socket.AF_INET6)
    v4.sendto(b"four", (SERVER, 53))
    pair.pump()
    v6.sendto(b"six", (SERVER6, 53))
    pair.pump()
    v6.sendto(b"mapped", (f"::ffff:{SERVER}", 53))
    pair.pump()
    assert server.recvfrom(10) == (b"four", (f"::ffff:{CLIENT}", v4.getsockname()[1], 0, 0))
    assert server.recvfrom(10) == (b"six", (CLIENT6, v6.getsockname()[1], 0, 0))
    got, source = server.recvfrom(10)
    assert (got, source[0]) == (b"mapped", f"::ffff:{CLIENT}")
    assert v6.getsockname()[0] == "::"
    server.sendto(b"back", source)
    pair.pump()
    assert v6.recv(10) == b"back"


def test_v6only_leaves_ipv4_to_others(pair: Pair) -> None:
    six = unbound(pair.server, socket.AF_INET6)
    six.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    six.bind(("::", 53))
    four = bound(pair.server, "", 53)
    sender = unbound(pair.client)
    sender.sendto(b"x", (SERVER, 53))
    pair.pump()
    assert four.recv(10) == b"x"
    with pytest.raises(BlockingIOError):
        six.recv(10)
    with pytest.raises(OSError) as caught:
        six.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)  # bound already
    assert caught.value.errno == errno.EINVAL


def test_link_local_addresses_name_their_port(pair: Pair) -> None:
    host = pair.server.addresses[-1].host
    assert host.startswith("fe80:")
    server, client = bound(pair.server, "::", 53), unbound(pair.client, socket.AF_INET6)
    client.sendto(b"x", (host, 53, 0, 1))
    pair.pump()
    got, source = server.recvfrom(10)
    assert (got, source[0], source[2:]) == (b"x", pair.client.addresses[-1].host, (0, 1))
    server.sendto(b"y", source)
    pair.pump()
    assert client.recvfrom(10)[1] == (host, 53, 0, 1)


@pytest.mark.parametrize(
    ("family", "address", "kind"),
    [
        (socket.AF_INET, (SERVER6, 53), socket.gaierror),
        (socket.AF_INET6, (SERVER, 53), socket.gaierror),
        (socket.AF_INET, ("localhost", 53), ValueError),
        (socket.AF_INET, (SERVER, 65536), OverflowError),
        (socket.AF_INET, (SERVER, "53"), TypeError),
        (socket.AF_INET, (SERVER,), TypeError),
        (socket.AF_INET6, (SERVER6, 53, 1), ValueError),
        (socket.AF_INET6, (SERVER6, 53, 0, 9), ValueError),
        (socket.AF_INET6, (SERVER6, 53, 0, 0, 0), TypeError),
    ],
)
def test_an_address_must_be_one_of_the_family(
    pair: Pair, family: int, address: Any, kind: type[Exception]
) -> None:
    sock = unbound(pair.client, family)
    for call in (sock.bind, sock.connect, sock.connect_ex, lambda a: sock.sendto(b"", a)):
        with pytest.raises(kind):
            call(address)


# ------------------------------------------------------------------------------------------- errno


def refused(pair: Pair) -> UdpSocket:
    sock = unbound(pair.client)
    sock.connect((SERVER, 9))
    sock.send(b"x")
    pair.pump()
    return sock


ERRNO: dict[str, tuple[Callable[[Pair], object], int]] = {
    "recv where nobody listens": (lambda p: refused(p).recv(1), errno.ECONNREFUSED),
    "send where nobody listens": (lambda p: refused(p).send(b"x"), errno.ECONNREFUSED),
    "recv of nothing": (lambda p: unbound(p.client).recv(1), errno.EAGAIN),
    "recv of nothing, once": (
        lambda p: p.client.udp().recv(1, socket.MSG_DONTWAIT), errno.EAGAIN
    ),
    "send to nobody": (lambda p: unbound(p.client).send(b"x"), errno.EDESTADDRREQ),
    "send to port 0": (lambda p: unbound(p.client).sendto(b"x", (SERVER, 0)), errno.EINVAL),
    "send nowhere": (lambda p: unbound(p.client).sendto(b"x", ("1.2.3.4", 9)), errno.ENETUNREACH),
    "connect nowhere": (lambda p: unbound(p.client).connect(("1.2.3.4", 9)), errno.ENETUNREACH),
    "too long": (
        lambda p: unbound(p.client).sendto(bytes(65508), (SERVER, 9)), errno.EMSGSIZE
    ),
    "bind elsewhere": (lambda p: bound(p.client, SERVER, 9), errno.EADDRNOTAVAIL),
    "bind twice": (lambda p: bound(p.client, CLIENT, 9).bind((CLIENT, 10)), errno.EINVAL),
    "bind the same": (
        lambda p: (bound(p.client, CLIENT, 9), bound(p.client, "", 9)), errno.EADDRINUSE
    ),
    "shutdown without peer": (lambda p: unbound(p.client).shutdown(2), errno.ENOTCONN),
    "peer of none": (lambda p: unbound(p.client).getpeername(), errno.ENOTCONN),
    "unknown flag": (lambda p: unbound(p.client).sendto(b"", socket.MSG_OOB, (SERVER, 9)),
                     errno.EOPNOTSUPP),
    "ancillary data": (
        lambda p: unbound(p.client).sendmsg([b""], [(0, 1, b"\0")], 0, (SERVER, 9)), errno.EINVAL
    ),
    "no such option": (lambda p: unbound(p.client).getsockopt(socket.IPPROTO_TCP, 1),
                       errno.ENOPROTOOPT),
    "no such family": (lambda p: p.client.udp(family=socket.AF_UNIX), errno.EAFNOSUPPORT),
    "no such type": (lambda p: p.client.socket(type=socket.SOCK_RAW), errno.ESOCKTNOSUPPORT),
}  # fmt: skip


@pytest.mark.parametrize("case", ERRNO)
def test_failures_have_the_errno_of_linux(pair: Pair, case: str) -> None:
    act, number = ERRNO[case]
    with pytest.raises(OSError) as caught:
        act(pair)
    assert caught.value.errno == number, caught.value
    gc.collect()


def test_a_refusal_is_told_once(pair: Pair) -> None:
    sock = refused(pair)
    assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == errno.ECONNREFUSED
    assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0
    with pytest.raises(BlockingIOError):
        sock.recv(1)


def test_a_socket_without_peer_is_told_nothing(pair: Pair) -> None:
    sock = unbound(pair.client)
    sock.sendto(b"x", (SERVER, 9))
    pair.pump()
    with pytest.raises(BlockingIOError):
        sock.recv(1)


def test_connect_ex_tells_the_errno(pair: Pair) -> None:
    sock = unbound(pair.client)
    assert sock.connect_ex(("1.2.3.4", 9)) == errno.ENETUNREACH
    assert sock.connect_ex((SERVER, 9)) == 0


# ----------------------------------------------------------------------------------------- options


@pytest.mark.parametrize(
    ("level", "name", "default", "value"),
    [
        (socket.SOL_SOCKET, socket.SO_BROADCAST, 0, 1),
        (socket.SOL_SOCKET, socket.SO_REUSEADDR, 0, 1),
        (socket.IPPROTO_IP, socket.IP_TTL, 64, 7),
        (socket.IPPROTO_IP, socket.IP_TOS, 0, 0x20),
        (socket.IPPROTO_IP, IP_MTU_DISCOVER, 1, 2),
        (socket.IPPROTO_IP, IP_PKTINFO, 0, 1),
        (socket.IPPROTO_IPV6, socket.IPV6_UNICAST_HOPS, 64, 9),
        (socket.IPPROTO_IPV6, socket.IPV6_TCLASS, 0, 0x20),
        (socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0, 1),
        (socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 0, 1),
        (socket.IPPROTO_UDP, UDP_SEGMENT, 0, 1200),
    ],
)
def test_options_keep_what_is_set(
    pair: Pair, level: int, name: int, default: int, value: int
) -> None:
    sock = unbound(pair.client, socket.AF_INET6)
    assert sock.getsockopt(level, name) == default
    sock.setsockopt(level, name, value)
    assert sock.getsockopt(level, name) == value
    sock.setsockopt(level, name, struct.pack("i", default))
    assert sock.getsockopt(level, name, 4) == struct.pack("i", default)


def test_a_socket_tells_what_it_is(pair: Pair) -> None:
    sock = unbound(pair.client, socket.AF_INET6)
    fixed = [socket.SO_DOMAIN, socket.SO_TYPE, socket.SO_PROTOCOL]
    assert [sock.getsockopt(socket.SOL_SOCKET, name) for name in fixed] == [10, 2, 17]
    assert (sock.family, sock.type, sock.proto) == (10, 2, 17)
    assert isinstance(pair.client.socket(type=socket.SOCK_DGRAM), UdpSocket)
    assert repr(bound(pair.client, CLIENT, 9)) == f"<ustack.UdpSocket {CLIENT}:9>"
    with unbound(pair.client) as sock:
        pass
    assert repr(sock) == "<ustack.UdpSocket closed>"
    gc.collect()


def test_the_hop_limit_and_the_class_of_ours_arrive(pair: Pair) -> None:
    server = bound(pair.server, "::", 53)
    for level, name in [
        (socket.IPPROTO_IP, IP_PKTINFO), (socket.IPPROTO_IP, IP_RECVTTL),
        (socket.IPPROTO_IP, IP_RECVTOS), (socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO),
        (socket.IPPROTO_IPV6, socket.IPV6_RECVHOPLIMIT),
        (socket.IPPROTO_IPV6, socket.IPV6_RECVTCLASS),
    ]:  # fmt: skip
        server.setsockopt(level, name, 1)
    four, six = unbound(pair.client), unbound(pair.client, socket.AF_INET6)
    four.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, 7)
    four.setsockopt(socket.IPPROTO_IP, socket.IP_TOS, 0x20)
    six.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_UNICAST_HOPS, 9)
    six.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_TCLASS, 0x40)
    four.sendto(b"4", (SERVER, 53))
    pair.pump()
    six.sendto(b"6", (SERVER6, 53))
    pair.pump()
    ours4, ours6 = (socket.inet_pton(f, h) for f, h in [(2, SERVER), (10, SERVER6)])
    one = struct.pack("i", 1)
    assert server.recvmsg(9, 200)[1:3] == ([
        (socket.IPPROTO_IPV6, socket.IPV6_PKTINFO, bytes(10) + b"\xff\xff" + ours4 + one),
        (socket.IPPROTO_IP, IP_PKTINFO, one + ours4 + ours4),
        (socket.IPPROTO_IP, socket.IP_TTL, struct.pack("i", 7)),
        (socket.IPPROTO_IP, socket.IP_TOS, b"\x20"),
    ], 0)  # fmt: skip
    assert server.recvmsg(9, 200)[1:3] == ([
        (socket.IPPROTO_IPV6, socket.IPV6_PKTINFO, ours6 + one),
        (socket.IPPROTO_IPV6, socket.IPV6_HOPLIMIT, struct.pack("i", 9)),
        (socket.IPPROTO_IPV6, socket.IPV6_TCLASS, struct.pack("i", 0x40)),
    ], 0)  # fmt: skip


def test_ancillary_data_that_does_not_fit_is_said_to_be_missing(pair: Pair) -> None:
    server, client = bound(pair.server, SERVER, 53), unbound(pair.client)
    server.setsockopt(socket.IPPROTO_IP, IP_RECVTTL, 1)
    server.setsockopt(socket.IPPROTO_IP, IP_RECVTOS, 1)
    for _ in range(3):
        client.sendto(b"x", (SERVER, 53))
    pair.pump()
    ttl = (socket.IPPROTO_IP, socket.IP_TTL, struct.pack("i", 64))
    assert server.recvmsg(9, 0)[1:3] == ([], socket.MSG_CTRUNC)
    assert server.recvmsg(9, socket.CMSG_SPACE(4))[1:3] == ([ttl], socket.MSG_CTRUNC)
    assert len(server.recvmsg(9, 2 * socket.CMSG_SPACE(4))[1]) == 2


def test_a_path_that_is_too_narrow_is_an_error_if_fragments_are_forbidden(pair: Pair) -> None:
    server, sock = bound(pair.server, SERVER, 53), unbound(pair.client)
    sock.connect((SERVER, 53))
    assert sock.getsockopt(socket.IPPROTO_IP, IP_MTU) == 1500
    sock.setsockopt(socket.IPPROTO_IP, IP_MTU_DISCOVER, 2)
    with pytest.raises(OSError) as caught:
        sock.send(bytes(1473))
    assert caught.value.errno == errno.EMSGSIZE
    sock.send(bytes(1472))
    pair.pump()
    assert len(server.recv(2000)) == 1472


def test_one_send_becomes_segments(pair: Pair) -> None:
    server, sock = bound(pair.server, SERVER, 53), unbound(pair.client)
    sock.setsockopt(socket.IPPROTO_UDP, UDP_SEGMENT, 1000)
    assert sock.sendto(bytes(2500), (SERVER, 53)) == 2500
    pair.pump()
    assert [len(server.recv(3000)) for _ in range(3)] == [1000, 1000, 500]


def test_a_full_receive_buffer_drops_and_counts(pair: Pair) -> None:
    server, sock = bound(pair.server, SERVER, 53), unbound(pair.client)
    server.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
    for _ in range(50):
        sock.sendto(b"x", (SERVER, 53))
    pair.pump()
    assert pair.server.counters()["udp.drop.full"] > 0
    with pytest.raises(BlockingIOError):
        for _ in range(50):
            server.recv(1)


# ----------------------------------------------------------------------------------------- waiting


def test_poll_sees_datagrams_and_errors(pair: Pair) -> None:
    server, poll = bound(pair.server, SERVER, 53), pair.server.poll()
    poll.register(server, select.POLLIN)
    assert poll.poll(0) == []
    unbound(pair.client).sendto(b"", (SERVER, 53))
    pair.pump()
    assert poll.poll(0) == [(server, select.POLLIN)]
    sock, poll = refused(pair), pair.client.poll()
    poll.register(sock)
    assert poll.poll(0) == [(sock, select.POLLIN | select.POLLOUT | select.POLLERR)]
    gc.collect()


def test_after_close_every_call_fails(pair: Pair) -> None:
    sock = unbound(pair.client)
    sock.close()
    sock.close()
    for call in (lambda: sock.recv(1), lambda: sock.send(b""), sock.getsockname):
        with pytest.raises(OSError) as caught:
            call()
        assert caught.value.errno == errno.EBADF


def test_a_forgotten_socket_warns_and_is_closed(pair: Pair) -> None:
    used = pair.client.usage()["udp_socks"]
    sock = pair.client.udp()
    assert pair.client.usage()["udp_socks"] == used + 1
    with pytest.warns(ResourceWarning, match=r"unclosed <ustack\.UdpSocket"):
        del sock
        gc.collect()
    assert pair.client.usage()["udp_socks"] == used


def test_sockets_are_bounded() -> None:
    with Pair(settings=SMALL | {"udp.max_socks": 2}) as pair:
        socks = [pair.client.udp(), pair.client.udp()]
        with pytest.raises(OSError) as caught:
            pair.client.udp()
        assert caught.value.errno == errno.ENOBUFS
        for sock in socks:
            sock.close()
        pair.client.udp().close()
