# SPDX-License-Identifier: BSD-3-Clause
"""The asyncio transports, as asyncio's documentation describes transports and protocols."""

import asyncio
import contextlib
import contextvars
import errno
import gc
import socket
import sys
import threading
import time
import types
import weakref
from typing import Any

import pytest
from two import BASE, CLIENT, NOBODY, SERVER, Recorder, connect, endpoints, payload, run, two_stacks

from stopwatch import Stopwatch
from ustack import aio
from ustack.apps.echo import Echo

pytestmark = pytest.mark.usefixtures("base")

# ------------------------------------------------------------------------------------ bytes


def test_an_echo_protocol_sends_back_what_it_gets() -> None:
    async def main() -> None:
        _, client = await connect(Echo)
        client.transport.write(b"hello")
        assert await client.received(5) == b"hello"
        client.transport.close()
        assert await client.lost is None

    assert run(main) == []


def test_ten_megabytes_pass_unchanged_both_ways_at_once() -> None:
    data = payload(10_000_000)

    async def main() -> None:
        server, client = await connect()
        server.transport.write(data)
        client.transport.write(data)
        assert await server.received(len(data)) == data
        assert await client.received(len(data)) == data
        client.transport.close()
        assert await server.lost is None

    assert run(main) == []


def test_small_writes_arrive_in_order() -> None:
    pieces = [b"%06d" % number for number in range(20_000)]

    async def main() -> None:
        server, client = await connect()
        for piece in pieces[:10_000]:
            client.transport.write(piece)
        client.transport.writelines(pieces[10_000:])
        assert await server.received(120_000) == b"".join(pieces)
        client.transport.close()
        await server.lost

    assert run(main) == []


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_write_takes_any_contiguous_buffer_and_keeps_no_reference_to_a_mutable_one(
    kind: Any,
) -> None:
    data = payload(3_000_000)

    async def main() -> None:
        server, client = await connect()
        buffer = bytearray(data)
        client.transport.write(kind(buffer))
        if kind is not bytes:
            buffer[:] = bytes(len(buffer))
        assert await server.received(len(data)) == data
        client.transport.close()
        await server.lost

    assert run(main) == []


def test_write_refuses_what_is_no_contiguous_buffer() -> None:
    async def main() -> None:
        server, client = await connect()
        with pytest.raises(TypeError):
            client.transport.write("text")
        with pytest.raises(BufferError):
            client.transport.write(memoryview(bytes(10))[::2])
        client.transport.write(b"")
        client.transport.close()
        await server.lost
        assert server.data == b""

    assert run(main) == []


def test_data_goes_to_the_method_that_the_protocol_has_when_it_is_set() -> None:
    """A class's, which costs a connection no object; an instance's own; and a class's again."""

    async def main() -> None:
        server, client = await connect()
        methods = [r for r in gc.get_referrers(server) if isinstance(r, types.MethodType)]
        assert not any(m.__name__ == "data_received" for m in methods)
        client.transport.write(b"a")
        assert await server.received(1) == b"a"
        heard: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        own, taken = Recorder(), server.data_received

        def hear(data: bytes) -> None:
            taken(data)
            heard.set_result(data)

        own.data_received = hear  # type: ignore[method-assign]
        server.transport.set_protocol(own)
        client.transport.write(b"b")
        assert await heard == b"b"
        assert await server.received(2) == b"ab"
        server.transport.set_protocol(server)
        client.transport.write(b"c")
        assert await server.received(3) == b"abc"
        client.transport.close()
        await server.lost

    assert run(main) == []


def test_a_buffered_protocol_gets_bytes_in_its_own_buffer() -> None:
    data = payload(1_000_000)

    class Buffered(asyncio.BufferedProtocol):
        def __init__(self) -> None:
            self.buffer = bytearray(1000)
            self.data = bytearray()
            self.done = asyncio.get_running_loop().create_future()

        def get_buffer(self, sizehint: int) -> bytearray:
            assert sizehint > 0
            return self.buffer

        def buffer_updated(self, nbytes: int) -> None:
            self.data += self.buffer[:nbytes]

        def connection_lost(self, exc: Exception | None) -> None:
            self.done.set_result(exc)

    async def main() -> None:
        server, client = await connect(Buffered)
        client.transport.write(data)
        client.transport.close()
        assert await server.done is None
        assert server.data == data

    assert run(main) == []


# ------------------------------------------------------------------------------- the end


def test_callbacks_come_in_asyncios_order() -> None:
    async def main() -> None:
        server, client = await connect()
        client.transport.write(b"x")
        client.transport.close()
        assert client.transport.is_closing()
        assert "lost" not in client.calls  # it comes at the loop's next turn
        assert await client.lost is None
        assert await server.lost is None
        assert client.calls == ["made", "lost"]
        assert server.calls == ["made", "data", "eof", "lost"]
        assert client.transport.get_protocol() is None

    assert run(main) == []


def test_a_half_closed_connection_still_carries_the_answer() -> None:
    async def main() -> None:
        server, client = await connect()
        server.keep_open = True
        assert client.transport.can_write_eof()
        client.transport.write(b"question")
        client.transport.write_eof()
        await server.until(lambda: "eof" in server.calls)
        assert not server.transport.is_closing()
        server.transport.write(payload(200_000))
        server.transport.close()
        assert await client.lost is None
        assert client.data == payload(200_000)
        assert server.data == b"question"

    assert run(main) == []


def test_eof_waits_for_what_was_written_before() -> None:
    async def main() -> None:
        server, client = await connect()
        server.keep_open = True
        client.transport.write(payload(5_000_000))
        client.transport.write_eof()
        assert client.transport.get_write_buffer_size() > 0
        with pytest.raises(RuntimeError):
            client.transport.write(b"more")
        await server.until(lambda: "eof" in server.calls)
        assert server.data == payload(5_000_000)
        server.transport.close()
        await client.lost

    assert run(main) == []


def test_close_delivers_what_was_written_and_ignores_what_comes_after() -> None:
    async def main() -> None:
        server, client = await connect()
        client.transport.write(payload(5_000_000))
        client.transport.close()
        client.transport.close()
        await client.lost
        client.transport.write(b"too late")
        await server.lost
        assert server.data == payload(5_000_000)
        assert client.calls.count("lost") == 1

    assert run(main) == []


def test_abort_resets_a_connection_that_had_more_to_send() -> None:
    async def main() -> None:
        server, client = await connect()
        client.transport.write(payload(5_000_000))
        client.transport.abort()
        client.transport.abort()
        assert client.transport.get_write_buffer_size() == 0
        assert await client.lost is None
        assert isinstance(await server.lost, ConnectionResetError)
        assert client.calls.count("lost") == server.calls.count("lost") == 1

    assert run(main) == []


def test_abort_still_sends_what_the_stack_has_taken() -> None:
    """As on the kernel, by close(2): anyio ends its streams so."""
    data = payload(10_000)

    async def main() -> None:
        server, client = await connect()
        client.transport.write(data)
        assert client.transport.get_write_buffer_size() == 0
        client.transport.abort()
        assert await client.lost is None
        assert await server.lost is None
        assert server.data == data

    assert run(main) == []


# -------------------------------------------------------------------------- flow control


def test_no_data_comes_while_reading_is_paused() -> None:
    async def main() -> None:
        server, client = await connect()
        server.transport.pause_reading()
        server.transport.pause_reading()
        assert not server.transport.is_reading()
        client.transport.write(b"one")
        client.transport.write_eof()
        await asyncio.sleep(0.05)
        assert server.calls == ["made"]
        server.transport.resume_reading()
        assert server.transport.is_reading()
        await server.lost
        assert server.data == b"one"

    assert run(main) == []


def test_a_reader_that_pauses_makes_the_writer_pause() -> None:
    async def main() -> None:
        server, client = await connect()
        server.transport.pause_reading()
        client.transport.write(payload(10_000_000))
        assert client.calls == ["made", "pause"]
        low, high = client.transport.get_write_buffer_limits()
        assert (low, high) == (16 * 1024, 64 * 1024)
        assert client.transport.get_write_buffer_size() > high
        server.transport.resume_reading()
        await client.until(lambda: "resume" in client.calls)
        assert client.transport.get_write_buffer_size() <= low
        assert await server.received(10_000_000) == payload(10_000_000)
        client.transport.close()
        await server.lost

    assert run(main) == []


def test_write_buffer_limits_are_asyncios() -> None:
    async def main() -> None:
        server, client = await connect()
        transport = client.transport
        for arguments, expected in (
            ({"high": 100}, (25, 100)),
            ({"low": 10}, (10, 40)),
            ({"high": 0}, (0, 0)),
            ({"high": 9, "low": 9}, (9, 9)),
            ({}, (16 * 1024, 64 * 1024)),
        ):
            transport.set_write_buffer_limits(**arguments)
            assert transport.get_write_buffer_limits() == expected
        for bad in ({"high": 1, "low": 2}, {"high": -1}, {"low": -1}):
            with pytest.raises(ValueError):
                transport.set_write_buffer_limits(**bad)
        transport.close()
        await server.lost

    assert run(main) == []


# ---------------------------------------------------------------------------- exceptions


@pytest.mark.parametrize("where", ["data_received", "eof_received"])
def test_a_callback_that_raises_costs_its_own_connection_only(where: str) -> None:
    class Broken(Recorder):
        pass

    def fail(*args: Any) -> None:
        raise ZeroDivisionError(where)

    setattr(Broken, where, fail)

    async def main() -> None:
        _, good = await connect(Echo)
        bad, client = await connect(Broken)
        client.transport.write(b"x")
        client.transport.write_eof()
        await client.lost
        assert isinstance(await bad.lost, ZeroDivisionError)
        good.transport.write(b"still here")
        await good.received(10)
        good.transport.close()

    complaints = run(main)
    assert [type(context["exception"]) for context in complaints] == [ZeroDivisionError]
    assert where in complaints[0]["message"]


def test_a_server_survives_factories_and_first_callbacks_that_raise() -> None:
    class Broken(Echo):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            raise ZeroDivisionError

    async def main() -> None:
        loop = asyncio.get_running_loop()
        protocols = iter([Echo, Broken])
        server = await loop.create_server(lambda: next(protocols)(), SERVER, 5000)
        _, good = await loop.create_connection(Recorder, SERVER, 5000)
        for _ in range(2):  # the reset may come before the client knows that it is connected
            with contextlib.suppress(ConnectionResetError):
                _, bad = await loop.create_connection(Recorder, SERVER, 5000)
                await bad.lost
        good.transport.write(b"x")
        await good.received(1)
        good.transport.close()
        server.close()
        with pytest.raises(ZeroDivisionError):
            await connect(client=lambda: 1 // 0)  # type: ignore[arg-type,return-value]

    complaints = run(main)
    raised = [type(context["exception"]) for context in complaints]
    assert raised == [ZeroDivisionError, StopIteration]


def test_keyboard_interrupt_in_a_callback_ends_the_loop() -> None:
    class Interrupted(Recorder):
        def data_received(self, data: bytes) -> None:
            raise KeyboardInterrupt

    async def main() -> None:
        _, client = await connect(Interrupted)
        client.transport.write(b"x")
        await client.lost

    with pytest.raises(KeyboardInterrupt):
        run(main)


def test_a_loop_that_was_interrupted_runs_its_stacks_again() -> None:
    class Interrupted(Recorder):
        def data_received(self, data: bytes) -> None:
            raise KeyboardInterrupt

    async def interrupted() -> None:
        _, client = await connect(Interrupted)
        client.transport.write(b"x")
        await client.lost

    async def again() -> None:
        async with asyncio.timeout(5):
            _, client = await connect(Echo)
            client.transport.write(b"y")
            assert await client.received(1) == b"y"

    with two_stacks() as stacks:
        loop = aio.new_event_loop(base=BASE.get())
        try:
            for stack in stacks:
                loop.attach(stack)
            with pytest.raises(KeyboardInterrupt):
                loop.run_until_complete(interrupted())
            loop.run_until_complete(again())
        finally:
            loop.close()


# ---------------------------------------------------------------------------- connecting


def test_a_refused_connection_names_the_peer() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        with pytest.raises(ConnectionRefusedError, match=f"{SERVER}:81"):
            await loop.create_connection(Recorder, SERVER, 81)

    assert run(main) == []


def test_connecting_can_be_cancelled() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.02):
                await loop.create_connection(Recorder, NOBODY, 80)
        assert endpoints(loop) == 0

    assert run(main) == []


def test_a_client_may_choose_its_own_address_and_port() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        server = await loop.create_server(Echo, SERVER, 7)
        transport, _ = await loop.create_connection(Recorder, SERVER, 7, local_addr=(CLIENT, 12345))
        assert transport.get_extra_info("sockname") == (CLIENT, 12345)
        transport.close()
        server.close()

    assert run(main) == []


def test_an_address_in_use_is_refused_by_name() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        server = await loop.create_server(Echo, SERVER, 7)
        with pytest.raises(OSError, match=f"'{SERVER}', 7") as caught:
            await loop.create_server(Echo, SERVER, 7)
        assert caught.value.errno == errno.EADDRINUSE
        server.close()
        (await loop.create_server(Echo, SERVER, 7)).close()

    assert run(main) == []


def test_a_server_serves_until_it_is_closed_and_its_connections_live_on() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        server = await loop.create_server(Echo, SERVER, 7, start_serving=False)
        assert not server.is_serving()
        with pytest.raises(ConnectionRefusedError):
            await loop.create_connection(Recorder, SERVER, 7)
        await server.start_serving()
        assert server.is_serving()
        assert [sock.getsockname() for sock in server.sockets] == [(SERVER, 7)]
        transport, protocol = await loop.create_connection(Recorder, SERVER, 7)
        transport.write(b"x")
        await protocol.received(1)
        server.close()
        assert not server.is_serving()
        assert not server.sockets
        with pytest.raises(ConnectionRefusedError):
            await loop.create_connection(Recorder, SERVER, 7)
        transport.write(b"y")
        assert await protocol.received(2) == b"xy"
        transport.close()
        await server.wait_closed()

    assert run(main) == []


def test_serve_forever_ends_when_cancelled() -> None:
    async def main() -> None:
        server = await asyncio.get_running_loop().create_server(Echo, SERVER, 7)
        task = asyncio.ensure_future(server.serve_forever())
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert not server.is_serving()
        await server.wait_closed()

    assert run(main) == []


# ----------------------------------------------------------------------- what else there is


def test_extra_info_tells_names_and_options_even_after_the_end() -> None:
    async def main() -> None:
        server, client = await connect()
        transport = client.transport
        host, port = transport.get_extra_info("peername")
        assert host == SERVER
        assert server.transport.get_extra_info("sockname") == (SERVER, port)
        sock = transport.get_extra_info("socket")
        assert sock.family == socket.AF_INET
        assert sock.type == socket.SOCK_STREAM
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) == 1
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
        with pytest.raises(OSError):
            sock.setsockopt(socket.SOL_SOCKET, 12345, 1)
        assert transport.get_extra_info("sslcontext") is None
        assert transport.get_extra_info("other", default=5) == 5
        transport.close()
        await server.lost
        assert transport.get_extra_info("socket").getpeername() == (host, port)
        assert transport.get_extra_info("socket").getsockname()[0] == CLIENT

    assert run(main) == []


def test_set_protocol_sends_later_callbacks_to_another() -> None:
    async def main() -> None:
        server, client = await connect()
        other = Recorder()
        server.transport.set_protocol(other)
        assert server.transport.get_protocol() is other
        client.transport.write(b"x")
        client.transport.close()
        await other.lost
        assert (server.data, other.data) == (b"", b"x")
        assert server.calls == ["made"]

    assert run(main) == []


def test_streams_work_over_a_stack() -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while line := await reader.readline():
            writer.write(line.upper())
            await writer.drain()
        writer.close()

    async def main() -> None:
        server = await asyncio.start_server(answer, SERVER, 5000)
        reader, writer = await asyncio.open_connection(SERVER, 5000)
        for number in range(100):
            writer.write(b"line %d\n" % number)
            assert await reader.readline() == b"LINE %d\n" % number
        writer.write_eof()
        assert await reader.read() == b""
        writer.close()
        await writer.wait_closed()
        server.close()

    assert run(main) == []


def test_kernel_sockets_work_beside_a_busy_stack() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        _, client = await connect(Echo)
        kernel = await loop.create_server(Echo, "127.0.0.1", 0)
        port = kernel.sockets[0].getsockname()[1]  # type: ignore[attr-defined]
        _, other = await loop.create_connection(Recorder, "127.0.0.1", port)
        for turn in range(1, 50):
            client.transport.write(b"x" * 64)
            other.transport.write(b"y" * 64)
            await client.received(64 * turn)
            await other.received(64 * turn)
        client.transport.close()
        other.transport.close()
        kernel.close()
        await kernel.wait_closed()

    assert run(main) == []


@pytest.mark.quiet
def test_an_idle_loop_sleeps_and_wakes_for_timers_and_threads() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        _, client = await connect(Echo)
        watch, used = Stopwatch(), time.process_time()
        await asyncio.sleep(0.5)
        assert watch.seconds >= 0.5
        assert watch.own_seconds < 0.6
        assert time.process_time() - used < 0.1
        woken = asyncio.Event()
        thread = threading.Timer(0.05, loop.call_soon_threadsafe, [woken.set])
        thread.start()
        await woken.wait()
        thread.join()
        client.transport.close()

    assert run(main) == []


def test_transports_and_protocols_are_freed_with_their_connection() -> None:
    kept: list[weakref.ref[Any]] = []

    async def main() -> None:
        for _ in range(20):
            server, client = await connect()
            for protocol in (server, client):
                protocol.transport.get_extra_info("socket")
                kept.extend((weakref.ref(protocol), weakref.ref(protocol.transport)))
            client.transport.write(payload(1000))
            client.transport.close()
            await server.lost
            await client.lost

    assert run(main) == []
    gc.collect()
    assert [ref() for ref in kept if ref() is not None] == []


@pytest.mark.parametrize("end", ["close", "abort"])
def test_no_reference_to_written_bytes_remains(end: str) -> None:
    data = payload(5_000_000)
    before = sys.getrefcount(data)

    async def main() -> None:
        server, client = await connect()
        client.transport.write(data)
        client.transport.writelines([data, b"", data])
        getattr(client.transport, end)()
        await client.lost
        await server.lost

    assert run(main) == []
    assert sys.getrefcount(data) == before


def test_after_the_loop_transports_do_nothing_any_more() -> None:
    async def main() -> tuple[Any, Any]:
        return await connect()

    with two_stacks() as stacks:
        server, client = aio.run(main(), *stacks, base=BASE.get())
        for protocol in (server, client):
            assert protocol.calls == ["made"]
            assert protocol.transport.is_closing()
            protocol.transport.write(b"into the void")
            protocol.transport.close()
            protocol.transport.abort()
            assert protocol.transport.get_write_buffer_size() == 0


def test_a_stack_is_attached_once() -> None:
    with two_stacks() as (stack, _):
        loop = aio.new_event_loop(stack)
        with pytest.raises(ValueError):
            loop.attach(stack)
        loop.detach(stack)
        loop.attach(stack)
        loop.close()


def test_reading_resumed_while_the_stack_sleeps_goes_on_at_once() -> None:
    """Not when the stack next has something to do, which is seldom sooner than after seconds."""

    async def main() -> None:
        server, client = await connect()
        for number in range(1, 4):
            server.transport.pause_reading()
            client.transport.write(b"x")
            await asyncio.sleep(0.05)  # longer than the spin: both stacks sleep
            server.transport.resume_reading()
            watch = Stopwatch()
            await server.received(number)
            assert watch.own_seconds < 0.5
        client.transport.close()
        await server.lost

    assert run(main) == []


def test_callbacks_run_in_the_context_of_who_made_the_connection() -> None:
    var: contextvars.ContextVar[str] = contextvars.ContextVar("var", default="nobody")

    class Says(Recorder):
        def __init__(self) -> None:
            super().__init__()
            self.says = [var.get()]
            var.set(f"{var.get()}'s")

        def data_received(self, data: bytes) -> None:
            self.says.append(var.get())
            super().data_received(data)

    async def main() -> None:
        var.set("main")
        server, client = await connect(Says, Says)
        client.transport.write(b"x")
        await server.received(1)
        server.transport.write(b"y")
        await client.received(1)
        assert server.says == client.says == ["main", "main's"]
        assert var.get() == "main"
        client.transport.close()
        await server.lost

    assert run(main) == []


def test_a_client_gets_its_connection_even_if_connection_made_raises() -> None:
    class Clumsy(Recorder):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            super().connection_made(transport)
            raise ZeroDivisionError

    async def main() -> None:
        _, client = await connect(Echo, Clumsy)
        client.transport.write(b"x")
        assert await client.received(1) == b"x"
        client.transport.close()
        assert await client.lost is None

    (complaint,) = run(main)
    assert isinstance(complaint["exception"], ZeroDivisionError)


def test_a_loop_does_not_sleep_over_what_another_thread_took_in() -> None:
    """The guardian, or a thread in a blocking call, may have a round between poll() and sleep()."""

    async def main() -> None:
        loop: Any = asyncio.get_running_loop()
        server, client = await connect()
        theirs, ours = loop._stacks  # the server's, the client's
        client.transport.write(b"hello")
        while not theirs.run_once():
            ours.run_once()
        assert not loop._stacks[theirs].sleep()
        await server.received(5)
        client.transport.close()
        await server.lost

    assert run(main, guardian=False) == []
