# SPDX-License-Identifier: BSD-3-Clause
"""Whatever arrives, in whatever order: every invariant holds, and nothing is amplified."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Callable
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import frames
import notation
import rig
from wire import THEIR_IP, THEIR_MAC, Peer, Wire

PORTS = (40000, 40001, 40002)
DELTAS = st.sampled_from(
    [0, 0, 0, 0, 1, -1, 2, -10, 10, 500, 1000, -1000, 1460, 65535, 2**31, 70_000]
) | st.integers(-(2**31), 2**31)

SEGMENTS = st.fixed_dictionaries(
    {
        "op": st.just("segment"),
        "flow": st.integers(0, 2),
        "seq": DELTAS,
        "ack": DELTAS,
        "bits": st.sampled_from([2, 16, 16, 16, 16, 24, 17, 18, 4, 20]) | st.integers(0, 255),
        "length": st.sampled_from([0, 0, 1, 10, 500, 1000, 3000]),
        "win": st.sampled_from([0, 1, 100, 257, 65535]),
        "urg": st.sampled_from([0, 0, 1, 65535]),
        "options": st.just(b"")
        | st.binary(min_size=4, max_size=40).map(lambda b: b[: len(b) // 4 * 4])
        | st.sampled_from(
            [
                "mss 1000",
                "mss 0",
                "nop,wscale 15",
                "sackOK,TS val 5 ecr 0,nop,wscale 3",
                "nop,nop,TS val 1 ecr 1",
            ]
        ).map(lambda t: notation.options_bytes(notation.parse_options(t) or ())),
    }
)
CALLS = st.fixed_dictionaries(
    {
        "op": st.sampled_from(
            [
                "connect",
                "accept",
                "send",
                "send",
                "recv",
                "recv",
                "shutdown",
                "close",
                "abort",
                "nodelay",
                "listen",
            ]
        ),
        "which": st.integers(0, 10),
        "size": st.sampled_from([1, 100, 1000, 30_000]),
    }
)
TIME = st.fixed_dictionaries(
    {
        "op": st.just("advance"),
        "seconds": st.sampled_from([0.0, 0.001, 0.05, 0.3, 1.0, 20.0, 130.0]),
    }
)
FAULTS = st.fixed_dictionaries({"op": st.just("fail"), "nth": st.integers(1, 6)})
RAW = st.fixed_dictionaries({"op": st.just("raw"), "frame": st.binary(min_size=1, max_size=100)})
STEPS = st.lists(
    st.one_of(SEGMENTS, SEGMENTS, SEGMENTS, CALLS, CALLS, TIME, FAULTS, RAW),
    min_size=10,
    max_size=50,
)


class Machine:
    """An engine, the sockets that were ever made on it, and the flows that the test speaks on."""

    def __init__(self) -> None:
        self.wire = Wire()
        self.wire.settings(mbuf_small=256, mbuf_reserve=16, tcp_max_tcbs=8, tcp_rmem=20_000)
        self.listener = self.wire.listen()
        self.peers = [self.wire.peer(port) for port in PORTS]
        self.handles = [self.listener]

    def step(self, op: dict[str, Any]) -> None:
        """One operation; errors that the documentation allows are no failures."""
        with contextlib.suppress(OSError):
            getattr(self, op["op"])(op)
        self.wire.pump()
        for sent in self.wire.sent:
            self.learn(frames.read_tcp(sent.frame))
        self.wire.sent.clear()
        self.wire.engine.check()

    def learn(self, tcp: frames.TcpFrame) -> None:
        """Take note of our ISN, and of flows that connect() made."""
        for peer in self.peers:
            if (tcp.dport, tcp.sport) == (peer.port, peer.our_port) and tcp.bits & 2:
                peer.iss = tcp.seq
                return
        if tcp.bits & 18 == 2:
            peer = Peer(self.wire, tcp.dport, tcp.sport)
            peer.iss = tcp.seq
            self.peers[0] = peer

    def segment(self, op: dict[str, Any]) -> None:
        """A segment near what the flow expects."""
        peer = self.peers[op["flow"]]
        info = peer.info
        seq = peer.theirs(info.rcv_nxt) if info is not None and info.rcv_nxt else 0
        ack = peer.ours(info.snd_nxt) if info is not None else 1
        text = f". {seq}:{seq}(0) ack {ack}"
        frame = peer.frame(notation.parse_segment(text))
        src, dst = frames.ip4(THEIR_IP), frames.ip4(self.wire.engine.address)
        number = int.from_bytes(frame[38:42], "big") + op["seq"]
        acked = int.from_bytes(frame[42:46], "big") + op["ack"]
        body = frames.tcp(
            src,
            dst,
            peer.port,
            peer.our_port,
            number,
            acked,
            op["bits"],
            win=op["win"],
            urg=op["urg"],
            options=op["options"],
            payload=bytes(op["length"]),
        )
        self.wire.engine.inject(frame[:14] + frames.ipv4(src, dst, frames.PROTO_TCP, body))

    def raw(self, op: dict[str, Any]) -> None:
        """Any bytes, addressed to us."""
        self.wire.engine.inject(self.wire.engine.mac + THEIR_MAC + op["frame"])

    def advance(self, op: dict[str, Any]) -> None:
        """Let time pass."""
        self.wire.advance(op["seconds"])

    def fail(self, op: dict[str, Any]) -> None:
        """Let an allocation fail soon."""
        rig.lib.ust_engine_fail_alloc(self.wire.engine.raw, op["nth"], False)

    def handle(self, op: dict[str, Any]) -> int:
        """Some handle, perhaps a stale one."""
        return self.handles[op["which"] % len(self.handles)]

    def connect(self, op: dict[str, Any]) -> None:
        self.handles.append(self.wire.engine.connect(THEIR_IP, 7000 + op["which"]))

    def listen(self, op: dict[str, Any]) -> None:
        self.listener = self.wire.engine.listen(80)
        self.handles.append(self.listener)

    def accept(self, op: dict[str, Any]) -> None:
        self.handles.append(self.wire.engine.accept(self.listener))

    def send(self, op: dict[str, Any]) -> None:
        self.wire.engine.send(self.handle(op), bytes(op["size"]))

    def recv(self, op: dict[str, Any]) -> None:
        self.wire.engine.recv(self.handle(op), op["size"])

    def shutdown(self, op: dict[str, Any]) -> None:
        self.wire.engine.shutdown(self.handle(op), op["size"] % 3)

    def close(self, op: dict[str, Any]) -> None:
        self.wire.engine.close(self.handle(op))

    def abort(self, op: dict[str, Any]) -> None:
        self.wire.engine.abort(self.handle(op))

    def nodelay(self, op: dict[str, Any]) -> None:
        self.wire.engine.setopt(self.handle(op), rig.lib.UST_OPT_NODELAY, op["which"] % 2)

    def end(self) -> None:
        """Close everything and wait: nothing may be held."""
        rig.lib.ust_engine_fail_alloc(self.wire.engine.raw, 0, False)
        for handle in self.handles:
            with contextlib.suppress(OSError):
                self.wire.engine.abort(handle)
        self.wire.advance(400)
        self.wire.sent.clear()
        self.wire.engine.check()
        usage = self.wire.engine.usage()
        assert (
            usage.mbufs_small,
            usage.tcbs,
            usage.requests,
            usage.timewaits,
            usage.reass,
            usage.timers,
            usage.flows,
        ) == (0,) * 7
        self.wire.free()


@settings(
    max_examples=500,
    deadline=None,
    derandomize=True,
    suppress_health_check=[
        HealthCheck.too_slow,
        HealthCheck.data_too_large,
        HealthCheck.large_base_example,
    ],
)
@given(STEPS)
def test_any_sequence_keeps_every_invariant(steps: list[dict[str, Any]]) -> None:
    """Invariants after each step; afterwards nothing is left."""
    machine = Machine()
    for op in steps:
        machine.step(op)
    machine.end()


# ------------------------------------------------------------- amplification


def random_packets(rnd: random.Random) -> Callable[[], bytes]:
    """A source of frames that are valid to a random depth."""
    us, mac = frames.ip4("10.0.0.2"), bytes.fromhex("020000000002")

    def host() -> bytes:
        return frames.ip4(f"10.0.0.{rnd.choice([1, 1, 1, 3, 4, 255])}")

    def tcp() -> bytes:
        src = host()
        body = frames.tcp(
            src,
            us,
            rnd.choice([1000, 1001]),
            rnd.choice([80, 81]),
            rnd.choice([0, 1, rnd.getrandbits(32)]),
            rnd.choice([0, rnd.getrandbits(32)]),
            rnd.getrandbits(8),
            win=rnd.getrandbits(16),
            payload=bytes(rnd.choice([0, 6, 100])),
            options=rnd.randbytes(rnd.choice([0, 4, 12, 40])),
        )
        return frames.ethernet(mac, THEIR_MAC, 0x0800, frames.ipv4(src, us, 6, body))

    def other() -> bytes:
        src = host()
        proto = rnd.choice([1, 1, 17, 17, 4, 255])
        if proto == 1:
            body = frames.icmp(rnd.choice([0, 3, 8, 8, 11, 13]), 0, bytes(4), rnd.randbytes(40))
        elif proto == 17:
            body = frames.udp(src, us, 5, 6, rnd.randbytes(rnd.choice([18, 100])))
        else:
            body = rnd.randbytes(40)
        return frames.ethernet(mac, THEIR_MAC, 0x0800, frames.ipv4(src, us, proto, body))

    def arp() -> bytes:
        packet = frames.arp(
            rnd.choice([1, 2, 3]), THEIR_MAC, host(), bytes(6), rnd.choice([us, host()])
        )
        return frames.ethernet(rnd.choice([mac, frames.BROADCAST]), THEIR_MAC, 0x0806, packet)

    def noise() -> bytes:
        return mac + THEIR_MAC + rnd.randbytes(rnd.randrange(60))

    return lambda: rnd.choice([tcp, tcp, other, arp, noise])().ljust(60, b"\0")


def is_arp_request(frame: bytes) -> bool:
    """Is it one of our questions?"""
    return frames.ethertype(frame) == frames.ETH_ARP and frame[20:22] == b"\0\1"


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.integers(0, 2**32))
def test_random_frames_never_earn_more_than_they_sent(seed: int) -> None:
    """Never more answers than frames, and no more bytes in all.

    One frame may release two: its own answer, and a packet that has waited for the MAC it brings.
    Our own ARP requests are no answers; they are limited by time.
    """
    source = random_packets(random.Random(seed))
    engine = rig.Engine()
    engine.listen(80)
    engine.neighbour(THEIR_IP, THEIR_MAC)
    list(engine.output())
    bytes_in = bytes_out = frames_out = 0
    for frames_in in range(1, 51):
        frame = source()
        engine.inject(frame)
        answers = list(engine.output())
        frames_out += sum(not is_arp_request(answer) for answer in answers)
        assert frames_out <= frames_in
        bytes_in += len(frame)
        bytes_out += sum(map(len, answers))
        engine.now += 1_000_000
    engine.check()
    engine.free()
    assert bytes_out <= bytes_in


@settings(max_examples=500, deadline=None, derandomize=True)
@given(st.binary(max_size=40), st.sampled_from([2, 16, 18, 24]))
def test_any_options_are_survived(options: bytes, bits: int) -> None:
    """D1, D11: never a reset, never more than one answer."""
    engine = rig.Engine()
    engine.listen(80)
    engine.neighbour(THEIR_IP, THEIR_MAC)
    list(engine.output())
    us, them = frames.ip4(engine.address), frames.ip4(THEIR_IP)
    body = frames.tcp(them, us, 1000, 80, 5, 0, bits, options=options[: len(options) // 4 * 4])
    engine.inject(frames.ethernet(engine.mac, THEIR_MAC, 0x0800, frames.ipv4(them, us, 6, body)))
    answers = list(engine.output())
    assert len(answers) == 1
    assert bool(frames.read_tcp(answers[0]).bits & 4) == (bits != 2)
    engine.check()
    engine.free()


def test_a_forged_syn_earns_its_syn_ack_and_a_few_repeats() -> None:
    """An unanswered SYN-ACK is sent tcp.synack_retries times again."""
    wire = Wire()
    wire.settings(tcp_synack_retries=2)
    wire.listen()
    wire.put("+0 < S 0:0(0) win 65535 <mss 1000>")
    wire.advance(1000)
    assert len(wire.sent) == 1 + 2
    wire.free()
