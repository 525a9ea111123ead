# SPDX-License-Identifier: BSD-3-Clause
"""loop.sock_*(), sock=, add_reader() and sendfile(): the same on a stack as on the kernel."""

from __future__ import annotations

import asyncio
import io
import socket
from pathlib import Path
from typing import Any

import pytest
from two import BASE, NOBODY, SERVER, Recorder, payload, run

from ustack.apps.echo import Echo

pytestmark = pytest.mark.usefixtures("base")


class Place:
    """Where a test happens: a server's and a client's address, and sockets of either."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.server = SERVER if name == "stack" else "127.0.0.1"

    def socket(self, kind: int = socket.SOCK_STREAM, *, server: bool = False) -> Any:
        """Return a socket that does not block; the server's is bound to a free port."""
        if self.name == "stack":
            theirs, ours = list(asyncio.get_running_loop()._stacks)  # type: ignore[attr-defined]
            sock = (theirs if server else ours).socket(socket.AF_INET, kind)
        else:
            sock = socket.socket(socket.AF_INET, kind)
        sock.setblocking(False)
        if server:
            sock.bind((self.server, 0))
        return sock

    def listening(self) -> Any:
        sock = self.socket(server=True)
        sock.listen(8)
        return sock

    async def pair(self) -> tuple[Any, Any]:
        """Return the two sockets of a new connection: the server's and the client's."""
        loop = asyncio.get_running_loop()
        listening, client = self.listening(), self.socket()
        await loop.sock_connect(client, listening.getsockname())
        conn, peer = await loop.sock_accept(listening)
        assert peer == client.getsockname()
        listening.close()
        return conn, client


def is_there(place: Place) -> bool:
    """Whether the call is; uvloop has neither sendfile() nor datagrams for the kernel's sockets."""
    return place.name == "stack" or BASE.get() == "asyncio"


@pytest.fixture(params=["stack", "kernel"])
def place(request: pytest.FixtureRequest) -> Place:
    return Place(request.param)


# ------------------------------------------------------------------------------- sock_*()


def test_sockets_connect_send_and_receive(place: Place) -> None:
    data = payload(3_000_000)

    async def main() -> None:
        loop = asyncio.get_running_loop()
        conn, client = await place.pair()
        sending = asyncio.ensure_future(loop.sock_sendall(conn, memoryview(data)))
        got, buffer = bytearray(), bytearray(70_000)
        while len(got) < len(data):
            if len(got) % 2:
                got += await loop.sock_recv(client, 50_000)
            else:
                got += buffer[: await loop.sock_recv_into(client, buffer)]
        assert got == data
        await sending
        conn.shutdown(socket.SHUT_WR)
        assert await loop.sock_recv(client, 10) == b""
        assert await loop.sock_recv_into(client, buffer) == 0
        conn.close()
        client.close()

    assert run(main) == []


def test_datagrams_come_and_go(place: Place) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        server = place.socket(socket.SOCK_DGRAM, server=True)
        client, buffer = place.socket(socket.SOCK_DGRAM), bytearray(100)
        waiting = asyncio.ensure_future(loop.sock_recvfrom(server, 100))
        await asyncio.sleep(0)
        assert await loop.sock_sendto(client, b"hello", server.getsockname()) == 5
        data, peer = await waiting
        assert data == b"hello"
        await loop.sock_sendto(server, b"you, too", peer)
        count, source = await loop.sock_recvfrom_into(client, buffer)
        assert (buffer[:count], source) == (b"you, too", server.getsockname())
        await loop.sock_sendto(server, b"again", peer)
        assert (await loop.sock_recvfrom_into(client, buffer, 3))[0] == 3
        server.close()
        client.close()

    if is_there(place):
        assert run(main) == []


def test_a_refused_connect_raises_and_the_socket_can_be_closed(place: Place) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        taken = place.socket(server=True)
        client = place.socket()
        with pytest.raises(ConnectionRefusedError):
            await loop.sock_connect(client, taken.getsockname())
        client.close()
        taken.close()

    assert run(main) == []


def test_a_blocking_socket_is_refused_in_debug_mode(place: Place) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        sock = place.listening()
        sock.setblocking(True)
        loop.set_debug(True)
        try:
            for call in (
                loop.sock_accept(sock),
                loop.sock_recv(sock, 1),
                loop.sock_sendall(sock, b"x"),
                loop.sock_connect(sock, (place.server, 1)),
            ):
                with pytest.raises(ValueError, match="non-blocking"):
                    await call
        finally:
            loop.set_debug(False)
        sock.close()

    assert run(main) == []


def test_waiting_can_be_cancelled_and_taken_up_again(place: Place) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        conn, client = await place.pair()
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(loop.sock_recv(conn, 10), 0.01)
        await loop.sock_sendall(client, b"x")
        assert await loop.sock_recv(conn, 10) == b"x"
        conn.close()
        client.close()

    assert run(main) == []


def test_an_unattached_stacks_socket_is_refused_by_name() -> None:
    async def main() -> None:
        loop: Any = asyncio.get_running_loop()
        stack = next(iter(loop._stacks))
        sock = stack.socket()
        loop.detach(stack)
        sock.setblocking(False)
        with pytest.raises(ValueError, match="attach it first"):
            await loop.sock_connect(sock, (NOBODY, 1))
        sock.close()

    assert run(main) == []


# ------------------------------------------------------------------------ add_reader() …


def test_readers_and_writers_are_level_triggered(place: Place) -> None:
    async def main() -> None:
        loop: Any = asyncio.get_running_loop()
        conn, client = await place.pair()
        await loop.sock_sendall(client, b"ab")
        got, writable = asyncio.Queue[bytes](), asyncio.Event()
        loop.add_reader(conn, lambda: got.put_nowait(conn.recv(1)))
        assert [await got.get(), await got.get()] == [b"a", b"b"]
        loop.add_writer(conn, writable.set)
        await writable.wait()
        loop.remove_writer(conn)
        assert not loop.remove_writer(conn)
        await loop.sock_sendall(client, b"c")
        assert await got.get() == b"c"
        client.close()
        assert await got.get() == b""
        loop.remove_reader(conn)
        conn.close()

    assert run(main) == []


def test_a_callback_that_raises_goes_to_the_loop_and_its_socket_is_watched_on(
    place: Place,
) -> None:
    async def main() -> None:
        loop: Any = asyncio.get_running_loop()
        conn, client = await place.pair()
        got = asyncio.Queue[bytes]()

        def read() -> None:
            got.put_nowait(conn.recv(1))
            raise ZeroDivisionError

        loop.add_reader(conn, read)
        await loop.sock_sendall(client, b"ab")
        assert [await got.get(), await got.get()] == [b"a", b"b"]
        loop.remove_reader(conn)
        conn.close()
        client.close()

    complaints = run(main)
    assert [type(context["exception"]) for context in complaints] == [ZeroDivisionError] * 2


def test_a_transports_socket_is_not_for_others(place: Place) -> None:
    async def main() -> None:
        loop: Any = asyncio.get_running_loop()
        conn, client = await place.pair()
        transport, _ = await loop.create_connection(Recorder, sock=client)
        for call in (lambda: loop.add_reader(client, print), lambda: loop.remove_writer(client)):
            with pytest.raises(RuntimeError, match="used by transport"):
                call()
        with pytest.raises(RuntimeError, match="used by transport"):
            await loop.sock_recv(client, 1)
        transport.close()
        conn.close()

    assert run(main) == []


# ------------------------------------------------------------------------------- sock=


def test_transports_go_over_sockets_that_are_given(place: Place) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        server = await loop.create_server(Echo, sock=place.socket(server=True))
        where = server.sockets[0].getsockname()
        client = place.socket()
        await loop.sock_connect(client, where)
        transport, protocol = await loop.create_connection(Recorder, sock=client)
        transport.write(payload(500_000))
        assert await protocol.received(500_000) == payload(500_000)
        assert transport.get_extra_info("peername") == where
        assert client.getpeername() == where
        transport.close()
        await protocol.lost
        await asyncio.sleep(0)
        with pytest.raises(OSError):
            client.getpeername()
        server.close()

    assert run(main) == []


def test_an_accepted_connection_gets_a_transport(place: Place) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        conn, client = await place.pair()
        await loop.sock_sendall(client, b"early")
        transport, protocol = await loop.connect_accepted_socket(Recorder, conn)
        assert await protocol.received(5) == b"early"
        transport.write(b"hello")
        assert await loop.sock_recv(client, 10) == b"hello"
        client.close()
        await protocol.lost

    assert run(main) == []


def test_a_datagram_endpoint_goes_over_a_socket_that_is_given(place: Place) -> None:
    class Mirror(asyncio.DatagramProtocol):
        def connection_made(self, transport: Any) -> None:
            self.transport = transport

        def datagram_received(self, data: bytes, addr: Any) -> None:
            self.transport.sendto(data, addr)

    async def main() -> None:
        loop = asyncio.get_running_loop()
        server = place.socket(socket.SOCK_DGRAM, server=True)
        where = server.getsockname()
        transport, _ = await loop.create_datagram_endpoint(Mirror, sock=server)
        client = place.socket(socket.SOCK_DGRAM)
        await loop.sock_sendto(client, b"x", where)
        assert await loop.sock_recvfrom(client, 10) == (b"x", where)
        transport.close()
        client.close()

    if is_there(place):
        assert run(main) == []


def test_the_wrong_kind_of_socket_and_too_many_arguments_are_refused(place: Place) -> None:
    async def main() -> None:
        loop: Any = asyncio.get_running_loop()
        udp, tcp = place.socket(socket.SOCK_DGRAM), place.socket()
        for call in (
            loop.create_connection(Recorder, sock=udp),
            loop.create_server(Recorder, sock=udp),
            loop.connect_accepted_socket(Recorder, udp),
            loop.create_datagram_endpoint(Recorder, sock=tcp),
            loop.create_connection(Recorder, place.server, 80, sock=tcp),
            loop.create_server(Recorder, place.server, 80, sock=tcp),
            loop.create_datagram_endpoint(Recorder, (place.server, 0), sock=udp),
            loop.create_connection(Recorder),
            loop.create_server(Recorder),
            loop.create_connection(Recorder, place.server, 80, server_hostname="x"),
            loop.create_connection(Recorder, place.server, 80, ssl_handshake_timeout=1.0),
        ):
            with pytest.raises(ValueError):
                await call
        for call in (
            loop.create_server(Recorder, place.server, 0, ssl=True),
            loop.create_connection(Recorder, place.server, 80, nodelay=True),
        ):
            with pytest.raises(TypeError):
                await call
        udp.close()
        tcp.close()

    assert run(main) == []


# --------------------------------------------------------------------------- sendfile()


def test_a_file_goes_out_between_writes(place: Place, tmp_path: Path) -> None:
    data = payload(2_000_000)
    (tmp_path / "file").write_bytes(data)

    async def main() -> None:
        loop = asyncio.get_running_loop()
        conn, client = await place.pair()
        transport, protocol = await loop.create_connection(Recorder, sock=client)
        other, receiver = await loop.connect_accepted_socket(Recorder, conn)
        with open(tmp_path / "file", "rb") as file:
            transport.write(b"<")
            assert await loop.sendfile(transport, file) == len(data)
            transport.write(b"|")
            assert await loop.sendfile(transport, file, 10, 20) == 20
            assert file.tell() == 30
            assert await loop.sendfile(transport, file, len(data)) == 0
            transport.write(b">")
        expected = b"<" + data + b"|" + data[10:30] + b">"
        assert await receiver.received(len(expected)) == expected
        other.write(b"x")
        assert await protocol.received(1) == b"x"
        transport.close()
        await receiver.lost
        with pytest.raises(RuntimeError, match="closing"):
            await loop.sendfile(transport, io.BytesIO(b"x"))

    if is_there(place):
        assert run(main) == []


def test_a_file_goes_out_by_a_socket(place: Place, tmp_path: Path) -> None:
    data = payload(1_000_000)
    (tmp_path / "file").write_bytes(data)

    async def main() -> None:
        loop = asyncio.get_running_loop()
        conn, client = await place.pair()
        with open(tmp_path / "file", "rb") as file:
            sending = asyncio.ensure_future(loop.sock_sendfile(conn, file, 5))
            got = b""
            while len(got) < len(data) - 5:
                got += await loop.sock_recv(client, 1 << 20)
            assert got == data[5:]
            assert await sending == len(data) - 5
            for bad in ((-1, None), (0, 0), (0, -1)):
                with pytest.raises(ValueError):
                    await loop.sock_sendfile(conn, file, *bad)
        conn.close()
        client.close()

    if is_there(place):
        assert run(main) == []


def test_a_file_whose_receiver_goes_away_raises_and_the_protocol_hears_of_it(
    place: Place, tmp_path: Path
) -> None:
    (tmp_path / "file").write_bytes(bytes(20_000_000))

    async def main() -> None:
        loop = asyncio.get_running_loop()
        conn, client = await place.pair()
        transport, protocol = await loop.create_connection(Recorder, sock=client)
        with open(tmp_path / "file", "rb") as file:
            sending = asyncio.ensure_future(loop.sendfile(transport, file))
            await loop.sock_recv(conn, 1000)
            conn.close()
            with pytest.raises(ConnectionError):
                await sending
        await protocol.lost
        assert protocol.calls[-1] == "lost"

    if is_there(place):
        assert run(main) == []
