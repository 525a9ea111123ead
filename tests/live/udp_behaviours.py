# SPDX-License-Identifier: BSD-3-Clause
"""What UDP sockets do, as small functions that run on any two hosts with Python's socket API.

Each takes a `Hosts` and returns what happened, in values that are the same wherever it runs: bytes,
names of errors, hosts, but never a port that was chosen by chance.
"""

from __future__ import annotations

import errno
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

IP_MTU_DISCOVER, IP_MTU, IPV6_MTU_DISCOVER, IPV6_MTU, UDP_SEGMENT = 10, 14, 23, 24, 103
DONT, WANT, DO, PROBE = range(4)
TIMEOUT = 2.0
ISLAND = {4: "192.0.2.1", 6: "2001:db8::1"}  # nobody has a route there


@dataclass
class Hosts:
    """Two hosts on one link, and how to make a socket on each."""

    version: int
    near: str
    far: str
    make_near: Callable[[int], Any]
    make_far: Callable[[int], Any]

    def __post_init__(self) -> None:
        self.sockets: list[Any] = []

    @property
    def family(self) -> int:
        return socket.AF_INET6 if self.version == 6 else socket.AF_INET

    @property
    def any(self) -> str:
        return "::" if self.version == 6 else "0.0.0.0"

    @property
    def nobody(self) -> str:
        """An address of our network that no host has."""
        return "fd09::77" if self.version == 6 else "10.9.0.77"

    def a(self, family: int | None = None) -> Any:
        """Make a socket on the near host."""
        return self._keep(self.make_near(self.family if family is None else family))

    def b(self, family: int | None = None) -> Any:
        """Make a socket on the far host."""
        return self._keep(self.make_far(self.family if family is None else family))

    def server(self, port: int = 7000) -> Any:
        """Make a socket on the far host that is bound to its address."""
        sock = self.b()
        sock.bind((self.far, port))
        return sock

    def pair(self) -> tuple[Any, Any]:
        """Make two sockets, each connected to the other."""
        a, b = self.a(), self.b()
        a.bind((self.near, 6000))
        b.bind((self.far, 7000))
        a.connect((self.far, 7000))
        b.connect((self.near, 6000))
        return a, b

    def refused(self) -> Any:
        """Make a near socket that has just been told that nobody holds its peer's port."""
        sock = self.a()
        sock.connect((self.far, 7999))
        sock.send(b"x")
        settle()
        return sock

    def close(self) -> None:
        for sock in self.sockets:
            sock.close()

    def _keep(self, sock: Any) -> Any:
        sock.settimeout(TIMEOUT)
        self.sockets.append(sock)
        return sock


def settle() -> None:
    """Wait until what was sent, and the answer to it, has arrived."""
    time.sleep(0.03)


def outcome(call: Callable[..., Any], *args: Any) -> Any:
    """Return what a call returns, or the name of its error."""
    try:
        return call(*args)
    except TimeoutError:
        return "timeout"
    except socket.gaierror:
        return "gaierror"
    except OSError as error:
        return errno.errorcode[error.errno or 0]
    except Exception as error:
        return type(error).__name__


def now(sock: Any, size: int = 65535) -> Any:
    """Receive what is there at once."""
    sock.setblocking(False)
    try:
        return outcome(sock.recv, size)
    finally:
        sock.settimeout(TIMEOUT)


def host_of(address: Any) -> Any:
    """Return an address without a port chosen by chance."""
    return (address[0], *address[2:])


BEHAVIOURS: dict[str, Callable[[Hosts], Any]] = {}
ONLY: dict[str, tuple[int, ...]] = {}


def behaviour(*versions: int) -> Callable[[Callable[[Hosts], Any]], Callable[[Hosts], Any]]:
    def add(function: Callable[[Hosts], Any]) -> Callable[[Hosts], Any]:
        BEHAVIOURS[function.__name__] = function
        ONLY[function.__name__] = versions or (4, 6)
        return function

    return add


def cases() -> list[tuple[str, int]]:
    return [(name, version) for name in BEHAVIOURS for version in ONLY[name]]


def perform(near: Callable[[int], Any], far: Callable[[int], Any]) -> dict[tuple[str, int], Any]:
    """Do everything between two hosts; the outcomes. near, far: make a socket of a family."""
    outcomes = {}
    for name, version in cases():
        ends = ("fd09::1", "fd09::2") if version == 6 else ("10.9.0.1", "10.9.0.2")
        hosts = Hosts(version, *ends, near, far)
        outcomes[name, version] = outcome(BEHAVIOURS[name], hosts)
        hosts.close()
        settle()
    return outcomes


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
