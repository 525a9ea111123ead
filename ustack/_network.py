# SPDX-License-Identifier: BSD-3-Clause
"""Addresses, routes and neighbours of a running stack: given, taken back and listed.

Not here: what a user's text means (_addressing.py), what the engine does with it (ustack/net/).
"""

import errno
import ipaddress
import os
import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from ustack import _addressing
from ustack._addressing import Gateway, Interface, Network
from ustack._native import SLICE_NS, check, ffi, lib, pack_address, unpack_address
from ustack.errors import ConfigError, UstackError
from ustack.io import Port

__all__ = ["Neighbour", "Networking", "Route", "StackAddress"]

LOOP = "loop:"  # the URL of a stack without an outside, and the name of every loopback
_FOREVER = 2**64 - 1


@dataclass(frozen=True, slots=True)
class StackAddress:
    """One address of a stack; str() of it is a CIDR."""

    interface: Interface
    port: str  # its URL
    tentative: bool = False  # not usable yet: duplicate address detection is going on
    auto: bool = False  # from a router's advertisement
    valid: float | None = None  # seconds from now; None: for ever

    @property
    def host(self) -> str:
        """The address without its prefix length."""
        return str(self.interface.ip)

    def __str__(self) -> str:
        return str(self.interface)


@dataclass(frozen=True, slots=True)
class Route:
    """One route of a stack, beside those to the networks of its addresses."""

    network: Network
    gateway: Gateway | None  # None: directly
    port: str  # its URL
    valid: float | None = None  # seconds from now; None: for ever

    def __str__(self) -> str:
        return f"{self.network} by way of {self.gateway or 'nobody'}"


@dataclass(frozen=True, slots=True)
class Neighbour:
    """One host on a link of a stack, and what is known of it."""

    address: Gateway
    mac: str | None  # None: not known (yet)
    state: str  # as RFC 4861 7.3.2 names them, or PERMANENT
    port: str  # its URL
    pending: int = 0  # packets that wait for its MAC

    def __str__(self) -> str:
        return f"{self.address} at {self.mac or 'nowhere'}"


class Networking:
    """What a Stack can say and change of its network while it runs. Threads may share it."""

    _worker: Any
    _ports: list[Port]

    # -------------------------------------------------------------------------- addresses

    @property
    def addresses(self) -> list[StackAddress]:
        """The addresses as of now, in the order given; then loopback's, link-local ones last."""
        count, rows = self._rows("ust_addr_row", lib.ust_worker_addrs, lib.UST_MAX_ADDRS)
        now = lib.ust_worker_now()
        found = [self._address_of(rows[i], now) for i in range(count)]
        return sorted(found, key=lambda a: (a.interface.is_link_local, a.interface.is_loopback))

    def _address_of(self, row: Any, now: int) -> StackAddress:
        return StackAddress(
            ipaddress.ip_interface(f"{unpack_address(row.addr)}/{row.prefix_len}"),
            LOOP if row.iface == lib.UST_LOOPBACK else str(self._ports[row.iface]),
            tentative=bool(row.flags & lib.UST_ADDR_TENTATIVE),
            auto=bool(row.flags & lib.UST_ADDR_AUTO),
            valid=_seconds_left(row.valid_until, now),
        )

    def add_address(self, address: str, port: str | None = None, *, wait: bool = True) -> None:
        """Take one more address, a CIDR; its network becomes reachable directly.

        port: the URL of the port that it is for; None: the first. wait: drive the engine until
        nobody else has shown to have it (IPv6, a second); else it is tentative at first.

        Raises ConfigError for one that cannot be, or that another host has.
        """
        interface = _addressing.parse_interface(address)
        self._give_address(interface, 0 if port is None else self._iface(port))
        if wait:
            self._settle([interface])

    def _give_address(self, interface: Interface, iface: int) -> None:
        addr, length = pack_address(str(interface.ip)), interface.network.prefixlen
        result = lib.ust_worker_add_addr(self._worker, iface, addr, length)
        why = {
            errno.EEXIST: f"address {interface} is given twice; give it once",
            errno.ENOSPC: f"a stack has at most {lib.UST_MAX_ADDRS} addresses, cannot add"
            f" '{interface}'; open another stack",
            errno.EMSGSIZE: f"an IPv6 address needs an mtu of 1280, {self._ports[iface]} has"
            f" {self._ports[iface].info.mtu}, cannot add '{interface}'; add ?mtu=1500",
        }
        if -result in why:
            raise ConfigError(why[-result])
        check(result, f"address {interface}")

    def _enable_loopback(self) -> None:
        result = lib.ust_worker_enable_loopback(self._worker)
        if result == -errno.ENOSPC:
            raise ConfigError(
                f"a stack has at most {lib.UST_MAX_ADDRS} addresses, cannot add those of its"
                " loopback; give fewer"
            )
        check(result, "loopback")

    def _settle(self, expected: Iterable[Interface], autoconf: float = 0.0) -> None:
        """Drive the engine until no address is tentative, for a bounded time.

        expected: which must be there then. autoconf: seconds to wait for a router's addresses.
        """
        end = time.monotonic() + autoconf
        while autoconf and time.monotonic() < end and not any(a.auto for a in self.addresses):
            lib.ust_worker_idle(self._worker, SLICE_NS // 5)  # law 3: once a sleep
        end = time.monotonic() + self._detection_time()
        while any(a.tentative for a in self.addresses) and time.monotonic() < end:
            lib.ust_worker_idle(self._worker, SLICE_NS // 5)  # law 3: once a sleep
        ours = {a.interface.ip for a in self.addresses}
        for interface in expected:
            if interface.ip not in ours:
                raise ConfigError(
                    f"address {interface} is another host's, duplicate address detection says;"
                    " take another"
                )

    def _detection_time(self) -> float:
        """Return what duplicate address detection takes at most, in seconds."""
        probes, wait = ffi.new("int64_t *"), ffi.new("int64_t *")
        lib.ust_worker_get(self._worker, b"ip6.dad_transmits", probes)
        lib.ust_worker_get(self._worker, b"neigh.retrans_ms", wait)
        return float((probes[0] + 1) * wait[0] / 1000 + 1)

    def remove_address(self, address: str) -> None:
        """Give an address back, with or without its prefix length.

        Its connections stay, but what is sent to them no longer arrives.
        """
        host = address.partition("/")[0] if isinstance(address, str) else address
        found = _addressing.parse_host(host)
        ours = [a for a in self.addresses if a.interface.ip == found]
        if not ours or ("/" in address and str(ours[0]) != address):
            raise ConfigError(
                f"address to remove must be one of this stack ({_listed(self.addresses)}),"
                f" got {address!r}"
            )
        check(lib.ust_worker_del_addr(self._worker, pack_address(host)), f"address {address}")

    def owns(self, host: str) -> bool:
        """Return whether host, an address or any other text, is an address of this stack."""
        address = _addressing.parse_host(host)
        if address is None:
            return False
        return bool(lib.ust_worker_owns(self._worker, pack_address(str(address))) > 0)

    # ----------------------------------------------------------------------------- routes

    @property
    def routes(self) -> list[Route]:
        """The routes as of now, beside those to the networks of the addresses."""
        count, rows = self._rows("ust_route_row", lib.ust_worker_routes, lib.UST_MAX_ROUTES)
        now = lib.ust_worker_now()
        return [self._route_of(rows[i], now) for i in range(count)]

    def _route_of(self, row: Any, now: int) -> Route:
        gateway = _addressing.parse_host(unpack_address(row.gateway))
        return Route(
            _addressing.parse_network(f"{unpack_address(row.dst)}/{row.prefix_len}"),
            None if gateway is None or gateway.is_unspecified else gateway,
            str(self._ports[row.iface]),
            valid=_seconds_left(row.valid_until, now),
        )

    def add_route(self, network: str, gateway: str, port: str | None = None) -> None:
        """Send what goes to network (a CIDR, or "default") by way of a neighbour.

        "default" is of the gateway's version. port: the URL of the one that the gateway is
        behind, which its network tells unless it is link-local and there are several.
        """
        dst, hop, iface = self._parse_route(network, gateway, port)
        where = pack_address(str(dst.network_address)), dst.prefixlen, pack_address(str(hop))
        result = lib.ust_worker_add_route(self._worker, iface, *where)
        if result == -errno.ENOSPC:
            raise ConfigError(
                f"a stack has at most {lib.UST_MAX_ROUTES} routes, cannot add one to {dst};"
                " remove another"
            )
        if result == -errno.EEXIST:
            raise ConfigError(f"route to {dst} by way of {hop} is there already; give it once")
        check(result, f"route to {dst} by way of {hop}")

    def _parse_route(
        self, network: str, gateway: str, port: str | None
    ) -> tuple[Network, Gateway, int]:
        addresses = self.addresses
        hop = _addressing.parse_gateway(gateway, [a.interface for a in addresses])
        dst = _addressing.parse_network(
            "::/0" if (network, hop.version) == ("default", 6) else network
        )
        if dst.version != hop.version:
            raise ConfigError(f"route to {dst} needs an IPv{dst.version} gateway, got {gateway!r}")
        return dst, hop, self._behind(hop, addresses, port)

    def remove_route(self, network: str, gateway: str | None = None) -> None:
        """Forget a route; gateway: only the one by way of it. "default" may be of both versions."""
        hop = None if gateway is None else _addressing.parse_host(gateway)
        texts = ["0.0.0.0/0", "::/0"] if network == "default" else [network]
        networks = [_addressing.parse_network(text) for text in texts]
        found = [
            route
            for route in self.routes
            if route.network in networks and (gateway is None or route.gateway == hop)
        ]
        if not found:
            by = "" if gateway is None else f" by way of {gateway}"
            raise ConfigError(
                f"route to remove must be one of this stack ({_listed(self.routes)}),"
                f" got {network!r}{by}"
            )
        for route in found:
            dst, length = pack_address(str(route.network.network_address)), route.network.prefixlen
            via = pack_address(str(route.gateway or "::"))
            done = lib.ust_worker_del_route(self._worker, dst, length, via)  # law 3: once a route
            check(done, f"route to {network}")

    def reaches(self, host: str) -> bool:
        """Return whether host is in one of the stack's networks, or behind one of its routes."""
        address = _addressing.parse_host(host)
        if address is None:
            return False
        return bool(lib.ust_worker_path_mtu(self._worker, pack_address(str(address))) > 0)

    def path_mtu(self, host: str) -> int:
        """Return how large an IP packet the path to host carries, as far as is known, in bytes.

        Raises OSError(ENETUNREACH) without a route.
        """
        mtu = int(lib.ust_worker_path_mtu(self._worker, pack_address(host)))
        if mtu == 0:
            raise OSError(errno.ENETUNREACH, f"{os.strerror(errno.ENETUNREACH)}: {host}")
        return mtu if mtu > 0 else self._raise_gone()

    # ------------------------------------------------------------------------- neighbours

    @property
    def neighbours(self) -> list[Neighbour]:
        """The hosts on the links as of now, the least recently used first."""
        limit = ffi.new("int64_t *")
        lib.ust_worker_get(self._worker, b"neigh.entries", limit)
        count, rows = self._rows("ust_neigh_row", lib.ust_worker_neighs, limit[0])
        return [self._neighbour_of(rows[i]) for i in range(count)]

    def _neighbour_of(self, row: Any) -> Neighbour:
        mac, address = bytes(row.mac), _addressing.parse_host(unpack_address(row.addr))
        assert address is not None
        return Neighbour(
            address,
            mac.hex(":") if any(mac) else None,
            ffi.string(lib.ust_neigh_state_name(row.state)).decode(),
            str(self._ports[row.iface]),
            row.pending,
        )

    def add_neighbour(self, address: str, mac: str, port: str | None = None) -> None:
        """Say what MAC a neighbour has, for good: nobody is asked any more.

        port: the URL of the one that it is behind, which its network tells unless it is
        link-local and there are several.
        """
        host, raw = _addressing.parse_neighbour(address), _addressing.parse_mac(mac)
        iface = self._behind(host, self.addresses, port)
        result = lib.ust_worker_add_neigh(self._worker, iface, pack_address(str(host)), raw)
        if result == -errno.ENOSPC:
            raise ConfigError(
                f"the neighbour table is full, cannot add {address}; raise neigh.entries"
            )
        check(result, f"neighbour {address}")

    def remove_neighbour(self, address: str) -> None:
        """Forget a neighbour; when it is needed again it is asked for."""
        host = _addressing.parse_neighbour(address)
        found = [n for n in self.neighbours if n.address == host]
        if not found:
            raise ConfigError(
                f"neighbour to remove must be one of this stack ({_listed(self.neighbours)}),"
                f" got {address!r}"
            )
        for neighbour in found:
            iface = self._iface(neighbour.port)
            addr = pack_address(str(host))
            lib.ust_worker_del_neigh(self._worker, iface, addr)  # law 3: once a neighbour

    # ------------------------------------------------------------------------------ ports

    @property
    def ports(self) -> list[Port]:
        """The ports, in the order given."""
        return list(self._ports)

    def _iface(self, name: str) -> int:
        """Return the number of a port, by its URL."""
        names = [str(port) for port in self._ports]
        short = name.partition("?")[0] if isinstance(name, str) else name
        if short not in names:
            raise ConfigError(f"port must be one of this stack ({', '.join(names)}), got {name!r}")
        return names.index(short)

    def _behind(self, host: Gateway, addresses: list[StackAddress], port: str | None) -> int:
        """Return the number of the port that a neighbour is behind."""
        if port is not None:
            return self._iface(port)
        found = {a.port for a in addresses if host in a.interface.network}
        if host.version == 6 and host.is_link_local and len(self._ports) == 1:
            return 0
        if len(found) == 1:
            return self._iface(found.pop())
        if found:
            raise ConfigError(f"{host} may be behind {' or '.join(sorted(found))}; say which port")
        raise ConfigError(
            f"neighbour must be in a network of this stack ({_listed(addresses)}), got '{host}';"
            " add an address of its network, or say which port"
        )

    def _rows(self, kind: str, call: Any, limit: int) -> tuple[int, Any]:
        rows = ffi.new(f"struct {kind}[]", limit)
        count = call(self._worker, rows, limit)
        return (count, rows) if count >= 0 else self._raise_gone()

    def _raise_gone(self) -> Any:
        raise UstackError(f"{self!r} can no longer be used")


def _seconds_left(until: int, now: int) -> float | None:
    return None if until == _FOREVER else max(until - now, 0) / 1e9


def _listed(things: Iterable[object]) -> str:
    return ", ".join(map(str, things)) or "there is none"
