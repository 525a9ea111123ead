# SPDX-License-Identifier: BSD-3-Clause
"""Whose a connection shall be, against what its addresses say: --only and --also of `ustack run`.

--only ustack: the kernel gets nothing, --only kernel: the stack gets nothing; but --also names what
the other gets all the same. Without --only, --also names what the kernel gets although the stack
could. What it names is a local address that is bound, or the peer of connect and sendto:

    10.9.0.1   10.0.0.0/8   10.9.0.1:53   [fd09::1]:53   *:9100   :8000-8999
"""

import ipaddress
import re
from collections.abc import Iterable
from dataclasses import dataclass

from ustack.errors import ConfigError

__all__ = ["Rules", "Where", "parse_where"]

_PORTS = re.compile(r"([0-9]{1,5})(?:-([0-9]{1,5}))?")
_EXAMPLES = "10.9.0.1, 10.0.0.0/8:53, [fd09::1]:53, or :8000-8999 for any address"


@dataclass(frozen=True, slots=True)
class Where:
    """Addresses and ports that are meant."""

    network: ipaddress.IPv4Network | ipaddress.IPv6Network | None = None  # None: any address
    ports: range = range(65536)

    def includes(self, host: str, port: int) -> bool:
        """Return whether a numeric address and a port are meant.

        The address that stands for all is meant only where any is.
        """
        address = ipaddress.ip_address(host)
        if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
            address = address.ipv4_mapped
        if port not in self.ports:
            return False
        if self.network is None:
            return True
        return not address.is_unspecified and address in self.network


@dataclass(frozen=True, slots=True)
class Rules:
    """What --only and --also said."""

    only: str | None = None  # "ustack" or "kernel"
    also: tuple[Where, ...] = ()

    def whose(self, host: str, port: int) -> str | None:
        """Return "ustack" or "kernel"; None: whoever's the address is."""
        if self.only is None and not self.also:
            return None
        exception = any(where.includes(host, port) for where in self.also)
        if self.only is None:
            return "kernel" if exception else None
        if not exception:
            return self.only
        return "kernel" if self.only == "ustack" else "ustack"

    @classmethod
    def parse(cls, only: str | None, also: Iterable[str]) -> "Rules":
        """Return the rules that options say; ConfigError for what makes no sense."""
        if only not in (None, "ustack", "kernel"):
            raise ConfigError(f"only must be ustack or kernel, got {only!r}; leave it out for both")
        return cls(only, tuple(map(parse_where, also)))


def parse_where(text: str) -> Where:
    """Return what an --also names; ConfigError for what makes no sense."""
    host, ports = _split(text)
    try:
        network = None if host in ("", "*") else ipaddress.ip_network(host)
    except ValueError as error:
        raise ConfigError(f"also must be like {_EXAMPLES}; got {text!r} ({error})") from None
    if network is None and ports is None:
        raise ConfigError(f"also must name an address or a port, got {text!r}; like {_EXAMPLES}")
    return Where(network, range(65536) if ports is None else _parse_ports(ports, text))


def _split(text: str) -> tuple[str, str | None]:
    """Return address and ports; None for no ports."""
    if text.startswith("["):
        host, closed, rest = text[1:].partition("]")
        if closed and (not rest or rest.startswith(":")):
            return host, rest[1:] if rest else None
    elif text.count(":") == 1:
        host, _, ports = text.partition(":")
        return host, ports
    return text, None


def _parse_ports(ports: str, text: str) -> range:
    match = _PORTS.fullmatch(ports)
    low, high = (int(match[1]), int(match[2] or match[1])) if match else (1, 0)
    if not 0 < low <= high <= 65535:
        raise ConfigError(f"also must have a port, or LOW-HIGH, of 1..65535, got {text!r}")
    return range(low, high + 1)
