# SPDX-License-Identifier: BSD-3-Clause
"""asyncio on a simulated network: programs, hosts, clocks, and what cannot be."""

from __future__ import annotations

import asyncio
import errno
import gc
import hashlib
import select
import socket
import ssl
import threading
import time
import weakref
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from ustack import sim
from ustack.errors import ConfigError

RTT = 0.1


def pair(seed: int = 1, **conditions: Any) -> tuple[sim.Network, sim.Host, sim.Host]:
    """A server and a client on a link of 100 ms there and back."""
    net = sim.Network(seed=seed)
    server, client = net.host("server"), net.host("client")
    net.link(server, client, **({"delay": RTT / 2} | conditions))
    return net, server, client


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Send back what comes, then end."""
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()
    writer.close()


async def talk(host: str, data: bytes, port: int = 7) -> bytes:
    """Send bytes to an echo server; what it sent back."""
    reader, writer = await asyncio.open_connection(host, port)
    writer.write(data)
    writer.write_eof()
    answer = await reader.read()
    writer.close()
    await writer.wait_closed()
    return answer


def between(net: sim.Network, main: Callable[[], Coroutine[Any, Any, Any]], **options: Any) -> Any:
    """Run main() on the host client while server echoes on port 7."""
    server, client = net.hosts[:2]

    async def play() -> Any:
        with server:
            listener = await asyncio.start_server(echo, server.address, 7)
        with client:
            result = await main()
        listener.close()
        return result

    return net.run_until_complete(play(), **options)


# ---------------------------------------------------------------------------------- time


def test_sleeping_takes_virtual_time_only() -> None:
    net, *_ = pair()

    async def main() -> float:
        loop = asyncio.get_running_loop()
        begin = loop.time()
        await asyncio.sleep(86_400 * 3)
        return loop.time() - begin

    assert net.run_until_complete(main()) == pytest.approx(86_400 * 3, abs=1e-6)
    assert net.now == pytest.approx(86_400 * 3, abs=1e-6)


def test_a_connection_and_an_answer_take_a_round_trip_each() -> None:
    net, *_ = pair()

    async def main() -> list[float]:
        times = [net.now]
        reader, writer = await asyncio.open_connection("server", 7)
        times.append(net.now)
        writer.write(b"hello")
        assert await reader.readexactly(5) == b"hello"
        times.append(net.now)
        writer.close()
        return [
            round(after - before, 6) for before, after in zip(times[:-1], times[1:], strict=True)
        ]

    assert between(net, main) == [RTT, RTT]


def test_a_timeout_comes_at_its_virtual_time() -> None:
    net, *_ = pair()

    async def main() -> float:
        reader, writer = await asyncio.open_connection("server", 7)
        begin = net.now
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(reader.read(1), 30)
        writer.close()
        return net.now - begin

    assert between(net, main) == pytest.approx(30)


def test_connecting_through_a_dead_link_times_out_as_tcp_does() -> None:
    net, *_ = pair()

    async def main() -> float:
        net.links[0].down()
        begin = net.now
        with pytest.raises(TimeoutError, match=r"connect to 10\.0\.0\.1:7"):
            await asyncio.open_connection("server", 7)
        return net.now - begin

    assert between(net, main) > 100


def test_the_clocks_of_the_time_module_tell_virtual_time_while_the_loop_runs() -> None:
    net, *_ = pair()
    before = time.time, time.monotonic, time.time_ns, time.monotonic_ns

    async def main() -> list[float]:
        begin = time.time(), time.monotonic(), time.time_ns(), time.monotonic_ns()
        await asyncio.sleep(7)
        end = time.time(), time.monotonic(), time.time_ns() - 10**9, time.monotonic_ns() - 10**9
        assert time.gmtime(time.time())[:3] == (2026, 1, 1)
        return [round(float(b - a), 3) for a, b in zip(begin, end, strict=True)]

    assert net.run_until_complete(main()) == [7, 7, 6e9, 6e9]
    assert before == (time.time, time.monotonic, time.time_ns, time.monotonic_ns)

    async def real() -> bool:
        return before == (time.time, time.monotonic, time.time_ns, time.monotonic_ns)

    assert net.run_until_complete(real(), clocks=False)


def test_what_is_on_the_networks_agenda_happens_while_a_program_runs() -> None:
    net, *_ = pair()
    net.at(1.0, lambda: net.links[0].down(2.0))

    async def main() -> float:
        await asyncio.sleep(1.5)
        assert await talk("server", b"x") == b"x"
        return net.now

    assert 3.0 < between(net, main) < 6.0


# --------------------------------------------------------------------------- determinism


def lossy(seed: int) -> tuple[str, list[float]]:
    """Ten clients send 100 kB each over a bad link; the digest, and when each was done."""
    net, *_ = pair(seed, loss=0.02, jitter=0.01, rate=5e6)
    done: list[float] = []

    async def one(number: int) -> None:
        data = hashlib.shake_128(b"%d" % number).digest(100_000)
        assert await talk("server", data) == data
        done.append(net.now)

    async def main() -> None:
        await asyncio.gather(*(one(number) for number in range(10)))

    between(net, main)
    net.check()
    return net.digest(), done


def test_two_runs_with_one_seed_are_the_same_to_the_byte_and_the_nanosecond() -> None:
    first, again, other = lossy(1), lossy(1), lossy(2)
    assert first == again
    assert first[0] != other[0] and first[1] != other[1]


def test_captures_of_two_runs_are_the_same_files(tmp_path: Any) -> None:
    def run(name: str) -> bytes:
        net, *_ = pair(3, loss=0.1)
        net.capture(net.hosts[0], tmp_path / name)
        between(net, lambda: talk("server", bytes(50_000)))
        return bytes((tmp_path / name).read_bytes())

    first = run("a.pcap")
    assert len(first) > 100_000
    assert first == run("b.pcap")


# --------------------------------------------------------------------------------- hosts


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


# -------------------------------------------------------------------------------- waiting


def test_waiting_for_ever_is_told_and_names_who_waits() -> None:
    net, *_ = pair()

    async def main() -> None:
        await asyncio.sleep(5)
        await asyncio.get_running_loop().create_future()

    with pytest.raises(sim.Deadlock, match=r"5 s after the beginning.*main\(\)"):
        net.run_until_complete(main())


def test_a_program_may_wait_for_a_descriptor_of_the_kernels() -> None:
    net, *_ = pair()
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    thread = threading.Timer(0.05, theirs.send, [b"x"])

    async def main() -> bytes:
        thread.start()
        return await asyncio.get_running_loop().sock_recv(ours, 1)

    with ours, theirs:
        assert net.run_until_complete(main()) == b"x"
        thread.join()


def test_virtual_time_waits_for_threads() -> None:
    net, *_ = pair()
    go = threading.Event()

    async def main() -> float:
        ticking = asyncio.create_task(tick())
        await asyncio.sleep(1)
        begin = net.now
        threading.Timer(0.05, go.set).start()
        assert await asyncio.to_thread(go.wait)
        ticking.cancel()
        return net.now - begin

    async def tick() -> None:
        while True:
            await asyncio.sleep(0.1)

    assert net.run_until_complete(main()) == 0.0


def test_a_call_that_would_block_is_refused() -> None:
    net, *_ = pair()

    async def main() -> None:
        client = net.hosts[1]
        with client.stack.socket() as sock:
            with pytest.raises(OSError) as error:
                sock.connect((net.hosts[0].address, 7))
            assert error.value.errno == errno.EDEADLK

    between(net, main)


# ----------------------------------------------------------------------- other protocols


def test_datagrams_take_their_time_and_get_lost() -> None:
    net, server, client = pair(loss=0.3)
    came: list[tuple[bytes, float]] = []

    class Sink(asyncio.DatagramProtocol):
        def datagram_received(self, data: bytes, addr: Any) -> None:
            came.append((data, net.now))

    async def main() -> None:
        loop = asyncio.get_running_loop()
        with server:
            sink, _ = await loop.create_datagram_endpoint(Sink, (server.address, 53))
        with client:
            transport, _ = await loop.create_datagram_endpoint(
                asyncio.DatagramProtocol, remote_addr=(server.address, 53)
            )
        for number in range(100):
            transport.sendto(b"%d" % number)
            await asyncio.sleep(0.01)
        await asyncio.sleep(1)
        transport.close()
        sink.close()

    net.run_until_complete(main())
    assert 50 < len(came) < 90
    assert came[0][1] >= RTT / 2


def test_tls_works_over_virtual_time() -> None:
    trustme = pytest.importorskip("trustme")
    authority = trustme.CA()
    ours = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    theirs = ssl.create_default_context()
    authority.issue_cert("server").configure_cert(ours)
    authority.configure_trust(theirs)
    net, server, client = pair()

    async def main() -> bytes:
        with server:
            await asyncio.start_server(echo, server.address, 443, ssl=ours)
        with client:
            reader, writer = await asyncio.open_connection("server", 443, ssl=theirs)
            writer.write(bytes(100_000))
            answer = await reader.readexactly(100_000)
            writer.close()
            await writer.wait_closed()
            return answer

    assert net.run_until_complete(main()) == bytes(100_000)


# ----------------------------------------------------------------------------- the network


def test_a_network_has_one_loop_at_a_time_and_may_go_on_without() -> None:
    net, *_ = pair()

    async def main() -> None:
        with pytest.raises(RuntimeError, match="an event loop runs this network"):
            net.run(1)
        with pytest.raises(RuntimeError, match="runs this network already"):
            net.event_loop()
        await asyncio.open_connection("server", 7)

    between(net, main)
    net.run(5)
    assert net.now > 5
    net.check()
    assert between(net, lambda: talk("server", b"again")) == b"again"


def test_flows_and_programs_have_hosts_of_their_own_and_share_links() -> None:
    net = sim.Network()
    left, right = net.switch("left"), net.switch("right")
    net.link(left, right, rate=4e6, delay=0.02, queue=sim.DropTail(frames=100))
    server, client, source, sink = (net.host(name) for name in ("server", "client", "a", "b"))
    for host in (server, sink):
        net.link(host, right)
    for host in (client, source):
        net.link(host, left)

    async def main() -> float:
        begin = net.now
        assert await talk("server", bytes(200_000)) == bytes(200_000)
        return net.now - begin

    alone = between(net, main)
    flow = net.bulk(source, sink)
    assert between(net, main) > 1.2 * alone
    assert flow.bytes_to_server > 100_000

    async def wrong() -> None:
        with source, pytest.raises(ConfigError, match="host a is a flow's"):
            await asyncio.open_connection("server", 7)
        with server:
            await asyncio.start_server(echo, server.address, 8)
        with pytest.raises(ConfigError, match="host server runs a program"):
            net.bulk(source, server)

    net.run_until_complete(wrong())


def test_the_loop_drives_no_other_stack() -> None:
    net, server, _ = pair()
    other = sim.Network().host("other")

    async def main() -> None:
        loop: Any = asyncio.get_running_loop()
        with pytest.raises(ValueError, match="hosts of its network"):
            loop.attach(server.stack)
        with other, pytest.raises(RuntimeError, match="say on which host"):
            await asyncio.open_connection("10.0.0.1", 7)

    net.run_until_complete(main())


def test_nothing_of_a_network_remains() -> None:
    def play() -> list[weakref.ref[Any]]:
        net, server, _ = pair(loss=0.05)
        between(net, lambda: talk("server", bytes(10_000)))
        net.run(200)  # TIME-WAIT
        for host in net.hosts:
            usage = host.stack.usage()
            assert (usage["tcbs"], usage["mbufs_small"], usage["mbufs_large"]) == (0, 0, 0)
        return [weakref.ref(thing) for thing in (net, server, server.stack)]

    left = play()
    gc.collect()
    assert [thing() for thing in left] == [None, None, None]


def test_an_exception_in_a_callback_costs_its_connection_only() -> None:
    net, server, client = pair()
    complaints: list[Any] = []

    class Broken(asyncio.Protocol):
        def data_received(self, data: bytes) -> None:
            raise ZeroDivisionError

    async def main() -> None:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: complaints.append(context["exception"]))
        with server:
            await loop.create_server(Broken, server.address, 80)
        with client:
            reader, writer = await asyncio.open_connection("server", 80)
            writer.write(b"x")
            with pytest.raises(ConnectionResetError):
                await reader.read()
            writer.close()

    net.run_until_complete(main())
    assert [type(error) for error in complaints] == [ZeroDivisionError]


def test_a_polled_descriptor_tells_whether_a_kept_connection_is_still_good() -> None:
    """What httpcore asks before it uses a connection again."""
    net, *_ = pair()

    def polls(writer: asyncio.StreamWriter) -> bool:
        descriptor = writer.get_extra_info("socket").fileno()
        return bool(select.select([descriptor], [], [], 0)[0])

    async def main() -> None:
        reader, writer = await asyncio.open_connection("server", 7)
        assert not polls(writer)
        writer.transport.pause_reading()  # type: ignore[attr-defined]
        writer.write(b"x")
        await asyncio.sleep(1)
        assert polls(writer) and polls(writer)
        writer.transport.resume_reading()  # type: ignore[attr-defined]
        assert await reader.read(1) == b"x"
        assert not polls(writer)
        writer.transport.pause_reading()  # type: ignore[attr-defined]
        writer.write_eof()
        await asyncio.sleep(1)
        assert polls(writer)
        writer.transport.abort()
        assert polls(writer)

    between(net, main)


def test_a_host_talks_to_itself_by_its_address_and_by_localhost() -> None:
    net, server, _ = pair()

    async def main() -> list[bytes]:
        with server:
            for address in (server.address, "127.0.0.1"):
                await asyncio.start_server(echo, address, 7)
            return [await talk(name, name.encode()) for name in ("server", "localhost")]

    assert net.run_until_complete(main()) == [b"server", b"localhost"]
    assert net.now < 0.2, "nothing of it goes over the link"
