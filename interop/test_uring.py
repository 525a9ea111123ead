# SPDX-License-Identifier: BSD-3-Clause
"""A tap by io_uring, by read and write, and where the system refuses io_uring: the same bytes."""

import ctypes
import errno
import select
import socket
import struct

import pytest

from netlab import KERNEL, OURS, connected, kernel_udp, our_udp, pattern, stack, transfer
from ustack import Stack
from ustack.io import open_port

pytestmark = pytest.mark.usefixtures("way")

N = 200  # datagrams
IO_URING_SETUP = 425  # on every architecture


def refuse(number: int, code: int) -> None:
    """Let a system call fail from now on, in this process and its children."""
    program = b"".join(
        struct.pack("HBBI", *statement)
        for statement in (
            (0x20, 0, 0, 0),  # load seccomp_data.nr
            (0x15, 0, 1, number),
            (0x06, 0, 0, 0x00050000 | code),
            (0x06, 0, 0, 0x7FFF0000),
        )
    )
    buffer = ctypes.create_string_buffer(program)
    fprog = struct.pack("HP", len(program) // 8, ctypes.addressof(buffer))
    libc = ctypes.CDLL(None, use_errno=True)
    assert libc.prctl(38, 1, 0, 0, 0) == 0  # PR_SET_NO_NEW_PRIVS
    assert libc.prctl(22, 2, fprog, 0, 0) == 0  # PR_SET_SECCOMP, SECCOMP_MODE_FILTER


def has_uring() -> bool:
    with open_port("tap:us0", addresses=["10.9.0.2/24"]) as port:
        return port.info.runs


@pytest.mark.parametrize("uring", [1, 0])
def test_datagrams_that_have_waited_are_read_many_at_once(uring: int) -> None:
    runs = uring and has_uring()
    with (
        Stack(f"tap:us0?uring={uring}", "10.9.0.2/24", guardian=False) as ours,
        kernel_udp(KERNEL[4]) as theirs,
    ):
        sock = our_udp(ours, 4, 7)
        sock.sendto(b"here", theirs.getsockname())
        while not select.select([theirs], [], [], 0)[0]:  # both learn the other's MAC
            ours.run_once(0.01)
        assert theirs.recv(100) == b"here"
        before = ours.counters()
        for number in range(N):
            theirs.sendto(number.to_bytes(4), (OURS[4], 7))
        assert [sock.recv(100) for _ in range(N)] == [n.to_bytes(4) for n in range(N)]
        after = ours.counters()
        made, frames, of_many = (
            after[name] - before[name] for name in ("port.syscalls", "port.rx_frames", "port.runs")
        )
        assert frames >= N
        if runs:
            assert of_many >= 3 and made < N * 3 // 4
        else:
            assert of_many == 0 and made > frames


@pytest.mark.parametrize("offload", [1, 0])
@pytest.mark.parametrize("uring", [1, 0])
def test_bulk_passes_both_ways(uring: int, offload: int) -> None:
    runs = uring and has_uring()
    with stack(f"tap:us0?offload={offload}&uring={uring}") as ours:
        sock, accepted = connected(ours, KERNEL[4])
        transfer(sock, accepted, pattern(10_000_000))
        transfer(accepted, sock, pattern(10_000_000))
        sock.close()
        counters = ours.counters()
        assert counters["port.tx_errors"] == counters["port.rx_bad"] == 0
        assert (counters["port.runs"] > 0) == bool(runs) or offload


def test_where_the_system_refuses_io_uring_all_is_as_with_it() -> None:
    """As docker's and podman's default profiles do."""
    refuse(IO_URING_SETUP, errno.EPERM)
    assert not has_uring()
    with stack("tap:us0") as ours:
        sock, accepted = connected(ours, KERNEL[4])
        transfer(sock, accepted, pattern(1_000_000))
        transfer(accepted, sock, pattern(1_000_000))
        sock.close()
        assert ours.counters()["port.runs"] == 0


def test_a_tap_is_gone_when_its_port_is_closed() -> None:
    """No ring keeps the device: it can be opened again at once."""
    for number in range(3):
        with stack("tap:us0") as ours:
            sock, accepted = connected(ours, KERNEL[4])
            transfer(sock, accepted, pattern(1_000_000))
            sock.close()
        assert "us0" not in (name for _, name in socket.if_nameindex()), number
