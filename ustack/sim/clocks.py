# SPDX-License-Identifier: BSD-3-Clause
"""The functions of the time module that programs read, telling virtual time for a while."""

import contextlib
import time
from collections.abc import Callable, Iterator

__all__ = ["EPOCH", "virtual_clocks"]

EPOCH = 1_767_225_600  # when a simulation begins: 2026-01-01 00:00 UTC

_NS = 1_000_000_000


@contextlib.contextmanager
def virtual_clocks(now_ns: Callable[[], int]) -> Iterator[None]:
    """Let time.time(), time.monotonic() and their _ns twins tell virtual time.

    now_ns: nanoseconds since the simulation began. perf_counter(), process_time() and the datetime
    module go on with the machine's time; so does who has imported a function by its name.
    """
    virtual: dict[str, Callable[[], float]] = {
        "time": lambda: EPOCH + now_ns() / _NS,
        "time_ns": lambda: EPOCH * _NS + now_ns(),
        "monotonic": lambda: now_ns() / _NS,
        "monotonic_ns": now_ns,
    }
    real = {name: getattr(time, name) for name in virtual}
    try:
        for name, function in virtual.items():
            setattr(time, name, function)
        yield
    finally:
        for name, function in real.items():
            setattr(time, name, function)
