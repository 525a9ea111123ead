# SPDX-License-Identifier: BSD-3-Clause
"""Engines of one stack: whose a frame is, and how it gets there."""

from __future__ import annotations

import random

import pytest
from ustack._ustack import ffi, lib

import frames
import rig
from engines import ALL, MICROSOFT, OUR_MAC, SYMMETRIC, TCP, THEIR_MAC, UDP, XOR, Engines, Rule


def rules(n: int) -> dict[str, Rule]:
    """Ways that NICs hash."""
    draw = random.Random(n)
    return {
        "symmetric": Rule(n, SYMMETRIC),
        "microsoft": Rule(n, MICROSOFT),
        "long": Rule(n, draw.randbytes(52), [draw.randrange(n) for _ in range(512)]),
        "short": Rule(n, draw.randbytes(16), [draw.randrange(n) for _ in range(8)]),
        "tcp": Rule(n, draw.randbytes(40), fields=TCP),
        "addresses": Rule(n, draw.randbytes(40), fields=0),
        "xor": Rule(n, draw.randbytes(40), fields=TCP | UDP | XOR),
    }


def segment(stack: Engines, sport: int, dport: int, bits: int = 0x02, src: str = "") -> bytes:
    """A TCP segment to the stack."""
    ends = frames.packed(src or stack.them), frames.packed(stack.us)
    body = frames.tcp(*ends, sport, dport, 1, 0, bits)
    return frames.ip_frame(OUR_MAC, THEIR_MAC, frames.ip(*ends, frames.PROTO_TCP, body))


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("kind", rules(1))
def test_a_flow_is_owned_by_the_engine_whose_queue_a_nic_would_choose(
    kind: str, version: int
) -> None:
    rule = rules(5)[kind]
    stack = Engines(5, rule, version=version)
    draw = random.Random(7)
    net = "10.0.0." if version == 4 else "fd00::"
    for _ in range(200):
        src = f"{net}{draw.randrange(3, 250)}"
        frame = segment(stack, draw.randrange(1, 65536), draw.randrange(1, 32768), src=src)
        assert stack.owner(frame) == rule.engine_of(frame)


def test_a_rule_that_names_no_engine_or_is_no_table_is_refused() -> None:
    engine = rig.Engine()
    for change in ["engine", "n_engines", "n_reta", "key_len"]:
        rss = Rule(2).give(1)
        setattr(rss, change, {"engine": 2, "n_engines": 255, "n_reta": 3, "key_len": 65}[change])
        assert lib.ust_engine_set_rss(engine.raw, rss) == -22
    assert lib.ust_engine_set_rss(engine.raw, Rule(2, reta=[0, 2]).give(1)) == -22
    now = ffi.new("struct ust_rss *")
    lib.ust_engine_rss(engine.raw, now)
    assert (now.engine, now.n_engines, bytes(now.key)[:40]) == (0, 1, SYMMETRIC)


def test_a_frame_that_came_to_the_wrong_engine_is_processed_by_its_owner() -> None:
    stack = Engines(4)
    stack.know_each_other()
    for engine in stack.all:
        engine.listen(80)
    for sport in range(2000, 2100):
        frame = segment(stack, sport, 80)
        owner = stack.owner(frame)
        stack.inject(frame, queue=(owner + 1) % 4)
        assert [i for i, _ in stack.output()] == [owner]
    assert stack.total("foreign.out") == stack.total("foreign.in") == 100
    assert stack.total("tcp.syn.in") == 100
    stack.check()


def test_an_arp_request_is_answered_once_and_teaches_every_engine() -> None:
    stack = Engines(3)
    packet = frames.arp(1, THEIR_MAC, frames.ip4(stack.them), bytes(6), frames.ip4(stack.us))
    stack.inject(frames.ethernet(frames.BROADCAST, THEIR_MAC, frames.ETH_ARP, packet), queue=1)
    assert [i for i, _ in stack.output()] == [1]
    assert [stack.them in engine.neighbours() for engine in stack.all] == [True] * 3
    assert stack.count("foreign.all") == [0, 1, 0]
    assert stack.count("foreign.in") == [1, 0, 1]
    stack.check()


def test_what_concerns_all_is_told_from_what_has_a_flow() -> None:
    stack = Engines(2)
    packet = frames.arp(2, THEIR_MAC, frames.ip4(stack.them), OUR_MAC, frames.ip4(stack.us))
    assert stack.owner(frames.ethernet(OUR_MAC, THEIR_MAC, frames.ETH_ARP, packet)) == ALL


def test_frames_for_others_that_nobody_fetches_are_dropped_and_counted() -> None:
    stack = Engines(2, Rule(2, reta=[1]), settings={"foreign.queue": 3})
    for sport in range(5):
        stack[0].inject(segment(stack, 1000 + sport, 80))
    assert stack[0].usage().foreign == 3
    assert stack[0].counters()["foreign.drop.full"] == 2
    assert stack.exchange() == 3
    stack.check()


def test_a_solicitation_is_answered_once_and_teaches_every_engine() -> None:
    stack = Engines(3, version=6)
    target, group = frames.packed(stack.us), frames.packed("ff02::1:ff00:2")
    body = frames.icmp6(
        frames.packed(stack.them), group, 135, 0, bytes(4), target + b"\x01\x01" + THEIR_MAC
    )
    packet = frames.ipv6(frames.packed(stack.them), group, frames.PROTO_ICMP6, body, ttl=255)
    stack.inject(frames.ip_frame(b"\x33\x33" + group[-4:], THEIR_MAC, packet), queue=2)
    assert [i for i, _ in stack.output()] == [2]
    assert [stack.them in engine.neighbours() for engine in stack.all] == [True] * 3
    stack.check()


def test_an_answer_to_one_engines_question_resolves_the_neighbour_for_all_that_asked() -> None:
    stack = Engines(2)
    for engine in stack.all:
        engine.connect(stack.them, 80)
    asked = stack.output()
    assert [frames.ethertype(frame) for _, frame in asked] == [frames.ETH_ARP] * 2
    packet = frames.arp(2, THEIR_MAC, frames.ip4(stack.them), OUR_MAC, frames.ip4(stack.us))
    stack.inject(frames.ethernet(OUR_MAC, THEIR_MAC, frames.ETH_ARP, packet), queue=0)
    assert [i for i, frame in stack.output() if frames.is_tcp(frame)] == [0, 1]
    assert stack.total("arp.in.reply") == 2
