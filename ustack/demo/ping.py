# SPDX-License-Identifier: BSD-3-Clause
"""Echo requests from Python (RFC 792), for a machine without the program ping."""

import select
import socket
import struct
import time

from ustack._native import ffi, lib

__all__ = ["ping"]

REQUEST, REPLY = 8, 0
IDENTIFIER = 0x7573
TEXT = bytes(range(48))
PATIENCE = 2.0  # seconds for the last answers


def ping(host: str, count: int, interval: float) -> tuple[int, float]:
    """Send echo requests, count of them, by the kernel; how many were answered, and the mean time.

    interval: seconds between two. Needs CAP_NET_RAW, as in a namespace of one's own.
    """
    sent: dict[int, float] = {}
    times: dict[int, float] = {}
    with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP) as sock:

        def collect(end: float) -> None:
            """Take answers until the end, or until all are there."""
            while len(times) < count and (left := end - time.monotonic()) > 0:
                if select.select([sock], [], [], left)[0]:
                    number = _answered(sock.recv(65535))
                    if number in sent and number not in times:
                        times[number] = time.monotonic() - sent[number]

        for number in range(count):
            sent[number] = time.monotonic()
            sock.sendto(_request(number), (host, 0))
            collect(sent[number] + interval)
        collect(time.monotonic() + PATIENCE)
    return len(times), sum(times.values()) / max(len(times), 1)


def _request(number: int) -> bytes:
    packet = struct.pack("!BBHHH", REQUEST, 0, 0, IDENTIFIER, number) + TEXT
    checksum = lib.ust_checksum(ffi.from_buffer(packet), len(packet), 0)
    return packet[:2] + struct.pack("!H", checksum) + packet[4:]


def _answered(packet: bytes) -> int:
    """Return the number of the request that an IP packet answers, or -1."""
    icmp = packet[(packet[0] & 15) * 4 :]
    if len(icmp) != 8 + len(TEXT) or icmp[8:] != TEXT:
        return -1
    kind, _, _, identifier, number = struct.unpack_from("!BBHHH", icmp)
    return number if (kind, identifier) == (REPLY, IDENTIFIER) else -1
