# SPDX-License-Identifier: BSD-3-Clause
"""One engine as a Python object on virtual time: the least that every test of the engine needs.

Time is an int of nanoseconds and only moves by `now = …`, `tick()` and `run_until()`. A negative
errno from the engine becomes an OSError. All frames are bytes.
"""

from __future__ import annotations

import errno
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
    "tcp.max_tcbs": 64,
    "tcp.max_listeners": 8,
    "tcp.max_syn_backlog": 64,
    "tcp.max_tw_buckets": 64,
    "tcp.max_reass": 16,
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
    """A `struct ust_addr *` of a dotted IPv4 address."""
    address = ffi.new("struct ust_addr *")
    ffi.buffer(address)[:] = bytes(10) + b"\xff\xff" + frames.ip4(text)
    return address


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
        settings: dict[str, int] | None = None,
    ) -> None:
        cfg = lib.ust_config_new(profile.encode())
        for name, value in (SMALL | (settings or {})).items():
            result = lib.ust_config_set(cfg, name.encode(), value)
            assert result == 0, f"setting {name}={value}: {errno.errorcode[-result]}"
        lib.ust_config_entropy(cfg, seed, secret)
        err = ffi.new("int *")
        raw = lib.ust_engine_new(cfg, err)
        lib.ust_config_free(cfg)
        assert raw != ffi.NULL, f"ust_engine_new: {err[0]}"
        self.raw = ffi.gc(raw, lib.ust_engine_free)
        self.address, self.mac, self.now = address, mac, now
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

    def inject(self, frame: bytes, flags: int = 0) -> None:
        """One frame from the wire."""
        check(lib.ust_engine_inject(self.raw, self.now, self.iface, frame, len(frame), flags))

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

    def set(self, name: str, value: int) -> None:
        """Change a live setting."""
        check(lib.ust_engine_set(self.raw, name.encode(), value))

    def get(self, name: str) -> int:
        """A setting's value."""
        value = ffi.new("int64_t *")
        check(lib.ust_engine_get(self.raw, name.encode(), value))
        return int(value[0])

    def flow(self, port: int, peer: str, peer_port: int) -> Any | None:
        """`struct ust_tcp_info` of a flow, half-open and TIME-WAIT ones included; None for none."""
        info = ffi.new("struct ust_tcp_info *")
        result = lib.ust_flow_info(self.raw, addr(self.address), port, addr(peer), peer_port, info)
        if result == -errno.ENOENT:
            return None
        check(result)
        return info

    # ----------------------------------------------------------------- sockets

    def neighbour(self, address: str, mac: bytes) -> None:
        """Add a permanent neighbour."""
        check(lib.ust_engine_add_neigh(self.raw, self.iface, addr(address), mac))

    def route(self, dst: str, prefix: int, gateway: str) -> None:
        """Add a route."""
        check(lib.ust_engine_add_route(self.raw, self.iface, addr(dst), prefix, addr(gateway)))

    def socket(self) -> int:
        """A new socket's handle."""
        return check(lib.ust_socket(self.raw))

    def listen(self, port: int, backlog: int = 8) -> int:
        """A listener's handle."""
        handle = self.socket()
        try:
            check(lib.ust_bind(self.raw, handle, addr("0.0.0.0"), port))
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
                check(lib.ust_bind(self.raw, handle, addr("0.0.0.0"), local_port))
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
