# SPDX-License-Identifier: BSD-3-Clause
"""When something has run out: full tables, buffers that are used up, allocations that fail.

ROBUSTNESS S45: what fails is put off, refused or dropped with a count; nothing leaks or stops.
"""

from __future__ import annotations

import contextlib
import errno
import random
from typing import Any

import pytest
from ustack._ustack import lib

import rig
from link import End, Link
from wire import Wire


def frugal(end: End, nth: int, every: bool) -> None:
    """Let an end's allocations fail; a frame that finds no buffer is lost, a send tries again."""
    inject, send = end.engine.inject, end.engine.send

    def lossy_inject(*args: Any) -> None:
        with contextlib.suppress(OSError):
            inject(*args)

    def patient_send(*args: Any) -> int:
        try:
            return send(*args)
        except OSError as error:
            assert error.errno in (errno.ENOBUFS, errno.EAGAIN)
            raise BlockingIOError from None

    end.engine.inject, end.engine.send = lossy_inject, patient_send  # type: ignore[method-assign]
    lib.ust_engine_fail_alloc(end.engine.raw, nth, every)


@pytest.mark.parametrize("nth", [1, 2, 3, 5, 8, 13, 21, 34, -5, -9, -20])
def test_a_transfer_survives_allocations_that_fail(nth: int) -> None:
    """The nth, or each nth where it is negative; loss and reordering make all parts allocate."""
    rng = random.Random(nth)
    data = rng.randbytes(30_000), rng.randbytes(10_000)
    with Link(abs(nth), {}, delay=0.01, loss=0.05, reorder=0.1) as link:
        ends = link.connected()
        for end, text in zip(ends, data, strict=True):
            frugal(end, abs(nth), nth < 0)
            end.send(text)
            end.finish()
        while link.now < 4000 * rig.SECOND and not all(end.eof for end in ends):
            link.run(1, until=lambda: all(end.eof for end in ends))
        assert (bytes(ends[1].received), bytes(ends[0].received)) == data
        assert [end.error for end in ends] == [0, 0]
        link.check()


def test_listeners_are_bounded(wire: Wire) -> None:
    """tcp.max_listeners"""
    most = wire.engine.get("tcp.max_listeners")
    for port in range(1000, 1000 + most):
        wire.engine.listen(port)
    with pytest.raises(OSError) as error:
        wire.engine.listen(999)
    assert error.value.errno == errno.ENOBUFS


def test_a_full_tcb_table_drops_the_handshakes_ack_until_there_is_room(wire: Wire) -> None:
    """The peer sends it again, or data does its work."""
    wire.listen()
    wire("""
        +0 < S  0:0(0) win 65535 <mss 1000>
        +0 > S. 0:0(0) ack 1 <...>
    """)
    handles = []
    with pytest.raises(OSError):
        for _ in range(1000):
            handles.append(wire.engine.socket())
    wire("+0 < . 1:1(0) ack 1 win 65535")
    assert wire.stats["tcp.drop.notcbs"] == 1
    assert wire.default.state == "SYN_RECEIVED"
    wire.engine.close(handles.pop())
    wire("+0 < . 1:1(0) ack 1 win 65535")
    assert wire.accept().state == "ESTABLISHED"


def test_text_is_not_taken_from_the_reserve(wire: Wire) -> None:
    """mbuf.reserve: what is left is for ACKs and RSTs; the peer sends the text again."""
    sock = wire.established()
    reserve = wire.engine.get("mbuf.reserve")
    wire.settings(mbuf_reserve=1 << 20)
    wire("+0 < P. 1:11(10) ack 1 win 257\n+0 > . 1:1(0) ack 1")
    assert wire.stats["tcp.drop.nombuf"] == 1
    wire.settings(mbuf_reserve=reserve)
    wire("+0 < P. 1:11(10) ack 1 win 257\n+0 > . 1:1(0) ack 11")
    assert len(sock.recv()) == 10


def test_a_bare_fin_counts_at_a_closed_window(wire: Wire) -> None:
    """As Linux and BSD: it takes no room; RFC 9293 table 6 would not take it."""
    wire.settings(tcp_rmem=2048)
    sock = wire.established(wscale=None, win=65535)
    while sock.info.rcv_wnd:
        first, size = wire.their_next(sock), min(1000, sock.info.rcv_wnd)
        wire(f"+0 < . {first}:{first + size}(0) ack 1 win 65535".replace("(0)", f"({size})"))
        wire.advance(0.5)
        while wire.take():
            pass
    first = wire.their_next(sock)
    wire.put(f"+0 < F. {first}:{first}(0) ack 1 win 65535")
    wire(f"+0~+.5 > . 1:1(0) ack {first + 1}")
    assert sock.state == "CLOSE_WAIT"
    assert len(sock.recv()) == first - 1


def test_text_and_fin_with_the_syn_ack_are_taken(wire: Wire) -> None:
    """RFC 9293 3.10.7.3: "continue processing at the sixth step"."""
    sock = wire.connect()
    wire("""
        +0 > S   0:0(0) <...>
        +0 < SF. 0:10(10) ack 1 win 65535 <mss 1000>
        +0 > .   1:1(0) ack 12
    """)
    assert sock.state == "CLOSE_WAIT"
    assert len(sock.recv()) == 10
    assert sock.recv() == b""


def test_a_socket_that_was_connected_is_used_up(wire: Wire) -> None:
    """As Linux: connecting, listening and binding again are refused, each in its way."""
    sock = wire.established()
    address = rig.addr(wire.their_ip)
    calls = {
        "connect": lib.ust_connect(wire.engine.raw, sock.handle, address, 80),
        "listen": lib.ust_listen(wire.engine.raw, sock.handle, 1),
        "bind": lib.ust_bind(wire.engine.raw, sock.handle, rig.addr(wire.engine.address), 99),
    }
    assert calls == {"connect": -errno.EISCONN, "listen": -errno.EINVAL, "bind": -errno.EINVAL}
