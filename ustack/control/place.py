# SPDX-License-Identifier: BSD-3-Clause
"""Where control sockets are: $XDG_RUNTIME_DIR/ustack, or /tmp/ustack-UID; PID.NAME.sock each."""

import contextlib
import os
import re
import socket
import stat
from dataclasses import dataclass
from pathlib import Path

from ustack.errors import ConfigError

__all__ = ["NAME", "Place", "connect", "directory", "places"]

TIMEOUT = 10.0  # seconds

NAME = re.compile(r"[A-Za-z0-9_-]{1,32}")
_FILE = re.compile(rf"([1-9][0-9]{{0,9}})\.({NAME.pattern})\.sock")


@dataclass(frozen=True, slots=True, order=True)
class Place:
    """One control socket: whose it is, and its file."""

    pid: int
    name: str
    path: Path

    def __str__(self) -> str:
        return f"{self.name} (pid {self.pid})"


def directory(*, make: bool = False) -> Path:
    """Return the directory of our user's control sockets; ConfigError if it is not safe."""
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    if runtime and os.access(runtime, os.R_OK | os.W_OK | os.X_OK):
        path = Path(runtime) / "ustack"
    else:
        path = Path(f"/tmp/ustack-{_user()}")
    if make:
        path.mkdir(mode=0o700, exist_ok=True)
    try:
        found = path.lstat()
    except FileNotFoundError:
        return path
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o077:
        raise ConfigError(
            f"directory of control sockets must be ours alone, {path} is not; remove it,"
            " or set XDG_RUNTIME_DIR"
        )
    return path


def places() -> list[Place]:
    """Return the control sockets of our user, by process.

    Those that a process has left behind are removed.
    """
    try:
        names = os.listdir(directory())
    except FileNotFoundError:
        return []
    matches = [match for name in names if (match := _FILE.fullmatch(name))]
    found = sorted(Place(int(m[1]), m[2], directory() / m[0]) for m in matches)
    return [place for place in found if _is_alive(place)]


def connect(place: Place) -> socket.socket:
    """Return a connection to the stack there."""
    conn = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        conn.settimeout(TIMEOUT)
        conn.connect(os.fsencode(place.path))
    except BaseException:
        conn.close()
        raise
    return conn


def _is_alive(place: Place) -> bool:
    try:
        connect(place).close()
    except ConnectionRefusedError:  # nobody listens: its process was killed
        with contextlib.suppress(OSError):
            place.path.unlink()
        return False
    except OSError:
        return False
    return True


def _user() -> int:
    """Return our user's number outside of a user namespace that we have made for ourselves."""
    try:
        inside, outside, count = map(int, Path("/proc/self/uid_map").read_text().split())
    except (OSError, ValueError):
        return os.getuid()
    return outside if (inside, count) == (os.getuid(), 1) else os.getuid()
