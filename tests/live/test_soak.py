# SPDX-License-Identifier: BSD-3-Clause
"""nightly/soak.py in short: connections that do all sorts of things leave nothing behind."""

from __future__ import annotations

from two import BASE

import soaking


def test_connections_that_do_all_sorts_of_things_leave_nothing_behind(base: str) -> None:
    soak = soaking.run(seed=1, seconds=1.5, connections=100, base=BASE.get())
    assert soak.errors == []
    assert soak.leaks == {}
    assert len(soak.done) == 10, soak.done  # every kind
