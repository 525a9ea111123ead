# SPDX-License-Identifier: BSD-3-Clause
"""Rings from Python: who may be on one, RSS, a hostile peer.

What every backend owes to an engine (bursts, chains, offloads, sleeping) is in c/ports.c.
"""

from __future__ import annotations

import errno
import ipaddress
import mmap
import os
import random
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest
from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import ARP, Ether

from pair import ring_url
from ustack import PortError
from ustack._native import lib
from ustack.io import Port, open_port, ring_pair

SLOT_SIZE, SLOT_HEAD = 2112, 24
MACS = Ether(src="02:00:00:00:00:01", dst="02:00:00:00:00:02")  # else scapy asks the network
SHM = Path("/dev/shm" if os.access("/dev/shm", os.W_OK) else "/tmp")


def frame(number: int = 0, length: int = 60) -> bytes:
    """A frame of no protocol that tells its number."""
    return (bytes(12) + b"\x88\xb5" + struct.pack("!I", number)).ljust(length, b"\xa5")


def udp(source: int, dest: int = 7, src: str = "10.9.0.1", dst: str = "10.9.0.2") -> bytes:
    return bytes(MACS / IP(src=src, dst=dst) / UDP(sport=source, dport=dest) / b"x")


def drain(port: Port, queue: int = 0) -> list[bytes]:
    return list(iter(lambda: port.recv(queue), None))


@pytest.fixture
def url() -> str:
    return ring_url()


@pytest.fixture
def ring(url: str) -> Iterator[tuple[Port, Port]]:
    with open_port(url) as near, open_port(url) as far:
        yield near, far


# ------------------------------------------------------------------- who is on a ring


def test_frames_cross_a_named_ring_both_ways(ring: tuple[Port, Port]) -> None:
    near, far = ring
    for i in range(5):
        assert near.send(frame(i, 60 + 400 * i))
        assert far.send(frame(100 + i))
    assert drain(far) == [frame(i, 60 + 400 * i) for i in range(5)]
    assert drain(near) == [frame(100 + i) for i in range(5)]
    assert near.info.mac != far.info.mac


def test_a_ring_has_two_sides(url: str, ring: tuple[Port, Port]) -> None:
    with pytest.raises(PortError, match=r"both sides are taken; end one") as caught:
        open_port(url)
    assert caught.value.errno == errno.EADDRINUSE


@pytest.mark.parametrize("other", ["queues=2", "mtu=1400", "offload=0"])
def test_both_sides_must_have_the_same_parameters(url: str, other: str) -> None:
    with open_port(url) as near:
        with pytest.raises(PortError, match=r"other parameters.*use the same") as caught:
            open_port(f"{url}?{other}")
        assert caught.value.errno == errno.EINVAL
        with open_port(url) as far:
            assert far.send(frame(1)) and near.recv() == frame(1)


def files_of(url: str) -> list[str]:
    return [path.name for path in SHM.glob(f"ustack-{url.partition(':')[2]}*")]


def test_the_last_to_leave_removes_the_segment(url: str) -> None:
    near, far = open_port(url), open_port(url)
    assert len(files_of(url)) == 3  # the segment and two doorbells
    near.close()
    assert len(files_of(url)) == 3
    assert not far.info.link_up
    far.close()
    assert files_of(url) == []


def test_nobody_else_may_open_the_segment(url: str) -> None:
    with open_port(url):
        for name in files_of(url):
            assert (SHM / name).stat().st_mode & 0o777 == 0o600


def test_a_file_that_others_may_open_is_refused(url: str) -> None:
    path = SHM / f"ustack-{url.partition(':')[2]}"
    path.touch()
    path.chmod(0o644)
    try:
        with pytest.raises(PortError, match=r"belongs to another user") as caught:
            open_port(url)
        assert caught.value.errno == errno.EACCES
    finally:
        path.unlink()


def test_a_symbolic_link_is_not_followed(url: str, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_bytes(b"precious")
    victim.chmod(0o600)
    path = SHM / f"ustack-{url.partition(':')[2]}"
    path.symlink_to(victim)
    try:
        with pytest.raises(PortError):
            open_port(url)
        assert victim.read_bytes() == b"precious"
    finally:
        path.unlink()


def test_a_side_can_be_taken_again_while_the_other_goes_on(url: str) -> None:
    with open_port(url) as near:
        for life in range(3):
            with open_port(url) as far:
                assert near.info.link_up
                assert far.recv() is None  # what its predecessor left is not for it
                mac = far.info.mac
                for i in range(1500):  # more than there are slots
                    assert near.send(frame(i)) and far.recv() == frame(i)
                    assert far.send(frame(i)) and near.recv() == frame(i)
                assert near.send(frame(life))
            assert not near.info.link_up
        with open_port(url) as far:
            assert far.info.mac == mac


def test_a_ring_that_nobody_reads_is_full_until_somebody_comes(url: str) -> None:
    with open_port(url) as near:
        n = 0
        while near.send(frame(n)):
            n += 1
        assert n == 1024
        assert near.stats().tx_full == 1
        with open_port(url) as far:
            assert far.recv() is None  # those were sent while the link was down
            assert near.send(frame(n))
            assert far.recv() == frame(n)


def test_no_doorbell_is_rung_for_those_who_do_not_sleep(ring: tuple[Port, Port]) -> None:
    near, far = ring
    for i in range(100):
        assert near.send(frame(i))
        assert far.recv() == frame(i)
    assert near.stats().wakes == 0


def test_a_frame_longer_than_the_mtu_is_refused_without_offload() -> None:
    near, far = ring_pair(mtu=1000, caps=0)
    with near, far:
        assert near.send(frame(1, 1014)) and near.send(frame(2, 1015))
        assert drain(far) == [frame(1, 1014)]
        assert near.stats().tx_errors == 1


@pytest.mark.parametrize("bad", [(0, 1500, 0), (17, 1500, 0), (1, 67, 0), (1, 1500, 3)])
def test_a_pair_with_impossible_parameters_is_refused(bad: tuple[int, int, int]) -> None:
    with pytest.raises(OSError) as caught:
        ring_pair(*bad)
    assert caught.value.errno == errno.EINVAL


def test_a_closed_port_says_so() -> None:
    near, far = ring_pair()
    near.close()
    near.close()
    assert not far.info.link_up
    with pytest.raises(ValueError, match="is closed"):
        near.send(frame())
    far.close()


# -------------------------------------------------------------------------------- RSS


def queue_of(near: Port, far: Port, data: bytes, queues: int) -> int:
    assert near.send(data)
    (queue,) = (q for q in range(queues) if drain(far, q) == [data])
    return queue


@pytest.fixture
def wide() -> Iterator[tuple[Port, Port]]:
    near, far = ring_pair(n_queues=4)
    with near, far:
        yield near, far


def test_a_flow_keeps_its_queue_in_both_directions(wide: tuple[Port, Port]) -> None:
    near, far = wide
    seen = set()
    for port in range(1000, 1064):
        there = udp(port)
        back = udp(7, port, src="10.9.0.2", dst="10.9.0.1")
        queue = queue_of(near, far, there, 4)
        assert queue_of(near, far, there, 4) == queue
        assert queue_of(far, near, back, 4) == queue
        seen.add(queue)
    assert seen == {0, 1, 2, 3}


@pytest.mark.parametrize("version", [4, 6])
def test_the_queue_is_toeplitz_over_the_flow_by_key_and_table(
    wide: tuple[Port, Port], version: int
) -> None:
    near, far = wide
    key = bytes(range(40))
    table = [3, 1, 2, 0, 1, 1, 2, 3]
    far.set_rss(key, table)
    for port in range(1, 30):
        if version == 4:
            packet = IP(src="192.0.2.1", dst="198.51.100.9", options=b"\x01" * 4)
            addresses = bytes([192, 0, 2, 1, 198, 51, 100, 9])
        else:
            packet = IPv6(src="2001:db8::1", dst="2001:db8::2")
            addresses = ipaddress.ip_address("2001:db8::1").packed
            addresses += ipaddress.ip_address("2001:db8::2").packed
        data = bytes(MACS / packet / TCP(sport=port, dport=80))
        flow = addresses + struct.pack("!HH", port, 80)
        expected = table[lib.ust_toeplitz(key, 40, flow, len(flow)) % 8]
        assert queue_of(near, far, data, 4) == expected


def test_a_table_rewritten_while_frames_flow_moves_them(wide: tuple[Port, Port]) -> None:
    near, far = wide
    for queue in (2, 0, 3):
        far.set_rss(table=[queue])
        assert {queue_of(near, far, udp(port), 4) for port in range(20)} == {queue}


def test_what_has_no_flow_goes_to_queue_0(wide: tuple[Port, Port]) -> None:
    near, far = wide
    far.set_rss(table=[3])
    assert queue_of(near, far, bytes(MACS / ARP()), 4) == 0
    assert queue_of(near, far, frame(), 4) == 0
    assert queue_of(near, far, udp(5)[:20], 4) == 0  # cut inside the IP header


def test_all_fragments_of_a_packet_go_to_one_queue(wide: tuple[Port, Port]) -> None:
    near, far = wide
    head = bytes(MACS / IP(src="10.9.0.1", dst="10.9.0.2", flags="MF") / UDP(sport=5))
    queues = {queue_of(near, far, head, 4)}
    for port in range(20):  # the bytes after the header are payload
        tail = MACS / IP(src="10.9.0.1", dst="10.9.0.2", frag=10, proto=17) / UDP(sport=port)
        queues.add(queue_of(near, far, bytes(tail), 4))
    assert len(queues) == 1


@pytest.mark.parametrize("table", [[], [0, 1, 2], [4], [0] * 1024])
def test_an_impossible_table_is_refused(wide: tuple[Port, Port], table: list[int]) -> None:
    with pytest.raises(OSError) as caught:
        wide[0].set_rss(table=table)
    assert caught.value.errno == errno.EINVAL


# ----------------------------------------------------------------------- a hostile peer


class Hostile:
    """The memory of a ring, as a peer that means no good has it."""

    def __init__(self, url: str, near: Port, far: Port) -> None:
        with open(SHM / f"ustack-{url.partition(':')[2]}", "r+b") as file:
            self.memory = mmap.mmap(file.fileno(), 0)
        before = bytes(self.memory)
        assert near.send(frame(1)) and near.send(frame(2)) and near.send(frame(3))
        after = bytes(self.memory)
        self.slots = after.index(frame(1)) - SLOT_HEAD
        assert after.index(frame(2)) - SLOT_HEAD == self.slots + SLOT_SIZE
        changed = [i for i in range(0, self.slots, 4) if before[i : i + 4] != after[i : i + 4]]
        (self.head,) = changed
        assert struct.unpack_from("I", after, self.head) == (3,)
        self.tail = self.head + 64
        assert drain(far) == [frame(1), frame(2), frame(3)]
        assert struct.unpack_from("I", self.memory, self.tail) == (3,)

    def write(self, at: int, *words: int) -> None:
        struct.pack_into(f"{len(words)}I", self.memory, at, *words)


@pytest.fixture
def hostile(url: str, ring: tuple[Port, Port]) -> Hostile:
    return Hostile(url, *ring)


def assert_alive(near: Port, far: Port) -> None:
    """Frames cross again, both ways."""
    for i in range(10):
        assert near.send(frame(i)) and far.recv() == frame(i)
        assert far.send(frame(i)) and near.recv() == frame(i)


@pytest.mark.parametrize("head", [1028, 0x80000000, 2, 0])
def test_an_impossible_head_is_dropped_and_counted(
    ring: tuple[Port, Port], hostile: Hostile, head: int
) -> None:
    near, far = ring
    hostile.write(hostile.head, head)
    assert far.recv() is None
    assert far.stats().rx_bad == 1
    hostile.write(hostile.head, 3)
    hostile.write(hostile.tail, 3)
    drain(far)
    assert_alive(near, far)


@pytest.mark.parametrize("tail", [2, 1028, 0x80000000, 0xFFFFFFFF])
def test_an_impossible_tail_is_counted_and_not_believed(
    ring: tuple[Port, Port], hostile: Hostile, tail: int
) -> None:
    near, far = ring
    sent = 0
    while near.send(frame(sent)):
        sent += 1
    hostile.write(hostile.tail, tail)
    assert not near.send(frame(0))
    assert near.stats().rx_bad == 1
    assert drain(far) == [frame(i) for i in range(sent)]  # nothing was overwritten
    assert_alive(near, far)


@pytest.mark.parametrize("length", [0, 13, 65550, 0xFFFFFFFF, 3 * SLOT_SIZE])
def test_an_impossible_length_skips_what_is_there(
    ring: tuple[Port, Port], hostile: Hostile, length: int
) -> None:
    near, far = ring
    assert near.send(frame(4)) and near.send(frame(5))
    hostile.write(hostile.slots + 3 * SLOT_SIZE, length)
    assert far.recv() is None
    assert far.stats().rx_bad == 1
    assert_alive(near, far)


def test_metadata_without_sense_does_not_reach_outside_the_frame(
    ring: tuple[Port, Port], hostile: Hostile
) -> None:
    near, far = ring
    assert near.send(frame(4))
    # csum_start 0xffff, csum_offset 0xffff, gso_size 0xffff, all flags, gso_type 255
    hostile.write(hostile.slots + 3 * SLOT_SIZE + 12, *[0xFFFFFFFF] * 3)
    assert far.recv() == frame(4)
    assert_alive(near, far)


def test_scribbling_anywhere_never_harms_the_reader(url: str) -> None:
    rng = random.Random(1)
    frames = [udp(port) for port in range(64)]
    slots = 8 * 512  # two queues a side: eight lanes
    with open_port(url + "?queues=2") as near, open_port(url + "?queues=2") as far:
        with open(SHM / f"ustack-{url.partition(':')[2]}", "r+b") as file:
            memory = mmap.mmap(file.fileno(), 0)
        for _ in range(3000):
            for _ in range(rng.randrange(8)):
                near.send(rng.choice(frames), rng.randrange(2))
            for i in range(40):
                at = rng.randrange(8192 // 4) * 4  # settings, flags, indices
                if i:  # metadata of frames
                    slot = rng.randrange(slots)
                    at = len(memory) - (slots - slot) * SLOT_SIZE + rng.randrange(6) * 4
                word = rng.choice([0, 1, 0xFFFFFFFF, rng.getrandbits(32), rng.getrandbits(16)])
                struct.pack_into("I", memory, at, word)
            for queue in range(2):
                for _ in range(4):
                    received = far.recv(queue)
                    assert received is None or 14 <= len(received) <= 65549
        stats = far.stats()
    assert stats.rx_bad > 10 and stats.rx_frames > 1000  # it was worth the while
