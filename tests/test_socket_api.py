# SPDX-License-Identifier: BSD-3-Clause
"""Sockets answer as Linux's do, errno by errno. Nothing here waits."""

from __future__ import annotations

import errno
import gc
import select
import socket
from collections.abc import Callable, Iterator

import pytest

from pair import CLIENT, SERVER, Pair
from ustack import Socket

_TCP_INQ = 36


@pytest.fixture
def pair() -> Iterator[Pair]:
    with Pair() as pair:
        yield pair


# --------------------------------------------------------------------------------- errno, by table


def refused(pair: Pair) -> object:
    sock = pair.begin(port=9)
    pair.pump()
    sock.recv(1)
    return None


def refused_by_option(pair: Pair) -> object:
    sock = pair.begin(port=9)
    pair.pump()
    error = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
    raise OSError(error, "SO_ERROR")


def twice_bound(pair: Pair) -> object:
    sock = pair.server.socket()
    sock.bind((SERVER, 80))
    return pair.server.socket().bind((SERVER, 80))


def rebound(pair: Pair) -> object:
    sock = pair.server.socket()
    sock.bind((SERVER, 80))
    return sock.bind((SERVER, 81))


def accept_without_listen(pair: Pair) -> object:
    sock = pair.server.socket()
    sock.setblocking(False)
    return sock.accept()


def connected_twice(pair: Pair) -> object:
    near, _ = pair.connect()
    return near.connect((SERVER, 80))


def connecting_twice(pair: Pair) -> object:
    pair.listen()
    return pair.begin().connect((SERVER, 80))


def after_close(call: Callable[[Socket], object]) -> Callable[[Pair], object]:
    def act(pair: Pair) -> object:
        sock = pair.client.socket()
        sock.close()
        return call(sock)

    return act


def fresh(call: Callable[[Socket], object]) -> Callable[[Pair], object]:
    def act(pair: Pair) -> object:
        sock = pair.client.socket()
        sock.setblocking(False)
        return call(sock)

    return act


def connected(call: Callable[[Socket], object]) -> Callable[[Pair], object]:
    def act(pair: Pair) -> object:
        near, _ = pair.connect()
        return call(near)

    return act


def send_after_shutdown(sock: Socket) -> object:
    sock.shutdown(socket.SHUT_WR)
    return sock.send(b"x")


def send_after_reset(pair: Pair) -> object:
    near, far = pair.connect()
    far.abort()
    pair.pump()
    try:
        near.recv(1)
    except ConnectionResetError:
        return near.send(b"x")
    return None


def recv_after_reset(pair: Pair) -> object:
    near, far = pair.connect()
    far.abort()
    pair.pump()
    return near.recv(1)


def send_until_full(sock: Socket) -> object:
    while True:
        sock.send(bytes(65536))


ERRNO = {
    "refused": (refused, errno.ECONNREFUSED, ConnectionRefusedError),
    "refused, SO_ERROR": (refused_by_option, errno.ECONNREFUSED, ConnectionRefusedError),
    "address in use": (twice_bound, errno.EADDRINUSE, OSError),
    "bind of a bound socket": (rebound, errno.EINVAL, OSError),
    "bind to a foreign address": (
        fresh(lambda sock: sock.bind(("10.8.0.1", 80))), errno.EADDRNOTAVAIL, OSError
    ),
    "accept without listen": (accept_without_listen, errno.EINVAL, OSError),
    "nobody to accept": (lambda pair: pair.listen().accept(), errno.EAGAIN, BlockingIOError),
    "connect in non-blocking mode": (
        fresh(lambda sock: sock.connect((SERVER, 80))), errno.EINPROGRESS, BlockingIOError
    ),
    "connect while connecting": (connecting_twice, errno.EALREADY, BlockingIOError),
    "connect when connected": (connected_twice, errno.EISCONN, OSError),
    "connect without a route": (
        fresh(lambda sock: sock.connect(("192.0.2.1", 80))), errno.ENETUNREACH, OSError
    ),
    "recv, not connected": (fresh(lambda sock: sock.recv(1)), errno.ENOTCONN, OSError),
    "send, not connected": (fresh(lambda sock: sock.send(b"x")), errno.EPIPE, BrokenPipeError),
    "shutdown, not connected": (
        fresh(lambda sock: sock.shutdown(socket.SHUT_RDWR)), errno.ENOTCONN, OSError
    ),
    "getpeername, not connected": (fresh(Socket.getpeername), errno.ENOTCONN, OSError),
    "nothing to recv": (connected(lambda sock: sock.recv(1)), errno.EAGAIN, BlockingIOError),
    "send buffer full": (connected(send_until_full), errno.EAGAIN, BlockingIOError),
    "send after shutdown": (connected(send_after_shutdown), errno.EPIPE, BrokenPipeError),
    "recv after RST": (recv_after_reset, errno.ECONNRESET, ConnectionResetError),
    "send after RST": (send_after_reset, errno.EPIPE, BrokenPipeError),
    "unknown flag": (
        connected(lambda sock: sock.recv(1, socket.MSG_ERRQUEUE)), errno.EOPNOTSUPP, OSError
    ),
    "no urgent byte": (
        connected(lambda sock: sock.recv(1, socket.MSG_OOB)), errno.EINVAL, OSError
    ),
    "recv, closed": (after_close(lambda sock: sock.recv(1)), errno.EBADF, OSError),
    "send, closed": (after_close(lambda sock: sock.send(b"x")), errno.EBADF, OSError),
    "accept, closed": (after_close(lambda sock: sock.accept()), errno.EBADF, OSError),
    "bind, closed": (after_close(lambda sock: sock.bind(("", 0))), errno.EBADF, OSError),
    "listen, closed": (after_close(lambda sock: sock.listen()), errno.EBADF, OSError),
    "connect, closed": (
        after_close(lambda sock: sock.connect((SERVER, 80))), errno.EBADF, OSError
    ),
    "shutdown, closed": (
        after_close(lambda sock: sock.shutdown(socket.SHUT_WR)), errno.EBADF, OSError
    ),
    "getsockname, closed": (after_close(Socket.getsockname), errno.EBADF, OSError),
    "getsockopt, closed": (
        after_close(lambda sock: sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)),
        errno.EBADF,
        OSError,
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", ERRNO)
def test_failures_have_the_errno_and_the_class_of_linux(pair: Pair, case: str) -> None:
    act, number, kind = ERRNO[case]
    with pytest.raises(OSError) as caught:
        act(pair)
    assert caught.value.errno == number, caught.value
    assert isinstance(caught.value, kind)


def test_the_message_names_the_address(pair: Pair) -> None:
    with pytest.raises(OSError, match=r"bind to 10\.8\.0\.1:80"):
        pair.client.socket().bind(("10.8.0.1", 80))


@pytest.mark.parametrize(
    ("address", "kind"),
    [
        (("localhost", 80), ValueError),
        (("10.9.0.1", 65536), OverflowError),
        (("10.9.0.1", -1), OverflowError),
        (("10.9.0.1", "80"), TypeError),
        (("10.9.0.1",), TypeError),
        ("10.9.0.1:80", TypeError),
        ((b"10.9.0.1", 80), TypeError),
        (("10.9.0.1", 80, 1), ValueError),
        (("10.9.0.1", 80, 0, 5), ValueError),
        (("fe80::1", 80), socket.gaierror),
    ],
)
def test_what_is_no_address_is_refused_before_the_engine_sees_it(
    pair: Pair, address: object, kind: type[Exception]
) -> None:
    with pytest.raises(kind):
        pair.client.socket().connect(address)  # type: ignore[arg-type]


# ------------------------------------------------------------------------------------------- data


def test_bytes_arrive_in_order_and_then_the_end(pair: Pair) -> None:
    near, far = pair.connect()
    near.sendall(b"hello ")
    near.sendall(memoryview(bytearray(b"world")))
    near.shutdown(socket.SHUT_WR)
    pair.pump()
    assert far.recv(100) == b"hello world"
    assert far.recv(100) == b""
    assert far.recv(100) == b""


def test_peek_leaves_the_bytes_there(pair: Pair) -> None:
    near, far = pair.connect()
    near.send(b"abcdef")
    pair.pump()
    assert far.recv(3, socket.MSG_PEEK) == b"abc"
    assert far.recv(100) == b"abcdef"


def test_recv_takes_no_more_than_asked_for(pair: Pair) -> None:
    near, far = pair.connect()
    near.send(b"abcdef")
    pair.pump()
    assert [far.recv(4), far.recv(4)] == [b"abcd", b"ef"]


def test_recv_of_more_than_the_scratch_buffer_holds(pair: Pair) -> None:
    near, far = pair.connect()
    near.send(b"abc")
    pair.pump()
    assert far.recv(1 << 20) == b"abc"
    with pytest.raises(ValueError):
        far.recv(-1)


def test_recv_into_fills_the_part_asked_for(pair: Pair) -> None:
    near, far = pair.connect()
    near.send(b"abcdef")
    pair.pump()
    buffer = bytearray(b"......")
    assert far.recv_into(buffer, 2) == 2
    assert far.recv_into(memoryview(buffer)[3:]) == 3
    assert buffer == b"ab.cde"
    with pytest.raises(ValueError):
        far.recv_into(buffer, 7)
    with pytest.raises((TypeError, BufferError)):
        far.recv_into(b"read only")


def test_buffers_of_other_items_are_sent_as_bytes(pair: Pair) -> None:
    near, far = pair.connect()
    near.sendall(memoryview(b"\1\0\0\0\2\0\0\0").cast("i"))
    pair.pump()
    assert far.recv(100) == b"\1\0\0\0\2\0\0\0"


def test_waitall_and_dontwait_are_heard(pair: Pair) -> None:
    near, far = pair.connect()
    near.send(b"abc")
    near.shutdown(socket.SHUT_WR)
    pair.pump()
    far.setblocking(True)
    assert far.recv(10, socket.MSG_WAITALL) == b"abc"
    near.setblocking(True)
    with pytest.raises(BlockingIOError):
        near.recv(1, socket.MSG_DONTWAIT)


def test_urgent_data_goes_through_the_socket_api(pair: Pair) -> None:
    near, far = pair.connect()
    poll = pair.server.poll()
    poll.register(far, select.POLLIN | select.POLLPRI)
    near.send(b"ab!", socket.MSG_OOB)
    pair.pump()
    assert poll.poll(0) == [(far, select.POLLIN | select.POLLPRI)]
    assert far.recvmsg(1, 0, socket.MSG_OOB) == (b"!", [], socket.MSG_OOB, None)
    assert far.recv(10) == b"ab"
    assert far.ioctl(0x8905) == 1  # SIOCATMARK
    with pytest.raises(OSError) as caught:
        far.ioctl(0x1234)
    assert caught.value.errno == errno.ENOTTY


def test_fast_open_goes_through_the_socket_api(pair: Pair) -> None:
    """tcp(7) TCP_FASTOPEN, MSG_FASTOPEN, TCP_FASTOPEN_CONNECT."""
    pair.server.settings["tcp.fastopen"] = 3
    listener = pair.listen()
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_FASTOPEN, 5)
    assert listener.getsockopt(socket.IPPROTO_TCP, socket.TCP_FASTOPEN) == 5
    with pair.client.socket() as first:
        first.setblocking(False)
        with pytest.raises(BlockingIOError):
            first.sendto(b"one", socket.MSG_FASTOPEN, (SERVER, 80))
        pair.pump()
        listener.accept()[0].close()
    second = pair.client.socket()
    second.setblocking(False)
    assert second.sendto(b"two", socket.MSG_FASTOPEN, (SERVER, 80)) == 3
    third = pair.client.socket()
    third.setblocking(False)
    third.setsockopt(socket.IPPROTO_TCP, 30, 1)  # TCP_FASTOPEN_CONNECT
    third.connect((SERVER, 80))
    assert third.send(b"three") == 5
    pair.pump()
    said = []
    for sock in (second, third):
        far, _ = listener.accept()
        far.setblocking(False)
        said.append(far.recv(10))
        assert sock.tcp_info().syn_data
        far.close()
        sock.close()
    assert said == [b"two", b"three"]


def test_tcp_inq_tells_what_is_left(pair: Pair) -> None:
    """tcp(7) TCP_INQ."""
    near, far = pair.connect()
    far.setsockopt(socket.IPPROTO_TCP, _TCP_INQ, 1)
    assert far.getsockopt(socket.IPPROTO_TCP, _TCP_INQ) == 1
    near.send(b"abcdef")
    near.shutdown(socket.SHUT_WR)
    pair.pump()
    room = socket.CMSG_SPACE(4)
    assert far.recvmsg(4, room)[:2] == (b"abcd", [(6, _TCP_INQ, (2).to_bytes(4, "little"))])
    assert far.recvmsg(4, room)[:2] == (b"ef", [(6, _TCP_INQ, (1).to_bytes(4, "little"))])
    assert far.recvmsg(4, 0) == (b"", [], socket.MSG_CTRUNC, None)


# ------------------------------------------------------------------------------ names and lifetime


def test_both_ends_agree_on_the_addresses(pair: Pair) -> None:
    near, far = pair.connect()
    assert near.getpeername() == far.getsockname() == (SERVER, 80)
    assert near.getsockname() == far.getpeername()
    assert near.getsockname()[0] == CLIENT
    assert repr(far).startswith(f"<ustack.Socket {SERVER}:80 -> {CLIENT}:")
    assert repr(far).endswith("ESTABLISHED>")


def test_a_fresh_socket_has_no_name(pair: Pair) -> None:
    sock = pair.client.socket()
    assert sock.getsockname() == ("0.0.0.0", 0)
    sock.bind(("", 0))
    assert sock.getsockname()[0] == "0.0.0.0"
    assert sock.getsockname()[1] > 0


def test_a_context_manager_closes(pair: Pair) -> None:
    with pair.client.socket() as sock:
        assert not sock.closed
    assert sock.closed
    sock.close()
    assert repr(sock) == "<ustack.Socket closed>"


def test_a_detached_socket_lives_on_under_its_handle(pair: Pair) -> None:
    near, far = pair.connect()
    again = Socket(pair.client, handle=near.detach())
    assert near.closed
    again.send(b"x")
    pair.pump()
    assert far.recv(10) == b"x"


def test_a_forgotten_socket_is_closed_with_a_warning(pair: Pair) -> None:
    near, far = pair.connect()
    with pytest.warns(ResourceWarning, match="unclosed"):
        del near
        gc.collect()
    pair.pump()
    assert far.recv(10) == b""


def test_sockets_of_a_closed_stack_are_closed(pair: Pair) -> None:
    near, _ = pair.connect()
    handle = near._handle
    pair.close()
    assert near.closed
    near._handle = handle  # as a thread in the middle of a call has it
    with pytest.raises(OSError) as caught:
        near.recv(1)
    assert caught.value.errno == errno.EBADF
    with pytest.raises(OSError):
        pair.client.socket()
    near._handle = -1


def test_timeouts_are_what_was_set(pair: Pair) -> None:
    sock = pair.client.socket()
    assert sock.gettimeout() is None and sock.getblocking()
    sock.setblocking(False)
    assert sock.gettimeout() == 0 and not sock.getblocking()
    sock.settimeout(2)
    assert sock.gettimeout() == 2.0 and sock.getblocking()
    for bad in (-1, float("nan")):
        with pytest.raises(ValueError, match="timeout"):
            sock.settimeout(bad)


# ------------------------------------------------------------------------------------------- poll


def test_poll_reports_each_socket_as_long_as_it_is_ready(pair: Pair) -> None:
    near, far = pair.connect()
    poll = pair.server.poll()
    poll.register(far, select.POLLIN)
    assert poll.poll(0) == []
    near.send(b"x")
    pair.pump()
    assert poll.poll(0) == [(far, select.POLLIN)] == poll.poll(0)
    poll.modify(far, select.POLLIN | select.POLLOUT)
    assert poll.poll(0) == [(far, select.POLLIN | select.POLLOUT)]
    far.recv(1)
    assert poll.poll(0) == [(far, select.POLLOUT)]


def test_poll_sees_a_listener_with_a_connection_and_an_open_one(pair: Pair) -> None:
    listener, near = pair.listen(), pair.begin()
    server, client = pair.server.poll(), pair.client.poll()
    server.register(listener, select.POLLIN)
    client.register(near, select.POLLOUT)
    assert client.poll(0) == []
    pair.pump()
    assert server.poll(0) == [(listener, select.POLLIN)]
    assert client.poll(0) == [(near, select.POLLOUT)]


def test_poll_sees_the_end_and_the_hangup(pair: Pair) -> None:
    near, far = pair.connect()
    poll = pair.server.poll()
    poll.register(far, select.POLLIN)
    near.shutdown(socket.SHUT_WR)
    pair.pump()
    assert poll.poll(0) == [(far, select.POLLIN)]
    far.shutdown(socket.SHUT_WR)
    pair.pump()
    [(_, mask)] = poll.poll(0)
    assert mask & select.POLLHUP


def test_poll_always_reports_errors(pair: Pair) -> None:
    sock = pair.begin(port=9)
    pair.pump()
    poll = pair.client.poll()
    poll.register(sock, 0)
    [(_, mask)] = poll.poll(0)
    assert mask & select.POLLERR


def test_poll_reports_a_closed_socket_as_invalid(pair: Pair) -> None:
    sock = pair.client.socket()
    poll = pair.client.poll()
    poll.register(sock)
    sock.close()
    assert poll.poll(0) == [(sock, select.POLLNVAL)]


def test_poll_knows_only_what_is_registered(pair: Pair) -> None:
    sock, poll = pair.client.socket(), pair.client.poll()
    with pytest.raises(FileNotFoundError):
        poll.modify(sock, select.POLLIN)
    with pytest.raises(KeyError):
        poll.unregister(sock)
    with pytest.raises(ValueError, match="another stack"):
        poll.register(pair.server.socket())
    poll.register(sock)
    poll.unregister(sock)
    assert poll.poll(0) == []
