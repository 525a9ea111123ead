# SPDX-License-Identifier: BSD-3-Clause
"""Which addresses UDP sockets have and hear: names, peers, broadcasts; see udp_hosts.py."""

from __future__ import annotations

import socket
from typing import Any

from udp_hosts import (
    ISLAND,
    Hosts,
    behaviour,
    host_of,
    now,
    outcome,
    settle,
)

# ------------------------------------------------------------------------- names


@behaviour()
def a_new_socket_has_no_name(h: Hosts) -> Any:
    sock = h.a()
    return sock.getsockname(), outcome(sock.getpeername)


@behaviour()
def bind_gives_the_name(h: Hosts) -> Any:
    a, b = h.a(), h.a()
    a.bind((h.near, 6000))
    b.bind(("", 6001))
    return a.getsockname(), b.getsockname(), outcome(a.getpeername)


@behaviour()
def port_0_is_a_free_port(h: Hosts) -> Any:
    a, b = h.a(), h.a()
    a.bind((h.near, 0))
    b.bind((h.near, 0))
    one, two = a.getsockname(), b.getsockname()
    return host_of(one), one[1] > 1023, one[1] != two[1]


@behaviour()
def sending_takes_a_port_but_no_address(h: Hosts) -> Any:
    a = h.a()
    h.server()
    a.sendto(b"x", (h.far, 7000))
    name = a.getsockname()
    return host_of(name), name[1] > 1023


@behaviour()
def connecting_takes_port_and_address(h: Hosts) -> Any:
    a = h.a()
    a.connect((h.far, 7000))
    name = a.getsockname()
    return host_of(name), name[1] > 1023, a.getpeername()


@behaviour()
def connecting_a_bound_socket_keeps_its_port(h: Hosts) -> Any:
    a = h.a()
    a.bind(("", 6000))
    a.connect((h.far, 7000))
    return a.getsockname(), a.getpeername()


@behaviour()
def binding_twice_is_invalid(h: Hosts) -> Any:
    a = h.a()
    a.bind((h.near, 6000))
    return outcome(a.bind, (h.near, 6001)), a.getsockname()


@behaviour()
def binding_after_sending_or_connecting_is_invalid(h: Hosts) -> Any:
    a, b = h.a(), h.a()
    a.sendto(b"x", (h.far, 7000))
    b.connect((h.far, 7000))
    return outcome(a.bind, (h.near, 6001)), outcome(b.bind, (h.near, 6001))


@behaviour()
def an_address_is_taken_once(h: Hosts) -> Any:
    a, b = h.a(), h.a()
    a.bind((h.near, 6000))
    return outcome(b.bind, (h.near, 6000)), outcome(b.bind, ("", 6000)), b.getsockname()


@behaviour()
def every_address_includes_each(h: Hosts) -> Any:
    a, b = h.a(), h.a()
    a.bind(("", 6000))
    return outcome(b.bind, (h.near, 6000)), outcome(b.bind, (h.near, 6001))


@behaviour()
def with_reuseaddr_on_both_it_is_shared(h: Hosts) -> Any:
    a, b = h.a(), h.a()
    for sock in (a, b):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    return outcome(a.bind, (h.near, 6000)), outcome(b.bind, (h.near, 6000))


@behaviour()
def with_reuseaddr_on_one_it_is_not(h: Hosts) -> Any:
    a, b, c = h.a(), h.a(), h.a()
    b.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    a.bind((h.near, 6000))
    first = outcome(b.bind, (h.near, 6000)), outcome(b.bind, (h.near, 6001))
    return first, outcome(c.bind, (h.near, 6001))


@behaviour()
def a_closed_socket_gives_its_port_back(h: Hosts) -> Any:
    a, b = h.a(), h.a()
    a.bind((h.near, 6000))
    a.close()
    return outcome(b.bind, (h.near, 6000))


@behaviour()
def only_addresses_of_the_host_can_be_bound(h: Hosts) -> Any:
    a = h.a()
    return [outcome(a.bind, (host, 6000)) for host in (h.far, h.nobody, ISLAND[h.version])]


@behaviour()
def addresses_of_the_other_family_are_refused(h: Hosts) -> Any:
    a = h.a()
    other = ISLAND[10 - h.version]
    return outcome(a.bind, (other, 6000)), outcome(a.connect, (other, 7000))


@behaviour()
def ports_are_16_bits(h: Hosts) -> Any:
    a = h.a()
    return [outcome(a.sendto, b"x", (h.far, port)) for port in (-1, 65536, 0)]


# ------------------------------------------------------------------------- connected or not


@behaviour()
def send_needs_a_peer(h: Hosts) -> Any:
    a, b = h.a(), h.a()
    b.bind((h.near, 6000))
    return [outcome(sock.send, data) for sock in (a, b) for data in (b"x", b"")]


@behaviour()
def send_without_a_peer_takes_a_port(h: Hosts) -> Any:
    a = h.a()
    return outcome(a.send, b"x"), a.getsockname()[1] > 0, outcome(a.bind, (h.near, 6000))


@behaviour()
def a_connected_socket_hears_its_peer_only(h: Hosts) -> Any:
    a, b = h.pair()
    other = h.b()
    other.bind((h.far, 7001))
    other.sendto(b"stranger", (h.near, 6000))
    b.send(b"peer")
    return a.recvfrom(100), now(a)


@behaviour()
def what_came_before_connect_is_still_received(h: Hosts) -> Any:
    a, other = h.a(), h.server(7001)
    a.bind((h.near, 6000))
    other.sendto(b"early", (h.near, 6000))
    settle()
    a.connect((h.far, 7000))
    return now(a)


@behaviour()
def a_connected_socket_may_send_elsewhere(h: Hosts) -> Any:
    a, b = h.pair()
    other = h.server(7001)
    sent = a.sendto(b"x", (h.far, 7001)), a.send(b"y")
    return sent, other.recvfrom(100), b.recv(100), a.getpeername()


@behaviour()
def sendto_the_peer_is_send(h: Hosts) -> Any:
    a, b = h.pair()
    return a.sendto(b"x", (h.far, 7000)), b.recvfrom(100)


@behaviour()
def connecting_again_changes_the_peer(h: Hosts) -> Any:
    a, b = h.pair()
    other = h.server(7001)
    a.connect((h.far, 7001))
    a.send(b"x")
    b.send(b"old")
    other.sendto(b"new", (h.near, 6000))
    return other.recvfrom(100), a.getpeername(), a.recv(100), now(a)


@behaviour()
def the_connected_socket_is_preferred(h: Hosts) -> Any:
    b, one, two = h.server(), h.a(), h.a()
    for sock in (one, two):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((h.near, 6000))
    one.connect((h.far, 7000))
    b.sendto(b"x", (h.near, 6000))
    settle()
    return now(one), now(two)


@behaviour()
def the_socket_bound_to_the_address_is_preferred(h: Hosts) -> Any:
    b, one, two = h.server(), h.a(), h.a()
    for sock, host in ((one, h.near), (two, "")):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((host, 6000))
    b.sendto(b"x", (h.near, 6000))
    settle()
    return now(one), now(two)


@behaviour()
def of_equal_sockets_the_last_is_preferred(h: Hosts) -> Any:
    b, one, two = h.server(), h.a(), h.a()
    for sock in (one, two):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((h.near, 6000))
    b.sendto(b"x", (h.near, 6000))
    settle()
    return now(one), now(two)


# ------------------------------------------------------------------------- broadcast, groups


@behaviour(4)
def broadcasts_need_leave(h: Hosts) -> Any:
    a, said = h.a(), []
    for host in ("10.9.0.255", "255.255.255.255", "<broadcast>"):
        said.append(outcome(a.sendto, b"x", (host, 7000)))
        said.append(outcome(a.connect, (host, 7000)))
    return said


@behaviour(4)
def with_leave_a_broadcast_arrives(h: Hosts) -> Any:
    a, b, other = h.a(), h.b(), h.b()
    b.bind(("", 7000))
    other.bind((h.far, 7001))
    a.bind((h.near, 6000))
    a.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
    sent = a.sendto(b"x", ("10.9.0.255", 7000)), a.sendto(b"y", ("10.9.0.255", 7001))
    settle()
    return sent, b.recvfrom(100), now(other)


@behaviour(4)
def the_broadcast_address_can_be_bound(h: Hosts) -> Any:
    a, b = h.a(), h.b()
    b.bind(("10.9.0.255", 7000))
    a.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
    a.sendto(b"all", ("10.9.0.255", 7000))
    a.sendto(b"one", (h.far, 7000))
    settle()
    return b.getsockname(), now(b), now(b)


@behaviour(4)
def a_broadcast_to_a_closed_port_is_not_refused(h: Hosts) -> Any:
    a = h.a()
    a.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
    a.connect(("10.9.0.255", 7999))
    a.send(b"x")
    settle()
    return now(a)


# ------------------------------------------------------------------------- both versions at once


@behaviour(6)
def an_ipv6_socket_hears_ipv4(h: Hosts) -> Any:
    a, b = h.a(socket.AF_INET), h.b()
    b.bind(("", 7000))
    a.bind(("10.9.0.1", 6000))
    a.sendto(b"x", ("10.9.0.2", 7000))
    data, sender = b.recvfrom(100)
    return data, sender, b.sendto(b"y", sender), a.recvfrom(100)


@behaviour(6)
def an_ipv6_socket_connects_to_ipv4(h: Hosts) -> Any:
    a, b = h.a(), h.b(socket.AF_INET)
    b.bind(("10.9.0.2", 7000))
    a.connect(("::ffff:10.9.0.2", 7000))
    a.send(b"x")
    return b.recv(100), host_of(a.getsockname()), a.getpeername()


@behaviour(6)
def a_v6only_socket_hears_no_ipv4(h: Hosts) -> Any:
    a, b = h.a(socket.AF_INET), h.b()
    b.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    b.bind(("", 7000))
    a.connect(("10.9.0.2", 7000))
    a.send(b"x")
    settle()
    return now(a), now(b)


@behaviour(6)
def a_v6only_socket_sends_no_ipv4(h: Hosts) -> Any:
    a = h.a()
    a.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    peer = ("::ffff:10.9.0.2", 7000)
    return outcome(a.sendto, b"x", peer), outcome(a.connect, peer)


@behaviour(6)
def every_ipv6_address_includes_ipv4(h: Hosts) -> Any:
    a, b = h.a(), h.a(socket.AF_INET)
    a.bind(("", 6000))
    return outcome(b.bind, ("10.9.0.1", 6000)), outcome(b.bind, ("", 6000))


@behaviour(6)
def v6only_leaves_ipv4_to_others(h: Hosts) -> Any:
    a, b = h.a(), h.a(socket.AF_INET)
    a.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    a.bind(("", 6000))
    return outcome(b.bind, ("", 6000))


@behaviour(6)
def v6only_is_settled_by_bind(h: Hosts) -> Any:
    a = h.a()
    first = a.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY)
    a.bind(("", 6000))
    return first, outcome(a.setsockopt, socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)


@behaviour(4)
def an_ipv4_socket_has_no_options_of_ipv6(h: Hosts) -> Any:
    a = h.a()
    return outcome(a.getsockopt, socket.IPPROTO_IPV6, socket.IPV6_V6ONLY)
