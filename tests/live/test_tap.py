# SPDX-License-Identifier: BSD-3-Clause
"""A tap between this machine's kernel and raw frames, in namespaces of its own.

Each test is a script, run by a process that enters the namespaces first; what a script prints is
the last thing that a test checks.
"""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

#: What every script begins with: isolated, and with the means to play a host on the tap.
PROLOGUE = """
import errno, fcntl, os, select, socket, struct, sys, time
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.l2 import ARP, Ether
from ustack import ConfigError, PortError
from ustack._native import lib
from ustack.io import open_port, userns

LONG = 20.0  # seconds after which something is broken
userns.isolate()

def recv(port, wanted, queue=0):
    "The next frame that is wanted; asks for us by ARP are answered."
    end = time.monotonic() + LONG
    while time.monotonic() < end:
        data = port.recv(queue)
        if data is None:
            continue
        packet = Ether(data)
        if ARP in packet and packet[ARP].op == 1 and packet[ARP].pdst != packet[ARP].psrc:
            send(port, packet.src, ARP(op=2, hwsrc=port.info.mac, psrc=packet[ARP].pdst,
                                       hwdst=packet.src, pdst=packet[ARP].psrc))
        elif wanted(packet):
            return packet
    raise AssertionError("no such frame")

def send(port, dst, payload):
    mac = ":".join(f"{b:02x}" for b in port.info.mac)
    if ARP in payload:
        payload.hwsrc = mac
    assert port.send(bytes(Ether(src=mac, dst=dst) / payload).ljust(60, b"\\0"))

def exists():
    return "us0" in (name for _, name in socket.if_nameindex())

def ifreq(request, form):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        reply = fcntl.ioctl(sock, request, struct.pack("16s24x", b"us0"))
    return struct.unpack_from(form, reply, 16)[0]

def kernel_udp(host="10.9.0.1"):
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind((host, 0))
    sock.settimeout(LONG)
    return sock
"""


def why_not() -> str | None:
    """Why taps cannot be tested here, or None."""
    if not os.path.exists("/dev/net/tun"):
        return "no /dev/net/tun"
    if not os.access("/dev/net/tun", os.R_OK | os.W_OK):
        return "no privilege: tap (/dev/net/tun)"
    probe = "from ustack.io import userns; userns.isolate()"
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True)
    return (
        f"no privilege: tap ({done.stderr.strip().splitlines()[-1]})" if done.returncode else None
    )


@pytest.fixture(scope="module", autouse=True)
def privilege() -> None:
    reason = why_not()
    if reason:
        pytest.skip(reason)


def run(script: str, *prefix: str) -> str:
    """Run a script in namespaces of its own; what it printed."""
    code = PROLOGUE + textwrap.dedent(script)
    done = subprocess.run(
        [*prefix, sys.executable, "-c", code], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


#: All capabilities, or those of a Linux before 6.2, which does not cut datagrams.
OFFLOAD = ("31", "15")

EXCHANGE = """
    with open_port("tap:us0{query}", addresses=["10.9.0.2/24"]) as port:
        sock = kernel_udp()
        sock.sendto(b"to the port", ("10.9.0.2", 7))
        packet = recv(port, lambda p: UDP in p and p[UDP].dport == 7)
        assert bytes(packet[UDP].payload).startswith(b"to the port")
        written = packet[UDP].chksum
        del packet[UDP].chksum
        assert Ether(bytes(packet))[UDP].chksum == written != 0
        answer = IP(src="10.9.0.2", dst="10.9.0.1") / UDP(sport=7, dport=sock.getsockname()[1])
        send(port, packet.src, answer / b"to the kernel")
        assert sock.recv(100) == b"to the kernel"
        caps, stats = port.info.caps, port.stats()
        assert stats.tx_errors == stats.rx_bad == stats.rx_no_mbuf == 0
        assert stats.syscalls >= stats.rx_frames + stats.tx_frames
        print(caps)
"""


def test_datagrams_cross_with_offload() -> None:
    assert run(EXCHANGE.format(query="")) in OFFLOAD


def test_datagrams_cross_without_offload() -> None:
    assert run(EXCHANGE.format(query="?offload=0")) == "0"


def test_the_kernel_end_is_as_the_url_says() -> None:
    script = """
        with open_port("tap:us0?mtu=9000&peer=10.9.0.77/24", addresses=["10.9.0.2/24"]) as port:
            assert port.info.mtu == 9000
            kernel_udp("10.9.0.77")
            print(ifreq(0x8921, "i"), ifreq(0x8942, "i"), ifreq(0x8913, "h") & 1)
            assert ifreq(0x8927, "2x6s") != port.info.mac  # SIOCGIFHWADDR
            assert port.info.mac[0] & 3 == 2
        assert not exists()
    """
    assert run(script) == "9000 8192 1"


def test_super_segments_arrive_whole() -> None:
    """What the kernel's TCP sends in one piece is read in one piece."""
    script = """
        with open_port("tap:us0", addresses=["10.9.0.2/24"]) as port:
            sock = socket.socket()
            sock.setblocking(False)
            sock.connect_ex(("10.9.0.2", 80))
            syn = recv(port, lambda p: TCP in p)
            tcp = lambda **more: IP(src="10.9.0.2", dst="10.9.0.1") / TCP(
                sport=80, dport=syn[TCP].sport, ack=syn[TCP].seq + 1, window=65535, **more)
            options = [("MSS", 1460), ("NOP", None), ("WScale", 7)]
            send(port, syn.src, tcp(flags="SA", seq=1, options=options))
            recv(port, lambda p: TCP in p and p[TCP].flags == "A")
            sock.send(bytes(10000))
            data = recv(port, lambda p: TCP in p and len(p[TCP].payload) > 1460)
            print(len(data[TCP].payload) > 1460)
    """
    assert run(script) == "True"


def test_every_queue_receives() -> None:
    script = """
        with open_port("tap:us0?queues=2", addresses=["10.9.0.2/24"]) as port:
            got = {0: 0, 1: 0}
            first = kernel_udp()
            first.sendto(b"x", ("10.9.0.2", 7))
            end = time.monotonic() + LONG
            while not all(got.values()) and time.monotonic() < end:
                kernel_udp().sendto(b"x", ("10.9.0.2", 7))
                for queue in got:
                    while (data := port.recv(queue)) is not None:
                        packet = Ether(data)
                        got[queue] += UDP in packet
                        if ARP in packet and packet[ARP].op == 1:
                            send(port, packet.src, ARP(op=2, psrc="10.9.0.2", hwdst=packet.src,
                                                       pdst="10.9.0.1"))
            print(all(got.values()))
    """
    assert run(script) == "True"


def test_a_tap_opens_where_an_event_loop_runs() -> None:
    script = """
        import asyncio
        async def main():
            with open_port("tap:us0", addresses=["10.9.0.2/24"]) as port:
                print(port.info.n_queues)
        asyncio.run(main())
    """
    assert run(script) == "1"


def test_a_persistent_tap_is_joined_as_it_is() -> None:
    script = """
        from ustack.io import tap
        fd = os.open("/dev/net/tun", os.O_RDWR)
        flags = tap.IFF_TAP | tap.IFF_NO_PI
        fcntl.ioctl(fd, tap.TUNSETIFF, struct.pack("16sH22x", b"us0", flags))
        fcntl.ioctl(fd, 0x400454CB, 1)  # TUNSETPERSIST
        os.close(fd)
        macs = set()
        for _ in range(2):
            with open_port("tap:us0", addresses=["10.9.0.2/24"]) as port:
                macs.add(port.info.mac)
                kernel_udp()
            assert exists()
        print(len(macs))
    """
    assert run(script) == "1"


def test_a_tap_that_is_taken_is_named() -> None:
    script = """
        with open_port("tap:us0", addresses=["10.9.0.2/24"]):
            try:
                open_port("tap:us0", addresses=["10.9.0.2/24"])
            except PortError as error:
                assert error.errno == errno.EBUSY
                print(error)
    """
    assert "tap:us0: another process has it" in run(script)


def test_a_bad_address_leaves_no_tap_behind() -> None:
    script = """
        before = os.listdir("/proc/self/fd")
        for address in ("10.9.0.2/32", "10.9.0.2"):
            try:
                open_port("tap:us0", addresses=[address])
            except ConfigError:
                print("refused")
        assert not exists()
        assert os.listdir("/proc/self/fd") == before
    """
    assert run(script) == "refused\nrefused"


@pytest.mark.skipif(os.geteuid() != 0, reason="no privilege: to become somebody without any")
def test_without_privilege_a_user_namespace_is_enough(tmp_path: Path) -> None:
    """As nobody, with a /dev/net/tun that all may open, as distributions have it."""
    shell = """
        mount -t tmpfs -o dev,mode=755 none "$0" && mknod "$0/tun" c 10 200 &&
        chmod 666 "$0/tun" && mount --bind "$0/tun" /dev/net/tun &&
        exec setpriv --reuid 65534 --regid 65534 --clear-groups "$@"
    """
    prefix = ["unshare", "-m", "sh", "-c", shell, str(tmp_path)]
    if subprocess.run(
        [*prefix, sys.executable, "-c", "import cffi, scapy, ustack.io"], capture_output=True
    ).returncode:
        assert subprocess.run([*prefix, "true"]).returncode == 0
        pytest.skip("nobody cannot run this Python")
    assert run("assert os.geteuid() == 0 and userns.is_privileged()\n", *prefix) == ""
    assert run(EXCHANGE.format(query=""), *prefix) in OFFLOAD
