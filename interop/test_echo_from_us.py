# SPDX-License-Identifier: BSD-3-Clause
"""Echo requests from us to Linux and back: from Python, and by `ustack ping`."""

from __future__ import annotations

import re
import socket
import struct

import pytest

from netlab import FAMILIES, KERNEL, OURS, PATIENCE, pattern, stack, sysctl
from ustack import cli
from ustack.apps import ping  # noqa: F401  (what nobody may be unable to read later)

pytestmark = pytest.mark.usefixtures("way")

SIZES = (1, 1472, 20_000)
PROTOS = {4: socket.IPPROTO_ICMP, 6: socket.IPPROTO_ICMPV6}
REQUEST, REPLY = {4: 8, 6: 128}, {4: 0, 6: 129}
PREFIX = {4: 24, 6: 64}


@pytest.mark.parametrize("offload", [1, 0])
@pytest.mark.parametrize("version", [4, 6])
def test_linux_answers_what_python_sends(version: int, offload: int) -> None:
    with (
        stack(f"tap:us0?offload={offload}") as ours,
        ours.socket(FAMILIES[version], socket.SOCK_DGRAM, PROTOS[version]) as sock,
    ):
        sock.settimeout(PATIENCE)
        sock.bind((OURS[version], 4711))
        for number, size in enumerate(SIZES):
            head = struct.pack("!BBHHH", REQUEST[version], 0, 0, 0, number)
            sock.sendto(head + pattern(size), (KERNEL[version], 0))
            reply, sender = sock.recvfrom(65535)
            assert reply[:2] == bytes([REPLY[version], 0])
            assert reply[4:] == struct.pack("!HH", 4711, number) + pattern(size)
            assert sender[:2] == (KERNEL[version], 0)
        assert ours.counters()["icmp.in.reply"] == len(SIZES)


def command(capsys: pytest.CaptureFixture[str], version: int, *words: object) -> tuple[int, str]:
    """Exit status and output of `ustack ping`, on a stack and a tap of its own."""
    address = f"{OURS[version]}/{PREFIX[version]}"
    options = ["--io", "tap:us1", "--address", address, "--set", "ip6.dad_transmits=0"]
    status = cli.main(["ping", *options, *map(str, words)])
    return status, capsys.readouterr().out


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("version", [4, 6])
def test_the_command_pings_linux(
    capsys: pytest.CaptureFixture[str], version: int, size: int
) -> None:
    host = KERNEL[version]
    status, said = command(capsys, version, "-c", 3, "-i", 0.02, "-s", size, host)
    assert len(re.findall(rf"{size + 8} bytes from {host}: icmp_seq=\d ttl=64 time=", said)) == 3
    assert status == 0 and "3 packets transmitted, 3 received, 0% packet loss" in said


def test_the_command_says_so_when_linux_does_not_answer(
    capsys: pytest.CaptureFixture[str],
) -> None:
    sysctl("net.ipv4.icmp_echo_ignore_all", 1)
    status, said = command(capsys, 4, "-c", 2, "-i", 0.02, "-W", 0.2, KERNEL[4])
    assert status == 1 and "2 packets transmitted, 0 received, 100% packet loss" in said
