# SPDX-License-Identifier: BSD-3-Clause
"""A veth pair: the kernel's client at the near end, the kernel's server at the far one.

The near end is in the namespace of this process, which is one of its own by then
(userns.isolate()), the far end in another, so that both TCPs and the whole way between them are
used, as with a tap, and nothing is short-cut as on loopback. Both go when the processes go.
"""

import ctypes
import os
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from ustack.errors import UstackError

__all__ = ["FAR", "Veth", "join"]

NEAR, FAR, LENGTH = "10.8.0.1", "10.8.0.2", 24
NAMES = ("usbench0", "usbench1")
FAR_ADDRESSES = 16  # at least as many as a load is spread over
CLONE_NEWNET = 0x40000000


def join(fd: int) -> None:
    """Enter a network namespace, with the calling thread. Raises OSError."""
    _call("setns", fd, CLONE_NEWNET)


class Veth:
    """The pair; it is made at the first use."""

    def __init__(self, mtu: int) -> None:
        """mtu: of both ends, bytes of an IP packet."""
        self.mtu = mtu
        self._fd: int | None = None

    @property
    def far(self) -> int:
        """A descriptor of the far end's namespace, for join().

        Raises UstackError when there can be no such pair.
        """
        if self._fd is None:
            with ThreadPoolExecutor(1) as helper:  # it changes its namespace, and ends
                self._fd = helper.submit(_make, self.mtu).result()
        return self._fd


def _make(mtu: int) -> int:
    """Make the pair; the far namespace. What calls is in that afterwards."""
    from pyroute2 import IPRoute
    from pyroute2.netlink.exceptions import NetlinkError

    try:
        here = _current()
        _call("unshare", CLONE_NEWNET)
        far = _current()
        join(here)
        os.close(here)
        with IPRoute() as netlink:
            peer = {"ifname": NAMES[1], "net_ns_fd": far}
            netlink.link("add", ifname=NAMES[0], kind="veth", peer=peer)
            _set_up(netlink, NAMES[0], mtu, [NEAR])
        join(far)
        prefix, _, first = FAR.rpartition(".")
        with IPRoute() as netlink:
            addresses = [f"{prefix}.{int(first) + i}" for i in range(FAR_ADDRESSES)]
            _set_up(netlink, NAMES[1], mtu, addresses)
    except (OSError, NetlinkError) as error:
        raise UstackError(f"cannot make a veth pair: {error}; leave out --vs veth-…") from None
    return far


def _set_up(netlink: Any, name: str, mtu: int, addresses: list[str]) -> None:
    index = netlink.link_lookup(ifname=name)[0]
    netlink.link("set", index=index, mtu=mtu, state="up")
    for address in addresses:
        netlink.addr("add", index=index, address=address, prefixlen=LENGTH)


def _current() -> int:
    return os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)


def _call(name: str, *args: int) -> None:
    if getattr(ctypes.CDLL(None, use_errno=True), name)(*args) != 0:
        code = ctypes.get_errno()
        raise OSError(code, f"{name}: {os.strerror(code)}")
