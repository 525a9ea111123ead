# SPDX-License-Identifier: BSD-3-Clause
"""The neighbour table of both versions: states (RFC 4861 7.3), bounds, permanence."""

from __future__ import annotations

import pytest

import frames
import rig
from lan import HOST_MAC, NA, SOLICITED, Lan, is_arp, is_nd, link_address
from rig import lib

pytestmark = pytest.mark.both_versions

OTHER_MAC = bytes.fromhex("020000000009")


def ip(lan: Lan, n: int) -> str:
    return f"10.0.0.{n}" if lan.version == 4 else f"fd00::{n}"


def use(lan: Lan, address: str | None = None) -> list[bytes]:
    """Send a datagram; what comes out."""
    sock = lan.engine.udp()
    lan.engine.sendto(sock, b"x", address or lan.them, 9)
    lan.engine.close(sock)
    return list(lan.engine.output())


def answer(lan: Lan, mac: bytes = HOST_MAC, address: str | None = None) -> list[bytes]:
    """The host answers the engine's question."""
    address = address or lan.them
    if lan.version == 4:
        return lan.arp(frames.ARP_REPLY, address, sender_mac=mac)
    return lan.nd(NA, address, link_address(2, mac), src=address, flags=SOLICITED | 0x20)


def question(frame: bytes) -> bool:
    return is_arp(frame) or is_nd(frame)


def state(lan: Lan, address: str | None = None) -> str:
    return lan.engine.neighbours().get(address or lan.them, ("", b""))[0]


def test_a_life_from_question_to_forgetting(lan: Lan) -> None:
    """INCOMPLETE, REACHABLE for 30 s, then stale; in use: DELAY, PROBE, REACHABLE again."""
    assert [question(f) for f in use(lan)] == [True]
    assert state(lan) == "INCOMPLETE"
    assert len(answer(lan)) == 1
    assert state(lan) == "REACHABLE"
    lan.wait(29)
    assert [question(f) for f in use(lan)] == [False]
    assert state(lan) == "REACHABLE"
    lan.wait(2)
    assert [question(f) for f in use(lan)] == [False]
    assert state(lan) == "DELAY"
    (poll,) = lan.wait(5.1)
    assert question(poll) and poll[:6] == HOST_MAC
    assert state(lan) == "PROBE"
    assert [question(f) for f in use(lan)] == [False]
    answer(lan)
    assert state(lan) == "REACHABLE"
    lan.wait(61)
    assert state(lan) == ""


def test_progress_of_tcp_confirms_a_neighbour(lan: Lan) -> None:
    """RFC 4861 7.3.1: an ACK of new data is proof of reachability."""
    lan.learn()
    assert state(lan) in ("STALE", "DELAY")
    listener = lan.engine.listen(80)
    ends = frames.packed(lan.them), frames.packed(lan.us)

    def segment(seq: int, ack: int, bits: int) -> list[bytes]:
        return lan.ip(frames.PROTO_TCP, frames.tcp(*ends, 4000, 80, seq, ack, bits))

    (syn_ack,) = segment(1, 0, 2)
    iss = frames.read_tcp(syn_ack).seq
    segment(2, iss + 1, 16)
    handle = lan.engine.accept(listener)
    assert lan.wait(4) == [] and state(lan) == "DELAY"
    lan.engine.send(handle, b"x")
    list(lan.engine.output())
    segment(2, iss + 2, 16)
    assert state(lan) == "REACHABLE"
    assert lan.wait(20) == []
    lan.engine.abort(handle)


def test_a_neighbour_that_moved_is_followed(lan: Lan) -> None:
    use(lan)
    answer(lan)
    assert answer(lan, OTHER_MAC) == []
    assert [f[:6] for f in use(lan)] == [OTHER_MAC]


def test_one_that_fails_refuses_packets_for_a_moment(lan: Lan) -> None:
    assert len(use(lan) + lan.wait(2.9)) == 3
    lan.wait(0.2)
    assert state(lan) == "FAILED"
    assert use(lan) == []
    assert lan.stats["neigh.failed"] == 1
    assert lan.moved() == {"neigh.drop.failed": 2}
    lan.wait(1)
    assert [question(f) for f in use(lan)] == [True]


def test_one_that_failed_may_come_back_by_itself(lan: Lan) -> None:
    use(lan)
    lan.wait(3.1)
    lan.learn()
    assert state(lan) in ("STALE", "DELAY")
    assert [f[:6] for f in use(lan)] == [HOST_MAC]


def test_packets_wait_for_one_and_for_all_within_limits(lan: Lan) -> None:
    lan.engine.set("neigh.pending", 3)
    lan.engine.set("neigh.pending_all", 5)
    for _ in range(4):
        use(lan, ip(lan, 20))
    assert lan.moved() == {"neigh.drop.pending": 1}
    for _ in range(4):
        use(lan, ip(lan, 21))
    assert lan.moved() == {"neigh.drop.pending": 3}
    assert lan.engine.usage().mbufs_small == 5
    lan.wait(5)
    assert lan.held() == 0
    for _ in range(3):  # the count has come down again
        use(lan, ip(lan, 22))
    assert lan.moved() == {"neigh.drop.pending": 3, "neigh.drop.failed": 5}


def test_the_one_used_longest_ago_makes_room(lan: Lan) -> None:
    for n in range(32):
        lan.engine.neighbour(ip(lan, 100 + n), HOST_MAC) if n < 30 else None
    lan.learn(ip(lan, 10))
    lan.wait(0.2)
    lan.learn(ip(lan, 11))
    lan.wait(0.2)
    use(lan, ip(lan, 10))
    use(lan, ip(lan, 12))
    assert lan.stats["neigh.evicted"] == 1
    assert state(lan, ip(lan, 10)) and not state(lan, ip(lan, 11))
    lan.engine.check()


def test_strangers_evict_none_that_have_answered_us(lan: Lan) -> None:
    """As long as a quarter of the table passes by, be it used or not."""
    use(lan)
    answer(lan)
    assert state(lan) == "REACHABLE"
    for n in range(100):
        lan.learn(ip(lan, 100 + n))
    assert state(lan) == "REACHABLE"
    assert lan.engine.usage().neighs == 32
    assert len(lan.engine.neighbours()) == 32
    lan.engine.check()


def test_those_that_have_answered_leave_a_quarter_of_the_table(lan: Lan) -> None:
    """So that there is always room to ask for new ones; the least recently used goes."""
    for n in range(40):
        use(lan, ip(lan, 100 + n))
        assert len(answer(lan, address=ip(lan, 100 + n))) == 1
        lan.wait(0.1)
    assert lan.stats["neigh.evicted"] == 8
    assert not state(lan, ip(lan, 107)) and state(lan, ip(lan, 108)) == "REACHABLE"
    for n in range(20):
        lan.learn(ip(lan, 150 + n))
    kept = [s for s, _ in lan.engine.neighbours().values()].count("REACHABLE")
    assert kept == 32 - 9
    lan.engine.check()


def test_permanent_ones_are_never_evicted(lan: Lan) -> None:
    for n in range(32):
        lan.engine.neighbour(ip(lan, 100 + n), HOST_MAC)
    with pytest.raises(OSError, match="No space"):
        lan.engine.neighbour(ip(lan, 99), HOST_MAC)
    with pytest.raises(OSError, match="unreachable"):
        use(lan)
    assert lan.stats["neigh.full"] == 2
    assert lan.moved() == {"neigh.drop.pending": 1}
    lan.wait(86_400)
    assert lan.engine.usage().neighs == 32


def test_a_permanent_one_takes_over_what_waits(lan: Lan) -> None:
    use(lan)
    lan.engine.neighbour(lan.them, OTHER_MAC)
    assert [f[:6] for f in lan.engine.output()] == [OTHER_MAC]
    assert lan.wait(100) == []
    lan.engine.forget_neighbour(lan.them)
    assert [question(f) for f in use(lan)] == [True]


def test_a_forgotten_one_takes_its_packets_along(lan: Lan) -> None:
    use(lan)
    lan.engine.forget_neighbour(lan.them)
    assert lan.moved() == {"neigh.drop.failed": 1}
    assert lan.held() == lan.engine.usage().neighs == 0


def test_an_entry_without_a_packet_does_not_stay(lan: Lan) -> None:
    """A datagram that must not be cut asks for nobody."""
    sock = lan.engine.udp(lan.us, 9)
    rig.lib.ust_engine_fail_alloc(lan.engine.raw, 3, False)
    with pytest.raises(OSError, match="buffer"):
        lan.engine.sendto(sock, bytes(3000), lan.them, 9)
    assert state(lan) == "INCOMPLETE"
    assert lan.wait(1.1) == []
    assert state(lan) == ""


def test_no_memory_for_an_entry_drops_the_packet(lan: Lan) -> None:
    sock = lan.engine.udp(lan.us, 9)
    lib.ust_engine_fail_alloc(lan.engine.raw, 2, False)
    with pytest.raises(OSError, match="unreachable"):
        lan.engine.sendto(sock, b"x", lan.them, 9)
    assert lan.moved() == {"neigh.drop.pending": 1}


def test_every_state_has_a_name() -> None:
    names = [rig.ffi.string(lib.ust_neigh_state_name(i)).decode() for i in range(8)]
    assert names[:3] == ["FREE", "INCOMPLETE", "REACHABLE"] and names[7] == "PERMANENT"
    assert lib.ust_neigh_state_name(8) == rig.ffi.NULL
