# SPDX-License-Identifier: BSD-3-Clause
"""The rings between workers against a model of queues: whatever is done in whatever order."""

from __future__ import annotations

from collections import deque

from hypothesis import given, settings
from hypothesis import strategies as st

from ustack._native import ffi, lib
from ustack.io import Port

WORKERS, SLOTS, SLOT_DATA = 3, 256, 2088

Number = st.integers(0, WORKERS - 1)
Step = st.one_of(
    st.tuples(st.just("send"), Number, Number, st.integers(14, 65549)),
    st.tuples(st.just("receive"), Number, Number, st.integers(1, 8)),
    st.tuples(st.just("die"), Number, Number, st.just(0)),
)


def join(crew: object, number: int) -> Port:
    err = ffi.new("int *")
    handle = lib.ust_crew_join(crew, number, err)
    assert handle != ffi.NULL
    return Port(handle, f"worker {number}", queue=number)


def slots(frame: bytes) -> int:
    return -(-len(frame) // SLOT_DATA)


@settings(deadline=None, max_examples=60)
@given(st.lists(Step, max_size=60))
def test_a_ring_gives_each_frame_once_in_order_or_counts_it(
    steps: list[tuple[str, int, int, int]],
) -> None:
    crew = ffi.gc(lib.ust_crew_new(WORKERS, ffi.new("int *")), lib.ust_crew_free)
    workers = [join(crew, number) for number in range(WORKERS)]
    lanes = {(a, b): deque[bytes]() for a in range(WORKERS) for b in range(WORKERS)}
    for turn, (what, one, other, n) in enumerate(steps):
        if what == "send":
            frame = turn.to_bytes(14, "big").ljust(n, b"%c" % (turn & 0xFF))
            lane = lanes[one, other]
            fits = one != other and sum(map(slots, lane)) + slots(frame) <= SLOTS
            full = workers[one].stats().tx_full
            assert workers[one].send(frame, other) == fits
            assert workers[one].stats().tx_full == full + (not fits)
            if fits:
                lane.append(frame)
        elif what == "receive":
            waiting = [lanes[a, one] for a in range(WORKERS)]
            for _ in range(n):
                got = workers[one].recv(one)
                heads = [lane for lane in waiting if lane and lane[0] == got]
                assert bool(heads) == (got is not None) == any(waiting)
                if heads:
                    heads[0].popleft()
        else:
            workers[one] = join(crew, one)
            lost = sum(len(lanes[a, one]) for a in range(WORKERS))
            assert workers[one].stats().rx_stale == lost
            for a in range(WORKERS):
                lanes[a, one].clear()
