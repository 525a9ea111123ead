# SPDX-License-Identifier: BSD-3-Clause
"""loop.sock_recv() and its kin, for the stack's sockets as for the kernel's.

Not here: sock_sendfile (sendfile.py).
"""

import errno
import os
import socket
from typing import TYPE_CHECKING, Any

from ustack.aio.ours import aim, check_open, twin_of
from ustack.aio.watching import Watching

if TYPE_CHECKING:
    from typing_extensions import Buffer

__all__ = ["SocketCalls"]

_NOW = socket.MSG_DONTWAIT


class SocketCalls(Watching):
    """The part of a loop that does what sockets do, and waits where they would block."""

    async def sock_recv(self, sock: Any, nbytes: int) -> bytes:
        """Return at most nbytes, as soon as there are any; b"" at the end of the stream."""
        ours = self._ours(sock)
        if ours is None:
            return await super().sock_recv(sock, nbytes)
        return await self._until_ready(ours, lambda: ours.recv(nbytes, _NOW))

    async def sock_recv_into(self, sock: Any, buf: "Buffer") -> int:
        """Fill a writable buffer; the number of bytes, 0 at the end of the stream."""
        ours = self._ours(sock)
        if ours is None:
            return await super().sock_recv_into(sock, buf)
        return await self._until_ready(ours, lambda: ours.recv_into(buf, 0, _NOW))

    async def sock_recvfrom(self, sock: Any, bufsize: int) -> tuple[bytes, Any]:
        """Return the next datagram, at most bufsize bytes of it, and where it came from."""
        ours = self._ours(sock)
        if ours is None:
            return await super().sock_recvfrom(sock, bufsize)
        found: tuple[bytes, Any]
        found = await self._until_ready(ours, lambda: ours.recvfrom(bufsize, _NOW))
        return found

    async def sock_recvfrom_into(
        self, sock: Any, buf: "Buffer", nbytes: int = 0
    ) -> tuple[int, Any]:
        """Fill a writable buffer, its first nbytes if not 0; (number of bytes, source)."""
        ours = self._ours(sock)
        if ours is None:
            return await super().sock_recvfrom_into(sock, buf, nbytes)
        found: tuple[int, Any]
        found = await self._until_ready(ours, lambda: ours.recvfrom_into(buf, nbytes, _NOW))
        return found

    async def sock_sendall(self, sock: Any, data: "Buffer") -> None:
        """Send all of a buffer."""
        ours = self._ours(sock)
        if ours is None:
            return await super().sock_sendall(sock, data)
        view, done = memoryview(data).cast("B"), 0
        while done < len(view):
            rest = view[done:]
            done += await self._until_ready(ours, lambda r=rest: ours.send(r, _NOW), write=True)  # type: ignore[misc]
        return None

    async def sock_sendto(self, sock: Any, data: "Buffer", address: Any) -> int:
        """Send a datagram; the number of its bytes."""
        if twin_of(sock) is None:  # which goes on to be both's
            aim(sock, address)
        ours = self._ours(sock)
        if ours is None:
            return await super().sock_sendto(sock, data, address)
        sent: int
        sent = await self._until_ready(ours, lambda: ours.sendto(data, _NOW, address), write=True)
        return sent

    async def sock_connect(self, sock: Any, address: Any) -> None:
        """Connect to a peer, by name or by address.

        Raises ConnectionRefusedError, TimeoutError and the like.
        """
        if self.get_debug():
            self._check_nonblocking(sock)
        if self._stacks and sock.family in (socket.AF_INET, socket.AF_INET6):
            host, port = address[:2]
            infos = await self._resolve(host, port, sock.type, family=sock.family)
            address = (*self._nearer(infos[0])[4][:2], *address[2:])
            aim(sock, address)
        ours = self._ours(sock)
        if ours is None:
            return await super().sock_connect(sock, address)
        self._check_nonblocking(sock)
        return await self._connect_socket(ours, address)

    async def _connect_socket(self, sock: Any, address: tuple[Any, ...]) -> None:
        """Connect a stack's socket to an address."""
        err = sock.connect_ex(address)
        if err == errno.EINPROGRESS:
            await self._wait_for(sock, write=True)
            err = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if err:
            raise OSError(err, f"{os.strerror(err)}: connect to {_shown(address)}")

    async def sock_accept(self, sock: Any) -> tuple[Any, Any]:
        """Return the next connection of a listening socket, and its peer's address."""
        ours = self._ours(sock)
        if ours is None:
            return await super().sock_accept(sock)
        self._check_nonblocking(sock)
        conn, address = await self._until_ready(ours, sock.accept)
        conn.setblocking(False)
        return conn, address

    def _ours(self, sock: Any) -> Any:
        """Return what to work on: a stack's socket, or one that is both's; None: the kernel's."""
        endpoint = self._endpoint(sock)
        if endpoint is not None:
            if self.get_debug():
                self._check_nonblocking(sock)
            check_open(endpoint)
            self._check_unused(endpoint)
        return endpoint if endpoint is None or twin_of(sock) is None else sock

    def _check_nonblocking(self, sock: Any) -> None:
        """Raise ValueError for a socket that could stop the loop."""
        if sock.gettimeout() != 0:
            raise ValueError("the socket must be non-blocking")


def _shown(address: tuple[Any, ...]) -> str:
    from ustack._native import format_address

    return format_address(address[0], address[1])
