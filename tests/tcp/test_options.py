# SPDX-License-Identifier: BSD-3-Clause
"""Socket options that change what a connection does, with Linux's meaning of each."""

from __future__ import annotations

import errno

import pytest
from ustack._ustack import lib

import frames
import rig
from wire import Wire, pattern

# ------------------------------------------------------------------ what waits for more


def test_msg_more_holds_the_tail_of_a_write_back(wire: Wire) -> None:
    """send(2) MSG_MORE: full segments go, and the rest with what follows."""
    sock = wire.established(rtt=0.01)
    sock.send(1500, more=True)
    wire("+0 > . 1:1001(1000) ack 1")
    sock.send(100)
    wire("+0 > P. 1001:1601(600) ack 1")


def test_msg_more_alone_waits_no_longer_than_an_rto(wire: Wire) -> None:
    """Linux: the probe timer sends what was held, after at least 200 ms."""
    sock = wire.established(rtt=0.01)
    sock.send(100, more=True)
    wire("+.2~+.25 > P. 1:101(100) ack 1")


def test_nodelay_pushes_what_a_cork_holds_once(wire: Wire) -> None:
    """tcp(7) TCP_NODELAY: overrides TCP_CORK for what is queued, not for what comes."""
    sock = wire.established()
    sock.setopt("CORK", 1)
    sock.send(100)
    wire.silence()
    sock.setopt("NODELAY", 1)
    wire("+0 > P. 1:101(100) ack 1\n +.01 < . 1:1(0) ack 101 win 257")
    sock.send(100)
    wire.silence()
    sock.setopt("CORK", 0)
    wire("+0 > P. 101:201(100) ack 1")


def test_a_sender_that_heeds_notsent_lowat_is_full_when_so_much_waits(wire: Wire) -> None:
    """tcp(7) TCP_NOTSENT_LOWAT: only what cannot be sent counts; half of it, and it is writable."""
    sock = wire.established(win=12, rtt=0.1)
    sock.setopt("NOTSENT_LOWAT", 2000)
    assert sock.send(50_000) == 3072 + 2000
    wire.sent.clear()
    assert not sock.ready & lib.UST_WRITABLE
    with pytest.raises(BlockingIOError):
        sock.send(b"x")
    wire.inject(sock.peer.frame(_ack(2001, 12)))
    wire.sent.clear()
    assert sock.ready & lib.UST_WRITABLE


def _ack(number: int, win: int = 257) -> object:
    import notation

    return notation.parse_segment(f". 1:1(0) ack {number} win {win}")


# ------------------------------------------------------------------ readers


def test_rcvlowat_says_when_a_socket_is_readable(wire: Wire) -> None:
    """socket(7) SO_RCVLOWAT: recv takes less, if it is called."""
    sock = wire.established()
    sock.setopt("RCVLOWAT", 20)
    wire("+0 < P. 1:11(10) ack 1 win 257\n +0 > . 1:1(0) ack 11")
    assert not sock.ready & lib.UST_READABLE
    wire("+0 < P. 11:21(10) ack 1 win 257\n +0 > . 1:1(0) ack 21")
    assert sock.ready & lib.UST_READABLE
    assert sock.recv(5) == pattern(1, 6)
    assert not sock.ready & lib.UST_READABLE
    assert sock.recv() == pattern(6, 21)


def test_rcvlowat_beyond_the_buffer_makes_it_larger(wire: Wire) -> None:
    """Linux's tcp_set_rcvlowat, up to half of tcp.rmem_max."""
    sock = wire.established()
    sock.setopt("RCVLOWAT", 200_000)
    assert sock.getopt("RCVBUF") == 400_000
    sock.setopt("RCVLOWAT", -1)
    assert sock.getopt("RCVLOWAT") == 6291456 // 2
    sock.setopt("RCVLOWAT", 0)
    assert sock.getopt("RCVLOWAT") == 1


def test_a_clamp_bounds_the_window(wire: Wire) -> None:
    """tcp(7) TCP_WINDOW_CLAMP, of a listener and of a connection."""
    handle = wire.listen()
    wire.engine.setopt(handle, lib.UST_OPT_WINDOW_CLAMP, 10_000)
    wire("""
        +0 < S  0:0(0) win 65535 <mss 1000,nop,wscale 7>
        +0 > S. 0:0(0) ack 1 win 8760 <mss 1460,nop,wscale 0>
        +0 < .  1:1(0) ack 1 win 257
    """)
    sock = wire.accept()
    sock.setopt("WINDOW_CLAMP", 5000)
    for seq in range(1, 12_001, 1000):
        wire.put(f"+0 < . {seq}:{seq + 1000}(1000) ack 1 win 257")
        sock.recv()
        wire.take(0.3)
        wire.sent.clear()
    assert sock.info.rcv_wnd <= 5000
    assert sock.getopt("WINDOW_CLAMP") == 5000
    with pytest.raises(OSError, match="Invalid"):
        sock.setopt("WINDOW_CLAMP", 0)


def test_msg_trunc_counts_and_drops(wire: Wire) -> None:
    """tcp(7) MSG_TRUNC."""
    sock = wire.established()
    wire("+0 < P. 1:11(10) ack 1 win 257\n +0 > . 1:1(0) ack 11")
    assert len(sock.recv(4, lib.UST_MSG_TRUNC | lib.UST_MSG_PEEK)) == 4
    assert len(sock.recv(4, lib.UST_MSG_TRUNC)) == 4
    assert sock.recv() == pattern(5, 11)


def test_queues_are_told_by_their_parts(wire: Wire) -> None:
    """tcp(7) SIOCINQ, SIOCOUTQ, SIOCOUTQNSD."""
    sock = wire.established(win=4)
    sock.send(3000)
    wire.sent.clear()
    assert (sock.getopt("OUTQ"), sock.getopt("OUTQNSD")) == (3000, 3000 - 1024 + 24)
    listener = wire._listener
    assert listener is not None
    with pytest.raises(OSError, match="Invalid"):
        wire.engine.getopt(listener, lib.UST_OPT_INQ)
    wire.sent.clear()


# ------------------------------------------------------------------ listeners and clients


def test_a_deferred_connection_is_accepted_with_its_text(wire: Wire) -> None:
    """tcp(7) TCP_DEFER_ACCEPT: the handshake's ACK alone wakes nobody."""
    handle = wire.listen()
    wire.engine.setopt(handle, lib.UST_OPT_DEFER_ACCEPT, 5)
    wire("""
        +0 < S  0:0(0) win 65535 <mss 1000>
        +0 > S. 0:0(0) ack 1 <mss 1460>
        +.1 < . 1:1(0) ack 1 win 65535
    """)
    with pytest.raises(BlockingIOError):
        wire.engine.accept(handle)
    wire.quiet(2)
    wire("""
        +0 < P. 1:11(10) ack 1 win 65535
        +0 > .  1:1(0) ack 11
    """)
    assert wire.accept().recv() == pattern(1, 11)
    assert wire.stats["tcp.drop.deferred"] == 1


def test_a_deferral_ends_with_one_more_syn_ack(wire: Wire) -> None:
    """Linux: the last chance; an ACK then counts."""
    handle = wire.listen()
    wire.engine.setopt(handle, lib.UST_OPT_DEFER_ACCEPT, 3)
    assert wire.engine.getopt(handle, lib.UST_OPT_DEFER_ACCEPT) == 3
    wire("""
        +0 < S  0:0(0) win 65535 <mss 1000>
        +0 > S. 0:0(0) ack 1 <mss 1460>
        +0 < .  1:1(0) ack 1 win 65535
        +3 > S. 0:0(0) ack 1 <mss 1460>
        +0 < .  1:1(0) ack 1 win 65535
    """)
    wire.accept()


def test_a_client_that_will_write_first_saves_the_handshakes_ack(wire: Wire) -> None:
    """Linux: TCP_QUICKACK cleared, or TCP_DEFER_ACCEPT, before connect()."""
    handle = wire.engine.socket()
    wire.engine.setopt(handle, lib.UST_OPT_QUICKACK, 0)
    assert (
        lib.ust_connect(wire.engine.raw, handle, rig.addr("10.0.0.1"), 8080) == -errno.EINPROGRESS
    )
    peer = wire.peer(8080, wire.engine.names(handle)[0])
    peer("""
        +0  > S  0:0(0) <...>
        +.1 < S. 0:0(0) ack 1 win 65535 <mss 1000>
    """)
    wire.engine.send(handle, b"GET")
    peer("+0 > P. 1:4(3) ack 1")


def test_an_orphan_with_a_negative_linger2_does_not_wait_for_a_fin(wire: Wire) -> None:
    """tcp(7) TCP_LINGER2."""
    sock = wire.established()
    sock.setopt("LINGER2", -1)
    sock.close()
    wire("+0 > F. 1:1(0) ack 1\n +.1 < . 1:1(0) ack 2 win 257")
    wire.advance(0.001)
    assert sock.peer.state == "CLOSED"


def test_linger2_is_how_long_an_orphan_waits_for_a_fin(wire: Wire) -> None:
    sock = wire.established()
    sock.setopt("LINGER2", 5)
    sock.close()
    wire("+0 > F. 1:1(0) ack 1\n +.1 < . 1:1(0) ack 2 win 257")
    wire.advance(4.9)
    assert sock.peer.state == "FIN_WAIT_2"
    wire.advance(0.2)
    assert sock.peer.state == "CLOSED"


# ------------------------------------------------------------------ how long is too long


def test_a_user_timeout_ends_a_connection_whose_window_stays_closed(wire: Wire) -> None:
    """tcp(7) TCP_USER_TIMEOUT: even if every probe is answered."""
    sock = wire.established(wscale=None, win=1000, rtt=0.1)
    sock.setopt("USER_TIMEOUT", 5000)
    sock.send(2000)
    wire("+0 > . 1:1001(1000) ack 1\n +.1 < . 1:1(0) ack 1001 win 0")
    begin = wire.engine.now
    while sock.state == "ESTABLISHED" and wire.engine.now < begin + 60 * rig.SECOND:
        if wire.take(0.5) is not None:
            wire.put("+0 < . 1:1(0) ack 1001 win 0")
    assert 5.0 <= (wire.engine.now - begin) / rig.SECOND <= 6
    assert sock.error == errno.ETIMEDOUT


def test_a_user_timeout_counts_from_the_last_progress(wire: Wire) -> None:
    """RFC 5482 3: the time that the oldest byte is outstanding."""
    sock = wire.established(rtt=0.1)
    sock.setopt("USER_TIMEOUT", 3000)
    sock.send(2000)
    wire.sent.clear()
    wire.advance(0.1)
    wire.inject(sock.peer.frame(_ack(1001)))  # type: ignore[arg-type]
    begin = wire.engine.now
    wire.advance(2.9)
    assert sock.state == "ESTABLISHED"
    wire.advance(0.5)
    wire.sent.clear()
    assert sock.state == "CLOSED" and wire.engine.now > begin


def test_a_user_timeout_does_not_count_from_a_handshake(wire: Wire) -> None:
    """RFC 5482 3; a simultaneous open (RFC 9293 3.5 figure 7) has its own end of the handshake."""
    sock = wire.connect()
    sock.setopt("USER_TIMEOUT", 3000)
    wire("""
        +0 > S  0:0(0) <...>
        +0 < S  0:0(0)       win 65535 <mss 1000>
        +0 > S. 0:0(0) ack 1           <...>
        +0 < .  1:1(0) ack 1 win 65535
    """)
    wire.advance(5)
    sock.send(100)
    wire.advance(2.5)
    assert sock.state == "ESTABLISHED"
    assert len(wire.sent) > 1
    wire.sent.clear()


def test_a_user_timeout_replaces_the_number_of_keepalives(wire: Wire) -> None:
    """tcp(7): TCP_USER_TIMEOUT overrides TCP_KEEPCNT."""
    sock = wire.established()
    for name, value in (("KEEPIDLE", 1), ("KEEPINTVL", 1), ("KEEPCNT", 1), ("USER_TIMEOUT", 4500)):
        sock.setopt(name, value)
    sock.setopt("KEEPALIVE", 1)
    wire("""
        +1 > . 0:0(0) ack 1
        +1 > . 0:0(0) ack 1
        +1 > . 0:0(0) ack 1
        +1 > . 0:0(0) ack 1
        +1 > R. 1:1(0) ack 1
    """)
    assert sock.error == errno.ETIMEDOUT


def test_linger_of_zero_resets(wire: Wire) -> None:
    """socket(7) SO_LINGER."""
    sock = wire.established()
    sock.setopt("LINGER", 0)
    sock.send(10)
    wire("+0 > P. 1:11(10) ack 1")
    sock.close()
    wire("+0 > R. 11:11(0) ack 1")


# ------------------------------------------------------------------ IP


def test_ip_mtu_discover_decides_about_df(wire: Wire) -> None:
    """ip(7) IP_MTU_DISCOVER."""
    sock = wire.established()
    for value, df in ((0, False), (1, True), (2, True), (3, False)):
        sock.setopt("MTU_DISCOVER", value)
        assert sock.getopt("MTU_DISCOVER") == value
        wire.engine.send(sock.handle, b"x")
        frame = next(iter(wire.engine.output()))
        assert bool(frame[20] & 0x40) is df
        sock.peer.stream += b"x"
        wire.inject(sock.peer.frame(_ack(len(sock.peer.stream) + 1)))  # type: ignore[arg-type]
    with pytest.raises(OSError, match="Invalid"):
        sock.setopt("MTU_DISCOVER", 9)


def test_ip_mtu_is_the_paths(wire: Wire) -> None:
    """ip(7) IP_MTU: of a connected socket."""
    assert wire.established().getopt("MTU") == 1500
    with pytest.raises(OSError) as caught:
        wire.engine.getopt(wire.engine.socket(), lib.UST_OPT_MTU)
    assert caught.value.errno == errno.ENOTCONN


def test_the_two_bits_of_ecn_are_not_the_applications(wire: Wire) -> None:
    """Linux: IP_TOS and IPV6_TCLASS of a stream keep their ECN bits."""
    sock = wire.established()
    sock.setopt("TOS", 0x2B)
    assert sock.getopt("TOS") == 0x28
    sock.send(1)
    taken = wire.take()
    assert taken is not None and wire.last.tos & 0xFC == 0x28
    assert isinstance(wire.last, frames.TcpFrame)


def test_an_mss_of_a_wrong_length_is_none(wire: Wire) -> None:
    """RFC 9293 3.7.1 (MUST-15): then segments have 536 bytes, or of IPv6 1220."""
    wire.listen()
    wire("""
        +0 < S  0:0(0) win 65535 <hex 020505b405>
        +0 > S. 0:0(0) ack 1 <...>
        +0 < .  1:1(0) ack 1 win 65535
    """)
    assert wire.accept(wire.default).info.snd_mss in (536, 1220)
