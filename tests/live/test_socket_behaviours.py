# SPDX-License-Identifier: BSD-3-Clause
"""Sockets of ustack.socket behave as the kernel's: each test runs on both, over loopback."""

from __future__ import annotations

import errno
import io
import pickle
import select
import struct
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import pytest

from ustack import Stack, process

HOST = "127.0.0.1"
PATIENCE = 30.0


@pytest.fixture(params=["kernel", "ustack"])
def net(request: pytest.FixtureRequest) -> Iterator[ModuleType]:
    """The socket module."""
    import socket as kernel

    from ustack import socket as ours

    if request.param == "kernel":
        yield kernel
        return
    process.install(None)
    with Stack("loop:") as stack:
        process.install(stack)
        yield ours
        stack.close(linger=0)
    process.install(None)


def connection(net: ModuleType, **options: Any) -> tuple[Any, Any]:
    """Return both ends: the one that connected, the one that was accepted."""
    with net.create_server((HOST, 0), **options) as listener:
        near = net.create_connection(listener.getsockname(), timeout=PATIENCE)
        far, address = listener.accept()
        assert address == near.getsockname()
        far.settimeout(PATIENCE)
        return near, far


def failure(call: Any, *arguments: Any) -> int:
    """Return the errno that a call fails with."""
    with pytest.raises(OSError) as caught:
        call(*arguments)
    assert caught.value.errno is not None
    return caught.value.errno


def ready(sock: Any, timeout: float = 0) -> str:
    """Return r, w, both or nothing: what select() says of it."""
    reads, writes, _ = select.select([sock], [sock], [], timeout)
    return "r" * len(reads) + "w" * len(writes)


def readable(sock: Any) -> bool:
    return bool(select.select([sock], [], [], PATIENCE)[0])


# ------------------------------------------------------------------------------ streams


def test_the_end_is_read_again_and_again(net: ModuleType) -> None:
    near, far = connection(net)
    with near, far:
        near.sendall(b"last")
        near.shutdown(net.SHUT_WR)
        assert far.recv(100) == b"last"
        assert [far.recv(100) for _ in range(3)] == [b"", b"", b""]
        far.sendall(b"still")  # half-closed only
        assert near.recv(100) == b"still"


def test_writing_after_the_peer_closed_ends_in_a_broken_pipe(net: ModuleType) -> None:
    near, far = connection(net)
    with near, far:
        far.close()
        assert near.recv(1) == b""
        near.send(b"into the void")
        with pytest.raises(BrokenPipeError):
            while True:  # until the RST is here
                near.send(b"x")
                select.select([], [], [], 0.01)
        assert near.recv(1) == b""


def test_writing_after_shutdown_is_a_broken_pipe(net: ModuleType) -> None:
    near, far = connection(net)
    with near, far:
        near.shutdown(net.SHUT_WR)
        assert failure(near.send, b"x") == errno.EPIPE
        assert failure(near.sendall, b"x") == errno.EPIPE


def test_reading_after_shutdown_is_the_end(net: ModuleType) -> None:
    near, far = connection(net)
    with near, far:
        near.shutdown(net.SHUT_RD)
        assert near.recv(1) == b""


def test_closing_with_unread_bytes_resets(net: ModuleType) -> None:
    near, far = connection(net)
    with near, far:
        near.sendall(b"never read")
        assert readable(far)
        far.close()
        assert failure(near.recv, 1) == errno.ECONNRESET
        assert near.recv(1) == b""


def test_a_linger_of_zero_resets(net: ModuleType) -> None:
    near, far = connection(net)
    with near, far:
        near.setsockopt(net.SOL_SOCKET, net.SO_LINGER, struct.pack("ii", 1, 0))
        near.close()
        assert failure(far.recv, 1) == errno.ECONNRESET


def test_flags_of_recv(net: ModuleType) -> None:
    near, far = connection(net)
    with near, far:
        far.settimeout(None)
        assert failure(far.recv, 1, net.MSG_DONTWAIT) == errno.EAGAIN
        near.sendall(b"abcd")
        assert far.recv(2, net.MSG_PEEK) == b"ab"
        buffer = bytearray(4)
        assert far.recv_into(buffer, 4, net.MSG_WAITALL) == 4
        assert bytes(buffer) == b"abcd"


def test_a_non_blocking_call_says_so(net: ModuleType) -> None:
    near, far = connection(net)
    with near, far:
        far.setblocking(False)
        assert failure(far.recv, 1) == errno.EAGAIN
        assert failure(far.recv_into, bytearray(1)) == errno.EAGAIN
        with pytest.raises(BlockingIOError):
            for _ in range(10000):
                far.send(bytes(65536))
        with pytest.raises(BlockingIOError):
            far.sendall(bytes(65536))


def test_calls_time_out(net: ModuleType) -> None:
    near, far = connection(net)
    with near, far, net.create_server((HOST, 0)) as listener:
        for sock in near, listener:
            sock.settimeout(0.02)
        for call in (
            lambda: near.recv(1),
            lambda: near.recv_into(bytearray(1)),
            lambda: near.recvfrom(1),
            lambda: near.recvmsg(1),
            lambda: near.sendall(bytes(1 << 25)),
            listener.accept,
        ):
            with pytest.raises(TimeoutError, match="timed out"):
                call()


def test_several_buffers_at_once(net: ModuleType) -> None:
    near, far = connection(net)
    with near, far:
        assert near.sendmsg([b"ab", bytearray(b"cd"), memoryview(b"ef")]) == 6
        assert readable(far)
        first, second = bytearray(4), bytearray(4)
        assert far.recvmsg_into([first, second])[0] == 6
        assert (bytes(first), bytes(second[:2])) == (b"abcd", b"ef")
        near.sendall(b"x")
        assert far.recvmsg(10, 100) == (b"x", [], 0, None) or far.recvmsg(10, 100)[0] == b"x"


def test_files_over_a_connection(net: ModuleType) -> None:
    near, far = connection(net)
    with near, far:
        with near.makefile("w", encoding="utf-8") as lines:
            lines.write("eins\nzwei\n")
        with far.makefile("r", encoding="utf-8") as lines:
            assert [lines.readline(), lines.readline()] == ["eins\n", "zwei\n"]
            far.close()  # the file still has it
            near.sendall(b"drei\n")
            assert lines.readline() == "drei\n"
        assert near.recv(1) == b""


def test_a_file_is_sent(net: ModuleType, tmp_path: Any) -> None:
    path = tmp_path / "file"
    path.write_bytes(bytes(range(256)) * 64)
    near, far = connection(net)
    with near, far, path.open("rb") as file:
        assert near.sendfile(file, 10) == 256 * 64 - 10
        assert near.sendfile(io.BytesIO(b"abc")) == 3
        near.close()
        data = b"".join(iter(lambda: far.recv(65536), b""))
        assert data == (bytes(range(256)) * 64)[10:] + b"abc"


# -------------------------------------------------------------------------- connections


def test_a_refused_connection(net: ModuleType) -> None:
    with net.create_server((HOST, 0)) as listener:
        address = listener.getsockname()
    with net.socket() as sock:
        assert failure(sock.connect, address) == errno.ECONNREFUSED
    with net.socket() as sock:
        assert sock.connect_ex(address) == errno.ECONNREFUSED


def test_a_connection_in_the_background(net: ModuleType) -> None:
    with net.create_server((HOST, 0)) as listener, net.socket() as sock:
        sock.setblocking(False)
        assert failure(sock.connect, listener.getsockname()) == errno.EINPROGRESS
        assert select.select([], [sock], [], PATIENCE)[1] == [sock]
        assert sock.getsockopt(net.SOL_SOCKET, net.SO_ERROR) == 0
        assert sock.connect_ex(listener.getsockname()) in (0, errno.EISCONN)
        assert sock.connect_ex(listener.getsockname()) == errno.EISCONN


def test_a_connection_refused_in_the_background(net: ModuleType) -> None:
    with net.create_server((HOST, 0)) as listener:
        address = listener.getsockname()
    with net.socket() as sock:
        sock.setblocking(False)
        sock.connect_ex(address)
        assert select.select([], [sock], [], PATIENCE)[1] == [sock]
        assert sock.getsockopt(net.SOL_SOCKET, net.SO_ERROR) == errno.ECONNREFUSED
        assert sock.getsockopt(net.SOL_SOCKET, net.SO_ERROR) == 0


def test_what_needs_a_connection_says_so(net: ModuleType) -> None:
    with net.socket() as sock:
        sock.bind((HOST, 0))
        assert failure(sock.recv, 1) == errno.ENOTCONN
        assert failure(sock.send, b"x") == errno.EPIPE
        assert failure(sock.getpeername) == errno.ENOTCONN
        assert failure(sock.shutdown, net.SHUT_WR) == errno.ENOTCONN
        assert failure(sock.accept) == errno.EINVAL


def test_addresses_that_cannot_be_bound(net: ModuleType) -> None:
    with net.socket() as sock, net.create_server((HOST, 0)) as listener:
        assert failure(sock.bind, ("192.0.2.1", 0)) == errno.EADDRNOTAVAIL
        assert failure(sock.bind, listener.getsockname()) == errno.EADDRINUSE
        sock.bind((HOST, 0))
        assert failure(sock.bind, (HOST, 0)) == errno.EINVAL


def test_a_full_backlog_loses_nobody(net: ModuleType) -> None:
    with net.create_server((HOST, 0), backlog=1) as listener:
        socks = [net.socket() for _ in range(3)]
        for sock in socks:
            sock.setblocking(False)
            assert sock.connect_ex(listener.getsockname()) == errno.EINPROGRESS
            select.select([], [sock], [], 0.1)  # the third's SYN finds no room
        listener.settimeout(PATIENCE)
        conns = [listener.accept()[0] for _ in socks]
        for sock in socks:
            sock.settimeout(PATIENCE)
            assert select.select([], [sock], [], PATIENCE)[1] == [sock]
        for sock in conns + socks:
            sock.close()


def test_a_closed_socket_is_a_bad_descriptor(net: ModuleType) -> None:
    near, far = connection(net)
    with far:
        near.close()
        assert near.fileno() == -1
        for call in (
            lambda: near.recv(1),
            lambda: near.send(b"x"),
            lambda: near.sendall(b"x"),
            lambda: near.recv_into(bytearray(1)),
            near.getsockname,
            near.accept,
            lambda: near.settimeout(1),
            lambda: near.getsockopt(net.SOL_SOCKET, net.SO_ERROR),
        ):
            assert failure(call) == errno.EBADF
        near.close()


# ------------------------------------------------------------------- objects, descriptors


def test_a_duplicate_outlives_the_first(net: ModuleType) -> None:
    near, far = connection(net)
    with near, far:
        other = near.dup()
        near.close()
        with other:
            other.sendall(b"by the other")
            assert far.recv(100) == b"by the other"
            assert other.getsockname() == far.getpeername()
        assert far.recv(1) == b""


def test_a_descriptor_finds_its_socket(net: ModuleType) -> None:
    near, far = connection(net)
    with near, far:
        with net.fromfd(near.fileno(), net.AF_INET, net.SOCK_STREAM) as other:
            other.sendall(b"fromfd")
            assert far.recv(100) == b"fromfd"
        with net.socket(fileno=near.detach()) as again:
            assert near.fileno() == -1
            again.sendall(b"detached")
            assert far.recv(100) == b"detached"
            assert (again.family, again.type) == (net.AF_INET, net.SOCK_STREAM)
        assert far.recv(1) == b""


def test_an_object_that_is_lost_complains(net: ModuleType) -> None:
    near, far = connection(net)
    with far:
        with pytest.warns(ResourceWarning, match="unclosed"):
            del near
        assert far.recv(1) == b""


def test_it_cannot_be_pickled(net: ModuleType) -> None:
    with net.socket() as sock, pytest.raises(TypeError, match="pickle"):
        pickle.dumps(sock)


def test_what_it_says_of_itself(net: ModuleType) -> None:
    with net.create_server((HOST, 0)) as listener:
        near = net.create_connection(listener.getsockname())
        with near:
            for sock, listens in (listener, 1), (near, 0):
                assert sock.getsockopt(net.SOL_SOCKET, net.SO_ACCEPTCONN) == listens
                assert sock.getsockopt(net.SOL_SOCKET, net.SO_TYPE) == net.SOCK_STREAM
                assert sock.getsockopt(net.SOL_SOCKET, net.SO_DOMAIN) == net.AF_INET
                assert sock.getsockopt(net.SOL_SOCKET, net.SO_PROTOCOL) == net.IPPROTO_TCP
                assert (sock.family, sock.type) == (net.AF_INET, net.SOCK_STREAM)
            assert listener.proto == 0
            assert failure(near.getsockopt, net.IPPROTO_TCP, 9999) == errno.ENOPROTOOPT
            assert failure(near.setsockopt, net.IPPROTO_TCP, 9999, 1) == errno.ENOPROTOOPT
            for name in "laddr", "raddr", "family", "type":
                assert f"{name}=" in repr(near)
        assert "[closed]" in repr(near)


# --------------------------------------------------------------------------- readiness


def test_select_sees_the_states_of_a_connection(net: ModuleType) -> None:
    near, far = connection(net)
    with near, far:
        assert ready(near) == "w"
        far.sendall(b"x")
        assert readable(near)
        assert ready(near) == "rw"
        near.recv(1)
        assert ready(near) == "w"
        far.shutdown(net.SHUT_WR)
        assert readable(near)
        assert ready(near) == "rw"
        near.close()


def test_a_full_connection_is_not_writable(net: ModuleType) -> None:
    near, far = connection(net)
    with near, far:
        near.setblocking(False)
        far.setblocking(False)
        sent = 0
        while select.select([], [near], [], 0.1)[1]:
            try:
                sent += near.send(bytes(65536))
            except BlockingIOError:
                continue
        assert ready(near) == ""
        got = 0
        while got < sent and select.select([far], [], [], PATIENCE)[0]:
            got += len(far.recv(1 << 20))
        assert got == sent
        assert select.select([], [near], [], PATIENCE)[1] == [near]


@pytest.mark.parametrize("way", ["poll", "epoll"])
def test_poll_and_epoll_see_a_listener(net: ModuleType, way: str) -> None:
    poll = getattr(select, way)()
    seconds = 1000 if way == "poll" else 1
    with net.create_server((HOST, 0)) as listener:
        poll.register(listener, select.POLLIN)
        assert poll.poll(0) == []
        near = net.create_connection(listener.getsockname())
        with near:
            fd = listener.fileno()
            assert poll.poll(PATIENCE * seconds) == [(fd, select.POLLIN)]
            assert poll.poll(PATIENCE * seconds) == [(fd, select.POLLIN)]  # still
            listener.accept()[0].close()
            assert poll.poll(0) == []


# --------------------------------------------------------------------------- datagrams


def datagrams(net: ModuleType) -> tuple[Any, Any]:
    socks = [net.socket(net.AF_INET, net.SOCK_DGRAM) for _ in range(2)]
    for sock in socks:
        sock.bind((HOST, 0))
        sock.settimeout(PATIENCE)
    return socks[0], socks[1]


def test_datagrams_with_addresses(net: ModuleType) -> None:
    one, two = datagrams(net)
    with one, two:
        assert one.sendto(b"hello", two.getsockname()) == 5
        assert two.recvfrom(100) == (b"hello", one.getsockname())
        assert two.sendmsg([b"wo", b"rld"], [], 0, one.getsockname()) == 5
        assert one.recvmsg(3) == (b"wor", [], net.MSG_TRUNC, two.getsockname())
        assert failure(one.send, b"x") == errno.EDESTADDRREQ


def test_a_connected_datagram_socket_hears_of_refusal(net: ModuleType) -> None:
    one, two = datagrams(net)
    with one, two:
        one.connect(two.getsockname())
        one.send(b"x")
        assert two.recv(10) == b"x"
        two.close()
        one.send(b"x")
        assert failure(one.recv, 1) == errno.ECONNREFUSED


def test_an_unbound_datagram_socket_gets_a_port_by_sending(net: ModuleType) -> None:
    _, two = datagrams(net)
    with two, net.socket(net.AF_INET, net.SOCK_DGRAM) as sock:
        sock.sendto(b"x", two.getsockname())
        data, address = two.recvfrom(10)
        assert (data, address[1]) == (b"x", sock.getsockname()[1])
