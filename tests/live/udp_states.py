# SPDX-License-Identifier: BSD-3-Clause
"""What UDP sockets tell and remember: errors, shutdown, options; see udp_hosts.py."""

from __future__ import annotations

import socket
from typing import Any

from udp_hosts import (
    ISLAND,
    Hosts,
    behaviour,
    now,
    outcome,
    settle,
)

# ------------------------------------------------------------------------- errors


@behaviour()
def a_refusal_is_told_by_recv_once(h: Hosts) -> Any:
    a = h.refused()
    return now(a), now(a)


@behaviour()
def a_refusal_wakes_who_waits(h: Hosts) -> Any:
    a = h.a()
    a.connect((h.far, 7999))
    a.send(b"x")
    return outcome(a.recv, 1)


@behaviour()
def a_refusal_is_told_by_send_once(h: Hosts) -> Any:
    a = h.refused()
    return outcome(a.send, b"x"), now(a)


@behaviour()
def a_refusal_is_told_by_sendto_elsewhere_too(h: Hosts) -> Any:
    a = h.refused()
    other = h.server()
    return outcome(a.sendto, b"x", (h.far, 7000)), now(other)


@behaviour()
def a_refusal_is_told_by_so_error_once(h: Hosts) -> Any:
    a = h.refused()
    said = [a.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) for _ in range(2)]
    return said, now(a)


@behaviour()
def a_refusal_is_told_before_what_has_arrived(h: Hosts) -> Any:
    a, b = h.pair()
    b.send(b"last words")
    settle()
    b.close()
    a.send(b"x")
    settle()
    return now(a), now(a), now(a)


@behaviour()
def connecting_again_does_not_forget_a_refusal(h: Hosts) -> Any:
    a = h.refused()
    h.server()
    return outcome(a.connect, (h.far, 7000)), now(a)


@behaviour()
def a_refusal_leaves_the_socket_usable(h: Hosts) -> Any:
    a = h.refused()
    now(a)
    b = h.server(7999)
    return a.send(b"x"), b.recv(100)


@behaviour()
def without_a_peer_a_refusal_is_not_told(h: Hosts) -> Any:
    a = h.a()
    a.sendto(b"x", (h.far, 7999))
    settle()
    return now(a), a.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)


@behaviour()
def without_a_route_nothing_can_be_sent(h: Hosts) -> Any:
    a = h.a()
    island = (ISLAND[h.version], 7000)
    return outcome(a.sendto, b"x", island), outcome(a.connect, island), outcome(a.getpeername)


@behaviour()
def to_a_host_that_is_not_there_sending_works(h: Hosts) -> Any:
    a = h.a()
    return a.sendto(b"x", (h.nobody, 7000)), now(a)


@behaviour()
def a_closed_socket_is_no_socket(h: Hosts) -> Any:
    a = h.a()
    a.close()
    calls = (
        (a.send, b"x"), (a.recv, 1), (a.sendto, b"x", (h.far, 7000)), (a.bind, (h.near, 6000)),
        (a.connect, (h.far, 7000)), (a.getsockname,), (a.shutdown, socket.SHUT_RD), (a.close,),
    )  # fmt: skip
    return [outcome(*call) for call in calls]


# ------------------------------------------------------------------------- shutdown


@behaviour()
def shutdown_needs_a_peer(h: Hosts) -> Any:
    a, b = h.a(), h.server()
    said = [outcome(a.shutdown, how) for how in range(3)]
    return said, outcome(b.shutdown, socket.SHUT_RD)


@behaviour()
def after_shutdown_of_writing_send_fails(h: Hosts) -> Any:
    a, b = h.pair()
    a.shutdown(socket.SHUT_WR)
    b.send(b"still heard")
    return outcome(a.send, b"x"), outcome(a.sendto, b"x", (h.far, 7000)), a.recv(100)


@behaviour()
def after_shutdown_of_reading_recv_ends(h: Hosts) -> Any:
    a, b = h.pair()
    a.shutdown(socket.SHUT_RD)
    a.settimeout(None)
    return a.recv(100), a.recv(100), a.send(b"x"), b.recv(100)


@behaviour()
def after_shutdown_of_reading_a_socket_that_does_not_block_finds_nothing(h: Hosts) -> Any:
    a, _ = h.pair()
    a.shutdown(socket.SHUT_RD)
    return now(a)


@behaviour()
def what_comes_after_shutdown_is_received_all_the_same(h: Hosts) -> Any:
    a, b = h.pair()
    a.shutdown(socket.SHUT_RD)
    b.send(b"late")
    settle()
    return now(a)


@behaviour()
def what_came_before_shutdown_is_still_received(h: Hosts) -> Any:
    a, b = h.pair()
    b.send(b"early")
    settle()
    a.shutdown(socket.SHUT_RD)
    return now(a)


@behaviour()
def shutdown_has_three_ways(h: Hosts) -> Any:
    a, _ = h.pair()
    return [outcome(a.shutdown, how) for how in (-1, 3, 2, 2)]


# ------------------------------------------------------------------------- options


@behaviour()
def the_kind_is_told(h: Hosts) -> Any:
    a = h.a()
    names = (socket.SO_TYPE, socket.SO_DOMAIN, socket.SO_PROTOCOL, socket.SO_ACCEPTCONN)
    said = [a.getsockopt(socket.SOL_SOCKET, name) for name in names]
    return said, a.family, a.type, a.proto


@behaviour()
def booleans_are_0_or_1(h: Hosts) -> Any:
    a, said = h.a(), []
    for name in (socket.SO_REUSEADDR, socket.SO_BROADCAST):
        said.append(a.getsockopt(socket.SOL_SOCKET, name))
        for value in (5, 0, -1):
            a.setsockopt(socket.SOL_SOCKET, name, value)
            said.append(a.getsockopt(socket.SOL_SOCKET, name))
    return said


@behaviour()
def the_traffic_class_is_a_byte(h: Hosts) -> Any:
    a, said = h.a(), []
    option = (
        (socket.IPPROTO_IP, socket.IP_TOS)
        if h.version == 4
        else (socket.IPPROTO_IPV6, socket.IPV6_TCLASS)
    )
    for value in (0x20, 0xB8, 0):
        said.append(outcome(a.setsockopt, *option, value))
        said.append(a.getsockopt(*option))
    return said


@behaviour()
def the_time_to_live_is_1_to_255(h: Hosts) -> Any:
    a = h.a()
    option = (
        (socket.IPPROTO_IP, socket.IP_TTL)
        if h.version == 4
        else (socket.IPPROTO_IPV6, socket.IPV6_UNICAST_HOPS)
    )
    said = [a.getsockopt(*option)]
    for value in (1, 255, 256, -2, -1):
        said.append(outcome(a.setsockopt, *option, value))
        said.append(a.getsockopt(*option))
    return said


@behaviour()
def options_of_tcp_are_not_there(h: Hosts) -> Any:
    a = h.a()
    return (
        outcome(a.setsockopt, socket.IPPROTO_TCP, socket.TCP_NODELAY, 1),
        outcome(a.getsockopt, socket.SOL_SOCKET, 12345),
        outcome(a.setsockopt, socket.SOL_SOCKET, socket.SO_ERROR, 1),
        outcome(a.setsockopt, socket.SOL_SOCKET, socket.SO_TYPE, 1),
    )


@behaviour()
def the_receive_buffer_is_bounded(h: Hosts) -> Any:
    """What comes later is lost, what has come stays."""
    a, b = h.pair()
    b.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 10_000)
    for number in range(200):
        a.send(number.to_bytes(2, "big") * 500)
    settle()
    got = []
    while isinstance(data := now(b), bytes):
        got.append(int.from_bytes(data[:2], "big"))
    a.send(b"room again")
    return 1 <= len(got) < 40, got == list(range(len(got))), b.recv(100)


@behaviour()
def buffer_sizes_are_told_doubled(h: Hosts) -> Any:
    a, said = h.a(), []
    for name in (socket.SO_RCVBUF, socket.SO_SNDBUF):
        a.setsockopt(socket.SOL_SOCKET, name, 50_000)
        said.append(a.getsockopt(socket.SOL_SOCKET, name))
    return said


@behaviour()
def buffers_have_a_least_size(h: Hosts) -> Any:
    a = h.a()
    a.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
    return a.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)
