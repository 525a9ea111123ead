# SPDX-License-Identifier: BSD-3-Clause
"""Socket options by Linux's numbers, and which of the engine's each one is.

An option that is not in the table does not exist: OSError(ENOPROTOOPT). None is accepted and
then ignored.
"""

import errno
import os
import socket
import struct
import sys
from dataclasses import dataclass

from ustack._native import ffi, lib

__all__ = [
    "IOCTLS",
    "LINGER",
    "LINUX",
    "OPTIONS",
    "TCP_INFO",
    "TCP_INQ",
    "Option",
    "look_up",
    "pack",
    "unpack",
]

_INT = struct.Struct("=i")
_LINGER = struct.Struct("=ii")  # struct linger: l_onoff, l_linger
_OFF = -1  # UST_OPT_LINGER's value for "off"

LINGER = (socket.SOL_SOCKET, socket.SO_LINGER)
TCP_INFO = (socket.IPPROTO_TCP, socket.TCP_INFO)
TCP_INQ = (socket.IPPROTO_TCP, 36)


@dataclass(frozen=True, slots=True)
class Option:
    """One row: the engine's number for it, and whether it can only be read.

    default: what the value -1 stands for, if anything. names: the option's values are these, the
    engine's number is a name's index. is_rate: bytes per second in 4 or 8 bytes, all ones for no
    limit.
    """

    number: int
    read_only: bool = False
    is_bool: bool = False
    default: int | None = None
    names: tuple[bytes, ...] = ()
    is_rate: bool = False


CONGESTION_CONTROLS: tuple[bytes, ...] = tuple(
    ffi.string(lib.ust_cc_name(i))  # law 3: at import
    for i in range(lib.UST_CCS)
)
_NAME_MAX = 16  # TCP_CA_NAME_MAX

_SOCKET = {
    "SO_REUSEADDR": Option(lib.UST_OPT_REUSEADDR, is_bool=True),
    "SO_KEEPALIVE": Option(lib.UST_OPT_KEEPALIVE, is_bool=True),
    "SO_BROADCAST": Option(lib.UST_OPT_BROADCAST, is_bool=True),
    "SO_SNDBUF": Option(lib.UST_OPT_SNDBUF),
    "SO_RCVBUF": Option(lib.UST_OPT_RCVBUF),
    "SO_LINGER": Option(lib.UST_OPT_LINGER),
    "SO_OOBINLINE": Option(lib.UST_OPT_OOBINLINE, is_bool=True),
    "SO_RCVLOWAT": Option(lib.UST_OPT_RCVLOWAT),
    "SO_MAX_PACING_RATE": Option(lib.UST_OPT_MAX_PACING_RATE, is_rate=True),
    "SO_ERROR": Option(lib.UST_OPT_ERROR, read_only=True),
    "SO_ACCEPTCONN": Option(lib.UST_OPT_ACCEPTCONN, read_only=True),
}
_TCP = {
    "TCP_NODELAY": Option(lib.UST_OPT_NODELAY, is_bool=True),
    "TCP_CORK": Option(lib.UST_OPT_CORK, is_bool=True),
    "TCP_QUICKACK": Option(lib.UST_OPT_QUICKACK, is_bool=True),
    "TCP_KEEPIDLE": Option(lib.UST_OPT_KEEPIDLE),
    "TCP_KEEPINTVL": Option(lib.UST_OPT_KEEPINTVL),
    "TCP_KEEPCNT": Option(lib.UST_OPT_KEEPCNT),
    "TCP_MAXSEG": Option(lib.UST_OPT_MAXSEG),
    "TCP_USER_TIMEOUT": Option(lib.UST_OPT_USER_TIMEOUT),
    "TCP_SYNCNT": Option(lib.UST_OPT_SYNCNT),
    "TCP_LINGER2": Option(lib.UST_OPT_LINGER2),
    "TCP_DEFER_ACCEPT": Option(lib.UST_OPT_DEFER_ACCEPT),
    "TCP_WINDOW_CLAMP": Option(lib.UST_OPT_WINDOW_CLAMP),
    "TCP_FASTOPEN": Option(lib.UST_OPT_FASTOPEN),
    "TCP_FASTOPEN_CONNECT": Option(lib.UST_OPT_FASTOPEN_CONNECT),
    "TCP_NOTSENT_LOWAT": Option(lib.UST_OPT_NOTSENT_LOWAT),
    "TCP_CONGESTION": Option(lib.UST_OPT_CONGESTION, names=CONGESTION_CONTROLS),
}
_UDP = {
    "UDP_SEGMENT": Option(lib.UST_OPT_GSO_SIZE),
}
_IP = {
    "IP_TOS": Option(lib.UST_OPT_TOS),
    "IP_TTL": Option(lib.UST_OPT_TTL),
    "IP_MTU_DISCOVER": Option(lib.UST_OPT_MTU_DISCOVER),
    "IP_MTU": Option(lib.UST_OPT_MTU, read_only=True),
}
_IPV6 = {
    "IPV6_TCLASS": Option(lib.UST_OPT_TOS, default=0),
    "IPV6_UNICAST_HOPS": Option(lib.UST_OPT_TTL),
    "IPV6_MTU_DISCOVER": Option(lib.UST_OPT_MTU_DISCOVER),
    "IPV6_MTU": Option(lib.UST_OPT_MTU, read_only=True),
    "IPV6_V6ONLY": Option(lib.UST_OPT_V6ONLY, is_bool=True),
}

#: ioctl()'s requests, each the option that answers it.
IOCTLS: dict[int, int] = {
    0x541B: lib.UST_OPT_INQ,  # SIOCINQ
    0x5411: lib.UST_OPT_OUTQ,  # SIOCOUTQ
    0x894B: lib.UST_OPT_OUTQNSD,  # SIOCOUTQNSD
    0x8905: lib.UST_OPT_ATMARK,  # SIOCATMARK
}

#: Linux's numbers that the socket module of some Pythons lacks.
LINUX = {
    "TCP_FASTOPEN_CONNECT": 30,
    "SO_BROADCAST": 6,
    "SO_MAX_PACING_RATE": 47,
    "IP_PKTINFO": 8,
    "IP_MTU_DISCOVER": 10,
    "IP_RECVTTL": 12,
    "IP_RECVTOS": 13,
    "IP_MTU": 14,
    "IPV6_MTU_DISCOVER": 23,
    "IPV6_MTU": 24,
    "UDP_SEGMENT": 103,
}

#: (level, name) → row.
OPTIONS: dict[tuple[int, int], Option] = {
    (level, getattr(socket, name, None) or LINUX[name]): option
    for level, table in (
        (socket.SOL_SOCKET, _SOCKET),
        (socket.IPPROTO_TCP, _TCP),
        (socket.IPPROTO_UDP, _UDP),
        (socket.IPPROTO_IP, _IP),
        (socket.IPPROTO_IPV6, _IPV6),
    )
    for name, option in table.items()
}


def look_up(
    level: int, name: int, *, to_set: bool = False, family: int = socket.AF_INET6
) -> Option:
    """Return the row of an option; OSError(ENOPROTOOPT) when there is none, or none to set.

    family: of the socket; those of level IPPROTO_IPV6 are for IPv6 sockets.
    """
    option = OPTIONS.get((level, name))
    foreign = level == socket.IPPROTO_IPV6 and family != socket.AF_INET6
    if option is None or foreign or (to_set and option.read_only):
        verb = "set" if to_set else "get"
        code = errno.EOPNOTSUPP if foreign and not to_set else errno.ENOPROTOOPT  # as Linux
        raise OSError(
            code, f"{os.strerror(code)}: ustack cannot {verb} option {name} of level {level}"
        )
    return option


def unpack(level: int, name: int, value: int | bytes | bytearray | memoryview) -> int:
    """Return the number that the engine takes for a value of setsockopt()."""
    is_linger = (level, name) == LINGER
    option = OPTIONS[level, name]
    if option.names:
        return _number_of(option.names, value)
    if option.is_rate:
        return _rate(value)
    if not isinstance(value, int):
        raw = bytes(value)
        if level == socket.IPPROTO_IP and len(raw) < _INT.size:
            raw = raw[:1].ljust(_INT.size, b"\0")  # as Linux: options of IP may be a byte
        if len(raw) < (_LINGER if is_linger else _INT).size:
            raise _invalid(f"option {name} of level {level} takes more than {len(raw)} bytes")
        if is_linger:
            on, seconds = _LINGER.unpack_from(raw)
            return seconds if on else _OFF
        value = _INT.unpack_from(raw)[0]
    elif is_linger:
        raise _invalid("SO_LINGER takes a struct linger, 8 bytes, got an int")
    if value == -1 and option.default is not None:
        return option.default
    return int(value != 0) if option.is_bool else int(value)


def pack(level: int, name: int, value: int, size: int) -> int | bytes:
    """Return what getsockopt() gives for the engine's number: an int, or size bytes at most."""
    option = OPTIONS.get((level, name))
    if option and option.names:
        return _cut(option.names[value].ljust(_NAME_MAX, b"\0"), size)
    if option and option.is_rate:
        return _cut(_rate_bytes(value, size), size)
    if (level, name) == LINGER:
        raw = _LINGER.pack(value != _OFF, max(value, 0))
        return raw[:size] if size else int(value != _OFF)
    return _INT.pack(value)[:size] if size else value


def _cut(raw: bytes, size: int) -> int | bytes:
    """Return what getsockopt() gives of some bytes: size of them, or an int."""
    return raw[:size] if size else int(_INT.unpack_from(raw)[0])


def _number_of(names: tuple[bytes, ...], value: int | bytes | bytearray | memoryview) -> int:
    """Return the index of a name, which ends at a NUL as in C; OSError(ENOENT) for another."""
    raw = (_INT.pack(value) if isinstance(value, int) else bytes(value))[: _NAME_MAX - 1]
    name = raw.split(b"\0")[0]
    if not raw:
        raise _invalid("a name must not be empty")
    if name not in names:
        known = ", ".join(known.decode() for known in names)
        raise OSError(errno.ENOENT, f"{os.strerror(errno.ENOENT)}: {name!r} is none of {known}")
    return names.index(name)


def _rate(value: int | bytes | bytearray | memoryview) -> int:
    """Return bytes per second, -1 for no limit, of a rate as C has it: 4 bytes, or 8."""
    raw = _INT.pack(value) if isinstance(value, int) else bytes(value)
    if len(raw) < _INT.size:
        raise _invalid(f"a rate takes more than {len(raw)} bytes")
    width = 8 if len(raw) >= 8 else 4
    rate = int.from_bytes(raw[:width], sys.byteorder)
    return -1 if rate == (1 << 8 * width) - 1 or rate >= 2**63 else rate


def _rate_bytes(rate: int, size: int) -> bytes:
    """Return a rate in 8 bytes where there is room for them, else in 4; all ones: no limit."""
    width = 8 if size >= 8 else 4
    most = (1 << 8 * width) - 1
    return (most if rate < 0 else min(rate, most)).to_bytes(width, sys.byteorder)


def _invalid(why: str) -> OSError:
    return OSError(errno.EINVAL, f"{os.strerror(errno.EINVAL)}: {why}")
