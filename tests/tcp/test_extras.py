# SPDX-License-Identifier: BSD-3-Clause
"""What only few connections have (ustack/tcp/extra.c), and doing without it."""

from __future__ import annotations

import errno

import pytest

from wire import Wire


def test_an_option_takes_an_extra_and_closing_gives_it_back(wire: Wire) -> None:
    sock = wire.established(mss=1000)
    assert wire.engine.usage().extras == 0
    assert sock.getopt("KEEPIDLE") == 7200
    sock.setopt("KEEPIDLE", 10)
    assert wire.engine.usage().extras == 1
    assert sock.getopt("KEEPIDLE") == 10
    sock.abort()
    wire.sent.clear()
    assert wire.engine.usage().extras == 0


def test_without_an_extra_options_fail_and_text_goes_on(wire: Wire) -> None:
    """tcp.max_extras: a retransmission is not counted, yet made."""
    wire.settings(tcp_max_extras=1)
    first = wire.established(mss=1000)
    second = wire.established(mss=1000, peer=wire.peer(40001))
    first.setopt("LINGER", 5)
    with pytest.raises(OSError) as refused:
        second.setopt("KEEPIDLE", 10)
    assert refused.value.errno == errno.ENOBUFS
    second.send(b"x" * 500)
    wire.advance(1)
    assert len(wire.sent) >= 2
    assert second.info.total_retrans == 0
    assert wire.stats["tcp.extra.none"] > 0
    wire.engine.check()
    wire.sent.clear()
