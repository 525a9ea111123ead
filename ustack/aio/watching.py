# SPDX-License-Identifier: BSD-3-Clause
"""add_reader(), add_writer() and waiting, for sockets that an application keeps to itself.

Level-triggered: a callback comes once a round for as long as its socket is ready. A socket that is
gone is ready for everything, so that nobody waits for it for ever. One that is bound to both, the
stack and the kernel, is readable when either half is.

Not here: the calls that wait (sockets.py).
"""

import asyncio
import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from ustack._endpoint import Endpoint
from ustack._native import lib
from ustack.aio.ours import check_open, twin_of
from ustack.aio.routing import Routing

if TYPE_CHECKING:
    from contextvars import Context

    from ustack._aio import DatagramTransport, Dispatcher, Listener, Transport

__all__ = ["Watching"]

_T = TypeVar("_T")

_OVER = lib.UST_HUP | lib.UST_ERROR
_READ, _WRITE = int(lib.UST_READABLE), int(lib.UST_WRITABLE)


class _Watched:
    """One socket, and who is to be told when it is readable or writable."""

    def __init__(
        self, loop: "Watching", dispatcher: "Dispatcher", endpoint: Endpoint, twin: int | None
    ) -> None:
        """twin: the descriptor of the kernel's half, if there is one."""
        self._loop = loop
        self._endpoint = endpoint
        self._twin, self._is_twin_watched = twin, False
        self._callbacks: dict[int, asyncio.Handle] = {}
        self._waiters: dict[int, list[asyncio.Future[None]]] = {_READ: [], _WRITE: []}
        self._watch = dispatcher.watch(endpoint._handle, self._on_ready)

    def call(self, side: int, handle: asyncio.Handle) -> None:
        """Call handle while that side is ready, and no other any more."""
        self.forget(side)
        self._callbacks[side] = handle
        self._update()

    def forget(self, side: int) -> bool:
        """Call nothing any more; whether there was something."""
        handle = self._callbacks.pop(side, None)
        if handle is None:
            return False
        handle.cancel()
        self._update()
        return True

    async def wait(self, side: int) -> None:
        """Wait until that side is ready."""
        waiter = self._loop.create_future()
        self._waiters[side].append(waiter)
        self._update()
        try:
            await waiter
        finally:
            if waiter in self._waiters[side]:
                self._waiters[side].remove(waiter)
                self._update()

    def _on_ready(self, ready: int) -> None:
        for side in (_READ, _WRITE):
            if ready & (side | _OVER):
                waiters, self._waiters[side] = self._waiters[side], []
                for waiter in waiters:
                    if not waiter.done():
                        waiter.set_result(None)
                if side in self._callbacks:
                    self._callbacks[side]._run()
        self._update()

    def _update(self) -> None:
        wanted = sum(s for s in (_READ, _WRITE) if self._waiters[s] or s in self._callbacks)
        if self._twin is not None and bool(wanted & _READ) != self._is_twin_watched:
            self._is_twin_watched = bool(wanted & _READ)
            self._loop._watch_kernels(self._twin, self._on_ready if wanted & _READ else None)
        if wanted:
            self._watch.want(wanted)
        elif self._loop._watched.get(self._endpoint) is self:
            self._watch.close()
            del self._loop._watched[self._endpoint]


class Watching(Routing):
    """The part of a loop that waits for an application's sockets."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._watched: dict[Endpoint, _Watched] = {}
        #: Who has taken a socket over.
        self._users: weakref.WeakKeyDictionary[Endpoint, Transport | DatagramTransport | Listener]
        self._users = weakref.WeakKeyDictionary()
        super().__init__(*args, **kwargs)

    def add_reader(  # type: ignore[override]
        self, fd: Any, callback: Callable[..., object], *args: Any
    ) -> Any:
        """Call callback(*args) while fd, a descriptor or a socket of either kind, is readable."""
        return self._add(_READ, super().add_reader, fd, callback, args)

    def remove_reader(self, fd: Any) -> bool:
        """Undo add_reader; whether there was something to undo."""
        return self._remove(_READ, super().remove_reader, fd)

    def add_writer(  # type: ignore[override]
        self, fd: Any, callback: Callable[..., object], *args: Any
    ) -> Any:
        """Call callback(*args) while fd, a descriptor or a socket of either kind, is writable."""
        return self._add(_WRITE, super().add_writer, fd, callback, args)

    def remove_writer(self, fd: Any) -> bool:
        """Undo add_writer; whether there was something to undo."""
        return self._remove(_WRITE, super().remove_writer, fd)

    def _add(
        self, side: int, kernels: Callable[..., Any], fd: Any, callback: Any, args: Any
    ) -> Any:
        endpoint = self._endpoint(fd)
        if endpoint is None:
            return kernels(fd, callback, *args)
        if self.is_closed():
            raise RuntimeError("Event loop is closed")
        self._check_unused(endpoint)
        context: Context | None = None
        handle = asyncio.Handle(callback, args, self, context)
        self._watcher(fd).call(side, handle)
        return handle

    def _remove(self, side: int, kernels: Callable[[Any], bool], fd: Any) -> bool:
        endpoint = self._endpoint(fd)
        if endpoint is None:
            return kernels(fd)
        self._check_unused(endpoint)
        watched = self._watched.get(endpoint)
        return watched is not None and watched.forget(side)

    def _watch_kernels(self, fd: int, callback: Callable[[int], object] | None) -> None:
        """Call callback while a descriptor of the kernel's is readable; None: no more."""
        if callback is None:
            super().remove_reader(fd)
        else:
            super().add_reader(fd, callback, _READ)

    async def _until_ready(
        self, sock: Any, attempt: Callable[[], _T], *, write: bool = False
    ) -> _T:
        """Try a call that does not block until it need not; its result."""
        while True:
            try:
                return attempt()
            except (BlockingIOError, InterruptedError):
                await self._wait_for(sock, write=write)

    async def _wait_for(self, sock: Any, *, write: bool) -> None:
        await self._watcher(sock).wait(_WRITE if write else _READ)

    def _watcher(self, sock: Any) -> _Watched:
        endpoint, twin = self._endpoint(sock), twin_of(sock)
        assert endpoint is not None
        watched = self._watched.get(endpoint)
        if watched is None:
            check_open(endpoint)
            fd = None if twin is None else twin.fileno()
            watched = _Watched(self, self._dispatcher_of(endpoint), endpoint, fd)
            self._watched[endpoint] = watched
        return watched

    def _dispatcher_of(self, endpoint: Endpoint) -> "Dispatcher":
        try:
            return self._stacks[endpoint.stack]
        except KeyError:
            raise ValueError(
                f"{endpoint!r} is of a stack that this loop does not drive; attach it first"
            ) from None

    def _check_unused(self, endpoint: Endpoint) -> None:
        user: Any = self._users.get(endpoint)
        if user is not None and not getattr(user, "is_closing", bool)():
            raise RuntimeError(f"Socket {endpoint!r} is used by transport {user!r}")
