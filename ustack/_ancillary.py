# SPDX-License-Identifier: BSD-3-Clause
"""Ancillary data of received datagrams, in Linux's layout: which options ask for it, what it is."""

import errno
import os
import socket
import struct
from collections.abc import Iterable, Set
from typing import Any, TypeAlias

from ustack._options import LINUX

__all__ = ["AncillaryData", "describe", "fit", "is_option", "to_options"]

#: (level, type, bytes) of each message.
AncillaryData: TypeAlias = Iterable[tuple[int, int, bytes]]
_Messages: TypeAlias = list[tuple[int, int, bytes]]

_IP, _IPV6 = socket.IPPROTO_IP, socket.IPPROTO_IPV6
_IP_PKTINFO, _IP_RECVTTL, _IP_RECVTOS = (
    LINUX["IP_PKTINFO"],
    LINUX["IP_RECVTTL"],
    LINUX["IP_RECVTOS"],
)
_OPTIONS_V4 = {(_IP, name) for name in (_IP_PKTINFO, _IP_RECVTTL, _IP_RECVTOS)}
_OPTIONS_V6 = {
    (_IPV6, name)
    for name in (socket.IPV6_RECVPKTINFO, socket.IPV6_RECVHOPLIMIT, socket.IPV6_RECVTCLASS)
}
_INT = struct.Struct("=i")

# What can be said with one datagram, and the option that says it of all.
_SAYABLE = {
    (_IP, socket.IP_TTL): socket.IP_TTL,
    (_IP, socket.IP_TOS): socket.IP_TOS,
    (_IPV6, socket.IPV6_HOPLIMIT): socket.IPV6_UNICAST_HOPS,
    (_IPV6, socket.IPV6_TCLASS): socket.IPV6_TCLASS,
}
_MAPPED = bytes(10) + b"\xff\xff"


def is_option(level: int, name: int, family: int) -> bool:
    """Return whether an option asks for ancillary data, of a socket of this family."""
    return (level, name) in _OPTIONS_V4 or (
        family == socket.AF_INET6 and (level, name) in _OPTIONS_V6
    )


def describe(wanted: Set[tuple[int, int]], info: Any) -> _Messages:
    """Return what the options that are on want to know of a datagram, in Linux's order.

    info: its `struct ust_datagram *`. IPv4 datagrams of an IPv6 socket have IPv6 packet
    information, and IPv4's of all else.
    """
    if not wanted:
        return []
    dst, index = bytes(info.dst.b), info.iface + 1
    is_v4 = dst.startswith(_MAPPED)
    messages: _Messages = []
    if (_IPV6, socket.IPV6_RECVPKTINFO) in wanted:
        messages.append((_IPV6, socket.IPV6_PKTINFO, dst + _INT.pack(index)))
    if is_v4:
        return messages + _describe_v4(wanted, info, dst[12:], index)
    if (_IPV6, socket.IPV6_RECVHOPLIMIT) in wanted:
        messages.append((_IPV6, socket.IPV6_HOPLIMIT, _INT.pack(info.ttl)))
    if (_IPV6, socket.IPV6_RECVTCLASS) in wanted:
        messages.append((_IPV6, socket.IPV6_TCLASS, _INT.pack(info.tos)))
    return messages


def _describe_v4(wanted: Set[tuple[int, int]], info: Any, dst: bytes, index: int) -> _Messages:
    messages: _Messages = []
    if (_IP, _IP_PKTINFO) in wanted:  # struct in_pktinfo
        messages.append((_IP, _IP_PKTINFO, _INT.pack(index) + dst + dst))
    if (_IP, _IP_RECVTTL) in wanted:
        messages.append((_IP, socket.IP_TTL, _INT.pack(info.ttl)))
    if (_IP, _IP_RECVTOS) in wanted:
        messages.append((_IP, socket.IP_TOS, bytes([info.tos])))
    return messages


def fit(messages: _Messages, room: int) -> tuple[_Messages, bool]:
    """Return the messages that fit a control buffer of so many bytes, and whether some did not."""
    fitting: _Messages = []
    for message in messages:
        if socket.CMSG_LEN(len(message[2])) > room:
            return fitting, True
        fitting.append(message)
        room -= socket.CMSG_SPACE(len(message[2]))
    return fitting, False


def to_options(ancdata: AncillaryData) -> list[tuple[int, int, int]]:
    """Return what ancillary data says of one datagram as options: (level, name, value) each.

    It may say the TTL or hop limit and the TOS or traffic class, an int each as C has it. Raises
    OSError(EINVAL) for anything else.
    """
    options = []
    for level, kind, data in ancdata:
        raw = bytes(memoryview(data))
        option = _SAYABLE.get((level, kind))
        if option is None or len(raw) != _INT.size:
            raise OSError(
                errno.EINVAL,
                f"{os.strerror(errno.EINVAL)}: {len(raw)} bytes of ancillary data {kind} of level"
                f" {level}; set the socket's option instead",
            )
        options.append((level, option, _INT.unpack(raw)[0]))
    return options
