# SPDX-License-Identifier: BSD-3-Clause
"""Making a tap device: its queues, its offloads, and the kernel's end of it.

The descriptors go to the C port; the device disappears with them, unless it was persistent. A tap
that exists already is joined, and what it has already is left as it is.
"""

import errno
import fcntl
import ipaddress
import os
import socket
import struct
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from ustack._addressing import Interface
from ustack._native import ffi, lib
from ustack.errors import ConfigError, PortError
from ustack.io.url import TapUrl

__all__ = ["TapQueues", "attach", "open_tap", "peer_of"]

DEVICE = "/dev/net/tun"

TUNSETIFF = 0x400454CA
TUNSETOFFLOAD = 0x400454D0
TUNSETVNETHDRSZ = 0x400454D8
TUNSETQUEUE = 0x400454D9
SIOCGIFFLAGS = 0x8913
SIOCGIFMTU = 0x8921
SIOCGIFHWADDR = 0x8927

IFF_UP = 1
IFF_TAP = 0x0002
IFF_NO_PI = 0x1000
IFF_VNET_HDR = 0x4000
IFF_MULTI_QUEUE = 0x0100
IFF_ATTACH_QUEUE = 0x0200
IFF_DETACH_QUEUE = 0x0400

TUN_F_CSUM, TUN_F_TSO4, TUN_F_TSO6 = 1, 2, 4
TUN_F_USO = 0x60  # USO4 and USO6: granted together, by Linux 6.2 and later
VNET_HDR_LEN = 10  # struct virtio_net_hdr

TX_QUEUE_LEN = 8192  # frames; the default of 1000 drops silently under a large window
IFA_F_NODAD = 2
NO_RIGHTS = (errno.EPERM, errno.EACCES)


def open_tap(url: TapUrl, ours: Iterable[Interface]) -> tuple[Any, list[int]]:
    """Make or join the tap; its `struct ust_port *`, and the descriptors that this port owns.

    ours: the stack's addresses; the kernel gets url.peer, or a neighbour of each of them.

    Raises ConfigError for addresses that cannot be, PortError for what the system refuses.
    """
    fds: list[int] = []
    try:
        caps = _make(url, ours, fds)
        return _port_of(url, fds, caps), fds
    except BaseException as error:
        raise _closed(url, fds, error) from None


def _make(url: TapUrl, ours: Iterable[Interface], fds: list[int]) -> int:
    """Make or join the tap and set it up; its capabilities. fds: gets a descriptor a queue."""
    ours = list(ours)
    if url.peer is not None and any(url.peer.ip == address.ip for address in ours):
        raise ConfigError(
            f"peer must be the kernel's address, got {url.peer}, which is this stack's own;"
            " take another, or leave it out"
        )
    peers = [url.peer] if url.peer is not None else [peer_of(address) for address in ours]
    for _ in range(url.queues):
        fds.append(os.open(DEVICE, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC))
        _set_interface(fds[-1], url)
    caps = _set_offload(fds) if url.offload else 0
    _configure(url, peers)
    return caps


def _port_of(url: TapUrl, fds: list[int], caps: int) -> Any:
    err = ffi.new("int *")
    header, mac = VNET_HDR_LEN if url.offload else 0, _our_mac(url.name)
    handle = lib.ust_tap_open(fds, len(fds), header, url.mtu, caps, url.uring, mac, err)
    if handle == ffi.NULL:
        raise OSError(-err[0], os.strerror(-err[0]))
    return handle


def _closed(url: TapUrl, fds: list[int], error: BaseException) -> BaseException:
    """Close what is open, and return what to raise."""
    for fd in fds:
        os.close(fd)
    if isinstance(error, OSError) and not isinstance(error, PortError):
        return _explain(url, error)
    return error


class TapQueues:
    """The queues of a tap, held for processes that use one each.

    The kernel keeps the device and spreads flows over all its queues as long as this holds them,
    so a queue whose user has died loses frames, and nothing else changes.
    """

    def __init__(self, url: TapUrl, ours: Iterable[Interface]) -> None:
        """Make or join the tap, as `open_tap` does. Raises as that does."""
        self._url = url
        self._fds: list[int] = []
        try:
            self._caps = _make(url, ours, self._fds)
        except BaseException as error:
            raise _closed(url, self._fds, error) from None

    def open(self, number: int) -> tuple[Any, int]:
        """Return a port on a single queue, and its descriptor, which the port owns."""
        fd = os.dup(self._fds[number])
        try:
            return _port_of(self._url, [fd], self._caps), fd
        except BaseException as error:
            raise _closed(self._url, [fd], error) from None

    def close(self) -> None:
        """Let go of them."""
        while self._fds:
            os.close(self._fds.pop())


def attach(fds: list[int], n: int) -> None:
    """Let the kernel send on the first n queues only."""
    for queue, fd in enumerate(fds):
        flag = IFF_ATTACH_QUEUE if queue < n else IFF_DETACH_QUEUE
        try:
            fcntl.ioctl(fd, TUNSETQUEUE, _ifreq("", flag))
        except OSError as error:
            if error.errno != errno.EINVAL:  # it is so already
                raise


def peer_of(address: Interface) -> Interface:
    """Return the address that the kernel's end gets by default: the first of our network.

    Raises ConfigError when the network has no second address.
    """
    network = address.network
    first = int(network.network_address) + (network.prefixlen < network.max_prefixlen - 1)
    for number in (first, first + 1):
        peer = ipaddress.ip_interface((type(address.ip)(number), network.prefixlen))
        if peer.ip != address.ip and peer.ip in network:
            return peer
    raise ConfigError(
        f"peer must be given, since {address} leaves no address to the kernel;"
        " add ?peer=CIDR or take a shorter prefix"
    )


def _set_interface(fd: int, url: TapUrl) -> None:
    flags = IFF_TAP | IFF_NO_PI | (IFF_VNET_HDR if url.offload else 0)
    if url.queues > 1:
        flags |= IFF_MULTI_QUEUE
    try:
        fcntl.ioctl(fd, TUNSETIFF, _ifreq(url.name, flags))
    except OSError as error:
        # A persistent tap may have been made with multi_queue: then that must be said.
        if error.errno != errno.EINVAL or url.queues > 1:
            raise
        fcntl.ioctl(fd, TUNSETIFF, _ifreq(url.name, flags | IFF_MULTI_QUEUE))


def _set_offload(fds: list[int]) -> int:
    """Ask for super-segments and unfinished checksums; return enum ust_cap as granted.

    What we may send needs nothing but the header before each frame.
    """
    for fd in fds:
        fcntl.ioctl(fd, TUNSETVNETHDRSZ, struct.pack("i", VNET_HDR_LEN))
    granted = min(map(_grant, fds))
    caps = lib.UST_CAP_TX_CSUM | lib.UST_CAP_TSO
    if granted & TUN_F_CSUM:
        caps |= lib.UST_CAP_RX_CSUM
    if granted & TUN_F_TSO4:
        caps |= lib.UST_CAP_LRO
    if granted & TUN_F_USO:
        caps |= lib.UST_CAP_USO
    return int(caps)


def _grant(fd: int) -> int:
    tso = TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6
    for offload in (tso | TUN_F_USO, tso, TUN_F_CSUM):
        try:
            fcntl.ioctl(fd, TUNSETOFFLOAD, offload)
        except OSError:
            continue
        return offload
    return 0


def _configure(url: TapUrl, peers: list[Interface]) -> None:
    """Give the kernel's end its MTU and addresses and set it up, as far as that is needed."""
    try:
        # pyroute2 runs an event loop of its own, which one thread cannot do inside another.
        with ThreadPoolExecutor(1) as helper:
            helper.submit(_set_link, url, peers).result()
    except PermissionError:  # a persistent tap of ours; its owner may use it, not change it
        mtu = struct.unpack_from("i", _query(SIOCGIFMTU, url.name), 16)[0]
        if mtu != url.mtu:
            raise _error(
                errno.EPERM, url, f"it has mtu {mtu} and cannot be changed; add ?mtu={mtu}"
            ) from None
        if not struct.unpack_from("h", _query(SIOCGIFFLAGS, url.name), 16)[0] & IFF_UP:
            raise _error(errno.EPERM, url, f"it is down; sudo ip link set {url.name} up") from None


def _set_link(url: TapUrl, peers: list[Interface]) -> None:
    from pyroute2 import IPRoute
    from pyroute2.netlink.exceptions import NetlinkError

    try:
        with IPRoute() as netlink:
            index = netlink.link_lookup(ifname=url.name)[0]
            netlink.link("set", index=index, mtu=url.mtu, txqlen=TX_QUEUE_LEN, state="up")
            present = [
                (ipaddress.ip_address(msg.get_attr("IFA_ADDRESS")), msg["prefixlen"])
                for msg in netlink.get_addr(index=index)
            ]
            for peer in peers:
                if any(ip in peer.network and length for ip, length in present):
                    continue
                flags = IFA_F_NODAD if peer.version == 6 else 0
                netlink.addr(
                    "add",
                    index=index,
                    address=str(peer.ip),
                    prefixlen=peer.network.prefixlen,
                    flags=flags,
                )
    except NetlinkError as error:
        raise OSError(error.code, os.strerror(error.code)) from None


def _our_mac(name: str) -> bytes:
    """Return an address that follows from the kernel's: the same whenever the tap is."""
    theirs = _query(SIOCGIFHWADDR, name)[18:24]
    return bytes([theirs[0] & 0xFC | 2, *theirs[1:5], theirs[5] ^ 1])


def _query(request: int, name: str) -> bytes:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        return fcntl.ioctl(sock, request, _ifreq(name, 0))


def _ifreq(name: str, flags: int) -> bytes:
    return struct.pack("16sH22x", name.encode(), flags)


def _explain(url: TapUrl, error: OSError) -> PortError:
    code = error.errno or 0
    if code == errno.ENOENT:
        return _error(
            code,
            url,
            f"{DEVICE} does not exist; modprobe tun (docker: --device {DEVICE}"
            " --cap-add NET_ADMIN), or use ring:NAME",
        )
    why = {
        errno.EPERM: "needs CAP_NET_ADMIN; run as root or in a user namespace of your own",
        errno.EACCES: f"no access to {DEVICE}; sudo chmod 666 {DEVICE}, or run as root",
        errno.EBUSY: "another process has it; end that one, or take another name",
        errno.EINVAL: "it exists with other properties; make it with `ip tuntap add mode tap"
        f"{' multi_queue' if url.queues > 1 else ''}`, or take another name",
        errno.EADDRNOTAVAIL: "the kernel refuses the peer's address; give another ?peer=CIDR",
    }
    return _error(code, url, why.get(code, f"{os.strerror(code)}; take another name"))


def _error(code: int, url: TapUrl, reason: str) -> PortError:
    return PortError(f"cannot open {url}: {reason}", code)
