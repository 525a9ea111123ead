# SPDX-License-Identifier: BSD-3-Clause
"""What UDP sockets do with data: datagrams, waiting, sizes, segments; see udp_hosts.py."""

from __future__ import annotations

import socket
from typing import Any

from udp_hosts import (
    DO,
    DONT,
    IP_MTU,
    IP_MTU_DISCOVER,
    IPV6_MTU,
    IPV6_MTU_DISCOVER,
    PROBE,
    UDP_SEGMENT,
    WANT,
    Hosts,
    behaviour,
    now,
    outcome,
    settle,
)

# ------------------------------------------------------------------------- data


@behaviour()
def a_datagram_arrives_with_its_sender(h: Hosts) -> Any:
    a, b = h.a(), h.server()
    a.bind((h.near, 6000))
    return a.sendto(b"hello", (h.far, 7000)), b.recvfrom(100)


@behaviour()
def an_answer_goes_to_the_sender_address(h: Hosts) -> Any:
    a, b = h.a(), h.server()
    a.sendto(b"hello", (h.far, 7000))
    b.sendto(b"answer", b.recvfrom(100)[1])
    return a.recvfrom(100)


@behaviour()
def an_empty_datagram_arrives(h: Hosts) -> Any:
    a, b = h.pair()
    return a.send(b""), b.recvfrom(100), now(b)


@behaviour()
def datagrams_stay_apart_and_in_order(h: Hosts) -> Any:
    a, b = h.pair()
    for number in range(100):
        a.send(b"x" * number)
    return [len(b.recv(1000)) for _ in range(100)]


@behaviour()
def what_does_not_fit_is_lost(h: Hosts) -> Any:
    a, b = h.pair()
    a.send(b"0123456789")
    a.send(b"next")
    return b.recv(3), b.recv(100)


@behaviour()
def recv_of_nothing_takes_a_datagram(h: Hosts) -> Any:
    a, b = h.pair()
    a.send(b"0123456789")
    a.send(b"next")
    return b.recvmsg(0)[::2], b.recv(100)


@behaviour()
def recv_into_tells_what_was_copied(h: Hosts) -> Any:
    a, b = h.pair()
    a.send(b"0123456789")
    a.send(b"0123456789")
    buffer = bytearray(20)
    return b.recv_into(buffer), b.recv_into(buffer, 4), bytes(buffer)


@behaviour()
def recvfrom_into_names_the_sender(h: Hosts) -> Any:
    a, b = h.pair()
    a.send(b"0123456789")
    buffer = bytearray(4)
    return b.recvfrom_into(buffer), bytes(buffer)


@behaviour()
def recvmsg_says_that_bytes_were_lost(h: Hosts) -> Any:
    a, b = h.pair()
    a.send(b"0123456789")
    a.send(b"0123456789")
    return b.recvmsg(4), b.recvmsg(10)


@behaviour()
def recvmsg_into_fills_buffers_in_turn(h: Hosts) -> Any:
    a, b = h.pair()
    a.send(b"0123456789")
    buffers = [bytearray(4), bytearray(4)]
    return b.recvmsg_into(buffers), [bytes(buffer) for buffer in buffers]


@behaviour()
def msg_trunc_tells_the_whole_length(h: Hosts) -> Any:
    a, b = h.pair()
    a.send(b"0123456789")
    buffer = bytearray(4)
    return b.recv_into(buffer, 4, socket.MSG_TRUNC), bytes(buffer), now(b)


@behaviour()
def peek_and_trunc_measure_without_taking(h: Hosts) -> Any:
    a, b = h.pair()
    a.send(b"0123456789")
    buffer = bytearray(1)
    return b.recv_into(buffer, 1, socket.MSG_PEEK | socket.MSG_TRUNC), b.recv(100)


@behaviour()
def peek_leaves_the_datagram(h: Hosts) -> Any:
    a, b = h.pair()
    a.send(b"first")
    a.send(b"second")
    peeked = b.recv(100, socket.MSG_PEEK), b.recv(2, socket.MSG_PEEK)
    return peeked, b.recv(100), b.recv(100)


@behaviour()
def sendmsg_joins_its_buffers(h: Hosts) -> Any:
    a, b = h.a(), h.server()
    return a.sendmsg([b"one", b"", b"two"], [], 0, (h.far, 7000)), b.recv(100), now(b)


@behaviour()
def sendmsg_without_an_address_goes_to_the_peer(h: Hosts) -> Any:
    a, b = h.pair()
    return a.sendmsg([b"one", b"two"]), b.recv(100)


@behaviour()
def msg_more_joins_sends_to_one_datagram(h: Hosts) -> Any:
    a, b = h.pair()
    return a.send(b"one", socket.MSG_MORE), a.send(b"two"), b.recv(100)


@behaviour(4)  # over IPv6 Linux forgets to look
def out_of_band_data_cannot_be_sent(h: Hosts) -> Any:
    a, _ = h.pair()
    return outcome(a.send, b"x", socket.MSG_OOB)


# ------------------------------------------------------------------------- waiting


@behaviour()
def dontwait_finds_nothing(h: Hosts) -> Any:
    said = []
    for sock in (h.server(), h.a()):
        sock.settimeout(None)
        said.append(outcome(sock.recv, 1, socket.MSG_DONTWAIT))
    return said, now(h.a())


@behaviour()
def a_socket_that_does_not_block_finds_nothing(h: Hosts) -> Any:
    sock = h.server()
    sock.setblocking(False)
    return outcome(sock.recv, 1), outcome(sock.recvfrom, 1)


@behaviour()
def a_timeout_ends_the_wait(h: Hosts) -> Any:
    sock = h.server()
    sock.settimeout(0.01)
    return outcome(sock.recv, 1), outcome(sock.recvfrom, 1)


# ------------------------------------------------------------------------- sizes


@behaviour()
def the_longest_datagram_passes(h: Hosts) -> Any:
    a, b = h.pair()
    longest = 65507 if h.version == 4 else 65527
    b.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 400_000)
    return a.send(b"x" * longest), b.recv(70_000) == b"x" * longest


@behaviour()
def one_byte_more_does_not(h: Hosts) -> Any:
    a, b = h.pair()
    longest = 65507 if h.version == 4 else 65527
    return outcome(a.send, b"x" * (longest + 1)), outcome(a.send, b"x" * 100_000), now(b)


@behaviour()
def large_datagrams_pass_in_fragments(h: Hosts) -> Any:
    a, b = h.pair()
    for size in (1472, 1473, 3000, 20_000):
        a.send(bytes([size & 255]) * size)
    settle()
    return [(len(data := b.recv(65535)), data[:1]) for _ in range(4)]


@behaviour()
def with_do_a_datagram_larger_than_the_path_is_refused(h: Hosts) -> Any:
    a, b = h.pair()
    a.setsockopt(*discover(h, DO))
    most = 1500 - (28 if h.version == 4 else 48)
    return a.send(b"x" * most), outcome(a.send, b"x" * (most + 1)), len(b.recv(2000)), now(b)


@behaviour()
def with_probe_one_larger_than_the_link_is_refused(h: Hosts) -> Any:
    a, _ = h.pair()
    a.setsockopt(*discover(h, PROBE))
    return outcome(a.send, b"x" * 2000), outcome(a.send, b"x" * 100)


@behaviour()
def with_dont_it_is_fragmented(h: Hosts) -> Any:
    a, b = h.pair()
    a.setsockopt(*discover(h, DONT))
    return a.send(b"x" * 2000), len(b.recv(65535))


def discover(h: Hosts, value: int) -> tuple[int, int, int]:
    if h.version == 4:
        return socket.IPPROTO_IP, IP_MTU_DISCOVER, value
    return socket.IPPROTO_IPV6, IPV6_MTU_DISCOVER, value


@behaviour()
def path_mtu_discovery_has_four_ways(h: Hosts) -> Any:
    a = h.a()
    level, name, _ = discover(h, 0)
    first = a.getsockopt(level, name)
    said = []
    for value in (DONT, WANT, DO, PROBE, -1, 17):
        said.append(outcome(a.setsockopt, level, name, value))
        said.append(a.getsockopt(level, name))
    return first, said


@behaviour()
def the_mtu_is_known_of_a_peer_only(h: Hosts) -> Any:
    a, b = h.a(), h.pair()[0]
    level, name = (socket.IPPROTO_IP, IP_MTU) if h.version == 4 else (socket.IPPROTO_IPV6, IPV6_MTU)
    return outcome(a.getsockopt, level, name), outcome(b.getsockopt, level, name)


# ------------------------------------------------------------------------- segments


@behaviour()
def segments_arrive_as_datagrams(h: Hosts) -> Any:
    a, b = h.pair()
    a.setsockopt(socket.IPPROTO_UDP, UDP_SEGMENT, 100)
    return a.send(b"x" * 250), [len(b.recv(1000)) for _ in range(3)], now(b)


@behaviour()
def what_fits_a_segment_is_sent_whole(h: Hosts) -> Any:
    a, b = h.pair()
    a.setsockopt(socket.IPPROTO_UDP, UDP_SEGMENT, 100)
    return a.send(b"x" * 100), a.send(b"x"), a.send(b""), [len(b.recv(1000)) for _ in range(3)]


@behaviour()
def a_segment_size_is_0_to_65535(h: Hosts) -> Any:
    a = h.a()
    said = [a.getsockopt(socket.IPPROTO_UDP, UDP_SEGMENT)]
    for value in (-1, 65536, 65535, 1400, 0):
        said.append(outcome(a.setsockopt, socket.IPPROTO_UDP, UDP_SEGMENT, value))
        said.append(a.getsockopt(socket.IPPROTO_UDP, UDP_SEGMENT))
    return said


@behaviour()
def there_are_at_most_128_segments(h: Hosts) -> Any:
    a, b = h.pair()
    a.setsockopt(socket.IPPROTO_UDP, UDP_SEGMENT, 10)
    return outcome(a.send, b"x" * 1280), len(b.recv(100)), outcome(a.send, b"x" * 1281)


@behaviour()
def a_segment_that_needs_fragments_is_refused(h: Hosts) -> Any:
    a, b = h.pair()
    a.setsockopt(socket.IPPROTO_UDP, UDP_SEGMENT, 2000)
    return outcome(a.send, b"x" * 4000) in ("EINVAL", "EMSGSIZE"), now(b)
