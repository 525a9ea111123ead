# SPDX-License-Identifier: BSD-3-Clause
"""Two stacks in one process, joined by a ring and driven by hand: for tests that do not wait."""

from __future__ import annotations

import os
from typing import Any, Self

from ustack import Socket, Stack

SERVER, CLIENT = "10.9.0.1", "10.9.0.2"

#: Small tables: a stack costs little to make, and a leak shows soon.
SMALL = {
    "mbuf.small": 2048,
    "mbuf.large": 4,
    "mbuf.refs": 2048,
    "tcp.max_tcbs": 64,
    "tcp.max_listeners": 8,
    "tcp.max_syn_backlog": 64,
    "tcp.max_tw_buckets": 64,
    "tcp.max_reass": 16,
}

_names = iter(range(1 << 30))


def ring_url() -> str:
    """A ring that nobody else has."""
    return f"ring:test-{os.getpid()}-{next(_names)}"


class Pair:
    """A server and a client stack; nothing moves but in `pump`, or where a call drives its own.

    They have no guardian, unless asked for one.
    """

    def __init__(self, query: str = "", **options: Any) -> None:
        url = ring_url() + query
        options = {"settings": SMALL, "spin": 0, "guardian": False} | options
        self.server = Stack(io=url, address=f"{SERVER}/24", **options)
        self.client = Stack(io=url, address=f"{CLIENT}/24", **options)

    def pump(self) -> None:
        """Drive both until neither has anything to do."""
        while self.server.run_once() | self.client.run_once():
            pass

    def listen(self, port: int = 80, backlog: int = 16) -> Socket:
        """A listener of the server, non-blocking."""
        listener = self.server.listen((SERVER, port), backlog)
        listener.setblocking(False)
        return listener

    def begin(self, port: int = 80) -> Socket:
        """A socket of the client that has sent its SYN, non-blocking."""
        sock = self.client.socket()
        sock.setblocking(False)
        assert sock.connect_ex((SERVER, port)) == 115  # EINPROGRESS
        return sock

    def connect(self, port: int = 80) -> tuple[Socket, Socket]:
        """Both ends of a new connection, non-blocking: the client's, the server's."""
        with self.listen(port) as listener:
            near = self.begin(port)
            self.pump()
            listener.settimeout(10)  # a guardian may have had the last frame but one
            far, _ = listener.accept()
        far.setblocking(False)
        return near, far

    def close(self) -> None:
        self.client.close(linger=0)
        self.server.close(linger=0)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()
