# SPDX-License-Identifier: BSD-3-Clause
"""A user and network namespace of our own: how a tap works without root.

In it this process is root over a network that holds nothing but its own interfaces; programs that
it starts are in it too, others join with nsenter. It is entered before any thread starts, and not
left again.
"""

import ctypes
import errno
import fcntl
import os
import socket
import struct
from pathlib import Path

from ustack.errors import PortError

__all__ = ["enter", "enter_if_needed", "is_privileged", "isolate"]

CLONE_NEWUSER = 0x10000000
CLONE_NEWNET = 0x40000000
CAP_NET_ADMIN = 12
SIOCSIFFLAGS = 0x8914
IFF_UP = 1

_RATHER = "run as root, or with CAP_NET_ADMIN"


def enter_if_needed(name: str | None = None) -> bool:
    """Enter namespaces of our own unless a tap can be made without; whether it was done.

    name: of the tap; if it exists and belongs to this user, nothing else is needed.

    Raises PortError when this system forbids it.
    """
    if is_privileged() or (name is not None and _owns_tap(name)):
        return False
    enter()
    return True


def isolate() -> None:
    """Enter a network namespace of our own, in a user namespace if only that makes it possible.

    For what shall meet none of the machine's interfaces and leave nothing behind.
    """
    if not is_privileged():
        enter()
        return
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(CLONE_NEWNET) != 0:
        enter()
        return
    _raise_loopback()


def is_privileged() -> bool:
    """Return whether this process has CAP_NET_ADMIN over its network namespace."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("CapEff:"):
            return bool(int(line.split()[1], 16) >> CAP_NET_ADMIN & 1)
    return False


def enter() -> None:
    """Enter a new user and a new network namespace, as root of both, with lo up.

    Raises PortError when this system forbids it, or when this process has threads already.
    """
    uid, gid = os.geteuid(), os.getegid()
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(CLONE_NEWUSER | CLONE_NEWNET) != 0:
        raise _error(ctypes.get_errno(), _unshare_refused(ctypes.get_errno()))
    try:
        _write("/proc/self/setgroups", "deny")
        _write("/proc/self/uid_map", f"0 {uid} 1")
        _write("/proc/self/gid_map", f"0 {gid} 1")
        _raise_loopback()
    except OSError as error:
        raise _error(
            error.errno,
            f"the new user namespace has no rights ({error.strerror}); AppArmor restricts it:"
            " sudo sysctl kernel.apparmor_restrict_unprivileged_userns=0, or " + _RATHER,
        ) from None


def _unshare_refused(code: int) -> str:
    if code == errno.ENOSPC:
        return (
            "user namespaces are used up or disabled (user.max_user_namespaces);"
            " sudo sysctl user.max_user_namespaces=10000, or " + _RATHER
        )
    if code == errno.EINVAL:
        return "the user namespace must be entered before any thread starts; enter it first"
    if code == errno.EPERM:
        return (
            "user namespaces are forbidden here; in a container:"
            " --device /dev/net/tun --cap-add NET_ADMIN; else " + _RATHER
        )
    return f"cannot enter a user namespace ({os.strerror(code)}); {_RATHER}"


def _error(code: int | None, message: str) -> PortError:
    return PortError(f"tap: {message}", code)


def _write(path: str, text: str) -> None:
    with open(path, "w") as file:
        file.write(text)


def _raise_loopback() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        fcntl.ioctl(sock, SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", IFF_UP))


def _owns_tap(name: str) -> bool:
    try:
        return int(Path("/sys/class/net", name, "owner").read_text()) == os.geteuid()
    except (OSError, ValueError):
        return False
