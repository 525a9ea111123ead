# SPDX-License-Identifier: BSD-3-Clause
"""An asyncio loop whose names and addresses are those of a simulated network.

It stands below StackLoop, which asks it for what no stack has: connections to hosts that are not
in the network are refused, and names are those of its hosts. Nothing here leaves the process.
Kernel sockets that the program made itself (`sock=`, `sock_*`, pipes, subprocesses) still work.
"""

import asyncio
import errno
import ipaddress
import os
import socket
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ustack._native import format_address
from ustack.sim.nodes import Host, current_host

if TYPE_CHECKING:
    from ustack.sim.network import Network

__all__ = ["HermeticLoop"]


class HermeticLoop(asyncio.SelectorEventLoop):
    """See the top of this file."""

    net: "Network"
    _calls_in_threads = 0  # of run_in_executor() that are not done

    # ----------------------------------------------------------------- no connections

    async def create_server(
        self, protocol_factory: Any, host: Any = None, port: Any = None, **options: Any
    ) -> Any:
        """Listen on a kernel socket if there is `sock`; else raise OSError(EADDRNOTAVAIL)."""
        if options.get("sock") is None:
            raise self._refusal(errno.EADDRNOTAVAIL, "listen on", host, port)
        return await super().create_server(protocol_factory, host, port, **options)

    async def create_connection(
        self, protocol_factory: Any, host: Any = None, port: Any = None, **options: Any
    ) -> Any:
        """Use a kernel socket if there is `sock`; else raise OSError(ENETUNREACH)."""
        if options.get("sock") is None:
            raise self._refusal(errno.ENETUNREACH, "connect to", host, port)
        return await super().create_connection(protocol_factory, host, port, **options)

    async def create_datagram_endpoint(
        self, protocol_factory: Any, local_addr: Any = None, remote_addr: Any = None, **options: Any
    ) -> Any:
        """Use a kernel socket if there is `sock`; else raise OSError(ENETUNREACH)."""
        if options.get("sock") is None:
            raise self._refusal(
                errno.ENETUNREACH, "exchange datagrams with", *_either(local_addr, remote_addr)
            )
        return await super().create_datagram_endpoint(
            protocol_factory, local_addr, remote_addr, **options
        )

    def _refusal(self, code: int, verb: str, name: Any, port: Any) -> Exception:
        host = current_host()
        what = f"{verb} {format_address(str(name or '*'), port or 0)}"
        if host is None or host.net is not self.net:
            return RuntimeError(f"cannot {what}: say on which host: `with host:` around it")
        ours = ", ".join(str(a) for a in host.stack.addresses if not a.interface.is_loopback)
        return OSError(
            code, f"{os.strerror(code)}: {what} from host {host.name!r}, which has {ours}"
        )

    # -------------------------------------------------------------------------- names

    async def getaddrinfo(
        self,
        host: Any,
        port: Any,
        *,
        family: int = 0,
        type: int = 0,
        proto: int = 0,
        flags: int = 0,
    ) -> list[Any]:
        """Look up a host of the network by its name; socket.gaierror for any other name."""
        found: list[Any] = []
        for address in self._addresses_of(host, family):
            found += socket.getaddrinfo(
                address, port, family, type, proto, flags | socket.AI_NUMERICHOST
            )
        return found

    async def getnameinfo(self, sockaddr: Any, flags: int = 0) -> tuple[str, str]:
        """Return (host, port): the name of the network's host that has this address."""
        numeric = socket.getnameinfo(sockaddr, flags | socket.NI_NUMERICHOST)
        for host in self.net.hosts:
            if host.stack.owns(numeric[0]) and not flags & socket.NI_NUMERICHOST:
                return host.name, numeric[1]
        return numeric

    def _addresses_of(self, name: Any, family: int) -> list[Any]:
        text = name.decode() if isinstance(name, bytes) else name
        if text in (None, "", "localhost") or _is_address(text):
            return [None if text in (None, "") else "127.0.0.1" if text == "localhost" else text]
        host = self.net.nodes.get(text)
        if not isinstance(host, Host):
            known = ", ".join(host.name for host in self.net.hosts)
            raise socket.gaierror(
                socket.EAI_NONAME, f"no host of this network is called {text!r}; there are {known}"
            )
        versions = [n for n, f in ((4, socket.AF_INET), (6, socket.AF_INET6)) if family in (0, f)]
        interfaces = [a.interface for a in host.stack.addresses]
        found = [
            str(i.ip)
            for i in interfaces
            if i.version in versions and not (i.is_link_local or i.is_loopback)
        ]
        if not found:
            raise socket.gaierror(socket.EAI_NONAME, f"host {text!r} has no such address")
        return found

    # ------------------------------------------------------------------------ threads

    def run_in_executor(  # type: ignore[override]
        self, executor: Any, func: Callable[..., Any], *args: Any
    ) -> Any:
        """Call a function in a thread; virtual time waits for it, for a while."""
        future = super().run_in_executor(executor, func, *args)
        self._calls_in_threads += 1
        future.add_done_callback(self._call_done)
        return future

    def _is_in_threads(self) -> bool:
        """Return whether threads work for the loop: run_in_executor()'s, or anyio's."""
        if self._calls_in_threads:
            return True
        return threading.active_count() > 1 and any(map(self._employs, threading.enumerate()))

    def _employs(self, thread: Any) -> bool:
        """Return whether this is a thread of anyio's pool, with work; only attributes can tell."""
        idle: Any = getattr(thread, "idle_workers", None)
        ours = idle is not None and getattr(thread, "loop", None) is self
        return ours and thread not in idle and not getattr(thread, "stopping", True)

    def _call_done(self, _: Any) -> None:
        self._calls_in_threads -= 1

    async def shutdown_default_executor(self, *args: Any) -> None:
        """Wait for the threads of run_in_executor() to end."""
        self._calls_in_threads += 1
        try:
            await super().shutdown_default_executor(*args)
        finally:
            self._calls_in_threads -= 1


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return False
    return True


def _either(local: Any, remote: Any) -> tuple[Any, Any]:
    host, port = (remote or local or (None, None))[:2]
    return host, port
