# SPDX-License-Identifier: BSD-3-Clause
"""The standard library's selectors module, for many sockets of the stack without doorbells.

Everything that `selectors` has is here under its name. `DefaultSelector` takes sockets of
`ustack.socket`, of a stack (ustack.Socket, ustack.UdpSocket), and whatever else has a descriptor,
all in one. Sockets of a stack need no descriptor for it: in their keys fd is -1. Waiting for them
drives the engine.

A round looks at every socket of the stack, which suits hundreds; for more, use asyncio.
"""

import select
import selectors as _stdlib
from collections.abc import Iterator, Mapping
from selectors import EVENT_READ, EVENT_WRITE, BaseSelector, SelectorKey
from typing import Any

from ustack._endpoint import Endpoint
from ustack.poll import Poll

__all__ = ["EVENT_READ", "EVENT_WRITE", "BaseSelector", "DefaultSelector", "SelectorKey"]
__all__ += ["EpollSelector", "PollSelector", "SelectSelector"]

SelectSelector = _stdlib.SelectSelector
PollSelector = _stdlib.PollSelector
EpollSelector = _stdlib.EpollSelector

_BOTH = EVENT_READ | EVENT_WRITE


class DefaultSelector(BaseSelector):
    """Sockets of a stack, sockets of the kernel and other descriptors together.

    Sockets of a second stack are waited for by their doorbells.
    """

    def __init__(self) -> None:
        self._kernel = EpollSelector()
        self._poll: Poll | None = None
        self._ours: dict[Endpoint, SelectorKey] = {}
        self._endpoints: dict[Any, Endpoint] = {}  # by what was registered
        self._undecided: dict[Any, None] = {}  # registered before they were the stack's
        self._map: Mapping[Any, SelectorKey] | None = _Keys(self)

    # ----------------------------------------------------------------- registering

    def register(self, fileobj: Any, events: int, data: Any = None) -> SelectorKey:
        """Wait for fileobj, too; its key. KeyError if it is registered, ValueError for bad events.

        events: EVENT_READ, EVENT_WRITE or both.
        """
        if not events or events & ~_BOTH:
            raise ValueError(f"Invalid events: {events!r}")
        if fileobj in self._endpoints:
            raise KeyError(f"{fileobj!r} is already registered")
        endpoint = self._endpoint_of(fileobj)
        if endpoint is None:
            key = self._kernel.register(fileobj, events, data)
            if hasattr(fileobj, "endpoint"):
                self._undecided[fileobj] = None
            return key
        key = SelectorKey(fileobj, -1, events, data)
        if self._poll is None:
            self._poll = endpoint.stack.poll()
        self._poll.register(endpoint, _mask(events))
        self._ours[endpoint] = key
        self._endpoints[fileobj] = endpoint
        return key

    def unregister(self, fileobj: Any) -> SelectorKey:
        """Wait for it no longer; its key. KeyError if it is not registered."""
        endpoint = self._endpoints.pop(fileobj, None)
        if endpoint is None:
            self._undecided.pop(fileobj, None)
            return self._kernel.unregister(fileobj)
        assert self._poll is not None
        self._poll.unregister(endpoint)
        key = self._ours.pop(endpoint)
        if not self._ours:
            self._poll = None
        return key

    def modify(self, fileobj: Any, events: int, data: Any = None) -> SelectorKey:
        """Change what to wait for; the new key."""
        if fileobj not in self._endpoints:
            return self._kernel.modify(fileobj, events, data)
        if not events or events & ~_BOTH:
            raise ValueError(f"Invalid events: {events!r}")
        self.unregister(fileobj)
        return self.register(fileobj, events, data)

    def _endpoint_of(self, fileobj: Any) -> Endpoint | None:
        """Return the socket of the stack that needs no descriptor here."""
        endpoint = fileobj if isinstance(fileobj, Endpoint) else getattr(fileobj, "endpoint", None)
        if endpoint is None or getattr(fileobj, "_twin", None) is not None:
            return None
        if self._poll is not None and next(iter(self._ours)).stack is not endpoint.stack:
            return None
        return endpoint

    # --------------------------------------------------------------------- waiting

    def select(self, timeout: float | None = None) -> list[tuple[SelectorKey, int]]:
        """Return (key, events) of what is ready; [] after the timeout.

        timeout: seconds, 0 or less to look only; None: for ever.
        """
        if self._undecided:
            self._decide()
        if self._poll is None:
            return self._kernel.select(timeout)
        ready = self._kernel.select(0) if self._kernel.get_map() else []
        seconds = 0.0 if ready or (timeout is not None and timeout <= 0) else timeout
        fd = self._kernel.fileno() if self._kernel.get_map() else -1
        found = self._poll._poll(None if seconds is None else seconds * 1000, fd)
        if fd >= 0 and not ready:
            ready = self._kernel.select(0)
        for endpoint, mask in found:
            key = self._ours[endpoint]
            events = _events(mask) & key.events
            if events:
                ready.append((key, events))
        return ready

    def _decide(self) -> None:
        """Take over the sockets that have become the stack's since they were registered."""
        for sock in [sock for sock in self._undecided if sock.endpoint is not None]:
            del self._undecided[sock]
            key = self._kernel.unregister(sock)
            self.register(sock, key.events, key.data)

    # -------------------------------------------------------------------- the rest

    def close(self) -> None:
        """Forget everything."""
        self._kernel.close()
        self._poll, self._map = None, None
        self._ours.clear()
        self._endpoints.clear()
        self._undecided.clear()

    def get_map(self) -> Any:
        """Return a mapping of what is registered to keys; None once closed."""
        return self._map

    def get_key(self, fileobj: Any) -> SelectorKey:
        """Return the key of what is registered; KeyError if it is not."""
        if self._map is None:
            raise RuntimeError("Selector is closed")
        return self._map[fileobj]


class _Keys(Mapping[Any, SelectorKey]):
    """What get_map() gives."""

    def __init__(self, selector: DefaultSelector) -> None:
        self._selector = selector

    def __len__(self) -> int:
        return len(self._selector._ours) + len(self._selector._kernel.get_map())

    def __getitem__(self, fileobj: Any) -> SelectorKey:
        endpoint = self._selector._endpoints.get(fileobj)
        if endpoint is not None:
            return self._selector._ours[endpoint]
        return self._selector._kernel.get_map()[fileobj]

    def __iter__(self) -> Iterator[Any]:
        yield from self._selector._endpoints
        yield from self._selector._kernel.get_map()


def _mask(events: int) -> int:
    mask = select.POLLIN if events & EVENT_READ else 0
    return mask | (select.POLLOUT if events & EVENT_WRITE else 0)


def _events(mask: int) -> int:
    """Return POLL* bits as events; what is over is both."""
    events = EVENT_WRITE if mask & ~select.POLLIN else 0
    return events | (EVENT_READ if mask & ~select.POLLOUT else 0)
