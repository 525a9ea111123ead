# SPDX-License-Identifier: BSD-3-Clause
"""Servers of both kinds on one loop, and clients that have several addresses to choose from."""

from __future__ import annotations

import asyncio
import errno
import itertools
import socket
import sys
from typing import Any

import pytest
from two import CLIENT, NOBODY, SERVER, Recorder, run, two_stacks

from pair import ring_url
from ustack import ConfigError, Stack, aio
from ustack.apps.echo import Echo
from ustack.process import Place

pytestmark = pytest.mark.usefixtures("base")

KERNEL = "127.0.0.1"


async def check_echo(host: str, port: int) -> None:
    reader, writer = await asyncio.open_connection(host, port)
    writer.write(b"hello")
    assert await reader.readexactly(5) == b"hello"
    writer.close()


async def check_refused(host: str, port: int) -> None:
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection(host, port)


# ------------------------------------------------------------------------------ wildcards


@pytest.mark.parametrize("host", [None, "", "0.0.0.0", "::", ["0.0.0.0", "::"]])
def test_a_server_on_a_wildcard_is_the_kernels_and_every_stacks(host: Any) -> None:
    async def main() -> None:
        server = await asyncio.get_running_loop().create_server(Echo, host, 0)
        ports = [sock.getsockname()[1] for sock in server.sockets]
        for address in (SERVER, CLIENT):
            await (check_refused if host == "::" else check_echo)(address, ports[0])
        kernels = [s for s in server.sockets if s.fileno() >= 0]
        assert len(server.sockets) == 3 * len(kernels) > 0  # the same on each of two stacks
        for sock in kernels:
            home = "::1" if sock.family == socket.AF_INET6 else KERNEL
            await check_echo(home, sock.getsockname()[1])
        server.close()
        await server.wait_closed()
        await check_refused(SERVER, ports[0])
        await check_refused(KERNEL, ports[0])

    assert run(main) == []


SIX = "fd09::2"


@pytest.mark.parametrize("host", [None, "0.0.0.0", "::", ["0.0.0.0", "::"]])
def test_a_server_on_a_wildcard_takes_the_versions_that_asyncios_takes(host: Any) -> None:
    """asyncio sets IPV6_V6ONLY: the stack's half accepts what the kernel's does."""

    async def takes(address: str, port: int) -> bool:
        try:
            await check_echo(address, port)
        except ConnectionRefusedError:
            return False
        return True

    async def main() -> None:
        loop: Any = asyncio.get_running_loop()
        server = await loop.create_server(Echo, host, 0)
        ports = {s.family: s.getsockname()[1] for s in server.sockets if s.fileno() >= 0}
        any_port = next(iter(ports.values()))
        kernels = [
            await takes(home, ports.get(family, any_port))
            for family, home in ((socket.AF_INET, KERNEL), (socket.AF_INET6, "::1"))
        ]
        ours = server.sockets[0].getsockname()[1]
        assert [await takes(address, ours) for address in (SERVER, SIX)] == kernels
        views = {s.family for s in server.sockets if s.fileno() < 0}
        assert views == set(ports)
        server.close()
        await server.wait_closed()

    url = ring_url()
    quick = {"settings": {"ip6.dad_transmits": 0}}
    with (
        Stack(url, addresses=[f"{SERVER}/24", f"{SIX}/64"], **quick) as ours,
        Stack(url, addresses=[f"{CLIENT}/24", "fd09::1/64"], **quick) as theirs,
    ):
        from two import BASE

        with asyncio.Runner(
            loop_factory=lambda: aio.new_event_loop(ours, theirs, base=BASE.get())
        ) as r:
            r.run(main())


@pytest.mark.parametrize("whose", ["ustack", "kernel"])
def test_a_wildcard_can_be_the_stacks_alone_or_the_kernels(whose: str) -> None:
    async def main() -> None:
        loop: Any = asyncio.get_running_loop()
        loop._wildcard = Place.parse("wildcard", whose)
        server = await loop.create_server(Echo, "0.0.0.0", 0)
        port = server.sockets[0].getsockname()[1]
        ours, kernels = (check_echo, check_refused)[:: 1 if whose == "ustack" else -1]
        await ours(SERVER, port)
        await kernels(KERNEL, port)
        server.close()
        await server.wait_closed()

    assert run(main) == []


def test_the_environment_says_whose_a_wildcard_is(monkeypatch: Any) -> None:
    for text, place in (("ustack", Place.USTACK), ("kernel", Place.KERNEL), ("", Place.BOTH)):
        monkeypatch.setenv("USTACK_BIND", text)
        loop = aio.new_event_loop()
        assert loop.wildcard is place
        loop.close()
    loop = aio.new_event_loop(wildcard="kernel")
    assert loop.wildcard is Place.KERNEL
    loop.close()
    with pytest.raises(ConfigError, match="got 'mostly'"):
        aio.new_event_loop(wildcard="mostly")


def test_a_server_of_several_hosts_listens_on_each() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        with socket.socket() as sock:
            sock.bind((KERNEL, 0))
            port = sock.getsockname()[1]
        server = await loop.create_server(Echo, [SERVER, KERNEL], port)
        await check_echo(SERVER, port)
        await check_echo(KERNEL, port)
        await check_refused(CLIENT, port)
        with pytest.raises(OSError, match=f"'{SERVER}', {port}") as taken:
            await loop.create_server(Echo, [SERVER, KERNEL], port)
        assert taken.value.errno == errno.EADDRINUSE
        server.close()

    assert run(main) == []


def test_a_server_whose_kernels_half_fails_gives_the_stacks_back() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        with socket.socket() as sock:
            sock.bind((KERNEL, 0))
            sock.listen()
            port = sock.getsockname()[1]
            with pytest.raises(OSError):
                await loop.create_server(Echo, [SERVER, KERNEL], port)
        (await loop.create_server(Echo, SERVER, port)).close()

    assert run(main) == []


# --------------------------------------------------------------------------------- servers


def test_serve_forever_is_cancelled_by_close_and_not_to_be_had_twice() -> None:
    async def main() -> None:
        server = await asyncio.get_running_loop().create_server(Echo, [SERVER, KERNEL], 0)
        task = asyncio.ensure_future(server.serve_forever())
        await asyncio.sleep(0)
        with pytest.raises(RuntimeError, match="already"):
            await server.serve_forever()
        server.close()
        with pytest.raises(asyncio.CancelledError):
            await task
        for call in (server.start_serving(), server.serve_forever()):
            with pytest.raises(RuntimeError, match="closed"):
                await call

    assert run(main) == []


@pytest.mark.parametrize("how", ["close_clients", "abort_clients"])
def test_a_servers_clients_are_closed_with_it(how: str) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        server: Any = await loop.create_server(Echo, SERVER, 7)
        _, first = await loop.create_connection(Recorder, SERVER, 7)
        _, second = await loop.create_connection(Recorder, SERVER, 7)
        first.transport.write(b"x")
        await first.received(1)
        server.close()
        getattr(server, how)()
        for client in (first, second):
            assert await client.lost is None

    assert run(main) == []


def test_wait_closed_waits_for_clients_where_asyncios_does() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        server = await loop.create_server(Echo, SERVER, 7)
        transport, client = await loop.create_connection(Recorder, SERVER, 7)
        transport.write(b"x")
        await client.received(1)
        before = asyncio.ensure_future(server.wait_closed())
        await asyncio.sleep(0)
        server.close()
        after = asyncio.ensure_future(server.wait_closed())
        await asyncio.sleep(0.01)
        assert not before.done()
        assert after.done() == (sys.version_info < (3, 12))
        transport.close()
        await before
        await after

    assert run(main) == []


def test_idle_clients_are_probed_with_keep_alive() -> None:
    async def main() -> None:
        loop: Any = asyncio.get_running_loop()
        server = await loop.create_server(Echo, [SERVER, KERNEL], 0, keep_alive=True)
        for sock in server.sockets:
            assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
        server.close()

    assert run(main) == []


# --------------------------------------------------------------------- several addresses


def resolve_to(loop: Any, *hosts: str) -> None:
    """Have the resolver know these addresses for every name."""

    numbers = loop.getaddrinfo

    async def getaddrinfo(host: Any, port: Any, **options: Any) -> Any:
        if not str(host).endswith(".example"):
            return await numbers(host, port, **options)
        infos = []
        for address in hosts:
            family = socket.AF_INET6 if ":" in address else socket.AF_INET
            where = (address, port, 0, 0) if ":" in address else (address, port)
            infos.append((family, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", where))
        return infos

    loop.getaddrinfo = getaddrinfo


def test_the_next_address_is_tried_whosever_it_is() -> None:
    async def main() -> None:
        loop: Any = asyncio.get_running_loop()
        kernels = await loop.create_server(Echo, KERNEL, 0)
        port = kernels.sockets[0].getsockname()[1]
        resolve_to(loop, SERVER, KERNEL)
        await check_echo("two.example", port)  # refused by the stack's, so the kernel's
        kernels.close()
        await kernels.wait_closed()
        ours = await loop.create_server(Echo, CLIENT, port)
        resolve_to(loop, KERNEL, SERVER, CLIENT)
        await check_echo("three.example", port)
        ours.close()

    assert run(main) == []


def test_when_all_addresses_fail_all_are_named() -> None:
    async def main() -> None:
        loop: Any = asyncio.get_running_loop()
        resolve_to(loop, SERVER, CLIENT)
        with pytest.raises(OSError, match=f"Multiple exceptions:.*{SERVER}:9.*{CLIENT}:9"):
            await loop.create_connection(Recorder, "two.example", 9)
        with pytest.raises(ExceptionGroup) as group:
            await loop.create_connection(Recorder, "two.example", 9, all_errors=True)
        assert [type(e) for e in group.value.exceptions] == [ConnectionRefusedError] * 2
        with pytest.raises(ExceptionGroup):
            await loop.create_connection(Recorder, SERVER, 9, all_errors=True)

    assert run(main) == []


def test_an_address_that_does_not_answer_costs_the_delay_only() -> None:
    """RFC 8305 5: attempts are staggered."""

    async def main() -> None:
        loop: Any = asyncio.get_running_loop()
        server = await loop.create_server(Echo, SERVER, 7)
        resolve_to(loop, NOBODY, SERVER)
        started = loop.time()
        transport, client = await loop.create_connection(
            Recorder, "two.example", 7, happy_eyeballs_delay=0.05
        )
        assert 0.04 < loop.time() - started < 1.0
        assert transport.get_extra_info("peername") == (SERVER, 7)
        transport.write(b"x")
        await client.received(1)
        transport.close()
        server.close()

    assert run(main) == []


def test_happy_eyeballs_that_are_cancelled_leave_nothing_behind() -> None:
    async def main() -> None:
        loop: Any = asyncio.get_running_loop()
        resolve_to(loop, NOBODY, NOBODY)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await loop.create_connection(Recorder, "two.example", 7, happy_eyeballs_delay=0.02)
        while any(stack.usage()["tcbs"] for stack in loop._stacks):
            await asyncio.sleep(0)

    assert run(main) == []


def test_families_take_turns() -> None:
    """RFC 8305 4."""
    from ustack.aio.connecting import _interleaved

    def info(family: int, number: int) -> Any:
        return (family, 0, 0, "", (str(number),))

    six, four = socket.AF_INET6, socket.AF_INET
    infos = [info(six, 1), info(six, 2), info(six, 3), info(four, 4), info(four, 5)]
    assert [int(i[4][0]) for i in _interleaved(infos, 1)] == [1, 4, 2, 5, 3]
    assert [int(i[4][0]) for i in _interleaved(infos, 2)] == [1, 2, 4, 3, 5]
    assert [int(i[4][0]) for i in _interleaved(infos, 3)] == [1, 2, 3, 4, 5]


def test_a_local_address_in_use_or_of_another_family_is_named() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        server = await loop.create_server(Echo, SERVER, 7)
        with pytest.raises(OSError, match=f"bind on address.*{NOBODY}") as missing:
            await loop.create_connection(Recorder, SERVER, 7, local_addr=(NOBODY, 0))
        assert missing.value.errno == errno.EADDRNOTAVAIL
        with pytest.raises(OSError, match="no matching local address"):
            await loop.create_connection(Recorder, SERVER, 7, local_addr=("::1", 0))
        server.close()

    assert run(main) == []


def test_the_longest_prefix_says_which_stack_a_client_uses() -> None:
    ports = itertools.count(5000)

    async def main() -> None:
        loop: Any = asyncio.get_running_loop()
        first, second = loop._stacks
        for via, hop in ((first, CLIENT), (second, SERVER)):
            via.add_route("192.0.2.0/24", hop)
            assert loop._stack_to("192.0.2.1") is via
            other = second if via is first else first
            other.add_route("192.0.0.0/16", SERVER if via is first else CLIENT)
            assert loop._stack_to("192.0.2.1") is via
            other.remove_route("192.0.0.0/16")
            via.remove_route("192.0.2.0/24")
        assert loop._stack_to("192.0.2.1") is None
        assert loop._stack_to(KERNEL) is None
        assert next(ports)

    assert run(main) == []


# ------------------------------------------------------------------------------- the end


def test_a_stack_that_is_closed_under_a_running_loop_is_let_go() -> None:
    async def main() -> None:
        loop: Any = asyncio.get_running_loop()
        await loop.create_server(Echo, SERVER, 7)
        _, client = await loop.create_connection(Recorder, SERVER, 7)
        server_stack, client_stack = loop._stacks
        client_stack.close(linger=0)
        assert isinstance(await client.lost, ConnectionAbortedError)
        assert list(loop._stacks) == [server_stack]
        server_stack.close(linger=0)

    with two_stacks() as stacks:
        from two import BASE

        aio.run(main(), *stacks, base=BASE.get())


def test_after_the_loop_transports_are_closing_and_can_be_closed() -> None:
    async def main() -> tuple[Any, ...]:
        loop = asyncio.get_running_loop()
        server = await loop.create_server(Echo, SERVER, 7)
        transport, _ = await loop.create_connection(Recorder, SERVER, 7)
        box, _ = await loop.create_datagram_endpoint(
            asyncio.DatagramProtocol, local_addr=(SERVER, 0)
        )
        return server, transport, box

    with two_stacks() as stacks:
        from two import BASE

        server, *transports = aio.run(main(), *stacks, base=BASE.get())
        for transport in transports:
            assert transport.is_closing()
            transport.close()
            transport.abort()
        server.close()
