# SPDX-License-Identifier: BSD-3-Clause
"""A transport for the protocols of the apps: it keeps what is written, and nothing is on a wire."""

from __future__ import annotations

import asyncio


class Transport:
    """Collects what is written; asks for a pause after every `room` bytes."""

    def __init__(self) -> None:
        self.written = b""
        self.room = 1 << 40
        self.closed = self.aborted = self.paused = False
        self.protocol: asyncio.Protocol

    def write(self, data: bytes) -> None:
        assert not self.closed
        self.written += data
        if len(self.written) >= self.room:
            self.protocol.pause_writing()

    def close(self) -> None:
        self.closed = True

    def abort(self) -> None:
        self.closed = self.aborted = True

    def pause_reading(self) -> None:
        self.paused = True

    def resume_reading(self) -> None:
        self.paused = False
