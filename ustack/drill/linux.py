# SPDX-License-Identifier: BSD-3-Clause
"""This machine's Linux as a drill's backend: the oracle that the interpreter is measured by.

The script runs in a process of its own, in a network namespace that holds nothing but a tun device,
on the wall's clock. sysctls are set in that namespace only; no command of the script is run.

    verdict = play(parse_file("handshake.pkt"), Mode.STRICT, 4)

Needs /dev/net/tun, and root or user namespaces.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import gc
import json
import os
import select
import socket
import struct
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path

from ustack.drill.backend import SECOND, Host, Sent
from ustack.drill.compare import Mode
from ustack.drill.packet import checksum
from ustack.drill.runner import run
from ustack.drill.script import Script
from ustack.drill.sysctl import BUFFERS, DEFAULTS
from ustack.drill.verdict import Verdict
from ustack.io import userns

__all__ = ["LinuxBackend", "play"]

DEVICE, NAME = "/dev/net/tun", "tun0"
TUNSETIFF, TUNSETOFFLOAD, SIOCSIFMTU, SIOCSIFFLAGS = 0x400454CA, 0x400454D0, 0x8922, 0x8914
IFF_TUN, IFF_NO_PI, IFF_VNET_HDR, IFF_UP = 0x0001, 0x1000, 0x4000, 1
TUN_F_CSUM, TUN_F_TSO = 1, 2 | 4
VNET_HDR_LEN, NEEDS_CSUM = 10, 1  # struct virtio_net_hdr, and a flag in it
CONGESTION_CONTROL = "net.ipv4.tcp_congestion_control"
NAP = 200_000  # ns between looks at sockets while a call waits

#: By Linux's number.
_STATES = ",ESTABLISHED,SYN_SENT,SYN_RECEIVED,FIN_WAIT_1,FIN_WAIT_2,TIME_WAIT,CLOSED,CLOSE_WAIT,"
_STATES += "LAST_ACK,LISTEN,CLOSING,SYN_RECEIVED"


def play(script: Script, mode: Mode, version: int | None, best_of: int = 1) -> Verdict:
    """Play a script against Linux, up to best_of times until it passes: the clock is the wall's."""
    verdict = _play_once(script, mode, version)
    for _ in range(best_of - 1):
        if verdict.passed:
            break
        verdict = _play_once(script, mode, version)
    return verdict


def _play_once(script: Script, mode: Mode, version: int | None) -> Verdict:
    """In a child, which may then enter a namespace and leave it by ending."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.close(reader)
            verdict = _in_namespace(script, mode, version)
            with os.fdopen(writer, "w") as pipe:
                pipe.write(verdict.to_json())
        finally:
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as pipe:
        text = pipe.read()
    os.waitpid(child, 0)
    if not text:
        return Verdict(script.path, mode.value, version or 4, "error", got="the child ended early")
    return Verdict(**json.loads(text))


def _in_namespace(script: Script, mode: Mode, version: int | None) -> Verdict:
    try:
        userns.isolate()
        _hurry()
        return run(script, mode, version, LinuxBackend)
    except Exception as error:
        name = type(error).__name__
        return Verdict(script.path, mode.value, version or 4, "error", got=f"{name}: {error}")


def _hurry() -> None:
    """Be late as rarely as can be."""
    gc.disable()
    try:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
    except OSError:
        pass  # it needs rights


class LinuxBackend:
    """The kernel's sockets behind a tun device; see Backend for the methods."""

    def __init__(self, host: Host) -> None:
        self.host = host
        self.sent: deque[Sent] = deque()
        self.patience = SECOND // 2
        self.unknown: list[str] = []
        self.sockets: dict[int, socket.socket] = {}
        for key in ("net.ipv6.conf.all.accept_dad", "net.ipv6.conf.default.accept_dad"):
            self.sysctl(key, "0")
        self.tun = _open_tun(host)
        for key, value in (BUFFERS | host.sysctls).items():
            if not self.sysctl(key, value) and DEFAULTS.get(key) != value:
                self.unknown.append(f"sysctl {key}={value}")
        self._settle()

    def _settle(self) -> None:
        """Let what the kernel sends for itself pass by."""
        time.sleep(0.01)
        self._collect()
        self.sent.clear()

    # ------------------------------------------------------------ time and packets

    @property
    def now(self) -> int:
        """The wall's clock, monotonic."""
        return time.monotonic_ns()

    def inject(self, packet: bytes) -> None:
        """As from the wire."""
        os.write(self.tun, bytes(VNET_HDR_LEN) + packet)
        self._collect()

    def _collect(self) -> None:
        while True:
            try:
                frame = os.read(self.tun, 1 << 17)
            except BlockingIOError:
                return
            self.sent.append(Sent(time.monotonic_ns(), _with_checksum(frame)))

    def advance(self, until: int, stop: Callable[[], bool]) -> bool:
        """Sleep on the tun device, and look after the sockets now and then."""
        while True:
            self._collect()
            if stop():
                return True
            left = until - self.now
            if left <= 0:
                return False
            select.select([self.tun], [], [], min(left, NAP) / SECOND)

    def sysctl(self, key: str, value: str) -> bool:
        """Of this network namespace."""
        try:
            Path("/proc/sys", key.replace(".", "/")).write_text(value)
        except OSError:
            return False
        return True

    # -------------------------------------------------------------------- sockets

    def _keep(self, sock: socket.socket) -> int:
        sock.setblocking(False)
        self.sockets[sock.fileno()] = sock
        return sock.fileno()

    def socket(self, family: int, kind: int) -> int:
        """A kernel socket.

        A namespace of one's own may not choose every congestion control as its default: the one
        that the script asks for is set on the socket, from which accepted ones inherit it.
        """
        sock = socket.socket(family, kind)
        if kind == socket.SOCK_STREAM:
            name = self.host.sysctls.get(CONGESTION_CONTROL, "cubic").encode()
            with contextlib.suppress(OSError):
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, name)
        return self._keep(sock)

    def _address(self, handle: int, address: str, port: int) -> tuple[str, int]:
        if self.sockets[handle].family == socket.AF_INET6 and ":" not in address:
            address = f"::ffff:{address}"
        return address, port

    def bind(self, handle: int, address: str, port: int) -> None:
        """Bind."""
        self.sockets[handle].bind(self._address(handle, address, port))

    def listen(self, handle: int, backlog: int) -> None:
        """Listen."""
        self.sockets[handle].listen(backlog)

    def accept(self, handle: int) -> int:
        """The next connection."""
        return self._keep(self.sockets[handle].accept()[0])

    def connect(self, handle: int, address: str, port: int) -> None:
        """Begin to connect."""
        try:
            self.sockets[handle].connect(self._address(handle, address, port))
        finally:
            self._collect()

    def send(self, handle: int, data: bytes, flags: int, to: tuple[str, int] | None = None) -> int:
        """Write; SIGPIPE is nobody's."""
        sock = self.sockets[handle]
        try:
            if to is not None:
                return sock.sendto(data, flags | socket.MSG_NOSIGNAL, self._address(handle, *to))
            return sock.send(data, flags | socket.MSG_NOSIGNAL)
        finally:
            self._collect()

    def recv(self, handle: int, size: int, flags: int) -> bytes:
        """Read."""
        return self.sockets[handle].recv(size, flags & ~socket.MSG_WAITALL)

    def shutdown(self, handle: int, how: int) -> None:
        """End one direction or both."""
        self.sockets[handle].shutdown(how)

    def close(self, handle: int) -> None:
        """Close."""
        self.sockets.pop(handle).close()
        self._collect()

    def setsockopt(self, handle: int, level: int, name: int, value: int | bytes) -> None:
        """Set an option."""
        self.sockets[handle].setsockopt(level, name, value)

    def getsockopt(self, handle: int, level: int, name: int, size: int) -> int | bytes:
        """Read an option."""
        sock = self.sockets[handle]
        return sock.getsockopt(level, name, size) if size else sock.getsockopt(level, name)

    def ioctl(self, handle: int, request: int) -> int:
        """SIOCINQ and its like."""
        raw = fcntl.ioctl(handle, request, bytes(4))
        return int(struct.unpack("=i", raw)[0])

    def poll(self, handle: int) -> int:
        """As poll() says it."""
        poller = select.poll()
        everything = select.POLLIN | select.POLLOUT | select.POLLPRI | select.POLLRDHUP
        poller.register(handle, everything | select.POLLRDNORM | select.POLLWRNORM)
        found = poller.poll(0)
        return found[0][1] if found else 0

    # ------------------------------------------------------------------ looking in

    def names(self, handle: int) -> tuple[str, int, str, int]:
        """Both ends."""
        sock = self.sockets[handle]
        local = sock.getsockname()
        try:
            remote = sock.getpeername()
        except OSError:
            remote = ("", 0)
        return local[0], local[1], remote[0], remote[1]

    def tcp_info(self, handle: int) -> bytes:
        """The structure itself."""
        return self.sockets[handle].getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 512)

    def _rows(self) -> list[list[str]]:
        rows = []
        for name in ("tcp", "tcp6"):
            lines = Path("/proc/self/net", name).read_text().splitlines()[1:]
            rows += [line.split() for line in lines]
        return rows

    def state(self, local_port: int, remote: str, remote_port: int) -> str:
        """From /proc/net/tcp."""
        for row in self._rows():
            ports = [int(end.rsplit(":", 1)[1], 16) for end in row[1:3]]
            if ports == [local_port, remote_port]:
                return _STATES.split(",")[int(row[3], 16)]
        return "CLOSED"

    def describe(self, local_port: int, remote: str, remote_port: int) -> str:
        """The state is all that Linux tells of a flow."""
        return self.state(local_port, remote, remote_port)

    def finish(self) -> str:
        """Linux is in order."""
        return ""

    def free(self) -> None:
        """Close everything; the namespace goes with the process."""
        for sock in self.sockets.values():
            sock.close()
        os.close(self.tun)


def _open_tun(host: Host) -> int:
    """A tun device with our address on it and everything routed to it."""
    from pyroute2 import IPRoute

    tun = os.open(DEVICE, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    flags = IFF_TUN | IFF_NO_PI | IFF_VNET_HDR
    fcntl.ioctl(tun, TUNSETIFF, struct.pack("16sH22x", NAME.encode(), flags))
    fcntl.ioctl(tun, TUNSETOFFLOAD, TUN_F_CSUM | (TUN_F_TSO if host.segmentation else 0))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        fcntl.ioctl(sock, SIOCSIFMTU, struct.pack("16si20x", NAME.encode(), host.mtu))
        fcntl.ioctl(sock, SIOCSIFFLAGS, struct.pack("16sH22x", NAME.encode(), IFF_UP))
    with IPRoute() as route:
        index = route.link_lookup(ifname=NAME)[0]
        family = socket.AF_INET6 if host.version == 6 else socket.AF_INET
        extra = {"flags": 2} if family == socket.AF_INET6 else {}  # IFA_F_NODAD
        route.addr("add", index=index, address=host.local, prefixlen=host.prefix, **extra)
        route.route("add", dst="default", oif=index, family=family)
    return tun


def _with_checksum(frame: bytes) -> bytes:
    """The packet behind its virtio_net_hdr, with the checksum that was left to the device."""
    flags, _, _, _, start, offset = struct.unpack_from("=BBHHHH", frame)
    packet = frame[VNET_HDR_LEN:]
    if not flags & NEEDS_CSUM:
        return packet
    at = start + offset
    return packet[:at] + checksum(packet[start:]).to_bytes(2, "big") + packet[at + 2 :]


def why_not() -> str:
    """Why there is no Linux backend on this machine; "" if there is."""
    try:
        os.close(os.open(DEVICE, os.O_RDWR))
    except OSError as error:
        return f"{DEVICE}: {errno.errorcode.get(error.errno or 0, '?')}"
    return ""
