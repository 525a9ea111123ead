# SPDX-License-Identifier: BSD-3-Clause
"""Whole programs on a stack of their own: run(main, …), and a loop for servers that make theirs.

What io, address and gateway are not given for is read from the environment: USTACK_IO, and
USTACK_ADDRESS and USTACK_GATEWAY, each one or several with commas between.
"""

import asyncio
import inspect
import os
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from ustack.aio import StackLoop
from ustack.aio import new_event_loop as _bare_loop
from ustack.errors import ConfigError
from ustack.stack import Stack

__all__ = ["new_event_loop", "run"]

_T = TypeVar("_T")


def run(
    main: Callable[[], Coroutine[Any, Any, _T]],
    *,
    io: str | None = None,
    address: str | None = None,
    gateway: str | None = None,
    base: str | None = None,
    debug: bool | None = None,
    **options: Any,
) -> _T:
    """Open a stack, run the coroutine function main on an event loop that drives it; its result.

    base: "uvloop" or "asyncio", what the loop extends; None: uvloop where it is installed.
    options: Stack's others. Raises ConfigError without io, PortError when it cannot be opened.
    """
    _check_callable(main)

    def factory() -> StackLoop:
        return _loop(base, io=io, address=address, gateway=gateway, **options)

    with asyncio.Runner(debug=debug, loop_factory=factory) as runner:
        return runner.run(main())


def new_event_loop() -> StackLoop:
    """Return an event loop that drives a stack after the environment, and closes it.

    For what takes a loop's factory: `uvicorn --loop ustack:new_event_loop`, asyncio.Runner.
    """
    return _loop(None)


def _loop(
    base: str | None,
    *,
    io: str | None = None,
    address: str | None = None,
    gateway: str | None = None,
    **options: Any,
) -> StackLoop:
    io = io or os.environ.get("USTACK_IO")
    if not io:
        raise ConfigError("no packet port: give io, or set USTACK_IO; for example to ring:demo")
    addresses = _several(address, "USTACK_ADDRESS")
    gateways = _several(gateway, "USTACK_GATEWAY")
    loop = _bare_loop(base=base)
    try:
        loop.attach(Stack(io, addresses=addresses, gateways=gateways, **options), own=True)
    except BaseException:
        loop.close()
        raise
    return loop


def _check_callable(main: Any) -> None:
    if inspect.iscoroutine(main):
        main.close()
        raise TypeError(f"run() calls main itself: write run({main.__name__}, …) without ()")


def _several(given: str | None, variable: str) -> list[str]:
    text = os.environ.get(variable, "") if given is None else given
    return [part.strip() for part in text.split(",") if part.strip()]
