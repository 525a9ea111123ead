# SPDX-License-Identifier: BSD-3-Clause
"""A congestion control in Python on a running stack."""

from __future__ import annotations

import threading
import time

import pytest
from two import SERVER, two_stacks

import ustack

pytestmark = pytest.mark.quiet


def test_a_python_class_controls_the_connections_of_a_stack() -> None:
    """Every method is called on its own thread, while other threads send and receive."""
    told: list[int] = []

    class Counting(ustack.CongestionControl):
        def on_start(self) -> None:
            self.cwnd = 100_000

        def on_ack(self, ack: ustack.Ack) -> None:
            told.append(ack.acked)

    with two_stacks() as (server, client):
        ustack.control_congestion(client, Counting)
        size = 2_000_000
        with server.listen((SERVER, 7)) as listener:
            reader = threading.Thread(target=read_all, args=(listener, size))
            reader.start()
            with client.connect((SERVER, 7), timeout=20) as sock:
                sock.settimeout(20)
                sock.sendall(bytes(size))
                window = sock.tcp_info().cwnd
                reader.join(20)
                wait_for(lambda: sum(told) >= size)
        assert window == 100_000
        assert sum(told) == size
        assert client.settings["tcp.congestion_control"] == "python"


def read_all(listener: ustack.Socket, size: int) -> None:
    """Read so many bytes from one connection."""
    sock, _ = listener.accept()
    with sock:
        while size > 0:
            size -= len(sock.recv(65536))


def wait_for(holds: object, seconds: float = 20.0) -> None:
    """Wait until something holds."""
    end = time.monotonic() + seconds
    while not holds() and time.monotonic() < end:  # type: ignore[operator]
        time.sleep(0.01)


def test_an_exception_is_printed_and_harms_no_connection(
    capsys: pytest.CaptureFixture[str],
) -> None:
    class Broken(ustack.CongestionControl):
        def on_ack(self, ack: ustack.Ack) -> None:
            raise ArithmeticError("no window today")

    with two_stacks() as (server, client):
        ustack.control_congestion(client, Broken)
        with server.listen((SERVER, 7)) as listener:
            reader = threading.Thread(target=read_all, args=(listener, 100_000))
            reader.start()
            with client.connect((SERVER, 7), timeout=20) as sock:
                sock.settimeout(20)
                sock.sendall(bytes(100_000))
                assert sock.recv(1) == b""  # the reader has read all and closed
                reader.join(20)
        wait_for(lambda: "no window today" in capsys.readouterr().err)
