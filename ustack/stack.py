# SPDX-License-Identifier: BSD-3-Clause
"""A stack: configuration, ports, an engine, and the worker that joins them."""

import errno
import os
import socket
import time
import weakref
from collections.abc import Iterable, Mapping
from pathlib import Path
from socket import AF_INET, SOCK_DGRAM, SOCK_STREAM, SocketKind
from typing import TYPE_CHECKING, Any, Literal, Self, overload

from ustack import _addressing, _native
from ustack._addressing import Gateway, Interface, Plan, Ports
from ustack._endpoint import Endpoint
from ustack._idle import Spin, enlist, parse_guardian, parse_spin
from ustack._native import NOT_YET, SLICE_NS, check, ffi, lib
from ustack._network import LOOP, Networking
from ustack._settings import Settings, configure
from ustack._sockaddr import Address, family_of
from ustack.control.server import Control
from ustack.datagram import PING_PROTOCOLS, PingSocket, UdpSocket
from ustack.errors import ConfigError, UstackError
from ustack.io import Port, open_port
from ustack.poll import Poll
from ustack.stream import Socket

if TYPE_CHECKING:
    from ustack.crew.member import Member

__all__ = ["Stack"]

_AUTOCONF = 5.0  # seconds to wait for a router's advertisement
_LINGER = 1.0  # seconds that close() gives to what is still to be delivered


class Stack(Networking):
    """A TCP/IP stack of one's own on packet ports.

    Whichever thread waits in a call of it, or of its sockets, drives it; when none has for a
    millisecond, a thread of its own does, so that peers are answered. Threads may share it; a
    child of fork() cannot use it.

    ::

        with Stack(io="ring:demo", address="10.9.0.2/24") as stack:
            with stack.connect(("10.9.0.1", 8000)) as conn:
                conn.sendall(b"GET / HTTP/1.0\\r\\n\\r\\n")
                print(conn.recv(65536))
    """

    def __init__(
        self,
        io: Ports = "ring:demo",
        address: str | None = None,
        addresses: Iterable[str] = (),
        *,
        gateway: str | None = None,
        gateways: Iterable[str] = (),
        autoconf: bool | float = False,
        loopback: bool | None = None,
        capture: str | Path | None = None,
        control: bool | str = False,
        profile: str = "linux",
        settings: Mapping[str, int | str] | None = None,
        seed: int | None = None,
        secret: bytes | None = None,
        spin: Spin | None = None,
        guardian: float | bool | None = None,
        linger: float = _LINGER,
        member: "Member | None" = None,
    ) -> None:
        """Open the ports and start.

        io: a URL, ring:NAME[?…], tap:NAME[?…] or loop:, or a port that `open_port` gave, which
        the stack then owns; a list of those; or a mapping of URLs to their CIDRs. address,
        addresses: CIDRs of the only port. gateway, gateways: of the default routes. autoconf: take
        the addresses that routers advertise, too, and wait for them for so many seconds (True: 5).
        loopback: own 127.0.0.0/8 and ::1, too, which are the kernel's otherwise; None: when no
        port but loop: is given, which has no outside and needs no address.
        capture: a pcapng file to write all frames to; the second port's gets "-2" before its
        suffix, and so on. control: let `ustack addr`, `route` and `neigh` see and change this
        stack; a name to tell it by. profile: "linux" or "rfc". settings: by the names of
        `ustack.settings()`. seed, secret: an integer and 32 bytes that make runs repeatable;
        from the system's entropy unless given. spin: seconds to poll without work before sleeping,
        or "auto" (50e-6), "always", "never"; None: after USTACK_SPIN, else "auto". guardian:
        seconds that the stack may be kept waiting until a thread of its own serves it, False for
        none; None: after USTACK_GUARDIAN ("no" for none), else 1e-3. See docs/idle.md. linger:
        seconds that close() gives to what is still to be delivered. member: what this process is of
        the stack's workers, if there are several; see docs/workers.md.

        IPv6 addresses are tried first, to see that nobody else has them, which takes a second.

        Raises ConfigError for what cannot be, PortError for a port that cannot be opened.
        """
        limits = lib.UST_MAX_IFACES, lib.UST_MAX_ADDRS
        alone = io == LOOP or io == [LOOP]
        loopback = alone if loopback is None else loopback
        plan = _addressing.plan_ports(
            io,
            address,
            addresses,
            unnamed=loopback or autoconf is not False,
            limits=limits,
        )
        hops = _parse_gateways(gateway, gateways, plan)
        self._member = member
        if member is not None:
            secret = member.secret if secret is None else secret
            control = member.name(control) if isinstance(control, str) else control
        spin_ns, patience_ns = parse_spin(spin), parse_guardian(guardian)
        self._linger = _parse_linger(linger)
        wanted = dict(settings or {})
        if autoconf is not False:
            wanted.setdefault("ip6.accept_ra", 1)
        if alone:
            wanted.setdefault("ip6.dad_transmits", 0)  # nobody is there to ask
        config = configure(profile, wanted)
        lib.ust_config_entropy(config, *_parse_entropy(seed, secret))
        self._sockets: weakref.WeakSet[Endpoint] = weakref.WeakSet()
        self._loops: weakref.WeakSet[Any] = weakref.WeakSet()  # that drive it
        self._closed = False
        self._control: Control | None = None
        self._ports: list[Port] = []
        try:
            for url, interfaces in plan:
                self._open(url, interfaces, capture)
            self._engine = _new_engine(config)
            self._worker = self._new_worker(spin_ns)
            self._settings = Settings(self._worker, profile)
            if loopback:
                self._enable_loopback()
            self._configure(plan, hops, _parse_autoconf(autoconf))
            enlist(self)
            if patience_ns is not None:
                check(lib.ust_worker_guard(self._worker, patience_ns), "guardian")
            if control:
                self._control = Control(self, control if isinstance(control, str) else None)
            if member is not None and not member.tells_itself:
                member.serve()
        except BaseException:
            self.close(linger=0)
            raise

    def _open(self, io: str | Port, interfaces: list[Interface], capture: Any) -> None:
        if self._member is not None:
            port = self._member.open(io, interfaces)
        else:
            port = open_port(io, addresses=interfaces) if isinstance(io, str) else io
        self._ports.append(port)
        if port.info.n_queues > 1 and not port.shared:
            port.receive_on(1)  # that of the only worker
        if capture is not None:
            path, number = Path(capture), len(self._ports)
            if self._member is not None:
                path = self._member.capture_path(path)
            port.capture(path if number == 1 else path.with_stem(f"{path.stem}-{number}"))

    def _new_worker(self, spin_ns: int) -> Any:
        ifaces = [self._add_interface(port) for port in self._ports]
        first = self._ports[0]
        worker = lib.ust_worker_new(self._engine, first.handle, ifaces[0], first.queue, spin_ns)
        if worker == ffi.NULL:
            raise OSError(ffi.errno, f"{os.strerror(ffi.errno)}: worker for {first}")
        self._engine = _held(self._engine, worker, lib.ust_engine_free)
        for port in self._ports:
            port.serve(worker)
        worker = _native.own_worker(worker)
        for port, iface in zip(self._ports[1:], ifaces[1:], strict=True):
            result = lib.ust_worker_add_port(worker, port.handle, iface, port.queue)  # law 3: once
            check(result, f"worker for {port}")
        if self._member is not None:
            self._member.join(self._engine, worker)
        return worker

    def _add_interface(self, port: Port) -> int:
        info = port.info
        iface = lib.ust_engine_add_iface(self._engine, info.mac, info.mtu, info.caps)
        return check(iface, f"interface for {port}")

    def _configure(self, plan: Plan, hops: list[Gateway], autoconf: float | None) -> None:
        """Give the engine what the user said, and wait until it holds."""
        for iface, (_, interfaces) in enumerate(plan):
            if autoconf is not None:
                result = lib.ust_worker_enable_ipv6(self._worker, iface)  # law 3: once a port
                check(result, f"autoconf on {self._ports[iface]}")
            for interface in interfaces:
                self._give_address(interface, iface)
        for hop in hops:
            self.add_route("default", str(hop))
        self._settle([i for _, interfaces in plan for i in interfaces], autoconf or 0.0)

    # ------------------------------------------------------------------------- sockets

    @overload
    def socket(
        self, family: int = ..., type: Literal[SocketKind.SOCK_STREAM] = ..., proto: int = ...
    ) -> Socket: ...
    @overload
    def socket(
        self, family: int = ..., *, type: Literal[SocketKind.SOCK_DGRAM], proto: int = ...
    ) -> UdpSocket: ...
    @overload
    def socket(
        self, family: int, type: Literal[SocketKind.SOCK_DGRAM], proto: int = ...
    ) -> UdpSocket: ...

    def socket(
        self, family: int = AF_INET, type: int = SOCK_STREAM, proto: int = 0
    ) -> Socket | UdpSocket:
        """Return a new socket.

        family: AF_INET or AF_INET6; type: SOCK_STREAM or SOCK_DGRAM. proto: 0, or with SOCK_DGRAM
        IPPROTO_ICMP (AF_INET) or IPPROTO_ICMPV6 (AF_INET6) for a `PingSocket`. Raises
        OSError(ESOCKTNOSUPPORT) and OSError(EPROTONOSUPPORT) for others.
        """
        if type == SOCK_STREAM:
            _check_proto(proto, family, "SOCK_STREAM", socket.IPPROTO_TCP)
            return Socket(self, family)
        if type == SOCK_DGRAM:
            if proto != 0 and PING_PROTOCOLS.get(family) == proto:
                return PingSocket(self, family)
            _check_proto(proto, family, "SOCK_DGRAM", socket.IPPROTO_UDP)
            return UdpSocket(self, family)
        raise OSError(
            errno.ESOCKTNOSUPPORT,
            f"{os.strerror(errno.ESOCKTNOSUPPORT)}: {type}; SOCK_STREAM and SOCK_DGRAM are",
        )

    def udp(self, address: Address | None = None, family: int | None = None) -> UdpSocket:
        """Return a new UDP socket, bound to address if that is given.

        family: AF_INET or AF_INET6; None: the address's, AF_INET without one.
        """
        if family is None:
            family = AF_INET if address is None else family_of(address)
        sock = UdpSocket(self, family)
        try:
            if address is not None:
                sock.bind(address)
        except BaseException:
            sock.close()
            raise
        return sock

    def listen(self, address: Address, backlog: int = 128) -> Socket:
        """Return a socket that listens on address.

        host "" is every IPv4 address of the stack, "::" every address of either version. Raises
        OSError(EADDRINUSE) or OSError(EADDRNOTAVAIL).
        """
        sock = self.socket(family_of(address))
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
        sock = self.socket(family_of(address))
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

    def get(self, name: str) -> int | str:
        """Return one setting; KeyError if there is none of that name."""
        return self._settings[name]

    def set(self, name: str, value: int | str) -> None:
        """Change a live setting; ConfigError if it cannot be."""
        self._settings[name] = value

    @property
    def mtu(self) -> int:
        """The largest IP packet of the first port, in bytes."""
        return self._ports[0].info.mtu

    @property
    def mac(self) -> str:
        """Our address on the wire of the first port."""
        return self._ports[0].info.mac.hex(":")

    @property
    def closed(self) -> bool:
        """Whether close() was called."""
        return self._closed

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
        state = "closed" if self._closed else ", ".join(map(str, self.addresses))
        return f"<ustack.Stack on {', '.join(map(str, self._ports))}: {state}>"

    # ------------------------------------------------------------------------ lifetime

    def close(self, linger: float | None = None) -> None:
        """Close all sockets, deliver what is still to be sent, and leave the port.

        linger: seconds that this may take; None: as the stack was told. Calls on the stack and its
        sockets then fail, those of sockets with EBADF; threads that wait are sent away. Closing
        twice is harmless.
        """
        if self._closed:
            return
        linger = self._linger if linger is None else _parse_linger(linger)
        self._closed = True
        if self._control is not None:
            self._control.close()
        for loop in list(self._loops):
            loop._let_go(self)
        try:
            if hasattr(self, "_worker"):
                for sock in list(self._sockets):
                    sock.close()
                self._drain(linger)
        finally:
            if hasattr(self, "_worker"):
                lib.ust_worker_stop(self._worker)
            self._engine = None
            for port in self._ports:
                port.close()
            if self._member is not None:
                self._member.leave()

    def _drain(self, linger: float) -> None:
        """Drive the engine until no connection is left but those in TIME-WAIT."""
        end = time.monotonic_ns() + int(linger * 1e9)
        while self.usage()["tcbs"] > 0:
            left = end - time.monotonic_ns()
            if left <= 0:
                break
            lib.ust_worker_idle(self._worker, min(left, SLICE_NS))  # law 3: once a sleep

    def _stop(self) -> None:
        """Serve nobody any more: the program ends."""
        if not self._closed:
            lib.ust_worker_stop(self._worker)

    def _forked(self) -> None:
        """Let go of what is the parent's: in the child of a fork."""
        self._closed = True
        if self._control is not None:
            self._control.abandon()
        if hasattr(self, "_worker"):
            lib.ust_worker_forked(self._worker)
        for port in self._ports:
            port.abandon()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def _check(self, result: int) -> None:
        if result < 0:
            raise self._gone()

    def _gone(self) -> UstackError:
        why = f": {_native.FORKED}" if _native.forked else ""
        return UstackError(f"{self!r} can no longer be used{why}")


def _check_proto(proto: int, family: int, kind: str, usual: int) -> None:
    """Raise OSError(EPROTONOSUPPORT) for a protocol that sockets of this kind do not have."""
    if proto not in (0, usual):
        raise OSError(
            errno.EPROTONOSUPPORT,
            f"{os.strerror(errno.EPROTONOSUPPORT)}: {proto} for {kind} of family {family};"
            " IPPROTO_TCP is for SOCK_STREAM; IPPROTO_UDP, and IPPROTO_ICMP for AF_INET or"
            " IPPROTO_ICMPV6 for AF_INET6, are for SOCK_DGRAM",
        )


def _new_engine(config: Any) -> Any:
    err = ffi.new("int *")
    engine = lib.ust_engine_new(config, err)
    if engine == ffi.NULL:
        raise OSError(-err[0], f"{os.strerror(-err[0])}: engine; lower the mbuf.* and tcp.max_*")
    return ffi.gc(engine, lib.ust_engine_free)


def _held(engine: Any, worker: Any, free_engine: Any) -> Any:
    """Return the engine as one that ends the worker before itself, whichever is collected first.

    The worker's guardian is a thread, which would find it gone.
    """
    lib.ust_worker_hold(worker)
    free_worker = lib.ust_worker_free  # both outlive this module, whose names may be gone

    def free(engine: Any) -> None:
        free_worker(worker)
        free_engine(engine)

    ffi.gc(engine, None)
    return ffi.gc(engine, free)


def _parse_gateways(one: str | None, many: Iterable[str], plan: Plan) -> list[Gateway]:
    if isinstance(many, str):
        raise ConfigError(f"gateways must be a list of addresses, got {many!r}; use gateway=")
    interfaces = [interface for _, given in plan for interface in given]
    texts = ([] if one is None else [one]) + list(many)
    return [_addressing.parse_gateway(text, interfaces) for text in texts]


def _parse_autoconf(value: bool | float) -> float | None:
    """Return the seconds to wait for a router; None: do not ask for one."""
    if value is False:
        return None
    if value is True:
        return _AUTOCONF
    if not 0 <= value <= 60:
        raise ConfigError(f"autoconf must be True or 0..60 seconds, got {value!r}; 5 is usual")
    return float(value)


def _parse_linger(value: float) -> float:
    if not 0 <= value <= 3600:
        raise ConfigError(f"linger must be 0..3600 seconds, got {value!r}; 1 is usual")
    return float(value)


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
