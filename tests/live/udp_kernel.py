# SPDX-License-Identifier: BSD-3-Clause
"""A program: what the kernel's UDP sockets do, between two namespaces; the outcomes on stdout."""

import ctypes
import os
import pickle
import socket
import subprocess
import sys
from pathlib import Path

from udp_behaviours import perform

from ustack.io import userns

CLONE_NEWNET = 0x40000000
_libc = ctypes.CDLL(None, use_errno=True)


def here() -> int:
    return os.open("/proc/thread-self/ns/net", os.O_RDONLY)


def enter(namespace: int) -> None:
    if _libc.setns(namespace, CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def ip(command: str) -> None:
    subprocess.run(["ip", *command.split()], check=True)


def settle_in(device: str, number: int) -> None:
    """Give this namespace's end of the link its addresses, at once."""
    for which in ("all", "default", device):
        Path(f"/proc/sys/net/ipv6/conf/{which}/accept_dad").write_text("0")
    for name in ("ipv4/icmp_ratelimit", "ipv6/icmp/ratelimit"):
        Path(f"/proc/sys/net/{name}").write_text("0")
    ip(f"link set {device} up")
    ip(f"route add 255.255.255.255 dev {device}")
    ip(f"addr add 10.9.0.{number}/24 brd 10.9.0.255 dev {device}")
    ip(f"addr add fd09::{number}/64 dev {device} nodad")


def far_namespace(near: int) -> int:
    """Return a new namespace, joined with this one."""
    if _libc.unshare(CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    far = here()
    enter(near)
    peer = f"type veth peer name far mtu 1500 netns /proc/{os.getpid()}/fd/{far}"
    ip(f"link add near mtu 1500 {peer}")
    settle_in("near", 1)
    enter(far)
    settle_in("far", 2)
    enter(near)
    return far


def main() -> None:
    userns.isolate()
    near = here()
    far = far_namespace(near)

    def make(family: int) -> socket.socket:
        return socket.socket(family, socket.SOCK_DGRAM, socket.IPPROTO_UDP)

    def make_far(family: int) -> socket.socket:
        enter(far)
        try:
            return make(family)
        finally:
            enter(near)

    sys.stdout.buffer.write(pickle.dumps(perform(make, make_far)))


if __name__ == "__main__":
    main()
