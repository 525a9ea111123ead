# SPDX-License-Identifier: BSD-3-Clause
# ruff: noqa: B023 - every lambda is called where it stands
"""ustack.socket beside the standard library's: each case runs on both and must see the same.

A case is a program that writes down what it sees: values, and exceptions by type and errno. What
test_socket_behaviours.py checks one by one is not here again. docs/sockets.md says what differs.
"""

from __future__ import annotations

import contextlib
import copy
import io
import pickle
import re
import select
import selectors
import struct
import threading
import time
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import pytest

from ustack import Stack, process

HOST, SIX = "127.0.0.1", "::1"
PATIENCE = 20.0
RESET = struct.pack("ii", 1, 0)  # a linger of none

Case = Callable[[ModuleType, Any], list[Any]]
CASES: list[Case] = []


def case(function: Case) -> Case:
    CASES.append(function)
    return function


def told(call: Callable[[], Any]) -> Any:
    """Return what a call gives; of an exception what a program can tell it by."""
    try:
        return call()
    except OSError as error:
        return type(error).__name__, error.errno
    except Exception as error:
        return type(error).__name__


def connection(net: ModuleType, host: str = HOST) -> tuple[Any, Any]:
    """Return both ends: the one that connected, the one that was accepted."""
    family = net.AF_INET6 if ":" in host else net.AF_INET
    with net.create_server((host, 0), family=family) as listener:
        near = net.create_connection(listener.getsockname()[:2], timeout=PATIENCE)
        far, _ = listener.accept()
        far.settimeout(PATIENCE)
        return near, far


def readable(sock: Any) -> bool:
    return bool(select.select([sock], [], [], PATIENCE)[0])


def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE
    while not condition() and time.monotonic() < end:
        time.sleep(0.001)


# ------------------------------------------------------------------------------- makefile()


@case
def files_of_every_mode(net: ModuleType, tmp: Any) -> list[Any]:
    seen = []
    near, far = connection(net)
    with near, far:
        for mode, options in (
            ("r", {}),
            ("w", {}),
            ("rw", {}),
            ("rb", {}),
            ("wb", {}),
            ("rwb", {}),
            ("rb", {"buffering": 0}),
            ("wb", {"buffering": 0}),
            ("r", {"buffering": 0}),
            ("x", {}),
            ("a", {}),
            ("rt", {}),
        ):

            def make(m: str = mode, o: Any = options) -> list[Any]:
                with near.makefile(m, **o) as file:
                    return [type(file).__name__, file.readable(), file.writable(), file.seekable()]

            seen.append((mode, told(make)))
        with near.makefile("rb") as file:
            seen += [told(lambda: file.write(b"x")), file.raw.mode, file.raw.name == near.fileno()]
    return seen


@case
def lines_that_come_in_pieces(net: ModuleType, tmp: Any) -> list[Any]:
    near, far = connection(net)
    with near, far, near.makefile("r", newline="\n", encoding="utf-8") as file:
        far.sendall("grün\nr".encode())
        seen = [file.readline()]
        far.sendall("öt".encode())
        far.shutdown(net.SHUT_WR)
        return [*seen, file.readline(), file.readline(), file.read()]


@case
def a_file_whose_socket_times_out(net: ModuleType, tmp: Any) -> list[Any]:
    near, far = connection(net)
    with near, far, near.makefile("rb") as file:
        near.settimeout(0.02)
        seen = [told(lambda: file.read(1)), told(lambda: file.read(1))]
        far.sendall(b"x")
        near.settimeout(PATIENCE)
        return [*seen, told(lambda: file.read(1))]  # "cannot read from timed out object"


@case
def a_file_over_a_socket_that_does_not_block(net: ModuleType, tmp: Any) -> list[Any]:
    near, far = connection(net)
    with near, far, near.makefile("rb", buffering=0) as file:
        near.setblocking(False)
        seen = [file.read(1)]
        far.sendall(b"abc")
        assert readable(near)
        buffer = bytearray(2)
        return [*seen, file.readinto(buffer), bytes(buffer), file.read(10), file.read(10)]


@case
def a_closed_socket_and_its_files(net: ModuleType, tmp: Any) -> list[Any]:
    """It lives on until its files are closed, too."""
    near, far = connection(net)
    with far:
        one, two = near.makefile("rb"), near.makefile("wb")
        near.close()
        seen = [near.fileno() == -1, told(lambda: near.send(b"a")), far.recv(1)]
        two.write(b"still")
        two.flush()
        seen.append(far.recv(10))
        one.close()
        two.close()
        return [*seen, far.recv(10), near.fileno() == -1, told(lambda: near.send(b"a"))]


# --------------------------------------------------------------------- objects, descriptors


@case
def detaching(net: ModuleType, tmp: Any) -> list[Any]:
    near, far = connection(net)
    with far:
        fd = near.detach()
        seen = [fd >= 0, near.fileno(), told(near.detach), told(lambda: near.recv(1))]
        seen += [told(near.getsockname), told(near.close), "[closed]" in repr(near)]
        with net.socket(fileno=fd) as again:
            seen += [again.fileno() == fd, again.gettimeout(), again.proto in (0, 6)]
            again.sendall(b"x")
            seen.append(far.recv(1))
        return [*seen, far.recv(1)]


@case
def duplicating(net: ModuleType, tmp: Any) -> list[Any]:
    near, far = connection(net)
    with near, far, near.dup() as other:
        seen = [
            other.fileno() != near.fileno(),
            type(other).__name__,
            other.gettimeout() == near.gettimeout(),
        ]
        seen += [(other.family, other.type, other.proto), other.getpeername() == near.getpeername()]
        near.shutdown(net.SHUT_WR)  # of both: it is one socket
        seen += [far.recv(1), told(lambda: other.send(b"x")), other.get_inheritable()]
        far.sendall(b"ab")
        return [*seen, near.recv(1), other.recv(1)]


@case
def leaving_a_context(net: ModuleType, tmp: Any) -> list[Any]:
    near, far = connection(net)
    with far:
        with near as same:
            seen = [same is near]
        seen += [near.fileno(), told(near.__enter__) is near, told(lambda: near.send(b"x"))]
        with contextlib.suppress(ZeroDivisionError), net.socket() as sock:
            raise ZeroDivisionError
        return [*seen, sock.fileno(), far.recv(1)]


@case
def copies_and_pickles(net: ModuleType, tmp: Any) -> list[Any]:
    near, far = connection(net)
    with near, far:
        return [told(lambda: call(near)) for call in (pickle.dumps, copy.copy, copy.deepcopy)]


@case
def what_repr_shows(net: ModuleType, tmp: Any) -> list[Any]:
    def shape(sock: Any) -> str:
        text = repr(sock).removeprefix("<").replace("ustack.socket.", "socket.")
        text = re.sub(r"fd=-?\d+", "fd=N", text)
        return re.sub(r"(127\.0\.0\.1|::1)', \d+", "HOST', N", text)

    seen = []
    with net.create_server((HOST, 0)) as listener:
        seen.append(shape(listener))
        near = net.create_connection(listener.getsockname())
        far, _ = listener.accept()
    seen += [shape(listener), shape(near), shape(far)]
    for sock in near, far:
        sock.close()
        seen.append(shape(sock))
    with net.socket(net.AF_INET6, net.SOCK_DGRAM) as sock:
        sock.bind((SIX, 0))
        seen.append(shape(sock))
    return seen


@case
def attributes_that_cannot_be_set(net: ModuleType, tmp: Any) -> list[Any]:
    near, far = connection(net)
    with near, far:
        seen = []
        for name in ("family", "type", "proto", "timeout", "stranger"):
            seen.append(told(lambda n=name: setattr(near, n, 1)))  # type: ignore[misc]
        return [*seen, near.timeout, far.timeout, isinstance(near.family, net.AddressFamily)]


@case
def inheritance_and_defaults(net: ModuleType, tmp: Any) -> list[Any]:
    before = net.getdefaulttimeout()
    try:
        net.setdefaulttimeout(1.5)
        near, far = connection(net)
        with near, far, net.socket() as fresh:
            seen = [fresh.gettimeout(), near.get_inheritable(), far.get_inheritable()]
        with net.create_server((HOST, 0)) as listener:
            near = net.create_connection(listener.getsockname())
            far, _ = listener.accept()
            with near, far:
                seen += [listener.gettimeout(), near.gettimeout(), far.gettimeout()]
    finally:
        net.setdefaulttimeout(before)
    return seen


# -------------------------------------------------------------------------------- timeouts


@case
def timeouts_and_blocking(net: ModuleType, tmp: Any) -> list[Any]:
    near, far = connection(net)
    with near, far:
        seen = []
        for value in (None, 0, 0.0, 5, 2.5, -1, "1", float("nan"), 1e12):
            seen.append((repr(value), told(lambda v=value: near.settimeout(v))))  # type: ignore[misc]
            seen.append((near.gettimeout(), near.getblocking()))
        for flag in (True, False, 1, 0):
            near.setblocking(flag)
            seen.append((near.gettimeout(), near.getblocking()))
        return seen


@case
def a_timeout_that_changes(net: ModuleType, tmp: Any) -> list[Any]:
    near, far = connection(net)
    with near, far:
        near.settimeout(0.02)
        seen = [told(lambda: near.recv(1))]
        near.settimeout(0)
        seen += [told(lambda: near.recv(1)), near.getblocking()]
        near.setblocking(True)
        threading.Timer(0.02, far.sendall, (b"x",)).start()
        seen.append(near.recv(1))
        near.settimeout(0.02)
        seen.append(told(lambda: near.recv(1, net.MSG_DONTWAIT)))
        return [*seen, told(lambda: near.recv_into(bytearray(0)))]


@case
def a_listener_that_does_not_block(net: ModuleType, tmp: Any) -> list[Any]:
    with net.create_server((HOST, 0)) as listener:
        listener.setblocking(False)
        seen = [told(listener.accept)]
        with net.create_connection(listener.getsockname()) as near:
            assert readable(listener)
            far, _ = listener.accept()
            with far:
                seen += [far.getblocking(), far.gettimeout(), near.getblocking()]
        return seen


# ------------------------------------------------------------------------------------- ends


@case
def every_shutdown(net: ModuleType, tmp: Any) -> list[Any]:
    seen = []
    for how in (net.SHUT_RD, net.SHUT_WR, net.SHUT_RDWR):
        near, far = connection(net)
        with near, far:
            near.shutdown(how)
            seen.append([how, told(lambda: near.send(b"x")) if how != net.SHUT_RD else None])
            if how != net.SHUT_WR:
                seen.append(near.recv(1))
            if how != net.SHUT_RD:
                seen.append(far.recv(1))
            seen += [told(lambda: near.shutdown(net.SHUT_WR)), told(lambda: near.shutdown(9))]
            seen.append(told(near.getpeername) == far.getsockname())
    with net.socket() as sock:
        seen += [told(lambda: sock.shutdown(net.SHUT_RDWR))]
        sock.bind((HOST, 0))
        sock.listen()
        seen += [told(lambda: sock.shutdown(net.SHUT_WR)), told(lambda: sock.shutdown(net.SHUT_RD))]
    return seen


@case
def shutting_both_sides_one_by_one(net: ModuleType, tmp: Any) -> list[Any]:
    near, far = connection(net)
    with near, far:
        near.sendall(b"last")
        near.shutdown(net.SHUT_WR)
        near.shutdown(net.SHUT_RD)
        seen = [near.recv(1), far.recv(10), far.recv(10)]
        far.shutdown(net.SHUT_RDWR)
        return [*seen, told(lambda: far.send(b"x")), far.recv(1)]


@case
def everything_after_a_reset(net: ModuleType, tmp: Any) -> list[Any]:
    near, far = connection(net)
    with near, far:
        near.sendall(b"unread by us")
        far.sendall(b"waits")
        assert readable(near)
        far.setsockopt(net.SOL_SOCKET, net.SO_LINGER, RESET)
        far.close()
        poll = select.poll()
        poll.register(near, select.POLLIN)
        until(lambda: bool(near.getsockopt(net.IPPROTO_TCP, net.TCP_INFO, 1)[0] == 7))
        seen = [
            told(lambda: near.recv(10)),
            told(lambda: near.recv(10)),
            told(lambda: near.recv(10)),
        ]
        seen += [told(lambda: near.send(b"x")), near.getsockopt(net.SOL_SOCKET, net.SO_ERROR)]
        seen += [told(near.getpeername), told(lambda: near.shutdown(net.SHUT_WR))]
        return [*seen, near.recv(1)]


@case
def the_pending_error_is_taken_by_who_asks(net: ModuleType, tmp: Any) -> list[Any]:
    seen = []
    for ask in (
        lambda s: s.getsockopt(net.SOL_SOCKET, net.SO_ERROR),
        lambda s: told(lambda: s.recv(1)),
        lambda s: told(lambda: s.send(b"x")),
        lambda s: told(lambda: s.recv_into(bytearray(1))),
    ):
        near, far = connection(net)
        with near, far:
            far.setsockopt(net.SOL_SOCKET, net.SO_LINGER, RESET)
            far.close()
            assert readable(near)
            seen += [ask(near), near.getsockopt(net.SOL_SOCKET, net.SO_ERROR), near.recv(1)]
            seen.append(told(lambda: near.send(b"x")))
    return seen


@case
def closing_under_who_waits_in_another_thread(net: ModuleType, tmp: Any) -> list[Any]:
    """By shutdown(), which is what a program can count on."""
    near, far = connection(net)
    with near, far:
        got: list[Any] = []
        waiting = threading.Thread(target=lambda: got.append(told(lambda: near.recv(1))))
        waiting.start()
        time.sleep(0.02)
        near.shutdown(net.SHUT_RDWR)
        waiting.join(PATIENCE)
        return got


@case
def shutting_a_listener_under_who_accepts(net: ModuleType, tmp: Any) -> list[Any]:
    with net.create_server((HOST, 0)) as listener:
        got: list[Any] = []
        waiting = threading.Thread(target=lambda: got.append(told(listener.accept)))
        waiting.start()
        time.sleep(0.02)
        listener.shutdown(net.SHUT_RD)
        waiting.join(PATIENCE)
        return [*got, told(listener.accept)]


# -------------------------------------------------------------------------------- readiness


@case
def select_on_a_mixed_set(net: ModuleType, tmp: Any) -> list[Any]:
    import os

    near, far = connection(net)
    reader, writer = os.pipe()
    with net.create_server((HOST, 0)) as listener, near, far:
        names = {listener: "listener", near: "near", far: "far", reader: "pipe"}

        def ready(timeout: float = 0) -> list[str]:
            return sorted(names[s] for s in select.select(list(names), [], [], timeout)[0])

        seen = [ready()]
        os.write(writer, b"x")
        seen.append(ready(PATIENCE))
        far.sendall(b"x")
        assert readable(near)
        seen.append(ready())
        with net.create_connection(listener.getsockname()):
            assert readable(listener)
            seen.append(ready())
            listener.accept()[0].close()
        near.recv(1)
        os.read(reader, 1)
        seen.append(ready())
        seen.append(told(lambda: select.select([near], [], [], 0.01)))
    os.close(reader)
    os.close(writer)
    return seen


@case
def selectors_over_a_connection(net: ModuleType, tmp: Any) -> list[Any]:
    seen = []
    for kind in (selectors.SelectSelector, selectors.PollSelector, selectors.EpollSelector):
        near, far = connection(net)
        with near, far, kind() as selector:
            selector.register(near, selectors.EVENT_READ, "near")
            selector.register(far, selectors.EVENT_READ | selectors.EVENT_WRITE, "far")

            def ready(timeout: float = 0, s: Any = selector) -> list[Any]:
                return sorted((key.data, mask) for key, mask in s.select(timeout))

            seen.append(ready())
            far.sendall(b"x")
            assert readable(near)
            seen.append(ready(PATIENCE))
            selector.modify(far, selectors.EVENT_READ)
            near.recv(1)
            seen.append(ready())
            selector.unregister(near)
            seen += [
                told(lambda: selector.get_key(near).data),
                told(lambda: selector.register(far, 1)),
            ]
            near.close()
            seen.append(ready(PATIENCE))
    return seen


@case
def poll_sees_the_end_by_reading(net: ModuleType, tmp: Any) -> list[Any]:
    near, far = connection(net)
    with near, far:
        poll = select.poll()
        poll.register(near, select.POLLIN)
        far.close()
        events = poll.poll(PATIENCE * 1000)
        return [len(events), bool(events[0][1] & select.POLLIN), near.recv(1)]


# ------------------------------------------------------------------------------ sendfile()


@case
def files_that_are_sent(net: ModuleType, tmp: Any) -> list[Any]:
    path = tmp / "file"
    path.write_bytes(bytes(range(256)) * 40)
    seen = []
    for offset, count in ((0, None), (100, None), (0, 300), (10_000, 1000), (20_000, None), (5, 5)):
        near, far = connection(net)
        with near, far, path.open("rb") as file:
            seen += [near.sendfile(file, offset, count), file.tell()]
            near.close()
            seen.append(b"".join(iter(lambda: far.recv(65536), b"")))
    near, far = connection(net)
    with near, far, path.open("rb") as file:
        for arguments in ((file, -1), (file, 0, 0), (file, 0, -1), (file, 0, 1.5), (file, "0")):
            seen.append(told(lambda a=arguments: near.sendfile(*a)))  # type: ignore[misc]
        seen.append(told(lambda: near.sendfile(io.StringIO("text"))))
        near.setblocking(False)
        seen.append(told(lambda: near.sendfile(file)))
    with path.open("r") as text:
        near, far = connection(net)
        with near, far:
            seen.append(told(lambda: near.sendfile(text)))
    return seen


# --------------------------------------------------------------------------------- options


@case
def options_that_come_back(net: ModuleType, tmp: Any) -> list[Any]:
    seen = []
    near, far = connection(net)
    with near, far:
        for level, name, values in (
            (net.SOL_SOCKET, net.SO_REUSEADDR, (1, 0, 7)),
            (net.SOL_SOCKET, net.SO_KEEPALIVE, (1, 0)),
            (net.SOL_SOCKET, net.SO_OOBINLINE, (1, 0)),
            (net.SOL_SOCKET, net.SO_PRIORITY, (3, 0)),
            (net.SOL_SOCKET, net.SO_RCVLOWAT, (10, 1)),
            (net.IPPROTO_TCP, net.TCP_NODELAY, (1, 0)),
            (net.IPPROTO_TCP, net.TCP_KEEPIDLE, (60, 1)),
            (net.IPPROTO_TCP, net.TCP_KEEPINTVL, (5,)),
            (net.IPPROTO_TCP, net.TCP_KEEPCNT, (3,)),
            (net.IPPROTO_TCP, net.TCP_USER_TIMEOUT, (5000, 0)),
            (net.IPPROTO_TCP, net.TCP_CORK, (1, 0)),
            (net.IPPROTO_IP, net.IP_TTL, (9,)),
            (net.IPPROTO_IP, net.IP_TOS, (0x10,)),
        ):
            for value in values:
                near.setsockopt(level, name, value)
                seen.append((level, name, near.getsockopt(level, name)))
            near.setsockopt(level, name, struct.pack("i", values[0]))
            seen.append((level, name, near.getsockopt(level, name, 4)))
        for value in (RESET, struct.pack("ii", 1, 3)):
            near.setsockopt(net.SOL_SOCKET, net.SO_LINGER, value)
            seen.append(near.getsockopt(net.SOL_SOCKET, net.SO_LINGER, 8))
    return seen


@case
def options_that_cannot_be(net: ModuleType, tmp: Any) -> list[Any]:
    near, far = connection(net)
    with near, far:
        attempts = (
            lambda: near.setsockopt(net.SOL_SOCKET, net.SO_TYPE, 1),
            lambda: near.setsockopt(net.SOL_SOCKET, net.SO_ERROR, 1),
            lambda: near.setsockopt(net.SOL_SOCKET, net.SO_ACCEPTCONN, 1),
            lambda: near.setsockopt(net.SOL_SOCKET, net.SO_KEEPALIVE, b"x"),
            lambda: near.setsockopt(net.SOL_SOCKET, net.SO_LINGER, b"x"),
            lambda: near.setsockopt(net.IPPROTO_TCP, net.TCP_KEEPIDLE, 0),
            lambda: near.setsockopt(net.IPPROTO_TCP, net.TCP_KEEPCNT, 1000),
            lambda: near.setsockopt(net.IPPROTO_IP, net.IP_TTL, 256),
            lambda: near.setsockopt(net.SOL_SOCKET, 12345, 1),
            lambda: near.getsockopt(net.SOL_SOCKET, 12345),
            lambda: near.getsockopt(net.SOL_SOCKET, net.SO_TYPE, 5000),
            lambda: near.getsockopt(net.SOL_SOCKET, net.SO_TYPE, -1),
            lambda: near.setsockopt(net.SOL_SOCKET, net.SO_KEEPALIVE, "x"),
            lambda: near.setsockopt(net.SOL_SOCKET, net.SO_KEEPALIVE, None),
        )
        return [
            told(attempt)[0] if n in (10, 11) else told(attempt)
            for n, attempt in enumerate(attempts)
        ]


# ----------------------------------------------------------------------- the module's makers


@case
def servers_of_one_call(net: ModuleType, tmp: Any) -> list[Any]:
    seen = []
    for options in (
        {},
        {"backlog": 1},
        {"reuse_port": True},
        {"family": net.AF_INET6},
        {"dualstack_ipv6": True},
        {"family": net.AF_INET6, "dualstack_ipv6": True},
    ):

        def make(o: Any = options) -> list[Any]:
            host = SIX if o.get("family") == net.AF_INET6 else HOST
            with net.create_server((host, 0), **o) as listener:
                found = [listener.family, listener.getsockopt(net.SOL_SOCKET, net.SO_REUSEADDR)]
                found.append(listener.getsockopt(net.SOL_SOCKET, net.SO_REUSEPORT))
                if o.get("family") == net.AF_INET6 and "dualstack_ipv6" not in o:
                    found.append(listener.getsockopt(net.IPPROTO_IPV6, net.IPV6_V6ONLY))
                with net.create_connection(listener.getsockname()[:2]) as near:
                    far, address = listener.accept()
                    far.close()
                    return [*found, address == near.getsockname(), len(address)]

        seen.append(told(make))
    return seen


@case
def a_server_of_both_versions(net: ModuleType, tmp: Any) -> list[Any]:
    seen: list[Any] = [net.has_dualstack_ipv6()]
    with net.create_server(("", 0), family=net.AF_INET6, dualstack_ipv6=True) as listener:
        listener.settimeout(PATIENCE)
        port = listener.getsockname()[1]
        for host in (HOST, SIX):
            with net.create_connection((host, port), timeout=PATIENCE) as near:
                far, address = listener.accept()
                with far:
                    seen += [
                        address[0],
                        far.getsockname()[0],
                        len(address),
                        address[1] == near.getsockname()[1],
                    ]
                    seen.append(far.family)
    return seen


@case
def connections_of_one_call(net: ModuleType, tmp: Any) -> list[Any]:
    seen = []
    with net.create_server((HOST, 0)) as listener, net.socket() as taken:
        taken.bind((HOST, 0))
        address = listener.getsockname()
        for arguments in (
            {"timeout": PATIENCE},
            {"source_address": (HOST, 0)},
            {"source_address": (HOST, taken.getsockname()[1])},
            {"source_address": ("192.0.2.1", 0)},
            {"timeout": -1},
        ):

            def make(a: Any = arguments) -> Any:
                with net.create_connection(address, **a) as near:
                    listener.accept()[0].close()
                    return near.gettimeout(), near.getpeername() == address

            seen.append(told(make))
    seen.append(told(lambda: net.create_connection(address, timeout=PATIENCE)))
    try:
        net.create_connection(("localhost", address[1]), all_errors=True)
    except ExceptionGroup as group:
        seen.append({e.errno for e in group.exceptions if isinstance(e, OSError)})
    return seen


@case
def connecting_again_and_binding_late(net: ModuleType, tmp: Any) -> list[Any]:
    near, far = connection(net)
    with near, far:
        near.settimeout(None)
        near.connect_ex(far.getsockname())  # the kernel's first is 0 if the connection took time
        seen = [told(lambda: near.connect(far.getsockname())), near.connect_ex(far.getsockname())]
        seen += [told(lambda: near.bind((HOST, 0))), told(near.listen), told(near.accept)]
        seen.append(near.getpeername() == far.getsockname())
    with net.create_server((HOST, 0)) as listener:
        seen.append(told(lambda: listener.connect((HOST, 9))))
        listener.listen(5)  # again
        seen.append(told(lambda: listener.send(b"x")))
        seen.append(told(lambda: listener.recv(1)))
        seen.append(told(listener.getpeername))
    return seen


@case
def arguments_that_make_no_sense(net: ModuleType, tmp: Any) -> list[Any]:
    near, far = connection(net)
    with near, far, net.socket() as sock:
        attempts: tuple[Callable[[], Any], ...] = (
            lambda: near.recv(-1),
            lambda: near.recv("1"),
            lambda: near.recv(1.5),
            lambda: near.recv_into(b"fixed"),
            lambda: near.recv_into(bytearray(1), 2),
            lambda: near.recv_into(bytearray(1), -1),
            lambda: near.send("text"),
            lambda: near.sendall(None),
            lambda: near.send(memoryview(b"abcd")[::2]),
            lambda: near.sendmsg(["text"]),
            lambda: near.sendmsg(b"no list"),
            lambda: near.recvmsg(-1),
            lambda: sock.connect("text"),
            lambda: sock.connect((HOST,)),
            lambda: sock.connect((HOST, 70_000)),
            lambda: sock.connect((HOST, -1)),
            lambda: sock.connect((HOST, "80")),
            lambda: sock.bind((HOST, 70_000)),
            lambda: sock.bind(("host\0name", 0)),
            lambda: sock.listen("5"),
            lambda: sock.settimeout("5"),
            lambda: near.shutdown("x"),
            lambda: near.getsockopt("x", 1),
        )
        return [told(attempt) for attempt in attempts]


@case
def nothing_to_send_and_nothing_to_read(net: ModuleType, tmp: Any) -> list[Any]:
    near, far = connection(net)
    with near, far:
        seen = [near.send(b""), near.sendall(b""), near.sendmsg([]), near.sendmsg([b"", b""])]
        far.sendall(b"x")
        assert readable(near)
        return [*seen, near.recv(0), near.recv_into(bytearray(0)), near.recv(10)]


# ------------------------------------------------------------------------------------ run


@contextlib.contextmanager
def ours() -> Iterator[ModuleType]:
    from ustack import socket

    process.install(None)
    with Stack("loop:") as stack:
        process.install(stack)
        yield socket
        stack.close(linger=0)
    process.install(None)


@pytest.mark.parametrize("run", CASES, ids=lambda run: run.__name__)
def test_a_stack_does_as_the_kernel_does(run: Case, tmp_path: Any) -> None:
    import socket

    kernels = run(socket, tmp_path)
    with ours() as net:
        assert run(net, tmp_path) == kernels
