# SPDX-License-Identifier: BSD-3-Clause
"""What a program finds changed: the module socket, TLS on it, and every new event loop.

- `import socket` gives `ustack.socket`. Modules that have the standard library's already get it in
  its place, but those of ustack, and asyncio's: a loop that drives the stack knows what is whose.
- SSLContext.wrap_socket takes its sockets (tls.py).
- asyncio's default loop, asyncio.SelectorEventLoop and uvloop.Loop are ours, on the same base, and
  drive the process's stack. One loop at a time can: a second one that runs meanwhile, in another
  thread, uses the stack's sockets as a kernel's loop would, by their descriptors; uvloop cannot.
- multiprocessing hands the kernel's sockets to other processes, and says why the stack's cannot go.

Not here: whose a connection is (process.py).
"""

import asyncio
import importlib.util
import socket as _stdlib
import sys
import types
import warnings
import weakref
from asyncio import unix_events
from multiprocessing import reduction
from typing import Any

from ustack import aio, process, tls
from ustack import socket as ours

__all__ = ["apply"]

_REPLACED: tuple[str, ...] = (
    "socket",
    "create_connection",
    "create_server",
    "has_dualstack_ipv6",
    "fromfd",
    "socketpair",
    "close",
)

_driver: "weakref.ref[Any] | None" = None  # the loop that drives the process's stack


def apply() -> None:
    """Change all of that, for the rest of the process."""
    if importlib.util.find_spec("uvloop") is not None:
        _patch_uvloop()
    _patch_asyncio()
    tls.install()
    reduction.register(ours.socket, _hand_over)
    sys.modules["socket"] = ours
    there = {id(getattr(_stdlib, name)): getattr(ours, name) for name in _REPLACED}
    there[id(_stdlib)] = ours
    for module in list(sys.modules.values()):
        if isinstance(module, types.ModuleType) and module is not _stdlib:
            if module.__name__.partition(".")[0] not in ("ustack", "asyncio"):
                _replace(module, there)


def _replace(module: types.ModuleType, there: dict[int, Any]) -> None:
    for name, value in list(vars(module).items()):
        if id(value) in there:
            setattr(module, name, there[id(value)])


def _hand_over(sock: ours.socket) -> Any:
    """Return what multiprocessing makes a socket of in another process."""
    if sock.endpoint is not None:
        raise TypeError(
            f"{sock!r} is a stack's and cannot go to another process, which has only the kernel's;"
            " serve without worker processes (hypercorn: -w 0)"
        )
    return reduction._reduce_socket(sock)  # type: ignore[attr-defined]


def _patch_asyncio() -> None:
    class EventLoop(aio.EventLoop):
        """asyncio's event loop, on the process's stack."""

        def __init__(self, selector: Any = None) -> None:
            """selector: none but the default one drives a stack."""
            if selector is not None:
                raise TypeError(
                    f"an event loop on a stack has a selector of its own, got {selector!r}"
                )
            super().__init__()
            _drive(self)

        def run_forever(self) -> None:
            """Run until stop() is called."""
            _drive(self)
            super().run_forever()

    loop: Any = EventLoop
    for module in (asyncio, unix_events, asyncio.selector_events):
        for name in ("SelectorEventLoop", "_UnixSelectorEventLoop", "EventLoop"):
            if hasattr(module, name):
                setattr(module, name, loop)
    sockets: Any = types.ModuleType("socket", _stdlib.__doc__)
    vars(sockets).update(vars(_stdlib) | {"socket": _socket_for_loop})
    base_events: Any = asyncio.base_events
    base_events.socket = sockets
    policy: Any = unix_events._UnixDefaultEventLoopPolicy
    policy._loop_factory = loop


def _socket_for_loop(*arguments: Any, **options: Any) -> _stdlib.socket:
    """Return the socket that asyncio wants: of the kernel, if its loop itself does the stack's."""
    loop: Any = asyncio._get_running_loop()
    kind = _stdlib.socket if getattr(loop, "_stacks", None) else ours.socket
    return kind(*arguments, **options)


def _patch_uvloop() -> None:
    import uvloop

    from ustack.aio.uv import UvEventLoop

    class Loop(UvEventLoop):
        """uvloop's event loop, on the process's stack."""

        def __init__(self) -> None:
            super().__init__()
            _drive(self)

        def run_forever(self) -> None:
            """Run until stop() is called."""
            if not _drive(self):
                warnings.warn(
                    "another event loop drives the stack; this one has connections of the kernel"
                    " only",
                    RuntimeWarning,
                    stacklevel=2,
                )
            super().run_forever()

    def new_event_loop() -> Loop:
        """Return a new event loop."""
        return Loop()

    module: Any = uvloop
    module.Loop, module.new_event_loop = Loop, new_event_loop
    if "loop_factory" in (module.run.__kwdefaults__ or ()):
        module.run.__kwdefaults__["loop_factory"] = new_event_loop


def _drive(loop: Any) -> bool:
    """Let a loop drive the process's stack unless another one does; whether it does now."""
    global _driver
    stack = process.current()
    other: Any = None if _driver is None else _driver()
    if other is loop and stack in loop._stacks:
        return True
    if other is not None and not other.is_closed() and stack in other._stacks:
        if other.is_running() or other._stacks[stack].endpoints:
            return False
        other.detach(stack)
    loop.attach(stack)
    _driver = weakref.ref(loop)
    return True
