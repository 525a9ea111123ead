# SPDX-License-Identifier: BSD-3-Clause
"""Datagrams between us and Linux: every size, in fragments and whole, jumbo frames, names."""

from __future__ import annotations

import contextlib
import struct
import threading
from collections.abc import Iterator

import pytest

from netlab import KERNEL, OURS, echoing, kernel_udp, our_udp, pattern, running, stack, until
from ustack.datagram import UdpSocket

pytestmark = pytest.mark.usefixtures("way")

SIZES = (1, 2, 512, 1452, 1453, 1472, 1473, 2944, 8192, 20_000, 60_000)


@pytest.mark.parametrize("offload", [1, 0])
@pytest.mark.parametrize("version", [4, 6])
def test_what_we_send_linux_echoes(version: int, offload: int) -> None:
    with (
        stack(f"tap:us0?offload={offload}") as ours,
        kernel_udp(KERNEL[version], 7) as theirs,
        echoing(theirs),
    ):
        sock = our_udp(ours, version)
        for size in SIZES:
            sock.sendto(pattern(size), (KERNEL[version], 7))
            data, sender = sock.recvfrom(65535)
            assert data == pattern(size) and sender[:2] == (KERNEL[version], 7)


@contextlib.contextmanager
def answering(sock: UdpSocket, times: int) -> Iterator[None]:
    """Let a thread send so many datagrams back."""

    def echo() -> None:
        for _ in range(times):
            sock.sendto(*sock.recvfrom(65535))

    thread = threading.Thread(target=echo)
    thread.start()
    yield
    thread.join()


@pytest.mark.parametrize("offload", [1, 0])
@pytest.mark.parametrize("version", [4, 6])
def test_what_linux_sends_we_echo(version: int, offload: int) -> None:
    with (
        stack(f"tap:us0?offload={offload}") as ours,
        answering(our_udp(ours, version, 7), len(SIZES)),
    ):
        theirs = kernel_udp(KERNEL[version])
        for size in SIZES:
            theirs.sendto(pattern(size), (OURS[version], 7))
            assert theirs.recvfrom(65535) == (
                pattern(size),
                (OURS[version], 7, 0, 0)[: version - 2],
            )


@pytest.mark.parametrize("version", [4, 6])
def test_a_datagram_to_a_closed_port_is_refused_both_ways(version: int) -> None:
    with stack() as ours:
        theirs = kernel_udp(KERNEL[version])
        theirs.connect((OURS[version], 9))
        theirs.send(b"x")
        with pytest.raises(ConnectionRefusedError):
            theirs.recv(1)
        sock = our_udp(ours, version)
        sock.connect((KERNEL[version], 9))
        sock.send(b"x")
        with pytest.raises(ConnectionRefusedError):
            sock.recv(1)


# ------------------------------------------------------------------------------------- names


def question(name: str, kind: int, number: int) -> bytes:
    """Return a DNS query, RFC 1035 4.1."""
    labels = b"".join(bytes([len(part)]) + part.encode() for part in name.split("."))
    return struct.pack("!6H", number, 0x0100, 1, 0, 0, 0) + labels + struct.pack("!xHH", kind, 1)


@pytest.mark.parametrize("version", [4, 6])
def test_a_resolver_answers_our_questions(version: int) -> None:
    with stack() as ours, running(
        "dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null", "--no-hosts", "--no-resolv",
        "--user=", "--group=", "--pid-file=", "--bind-interfaces",
        f"--listen-address={KERNEL[version]}", "--address=/www.example/192.0.2.7",
        "--address=/www.example/2001:db8::7",
    ):  # fmt: skip
        sock = our_udp(ours, version)
        sock.settimeout(0.2)

        def ask(kind: int, number: int) -> bytes:
            sock.sendto(question("www.example", kind, number), (KERNEL[version], 53))
            with contextlib.suppress(TimeoutError, ConnectionRefusedError):
                return sock.recv(512)
            return b""

        four = until(lambda: ask(1, 0x1234), "an answer")
        assert four[:2] == b"\x12\x34" and four.endswith(bytes([192, 0, 2, 7]))
        six = until(lambda: ask(28, 0x4321), "an answer")
        assert six[:2] == b"\x43\x21" and six.endswith(
            bytes.fromhex("20010db8") + bytes(11) + b"\7"
        )
