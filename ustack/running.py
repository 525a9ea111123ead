# SPDX-License-Identifier: BSD-3-Clause
"""Whole programs on a stack of their own: run(main, …), and a loop for servers that make theirs.

What is not given of io, address and gateway is read from the environment (process.py). asyncio is
imported when a loop is wanted: it is half of what `import ustack` would take.
"""

import inspect
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, TypeVar

from ustack import process

if TYPE_CHECKING:
    from ustack.aio import StackLoop

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

    Without arguments for the stack, one that `ustack.process` has already is taken instead. base:
    "uvloop" or "asyncio", what the loop extends; None: uvloop where it is installed. options:
    Stack's others. Raises ConfigError without io, PortError when it cannot be opened.
    """
    _check_callable(main)
    import asyncio

    def factory() -> "StackLoop":
        return _loop(base, io=io, address=address, gateway=gateway, **options)

    with asyncio.Runner(debug=debug, loop_factory=factory) as runner:
        return runner.run(main())


def new_event_loop() -> "StackLoop":
    """Return an event loop that drives the process's stack; see `ustack.process`.

    If there is none yet, it is made after the environment, and closed with the loop. For what takes
    a loop's factory: `uvicorn --loop ustack:new_event_loop`, asyncio.Runner.
    """
    return _loop(None)


def _loop(base: str | None, **options: Any) -> "StackLoop":
    from ustack.aio import new_event_loop as bare_loop

    loop = bare_loop(base=base)
    stack = process.installed()
    try:
        if stack is not None and all(value is None for value in options.values()):
            loop.attach(stack)
        else:
            _attach_new(loop, **options)
    except BaseException:
        loop.close()
        raise
    return loop


def _attach_new(loop: "StackLoop", **options: Any) -> None:
    """Open a stack that is closed with the loop; the process's if that has none."""
    stack = process.from_environment(**options)
    if process.installed() is None:
        process.install(stack)
    loop.attach(stack, own=True)


def _check_callable(main: Any) -> None:
    if inspect.iscoroutine(main):
        main.close()
        raise TypeError(f"run() calls main itself: write run({main.__name__}, …) without ()")
