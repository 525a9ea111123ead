# SPDX-License-Identifier: BSD-3-Clause
"""Ports from Python: what URLs mean, and captures around a port.

What every backend owes to an engine (bursts, chains, offloads, sleeping) is in c/ports.c.
"""

from __future__ import annotations

import ctypes
import errno
import ipaddress
import struct
from pathlib import Path

import pytest
from scapy.layers.inet import TCP
from scapy.layers.l2 import Ether
from scapy.utils import RawPcapNgReader

from pair import ring_url
from ustack import ConfigError, PortError, Stack
from ustack.io import Port, RingUrl, TapUrl, open_port, parse_url, ring_pair, tap, userns
from ustack.io.tap import peer_of


def frame(number: int = 0, length: int = 60) -> bytes:
    """A frame of no protocol that tells its number."""
    return (bytes(12) + b"\x88\xb5" + struct.pack("!I", number)).ljust(length, b"\xa5")


def drain(port: Port, queue: int = 0) -> list[bytes]:
    return list(iter(lambda: port.recv(queue), None))


@pytest.fixture
def url() -> str:
    return ring_url()


# --------------------------------------------------------------------------------- URLs


def test_a_url_says_what_is_not_default() -> None:
    assert parse_url("ring:demo") == RingUrl("demo", queues=1, mtu=1500, offload=True)
    assert parse_url("ring:a.b-c_1?queues=4&mtu=9000") == RingUrl("a.b-c_1", 4, 9000)
    assert parse_url("tap:us0?offload=0") == TapUrl("us0", offload=False)
    assert parse_url("tap:us0?uring=0") == TapUrl("us0", uring=False)
    peer = ipaddress.ip_interface("10.9.0.9/24")
    assert parse_url("tap:us0?queues=2&peer=10.9.0.9/24") == TapUrl("us0", queues=2, peer=peer)


#: URL → what the message must name: the thing, the value, the cure.
BAD = {
    "": ("io", "''", "ring:demo"),
    "ring": ("io", "'ring'", "ring:demo"),
    "pigeon:post": ("io", "'pigeon:post'", "ring:NAME"),
    "ring:": ("ring name", "''", "ring:demo"),
    "ring:../x": ("ring name", "'../x'", "ring:demo"),
    "ring:" + "x" * 65: ("ring name", "x" * 65, "ring:demo"),
    "ring:x?queues=0": ("queues", "'0'", "1..16"),
    "ring:x?queues=17": ("queues", "'17'", "1..16"),
    "ring:x?queues=": ("queues", "''", "1..16"),
    "ring:x?mtu=127": ("mtu", "'127'", "128..65535"),
    "ring:x?mtu=65536": ("mtu", "'65536'", "128..65535"),
    "ring:x?mtu=-1500": ("mtu", "'-1500'", "128..65535"),
    "ring:x?mtu=٣٠٠": ("mtu", "٣٠٠", "128..65535"),
    "ring:x?mut=1500": ("option", "'mut'", "mtu"),
    "ring:x?peer=10.0.0.1/8": ("option", "'peer'", "mtu"),
    "ring:x?mtu=1500&mtu=1500": ("option", "'mtu'", "once"),
    "tap:": ("tap name", "''", "tap:us0"),
    "tap:a/b": ("tap name", "'a/b'", "tap:us0"),
    "tap:a%d": ("tap name", "'a%d'", "tap:us0"),
    "tap:sixteen-letters!": ("tap name", "'sixteen-letters!'", "tap:us0"),
    "tap:x?mtu=65522": ("mtu", "'65522'", "128..65521"),
    "tap:x?offload=yes": ("offload", "'yes'", "0..1"),
    "tap:x?uring=2": ("uring", "'2'", "0..1"),
    "ring:x?uring=1": ("option", "'uring'", "mtu"),
    "tap:x?peer=10.9.0.1": ("peer", "'10.9.0.1'", "prefix length"),
}


@pytest.mark.parametrize("text", BAD)
def test_a_bad_url_is_named_with_its_value_and_its_cure(text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        open_port(text)
    message = str(caught.value)
    assert all(part in message for part in BAD[text]), message
    assert "\n" not in message


@pytest.mark.parametrize(
    ("ours", "peer"),
    [
        ("10.9.0.2/24", "10.9.0.1/24"),
        ("10.9.0.1/24", "10.9.0.2/24"),
        ("10.9.0.200/24", "10.9.0.1/24"),
        ("10.9.0.0/31", "10.9.0.1/31"),
        ("10.9.0.1/31", "10.9.0.0/31"),
        ("2001:db8::2/64", "2001:db8::1/64"),
    ],
)
def test_the_kernel_gets_the_first_other_address_of_the_network(ours: str, peer: str) -> None:
    assert str(peer_of(ipaddress.ip_interface(ours))) == peer


def test_the_peer_is_not_the_stack_itself() -> None:
    with pytest.raises(ConfigError, match=r"peer must be .*got 10\.9\.0\.2/24, .* leave it out"):
        open_port("tap:usself?peer=10.9.0.2/24", addresses=["10.9.0.2/24"])


def test_a_network_of_one_address_needs_a_peer() -> None:
    with pytest.raises(ConfigError, match=r"peer .* 10\.9\.0\.2/32 .* \?peer=CIDR"):
        peer_of(ipaddress.ip_interface("10.9.0.2/32"))


def test_without_a_tun_device_the_message_says_what_to_do(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(tap, "DEVICE", str(tmp_path / "tun"))
    with pytest.raises(PortError, match=r"tap:us0: .*tun does not exist.*use ring:NAME") as caught:
        open_port("tap:us0", addresses=["10.9.0.2/24"])
    assert caught.value.errno == errno.ENOENT


@pytest.mark.parametrize(
    ("code", "cure"),
    [
        (errno.ENOSPC, "sysctl user.max_user_namespaces"),
        (errno.EPERM, "--cap-add NET_ADMIN"),
        (errno.EINVAL, "before any thread"),
        (errno.ENOMEM, "run as root"),
    ],
)
def test_a_refused_user_namespace_is_explained(
    monkeypatch: pytest.MonkeyPatch, code: int, cure: str
) -> None:
    class Libc:
        @staticmethod
        def unshare(flags: int) -> int:
            ctypes.set_errno(code)
            return -1

    monkeypatch.setattr(ctypes, "CDLL", lambda *args, **options: Libc)
    with pytest.raises(PortError) as caught:
        userns.enter()
    message = str(caught.value)
    assert message.startswith("tap: ") and cure in message and "\n" not in message
    assert caught.value.errno == code


# ---------------------------------------------------------------------------- captures


def records(path: Path) -> list[tuple[bytes, object]]:
    with RawPcapNgReader(str(path)) as reader:
        return list(reader)


def test_a_capture_holds_the_frames_of_both_ways(tmp_path: Path) -> None:
    near, far = ring_pair()
    with near, far:
        near.capture(tmp_path / "both.pcapng")
        near.send(frame(1, 61))
        far.send(frame(2, 1500))
        assert near.recv() == frame(2, 1500)
        while near.send(frame(3)):
            pass
        sent = near.stats().tx_frames
    (first, out), (second, into), *rest = records(tmp_path / "both.pcapng")
    assert (first, second) == (frame(1, 61), frame(2, 1500))
    assert (out.direction, into.direction) == (2, 1)  # type: ignore[attr-defined]
    assert out.tsresol == 10**9  # type: ignore[attr-defined]
    assert len(rest) == sent - 1  # what the wire did not take is not there


def test_a_capture_ends_after_max_frames(tmp_path: Path) -> None:
    near, far = ring_pair()
    path = tmp_path / "three.pcapng"
    with near, far:
        near.capture(path, max_frames=3)
        for i in range(10):
            near.send(frame(i))
        assert [data for data, _ in records(path)] == [frame(0), frame(1), frame(2)]
        assert len(drain(far)) == 10


def test_a_capture_keeps_snaplen_bytes_and_the_true_length(tmp_path: Path) -> None:
    near, far = ring_pair()
    with near, far:
        near.capture(tmp_path / "short.pcapng", snaplen=33)
        near.send(frame(1, 1000))
    ((data, meta),) = records(tmp_path / "short.pcapng")
    assert data == frame(1, 1000)[:33]
    assert meta.wirelen == 1000  # type: ignore[attr-defined]


def test_a_capture_shows_finished_checksums(tmp_path: Path, url: str) -> None:
    with (
        Stack(io=url, address="10.9.0.1/24", capture=tmp_path / "tcp.pcapng") as server,
        Stack(io=url, address="10.9.0.2/24") as client,
    ):
        listener = server.listen(("10.9.0.1", 80))
        sock = client.socket()
        sock.setblocking(False)
        sock.connect_ex(("10.9.0.1", 80))
        while server.run_once() | client.run_once():
            pass
        listener.accept()
        sock.send(b"hello" * 1000)
        while server.run_once() | client.run_once():
            pass
    packets = [Ether(data) for data, _ in records(tmp_path / "tcp.pcapng")]
    segments = [packet for packet in packets if TCP in packet]
    assert len(segments) >= 4
    for packet in segments:
        written = packet[TCP].chksum
        del packet[TCP].chksum
        assert Ether(bytes(packet))[TCP].chksum == written


def test_a_capture_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    near, far = ring_pair()
    with near, far:
        with pytest.raises(PortError, match=r"cannot capture to .*none/x.* another path"):
            near.capture(tmp_path / "none" / "x")
        assert near.send(frame())  # the port goes on without
