# SPDX-License-Identifier: BSD-3-Clause
"""UDP and ping sockets on a stack, in the manner of the standard library's.

A datagram is taken whole or not at all: what does not fit the buffer of a receive is lost, and
MSG_TRUNC says so. An ICMP error about a datagram of a connected socket is raised by its next
call, as Linux does: ConnectionRefusedError where nobody listens.

Not here: what TCP sockets have, too (_endpoint.py).
"""

import socket
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from ustack import _ancillary
from ustack._ancillary import AncillaryData
from ustack._endpoint import Endpoint, length_within, message_flags, scratch
from ustack._native import check, ffi, lib
from ustack._sockaddr import Address, read_address, show_address

if TYPE_CHECKING:
    from typing_extensions import Buffer

    from ustack.stack import Stack

__all__ = ["PING_PROTOCOLS", "PingSocket", "UdpSocket"]

_LARGEST = 65535  # no datagram is longer
_UNSPECIFIED = "0.0.0.0", 0

#: By the family of a ping socket.
PING_PROTOCOLS: dict[int, int] = {
    socket.AF_INET: socket.IPPROTO_ICMP,
    socket.AF_INET6: socket.IPPROTO_ICMPV6,
}


class UdpSocket(Endpoint):
    """A UDP socket of a stack; see `Stack.udp`.

    Threads may share it. Closing it while another thread waits on it ends that wait with EBADF.
    """

    __slots__ = ("_wanted",)

    _kind = socket.SOCK_DGRAM
    _protocol = socket.IPPROTO_UDP

    def __init__(
        self, stack: "Stack", family: int = socket.AF_INET, *, handle: int | None = None
    ) -> None:
        """Make a new socket, or take over one that `detach` gave away.

        Raises OSError(ENOBUFS) when the stack's UDP sockets are used up.
        """
        self._wanted: frozenset[tuple[int, int]] = frozenset()
        super().__init__(stack, family, handle=handle)

    def _open(self) -> int:
        return int(lib.ust_worker_udp_socket(self._worker, self._family == socket.AF_INET6))

    def connect(self, address: Address | None) -> None:
        """Talk to one peer only, from now on; None: to any again.

        Raises OSError(ENETUNREACH) without a route, PermissionError for a broadcast address
        without SO_BROADCAST.
        """
        if address is None:
            addr, port = read_address(_UNSPECIFIED, socket.AF_INET)
        else:
            addr, port = read_address(address, self._family)
        result = lib.ust_worker_connect(self._worker, self._handle, addr, port)
        check(result, f"connect to {show_address(address or _UNSPECIFIED)}")

    def connect_ex(self, address: Address | None) -> int:
        """Do as `connect`, but return the errno, 0 for success."""
        try:
            self.connect(address)
        except OSError as error:
            if isinstance(error, socket.gaierror):
                raise
            return error.errno or 0
        return 0

    # ------------------------------------------------------------------------- sending

    def sendto(self, data: "Buffer", *arguments: Any) -> int:
        """Send a datagram: sendto(data, address) or sendto(data, flags, address).

        Raises OSError(EMSGSIZE) when it is too long for UDP, or for the path where IP_MTU_DISCOVER
        forbids fragments; OSError(ENETUNREACH) without a route.
        """
        if len(arguments) not in (1, 2):
            raise TypeError(f"sendto() takes 2 or 3 arguments ({len(arguments) + 1} given)")
        flags = arguments[0] if len(arguments) == 2 else 0
        addr, port = read_address(arguments[-1], self._family)
        with ffi.from_buffer("uint8_t[]", data) as buf:
            return self._sendto(buf, len(buf), flags, addr, port)

    def sendmsg(
        self,
        buffers: "Iterable[Buffer]",
        ancdata: AncillaryData = (),
        flags: int = 0,
        address: Address | None = None,
    ) -> int:
        """Send the bytes of several buffers as one datagram.

        ancdata may say the TTL (IP_TTL, IPV6_HOPLIMIT) and the TOS (IP_TOS, IPV6_TCLASS) of this
        one; what another thread sends meanwhile gets them, too.
        """
        data = b"".join(map(bytes, buffers))
        said = _ancillary.to_options(ancdata)
        addr, port = (ffi.NULL, 0) if address is None else read_address(address, self._family)
        before = [(level, name, self._getsockopt(level, name)) for level, name, _ in said]
        try:
            for option in said:
                self.setsockopt(*option)
            return self._sendto(data, len(data), flags, addr, port)
        finally:
            for option in before:
                self.setsockopt(*option)

    def _send(self, buf: Any, size: int, flags: int) -> int:
        return self._sendto(buf, size, flags, ffi.NULL, 0)

    def _sendto(self, buf: Any, size: int, flags: int, addr: Any, port: int) -> int:
        wait = 0 if flags & socket.MSG_DONTWAIT else self._slice
        message_flags(
            flags, but=socket.MSG_MORE | socket.MSG_PEEK | socket.MSG_OOB | socket.MSG_TRUNC
        )

        def send(ns: int) -> int:
            sent = lib.ust_worker_sendto(self._worker, self._handle, buf, size, addr, port, ns)
            return int(sent)

        n = send(wait)
        return n if n >= 0 else self._insist(n, "send", send, self._timeout if wait else 0)

    # ----------------------------------------------------------------------- receiving

    def recvfrom(self, size: int, flags: int = 0) -> tuple[bytes, Address]:
        """Return the next datagram, at most size bytes of it, and where it came from."""
        data, info = self._recvmsg(size, flags)
        return data, self._source(info)

    def recvfrom_into(
        self, buffer: "Buffer", nbytes: int = 0, flags: int = 0
    ) -> tuple[int, Address]:
        """Fill a writable buffer with a datagram; the number of bytes, and where it came from.

        With MSG_TRUNC the number is the datagram's length, even if that is more.
        """
        info = ffi.new("struct ust_datagram *")
        with ffi.from_buffer("uint8_t[]", buffer, require_writable=True) as buf:
            n = self._recvfrom(buf, length_within(buf, nbytes), flags, info)
        return n, self._source(info)

    def recvmsg(
        self, bufsize: int, ancbufsize: int = 0, flags: int = 0
    ) -> tuple[bytes, list[tuple[int, int, bytes]], int, Address]:
        """Return (data, ancillary data, msg_flags, address) of the next datagram.

        msg_flags has MSG_TRUNC when the datagram was longer, MSG_CTRUNC when ancbufsize was too
        small. Of ancillary data there are IP_PKTINFO, IP_TTL and IP_TOS, IPV6_PKTINFO,
        IPV6_HOPLIMIT and IPV6_TCLASS: each if its option, the IP_RECV… or IPV6_RECV… one, is on.
        """
        if ancbufsize < 0:
            raise ValueError(f"ancbufsize must be at least 0, got {ancbufsize}")
        data, info = self._recvmsg(bufsize, flags)
        shown = socket.MSG_TRUNC if info.len > bufsize else 0
        ancdata, cut = _ancillary.fit(_ancillary.describe(self._wanted, info), ancbufsize)
        return data, ancdata, shown | (socket.MSG_CTRUNC if cut else 0), self._source(info)

    def recvmsg_into(
        self, buffers: "Iterable[Buffer]", ancbufsize: int = 0, flags: int = 0
    ) -> tuple[int, list[tuple[int, int, bytes]], int, Address]:
        """Do as `recvmsg`, but fill writable buffers, one after the other."""
        views = [memoryview(buffer).cast("B") for buffer in buffers]
        data, *rest = self.recvmsg(sum(map(len, views)), ancbufsize, flags)
        done = 0
        for view in views:
            part = data[done : done + len(view)]
            view[: len(part)] = part
            done += len(part)
        return len(data), *rest  # type: ignore[return-value]

    def _recvmsg(self, size: int, flags: int) -> tuple[bytes, Any]:
        if size < 0:
            raise ValueError(f"size must be at least 0, got {size}")
        info = ffi.new("struct ust_datagram *")
        with scratch(_LARGEST) as buf:
            n = self._recvfrom(buf, min(size, _LARGEST), flags & ~socket.MSG_TRUNC, info)
            return bytes(ffi.buffer(buf, n)), info

    def _recv(self, buf: Any, size: int, flags: int) -> int:
        return self._recvfrom(buf, size, flags, ffi.new("struct ust_datagram *"))

    def _recvfrom(self, buf: Any, size: int, flags: int, info: Any) -> int:
        wait = 0 if flags & socket.MSG_DONTWAIT else self._slice
        ours = message_flags(flags & ~socket.MSG_TRUNC, but=socket.MSG_MORE | socket.MSG_OOB)

        def recv(ns: int) -> int:
            got = lib.ust_worker_recvfrom(self._worker, self._handle, buf, size, ours, info, ns)
            return int(got)

        n = recv(wait)
        if n < 0:
            n = self._insist(n, "recv", recv, self._timeout if wait else 0)
        return int(info.len) if flags & socket.MSG_TRUNC else n

    def _source(self, info: Any) -> Address:
        return self._address(info.src, info.port, info.iface)

    # ------------------------------------------------------------------------- options

    def setsockopt(
        self, level: int, optname: int, value: "int | Buffer | None", optlen: int | None = None
    ) -> None:
        """Set an option, by the numbers of the standard library's socket module.

        Raises OSError(ENOPROTOOPT) for one that ustack does not have: none is ignored.
        """
        if not _ancillary.is_option(level, optname, self._family):
            return super().setsockopt(level, optname, value, optlen)
        if value is None or optlen is not None:
            raise TypeError("setsockopt takes an int or a buffer")
        on = value if isinstance(value, int) else int.from_bytes(bytes(value)[:4], "little")
        self._wanted = self._wanted - {(level, optname)} | ({(level, optname)} if on else set())
        return None

    def _getsockopt(self, level: int, optname: int) -> int:
        if _ancillary.is_option(level, optname, self._family):
            return int((level, optname) in self._wanted)
        return super()._getsockopt(level, optname)


class PingSocket(UdpSocket):
    """A socket for ICMP echo, as Linux's of IPPROTO_ICMP and IPPROTO_ICMPV6; see `Stack.socket`.

    It sends echo requests and receives the replies to them, both with the 8 bytes of their ICMP
    header. The identifier is the port of its own address: what `bind` takes, a free one for 0, and
    what is sent gets it, and its checksum, whatever the message says there. It has one owner,
    unless all said SO_REUSEADDR (Linux lets them share it anyway). The peer's port is 0; one that
    is given is ignored. Raises OSError(EINVAL) for a message that is no echo request.
    """

    __slots__ = ()

    def _open(self) -> int:
        handle = super()._open()
        if handle > 0:
            lib.ust_worker_setopt(self._worker, handle, lib.UST_OPT_PING, 1)
        return handle

    @property
    def proto(self) -> int:
        """IPPROTO_ICMP or IPPROTO_ICMPV6."""
        return PING_PROTOCOLS[self._family]

    def _is_peer(self, remote: Address) -> bool:
        return remote[0] not in ("0.0.0.0", "::")
