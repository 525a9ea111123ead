# SPDX-License-Identifier: BSD-3-Clause
"""The control socket of a stack, and the thread that answers on it.

Only its user can connect (mode 0600 in a directory of mode 0700). A request is at most REQUEST_MAX
bytes and a connection has TIMEOUT seconds, so that no client can hold it up for long; clients are
served one after the other.
"""

import json
import os
import re
import socket
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ustack.control.place import NAME, Place, directory, places
from ustack.errors import ConfigError

if TYPE_CHECKING:
    from ustack.stack import Stack

__all__ = ["REQUEST_MAX", "Control"]

REQUEST_MAX = 4096  # bytes
TIMEOUT = 2.0  # seconds

_Arguments = dict[str, Any]


class Control:
    """A stack's control socket; made by `Stack(control=…)`, closed with it."""

    def __init__(self, stack: "Stack", name: str | None) -> None:
        """name: what `ustack --name` tells it by; None: the first port's URL.

        Raises ConfigError for a name that cannot be or is taken, OSError if there can be no socket.
        """
        self._stack = stack
        self._place = _choose(stack, name)
        self._listener = _listen(self._place)
        self._thread = threading.Thread(target=self._serve, name="ustack-control", daemon=True)
        self._thread.start()

    @property
    def place(self) -> Place:
        """Where it is."""
        return self._place

    def close(self) -> None:
        """Remove the socket and end the thread; a request that is under way is answered."""
        self._place.path.unlink(missing_ok=True)
        try:
            self._listener.shutdown(socket.SHUT_RDWR)  # wakes accept()
        except OSError:
            pass
        if threading.current_thread() is not self._thread:
            self._thread.join()
        self._listener.close()

    def abandon(self) -> None:
        """Leave it to the parent: in the child of a fork, which has not the thread."""
        self._listener.close()

    def _serve(self) -> None:
        while True:
            try:
                conn, _ = self._listener.accept()
            except OSError:
                return
            with conn:
                try:
                    self._answer(conn)
                except OSError:  # it went away, or was too slow
                    pass

    def _answer(self, conn: socket.socket) -> None:
        reply = self._reply(_read_line(conn))
        conn.settimeout(TIMEOUT)
        conn.sendall(json.dumps(reply).encode() + b"\n")

    def _reply(self, line: bytes | None) -> dict[str, Any]:
        if line is None:
            return {"error": f"a request must be a line of at most {REQUEST_MAX} bytes"}
        try:
            request = json.loads(line)
            command, arguments = COMMANDS[request["do"]], request.get("with", {})
            return {"ok": command(self._stack, arguments)}
        except (KeyError, TypeError, AttributeError, RecursionError, json.JSONDecodeError):
            return {"error": f"there is no such request: {line[:80].decode(errors='replace')!r}"}
        except Exception as error:
            return {"error": str(error) or repr(error)}


def _choose(stack: "Stack", name: str | None) -> Place:
    """Return a place for a stack's socket that no other of this process has."""
    if name is not None and not NAME.fullmatch(name):
        raise ConfigError(
            f"name of a stack must be 1 to 32 letters, digits, '_' and '-', got {name!r};"
            " such as web-1"
        )
    where, pid = directory(make=True), os.getpid()
    places()  # removes what killed processes have left
    stem = name or re.sub(r"[^A-Za-z0-9_-]+", "-", str(stack.ports[0]))[:28] or "stack"
    for number in range(1, 100):
        chosen = stem if number == 1 else f"{stem}-{number}"
        place = Place(pid, chosen, where / f"{pid}.{chosen}.sock")
        if not place.path.exists():
            return place
        if name is not None:
            break
    raise ConfigError(f"name of a stack must be its own, this process has {stem!r}; take another")


def _listen(place: Place) -> socket.socket:
    """Return a listening socket, which appears under its name only when it listens."""
    draft = place.path.with_suffix(".new")
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        listener.bind(os.fsencode(draft))
        draft.chmod(0o600)
        listener.listen(8)
        draft.rename(place.path)
    except OSError as error:
        listener.close()
        draft.unlink(missing_ok=True)
        raise ConfigError(
            f"cannot make the control socket {place.path}: {error.strerror or error};"
            " set XDG_RUNTIME_DIR to a shorter or writable directory"
        ) from None
    return listener


def _read_line(conn: socket.socket) -> bytes | None:
    """Return the first line, without its end; None if there is none of that length in time."""
    end, data = time.monotonic() + TIMEOUT, b""
    while b"\n" not in data and len(data) <= REQUEST_MAX:
        conn.settimeout(max(end - time.monotonic(), 1e-3))
        more = conn.recv(REQUEST_MAX + 1 - len(data))
        if not more:
            return None
        data += more
    line, found, _ = data.partition(b"\n")
    return line if found else None


# ------------------------------------------------------------------------------------ commands


def _show(stack: "Stack", arguments: _Arguments) -> Any:
    return {
        "ports": [
            {"port": str(port), "mtu": port.info.mtu, "mac": port.info.mac.hex(":"),
             "up": port.info.link_up}
            for port in stack.ports
        ],
        "addresses": [
            {"address": str(a), "port": a.port, "tentative": a.tentative, "auto": a.auto,
             "valid": a.valid}
            for a in stack.addresses
        ],
        "routes": [
            {"network": str(r.network), "gateway": r.gateway and str(r.gateway), "port": r.port,
             "valid": r.valid}
            for r in stack.routes
        ],
        "neighbours": [
            {"address": str(n.address), "mac": n.mac, "state": n.state, "port": n.port}
            for n in stack.neighbours
        ],
    }  # fmt: skip


def _text(arguments: _Arguments, name: str) -> str:
    value = arguments[name]
    if not isinstance(value, str):
        raise TypeError(name)
    return value


def _maybe(arguments: _Arguments, name: str) -> str | None:
    return None if arguments.get(name) is None else _text(arguments, name)


def _add_address(stack: "Stack", a: _Arguments) -> None:
    stack.add_address(_text(a, "address"), _maybe(a, "dev"), wait=False)


def _remove_address(stack: "Stack", a: _Arguments) -> None:
    stack.remove_address(_text(a, "address"))


def _add_route(stack: "Stack", a: _Arguments) -> None:
    stack.add_route(_text(a, "network"), _text(a, "via"), _maybe(a, "dev"))


def _remove_route(stack: "Stack", a: _Arguments) -> None:
    stack.remove_route(_text(a, "network"), _maybe(a, "via"))


def _add_neighbour(stack: "Stack", a: _Arguments) -> None:
    stack.add_neighbour(_text(a, "address"), _text(a, "lladdr"), _maybe(a, "dev"))


def _remove_neighbour(stack: "Stack", a: _Arguments) -> None:
    stack.remove_neighbour(_text(a, "address"))


COMMANDS: dict[str, Callable[["Stack", _Arguments], Any]] = {
    "show": _show,
    "addr add": _add_address,
    "addr del": _remove_address,
    "route add": _add_route,
    "route del": _remove_route,
    "neigh add": _add_neighbour,
    "neigh del": _remove_neighbour,
}
