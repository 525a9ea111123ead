# SPDX-License-Identifier: BSD-3-Clause
"""What makes a loop's TCP and UDP go over stacks: a mixin above a loop that knows the kernel's.

Whose a connection is, routing.py says; what is not ours is the base loop's, and so are processes,
signals, pipes, AF_UNIX and names.

Not here: when a stack gets its turn (loop.py, uv.py); what happens then (the C of this directory).
"""

import asyncio
import ssl
import weakref
from typing import TYPE_CHECKING, Any

from ustack._aio import Dispatcher, Transport
from ustack._native import ffi
from ustack.aio import tls
from ustack.aio.connecting import Connecting
from ustack.aio.datagrams import Datagrams
from ustack.aio.sending import SendingFiles
from ustack.aio.server import Server
from ustack.aio.serving import Serving
from ustack.process import Place

if TYPE_CHECKING:
    from ustack.stack import Stack

__all__ = ["StackLoop"]


class StackLoop(Connecting, Serving, Datagrams, SendingFiles):
    """The part of an event loop that knows stacks; mixed into one that knows the kernel.

    Callbacks of ustack's connections are called directly, in the loop's thread, between the
    loop's own turns. The stack's blocking sockets may be used in other threads meanwhile.
    """

    def __init__(self, *base: Any, wildcard: str | None = None) -> None:
        """wildcard: whose servers on all addresses are: "both", "ustack" or "kernel".

        None: as `ustack.process.place` says, or USTACK_BIND.
        """
        self._wildcard = None if wildcard is None else Place.parse("wildcard", wildcard)
        self._servers: weakref.WeakSet[Server] = weakref.WeakSet()
        super().__init__(*base)

    def _drive(self, dispatcher: Dispatcher) -> None:
        """Give a stack its turns from now on."""
        raise NotImplementedError

    def _undrive(self, dispatcher: Dispatcher) -> None:
        """Give it none any more."""
        raise NotImplementedError

    # ---------------------------------------------------------------------- stacks

    def attach(self, stack: "Stack", *, own: bool = False) -> None:
        """Drive a stack from now on.

        own: close it with the loop; otherwise it stays the caller's to close, after the loop.
        """
        if self.is_closed():
            raise RuntimeError("Event loop is closed")
        if stack in self._stacks:
            raise ValueError(f"{stack!r} is attached already")
        worker, engine = (int(ffi.cast("uintptr_t", p)) for p in (stack._worker, stack._engine))
        owner = (stack, stack._worker, stack._engine)  # good even if the stack is closed first
        dispatcher = Dispatcher(worker, engine, self, owner)
        self._drive(dispatcher)
        self._stacks[stack] = dispatcher
        stack._loops.add(self)
        if own:
            self._owned.append(stack)

    def detach(self, stack: "Stack") -> None:
        """Drive it no longer; its listeners and connections are closed.

        As the kernel does when a process ends: what the stack has taken is sent, as long as that
        is driven, then FIN, or RST where something is unread. Their protocols get
        connection_lost(ConnectionAbortedError), if the loop still runs.
        """
        dispatcher = self._stacks.pop(stack)
        stack._loops.discard(self)
        self._undrive(dispatcher)
        dispatcher.detach()

    def _let_go(self, stack: "Stack") -> None:
        """Detach a stack that is being closed, by whichever thread."""
        if asyncio._get_running_loop() is self or not self.is_running():
            self._detach_closed(stack)
        else:
            self.call_soon_threadsafe(self._detach_closed, stack)

    def _detach_closed(self, stack: "Stack") -> None:
        if stack in self._stacks:
            self.detach(stack)

    def close(self) -> None:
        """Close the loop: detach every stack first; those that it owns are closed.

        ResourceWarning says which transports nobody had closed.
        """
        if self.is_running():
            raise RuntimeError("Cannot close a running event loop")
        for dispatcher in list(self._stacks.values()):
            dispatcher.complain()
        for stack in list(self._stacks):
            self.detach(stack)
        super().close()
        while self._owned:
            self._owned.pop().close()

    # ------------------------------------------------------------------------- TLS

    async def start_tls(
        self,
        transport: Any,
        protocol: asyncio.BaseProtocol,
        sslcontext: ssl.SSLContext,
        **options: Any,
    ) -> Any:
        """Secure a connection that is open; return the transport for what follows."""
        if not isinstance(transport, Transport):
            return await super().start_tls(transport, protocol, sslcontext, **options)
        return await tls.start(self, transport, protocol, sslcontext, options)
