# SPDX-License-Identifier: BSD-3-Clause
"""Whole programs on a stack of their own: run(main, …), and a loop for servers that make theirs.

What is not given of io, address and gateway is read from the environment (process.py). asyncio is
imported when a loop is wanted: it is half of what `import ustack` would take.
"""

import inspect
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, TypeVar

from ustack import process
from ustack.errors import ConfigError

if TYPE_CHECKING:
    from ustack.aio import StackLoop
    from ustack.crew import Workers

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
    workers: "int | Workers | None" = None,
    **options: Any,
) -> _T | None:
    """Open a stack, run the coroutine function main on an event loop that drives it; its result.

    Without arguments for the stack, one that `ustack.process` has already is taken instead. base:
    "uvloop" or "asyncio", what the loop extends; None: uvloop where it is installed. workers: run
    main in so many processes, each with its own queue of the port, engine and loop, until they end;
    the result is then None (docs/workers.md). options: Stack's others.

    Raises ConfigError without io, PortError when it cannot be opened; with workers SystemExit when
    they cannot start.
    """
    _check_callable(main)
    if workers is not None:
        given = {"io": io, "address": address, "gateway": gateway} | options
        _run_crew(main, workers, base, debug, given)
        return None
    import asyncio

    def factory() -> "StackLoop":
        return _loop(base, io=io, address=address, gateway=gateway, **options)

    with asyncio.Runner(debug=debug, loop_factory=factory) as runner:
        return runner.run(main())


def _run_crew(
    main: Callable[[], Coroutine[Any, Any, Any]],
    given: "int | Workers",
    base: str | None,
    debug: bool | None,
    options: dict[str, Any],
) -> None:
    """Be the supervisor of workers that run main."""
    import asyncio

    from ustack.crew import Member, Queues, Supervisor, Workers
    from ustack.crew.draining import until_drained

    workers = given if isinstance(given, Workers) else Workers(given)
    there = process.installed()
    if there is not None:
        raise ConfigError(
            f"workers open stacks of their own, got {there!r} already; close it first"
        )

    def body(member: Member) -> None:
        def factory() -> "StackLoop":
            return _loop(base, **options, member=member)

        with asyncio.Runner(debug=debug, loop_factory=factory) as runner:
            runner.run(until_drained(member, main))

    io, addresses = process.io_and_addresses(options.get("io"), options.get("address"))
    status = Supervisor(workers, Queues(io, workers.count, addresses)).run(body)
    if status != 0:
        raise SystemExit(status)


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
