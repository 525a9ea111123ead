# SPDX-License-Identifier: BSD-3-Clause
"""The http app and its client over two stacks."""

import asyncio
import hashlib

import pytest
from two import SERVER, Recorder, payload, run

from ustack.apps import http
from ustack.apps.fetch import fetch


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def test_a_large_body_arrives_unchanged() -> None:
    length = 20_000_000

    async def main() -> None:
        server = await http.serve(SERVER)
        got = await fetch(SERVER, 80, f"/bytes/{length}")
        assert (got.status, got.length) == (200, length)
        assert got.sha256 == sha256(b"".join(http.pattern(length)))
        server.close()

    assert run(main) == []


def test_an_upload_arrives_unchanged() -> None:
    body = payload(5_000_000)

    async def main() -> None:
        server = await http.serve(SERVER)
        loop = asyncio.get_running_loop()
        transport, client = await loop.create_connection(Recorder, SERVER, 80)
        transport.write(b"PUT /upload HTTP/1.1\r\nHost: x\r\nContent-Length: 5000000\r\n\r\n")
        transport.write(body)
        await client.until(lambda: client.data.endswith(b"\n"))
        assert client.data.startswith(b"HTTP/1.1 200 OK\r\n")
        assert client.data.endswith(sha256(body).encode() + b"\n")
        transport.close()
        server.close()

    assert run(main) == []


def test_a_slow_client_gets_pipelined_answers_whole_and_in_order() -> None:
    lengths = [3_000_000, 1, 0, 2_000_000, 5]

    async def main() -> None:
        server = await http.serve(SERVER)
        loop = asyncio.get_running_loop()
        transport, client = await loop.create_connection(Recorder, SERVER, 80)
        transport.pause_reading()
        for length in lengths:
            transport.write(f"GET /bytes/{length} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        transport.write(b"GET / HTTP/1.0\r\n\r\n")
        await asyncio.sleep(0.05)
        transport.resume_reading()
        assert await client.lost is None
        rest = bytes(client.data)
        for length in lengths:
            head, _, rest = rest.partition(b"\r\n\r\n")
            assert f"Content-Length: {length}\r\n".encode() in head
            assert rest[:length] == b"".join(http.pattern(length))
            rest = rest[length:]
        assert rest.endswith(b"hello, world\n")
        server.close()

    assert run(main) == []


def test_fetch_tells_a_refusal_and_a_body_that_ends_too_soon() -> None:
    class Liar(asyncio.Protocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            self.transport = transport

        def data_received(self, data: bytes) -> None:
            self.transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc")  # type: ignore[attr-defined]
            self.transport.close()

    async def main() -> None:
        with pytest.raises(ConnectionRefusedError):
            await fetch(SERVER, 80)
        server = await asyncio.get_running_loop().create_server(Liar, SERVER, 80)
        with pytest.raises(ConnectionError, match="before the end"):
            await fetch(SERVER, 80)
        server.close()

    assert run(main) == []


def test_many_clients_are_served_at_once() -> None:
    async def main() -> None:
        server = await http.serve(SERVER)
        got = await asyncio.gather(*(fetch(SERVER, 80, f"/bytes/{n * 1000}") for n in range(100)))
        assert [one.length for one in got] == [n * 1000 for n in range(100)]
        server.close()

    assert run(main) == []
