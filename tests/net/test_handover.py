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
    stack[1].listen(80)
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


def deal(n: int, shift: int) -> Rule:
    """A table that puts everything `shift` engines further than the engines believe."""
    return Rule(n, reta=[(i + shift) % n for i in range(128)])


def test_a_port_with_another_table_costs_hand_overs_and_no_connection() -> None:
    stack = Engines(4, port=deal(4, 1))
    stack.know_each_other()
    stack.peer.listen(80, backlog=64)
    handles = [(i, stack[i].connect(stack.them, 80)) for i in range(4) for _ in range(10)]
    stack.talk()
    assert all(lib.ust_ready(stack[i].raw, h) & lib.UST_CONNECTED for i, h in handles)
    assert stack.total("foreign.out") == stack.total("foreign.in") == 40
    assert stack.total("tcp.resets.out") == 0
    stack.check()


def test_with_the_right_table_no_active_open_needs_a_hand_over() -> None:
    stack = Engines(4, Rule(4, MICROSOFT))
    stack.know_each_other()
    stack.peer.listen(80, backlog=64)
    handles = [(i, stack[i].connect(stack.them, 80)) for i in range(4) for _ in range(10)]
    stack.talk()
    assert all(lib.ust_ready(stack[i].raw, h) & lib.UST_CONNECTED for i, h in handles)
    assert stack.total("foreign.in") == 0


def test_a_bound_port_connects_wherever_its_answers_go() -> None:
    stack = Engines(4, Rule(4, MICROSOFT))
    stack.know_each_other()
    stack.peer.listen(80, backlog=64)
    handles = [
        (i, stack[i].connect(stack.them, 80, 5000 + 10 * i + k)) for i in range(4) for k in range(8)
    ]
    stack.talk()
    assert all(lib.ust_ready(stack[i].raw, h) & lib.UST_CONNECTED for i, h in handles)
    assert stack.total("foreign.asked") > 0
    assert stack.total("tcp.resets.out") == 0
    stack.check()


def test_a_connection_stays_when_its_bucket_goes_to_another_engine() -> None:
    stack = Engines(3)
    stack.know_each_other()
    for engine in stack.all:
        engine.listen(80)
    handles = [stack.peer.connect(stack.us, 80) for _ in range(20)]
    stack.talk()
    stack.set_rule(deal(3, 1))
    stack.port = stack.rule
    for handle in handles:
        stack.peer.send(handle, b"still there?")
    stack.talk()
    assert stack.total("foreign.asked") > 0
    assert stack.total("tcp.resets.out") == 0
    assert all(stack.peer.usage().ready == 0 for _ in handles)
    for handle in handles:
        outq = ffi.new("int64_t *")
        lib.ust_getopt(stack.peer.raw, handle, lib.UST_OPT_OUTQ, outq)
        assert outq[0] == 0
    stack.check()


def test_a_segment_for_nobody_is_answered_once_when_all_were_asked() -> None:
    stack = Engines(4)
    stack.know_each_other()
    stack.inject(segment(stack, 1000, 81, bits=0x10))
    assert len(stack.output()) == 1
    assert stack.total("foreign.asked") == 3
    assert stack.total("tcp.resets.out") == 1
    stack.check()


def test_questions_over_the_limit_are_dropped_and_counted() -> None:
    stack = Engines(2, settings={"foreign.ask_limit": 2})
    stack.know_each_other()
    for sport in range(5):
        frame = segment(stack, 1000 + sport, 81, bits=0x10)
        stack.inject(frame, queue=stack.owner(frame))
    assert stack.total("foreign.asked") + stack.total("foreign.drop.asked") == 5
    assert stack.total("foreign.drop.asked") > 0
    stack.check()


def test_a_cookie_of_one_engine_opens_at_another() -> None:
    stack = Engines(2, Rule(2, reta=[0]), settings={"tcp.syncookies": 2})
    stack.know_each_other()
    for engine in stack.all:
        engine.listen(80)
    stack.inject(segment(stack, 1000, 80))
    [(who, frame)] = stack.output()
    assert who == 0
    answer = frames.read_tcp(frame)
    stack.set_rule(Rule(2, reta=[1]))
    stack.port = stack.rule
    ends = frames.packed(stack.them), frames.packed(stack.us)
    body = frames.tcp(*ends, 1000, 80, 2, answer.seq + 1, 0x10)
    stack.inject(frames.ip_frame(OUR_MAC, THEIR_MAC, frames.ip(*ends, frames.PROTO_TCP, body)))
    assert stack.count("tcp.syncookies.in") == [0, 1]
    assert stack.total("foreign.asked") == 0


def test_fragments_meet_by_addresses_and_the_whole_goes_by_its_ports() -> None:
    stack = Engines(4, Rule(4, MICROSOFT))
    ends = frames.packed(stack.them), frames.packed(stack.us)
    for engine in stack.all:
        engine.udp("0.0.0.0", 53)
    for sport in range(2000, 2016):
        datagram = frames.udp(*ends, sport, 53, bytes(100))
        whole = frames.ip_frame(OUR_MAC, THEIR_MAC, frames.ip(*ends, frames.PROTO_UDP, datagram))
        owner = stack.owner(whole)
        before = stack.count("udp.in")
        for at, more in ((0, 0x2000), (64, 0)):
            piece = (
                frames.ip(
                    *ends,
                    frames.PROTO_UDP,
                    datagram[at : at + 64],
                    ident=sport,
                    frag=more | at // 8,
                )
                if more
                else frames.ip(*ends, frames.PROTO_UDP, datagram[at:], ident=sport, frag=at // 8)
            )
            stack.inject(frames.ip_frame(OUR_MAC, THEIR_MAC, piece))
        grown = [new - old for new, old in zip(stack.count("udp.in"), before, strict=True)]
        assert grown == [int(i == owner) for i in range(4)]
    stack.check()


def test_sixteen_engines_share_flows_evenly_and_none_meets_anothers() -> None:
    stack = Engines(16, Rule(16, MICROSOFT))
    draw = random.Random(3)
    owned = [0] * 16
    for i in range(100_000):
        src = f"10.{draw.randrange(1, 250)}.{draw.randrange(250)}.{draw.randrange(1, 250)}"
        frame = segment(stack, draw.randrange(1024, 65536), 80, src=src)
        owner = stack.queue(frame)
        owned[owner] += 1
        if i % 10 == 0:
            stack[owner].inject(frame)
    assert stack.total("foreign.out") == 0
    assert max(owned) < 1.1 * 6250 and min(owned) > 0.9 * 6250


def test_answers_to_a_connected_udp_socket_need_no_hand_over() -> None:
    stack = Engines(4, Rule(4, MICROSOFT))
    stack.know_each_other()
    stack.peer.udp("0.0.0.0", 53)
    for engine in stack.all:
        for _ in range(5):
            handle = engine.udp()
            engine.associate(handle, stack.them, 53)
            engine.sendto(handle, b"?")
    for who, frame in stack.output():
        sport = frames.check_transport(frame, frames.PROTO_UDP)[:2]
        ends = frames.packed(stack.them), frames.packed(stack.us)
        answer = frames.udp(*ends, 53, int.from_bytes(sport, "big"), b"!")
        back = frames.ip_frame(OUR_MAC, THEIR_MAC, frames.ip(*ends, frames.PROTO_UDP, answer))
        assert stack.queue(back) == who
        stack.inject(back)
    assert stack.total("udp.in") == 20
    assert stack.total("foreign.in") == 0
