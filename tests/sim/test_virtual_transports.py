# SPDX-License-Identifier: BSD-3-Clause
"""Transports where the moment matters: on virtual time it is always the same."""

from __future__ import annotations

import asyncio
import select
from typing import Any

import pytest

from virtual import between, pair


def test_a_polled_descriptor_tells_whether_a_kept_connection_is_still_good() -> None:
    """What httpcore asks before it uses a connection again."""
    net, *_ = pair()

    def polls(writer: asyncio.StreamWriter) -> bool:
        descriptor = writer.get_extra_info("socket").fileno()
        return bool(select.select([descriptor], [], [], 0)[0])

    async def main() -> None:
        reader, writer = await asyncio.open_connection("server", 7)
        assert not polls(writer)
        writer.transport.pause_reading()  # type: ignore[attr-defined]
        writer.write(b"x")
        await asyncio.sleep(1)
        assert polls(writer) and polls(writer)
        writer.transport.resume_reading()  # type: ignore[attr-defined]
        assert await reader.read(1) == b"x"
        assert not polls(writer)
        writer.transport.pause_reading()  # type: ignore[attr-defined]
        writer.write_eof()
        await asyncio.sleep(1)
        assert polls(writer)
        writer.transport.abort()
        assert polls(writer)

    between(net, main)


@pytest.mark.parametrize("how", ["pause_reading", "close"])
def test_a_protocol_that_stops_reading_in_get_buffer_gets_no_bytes(how: str) -> None:
    net, *_ = pair()

    class Stops(asyncio.BufferedProtocol):
        asked = got = 0

        def connection_made(self, transport: Any) -> None:
            self.transport = transport
            transport.write(bytes(1_000_000))  # close() has to wait for them

        def get_buffer(self, sizehint: int) -> bytearray:
            self.asked += 1
            if self.asked == 2:
                getattr(self.transport, how)()
            return bytearray(1000)

        def buffer_updated(self, nbytes: int) -> None:
            assert self.transport.is_reading()
            self.got += nbytes

    async def main() -> None:
        loop = asyncio.get_running_loop()
        transport, protocol = await loop.create_connection(Stops, "server", 7)
        await asyncio.sleep(5)
        assert (protocol.asked, protocol.got) == (2, 1000)
        if how == "pause_reading":
            transport.resume_reading()
            await asyncio.sleep(5)
            assert protocol.got == 1_000_000
        transport.abort()

    between(net, main)
