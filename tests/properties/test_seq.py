# SPDX-License-Identifier: BSD-3-Clause
"""Sequence number comparison: RFC 9293 3.4 (modulo 2^32), at the wrap and everywhere."""

from __future__ import annotations

from hypothesis import example, given, settings
from hypothesis import strategies as st
from ustack._ustack import lib

WRAP = 2**32
NUMBERS = (
    st.integers(0, WRAP - 1)
    | st.integers(-5, 5).map(lambda n: n % WRAP)
    | st.integers(2**31 - 5, 2**31 + 5)
)
STEPS = st.integers(0, 2**31 - 1)


@settings(deadline=None)
@given(NUMBERS, st.integers(1, 2**31 - 1))
@example(WRAP - 1, 1)
def test_what_is_ahead_is_greater(a: int, step: int) -> None:
    b = (a + step) % WRAP
    assert lib.ust_seq_lt(a, b) and not lib.ust_seq_lt(b, a)
    assert lib.ust_seq_leq(a, b) and not lib.ust_seq_leq(b, a)


@settings(deadline=None)
@given(NUMBERS)
def test_a_number_is_not_before_itself(a: int) -> None:
    assert not lib.ust_seq_lt(a, a)
    assert lib.ust_seq_leq(a, a)


@settings(deadline=None)
@given(NUMBERS, NUMBERS)
def test_at_most_one_of_two_is_before_the_other(a: int, b: int) -> None:
    assert bool(lib.ust_seq_leq(a, b)) == bool(lib.ust_seq_lt(a, b) or a == b)
    if (b - a) % WRAP != 2**31:
        assert bool(lib.ust_seq_lt(a, b)) != bool(lib.ust_seq_leq(b, a))


@settings(deadline=None)
@given(NUMBERS, NUMBERS, NUMBERS)
def test_shifting_both_changes_nothing(a: int, b: int, shift: int) -> None:
    assert lib.ust_seq_lt(a, b) == lib.ust_seq_lt((a + shift) % WRAP, (b + shift) % WRAP)


@settings(deadline=None)
@given(NUMBERS, st.integers(0, 2**30), st.integers(0, 2**30))
def test_before_is_transitive_within_half_of_the_space(a: int, x: int, y: int) -> None:
    b, c = (a + x) % WRAP, (a + x + y) % WRAP
    if lib.ust_seq_lt(a, b) and lib.ust_seq_lt(b, c):
        assert lib.ust_seq_lt(a, c)


@settings(deadline=None)
@given(NUMBERS, STEPS, STEPS)
@example(WRAP - 10, 20, 15)
@example(WRAP - 10, 20, 20)
def test_between_includes_its_low_end_and_not_its_high_end(lo: int, size: int, at: int) -> None:
    hi, x = (lo + size) % WRAP, (lo + at) % WRAP
    assert bool(lib.ust_seq_between(lo, x, hi)) == (at < size)


@settings(deadline=None)
@given(NUMBERS, STEPS, st.integers(1, 2**30))
def test_what_is_before_the_low_end_is_not_between(lo: int, size: int, before: int) -> None:
    assert not lib.ust_seq_between(lo, (lo - before) % WRAP, (lo + size) % WRAP)
