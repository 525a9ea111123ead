# SPDX-License-Identifier: BSD-3-Clause
"""Socket addresses: tuples as the standard library has them, 16 bytes and a port to the engine."""

import socket
from typing import Any, TypeAlias

from ustack._native import format_address, lib, pack_address, unpack_address

__all__ = ["Address", "family_of", "make_address", "read_address", "show_address"]

#: (host, port); IPv6 also as (host, port, flowinfo) and (host, port, flowinfo, scope_id). flowinfo
#: must be 0. scope_id is that of a port of the stack, counted from 1, or 0.
Address: TypeAlias = tuple[str, int] | tuple[str, int, int] | tuple[str, int, int, int]

_ANY = {socket.AF_INET: "0.0.0.0", socket.AF_INET6: "::"}


def family_of(address: Address) -> socket.AddressFamily:
    """Return the family of the socket that an address is for."""
    host = address[0] if isinstance(address, tuple) and address else ""
    return socket.AF_INET6 if isinstance(host, str) and ":" in host else socket.AF_INET


def read_address(address: Address, family: int) -> tuple[Any, int]:
    """Return address and port for the engine.

    Raises TypeError, ValueError or OverflowError for what is no address, and socket.gaierror, as
    the standard library does, for one of the other family.
    """
    if not isinstance(address, tuple) or not 2 <= len(address) <= 4:
        raise TypeError(f"address must be a tuple (host, port), got {address!r}")
    host, port = address[:2]
    if not isinstance(port, int):
        raise TypeError(f"port must be an int, got {type(port).__name__}")
    if not 0 <= port <= 0xFFFF:
        raise OverflowError(f"port must be 0..65535, got {port}")
    _check_rest(address[2:])
    if host == "":
        host = _ANY[socket.AddressFamily(family)]
    elif host == "<broadcast>" and family == socket.AF_INET:
        host = "255.255.255.255"
    addr = pack_address(host)
    if (":" in host) != (family == socket.AF_INET6):
        raise socket.gaierror(
            socket.EAI_ADDRFAMILY, f"{host!r} is no address of an {_name(family)} socket"
        )
    return addr, port


def _check_rest(rest: tuple[int, ...]) -> None:
    if rest and rest[0] != 0:
        raise ValueError(f"flowinfo must be 0, got {rest[0]}")
    if rest[1:] and not 0 <= rest[1] <= lib.UST_MAX_IFACES:
        raise ValueError(f"scope_id must be 0 or a port's, 1..{lib.UST_MAX_IFACES}, got {rest[1]}")


def make_address(family: int, addr: Any, port: int, iface: int = -1) -> Address:
    """Return what the engine says as a tuple. iface: where a packet came in, for the scope."""
    raw = bytes(addr.b)
    if family == socket.AF_INET:
        return (unpack_address(addr) if any(raw) else "0.0.0.0", port)
    if raw == bytes(10) + b"\xff\xff" + bytes(4):
        raw = bytes(16)
    host = socket.inet_ntop(socket.AF_INET6, raw)
    scope = iface + 1 if raw[0] == 0xFE and raw[1] & 0xC0 == 0x80 else 0
    return host, port, 0, scope


def show_address(address: Address) -> str:
    """Return "10.9.0.2:80" or "[2001:db8::1]:80"."""
    return format_address(address[0], address[1])


def _name(family: int) -> str:
    return socket.AddressFamily(family).name
