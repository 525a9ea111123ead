# SPDX-License-Identifier: BSD-3-Clause
"""One engine as a Python object on virtual time: the least that every test of the engine needs.

Time is an int of nanoseconds and only moves by `now = …`, `tick()` and `run_until()`. A negative
errno from the engine becomes an OSError. All frames are bytes.
"""

from __future__ import annotations

import errno
import ipaddress
import itertools
import os
from collections.abc import Iterator
from typing import Any

from ustack._ustack import ffi, lib

import frames

NEVER = 2**64 - 1
MS = 10**6
SECOND = 10**9

#: Small tables: an engine costs little to make, and a leak shows soon.
SMALL = {
    "mbuf.small": 2048,
    "mbuf.large": 4,
    "mbuf.refs": 2048,
    "neigh.entries": 32,
    "ip.frag_queues": 8,
    "ip.mtu_entries": 8,
    "udp.max_socks": 32,
    "ip6.dad_transmits": 0,
    "tcp.wmem": 1 << 20,  # tests write first and let the windows decide
    "tcp.max_tcbs": 64,
    "tcp.max_listeners": 8,
    "tcp.max_syn_backlog": 64,
    "tcp.max_tw_buckets": 64,
    "tcp.max_reass": 16,
    "tcp.max_cc_states": 32,
}

STATES = {
    getattr(lib, f"UST_{name}"): name
    for name in (
        "ESTABLISHED",
        "SYN_SENT",
        "SYN_RECEIVED",
        "FIN_WAIT_1",
        "FIN_WAIT_2",
        "TIME_WAIT",
        "CLOSED",
        "CLOSE_WAIT",
        "LAST_ACK",
        "LISTEN",
        "CLOSING",
    )
}
COUNTERS = [ffi.string(lib.ust_counter_name(i)).decode() for i in range(lib.ust_counter_count())]


def addr(text: str) -> Any:
    """A `struct ust_addr *` of an address of either version."""
    address = ffi.new("struct ust_addr *")
    raw = frames.packed(text)
    ffi.buffer(address)[:] = raw if len(raw) == 16 else bytes(10) + b"\xff\xff" + raw
    return address


def text(address: Any) -> str:
    """The text of a `struct ust_addr`, an IPv4 one dotted."""
    raw = bytes(ffi.buffer(address.b))
    mapped = raw[:12] == bytes(10) + b"\xff\xff"
    return str(ipaddress.ip_address(raw[12:] if mapped else raw))


def number(setting: str, value: int | str) -> int:
    """The engine's number for the value of a setting, which may be a name."""
    if isinstance(value, int):
        return value
    return check(lib.ust_config_choice(setting.encode(), value.encode()))


def check(result: int) -> int:
    """The result, or the OSError that a negative one means."""
    if result < 0:
        raise OSError(-result, os.strerror(-result))
    return int(result)


class Engine:
    """One engine with one interface and one address."""

    def __init__(
        self,
        address: str = "10.0.0.2",
        prefix: int = 24,
        *,
        mac: bytes = bytes.fromhex("020000000002"),
        mtu: int = 1500,
        caps: int = 0,
        seed: int = 1,
        secret: bytes = bytes(range(32)),
        profile: str = "linux",
        now: int = SECOND,
        settings: dict[str, int | str] | None = None,
    ) -> None:
        cfg = lib.ust_config_new(profile.encode())
        for name, value in (SMALL | (settings or {})).items():
            result = lib.ust_config_set(cfg, name.encode(), number(name, value))
            assert result == 0, f"setting {name}={value}: {errno.errorcode[-result]}"
        lib.ust_config_entropy(cfg, seed, secret)
        err = ffi.new("int *")
        raw = lib.ust_engine_new(cfg, err)
        lib.ust_config_free(cfg)
        assert raw != ffi.NULL, f"ust_engine_new: {err[0]}"
        self.raw = ffi.gc(raw, lib.ust_engine_free)
        self.address, self.mac, self.now = address, mac, now
        self.any = "::" if ":" in address else "0.0.0.0"
        self._buf = ffi.new("uint8_t[]", 70000)
        self._values = ffi.new("uint64_t[]", len(COUNTERS))
        lib.ust_engine_tick(self.raw, now)
        self.iface = check(lib.ust_engine_add_iface(self.raw, mac, mtu, caps))
        check(lib.ust_engine_add_addr(self.raw, self.iface, addr(address), prefix))

    def free(self) -> None:
        """Give the engine's memory back now; the object is then of no use."""
        ffi.release(self.raw)

    def clone(self) -> Engine:
        """A second engine in the same state."""
        raw = lib.ust_engine_clone(self.raw)
        assert raw != ffi.NULL
        twin = object.__new__(Engine)
        twin.__dict__.update(self.__dict__)
        twin.raw = ffi.gc(raw, lib.ust_engine_free)
        return twin

    # ------------------------------------------------------------ frames and time

    def inject(self, frame: bytes, flags: int = 0, iface: int | None = None) -> None:
        """One frame from the wire, by default of the first interface."""
        iface = self.iface if iface is None else iface
        check(lib.ust_engine_inject(self.raw, self.now, iface, frame, len(frame), flags))

    def extract(self) -> bytes | None:
        """The next frame for the wire, or None."""
        size = check(lib.ust_engine_extract(self.raw, self.now, self._buf, len(self._buf)))
        return bytes(ffi.buffer(self._buf, size)) if size else None

    def output(self) -> Iterator[bytes]:
        """All frames that are due now."""
        for _ in range(100_000):
            frame = self.extract()
            if frame is None:
                return
            yield frame
        raise AssertionError("output does not end")

    def tick(self) -> None:
        """Run the timers that are due."""
        lib.ust_engine_tick(self.raw, self.now)

    @property
    def deadline(self) -> int:
        """When tick must next be called; NEVER for never."""
        return int(lib.ust_engine_deadline(self.raw))

    def run_until(self, until: int) -> Iterator[bytes]:
        """Let time pass, timer by timer; give each frame while `now` is its time."""
        stuck = 0
        while True:
            yield from self.output()
            deadline = self.deadline
            if deadline > until:
                self.now = max(self.now, until)
                return
            stuck = 0 if deadline > self.now else stuck + 1
            assert stuck < 1000, f"the deadline stays {self.now - deadline} ns in the past"
            self.now = max(self.now, deadline)
            self.tick()

    # --------------------------------------------------------------- looking in

    def counters(self) -> dict[str, int]:
        """All counters by name."""
        lib.ust_engine_counters(self.raw, self._values)
        return dict(zip(COUNTERS, ffi.unpack(self._values, len(COUNTERS)), strict=True))

    def usage(self) -> Any:
        """`struct ust_usage` of now."""
        usage = ffi.new("struct ust_usage *")
        lib.ust_engine_usage(self.raw, usage)
        return usage

    def check(self) -> None:
        """Fail when an invariant of the engine does not hold."""
        why = ffi.new("char **")
        broken = lib.ust_engine_check(self.raw, ffi.cast("const char **", why))
        assert broken == 0, f"invariant {broken}: {ffi.string(why[0]).decode()}"

    @property
    def trace_hash(self) -> int:
        """The hash over all frames so far; needs the setting engine.trace."""
        return int(lib.ust_engine_trace_hash(self.raw))

    def set(self, name: str, value: int | str) -> None:
        """Change a live setting."""
        check(lib.ust_engine_set(self.raw, name.encode(), number(name, value)))

    def get(self, name: str) -> int:
        """A setting's value."""
        value = ffi.new("int64_t *")
        check(lib.ust_engine_get(self.raw, name.encode(), value))
        return int(value[0])

    def flow(self, port: int, peer: str, peer_port: int) -> Any | None:
        """`struct ust_tcp_info` of a flow, half-open and TIME-WAIT ones included; None for none."""
        return self.flow_between(self.address, port, peer, peer_port)

    def flow_between(self, address: str, port: int, peer: str, peer_port: int) -> Any | None:
        """The same from any address of ours."""
        info = ffi.new("struct ust_tcp_info *")
        result = lib.ust_flow_info(self.raw, addr(address), port, addr(peer), peer_port, info)
        if result == -errno.ENOENT:
            return None
        check(result)
        return info

    # ----------------------------------------------------------------- sockets

    def neighbour(self, address: str, mac: bytes, iface: int | None = None) -> None:
        """Add a permanent neighbour."""
        iface = self.iface if iface is None else iface
        check(lib.ust_engine_add_neigh(self.raw, iface, addr(address), mac))

    def forget_neighbour(self, address: str) -> None:
        """Remove a neighbour."""
        check(lib.ust_engine_del_neigh(self.raw, self.iface, addr(address)))

    def route(self, dst: str, prefix: int, gateway: str, iface: int | None = None) -> None:
        """Add a route."""
        iface = self.iface if iface is None else iface
        check(lib.ust_engine_add_route(self.raw, iface, addr(dst), prefix, addr(gateway)))

    def del_route(self, dst: str, prefix: int, gateway: str = "::") -> None:
        """Remove a route."""
        check(lib.ust_engine_del_route(self.raw, addr(dst), prefix, addr(gateway)))

    def add_iface(self, mac: bytes, mtu: int = 1500, caps: int = 0) -> int:
        """A further interface's number."""
        return check(lib.ust_engine_add_iface(self.raw, mac, mtu, caps))

    def add_addr(self, address: str, prefix: int, iface: int | None = None) -> None:
        """Add an address."""
        iface = self.iface if iface is None else iface
        check(lib.ust_engine_add_addr(self.raw, iface, addr(address), prefix))

    def del_addr(self, address: str) -> None:
        """Remove an address."""
        check(lib.ust_engine_del_addr(self.raw, addr(address)))

    def enable_ipv6(self, iface: int | None = None) -> None:
        """Take part in IPv6 on an interface."""
        check(lib.ust_engine_enable_ipv6(self.raw, self.iface if iface is None else iface))

    def enable_loopback(self) -> None:
        """Own 127.0.0.0/8 and ::1."""
        check(lib.ust_engine_enable_loopback(self.raw))

    def _rows(self, kind: str) -> Iterator[Any]:
        for i in itertools.count():
            row = ffi.new(f"struct ust_{kind}_row *")
            if getattr(lib, f"ust_engine_{kind}")(self.raw, i, row) == -errno.ENOENT:
                return
            yield row

    def addrs(self) -> dict[str, Any]:
        """`struct ust_addr_row` by address."""
        return {text(row.addr): row for row in self._rows("addr")}

    def routes(self) -> list[tuple[str, int, str]]:
        """Destination, prefix length, gateway of each route."""
        return [(text(r.dst), int(r.prefix_len), text(r.gateway)) for r in self._rows("route")]

    def neighbours(self) -> dict[str, tuple[str, bytes]]:
        """State and MAC by address."""
        names = lib.ust_neigh_state_name
        return {
            text(row.addr): (ffi.string(names(row.state)).decode(), bytes(ffi.buffer(row.mac)))
            for row in self._rows("neigh")
        }

    def path_mtu(self, dst: str) -> int:
        """Bytes of a packet that the path is known to carry."""
        return int(lib.ust_engine_path_mtu(self.raw, addr(dst)))

    def udp(self, address: str | None = None, port: int = 0) -> int:
        """A UDP socket's handle, bound unless address is None."""
        handle = check(lib.ust_udp_socket(self.raw))
        if address is not None:
            self.bind(handle, address, port)
        return handle

    def bind(self, handle: int, address: str, port: int = 0) -> None:
        """Bind a socket."""
        check(lib.ust_bind(self.raw, handle, addr(address), port))

    def associate(self, handle: int, address: str, port: int) -> None:
        """Connect a UDP socket."""
        check(lib.ust_connect(self.raw, handle, addr(address), port))

    def sendto(self, handle: int, data: bytes, address: str | None = None, port: int = 0) -> int:
        """Send a datagram; without an address to the connected peer."""
        to = ffi.NULL if address is None else addr(address)
        return check(lib.ust_sendto(self.raw, handle, data, len(data), to, port))

    def recvfrom(self, handle: int, size: int = 65536, flags: int = 0) -> tuple[bytes, str, int]:
        """A datagram's bytes, and the address and port of its sender."""
        data, info = self.recvmsg(handle, size, flags)
        return data, text(info.src), int(info.port)

    def recvmsg(self, handle: int, size: int = 65536, flags: int = 0) -> tuple[bytes, Any]:
        """A datagram's bytes and its `struct ust_datagram`."""
        buf, info = ffi.new("uint8_t[]", max(size, 1)), ffi.new("struct ust_datagram *")
        got = check(lib.ust_recvfrom(self.raw, handle, buf, size, flags, info))
        return bytes(ffi.buffer(buf, got)), info

    def socket(self) -> int:
        """A new socket's handle."""
        return check(lib.ust_socket(self.raw))

    def listen(self, port: int, backlog: int = 8) -> int:
        """A listener's handle."""
        handle = self.socket()
        try:
            check(lib.ust_bind(self.raw, handle, addr(self.any), port))
            check(lib.ust_listen(self.raw, handle, backlog))
        except OSError:
            self.close(handle)
            raise
        return handle

    def connect(self, peer: str, port: int, local_port: int = 0) -> int:
        """Start an active open."""
        handle = self.socket()
        try:
            if local_port:
                check(lib.ust_bind(self.raw, handle, addr(self.any), local_port))
            result = lib.ust_connect(self.raw, handle, addr(peer), port)
            if result != -errno.EINPROGRESS:
                check(result)
        except OSError:
            self.close(handle)
            raise
        return handle

    def accept(self, listener: int) -> int:
        """The next connection; BlockingIOError for none."""
        return check(lib.ust_accept(self.raw, listener))

    def send(self, handle: int, data: bytes, flags: int = 0) -> int:
        """How many bytes were taken; BlockingIOError for none."""
        return check(lib.ust_send(self.raw, handle, data, len(data), flags))

    def recv(self, handle: int, size: int = 65536, flags: int = 0) -> bytes:
        """Bytes; b"" at the end; BlockingIOError when there are none yet."""
        buf = ffi.new("uint8_t[]", size)
        got = check(lib.ust_recv(self.raw, handle, buf, size, flags))
        return bytes(ffi.buffer(buf, got))

    def shutdown(self, handle: int, how: int = lib.UST_SHUT_WR) -> None:
        """End one direction or both."""
        check(lib.ust_shutdown(self.raw, handle, how))

    def close(self, handle: int) -> None:
        """Give the handle back, in an orderly way."""
        check(lib.ust_close(self.raw, handle))

    def abort(self, handle: int) -> None:
        """Give the handle back with a RST."""
        check(lib.ust_abort(self.raw, handle))

    def setopt(self, handle: int, opt: int, value: int) -> None:
        """Set a socket option."""
        check(lib.ust_setopt(self.raw, handle, opt, value))

    def getopt(self, handle: int, opt: int) -> int:
        """A socket option's value."""
        value = ffi.new("int64_t *")
        check(lib.ust_getopt(self.raw, handle, opt, value))
        return int(value[0])

    def ready(self, handle: int) -> int:
        """Readiness bits."""
        return check(lib.ust_ready(self.raw, handle))

    def info(self, handle: int) -> Any:
        """`struct ust_tcp_info` of a handle."""
        info = ffi.new("struct ust_tcp_info *")
        check(lib.ust_tcp_info(self.raw, handle, info))
        return info

    def names(self, handle: int) -> tuple[int, int]:
        """Local and remote port."""
        ports = ffi.new("uint16_t[2]")
        addrs = ffi.new("struct ust_addr[2]")
        check(lib.ust_names(self.raw, handle, addrs, ports, addrs + 1, ports + 1))
        return int(ports[0]), int(ports[1])

    def peer(self, handle: int) -> tuple[str, int]:
        """The remote address and port."""
        ports = ffi.new("uint16_t[2]")
        addrs = ffi.new("struct ust_addr[2]")
        check(lib.ust_names(self.raw, handle, addrs, ports, addrs + 1, ports + 1))
        return text(addrs[1]), int(ports[1])
