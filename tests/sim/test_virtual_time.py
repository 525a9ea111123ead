# SPDX-License-Identifier: BSD-3-Clause
"""asyncio on a simulated network: programs, hosts, clocks, and what cannot be."""

from __future__ import annotations

import asyncio
import errno
import gc
import hashlib
import socket
import ssl
import threading
import time
import weakref
from typing import Any

import pytest

from ustack import sim
from ustack.errors import ConfigError
from virtual import RTT, between, echo, pair, talk

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


def test_virtual_time_waits_for_anyios_threads() -> None:
    """What Starlette and FastAPI run endpoints in that are not async."""
    to_thread = pytest.importorskip("anyio.to_thread")
    net, *_ = pair()

    async def main() -> list[float]:
        ticking = asyncio.create_task(tick())
        times = []
        for _ in range(3):
            await asyncio.sleep(1)
            begin, go = net.now, threading.Event()
            threading.Timer(0.05, go.set).start()
            assert await to_thread.run_sync(go.wait)
            times.append(net.now - begin)
        ticking.cancel()
        return times

    async def tick() -> None:
        while True:
            await asyncio.sleep(0.1)

    assert net.run_until_complete(main()) == [0.0, 0.0, 0.0]


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


def test_datagrams_of_one_moment_arrive_in_order() -> None:
    """They wait on the wire and in the engine, never in a heap of timers, which keeps no order."""
    net, server, client = pair()
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
        transport.sendto(b"0")
        await asyncio.sleep(1)  # the server's link address is known now
        for number in range(1, 50):
            transport.sendto(b"%d" % number)
        await asyncio.sleep(1)
        transport.close()
        sink.close()

    net.run_until_complete(main())
    assert [data for data, _ in came] == [b"%d" % number for number in range(50)]
    assert len({when for _, when in came[1:]}) == 1


@pytest.mark.parametrize("timers", [2, 40])
def test_timers_of_one_deadline_are_called_in_asyncios_order(timers: int) -> None:
    """Two of them as they were made; of more asyncio's heap makes what it makes."""

    def order(loop: asyncio.AbstractEventLoop) -> list[int]:
        called: list[int] = []

        async def main() -> None:
            over, when = loop.create_future(), loop.time() + 0.02
            for number in range(timers):
                loop.call_at(when, called.append, number)
            loop.call_at(when + 0.02, over.set_result, None)
            await over

        loop.run_until_complete(main())
        loop.close()
        return called

    net, _, _ = pair()
    seen = order(net.event_loop())
    assert seen == order(asyncio.SelectorEventLoop())
    assert timers > 2 or seen == [0, 1]
    assert sorted(seen) == list(range(timers))


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
            assert await reader.read() == b""
            writer.close()

    net.run_until_complete(main())
    assert [type(error) for error in complaints] == [ZeroDivisionError]
