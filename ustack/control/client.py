# SPDX-License-Identifier: BSD-3-Clause
"""Finding a running stack and asking it something."""

import json
import socket
from collections.abc import Mapping
from typing import Any

from ustack.control.place import Place, connect, places
from ustack.errors import ConfigError, UstackError

__all__ = ["ask", "find"]

REPLY_MAX = 16 << 20  # bytes


def find(pid: int | None = None, name: str | None = None) -> Place:
    """Return the running stack of a process or of a name; the only one if neither is given.

    Raises ConfigError unless there is one.
    """
    alive = places()
    found = [p for p in alive if pid in (None, p.pid) and name in (None, p.name)]
    if len(found) == 1:
        return found[0]
    asked = " and ".join(
        [f"pid {pid}"] * (pid is not None) + [f"name {name!r}"] * (name is not None)
    )
    if len(found) > 1:
        raise ConfigError(
            f"several stacks run here: {', '.join(map(str, found))}; choose with --pid or --name"
        )
    if alive:
        raise ConfigError(f"no stack has {asked}; there is {', '.join(map(str, alive))}")
    raise ConfigError(
        "no stack runs here that can be asked; start one with ustack serve or Stack(control=True)"
    )


def ask(place: Place, what: str, arguments: Mapping[str, str | None] | None = None) -> Any:
    """Send one request and return its answer; UstackError with what the stack says against it."""
    line = json.dumps({"do": what, "with": dict(arguments or {})}).encode() + b"\n"
    with connect(place) as conn:
        conn.sendall(line)
        reply = json.loads(_read_all(conn) or b'{"error": "the stack has just ended"}')
    if "error" in reply:
        raise UstackError(str(reply["error"]))
    return reply["ok"]


def _read_all(conn: socket.socket) -> bytes:
    data = bytearray()
    while len(data) < REPLY_MAX and (more := conn.recv(65536)):
        data += more
    return bytes(data)
