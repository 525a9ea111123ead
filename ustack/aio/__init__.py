# SPDX-License-Identifier: BSD-3-Clause
"""asyncio on a stack: an event loop whose TCP connections need no system call.

::

    async def main():
        server = await asyncio.get_running_loop().create_server(Echo, "10.9.0.2", 7)
        await server.serve_forever()

    ustack.aio.run(main(), Stack(io="ring:demo", address="10.9.0.2/24"))

Addresses of the loop's stacks belong to ustack; everything else is the base loop's.
"""

import asyncio
import importlib.util
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any, TypeVar

from ustack._native import load_module

__all__ = ["EventLoop", "Server", "StackLoop", "new_event_loop", "run"]

_T = TypeVar("_T")

load_module("ustack._aio")

from ustack.aio.loop import EventLoop  # noqa: E402
from ustack.aio.network import StackLoop  # noqa: E402
from ustack.aio.server import Server  # noqa: E402

if TYPE_CHECKING:
    from ustack.stack import Stack


def new_event_loop(
    *stacks: "Stack", base: str | None = None, wildcard: str | None = None
) -> StackLoop:
    """Return a new event loop that drives these stacks; it owns none of them.

    base: "uvloop" or "asyncio", the loop that it extends; None: uvloop where it is installed.
    wildcard: whose servers on 0.0.0.0, :: or no host are, "both", "ustack" or "kernel"; None: as
    `ustack.process.place` says, or USTACK_BIND.
    """
    loop = _BASES[base](wildcard)
    for stack in stacks:
        loop.attach(stack)
    return loop


def run(
    main: Coroutine[Any, Any, _T],
    *stacks: "Stack",
    debug: bool | None = None,
    base: str | None = None,
    wildcard: str | None = None,
) -> _T:
    """Run a coroutine on a new loop that drives these stacks, and return its result."""

    def factory() -> StackLoop:
        return new_event_loop(*stacks, base=base, wildcard=wildcard)

    with asyncio.Runner(debug=debug, loop_factory=factory) as runner:
        return runner.run(main)


def _on_asyncio(wildcard: str | None) -> StackLoop:
    return EventLoop(wildcard=wildcard)


def _on_uvloop(wildcard: str | None) -> StackLoop:
    from ustack.aio.uv import UvEventLoop

    return UvEventLoop(wildcard=wildcard)


def _on_either(wildcard: str | None) -> StackLoop:
    return (_on_uvloop if importlib.util.find_spec("uvloop") else _on_asyncio)(wildcard)


_BASES = {"asyncio": _on_asyncio, "uvloop": _on_uvloop, None: _on_either}
