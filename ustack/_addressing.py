# SPDX-License-Identifier: BSD-3-Clause
"""What a user says about addresses and routes, checked before the engine sees it."""

import ipaddress
import re
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, TypeAlias

from ustack.errors import ConfigError

if TYPE_CHECKING:
    from ustack.io import Port

__all__ = ["Gateway", "Interface", "Network", "Plan", "Ports", "parse_gateway", "parse_host"]
__all__ += ["parse_interface", "parse_mac", "parse_neighbour", "parse_network", "plan_ports"]

Interface: TypeAlias = ipaddress.IPv4Interface | ipaddress.IPv6Interface
Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network
Gateway: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address


#: What `Stack(io=…)` takes: a port, several, or each with its CIDRs.
Ports: TypeAlias = "str | Port | Iterable[str | Port] | Mapping[str, str | Iterable[str]]"
Plan: TypeAlias = "list[tuple[str | Port, list[Interface]]]"


def plan_ports(
    io: Ports, one: str | None, many: Iterable[str], *, unnamed: bool, limits: tuple[int, int]
) -> Plan:
    """Return the ports to open and the addresses of each, from the arguments of Stack.

    one, many: the arguments for one address and for several, which the only port gets.
    unnamed: none is needed. limits: how many ports and how many addresses a stack has.
    """
    given = _given(one, many)
    if isinstance(io, Mapping):
        if given:
            raise ConfigError(
                f"addresses must be in io= with their ports, got {given[0]!r} beside it; move it"
            )
        plan: Plan = [(url, _given(None, cidrs, url)) for url, cidrs in io.items()]  # type: ignore[misc]
    elif isinstance(io, Iterable) and not isinstance(io, str):
        plan = [(port, []) for port in io]
        if given and len(plan) != 1:
            raise ConfigError(
                f"address must say which of the ports it is for, got {given[0]!r};"
                f" use io={{{str(plan[0][0]) if plan else 'ring:demo'!r}: [{given[0]!r}]}}"
            )
        plan = [(port, given) for port, _ in plan]  # type: ignore[misc]
    else:
        plan = [(io, given)]  # type: ignore[list-item]
    return _checked(plan, unnamed, *limits)


def _given(one: str | None, many: str | Iterable[str], url: str | None = None) -> list[str]:
    if isinstance(many, str) and url is not None:
        return [many]
    if isinstance(many, str):
        raise ConfigError(f"addresses must be a list of CIDRs, got {many!r}; use address=")
    return ([] if one is None else [one]) + list(many)


def _checked(plan: Any, unnamed: bool, max_ports: int, max_addresses: int) -> Plan:
    count = sum(len(cidrs) for _, cidrs in plan)
    if not 1 <= len(plan) <= max_ports:
        raise ConfigError(f"a stack has 1 to {max_ports} ports, got {len(plan)}; see io=")
    if not count and not unnamed:
        raise ConfigError(
            "a stack needs an address, got none; give address='10.9.0.2/24', or autoconf=True,"
            " or loopback=True"
        )
    if count > max_addresses:
        raise ConfigError(f"a stack has at most {max_addresses} addresses, got {count}; give fewer")
    return [(port, [parse_interface(text) for text in cidrs]) for port, cidrs in plan]


def parse_interface(text: str) -> Interface:
    """Return an address with its prefix length, such as "10.9.0.2/24"."""
    if not isinstance(text, str) or "/" not in text:
        raise ConfigError(
            f"address must be a CIDR such as 10.9.0.2/24, got {text!r}; add the prefix length"
        )
    try:
        interface = ipaddress.ip_interface(text)
    except ValueError as error:
        raise ConfigError(
            f"address must be a CIDR such as 10.9.0.2/24, got {text!r} ({error})"
        ) from None
    why = _unusable(interface)
    if why:
        raise ConfigError(
            f"address must be one that a host can have, got {text!r}, {why}; take another"
        )
    return interface


def _unusable(interface: Interface) -> str | None:
    """Return why a host cannot have this address, or None."""
    address, network = interface.ip, interface.network
    if address.is_unspecified:
        return "which is no address"
    if address.is_multicast:
        return "which is a group's"
    if address.is_loopback:
        return "which never leaves a host (loopback=True owns those)"
    if address == ipaddress.IPv4Address("255.255.255.255"):
        return "which is everybody's"
    if isinstance(network, ipaddress.IPv4Network) and network.prefixlen < 31:
        if address == network.broadcast_address:
            return f"the broadcast address of {network}"
        if address == network.network_address:
            return f"the address of {network} itself"
    return None


def parse_network(text: str) -> Network:
    """Return a destination, such as "10.0.0.0/8" or "default" (IPv4)."""
    try:
        return ipaddress.ip_network("0.0.0.0/0" if text == "default" else text)
    except ValueError as error:
        raise ConfigError(
            f"route must go to a network such as 10.0.0.0/8 or to 'default', got {text!r} ({error})"
        ) from None


def parse_gateway(text: str, interfaces: Iterable[Interface]) -> Gateway:
    """Return a next hop, which must be a neighbour: in the network of one of our addresses."""
    try:
        gateway = ipaddress.ip_address(text)
    except ValueError:
        raise ConfigError(
            f"gateway must be an IPv4 or IPv6 address, got {text!r}; give one such as 10.9.0.1"
        ) from None
    interfaces = list(interfaces)
    on_link = gateway.version == 6 and gateway.is_link_local  # every IPv6 interface has such
    if not on_link and not any(gateway in interface.network for interface in interfaces):
        ours = ", ".join(map(str, interfaces))
        raise ConfigError(
            f"gateway must be in a network of this stack ({ours}), got {text!r};"
            " take a neighbour's address"
        )
    if any(gateway == interface.ip for interface in interfaces):
        raise ConfigError(
            f"gateway must be a neighbour, got {text!r}, which is this stack's own address;"
            " take the router's"
        )
    return gateway


def parse_host(text: str) -> Gateway | None:
    """Return an address, None for any other text."""
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        return None


def parse_neighbour(text: str) -> Gateway:
    """Return the address of a host on a link."""
    address = parse_host(text)
    if address is None or address.is_multicast or address.is_unspecified:
        raise ConfigError(
            f"neighbour must be a host's IPv4 or IPv6 address, got {text!r}; such as 10.9.0.1"
        )
    return address


def parse_mac(text: str) -> bytes:
    """Return the 6 bytes of a host's MAC address such as "02:00:00:00:00:01"."""
    if not isinstance(text, str) or not re.fullmatch(
        r"[0-9a-fA-F]{2}([:-][0-9a-fA-F]{2}){5}", text
    ):
        raise ConfigError(f"MAC address must be six bytes such as 02:00:00:00:00:01, got {text!r}")
    mac = bytes.fromhex(re.sub("[:-]", "", text))
    if mac[0] & 1 or not any(mac):
        raise ConfigError(
            f"MAC address must be one that a host can have, got {text!r}; take another"
        )
    return mac
