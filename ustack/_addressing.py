# SPDX-License-Identifier: BSD-3-Clause
"""What a user says about addresses and routes, checked before the engine sees it."""

import ipaddress
from collections.abc import Iterable
from typing import TypeAlias

from ustack.errors import ConfigError

__all__ = ["Gateway", "Interface", "Network", "parse_gateway", "parse_interface"]
__all__ += ["parse_host", "parse_interfaces", "parse_network"]

Interface: TypeAlias = ipaddress.IPv4Interface | ipaddress.IPv6Interface
Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network
Gateway: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address


def parse_interfaces(one: str | None, many: Iterable[str], limit: int) -> list[Interface]:
    """Return the addresses of a stack, from the argument for one and that for several."""
    if isinstance(many, str):
        raise ConfigError(f"addresses must be a list of CIDRs, got {many!r}; use address=")
    given = ([] if one is None else [one]) + list(many)
    if not given:
        raise ConfigError("a stack needs an address, got none; give address='10.9.0.2/24'")
    if len(given) > limit:
        raise ConfigError(f"a stack has at most {limit} addresses, got {len(given)}; give fewer")
    return [parse_interface(text) for text in given]


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
        return "which never leaves a host"
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
    if not any(gateway in interface.network for interface in interfaces):
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
