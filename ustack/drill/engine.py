# SPDX-License-Identifier: BSD-3-Clause
"""The engine as a drill's backend: one interface, virtual time, no root and no waiting.

The peer is behind a gateway whose MAC address is known, so that neither ARP nor neighbour discovery
disturbs. Time only moves by advance(), from one of the engine's deadlines to the next.
"""

from __future__ import annotations

import errno
import select
import socket as linux
from collections import deque
from collections.abc import Callable
from typing import Any

from ustack import _options
from ustack._native import check, ffi, lib, pack_address, unpack_address
from ustack._settings import settings
from ustack.drill.backend import SECOND, Host, Sent
from ustack.drill.sysctl import BUFFERS, DEFAULTS, engine_settings
from ustack.tcp_info import STATES, TcpInfo

__all__ = ["EngineBackend"]

OUR_MAC = bytes.fromhex("020000000001")
THEIR_MAC = bytes.fromhex("020000000002")
SYNC_ROUNDS = 1000  # rounds at one moment after which the engine counts as stuck

#: Small tables: an engine is made for every script.
SMALL = {
    "mbuf.small": 4096,
    "mbuf.large": 16,
    "mbuf.refs": 4096,
    "neigh.entries": 8,
    "ip.frag_queues": 4,
    "ip.mtu_entries": 8,
    "udp.max_socks": 8,
    "ip6.dad_transmits": 0,
    "arp.announce": 0,
    "tcp.pacing": 0,  # scripts count on a device with a FIFO
    "tcp.max_tcbs": 64,
    "tcp.max_listeners": 8,
    "tcp.max_syn_backlog": 64,
    "tcp.max_tw_buckets": 64,
    "tcp.max_reass": 16,
}
_MSG = {
    linux.MSG_PEEK: lib.UST_MSG_PEEK,
    linux.MSG_MORE: lib.UST_MSG_MORE,
    linux.MSG_OOB: lib.UST_MSG_OOB,
    linux.MSG_TRUNC: lib.UST_MSG_TRUNC,
}
_MSG_QUIET = linux.MSG_DONTWAIT | linux.MSG_NOSIGNAL | linux.MSG_WAITALL | linux.MSG_EOR
_MSG_FASTOPEN = 0x20000000


class EngineBackend:
    """One engine; see Backend for the methods."""

    def __init__(self, host: Host, seed: int = 1) -> None:
        self.host = host
        self.sent: deque[Sent] = deque()
        self.patience = 60 * SECOND
        self.unknown: list[str] = []
        self._now = SECOND
        self._rows = settings()
        self._raw = self._make(seed)
        self._buf = ffi.new("uint8_t[]", 1 << 17)
        self._families: dict[int, int] = {}
        self._strings: dict[tuple[int, int, int], bytes] = {}

    def _make(self, seed: int) -> Any:
        config = ffi.gc(lib.ust_config_new(b"linux"), lib.ust_config_free)
        for name, value in SMALL.items():
            done = lib.ust_config_set(config, name.encode(), value)  # law 3: once a setting
            check(done, f"setting {name}={value}")
        for key, text in (BUFFERS | self.host.sysctls).items():
            if not self._configure(config, key, text) and DEFAULTS.get(key) != text:
                self.unknown.append(f"sysctl {key}={text}")
        lib.ust_config_entropy(config, seed, bytes(range(32)))
        err = ffi.new("int *")
        raw = lib.ust_engine_new(config, err)
        if raw == ffi.NULL:
            check(err[0], "a new engine")
        raw = ffi.gc(raw, lib.ust_engine_free)
        host = self.host
        lib.ust_engine_tick(raw, self._now)
        iface = check(lib.ust_engine_add_iface(raw, OUR_MAC, host.mtu, 0), f"mtu {host.mtu}")
        local, gateway = pack_address(host.local), pack_address(host.gateway)
        check(lib.ust_engine_add_addr(raw, iface, local, host.prefix), f"address {host.local}")
        check(lib.ust_engine_add_neigh(raw, iface, gateway, THEIR_MAC), "the gateway")
        anywhere = pack_address("::" if host.version == 6 else "0.0.0.0")
        check(lib.ust_engine_add_route(raw, iface, anywhere, 0, gateway), "the route")
        return raw

    def _configure(self, config: Any, key: str, text: str) -> bool:
        """Set what a sysctl stands for; False if the engine has no such setting."""
        return self._apply(key, text, lambda n, v: lib.ust_config_set(config, n.encode(), v))

    def _apply(self, key: str, text: str, set_one: Callable[[str, int], int]) -> bool:
        try:
            pairs = list(engine_settings(key, text))
        except ValueError:
            return False
        done = bool(pairs)
        for name, value in pairs:
            row = self._rows.get(name)
            done &= row is not None and set_one(name, min(max(value, row.min), row.max)) == 0
        return done

    # ------------------------------------------------------------ time and packets

    @property
    def now(self) -> int:
        """Virtual ns."""
        return self._now

    def inject(self, packet: bytes) -> None:
        """One packet, as large as it likes: what a NIC with LRO would give."""
        ethertype = b"\x86\xdd" if packet[0] >> 4 == 6 else b"\x08\x00"
        frame = OUR_MAC + THEIR_MAC + ethertype + packet
        result = lib.ust_engine_inject(self._raw, self._now, 0, frame, len(frame), 0)
        check(result, f"a frame of {len(frame)} bytes")
        self._collect()

    def _collect(self) -> None:
        """Take what is due to be sent now."""
        while True:
            size = lib.ust_engine_extract(  # law 3: once a packet, each is looked at
                self._raw, self._now, self._buf, len(self._buf)
            )
            if size <= 0:
                return
            frame = bytes(ffi.buffer(self._buf, size))
            if frame[12:14] in (b"\x08\x00", b"\x86\xdd"):
                self.sent.append(Sent(self._now, frame[14:]))

    def advance(self, until: int, stop: Callable[[], bool]) -> bool:
        """From deadline to deadline, up to until."""
        rounds = 0
        while True:
            self._collect()
            if stop():
                return True
            deadline = int(lib.ust_engine_deadline(self._raw))  # law 3: once a deadline
            if deadline > until:
                if until > self._now:
                    self._now = until
                    lib.ust_engine_tick(self._raw, until)  # law 3: once a call
                return False
            rounds = 0 if deadline > self._now else rounds + 1
            if rounds > SYNC_ROUNDS:
                raise RuntimeError(f"the engine's deadline stays at {deadline} ns")
            self._now = max(self._now, deadline)
            lib.ust_engine_tick(self._raw, self._now)  # law 3: once a deadline

    def sysctl(self, key: str, value: str) -> bool:
        """Change a setting that is live."""
        return self._apply(key, value, lambda n, v: lib.ust_engine_set(self._raw, n.encode(), v))

    # -------------------------------------------------------------------- sockets

    def socket(self, family: int, kind: int) -> int:
        """TCP or UDP."""
        make = lib.ust_udp_socket if kind & 0xF == linux.SOCK_DGRAM else lib.ust_socket
        handle = check(make(self._raw), "socket")
        self._families[handle] = family
        return handle

    def bind(self, handle: int, address: str, port: int) -> None:
        """Bind."""
        check(lib.ust_bind(self._raw, handle, pack_address(address), port), "bind")

    def listen(self, handle: int, backlog: int) -> None:
        """Listen."""
        check(lib.ust_listen(self._raw, handle, backlog), "listen")

    def accept(self, handle: int) -> int:
        """The next connection."""
        new = check(lib.ust_accept(self._raw, handle), "accept")
        self._families[new] = self._families[handle]
        return new

    def connect(self, handle: int, address: str, port: int) -> None:
        """Begin to connect."""
        result = lib.ust_connect(self._raw, handle, pack_address(address), port)
        self._collect()
        check(result, "connect")

    def send(self, handle: int, data: bytes, flags: int, to: tuple[str, int] | None = None) -> int:
        """Write."""
        if to is not None and flags & _MSG_FASTOPEN:
            return self._connect_with_text(handle, data, flags & ~_MSG_FASTOPEN, to)
        ours = self._flags(flags)
        if to is None:
            result = lib.ust_send(self._raw, handle, data, len(data), ours)
        else:
            addr = pack_address(to[0])
            result = lib.ust_sendto(self._raw, handle, data, len(data), addr, to[1])
        self._collect()
        return check(result, "send")

    def _connect_with_text(self, handle: int, data: bytes, flags: int, to: tuple[str, int]) -> int:
        """MSG_FASTOPEN: a connect() that waits for the first text, and that text (RFC 7413)."""
        lib.ust_setopt(self._raw, handle, lib.UST_OPT_FASTOPEN_CONNECT, 1)
        self.connect(handle, *to)
        return self.send(handle, data, flags)

    def recv(self, handle: int, size: int, flags: int) -> bytes:
        """Read."""
        ours = self._flags(flags)
        buf = self._buf if size <= len(self._buf) else ffi.new("uint8_t[]", size)
        got = lib.ust_recv(self._raw, handle, buf, size, ours)
        data = bytes(ffi.buffer(buf, max(got, 0)))  # before frames are put into the same buffer
        self._collect()
        check(got, "recv")
        return data

    @staticmethod
    def _flags(flags: int) -> int:
        ours = 0
        for theirs, bit in _MSG.items():
            if flags & theirs:
                ours |= bit
        left = flags & ~(_MSG_QUIET | sum(_MSG))
        if left:
            raise OSError(errno.EOPNOTSUPP, f"flags {left:#x} of a message are not supported")
        return ours

    def shutdown(self, handle: int, how: int) -> None:
        """End one direction or both."""
        result = lib.ust_shutdown(self._raw, handle, how)
        self._collect()
        check(result, "shutdown")

    def close(self, handle: int) -> None:
        """Close."""
        result = lib.ust_close(self._raw, handle)
        self._collect()
        check(result, "close")

    def setsockopt(self, handle: int, level: int, name: int, value: int | bytes) -> None:
        """Set an option."""
        family = self._families.get(handle, linux.AF_INET)
        option = _options.look_up(level, name, to_set=True, family=family)
        number = _options.unpack(level, name, value)
        result = lib.ust_setopt(self._raw, handle, option.number, number)
        self._collect()
        check(result, f"option {name} of level {level}")

    def getsockopt(self, handle: int, level: int, name: int, size: int) -> int | bytes:
        """Read an option."""
        if (level, name) == (linux.SOL_SOCKET, linux.SO_TYPE):
            return int(linux.SOCK_STREAM)
        family = self._families.get(handle, linux.AF_INET)
        option = _options.look_up(level, name, family=family)
        return _options.pack(level, name, self._getopt(handle, option.number), size)

    def _getopt(self, handle: int, number: int) -> int:
        value = ffi.new("int64_t *")
        check(lib.ust_getopt(self._raw, handle, number, value), "getsockopt")
        return int(value[0])

    def ioctl(self, handle: int, request: int) -> int:
        """SIOCINQ, SIOCOUTQ, SIOCOUTQNSD, SIOCATMARK."""
        if request not in _options.IOCTLS:
            raise OSError(errno.ENOTTY, f"ioctl {request:#x} is not supported")
        return self._getopt(handle, _options.IOCTLS[request])

    def poll(self, handle: int) -> int:
        """Readiness as poll() says it."""
        ready = check(lib.ust_ready(self._raw, handle), "poll")
        bits = 0
        for ours, theirs in (
            (lib.UST_READABLE, select.POLLIN | select.POLLRDNORM),
            (lib.UST_WRITABLE, select.POLLOUT | select.POLLWRNORM),
            (lib.UST_HUP, select.POLLHUP),
            (lib.UST_URGENT, select.POLLPRI),
            (lib.UST_ERROR, select.POLLERR),
        ):
            if ready & ours:
                bits |= theirs
        return bits

    # ------------------------------------------------------------------ looking in

    def names(self, handle: int) -> tuple[str, int, str, int]:
        """Both ends."""
        ports, addrs = ffi.new("uint16_t[2]"), ffi.new("struct ust_addr[2]")
        result = lib.ust_names(self._raw, handle, addrs, ports, addrs + 1, ports + 1)
        check(result, "getsockname")
        return unpack_address(addrs[0]), ports[0], unpack_address(addrs[1]), ports[1]

    def tcp_info(self, handle: int) -> bytes:
        """Linux's struct tcp_info."""
        info = ffi.new("struct ust_tcp_info *")
        check(lib.ust_tcp_info(self._raw, handle, info), "TCP_INFO")
        return TcpInfo.read(info).to_linux()

    def _flow(self, local_port: int, remote: str, remote_port: int) -> Any | None:
        info = ffi.new("struct ust_tcp_info *")
        local = pack_address(self.host.local)
        result = lib.ust_flow_info(
            self._raw, local, local_port, pack_address(remote), remote_port, info
        )
        return info if result == 0 else None

    def state(self, local_port: int, remote: str, remote_port: int) -> str:
        """The state of a flow."""
        info = self._flow(local_port, remote, remote_port)
        return STATES[info.state] if info is not None else "CLOSED"

    def describe(self, local_port: int, remote: str, remote_port: int) -> str:
        """The flow's TCB, its sequence numbers relative to the initial ones."""
        info = self._flow(local_port, remote, remote_port)
        if info is None:
            return "CLOSED"
        una, nxt, top = ((n - info.iss) % 2**32 for n in (info.snd_una, info.snd_nxt, info.snd_max))
        rcv = (info.rcv_nxt - info.irs) % 2**32
        ssthresh = "inf" if info.ssthresh == 2**32 - 1 else info.ssthresh
        timers = [
            f"{name} in {(getattr(info, name) - self._now) / 1e6:g} ms"
            for name in ("rexmt", "persist", "delack", "keepalive", "timewait")
            if getattr(info, name)
        ]
        return (
            f"{STATES[info.state]} snd_una {una} snd_nxt {nxt} snd_max {top} snd_wnd {info.snd_wnd}"
            f" rcv_nxt {rcv} rcv_wnd {info.rcv_wnd} mss {info.snd_mss} cwnd {info.cwnd}"
            f" ssthresh {ssthresh} ca_state {info.ca_state} rto {info.rto_us} us"
            f" srtt {info.srtt_us} us outq {info.outq} unsent {info.unsent} inq {info.inq}"
            f" ooo {info.ooo_bytes} {', '.join(timers)}".rstrip()
        )

    def finish(self) -> str:
        """Every invariant must hold."""
        why = ffi.new("char **")
        broken = lib.ust_engine_check(self._raw, ffi.cast("const char **", why))
        return f"invariant {broken}: {ffi.string(why[0]).decode()}" if broken else ""

    def free(self) -> None:
        """Give the engine's memory back."""
        ffi.release(self._raw)
