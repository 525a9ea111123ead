# SPDX-License-Identifier: BSD-3-Clause
"""Echo requests from the kernel (RFC 792; RFC 1122 3.2.2.6)."""

from __future__ import annotations

import shutil
import socket
import struct

import pytest

from lab import Lab
from netlab import OURS4, PATIENCE, pattern, program
from ustack._native import lib

LARGEST = 1500 - 20 - 8  # bytes of text in a packet of 1500


def test_every_size_comes_back_as_it_was(lab: Lab) -> None:
    text = pattern(LARGEST)
    with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP) as sock:
        sock.settimeout(PATIENCE)
        sock.connect((OURS4, 0))
        for size in range(1, LARGEST + 1):
            head = struct.pack("!BBHHH", 8, 0, 0, 1, size)
            checksum = lib.ust_checksum(head + text[:size], 8 + size, 0)
            sock.send(struct.pack("!BBHHH", 8, 0, checksum, 1, size) + text[:size])
            reply = sock.recv(2000)[20:]
            assert (reply[0], reply[1]) == (0, 0)
            assert reply[4:] == head[4:] + text[:size]
            assert lib.ust_checksum(reply, len(reply), 0) == 0
    assert lab.counter("icmp.out.echo") == LARGEST


@pytest.mark.skipif(shutil.which("ping") is None, reason="ping is missing")
def test_ping_gets_all_its_answers(lab: Lab) -> None:
    report = program("ping", "-n", "-q", "-c", "100", "-i", "0.005", OURS4).decode()
    assert "100 packets transmitted, 100 received, 0% packet loss" in report


def test_a_datagram_to_no_port_is_refused(lab: Lab) -> None:
    """RFC 1122 4.1.3.1: port unreachable, which a connected socket hears of."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.settimeout(PATIENCE)
        sock.connect((OURS4, 9))
        sock.send(b"anybody?")
        with pytest.raises(ConnectionRefusedError):
            sock.recv(1)
