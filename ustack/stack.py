# SPDX-License-Identifier: BSD-3-Clause
"""A stack: configuration, a port, an engine, and the worker that joins them."""

import errno
import os
import socket
import time
import weakref
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Self

from ustack import _addressing
from ustack._native import NOT_YET, SLICE_NS, check, ffi, lib, pack_address
from ustack._settings import Settings, configure
from ustack.errors import ConfigError, UstackError
from ustack.io import Port, open_port
from ustack.poll import Poll
from ustack.socket import Address, Socket

__all__ = ["Stack"]

_LINGER = 1.0  # seconds that close() gives to what is still to be delivered


class Stack:
    """A TCP/IP stack of one's own on a packet port.

    It has no thread: whichever thread waits in a call of it, or of its sockets, drives it. So a
    peer is answered only while somebody waits, polls or sends. Threads may share it.

    ::

        with Stack(io="ring:demo", address="10.9.0.2/24") as stack:
            with stack.connect(("10.9.0.1", 8000)) as conn:
                conn.sendall(b"GET / HTTP/1.0\\r\\n\\r\\n")
                print(conn.recv(65536))
    """

    def __init__(
        self,
        io: str | Port = "ring:demo",
        address: str | None = None,
        addresses: Iterable[str] = (),
        *,
        gateway: str | None = None,
        capture: str | Path | None = None,
        profile: str = "linux",
        settings: Mapping[str, int] | None = None,
        seed: int | None = None,
        secret: bytes | None = None,
        spin: float = 50e-6,
    ) -> None:
        """Open the port and start.

        io: a URL, ring:NAME[?…] or tap:NAME[?…], or a port that `open_port` gave, which the
        stack then owns. address, addresses: CIDRs. gateway: the default route's. capture: a
        pcapng file to write all frames to. profile: "linux" or "rfc". settings: by the names of
        `ustack.settings()`. seed, secret: an integer and 32 bytes that make runs repeatable;
        from the system's entropy unless given. spin: seconds to poll before sleeping.

        Raises ConfigError for what cannot be, PortError for a port that cannot be opened.
        """
        self._interfaces = _addressing.parse_interfaces(address, addresses, lib.UST_MAX_ADDRS)
        hop = None if gateway is None else _addressing.parse_gateway(gateway, self._interfaces)
        spin_ns = _parse_spin(spin)
        config = configure(profile, settings or {})
        lib.ust_config_entropy(config, *_parse_entropy(seed, secret))
        self._routes: list[_addressing.Network] = []
        self._sockets: weakref.WeakSet[Socket] = weakref.WeakSet()
        self._closed = False
        self._port = open_port(io, addresses=self._interfaces) if isinstance(io, str) else io
        try:
            if self._port.info.n_queues > 1:
                self._port.receive_on(1)  # that of the only worker
            if capture is not None:
                self._port.capture(capture)
            self._engine = _new_engine(config)
            self._worker = self._new_worker(spin_ns)
            self._settings = Settings(self._worker, profile)
            for interface in self._interfaces:
                self._give_address(interface)
            if hop is not None:
                self.add_route("default" if hop.version == 4 else "::/0", str(hop))
        except BaseException:
            self.close(linger=0)
            raise

    def _new_worker(self, spin_ns: int) -> Any:
        info = self._port.info
        iface = lib.ust_engine_add_iface(self._engine, info.mac, info.mtu, info.caps)
        check(iface, f"interface for {self._port}")
        worker = lib.ust_worker_new(self._engine, self._port.handle, iface, 0, spin_ns)
        if worker == ffi.NULL:
            raise OSError(ffi.errno, f"{os.strerror(ffi.errno)}: worker for {self._port}")
        return ffi.gc(worker, lib.ust_worker_free)

    # ------------------------------------------------------------------------- sockets

    def socket(self, family: int = socket.AF_INET) -> Socket:
        """Return a new TCP socket. family: AF_INET or AF_INET6."""
        return Socket(self, family)

    def listen(self, address: Address, backlog: int = 128) -> Socket:
        """Return a socket that listens on address; host "" is every address of the stack.

        Raises OSError(EADDRINUSE) or OSError(EADDRNOTAVAIL).
        """
        sock = self.socket()
        try:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind(address)
            sock.listen(backlog)
        except BaseException:
            sock.close()
            raise
        return sock

    def connect(self, address: Address, timeout: float | None = None) -> Socket:
        """Open a connection and return it established.

        timeout: seconds; None waits until the stack gives up on the SYN (tcp.syn_retries). It
        stays the socket's timeout. Raises as `Socket.connect` does.
        """
        sock = self.socket()
        try:
            sock.settimeout(timeout)
            sock.connect(address)
        except BaseException:
            sock.close()
            raise
        return sock

    def poll(self) -> Poll:
        """Return a new poll object, to wait for many sockets of this stack."""
        return Poll(self)

    def run_once(self, timeout: float = 0.0) -> bool:
        """Give the engine one turn, waiting at most timeout seconds for work; whether there was."""
        end = time.monotonic_ns() + int(timeout * 1e9)
        while True:
            left = max(end - time.monotonic_ns(), 0)
            result = lib.ust_worker_idle(self._worker, min(left, SLICE_NS))  # law 3: once a sleep
            if result not in NOT_YET and result < 0:
                raise self._gone()
            if result > 0 or left == 0:
                return bool(result > 0)

    # ------------------------------------------------------------------- configuration

    @property
    def settings(self) -> Settings:
        """The settings as a mapping; live ones may be assigned to."""
        return self._settings

    def get(self, name: str) -> int:
        """Return one setting; KeyError if there is none of that name."""
        return self._settings[name]

    def set(self, name: str, value: int) -> None:
        """Change a live setting; ConfigError if it cannot be."""
        self._settings[name] = value

    @property
    def addresses(self) -> list[str]:
        """The addresses as CIDRs, in the order given."""
        return [str(interface) for interface in self._interfaces]

    @property
    def mtu(self) -> int:
        """The largest IP packet of the port, in bytes."""
        return int(self._port.info.mtu)

    @property
    def mac(self) -> str:
        """Our address on the wire."""
        return ":".join(f"{byte:02x}" for byte in bytes(self._port.info.mac))

    @property
    def closed(self) -> bool:
        """Whether close() was called."""
        return self._closed

    def add_address(self, address: str) -> None:
        """Take one more address, a CIDR; its network becomes reachable directly."""
        if len(self._interfaces) >= lib.UST_MAX_ADDRS:
            raise ConfigError(
                f"a stack has at most {lib.UST_MAX_ADDRS} addresses, cannot add {address!r};"
                " open another stack"
            )
        interface = _addressing.parse_interface(address)
        self._give_address(interface)
        self._interfaces.append(interface)

    def _give_address(self, interface: _addressing.Interface) -> None:
        if interface.version != 4:  # until there is neighbour discovery
            raise ConfigError(f"address must be IPv4 so far, got {interface}; take an IPv4 CIDR")
        addr, length = pack_address(str(interface.ip)), interface.network.prefixlen
        result = lib.ust_worker_add_addr(self._worker, addr, length)
        if result == -errno.EEXIST:
            raise ConfigError(f"address {interface} is given twice; give it once")
        check(result, f"address {interface}")

    def add_route(self, network: str, gateway: str) -> None:
        """Send what goes to network (a CIDR, or "default") by way of a neighbour."""
        dst = _addressing.parse_network(network)
        hop = _addressing.parse_gateway(gateway, self._interfaces)
        if dst.version != hop.version:
            raise ConfigError(f"route to {dst} needs an IPv{dst.version} gateway, got {gateway!r}")
        result = lib.ust_worker_add_route(
            self._worker,
            pack_address(str(dst.network_address)),
            dst.prefixlen,
            pack_address(str(hop)),
        )
        check(result, f"route to {dst} by way of {hop}")
        self._routes.append(dst)

    def owns(self, host: str) -> bool:
        """Return whether host, an address or any other text, is an address of this stack."""
        address = _addressing.parse_host(host)
        return any(address == interface.ip for interface in self._interfaces)

    def reaches(self, host: str) -> bool:
        """Return whether host is in one of the stack's networks, or behind one of its routes."""
        address = _addressing.parse_host(host)
        networks = [interface.network for interface in self._interfaces] + self._routes
        return address is not None and any(address in network for network in networks)

    # --------------------------------------------------------------------- looking in

    def counters(self) -> dict[str, int]:
        """Return all counters by name: the engine's, the port's (port.*), the worker's."""
        values = ffi.new("uint64_t[]", lib.ust_counter_count())
        self._check(lib.ust_worker_counters(self._worker, values))
        port, worker = ffi.new("struct ust_port_stats *"), ffi.new("struct ust_worker_stats *")
        self._check(lib.ust_worker_port_stats(self._worker, port))
        self._check(lib.ust_worker_stats(self._worker, worker))
        numbers = range(len(values))
        names = (ffi.string(lib.ust_counter_name(i)).decode() for i in numbers)  # law 3: a tool's
        return (
            dict(zip(names, values, strict=True))
            | _fields(port, "port.")
            | _fields(worker, "worker.")
        )

    def usage(self) -> dict[str, int]:
        """Return the resources in use, and the limit of each under its name with _max."""
        raw = ffi.new("struct ust_usage *")
        self._check(lib.ust_worker_usage(self._worker, raw))
        return _fields(raw)

    def __repr__(self) -> str:
        state = "closed" if self._closed else ", ".join(self.addresses)
        return f"<ustack.Stack on {self._port}: {state}>"

    # ------------------------------------------------------------------------ lifetime

    def close(self, linger: float = _LINGER) -> None:
        """Close all sockets, deliver what is still to be sent, and leave the port.

        linger: seconds that this may take. Calls on the stack and its sockets then fail, those
        of sockets with EBADF; threads that wait are sent away. Closing twice is harmless.
        """
        if self._closed:
            return
        self._closed = True
        try:
            if hasattr(self, "_worker"):
                for sock in list(self._sockets):
                    sock.close()
                self._drain(linger)
        finally:
            if hasattr(self, "_worker"):
                lib.ust_worker_stop(self._worker)
            self._engine = None
            self._port.close()

    def _drain(self, linger: float) -> None:
        """Drive the engine until no connection is left but those in TIME-WAIT."""
        end = time.monotonic_ns() + int(linger * 1e9)
        while self.usage()["tcbs"] > 0:
            left = end - time.monotonic_ns()
            if left <= 0:
                break
            lib.ust_worker_idle(self._worker, min(left, SLICE_NS))  # law 3: once a sleep

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def _check(self, result: int) -> None:
        if result < 0:
            raise self._gone()

    def _gone(self) -> UstackError:
        return UstackError(f"{self!r} can no longer be used")


def _new_engine(config: Any) -> Any:
    err = ffi.new("int *")
    engine = lib.ust_engine_new(config, err)
    if engine == ffi.NULL:
        raise OSError(-err[0], f"{os.strerror(-err[0])}: engine; lower the mbuf.* and tcp.max_*")
    return ffi.gc(engine, lib.ust_engine_free)


def _parse_spin(spin: float) -> int:
    if not 0 <= spin <= 10:
        raise ConfigError(f"spin must be 0..10 seconds, got {spin!r}; 50e-6 is usual")
    return int(spin * 1e9)


def _parse_entropy(seed: int | None, secret: bytes | None) -> tuple[int, bytes]:
    if seed is None:
        seed = int.from_bytes(os.urandom(8), "little")
    if secret is None:
        secret = os.urandom(lib.UST_SECRET_LEN)
    if not 0 <= seed < 1 << 64:
        raise ConfigError(f"seed must be 0..2**64-1, got {seed}; take fewer bits")
    if len(secret) != lib.UST_SECRET_LEN:
        raise ConfigError(
            f"secret must be {lib.UST_SECRET_LEN} bytes, got {len(secret)};"
            " os.urandom makes good ones"
        )
    return seed, secret


def _fields(raw: Any, prefix: str = "") -> dict[str, int]:
    """Return the members of a struct of integers by name."""
    return {prefix + name: getattr(raw, name) for name, _ in ffi.typeof(raw).item.fields}
