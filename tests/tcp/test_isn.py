# SPDX-License-Identifier: BSD-3-Clause
"""What must not be guessed: ISNs (RFC 6528, RFC 9293 3.4.1), ports (RFC 6056), timestamps."""

from __future__ import annotations

import errno

import pytest

import frames
import rig

PEER, PEER_MAC = "10.0.0.1", bytes.fromhex("020000000001")


def engine(**options: object) -> rig.Engine:
    """An engine that knows its peer."""
    eng = rig.Engine(**options)  # type: ignore[arg-type]
    eng.neighbour(PEER, PEER_MAC)
    list(eng.output())
    return eng


def syn(eng: rig.Engine, port: int = 80, local_port: int = 0, peer: str = PEER) -> frames.TcpFrame:
    """The SYN of a new connection, which is then aborted."""
    handle = eng.connect(peer, port, local_port)
    (frame,) = eng.output()
    eng.abort(handle)
    list(eng.output())
    return frames.read_tcp(frame)


@pytest.mark.rfc("MUST-8")
def test_the_isn_of_one_flow_grows_with_a_clock_of_4_microseconds() -> None:
    """RFC 9293 MUST-8, RFC 6528 3: ISN = M + F(...)."""
    eng = engine()
    first = syn(eng, local_port=5000).seq
    eng.now += rig.SECOND
    eng.tick()
    second = syn(eng, local_port=5000).seq
    assert (second - first) % 2**32 == pytest.approx(250_000, rel=0.05)


@pytest.mark.rfc("SHLD-1")
def test_isns_of_different_flows_are_unrelated() -> None:
    """D8; RFC 6528 3 (SHLD-1): a keyed hash of the flow."""
    eng = engine()
    isns = [syn(eng, port=1000 + i, local_port=5000).seq for i in range(256)]
    gaps = {(b - a) % 2**32 for a, b in zip(isns, isns[1:], strict=False)}
    assert len(gaps) == 255
    assert 64 < sum(isn >> 31 for isn in isns) < 192
    assert len({isn >> 28 for isn in isns}) == 16


@pytest.mark.rfc("MUST-9")
def test_isns_depend_on_the_secret() -> None:
    a, b = (syn(engine(secret=bytes([i]) * 32), local_port=5000).seq for i in (1, 2))
    assert a != b


def test_isns_do_not_depend_on_the_seed_alone() -> None:
    """RFC 6528: the same flow at the same time has the same ISN whatever went before."""
    a, b = (syn(engine(seed=seed), local_port=5000).seq for seed in (1, 2))
    assert a == b


def test_timestamps_have_an_offset_of_their_own_per_flow() -> None:
    """RFC 7323 7.1: the uptime is not shown."""
    eng = engine()
    values = set()
    for port in range(1000, 1020):
        values |= {option[1] for option in syn(eng, port, 5000).options if option[0] == "TS"}
    assert len(values) == 20


def test_timestamps_tick_in_milliseconds() -> None:
    """RFC 7323 5.4: between 1 ms and 1 s a tick."""
    eng = engine()

    def tsval() -> int:
        return next(
            int(o[1])
            for o in syn(eng, local_port=5000).options  # type: ignore[call-overload]
            if o[0] == "TS"
        )

    first = tsval()
    eng.now += rig.SECOND
    assert (tsval() - first) % 2**32 == 1000


def test_ephemeral_ports_are_in_their_range_and_differ() -> None:
    """RFC 6056 3.2."""
    eng = engine(settings={"tcp.max_tcbs": 1024})
    ports = []
    for _ in range(500):
        eng.connect(PEER, 80)
        ports += [frames.read_tcp(frame).sport for frame in eng.output()]
    assert len(set(ports)) == 500
    assert all(32768 <= port <= 60999 for port in ports)


def test_ephemeral_ports_are_not_simply_counted() -> None:
    """RFC 6056 2.1, 3.3: the next port must not be the last plus one."""
    eng = engine(settings={"tcp.max_tcbs": 256})
    ports = [syn(eng).sport for _ in range(100)]
    steps = [b - a for a, b in zip(ports, ports[1:], strict=False)]
    assert steps.count(1) < 40


def test_ephemeral_ports_to_different_peers_begin_elsewhere() -> None:
    """RFC 6056 3.3.3: the offset is a keyed hash of the destination."""
    starts = {syn(engine(), port=1000 + i).sport for i in range(20)}
    assert len(starts) >= 18


def test_ephemeral_ports_depend_on_the_secret() -> None:
    assert len({syn(engine(secret=bytes([i]) * 32)).sport for i in range(8)}) >= 7


def test_used_up_ports_are_eaddrnotavail() -> None:
    """Another destination still has them all."""
    eng = engine(settings={"tcp.port_min": 40000, "tcp.port_max": 40003})
    for _ in range(4):
        eng.connect(PEER, 80)
    with pytest.raises(OSError) as caught:
        eng.connect(PEER, 80)
    assert caught.value.errno == errno.EADDRNOTAVAIL
    eng.connect(PEER, 81)
    eng.check()


def test_a_port_that_is_listened_on_is_not_picked() -> None:
    eng = engine(settings={"tcp.port_min": 40000, "tcp.port_max": 40001})
    eng.listen(40000)
    assert syn(eng).sport == 40001
