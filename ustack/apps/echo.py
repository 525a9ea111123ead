# SPDX-License-Identifier: BSD-3-Clause
"""An echo server (RFC 862): ustack serve echo --io URL --address CIDR."""

import asyncio
from typing import cast

__all__ = ["PORT", "Echo", "serve"]

PORT = 7


class Echo(asyncio.Protocol):
    """Sends back what it gets, and reads no faster than the peer does."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Remember where to answer."""
        self.transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        """Send it back."""
        self.transport.write(data)

    def pause_writing(self) -> None:
        """The peer is slow: stop reading, so that it has to wait in turn."""
        self.transport.pause_reading()

    def resume_writing(self) -> None:
        """The peer has caught up."""
        self.transport.resume_reading()


async def serve(host: str, port: int = PORT) -> asyncio.AbstractServer:
    """Return an echo server that is listening."""
    return await asyncio.get_running_loop().create_server(Echo, host, port)
