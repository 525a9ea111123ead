# SPDX-License-Identifier: BSD-3-Clause
"""TIME-WAIT under pressure: who may take its place (RFC 6191, RFC 1122 4.2.2.13, tcp.tw_reuse),
who must not end it (RFC 1337), and what it costs."""

from __future__ import annotations

import errno

import pytest

import rig
from notation import parse_segment as segment
from wire import Peer, Sock, Wire

pytestmark = pytest.mark.both_versions

PORT = 8080


def time_wait(wire: Wire, ts: bool = True, fin_ts: int = 200) -> Sock:
    """A connection that we opened, in TIME-WAIT; TS.Recent is fin_ts."""
    sock = wire.established(active=True, rtt=0.1, ts=ts)
    sock.close()
    option = f" <nop,nop,TS val {fin_ts} ecr 100>" if ts else ""
    shown = " <...>" if ts else ""
    wire(f"""
        +0  > F. 1:1(0) ack 1{shown}
        +.1 < F. 1:1(0) ack 2 win 257{option}
        +0  > .  2:2(0) ack 2{shown}
    """)
    assert sock.state == "TIME_WAIT"
    return sock


def connect_again(wire: Wire, old: Sock) -> int:
    """Connect with the same four numbers; the handle."""
    port = old.peer.our_port
    wire.settings(tcp_port_min=port, tcp_port_max=port)
    wire.engine.tick()  # tells it the time
    return wire.engine.connect(wire.their_ip, PORT)


# ------------------------------------------------------------------ active opens


def test_connect_takes_over_a_time_wait_flow(wire: Wire) -> None:
    """tcp.tw_reuse=1: when all other ports are used."""
    wire.settings(tcp_tw_reuse=1)
    old = time_wait(wire)
    first = old.peer.iss
    wire.advance(1.1)
    handle = connect_again(wire, old)
    assert old.state == "SYN_SENT"
    assert wire.engine.usage().timewaits == 0
    assert wire.stats["tcp.timewait.taken"] == 1
    wire("+0 > S 0:0(0) <...>")
    assert first is not None and old.peer.iss is not None
    assert 65_537 <= (old.peer.iss - first - 2) % 2**32 < 2**31, "beyond all old numbers"
    wire("""
        +.1 < S. 900000:900000(0) ack 1 win 65535 <mss 1000>
        +0  > .  1:1(0) ack 900001
    """)
    assert wire.engine.info(handle).state == rig.lib.UST_ESTABLISHED


def test_its_first_number_is_beyond_the_old_ones_however_many_those_were(wire: Wire) -> None:
    wire.settings(tcp_tw_reuse=1)
    sock = wire.established(active=True, ts=True, rtt=0.001, mss=1400, win=60_000)
    sock.send(1_000_000)
    for _ in range(2000):
        if not sock.info.outq:
            break
        wire.advance(0.0001)
        wire.pump()
        wire.sent.clear()
        end = sock.peer.ours(sock.info.snd_nxt)
        wire.inject(sock.peer.frame(segment(f". 1:1(0) ack {end} win 60000")))
    last = sock.info.snd_max
    sock.close()
    wire.sent.clear()
    end = sock.peer.ours(last) + 1
    wire.inject(sock.peer.frame(segment(f"F. 1:1(0) ack {end} win 9 <nop,nop,TS val 900 ecr 0>")))
    wire.sent.clear()
    wire.pump()
    wire.sent.clear()
    assert sock.state == "TIME_WAIT"
    wire.advance(1.1)
    connect_again(wire, sock)
    wire("+0 > S 0:0(0) <...>")
    assert sock.peer.iss is not None
    assert 0 < (sock.peer.iss - last) % 2**32 < 2**31


@pytest.mark.parametrize("setting", [0, 2])
def test_without_the_setting_it_does_not(wire: Wire, setting: int) -> None:
    """2, as in Linux, means loopback alone; see tests/net/test_loopback.py."""
    wire.settings(tcp_tw_reuse=setting)
    old = time_wait(wire)
    wire.advance(30)
    with pytest.raises(OSError) as caught:
        connect_again(wire, old)
    assert caught.value.errno == errno.EADDRNOTAVAIL
    assert old.state == "TIME_WAIT"


def test_not_in_the_first_second(wire: Wire) -> None:
    """The peer's timestamps must have moved on."""
    wire.settings(tcp_tw_reuse=1)
    old = time_wait(wire)
    wire.advance(0.9)
    with pytest.raises(OSError) as caught:
        connect_again(wire, old)
    assert caught.value.errno == errno.EADDRNOTAVAIL


def test_not_without_timestamps(wire: Wire) -> None:
    """Nothing would tell the old segments from the new."""
    wire.settings(tcp_tw_reuse=1)
    old = time_wait(wire, ts=False)
    wire.advance(30)
    with pytest.raises(OSError):
        connect_again(wire, old)
    assert old.state == "TIME_WAIT"


def test_not_when_timestamps_are_now_off(wire: Wire) -> None:
    wire.settings(tcp_tw_reuse=1)
    old = time_wait(wire)
    wire.advance(30)
    wire.settings(tcp_timestamps=0)
    with pytest.raises(OSError):
        connect_again(wire, old)


def test_a_bound_socket_may_take_its_own_old_flow(wire: Wire) -> None:
    wire.settings(tcp_tw_reuse=1)
    old = time_wait(wire)
    wire.advance(2)
    engine = wire.engine
    engine.tick()
    handle = rig.check(rig.lib.ust_socket(engine.raw))
    engine.setopt(handle, rig.lib.UST_OPT_REUSEADDR, 1)
    rig.check(rig.lib.ust_bind(engine.raw, handle, rig.addr(engine.any), old.peer.our_port))
    result = rig.lib.ust_connect(engine.raw, handle, rig.addr(wire.their_ip), PORT)
    assert result == -errno.EINPROGRESS
    assert old.state == "SYN_SENT"
    wire.pump()
    wire.sent.clear()


def test_a_live_flow_is_never_taken(wire: Wire) -> None:
    wire.settings(tcp_tw_reuse=1)
    sock = wire.established(active=True, ts=True)
    wire.advance(2)
    with pytest.raises(OSError):
        connect_again(wire, sock)
    assert sock.state == "ESTABLISHED"


def test_an_old_segment_does_not_reach_the_successor(wire: Wire) -> None:
    """In SYN-SENT a segment of the old connection is dropped or reset, never taken."""
    wire.settings(tcp_tw_reuse=1)
    old = time_wait(wire)
    wire.advance(2)
    connect_again(wire, old)
    wire.pump()
    wire.sent.clear()
    wire.inject(old.peer.frame(segment("P. 1:11(10) ack 2 win 9 <nop,nop,TS val 150 ecr 100>")))
    wire.inject(old.peer.frame(segment("F. 1:1(0) ack 2 win 9 <nop,nop,TS val 200 ecr 100>")))
    assert old.state == "SYN_SENT"
    wire.pump()
    wire.sent.clear()


# ------------------------------------------------------------------ passive opens (RFC 6191)


def waiting(wire: Wire, ts: bool) -> Sock:
    """A connection that we accepted, in TIME-WAIT; TS.Recent is 200, RCV.NXT 2."""
    sock = wire.established(rtt=0.1, ts=ts)
    sock.close()
    option = " <nop,nop,TS val 200 ecr 100>" if ts else ""
    shown = " <...>" if ts else ""
    wire(f"""
        +0  > F. 1:1(0) ack 1{shown}
        +.1 < F. 1:1(0) ack 2 win 257{option}
        +0  > .  2:2(0) ack 2{shown}
    """)
    return sock


@pytest.mark.parametrize(
    ("ts", "val", "seq", "honoured"),
    [
        (True, 201, 9, True),  # newer timestamp: whatever the number
        (True, 201, -9, True),
        (True, 200, 9, True),  # the same: by the number
        (True, 200, -9, False),
        (True, 199, 9, False),  # older: never
        (True, 199, -9, False),
        (True, None, 9, True),  # none: by the number
        (True, None, -9, False),
        (False, None, 9, True),
        (False, None, -9, False),
        (False, None, 2, False),  # the number itself is not beyond
        (False, 201, 9, True),
        (False, 201, -9, False),  # as Linux; RFC 6191 would honour it
    ],
)
def test_a_syn_reopens_by_timestamp_or_else_by_number(
    wire: Wire, ts: bool, val: int | None, seq: int, honoured: bool
) -> None:
    sock = waiting(wire, ts)
    wire.advance(1)
    option = "" if val is None else f",nop,nop,TS val {val} ecr 0"
    wire.inject(sock.peer.frame(segment(f"S {seq}:{seq}(0) win 65535 <mss 1000{option}>")))
    taken = wire.take()
    assert taken is not None
    assert sock.state == ("SYN_RECEIVED" if honoured else "TIME_WAIT")
    assert taken[1].flags == ("S." if honoured else ".")
    assert wire.stats["tcp.timewait.reused"] == honoured


def test_a_repeated_fin_moves_the_timestamp_that_a_syn_must_beat(wire: Wire) -> None:
    """RFC 6191 2: the last timestamp seen, in TIME-WAIT too."""
    sock = waiting(wire, ts=True)
    wire.put("+.5 < F. 1:1(0) ack 2 win 257 <nop,nop,TS val 700 ecr 100>")
    wire.sent.clear()
    wire.inject(
        sock.peer.frame(segment("S -9:-9(0) win 65535 <mss 1000,nop,nop,TS val 600 ecr 0>"))
    )
    assert sock.state == "TIME_WAIT"
    wire.pump()
    wire.sent.clear()


@pytest.mark.parametrize("flags", ["SR", "S.", "SR."])
def test_nothing_but_a_syn_reopens(wire: Wire, flags: str) -> None:
    sock = waiting(wire, ts=True)
    ack = " ack 2" if "." in flags else ""
    wire.inject(sock.peer.frame(segment(f"{flags} 9:9(0){ack} win 9 <nop,nop,TS val 900 ecr 0>")))
    assert sock.state == "TIME_WAIT"
    wire.pump()
    wire.sent.clear()


# ------------------------------------------------------------------ assassination (RFC 1337)


@pytest.mark.parametrize("seq", [1, 2, 3, 1000, -5])
def test_no_rst_ends_time_wait(wire: Wire, seq: int) -> None:
    sock = waiting(wire, ts=False)
    wire.inject(sock.peer.frame(segment(f"R {seq}:{seq}(0)")))
    wire.inject(sock.peer.frame(segment(f"R. {seq}:{seq}(0) ack 2")))
    assert sock.state == "TIME_WAIT"
    assert wire.stats["tcp.drop.timewait"] == 2
    wire.silence()


@pytest.mark.parametrize("seq", [1, 2, 3, 1000, -5])
def test_with_rfc1337_off_the_exact_one_does(wire: Wire, seq: int) -> None:
    """Linux's default; tcp.rfc1337=0."""
    wire.settings(tcp_rfc1337=0)
    sock = waiting(wire, ts=False)
    wire.inject(sock.peer.frame(segment(f"R {seq}:{seq}(0)")))
    assert sock.state == ("CLOSED" if seq == 2 else "TIME_WAIT")
    assert wire.stats["tcp.timewait.killed"] == (seq == 2)
    wire.silence()


@pytest.mark.parametrize(
    "text",
    [
        "P. 1:11(10) ack 2 win 9",  # old data (RFC 1337, figure 1)
        "P. 500:510(10) ack 2 win 9",
        ". -100:-100(0) ack 1 win 9",  # an old ACK (figures 2 and 3)
        ". 2:2(0) ack 9999 win 9",
    ],
)
def test_old_segments_do_not_end_time_wait_and_are_answered_once(wire: Wire, text: str) -> None:
    sock = waiting(wire, ts=False)
    for _ in range(5):
        wire.inject(sock.peer.frame(segment(text)))
    assert sock.state == "TIME_WAIT"
    assert len(list(iter(wire.take, None))) <= 1


# ------------------------------------------------------------------ many


def test_a_time_wait_record_is_small(wire: Wire) -> None:
    """ROBUSTNESS S20: 128 bytes at most, with its timer and its place in the flow table."""
    sizes = []
    for records in (1000, 33_000):
        other = Wire()
        other.settings(tcp_max_tw_buckets=records)
        sizes.append(other.engine.usage().bytes)
        other.free()
    assert (sizes[1] - sizes[0]) / 32_000 <= 128 + 24 + 16 * 4
    assert wire.engine.usage().timewaits == 0


def test_a_flood_of_short_connections_keeps_the_youngest(wire: Wire) -> None:
    """S20: the table is full, and the oldest record makes way, counted."""
    wire.settings(tcp_max_tw_buckets=16)
    listener = wire.listen()
    for i in range(300):
        peer = Peer(wire, 1000 + i)
        wire.inject(peer.frame(segment("S 0:0(0) win 65535 <mss 1000>")))
        assert wire.take(peer=peer) is not None
        wire.inject(peer.frame(segment(". 1:1(0) ack 1 win 9")))
        handle = wire.engine.accept(listener)
        wire.engine.close(handle)
        wire.pump()
        wire.inject(peer.frame(segment("F. 1:1(0) ack 2 win 9")))
        wire.pump()
        wire.sent.clear()
    usage = wire.engine.usage()
    assert (usage.timewaits, usage.tcbs) == (16, 1)
    assert wire.stats["tcp.timewait.evicted"] == 300 - 16
    states = [Peer(wire, 1000 + i).state for i in range(300)]
    assert states == ["CLOSED"] * 284 + ["TIME_WAIT"] * 16
    wire.advance(61)
    assert wire.engine.usage().timewaits == 0
    assert wire.engine.usage().timers == 0


def test_a_record_that_is_given_away_takes_its_timer_along(wire: Wire) -> None:
    """Nothing is left that could end whatever comes later in its place."""
    wire.settings(tcp_tw_reuse=1)
    old = time_wait(wire)
    assert wire.engine.usage().timers == 1
    wire.advance(1.1)
    handle = connect_again(wire, old)
    wire("+0 > S 0:0(0) <...>")
    wire.engine.abort(handle)
    assert wire.engine.usage().timers == 0
    wire.quiet(61)


def test_a_record_whose_time_starts_anew_is_the_youngest(wire: Wire) -> None:
    """A repeated FIN restarts it (RFC 9293 3.10.7.4); where there is no room, the oldest goes."""
    wire.settings(tcp_max_tw_buckets=3)
    old = [time_wait(wire, ts=False) for _ in range(3)]
    wire.advance(1)
    for nth in (1, 0):
        old[nth].peer("""
            +0 < F. 1:1(0) ack 2 win 257
            +0 > .  2:2(0) ack 2
        """)
    for gone in (2, 1, 0):
        assert old[gone].state == "TIME_WAIT"
        time_wait(wire, ts=False)
        assert old[gone].state == "CLOSED"
        assert wire.engine.usage().timewaits == 3


def test_a_successors_first_number_is_65537_beyond_the_old_ones(wire: Wire) -> None:
    """RFC 6528 3, as Linux: more than a window without scaling."""
    sock = waiting(wire, ts=False)
    last = sock.peer.iss
    wire.inject(sock.peer.frame(segment("S 9:9(0) win 65535 <mss 1000>")))
    taken = wire.take()
    assert taken is not None and taken[1].flags == "S."
    assert last is not None and sock.peer.iss == (last + 2 + 65_537) % 2**32


def test_a_single_byte_within_the_window_is_answered(wire: Wire) -> None:
    """RFC 9293 3.10.7.4, first: it is text, which nobody takes any more."""
    sock = waiting(wire, ts=False)
    sock.peer("""
        +.6 < P. 2:3(1) ack 2 win 257
        +0  > .  2:2(0) ack 2
        +.6 < .  2:2(0) ack 2 win 257
    """)
