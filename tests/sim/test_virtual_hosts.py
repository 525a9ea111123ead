# SPDX-License-Identifier: BSD-3-Clause
"""asyncio on a simulated network: which host a task is on, names, and what is not reached."""

from __future__ import annotations

import asyncio
import errno
import socket
import threading
from typing import Any

import pytest

from ustack import sim
from virtual import between, echo, pair, talk


def test_callbacks_and_the_tasks_they_start_are_on_the_host_of_their_connection() -> None:
    net, server, client = pair()
    seen: list[Any] = []

    async def note(what: str) -> None:
        seen.append((what, sim.current_host()))

    class Watcher(asyncio.Protocol):
        def __init__(self, name: str) -> None:
            self.name = name
            self.tasks: list[Any] = []

        def connection_made(self, transport: Any) -> None:
            self.transport = transport
            self.tasks.append(asyncio.create_task(note(f"{self.name} made")))

        def data_received(self, data: bytes) -> None:
            self.tasks.append(asyncio.create_task(note(f"{self.name} data")))
            self.transport.close()

    async def main() -> None:
        loop = asyncio.get_running_loop()
        with server:
            await loop.create_server(lambda: Watcher("server"), server.address, 80)
        with client:
            transport, _ = await loop.create_connection(lambda: Watcher("client"), "server", 80)
        transport.write(b"x")
        await asyncio.sleep(1)
        assert sim.current_host() is None

    net.run_until_complete(main())
    assert seen == [("client made", client), ("server made", server), ("server data", server)]


def test_hosts_behind_switches_talk_in_one_loop() -> None:
    net = sim.Network()
    switch = net.switch("switch")
    hosts = [net.host(f"h{number}") for number in range(5)]
    for host in hosts:
        net.link(host, switch, delay=0.01)

    async def main() -> list[bytes]:
        for host in hosts:
            with host:
                await asyncio.start_server(echo, host.address, 7)
        tasks = []
        for host in hosts:
            with host:
                tasks += [
                    asyncio.create_task(talk(other.name, f"{host.name}>{other.name}".encode()))
                    for other in hosts
                    if other is not host
                ]
        return list(await asyncio.gather(*tasks))

    expected = [f"{a.name}>{b.name}".encode() for a in hosts for b in hosts if a is not b]
    assert net.run_until_complete(main()) == expected


def test_a_server_is_a_client_of_another_host() -> None:
    net = sim.Network()
    front, back, user = net.host("front"), net.host("back"), net.host("user")
    switch = net.switch("switch")
    for host in (front, back, user):
        net.link(host, switch, delay=0.01)

    async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(await talk("back", await reader.readexactly(4)))
        writer.close()

    async def main() -> bytes:
        with back:
            await asyncio.start_server(echo, back.address, 7)
        with front:
            await asyncio.start_server(relay, front.address, 80)
        with user:
            reader, writer = await asyncio.open_connection("front", 80)
            writer.write(b"ping")
            answer = await reader.read()
            writer.close()
            return answer

    assert net.run_until_complete(main()) == b"ping"


def test_without_a_host_connections_and_servers_are_refused_with_the_cure() -> None:
    net, server, _ = pair()

    async def main() -> None:
        loop = asyncio.get_running_loop()
        with pytest.raises(RuntimeError, match=r"connect to 10\.0\.0\.1:80: say on which host"):
            await loop.create_connection(asyncio.Protocol, server.address, 80)
        with pytest.raises(RuntimeError, match="say on which host"):
            await loop.create_server(asyncio.Protocol, server.address, 80)
        with pytest.raises(RuntimeError, match="say on which host"):
            await loop.create_datagram_endpoint(asyncio.DatagramProtocol, (server.address, 53))

    net.run_until_complete(main())


def test_nothing_leaves_the_network() -> None:
    net, server, client = pair()

    async def main() -> None:
        loop = asyncio.get_running_loop()
        with client:
            with pytest.raises(OSError, match=r"192\.0\.2\.1:80 from host 'client'") as error:
                await loop.create_connection(asyncio.Protocol, "192.0.2.1", 80)
            assert error.value.errno == errno.ENETUNREACH
            with pytest.raises(OSError, match="listen on") as error:
                await loop.create_server(asyncio.Protocol, server.address, 80)
            assert error.value.errno == errno.EADDRNOTAVAIL
            with pytest.raises(OSError, match=r"datagrams with 192\.0\.2\.1:53") as error:
                await loop.create_datagram_endpoint(
                    asyncio.DatagramProtocol, remote_addr=("192.0.2.1", 53)
                )
            assert error.value.errno == errno.ENETUNREACH

    net.run_until_complete(main())


def test_names_are_those_of_the_networks_hosts() -> None:
    net = sim.Network()
    net.host("four", "10.1.0.1"), net.host("six", "fd00::6")

    async def main() -> None:
        loop = asyncio.get_running_loop()
        (found,) = await loop.getaddrinfo("four", 80, type=socket.SOCK_STREAM)
        assert found[4] == ("10.1.0.1", 80)
        (found,) = await loop.getaddrinfo("six", "http", proto=socket.IPPROTO_TCP)
        assert found[4][:2] == ("fd00::6", 80)
        (found,) = await loop.getaddrinfo("10.9.9.9", 1, type=socket.SOCK_STREAM)
        assert found[4] == ("10.9.9.9", 1)
        assert await loop.getnameinfo(("10.1.0.1", 80)) == ("four", "http")
        assert await loop.getnameinfo(("10.1.0.2", 80)) == ("10.1.0.2", "http")
        with pytest.raises(socket.gaierror, match=r"'example\.com'; there are four, six"):
            await loop.getaddrinfo("example.com", 80)
        with pytest.raises(socket.gaierror, match="'four' has no such address"):
            await loop.getaddrinfo("four", 80, family=socket.AF_INET6)
        assert threading.active_count() == before

    before = threading.active_count()
    net.run_until_complete(main())


def test_ipv6_hosts_talk() -> None:
    net = sim.Network()
    server, client = net.host("server", "fd00::1"), net.host("client", "fd00::2")
    net.link(server, client, delay=0.01)
    assert between(net, lambda: talk("server", b"six")) == b"six"


def test_a_host_talks_to_itself_by_its_address_and_by_localhost() -> None:
    net, server, _ = pair()

    async def main() -> list[bytes]:
        with server:
            for address in (server.address, "127.0.0.1"):
                await asyncio.start_server(echo, address, 7)
            return [await talk(name, name.encode()) for name in ("server", "localhost")]

    assert net.run_until_complete(main()) == [b"server", b"localhost"]
    assert net.now < 0.2, "nothing of it goes over the link"


@pytest.mark.parametrize("where", [None, "0.0.0.0", "server"])
def test_a_server_on_all_addresses_or_by_name_is_on_its_host_only(where: str | None) -> None:
    net, server, client = pair()

    async def main() -> bytes:
        with server:
            await asyncio.start_server(echo, where, 7)
        with client:
            with pytest.raises(ConnectionRefusedError):
                await asyncio.open_connection("client", 7)
            return await talk("server", b"x")

    assert net.run_until_complete(main()) == b"x"


def test_happy_eyeballs_take_the_address_that_answers() -> None:
    net, server, client = pair()
    server.stack.add_address("fd00::1/64")
    client.stack.add_address("fd00::2/64")

    async def main() -> tuple[str, float]:
        with server:
            await asyncio.start_server(echo, server.address, 7)
        with client:
            begin = net.now
            _, writer = await asyncio.open_connection("server", 7, happy_eyeballs_delay=0.25)
            peer = writer.get_extra_info("peername")[0]
            writer.close()
            return peer, net.now - begin

    peer, took = net.run_until_complete(main())
    assert peer == server.address and took < 0.6
