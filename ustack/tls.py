# SPDX-License-Identifier: BSD-3-Clause
"""TLS for the sockets of `ustack.socket` and of a `Stack`, by the standard library's ssl module.

`install()` makes SSLContext.wrap_socket take them; what it gives for them is an ssl.SSLSocket, with
all that one can do: timeouts, non-blocking calls, accept, SNI, client certificates, sessions,
unwrap. A socket of the kernel gets the standard library's own, as before. `ustack run` does this by
itself, `SSLSocket` below is the class.

A socket that is wrapped before it is connected decides with connect() whose it is.

Not here: how the records travel (_records.py); TLS of event loops (aio/tls.py).
"""

import errno
import socket
import ssl
from typing import Any, Self, cast

from ustack import _sharing
from ustack import socket as _socket
from ustack._records import Records
from ustack._sharing import Shared
from ustack.stream import Socket

__all__ = ["SSLSocket", "install", "uninstall"]

_theirs = ssl.SSLSocket  # what the standard library wraps sockets in


class SSLSocket(_theirs, _socket.socket):  # type: ignore[misc]
    """A socket that speaks TLS. Made by SSLContext.wrap_socket, after `install()`."""

    # The standard library's methods work on these.
    _context: Any
    _session: Any
    _sslobj: Any
    _connected: bool
    server_side: bool
    server_hostname: Any
    do_handshake_on_connect: bool
    suppress_ragged_eofs: bool

    @classmethod
    def _create(cls, sock: Any, *arguments: Any, **options: Any) -> Any:
        """Do what wrap_socket() does, for a socket of whomever."""
        ours = _as_ours(sock)
        if ours is None:
            return _theirs._create(sock, *arguments, **options)  # type: ignore[attr-defined]
        return cls._wrap(ours, *arguments, **options)

    @classmethod
    def _wrap(
        cls,
        sock: _socket.socket,
        server_side: bool = False,
        do_handshake_on_connect: bool = True,
        suppress_ragged_eofs: bool = True,
        server_hostname: str | None = None,
        context: Any = None,
        session: Any = None,
    ) -> Self:
        """Take sock's place: it is detached, whatever comes."""
        _check(context, server_side, server_hostname, session)
        timeout = sock.gettimeout()
        self = cls._in_place_of(sock)
        self._context, self._session, self._sslobj = context, session, None
        self.server_side, self._connected = server_side, False
        self.server_hostname = context._encode_hostname(server_hostname)
        self.do_handshake_on_connect = do_handshake_on_connect
        self.suppress_ragged_eofs = suppress_ragged_eofs
        self.settimeout(timeout)
        try:
            self._connected = self._is_connected()
            if self._connected:
                self._begin()
                if do_handshake_on_connect:
                    if timeout == 0:
                        raise ValueError(
                            "do_handshake_on_connect should not be specified for non-blocking"
                            " sockets"
                        )
                    self.do_handshake()
        except (OSError, ValueError):
            self.close()
            raise
        return self

    @classmethod
    def _in_place_of(cls, sock: _socket.socket) -> Self:
        """Return a new object for what sock was, with its descriptor if it has one."""
        endpoint, twin, options = sock._endpoint, sock._twin, sock._options
        if endpoint is not None and sock._bell is None:
            self = sock._sibling(endpoint.share(), cast(Any, cls))
            sock._twin = None
            sock._real_close()
            sock._closed = True  # type: ignore[attr-defined]
            if twin is not None:
                self._become(self._endpoint, twin)
        else:
            family, kind, proto = sock.family, sock.type, sock.proto
            fd = sock.detach()
            self = cls.__new__(cls)
            _socket.socket.__init__(self, family, kind, proto, fd)
        self._options = options
        return cast(Self, self)

    def _is_connected(self) -> bool:
        try:
            self.getpeername()
        except OSError as error:
            if error.errno != errno.ENOTCONN:
                raise
            self._refuse_early_text()
            return False
        return True

    def _refuse_early_text(self) -> None:
        """Raise SSLError for text of before a connection that is over: it came by no TLS."""
        timeout = self.gettimeout()
        self.setblocking(False)
        try:
            early = _socket.socket.recv(self, 1)
        except OSError:
            early = b""
        self.settimeout(timeout)
        if early:
            raise ssl.SSLError(
                errno.ENOTCONN, "Closed before TLS handshake with data in recv buffer."
            )

    def _begin(self) -> None:
        """Have TLS from now on, over whoever's socket this is."""
        context, name = self._context, self.server_hostname
        if self._endpoint is not None:
            self._sslobj = Records(self, context, self.server_side, name)
            if self._session is not None:
                self._sslobj.session = self._session
        else:
            self._sslobj = context._wrap_socket(
                self, self.server_side, name, owner=self, session=self._session
            )

    def _real_connect(self, addr: Any, connect_ex: bool) -> int | None:
        if self.server_side:
            raise ValueError("can't connect in server-side mode")
        if self._connected or self._sslobj is not None:
            raise ValueError("attempt to connect already-connected SSLSocket!")
        try:
            if connect_ex:
                result = _socket.socket.connect_ex(self, addr)
            else:
                result = 0
                _socket.socket.connect(self, addr)
            self._begin()
            if result == 0:
                self._connected = True
                if self.do_handshake_on_connect:
                    self.do_handshake()
        except (OSError, ValueError):
            self._sslobj = None
            raise
        return result if connect_ex else None


def install() -> None:
    """Let ssl.SSLContext.wrap_socket take sockets of ustack; ssl's own functions make them."""
    ssl.SSLContext.sslsocket_class = SSLSocket
    vars(ssl)["create_connection"] = _socket.create_connection


def uninstall() -> None:
    """Undo `install`; sockets that are wrapped already go on."""
    ssl.SSLContext.sslsocket_class = _theirs
    vars(ssl)["create_connection"] = socket.create_connection


def _as_ours(sock: Any) -> _socket.socket | None:
    """Return a socket that is, or may become, a stack's as one of ustack.socket's; else None."""
    if isinstance(sock, Socket) and not isinstance(sock, Shared):
        return _adopted(sock)
    if not isinstance(sock, socket.socket):
        return _behind(sock)
    if not isinstance(sock, _socket.socket) or sock.type != socket.SOCK_STREAM:
        return None
    if sock.endpoint is not None:
        return sock
    if sock.family not in (socket.AF_INET, socket.AF_INET6):
        return None
    try:
        sock.getpeername()
    except OSError:
        return sock if sock.getsockname()[1] == 0 else None
    return None


def _behind(sock: Any) -> _socket.socket | None:
    """Return the stack's socket behind an object that only does as one, by its descriptor."""
    if _sharing.find(sock.fileno()) is None:
        return None
    timeout = sock.gettimeout()
    found = _socket.socket(fileno=sock.detach())
    found.settimeout(timeout)
    return found


def _adopted(sock: Socket) -> _socket.socket:
    """Return a Stack's own socket as one of ustack.socket's."""
    timeout = sock.gettimeout()
    endpoint = _sharing.adopt(sock)
    mould = _socket.socket(endpoint.family, socket.SOCK_STREAM)
    try:
        adopted = mould._sibling(endpoint, _socket.socket)
    finally:
        mould.close()
    adopted.settimeout(timeout)
    return adopted


def _check(context: Any, server_side: bool, name: Any, session: Any) -> None:
    """Raise ValueError for what cannot be together, as the standard library does."""
    if server_side and name:
        raise ValueError("server_hostname can only be specified in client mode")
    if server_side and session is not None:
        raise ValueError("session can only be specified in client mode")
    if context.check_hostname and not name:
        raise ValueError("check_hostname requires server_hostname")
