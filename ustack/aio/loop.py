# SPDX-License-Identifier: BSD-3-Clause
"""The event loop on asyncio's own: stacks are driven where it selects (selector.py)."""

import asyncio
from asyncio import sslproto
from typing import TYPE_CHECKING

from ustack._aio import Dispatcher
from ustack._idle import Spin, parse_spin
from ustack.aio.network import StackLoop
from ustack.aio.selector import StackSelector

if TYPE_CHECKING:
    from ustack.stack import Stack

__all__ = ["EventLoop"]


class EventLoop(StackLoop, asyncio.SelectorEventLoop):  # type: ignore[misc]
    """An asyncio event loop that drives the stacks attached to it."""

    _ssl_protocol = sslproto.SSLProtocol

    def __init__(self, *, spin: Spin | None = None, wildcard: str | None = None) -> None:
        """spin: how long to poll without work before sleeping; None: as the stacks say.

        wildcard: as StackLoop has it.
        """
        self._stacks: dict[Stack, Dispatcher] = {}
        self._owned: list[Stack] = []
        self._polls = StackSelector(None if spin is None else parse_spin(spin))
        super().__init__(self._polls, wildcard=wildcard)

    def _drive(self, dispatcher: Dispatcher) -> None:
        self._polls.add(dispatcher)

    def _undrive(self, dispatcher: Dispatcher) -> None:
        self._polls.remove(dispatcher)
