# SPDX-License-Identifier: BSD-3-Clause
"""The calls of `ustack.socket.socket` that move data, to the half that has it or takes it.

recv, recv_into, send and sendall come here only when HotSocket (hotsocket.c) has no fast way:
`_recv` and its like. Of what is bound to both, kernel and stack, the half that has something first
is heard, and a datagram leaves by the half that reaches its address.
"""

import errno
import os
import select
import socket as _stdlib
import time
from collections.abc import Callable
from typing import Any

from ustack import _arguments, process
from ustack._placed_socket import PlacedSocket
from ustack.process import Place

__all__ = ["DataCalls"]


class DataCalls(PlacedSocket):
    """A socket that sends and receives."""

    __slots__ = ()

    def _timed(self, call: Callable[[], Any]) -> Any:
        """Say "timed out" as the standard library does."""
        try:
            return call()
        except TimeoutError as error:
            if error.errno is None:
                raise TimeoutError("timed out") from None
            raise

    def _either(self, call: Callable[[Any], Any], flags: int = 0) -> Any:
        """Make a call of whichever half has something first."""
        timeout = 0 if flags & _stdlib.MSG_DONTWAIT else self.gettimeout()
        end = None if timeout is None else time.monotonic() + timeout
        while True:
            for half in (self._endpoint, self._twin):
                try:
                    return call(half)
                except BlockingIOError:
                    if timeout == 0 and half is self._twin:
                        raise
            poll = select.poll()
            poll.register(self.fileno(), select.POLLIN)
            left = None if end is None else end - time.monotonic()
            if left is not None and left <= 0:
                raise TimeoutError("timed out")
            poll.poll(None if left is None else left * 1000 + 1)

    def _waiting(self, flags: int) -> int:
        """Return flags without MSG_DONTWAIT if there is a timeout to wait for."""
        return flags & ~_stdlib.MSG_DONTWAIT if self.gettimeout() else flags

    def _take(self, name: str, *arguments: Any) -> Any:
        """Receive by a method of this name, whose last argument is flags, of whoever has it.

        As with the standard library's, who has set a timeout waits for that, MSG_DONTWAIT or not.
        """
        if self._endpoint is None:
            return getattr(super(), name)(*arguments)
        arguments = (*arguments[:-1], self._waiting(arguments[-1]))
        if self._twin is not None:
            return self._either(lambda half: getattr(half, name)(*arguments), arguments[-1])
        return self._timed(lambda: getattr(self._endpoint, name)(*arguments))

    def _recv(self, bufsize: int, flags: int = 0, /) -> bytes:
        if bufsize < 0:
            raise ValueError("negative buffersize in recv")
        data: bytes = self._take("recv", bufsize, flags)
        return data

    def _recv_into(self, buffer: Any, nbytes: int = 0, flags: int = 0) -> int:
        return int(self._take("recv_into", _arguments.writable(buffer, nbytes), 0, flags))

    def _send(self, data: Any, flags: int = 0, /) -> int:
        return int(self._timed(lambda: self._endpoint.send(data, self._waiting(flags))))

    def _sendall(self, data: Any, flags: int = 0, /) -> None:
        if self.type == _stdlib.SOCK_DGRAM:
            self._send(data, flags)
        else:
            self._timed(lambda: self._endpoint.sendall(data, flags))

    def recvfrom(self, bufsize: int, flags: int = 0, /) -> tuple[bytes, Any]:
        """Return (data, address of the sender); None for the address of a connected peer."""
        if self._endpoint is None:
            return super().recvfrom(bufsize, flags)
        if bufsize < 0:
            raise ValueError("negative buffersize in recvfrom")
        if self.type == _stdlib.SOCK_STREAM:
            return self._recv(bufsize, flags), None
        data, address = self._take("recvfrom", bufsize, flags)
        return data, address

    def recvfrom_into(self, buffer: Any, nbytes: int = 0, flags: int = 0) -> tuple[int, Any]:
        """Fill a buffer; (bytes, address of the sender)."""
        if self._endpoint is None:
            return super().recvfrom_into(buffer, nbytes, flags)
        view = _arguments.writable(buffer, nbytes)
        if self.type == _stdlib.SOCK_STREAM:
            return self._recv_into(view, 0, flags), None
        n, address = self._take("recvfrom_into", view, 0, flags)
        return n, address

    def recvmsg(self, bufsize: int, ancbufsize: int = 0, flags: int = 0, /) -> Any:
        """Return (data, ancillary data, msg_flags, address)."""
        if self._endpoint is None:
            return super().recvmsg(bufsize, ancbufsize, flags)
        if bufsize < 0:
            raise ValueError("negative buffer size in recvmsg()")
        _arguments.check_ancillary_size(ancbufsize, "recvmsg")
        return self._take("recvmsg", bufsize, ancbufsize, flags)

    def recvmsg_into(self, buffers: Any, ancbufsize: int = 0, flags: int = 0, /) -> Any:
        """Fill buffers; (bytes, ancillary data, msg_flags, address)."""
        if self._endpoint is None:
            return super().recvmsg_into(buffers, ancbufsize, flags)
        views = [_arguments.writable(buffer) for buffer in buffers]
        data, *rest = self.recvmsg(sum(map(len, views)), ancbufsize, flags)
        done = 0
        for view in views:
            part = data[done : done + len(view)]
            view[: len(part)] = part
            done += len(part)
        return len(data), *rest

    def sendto(self, data: Any, *arguments: Any) -> int:
        """Send data to an address: sendto(data, address) or sendto(data, flags, address)."""
        if self._endpoint is None and self._is_dgram_to(arguments):
            self._aim_dgram(arguments[-1])
        if self._endpoint is None:
            return super().sendto(data, *arguments)
        if len(arguments) not in (1, 2):
            raise TypeError(f"sendto() takes 2 or 3 arguments ({len(arguments) + 1} given)")
        _arguments.check_bytes(data)
        if not isinstance(arguments[-1], tuple):
            raise TypeError(f"an address is a tuple, not {type(arguments[-1]).__name__}")
        half, target = self._half_for(arguments[-1])
        return int(self._timed(lambda: half.sendto(data, *arguments[:-1], target)))

    def _is_dgram_to(self, arguments: tuple[Any, ...]) -> bool:
        return self.type == _stdlib.SOCK_DGRAM and bool(arguments)

    def _aim_dgram(self, address: Any) -> None:
        if self._is_plain() and super().fileno() >= 0:
            self._aim(address)

    def _half_for(self, address: Any) -> tuple[Any, Any]:
        """Return whoever sends to an address, and the address with its host as a number."""
        target = self._numeric(address) or address
        if self._twin is not None and process.place_of_peer(*target[:2]) is Place.KERNEL:
            return self._twin, target
        return self._endpoint, target

    def sendmsg(
        self, buffers: Any, ancdata: Any = (), flags: int = 0, address: Any = None, /
    ) -> int:
        """Send the bytes of several buffers, as one datagram where there are datagrams."""
        if self._endpoint is None and address is not None:
            self._aim_dgram(address)
        if self._endpoint is None:
            return super().sendmsg(buffers, ancdata, flags, address)
        data = b"".join([memoryview(buffer) for buffer in buffers])
        messages = [_arguments.parse_message(*message) for message in ancdata]
        if address is not None and not isinstance(address, tuple):
            raise TypeError(f"an address is a tuple, not {type(address).__name__}")
        if self.type == _stdlib.SOCK_STREAM:
            for level, kind, _ in messages:
                raise OSError(errno.EINVAL, f"ancillary data {kind} of level {level}")
            return self._send(data, flags)
        half, target = (self._endpoint, None) if address is None else self._half_for(address)
        return int(self._timed(lambda: half.sendmsg([data], messages, flags, target)))

    def _sendfile_use_sendfile(self, file: Any, offset: int = 0, count: int | None = None) -> int:
        """Send a regular file; there is no descriptor that the kernel could copy it to."""
        if self._endpoint is None:
            return int(super()._sendfile_use_sendfile(file, offset, count))  # type: ignore[misc]
        self._check_sendfile_params(file, offset, count)  # type: ignore[attr-defined]
        try:
            size = os.fstat(file.fileno()).st_size
        except (AttributeError, OSError) as error:
            raise _stdlib._GiveupOnSendfile(error) from None  # type: ignore[attr-defined]
        if not size:
            return 0
        before = file.tell()
        sent = int(self._sendfile_use_send(file, offset, count))  # type: ignore[attr-defined]
        if not sent:
            file.seek(before)
        return sent

    def shutdown(self, how: int, /) -> None:
        """End sending, receiving, or both."""
        if self._endpoint is None:
            super().shutdown(how)
        else:
            self._endpoint.shutdown(how)
            if self._twin is not None:
                self._twin.shutdown(how)
