# SPDX-License-Identifier: BSD-3-Clause
"""The kernel's TCP connects to the stack's."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Iterator

import pytest

from lab import Lab
from netlab import OURS4, PATIENCE, kernel_connect, pattern, receive_all, sysctl

MEGABYTES = pattern(10_000_000)


def exchange(lab: Lab, data: bytes = MEGABYTES) -> None:
    """Send data both ways at once over a new connection, and close it."""
    sock, peer = lab.connection()
    with sock:
        lab.call(peer.transport.write, data)
        lab.call(peer.transport.write_eof)
        sending = threading.Thread(target=lambda: (sock.sendall(data), sock.shutdown(1)))
        sending.start()
        assert receive_all(sock) == data
        sending.join()
        lab.until(lambda: peer.got_eof)
        assert peer.data == data
        lab.call(peer.transport.close)
        lab.until(lambda: peer.is_lost)
        assert peer.error is None


#: What a kernel sends that is not for us, or that it sends again because we were not scheduled.
EXPECTED_DROPS = {"ip6.drop.dst", "eth.drop.mac", "tcp.drop.seq", "tcp.drop.timewait"}

WAYS = ["", "?offload=0", "?queues=2", "?mtu=576", "?mtu=9000", "?mtu=9000&offload=0"]


@pytest.mark.parametrize("lab", WAYS, indirect=True)
def test_ten_megabytes_cross_both_ways_at_once(lab: Lab) -> None:
    for _ in range(3):
        exchange(lab)
    dropped = {name for name, n in lab.stack.counters().items() if ".drop." in name and n}
    assert dropped <= EXPECTED_DROPS


@pytest.mark.parametrize("name", ["tcp_timestamps", "tcp_window_scaling", "tcp_sack"])
def test_a_kernel_without_an_option_is_served(lab: Lab, name: str) -> None:
    sysctl(f"net.ipv4.{name}", 0)
    exchange(lab, MEGABYTES[:2_000_000])


def test_a_closed_port_refuses(lab: Lab) -> None:
    with pytest.raises(ConnectionRefusedError):
        kernel_connect(81)
    assert lab.counter("tcp.resets.out") == 1


def test_the_kernel_may_close_its_half_first(lab: Lab) -> None:
    sock, peer = lab.connection()
    with sock:
        sock.sendall(b"question")
        sock.shutdown(socket.SHUT_WR)
        lab.until(lambda: peer.got_eof)
        assert peer.data == b"question"
        lab.call(peer.transport.write, MEGABYTES)
        lab.call(peer.transport.close)
        assert receive_all(sock) == MEGABYTES


def test_the_stack_may_close_its_half_first(lab: Lab) -> None:
    sock, peer = lab.connection()
    with sock:
        lab.call(peer.transport.write, b"question")
        lab.call(peer.transport.write_eof)
        assert receive_all(sock) == b"question"
        sock.sendall(MEGABYTES)
    lab.until(lambda: peer.got_eof)
    assert peer.data == MEGABYTES
    lab.call(peer.transport.close)


def test_what_the_stack_aborts_with_a_linger_of_zero_is_reset_at_the_kernel(lab: Lab) -> None:
    sock, peer = lab.connection()
    with sock:
        ours = peer.transport.get_extra_info("socket")
        lab.call(ours.setsockopt, socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        lab.call(peer.transport.abort)
        with pytest.raises(ConnectionResetError):
            sock.recv(1)


def test_what_the_kernel_aborts_is_reset_at_the_stack(lab: Lab) -> None:
    sock, peer = lab.connection()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()
    lab.until(lambda: peer.is_lost)
    assert isinstance(peer.error, ConnectionResetError)


def test_a_kernel_that_does_not_read_stops_the_stack_and_loses_nothing(lab: Lab) -> None:
    """RFC 9293 3.8.6.1: the window closes, is probed, and opens."""
    sock, peer = lab.connection()
    with sock:
        lab.call(peer.transport.write, MEGABYTES)
        lab.call(peer.transport.write_eof)
        lab.until(lambda: lab.counter("tcp.probes") >= 2)
        assert receive_all(sock) == MEGABYTES
        assert lab.counter("tcp.rexmt.rto") == 0
        lab.call(peer.transport.close)


def test_a_stack_that_does_not_read_stops_the_kernel_and_loses_nothing(lab: Lab) -> None:
    sock, peer = lab.connection()
    with sock:
        lab.call(peer.transport.pause_reading)
        sock.setblocking(False)
        sent = fill(sock)
        lab.until(lambda: probed(sock))
        assert len(peer.data) < sent < len(MEGABYTES)
        sock.settimeout(PATIENCE)
        lab.call(peer.transport.resume_reading)
        sock.sendall(MEGABYTES[sent:])
        lab.until(lambda: len(peer.data) == len(MEGABYTES))
        assert peer.data == MEGABYTES
        lab.call(peer.transport.close)


def fill(sock: socket.socket) -> int:
    """Send until nothing is taken for a while; how much was."""
    sent = 0
    try:
        sock.settimeout(0.2)
        while True:
            sent += sock.send(MEGABYTES[sent : sent + 100_000])
    except TimeoutError:
        return sent


def probed(sock: socket.socket) -> bool:
    """Has the kernel a zero-window probe under way? (tcpi_probes)"""
    return sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 104)[3] > 0


def test_urgent_bytes_are_bytes_of_the_stream(lab: Lab) -> None:
    """RFC 6093 6: delivered in line to whom asks for it."""
    sock, peer = lab.connection()
    ours = peer.transport.get_extra_info("socket")
    lab.call(ours.setsockopt, socket.SOL_SOCKET, socket.SO_OOBINLINE, 1)
    with sock:
        sock.send(b"a")
        sock.send(b"b", socket.MSG_OOB)
        sock.send(b"c")
        lab.until(lambda: len(peer.data) == 3)
        assert peer.data == b"abc"
        lab.call(peer.transport.close)


@pytest.fixture
def sniffer(lab: Lab) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3)) as sniffer:
        sniffer.bind(("us0", 0))
        sniffer.settimeout(PATIENCE)
        yield sniffer


def test_a_syn_that_offers_ecn_is_answered_with_it(lab: Lab, sniffer: socket.socket) -> None:
    """RFC 3168 6.1.1, as Linux does by default; SYN ACK with ECE, without CWR."""
    sysctl("net.ipv4.tcp_ecn", 1)
    exchange(lab, MEGABYTES[:1_000_000])
    assert flags_of_next(sniffer, OURS4, to=True) == 0xC2  # SYN ECE CWR
    assert flags_of_next(sniffer, OURS4, to=False) == 0x52  # SYN ACK ECE


def flags_of_next(sniffer: socket.socket, host: str, to: bool) -> int:
    """The flags of the next segment to or from a host."""
    address = socket.inet_aton(host)
    while True:
        frame = sniffer.recv(2000)
        if frame[12:14] == b"\x08\x00" and frame[23] == 6:
            if address == (frame[30:34] if to else frame[26:30]):
                return frame[47]


def test_silent_kernels_are_kept_alive(lab: Lab) -> None:
    """RFC 9293 3.8.4: our end answers the kernel's keep-alives."""
    sock, peer = lab.connection()
    with sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for option in (socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL, socket.TCP_KEEPCNT):
            sock.setsockopt(socket.IPPROTO_TCP, option, 1)
        sock.settimeout(2.5)
        with pytest.raises(TimeoutError):  # and not ETIMEDOUT from a connection that was dropped
            sock.recv(1)
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0
        sock.send(b"still there")
        lab.until(lambda: peer.data == b"still there")
        lab.call(peer.transport.close)
