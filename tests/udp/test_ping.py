# SPDX-License-Identifier: BSD-3-Clause
"""Ping sockets on virtual time: ICMP echo as datagrams (RFC 792, RFC 4443 4), as Linux has them."""

from __future__ import annotations

import errno
import struct

import pytest

import frames
from frames import PROTO_ICMP, PROTO_ICMP6, PROTO_UDP
from lan import HOST_MAC, OUR_MAC, Lan, icmp_bytes
from rig import lib, text

pytestmark = pytest.mark.both_versions


@pytest.fixture
def host(lan: Lan) -> Lan:
    """An engine that knows the host for ever."""
    lan.engine.neighbour(lan.them, HOST_MAC)
    return lan


def pinger(lan: Lan, ident: int | None = None, *, six: bool | None = None) -> int:
    """A ping socket of the version in use, bound when it is given an identifier."""
    sock = lan.engine.udp()
    if lan.version == 6 if six is None else six:
        lan.engine.setopt(sock, lib.UST_OPT_INET6, 1)
    lan.engine.setopt(sock, lib.UST_OPT_PING, 1)
    if ident is not None:
        lan.engine.bind(sock, lan.us, ident)
    return sock


def request(lan: Lan, payload: bytes = b"", number: int = 1, **head: int) -> bytes:
    """What an application sends: neither identifier nor checksum is its business."""
    kind = head.get("kind", 8 if lan.version == 4 else 128)
    return struct.pack("!BBHHH", kind, head.get("code", 0), 0xDEAD, 0xBEEF, number) + payload


def reply(
    lan: Lan, ident: int, payload: bytes = b"", number: int = 1, **fields: str
) -> list[bytes]:
    """The host answers."""
    rest = struct.pack("!HH", ident, number)
    return lan.icmp_message(0 if lan.version == 4 else 129, 0, rest, payload, **fields)


def other(lan: Lan) -> str:
    return "10.0.0.9" if lan.version == 4 else "fd00::9"


def empty(lan: Lan, sock: int) -> bool:
    try:
        lan.engine.recvfrom(sock)
    except BlockingIOError:
        return True
    return False


def fails(code: int, call: object, *args: object) -> None:
    with pytest.raises(OSError) as told:
        call(*args)  # type: ignore[operator]
    assert told.value.errno == code


# ------------------------------------------------------------------ requests


@pytest.mark.parametrize("length", [0, 1, 56, 1452])
def test_a_request_leaves_with_our_identifier_and_a_checksum(host: Lan, length: int) -> None:
    sock = pinger(host, 77)
    payload = bytes(i % 251 for i in range(length))
    assert host.engine.sendto(sock, request(host, payload, 5), host.them, 9) == 8 + length
    (frame,) = host.engine.output()
    body = icmp_bytes(frame)
    assert body[:2] == bytes([8 if host.version == 4 else 128, 0])
    assert body[4:] == struct.pack("!HH", 77, 5) + payload
    assert host.stats["icmp.out.request"] == 1 and host.stats["udp.out"] == host.held() == 0


def test_only_echo_requests_may_be_sent(host: Lan) -> None:
    sock = pinger(host, 77)
    ours, theirs = (8, 128) if host.version == 4 else (128, 8)
    for kind, code in ((0, 0), (129, 0), (theirs, 0), (3, 1), (ours, 1), (13, 0)):
        message = request(host, kind=kind, code=code)
        fails(errno.EINVAL, host.engine.sendto, sock, message, host.them)
    for length in range(8):
        fails(errno.EINVAL, host.engine.sendto, sock, request(host)[:length], host.them)
    assert list(host.engine.output()) == []
    assert host.stats.changed() == {}


def test_the_other_version_is_not_its_own(host: Lan) -> None:
    sock = pinger(host)
    theirs, ours = ("fd00::1", "::") if host.version == 4 else ("10.0.0.1", "0.0.0.0")
    fails(errno.EINVAL, host.engine.bind, sock, ours)
    fails(errno.EINVAL, host.engine.associate, sock, theirs, 0)
    fails(errno.EINVAL, host.engine.sendto, sock, request(host), theirs)


def test_what_no_packet_holds_is_too_long(host: Lan) -> None:
    sock = pinger(host)
    most = 65535 - (20 if host.version == 4 else 0)
    fails(errno.EMSGSIZE, host.engine.sendto, sock, request(host, bytes(most - 7)), host.them)
    assert host.engine.sendto(sock, request(host, bytes(most - 8)), host.them) == most


def test_a_socket_without_a_name_takes_a_free_identifier(host: Lan) -> None:
    first, second = pinger(host), pinger(host)
    for sock in (first, second):
        host.engine.sendto(sock, request(host), host.them)
    idents = [struct.unpack_from("!H", icmp_bytes(f), 4)[0] for f in host.engine.output()]
    assert len(set(idents)) == 2 and 0 not in idents
    assert [host.engine.names(sock)[0] for sock in (first, second)] == idents


def test_the_ttl_and_the_traffic_class_are_the_sockets(host: Lan) -> None:
    sock = pinger(host, 77)
    host.engine.setopt(sock, lib.UST_OPT_TTL, 3)
    host.engine.setopt(sock, lib.UST_OPT_TOS, 0xB8)
    host.engine.sendto(sock, request(host), host.them)
    (frame,) = host.engine.output()
    ip = frame[14:]
    if host.version == 4:
        assert (ip[1], ip[8]) == (0xB8, 3)
    else:
        assert (struct.unpack_from("!H", ip)[0] >> 4 & 0xFF, ip[7]) == (0xB8, 3)


def test_pinging_everybody_takes_leave(lan: Lan) -> None:
    sock = pinger(lan, 77)
    everybody = "10.0.0.255" if lan.version == 4 else "ff02::1"
    if lan.version == 4:  # IPv6's groups take none
        fails(errno.EACCES, lan.engine.sendto, sock, request(lan), everybody)
        fails(errno.EACCES, lan.engine.associate, sock, everybody, 0)
    lan.engine.setopt(sock, lib.UST_OPT_BROADCAST, 1)
    lan.engine.sendto(sock, request(lan), everybody)
    assert len(list(lan.engine.output())) == 1


# ------------------------------------------------------------------ replies


@pytest.mark.parametrize("length", [0, 1, 56, 1452])
def test_a_reply_arrives_whole_with_its_header(host: Lan, length: int) -> None:
    sock = pinger(host, 77)
    payload = bytes(i % 251 for i in range(length))
    assert reply(host, 77, payload, 5, ttl=9, tos=4) == []  # type: ignore[arg-type]
    got, info = host.engine.recvmsg(sock)
    assert got[:2] == bytes([0 if host.version == 4 else 129, 0])
    assert got[4:] == struct.pack("!HH", 77, 5) + payload
    assert (text(info.src), text(info.dst), info.port) == (host.them, host.us, 0)
    assert (info.ttl, info.tos, info.len) == (9, 4, 8 + length)
    assert host.stats["icmp.in.reply"] == 1 and host.moved() == {} and host.held() == 0


def test_what_lies_behind_the_packet_is_no_part_of_it(host: Lan) -> None:
    """Ethernet pads short frames."""
    sock = pinger(host, 77)
    ends, rest = (frames.packed(host.them), frames.packed(host.us)), struct.pack("!HH", 77, 1)
    if host.version == 4:
        body = frames.icmp(0, 0, rest, b"abc")
    else:
        body = frames.icmp6(*ends, 129, 0, rest, b"abc")
    packet = frames.ip(*ends, host.icmp, body) + b"padding"
    assert host.send(frames.ip_frame(OUR_MAC, HOST_MAC, packet)) == []
    assert host.engine.recvfrom(sock)[0][8:] == b"abc"


def test_what_does_not_fit_the_buffer_is_lost(host: Lan) -> None:
    sock = pinger(host, 77)
    reply(host, 77, b"abcdef")
    reply(host, 77, b"next")
    assert host.engine.recvmsg(sock, 10, lib.UST_MSG_PEEK)[0][8:] == b"ab"
    data, info = host.engine.recvmsg(sock, 9)
    assert (data[8:], info.len) == (b"a", 14)
    assert host.engine.recv(sock)[8:] == b"next"


def test_two_sockets_do_not_take_each_others_replies(host: Lan) -> None:
    first, second = pinger(host, 77), pinger(host, 78)
    reply(host, 78, b"for the second")
    assert empty(host, first)
    assert host.engine.recvfrom(second)[0][8:] == b"for the second"
    reply(host, 77, b"for the first")
    assert empty(host, second) and not empty(host, first)


def test_a_reply_that_nobody_waits_for_is_counted(host: Lan) -> None:
    sock = pinger(host, 77)
    assert reply(host, 76) == reply(host, 0) == []
    assert host.moved() == {"icmp.drop.reply": 2}
    assert empty(host, sock)
    host.engine.close(sock)
    assert reply(host, 77) == []
    assert host.moved() == {"icmp.drop.reply": 3} and host.held() == 0


def test_a_connected_socket_hears_its_peer_alone(host: Lan) -> None:
    sock = pinger(host, 77)
    host.engine.associate(sock, host.them, 5)
    assert reply(host, 77, src=other(host)) == []
    assert host.moved() == {"icmp.drop.reply": 1} and empty(host, sock)
    reply(host, 77)
    assert host.engine.send(sock, request(host)) == 8
    assert not empty(host, sock)
    host.engine.associate(sock, host.engine.any if host.version == 4 else "::", 0)
    reply(host, 77, src=other(host))
    assert host.engine.recvfrom(sock)[1] == other(host)


def test_a_reply_to_a_group_is_nobodys(host: Lan) -> None:
    pinger(host, 77)
    dst = "10.0.0.255" if host.version == 4 else "ff02::1"
    assert reply(host, 77, dst=dst) == []
    assert host.moved() == {"icmp.drop.group": 1}


def test_a_request_of_theirs_is_answered_and_not_delivered(host: Lan) -> None:
    sock = pinger(host, 1)
    assert len(host.echo()) == 1
    assert empty(host, sock)


def test_a_wrong_checksum_is_dropped(host: Lan) -> None:
    sock = pinger(host, 77)
    body = bytes([0 if host.version == 4 else 129, 0, 1, 2, 0, 77, 0, 1])
    assert host.ip(host.icmp, body) == []
    assert host.moved() == {"icmp.drop.checksum": 1} and empty(host, sock)


def test_a_full_receive_buffer_drops_and_counts(host: Lan) -> None:
    host.engine.set("udp.rmem", 8192)
    sock = pinger(host, 77)
    for i in range(100):
        assert reply(host, 77, number=i) == []
    drops = host.stats["icmp.drop.full"]
    kept = []
    while not empty(host, sock):
        kept.append(1)
    assert drops > 0 and len(kept) + drops == 100 == host.stats["icmp.in.reply"] + drops
    assert host.moved() == {"icmp.drop.full": drops}
    reply(host, 77, b"room again")
    assert host.engine.recv(sock)[8:] == b"room again"
    host.engine.check()


def test_the_last_mbufs_are_not_for_replies(lan: Lan) -> None:
    lan.engine.set("mbuf.reserve", 2040)
    sock = pinger(lan, 77)
    for _ in range(20):
        reply(lan, 77)
    assert lan.moved().keys() == {"icmp.drop.nombuf"}
    lan.engine.close(sock)
    assert lan.held() == 0


# ------------------------------------------------------------------ identifiers


def test_an_identifier_has_one_owner(host: Lan) -> None:
    sock, rival = pinger(host, 77), pinger(host)
    fails(errno.EADDRINUSE, host.engine.bind, rival, host.us, 77)
    fails(errno.EADDRINUSE, host.engine.bind, rival, host.engine.any, 77)
    fails(errno.EADDRNOTAVAIL, host.engine.bind, rival, other(host), 78)
    host.engine.close(sock)
    host.engine.bind(rival, host.us, 77)
    fails(errno.EINVAL, host.engine.bind, rival, host.us, 78)


def test_identifiers_are_not_udps_ports(host: Lan) -> None:
    """The same number for both; each takes its own."""
    ping, udp = pinger(host, 77), host.engine.udp(host.us, 77)
    reply(host, 77, b"echo")
    host.udp(0, 77, b"datagram from port 0")
    host.udp(4000, 77, b"datagram")
    assert host.engine.recvfrom(ping)[0][8:] == b"echo" and empty(host, ping)
    assert host.engine.recvfrom(udp)[0] == b"datagram from port 0"
    assert host.engine.recvfrom(udp)[0] == b"datagram" and empty(host, udp)
    host.engine.close(udp)
    (answer,) = host.udp(4000, 77, b"nobody")
    assert icmp_bytes(answer)[0] == (3 if host.version == 4 else 1)


def test_identifiers_of_the_two_versions_are_apart(host: Lan) -> None:
    four, six = pinger(host, six=False), pinger(host, six=True)
    host.engine.bind(four, "0.0.0.0", 77)
    host.engine.bind(six, "::", 77)
    reply(host, 77)
    mine, foreign = (four, six) if host.version == 4 else (six, four)
    assert empty(host, foreign) and not empty(host, mine)


def test_a_socket_becomes_one_for_echo_before_it_is_bound_or_never(host: Lan) -> None:
    bound = host.engine.udp(host.us, 9)
    fails(errno.EINVAL, host.engine.setopt, bound, lib.UST_OPT_PING, 1)
    sock = pinger(host)
    assert host.engine.getopt(sock, lib.UST_OPT_PING) == 1
    assert host.engine.getopt(bound, lib.UST_OPT_PING) == 0
    fails(errno.EINVAL, host.engine.setopt, sock, lib.UST_OPT_PING, 0)
    fails(errno.EINVAL, host.engine.setopt, sock, lib.UST_OPT_INET6, 1)
    fails(errno.ENOPROTOOPT, host.engine.setopt, sock, lib.UST_OPT_GSO_SIZE, 100)
    if host.version == 6:
        fails(errno.EINVAL, host.engine.setopt, sock, lib.UST_OPT_V6ONLY, 0)
    tcp = host.engine.socket()
    fails(errno.ENOPROTOOPT, host.engine.setopt, tcp, lib.UST_OPT_PING, 1)


# ------------------------------------------------------------------ errors


def error(lan: Lan, code: str, ident: int, *, proto: int | None = None, **about: str) -> None:
    """An ICMP error about an echo request of ours."""
    kind, number = {
        "protocol": ((3, 2), (4, 1)),
        "host": ((3, 1), (1, 3)),
        "admin": ((3, 10), (1, 1)),
        "time": ((11, 0), (3, 0)),
    }[code][lan.version == 6]
    head = struct.pack("!BBHHH", 8 if lan.version == 4 else 128, 0, 0, ident, 1)
    if "reply" in about:
        head = bytes([0 if lan.version == 4 else 129]) + head[1:]
    lan.quote(proto or lan.icmp, head, kind, number, dst=about.get("dst"))


@pytest.mark.parametrize(
    ("code", "four", "six"),
    [
        ("protocol", errno.ENOPROTOOPT, errno.EPROTO),
        ("admin", errno.EHOSTUNREACH, errno.EACCES),
        ("host", 0, 0),
        ("time", 0, 0),
    ],
)
def test_a_connected_socket_hears_hard_errors(host: Lan, code: str, four: int, six: int) -> None:
    """Once, by its next call."""
    sock = pinger(host, 77)
    host.engine.associate(sock, host.them, 0)
    error(host, code, 77)
    assert host.engine.getopt(sock, lib.UST_OPT_ERROR) == (four if host.version == 4 else six)
    assert host.engine.getopt(sock, lib.UST_OPT_ERROR) == 0
    assert host.stats["icmp.in.error"] == 1 and host.moved() == {}


def test_an_unconnected_socket_hears_no_errors(host: Lan) -> None:
    sock = pinger(host, 77)
    error(host, "protocol", 77)
    assert host.engine.getopt(sock, lib.UST_OPT_ERROR) == 0
    assert host.stats["icmp.in.error"] == 1


def test_an_error_about_what_we_did_not_send_is_not_believed(host: Lan) -> None:
    """Another identifier, another peer, a reply, a protocol of the other version, UDP."""
    sock = pinger(host, 77)
    host.engine.associate(sock, host.them, 0)
    error(host, "protocol", 78)
    error(host, "protocol", 77, dst=other(host))
    error(host, "protocol", 77, reply="")
    error(host, "protocol", 77, proto=PROTO_ICMP6 if host.version == 4 else PROTO_ICMP)
    error(host, "protocol", 77, proto=PROTO_UDP)
    assert host.engine.getopt(sock, lib.UST_OPT_ERROR) == 0
    assert host.moved() == {"icmp.drop.quote": 5}


def test_a_path_that_is_too_narrow_is_remembered(host: Lan) -> None:
    """RFC 1191, RFC 8201; and told, since we set DF."""
    sock = pinger(host, 77)
    host.engine.associate(sock, host.them, 0)
    head = request(host)[:4] + struct.pack("!HH", 77, 1)
    if host.version == 4:
        host.quote(host.icmp, head, 3, 4, struct.pack("!HH", 0, 1300))
    else:
        host.quote(host.icmp, head, 2, 0, struct.pack("!I", 1300))
    fails(errno.EMSGSIZE, host.engine.send, sock, request(host))
    assert host.engine.getopt(sock, lib.UST_OPT_MTU) == 1300
    assert host.engine.send(sock, request(host, bytes(1300))) == 1308
    assert len(list(host.engine.output())) == 2
    host.engine.setopt(sock, lib.UST_OPT_MTU_DISCOVER, 2)
    fails(errno.EMSGSIZE, host.engine.send, sock, request(host, bytes(1300)))


def test_a_neighbour_that_is_not_there_is_told(lan: Lan) -> None:
    sock = pinger(lan)
    lan.engine.associate(sock, lan.them, 0)
    lan.engine.send(sock, request(lan))
    lan.wait(5)
    fails(errno.EHOSTUNREACH, lan.engine.recv, sock)
    assert lan.moved() == {"neigh.drop.failed": 1} and lan.held() == 0


# ------------------------------------------------------------------ fragments


@pytest.mark.parametrize("length", [1473, 20_000])
def test_a_long_request_comes_back_through_fragments(host: Lan, length: int) -> None:
    """What we cut goes back to us, its type changed, and is put together again."""
    sock = pinger(host, 77)
    payload = bytes(i % 251 for i in range(length))
    host.engine.sendto(sock, request(host, payload, 5), host.them)
    out = list(host.engine.output())
    assert len(out) == (length + 8 + 1479) // 1480 if host.version == 4 else len(out) > 1
    assert all(len(frame) <= 14 + 1500 for frame in out)
    message = b"".join(frame[14 + 20 :] if host.version == 4 else frame[14 + 48 :] for frame in out)
    assert len(message) == 8 + length
    rest = message[4:8]
    if host.version == 4:
        assert frames.checksum(message) == 0
        body = frames.icmp(0, 0, rest, message[8:])
    else:
        ends = frames.packed(host.them), frames.packed(host.us)
        assert frames.checksum(frames.pseudo(*ends, host.icmp, len(message)) + message) == 0
        body = frames.icmp6(*ends, 129, 0, rest, message[8:])
    for at in range(0, len(body), 1448):
        more = at + 1448 < len(body)
        if host.version == 4:
            host.ip(host.icmp, body[at : at + 1448], ident=9, frag=0x2000 * more | at // 8)
        else:
            head = struct.pack("!BBHI", host.icmp, 0, at | more, 9)
            host.ip(44, head + body[at : at + 1448])
    got = host.engine.recvfrom(sock)[0]
    assert got[4:] == struct.pack("!HH", 77, 5) + payload
    assert host.held() == 0 and host.moved() == {}
