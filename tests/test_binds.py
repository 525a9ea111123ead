# SPDX-License-Identifier: BSD-3-Clause
"""Which two TCP sockets may be bound to one port, and who gets a connection: as in the kernel."""

from __future__ import annotations

import contextlib
import errno
import itertools
import socket
from collections.abc import Iterator
from typing import Any

import pytest

from pair import SMALL, ring_url
from ustack import Stack

OURS = {"4": "10.9.0.1", "6": "fd09::1"}
LOOPBACK = {"4": "127.0.0.1", "6": "::1"}
ENDS = ["4", "6", "any4", "any6", "any6only"]


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    addresses = [f"{OURS['4']}/24", f"{OURS['6']}/64"]
    options: dict[str, Any] = {"settings": SMALL | {"ip6.dad_transmits": 0}}
    with Stack(ring_url(), addresses=addresses, **options) as stack:
        yield stack


def bound(make: Any, own: dict[str, str], end: str, port: int = 0) -> Any:
    """A new socket, bound there; without SO_REUSEADDR."""
    sock = make(socket.AF_INET if "4" in end else socket.AF_INET6, socket.SOCK_STREAM)
    try:
        if sock.family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, "only" in end)
        sock.bind((({"any4": "0.0.0.0"} | own).get(end, "::"), port))
    except BaseException:
        sock.close()
        raise
    return sock


def may_share(make: Any, own: dict[str, str], first: str, second: str) -> bool:
    with contextlib.closing(bound(make, own, first)) as sock:
        try:
            bound(make, own, second, sock.getsockname()[1]).close()
        except OSError as error:
            assert error.errno == errno.EADDRINUSE
            return False
        return True


@pytest.mark.parametrize(("first", "second"), list(itertools.product(ENDS, ENDS)))
def test_two_sockets_share_a_port_where_the_kernel_lets_them(
    stack: Stack, first: str, second: str
) -> None:
    """Without SO_REUSEADDR; IPV6_V6ONLY: ipv6(7)."""
    expected = may_share(socket.socket, LOOPBACK, first, second)
    assert may_share(stack.socket, OURS, first, second) == expected


@pytest.mark.parametrize("listening", [["any6"], ["any6only"], ["any4", "any6only"]])
@pytest.mark.parametrize("version", ["4", "6"])
def test_a_connection_goes_to_who_takes_its_version(
    stack: Stack, listening: list[str], version: str
) -> None:
    listeners = [bound(stack.socket, OURS, listening[0])]
    port = listeners[0].getsockname()[1]
    listeners += [bound(stack.socket, OURS, end, port) for end in listening[1:]]
    takers = [end == "any6" or version in end for end in listening]
    for listener in listeners:
        listener.listen()
        listener.setblocking(False)
    client = stack.socket(socket.AF_INET if version == "4" else socket.AF_INET6)
    with contextlib.closing(client):
        client.settimeout(5)
        if not any(takers):
            with pytest.raises(ConnectionRefusedError):
                client.connect((OURS[version], port))
        else:
            client.connect((OURS[version], port))
            listeners[takers.index(True)].accept()[0].close()
    for listener in listeners:
        listener.close()


def test_v6only_is_for_ipv6_and_for_before_it_is_bound(stack: Stack) -> None:
    option = (socket.IPPROTO_IPV6, socket.IPV6_V6ONLY)
    with contextlib.closing(stack.socket(socket.AF_INET)) as sock:
        with pytest.raises(OSError) as caught:
            sock.setsockopt(*option, 1)
        assert caught.value.errno == errno.ENOPROTOOPT
    with contextlib.closing(bound(stack.socket, OURS, "any6only")) as sock:
        assert sock.getsockopt(*option) == 1
        with pytest.raises(OSError) as caught:
            sock.setsockopt(*option, 0)
        assert caught.value.errno == errno.EINVAL
