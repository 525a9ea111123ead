# SPDX-License-Identifier: BSD-3-Clause
"""ustack proxy as a process of its own, what it leads to on a stack in this one."""

import os
import signal
import socket
import subprocess
import sys
import threading

import pytest
from two import CLIENT, SERVER

from ustack import Stack


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_the_command_forwards_and_stops_gracefully(sent: signal.Signals) -> None:
    """A connection that is open when it is told to stop may go on for a while."""
    io, listener = f"ring:test-proxy-{os.getpid()}", socket.create_server(("127.0.0.1", 0))
    port = listener.getsockname()[1]
    listener.close()
    argv = ["-m", "ustack", "proxy", "--io", io, "--address", f"{CLIENT}/24"]
    argv += ["-L", f"{port}:{SERVER}:7"]
    process = subprocess.Popen([sys.executable, *argv], stderr=subprocess.PIPE, text=True)
    try:
        with Stack(io, f"{SERVER}/24") as stack, stack.listen((SERVER, 7)) as server:
            server.settimeout(10)
            assert process.stderr is not None
            while "Ctrl-C" not in (line := process.stderr.readline()):
                assert line
            client = socket.create_connection(("127.0.0.1", port))
            conn, _ = server.accept()
            conn.settimeout(10)
            process.send_signal(sent)
            assert "1 connections have 5 s to end" in process.stderr.readline()
            threading.Thread(target=client.sendall, args=(b"hello",)).start()
            assert conn.recv(5) == b"hello"
            conn.close()
            client.settimeout(10)
            assert client.recv(1) == b""
            client.close()
            stack.run_once(0.1)
            assert process.wait(10) == 0
    finally:
        process.kill()
        process.communicate()
