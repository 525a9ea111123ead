# SPDX-License-Identifier: BSD-3-Clause
"""TCP Fast Open (RFC 7413): cookies, text in SYNs, and what becomes of it when it is not taken."""

from __future__ import annotations

import errno

import pytest
from ustack._ustack import ffi, lib

import rig
from wire import Peer, Sock, Wire, pattern

DAY = 86400.0


# ------------------------------------------------------------------ server


@pytest.fixture
def server(wire: Wire) -> Wire:
    """An engine that serves Fast Open on a listener of its own."""
    wire.settings(tcp_fastopen=3, tcp_timestamps=0, tcp_sack=0, tcp_window_scaling=0)
    wire.engine.setopt(wire.listen(), lib.UST_OPT_FASTOPEN, 5)
    return wire


def cookie_for(wire: Wire, port: int = 50000) -> str:
    """Ask for a cookie as a client does."""
    peer = wire.peer(port)
    wire._play(peer, "+0 < S 0:0(0) win 65535 <mss 1000,FO>")
    taken = wire.take(0.1, peer)
    assert taken is not None and taken[1].options is not None
    (cookie,) = [option[1] for option in taken[1].options if option[0] == "FO"]
    assert isinstance(cookie, bytes) and len(cookie) == 8
    wire._play(peer, "+0 < R. 1:1(0) ack 1")
    return cookie.hex()


def opened(wire: Wire) -> Sock:
    """A connection whose SYN brought a cookie and 100 bytes, before the handshake ends."""
    cookie = cookie_for(wire)
    wire(f"""
        +0 < S  0:100(100) win 65535 <mss 1000,FO {cookie}>
        +0 > S. 0:0(0) ack 101 <mss 1460>
    """)
    return wire.accept()


def test_a_client_that_asks_gets_a_cookie_and_no_more(server: Wire) -> None:
    """RFC 7413 4.1.2: the text of such a SYN is not taken."""
    wire = server
    wire.put("+0 < S 0:100(100) win 65535 <mss 1000,FO>")
    taken = wire.take()
    assert taken is not None and taken[1].ack == 1
    assert wire.stats["tcp.fastopen.asked"] == 1
    assert wire.default.state == "SYN_RECEIVED"


def test_text_in_a_syn_with_a_cookie_is_read_before_the_handshake_ends(server: Wire) -> None:
    """RFC 7413 4.2.2."""
    wire = server
    sock = opened(wire)
    assert sock.state == "SYN_RECEIVED" and sock.info.syn_data
    assert sock.recv() == pattern(1, 101)
    wire("+.1 < . 101:101(0) ack 1 win 65535")
    assert sock.state == "ESTABLISHED"
    assert wire.stats["tcp.fastopen.passive"] == 1


def test_the_answer_may_go_before_the_handshake_ends(server: Wire) -> None:
    """RFC 7413 4.2.2 (b): within the initial window."""
    wire = server
    sock = opened(wire)
    sock.send(1500)
    wire("""
        +0  > .  1:1001(1000)   ack 101
        +0  > P. 1001:1501(500) ack 101
        +.1 < .  101:101(0) ack 1001 win 65535
    """)
    assert sock.state == "ESTABLISHED"
    wire("+0 < . 101:101(0) ack 1501 win 65535")
    assert sock.info.outq == 0


def test_a_connection_may_be_closed_before_its_handshake_ends(server: Wire) -> None:
    wire = server
    sock = opened(wire)
    sock.recv()
    sock.send(10)
    sock.close()
    wire("""
        +0  > P. 1:11(10) ack 101
        +0  > F. 11:11(0) ack 101
        +.1 < .  101:101(0) ack 12 win 65535
    """)
    assert wire.default.state == "FIN_WAIT_2"


@pytest.mark.parametrize(
    "cookie", ["0102030405060708", "01020304", "0102030405060708090a0b0c0d0e0f10"]
)
def test_a_wrong_cookie_brings_the_right_one(server: Wire, cookie: str) -> None:
    """RFC 7413 4.1.2: and an ordinary handshake, without the text."""
    wire = server
    right = cookie_for(wire)
    wire(f"""
        +0 < S  0:100(100) win 65535 <mss 1000,FO {cookie}>
        +0 > S. 0:0(0) ack 1 <mss 1460,FO {right}>
        +0 < .  1:101(100) ack 1 win 65535
        +0 > .  1:1(0) ack 101
    """)
    assert wire.accept().recv() == pattern(1, 101)
    assert wire.stats["tcp.fastopen.bad"] == 1


@pytest.mark.parametrize("length", [1, 3, 5, 17])
def test_a_cookie_of_an_impossible_length_is_no_option(server: Wire, length: int) -> None:
    """RFC 7413 4.1.1: 4 to 16 bytes, an even number."""
    raw = bytes([34, 2 + length]) + bytes(length)
    server(f"""
        +0 < S  0:100(100) win 65535 <hex {raw.hex()}>
        +0 > S. 0:0(0) ack 1 <mss 1460>
    """)


def test_text_without_a_cookie_is_not_taken(server: Wire) -> None:
    """RFC 7413 4.1.2, unless tcp.fastopen has 0x200."""
    wire = server
    wire("+0 < S 0:100(100) win 65535 <mss 1000>\n +0 > S. 0:0(0) ack 1 <mss 1460>")
    wire.settings(tcp_fastopen=0x203)
    peer = wire.peer(50001)
    peer("+0 < S 0:100(100) win 65535 <mss 1000>\n +0 > S. 0:0(0) ack 101 <mss 1460>")


def test_a_plain_syn_is_no_fast_open(server: Wire) -> None:
    """Even if tcp.fastopen has 0x200: there is nothing to gain by a TCB so early."""
    wire = server
    wire.settings(tcp_fastopen=0x203)
    wire("+0 < S 0:0(0) win 65535 <mss 1000>\n +0 > S. 0:0(0) ack 1 <mss 1460>")
    assert wire.engine.usage().requests == 1


def test_another_host_cannot_use_the_cookie(server: Wire) -> None:
    wire = server
    cookie = cookie_for(wire)
    wire.engine.neighbour("10.0.0.9", bytes.fromhex("020000000001"))
    other = Peer(wire, 40001, 80, address="10.0.0.9")
    wire.peers["10.0.0.9", 40001, 80] = other
    wire._play(other, f"+0 < S 0:100(100) win 65535 <mss 1000,FO {cookie}>")
    taken = wire.take(0, other)
    assert taken is not None and taken[1].ack == 1
    assert wire.stats["tcp.fastopen.bad"] == 1


def test_a_cookie_of_the_last_period_opens_and_is_renewed(server: Wire) -> None:
    """tcp.fastopen_key_s: keys rotate; older cookies do not open."""
    wire = server
    wire.settings(tcp_fastopen_key_s=100)
    old = cookie_for(wire)
    wire.advance(100)
    new = cookie_for(wire, 50001)
    assert new != old
    wire.sent.clear()
    wire(f"""
        +0 < S  0:100(100) win 65535 <mss 1000,FO {old}>
        +0 > S. 0:0(0) ack 101 <mss 1460,FO {new}>
    """)
    wire.accept().abort()
    wire.sent.clear()
    wire.advance(100)
    wire.peer(50002)(
        f"+0 < S 0:100(100) win 65535 <mss 1000,FO {old}>\n +0 > S. 0:0(0) ack 1 <...>"
    )


def test_a_listener_has_at_most_its_number_of_pending_connections(server: Wire) -> None:
    """RFC 7413 5.1: PendingFastOpenRequests; the rest shake hands."""
    wire = server
    cookie = cookie_for(wire)
    for i in range(5):
        wire.peer(41000 + i)(f"""
            +0 < S  0:10(10) win 65535 <mss 1000,FO {cookie}>
            +0 > S. 0:0(0) ack 11 <mss 1460>
        """)
    wire.peer(42000)(f"""
        +0 < S  0:10(10) win 65535 <mss 1000,FO {cookie}>
        +0 > S. 0:0(0) ack 1 <mss 1460>
    """)
    wire.peers[wire.their_ip, 41000, 80]("+0 < . 11:11(0) ack 1 win 65535")
    wire.peer(42001)(f"""
        +0 < S  0:10(10) win 65535 <mss 1000,FO {cookie}>
        +0 > S. 0:0(0) ack 11 <mss 1460>
    """)


def test_without_the_socket_option_there_is_no_fast_open(wire: Wire) -> None:
    """tcp.fastopen 0x400 makes every listener serve it."""
    wire.settings(tcp_fastopen=3, tcp_timestamps=0, tcp_sack=0)
    wire.listen()
    wire("+0 < S 0:0(0) win 65535 <mss 1000,FO>\n +0 > S. 0:0(0) ack 1 <mss 1460>")
    wire.settings(tcp_fastopen=0x403)
    cookie_for(wire)


def test_a_lost_syn_ack_is_sent_again_for_the_same_syn_and_by_the_timer(server: Wire) -> None:
    wire = server
    cookie = cookie_for(wire)
    wire(f"""
        +0  < S  0:100(100) win 65535 <mss 1000,FO {cookie}>
        +0  > S. 0:0(0) ack 101 <mss 1460>
        +.5 < S  0:100(100) win 65535 <mss 1000,FO {cookie}>
        +0  > S. 0:0(0) ack 101 <mss 1460>
        +.5 > S. 0:0(0) ack 101 <mss 1460>
    """)
    assert wire.accept().recv() == pattern(1, 101)


def test_a_reset_frees_the_place_of_a_pending_connection(server: Wire) -> None:
    wire = server
    cookie = cookie_for(wire)
    wire(f"""
        +0 < S  0:100(100) win 65535 <mss 1000,FO {cookie}>
        +0 > S. 0:0(0) ack 101 <mss 1460>
        +0 < R. 101:101(0) ack 1
    """)
    sock = wire.accept()
    assert sock.state == "CLOSED"
    sock.close()


def test_the_experimental_option_is_answered_in_kind(server: Wire) -> None:
    """RFC 7413 appendix: kind 254 with 0xF989, which old clients send."""
    server._play(server.default, "+0 < S 0:0(0) win 65535 <hex fe04f989>")
    assert server.take() is not None
    assert any(
        option[0] == "unknown" or option[0] == "Experiment" for option in server.last.options
    )


# ------------------------------------------------------------------ client


def fastopen(wire: Wire, data: bytes, port: int = 8080, isn: int = 0x7000_0000) -> tuple[int, Sock]:
    """sendto(MSG_FASTOPEN): its result, and the socket."""
    handle = wire.engine.socket()
    result = lib.ust_fastopen(
        wire.engine.raw, handle, rig.addr(wire.their_ip), port, data, len(data)
    )
    peer = wire.peer(port, wire.engine.names(handle)[0], isn=isn)
    wire._peer = peer
    peer.stream = data[: max(result, 0)]
    wire.pump()
    return int(result), Sock(wire, handle, peer)


@pytest.fixture
def client(wire: Wire) -> Wire:
    """An engine that knows its server's cookie."""
    wire.settings(tcp_timestamps=0, tcp_sack=0, tcp_window_scaling=0)
    result, sock = fastopen(wire, b"hello")
    assert result == -errno.EINPROGRESS
    wire("""
        +0  > S  0:0(0) <mss 1460,FO>
        +.1 < S. 0:0(0) ack 1 win 65535 <mss 1000,FO 0102030405060708>
        +0  > .  1:1(0) ack 1
    """)
    assert sock.info.fastopen_fail == 1
    sock.abort()
    wire.sent.clear()
    return wire


def test_a_cookie_lets_text_go_in_the_syn(client: Wire) -> None:
    """RFC 7413 4.2.1."""
    wire = client
    result, sock = fastopen(wire, bytes(100))
    assert result == 100
    wire("""
        +0  > S  0:100(100) <mss 1460,FO 0102030405060708>
        +.1 < S. 0:0(0) ack 101 win 65535 <mss 1000>
        +0  > .  101:101(0) ack 1
    """)
    assert sock.info.outq == 0 and sock.info.syn_data
    assert wire.stats["tcp.fastopen.active"] == 1


def test_no_more_goes_in_the_syn_than_its_segment_holds(client: Wire) -> None:
    """The server's MSS, less all that options may need (as Linux)."""
    result, sock = fastopen(client, bytes(3000))
    assert result == 1000 - 40
    client.sent.clear()
    sock.abort()


def test_text_that_the_syn_ack_does_not_take_goes_again(client: Wire) -> None:
    """RFC 7413 4.2.1: as after any loss."""
    wire = client
    _, sock = fastopen(wire, bytes(100))
    wire("""
        +0  > S  0:100(100) <mss 1460,FO 0102030405060708>
        +.1 < S. 0:0(0) ack 1 win 65535 <mss 1000>
        +0  > P. 1:101(100) ack 1
        +.1 < .  1:1(0) ack 101 win 65535
    """)
    assert sock.info.outq == 0 and sock.info.fastopen_fail == 2
    assert wire.stats["tcp.fastopen.failed"] == 1


def test_a_part_that_is_taken_does_not_go_again(client: Wire) -> None:
    """RFC 7413 4.2.1: the SYN-ACK may acknowledge any of it."""
    wire = client
    _, sock = fastopen(wire, bytes(100))
    wire("""
        +0  > S  0:100(100) <mss 1460,FO 0102030405060708>
        +.1 < S. 0:0(0) ack 61 win 65535 <mss 1000>
        +0  > P. 61:101(40) ack 1
        +.1 < .  1:1(0) ack 101 win 65535
    """)
    assert sock.info.outq == 0


def test_an_ack_beyond_the_text_is_a_lie(client: Wire) -> None:
    """RFC 9293 3.10.7.3 first."""
    _, sock = fastopen(client, bytes(100))
    client("""
        +0  > S 0:100(100) <mss 1460,FO 0102030405060708>
        +.1 < S. 0:0(0) ack 102 win 65535 <mss 1000>
        +0  > R 102:102(0)
    """)
    assert sock.state == "SYN_SENT"


def test_a_syn_that_must_go_again_goes_without_text_and_option(client: Wire) -> None:
    """RFC 7413 4.1.3: what sits between may drop them."""
    wire = client
    _, sock = fastopen(wire, bytes(100))
    wire("""
        +0  > S  0:100(100) <mss 1460,FO 0102030405060708>
        +1  > S  0:0(0) <mss 1460>
        +.1 < S. 0:0(0) ack 1 win 65535 <mss 1000>
        +0  > P. 1:101(100) ack 1
        +.1 < .  1:1(0) ack 101 win 65535
    """)
    assert sock.info.fastopen_fail == 3


def test_after_timeouts_nobody_tries_for_a_while(client: Wire) -> None:
    """RFC 7413 4.1.3.1, Linux's tcp_fastopen_blackhole_timeout_sec."""
    wire = client
    wire.settings(tcp_fastopen_blackhole_timeout_sec=60)
    _, sock = fastopen(wire, bytes(100))
    wire("""
        +0 > S 0:100(100) <mss 1460,FO 0102030405060708>
        +1 > S 0:0(0) <mss 1460>
        +2 > S 0:0(0) <mss 1460>
    """)
    sock.abort()
    assert wire.stats["tcp.fastopen.blackhole"] == 1
    result, sock = fastopen(wire, bytes(100))
    assert result == -errno.EINPROGRESS
    wire("+0 > S 0:0(0) <mss 1460>")
    sock.abort()
    wire.advance(60)
    wire.engine.tick()
    result, sock = fastopen(wire, bytes(100))
    assert result == 100
    wire("+0 > S 0:100(100) <mss 1460,FO 0102030405060708>")
    sock.abort()


def test_a_new_cookie_replaces_the_old_one(client: Wire) -> None:
    wire = client
    _, sock = fastopen(wire, bytes(10))
    wire("""
        +0  > S  0:10(10) <mss 1460,FO 0102030405060708>
        +.1 < S. 0:0(0) ack 1 win 65535 <mss 1000,FO a1a2a3a4a5a6a7a8>
        +0  > P. 1:11(10) ack 1
        +.1 < .  1:1(0) ack 11 win 65535
    """)
    sock.abort()
    wire.sent.clear()
    _, sock = fastopen(wire, bytes(10))
    wire("+0 > S 0:10(10) <mss 1460,FO a1a2a3a4a5a6a7a8>")
    sock.abort()


def test_cookies_of_more_servers_than_fit_are_forgotten() -> None:
    """tcp.fastopen_peers: bounded, the oldest first."""
    wire = Wire()
    wire.settings(tcp_fastopen_peers=4, tcp_timestamps=0, tcp_sack=0, tcp_window_scaling=0)
    results = []
    for host in [f"10.0.0.{i}" for i in (11, 12, 13, 14, 15, 11)]:
        wire.engine.neighbour(host, bytes.fromhex("020000000001"))
        handle = wire.engine.socket()
        args = (wire.engine.raw, handle, rig.addr(host), 8080, b"x", 1)
        results.append(int(lib.ust_fastopen(*args)))
        peer = Peer(wire, 8080, wire.engine.names(handle)[0], address=host)
        wire.peers[host, 8080, peer.our_port] = peer
        wire.pump()
        wire.take(0, peer)
        wire._play(peer, "+0 < S. 0:0(0) ack 1 win 65535 <mss 1000,FO 0102030405060708>")
        wire.sent.clear()
    assert results == [-errno.EINPROGRESS] * 6
    wire.free()


def test_connect_that_waits_for_text_sends_it_in_the_syn(client: Wire) -> None:
    """tcp(7) TCP_FASTOPEN_CONNECT."""
    wire = client
    handle = wire.engine.socket()
    wire.engine.setopt(handle, lib.UST_OPT_FASTOPEN_CONNECT, 1)
    assert lib.ust_connect(wire.engine.raw, handle, rig.addr(wire.their_ip), 8080) == 0
    wire.silence()
    assert wire.engine.ready(handle) & lib.UST_WRITABLE
    assert wire.engine.send(handle, b"GET") == 3
    peer = wire.peer(8080, wire.engine.names(handle)[0])
    peer.stream = b"GET"
    peer("""
        +0  > S  0:3(3) <mss 1460,FO 0102030405060708>
        +.1 < S. 0:5(5) ack 4 win 65535 <mss 1000>
        +0  > .  4:4(0) ack 6
    """)
    assert wire.engine.recv(handle) == pattern(1, 6)


def test_connect_without_a_cookie_asks_for_one_at_once(wire: Wire) -> None:
    wire.settings(tcp_timestamps=0, tcp_sack=0, tcp_window_scaling=0)
    handle = wire.engine.socket()
    wire.engine.setopt(handle, lib.UST_OPT_FASTOPEN_CONNECT, 1)
    to = rig.addr(wire.their_ip)
    assert lib.ust_connect(wire.engine.raw, handle, to, 8080) == -errno.EINPROGRESS
    wire.peer(8080, wire.engine.names(handle)[0])("+0 > S 0:0(0) <mss 1460,FO>")


def test_fast_open_that_is_off_is_refused(wire: Wire) -> None:
    """tcp.fastopen without 1: EOPNOTSUPP, as Linux."""
    wire.settings(tcp_fastopen=0)
    handle = wire.engine.socket()
    to = rig.addr(wire.their_ip)
    assert lib.ust_fastopen(wire.engine.raw, handle, to, 8080, b"x", 1) == -errno.EOPNOTSUPP
    value = ffi.new("int64_t *")
    assert lib.ust_getopt(wire.engine.raw, handle, lib.UST_OPT_FASTOPEN_CONNECT, value) == 0
    with pytest.raises(OSError):
        wire.engine.setopt(handle, lib.UST_OPT_FASTOPEN_CONNECT, 1)


def test_text_that_was_taken_ends_the_doubling_of_the_pause(client: Wire) -> None:
    """As Linux: tcp_fastopen_blackhole_timeout_sec is doubled for timeouts in a row only."""
    wire = client
    wire.settings(tcp_fastopen_blackhole_timeout_sec=60)
    for taken in (False, True, False):
        result, sock = fastopen(wire, bytes(100))
        assert result == 100
        wire("+0 > S 0:100(100) <mss 1460,FO 0102030405060708>")
        if taken:
            wire("+.1 < S. 0:0(0) ack 101 win 65535 <mss 1000>\n +0 > . 101:101(0) ack 1")
        else:
            wire("+1 > S 0:0(0) <mss 1460>\n +2 > S 0:0(0) <mss 1460>")
        sock.abort()
        wire.sent.clear()
        wire.advance(60.5 if not taken else 0)
        wire.engine.tick()
    assert wire.stats["tcp.fastopen.blackhole"] == 2
    result, sock = fastopen(wire, bytes(100))
    assert result == 100
    sock.abort()
    wire.sent.clear()


def test_a_cookie_in_the_experimental_option_is_kept_whole(wire: Wire) -> None:
    """RFC 7413 appendix: behind kind 254, the length, and 0xF989."""
    wire.settings(tcp_timestamps=0, tcp_sack=0, tcp_window_scaling=0)
    _, sock = fastopen(wire, b"hello")
    wire("""
        +0  > S  0:0(0) <mss 1460,FO>
        +.1 < S. 0:0(0) ack 1 win 65535 <mss 1000,hex fe0cf9890102030405060708>
        +0  > .  1:1(0) ack 1
    """)
    sock.abort()
    wire.sent.clear()
    result, sock = fastopen(wire, bytes(100))
    assert result == 100
    wire("+0 > S 0:100(100) <mss 1460,FO 0102030405060708>")
    sock.abort()
    wire.sent.clear()


def test_each_listener_counts_its_own_pending_connections(server: Wire) -> None:
    """RFC 7413 5.1: one that is made gives its place back to the listener that it came to."""
    wire = server
    cookie = cookie_for(wire)
    wire.engine.setopt(wire.engine.listen(81), lib.UST_OPT_FASTOPEN, 1)
    for port in (41000, 41001):
        wire.peer(port, 81)(f"""
            +0 < S  0:10(10) win 65535 <mss 1000,FO {cookie}>
            +0 > S. 0:0(0) ack 11 <mss 1460>
            +0 < .  11:11(0) ack 1 win 65535
        """)
