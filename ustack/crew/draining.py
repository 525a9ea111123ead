# SPDX-License-Identifier: BSD-3-Clause
"""How an asyncio worker ends: it takes no new connections, those that it has finish, or time is up.

The servers of the program do not learn of it, since that would end `serve_forever()` and with it
the program and its connections: their sockets stop listening beneath them.
"""

import asyncio
import signal
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, TypeVar

from ustack._native import lib

if TYPE_CHECKING:
    from ustack.crew.member import Member

__all__ = ["until_drained"]

_T = TypeVar("_T")

_STEP = 0.01  # seconds between two looks
_HANDSHAKES = 0.5  # seconds at most that listeners go on for handshakes which have begun


async def until_drained(member: "Member", main: Callable[[], Coroutine[Any, Any, _T]]) -> _T | None:
    """Await main() on a loop of ustack's; after SIGTERM it is cancelled once all is drained.

    A second SIGTERM cancels it at once. Then the result is None.
    """
    loop: Any = asyncio.get_running_loop()
    task = loop.create_task(main())
    drain: list[asyncio.Task[None]] = []

    def heard() -> None:
        if drain:
            task.cancel()
        else:
            drain.append(loop.create_task(_drain(loop, member, task)))

    loop.add_signal_handler(signal.SIGTERM, heard)
    try:
        return await task  # type: ignore[no-any-return]
    except asyncio.CancelledError:
        if not drain:
            raise
        return None
    finally:
        loop.remove_signal_handler(signal.SIGTERM)
        for one in drain:
            one.cancel()


async def _drain(loop: Any, member: "Member", task: "asyncio.Task[Any]") -> None:
    end = loop.time() + member.workers.drain
    member.enter(lib.UST_CREW_DRAINING)
    handshakes = min(end, loop.time() + _HANDSHAKES)
    while any(stack.usage()["requests"] for stack in loop._stacks) and loop.time() < handshakes:
        await asyncio.sleep(_STEP)
    for server in list(loop._servers):
        server.stop_listening()
    while any(server.busy for server in loop._servers) and loop.time() < end:
        await asyncio.sleep(_STEP)
    task.cancel()
