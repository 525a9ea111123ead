# SPDX-License-Identifier: BSD-3-Clause
"""ustack run: programs that know nothing of ustack, as their users start them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest

import ustack
from pair import ring_url
from ustack import cli

TIMEOUT = 60.0  # seconds; a busy machine starts Python slowly
LOOP = ("--io", "loop:")
ENV = dict(os.environ) | {"PYTHONPATH": str(Path(ustack.__file__).parent.parent)}

#: A server and a client of the standard library in one process; the body is a megabyte.
HTTP = """
import hashlib, http.client, http.server, sys, threading

class Handler(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[::-1])
    def log_message(self, *_):
        pass

server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
threading.Thread(target=server.serve_forever, daemon=True).start()
data = hashlib.shake_128(b"body").digest(1 << 20)
client = http.client.HTTPConnection(*server.server_address, timeout=30)
client.request("POST", "/", data)
response = client.getresponse()
print(response.status, response.read() == data[::-1], type(server.socket).__module__)
server.shutdown()
server.server_close()
"""

SOCKETSERVER = """
import socket, socketserver, sys

class Echo(socketserver.StreamRequestHandler):
    def handle(self):
        for line in self.rfile:
            self.wfile.write(line.upper())

with socketserver.ThreadingTCPServer((sys.argv[1], 7000), Echo) as server:
    server.daemon_threads = True
    print("ready", flush=True)
    server.serve_forever()
"""

CLIENT = """
import socket, sys
with socket.create_connection((sys.argv[1], 7000), timeout=30) as conn:
    conn.sendall(b"hello\\n" * 1000)
    conn.shutdown(socket.SHUT_WR)
    with conn.makefile("rb") as file:
        print(len(file.read()), conn.getsockname()[0])
"""

ASYNCIO = """
import asyncio, sys

async def main():
    async def serve(reader, writer):
        writer.write(await reader.read(-1))
        writer.close()
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname()[:2])
    writer.write(b"hello")
    writer.write_eof()
    print(await reader.read(), type(writer.transport).__module__)
    server.close()

async def second():
    # A loop of another thread, while this one drives the stack.
    hello = lambda r, w: (w.write(b"hello"), w.close())
    server = await asyncio.start_server(hello, "127.0.0.1", 0)
    async def client():
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname()[:2])
        assert await reader.read() == b"hello"
        writer.close()
    await asyncio.to_thread(asyncio.run, client())
    server.close()

asyncio.run(main())
asyncio.run(second())
asyncio.new_event_loop().run_until_complete(main())
with asyncio.Runner(loop_factory=asyncio.SelectorEventLoop) as runner:
    runner.run(main())
try:
    import uvloop
except ImportError:
    print("no uvloop")
else:
    uvloop.run(main())
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main())
"""

TLS = """
import ssl, sys, threading, trustme, requests, http.server

authority = trustme.CA()
authority.cert_pem.write_to_path("ca.pem")
context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
authority.issue_cert("127.0.0.1").configure_cert(context)

class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Length", str(1 << 20))
        self.end_headers()
        self.wfile.write(bytes(1 << 20))
    def log_message(self, *_):
        pass

server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
server.socket = context.wrap_socket(server.socket, server_side=True)
threading.Thread(target=server.serve_forever, daemon=True).start()
answer = requests.get(f"https://127.0.0.1:{server.server_port}/", verify="ca.pem", timeout=30)
print(answer.status_code, len(answer.content))
try:
    requests.get(f"https://127.0.0.1:{server.server_port}/", timeout=30)
except requests.exceptions.SSLError as error:
    print("refused")
server.shutdown()
"""


def command(*arguments: Any) -> list[str]:
    return [sys.executable, "-m", "ustack", "run", *map(str, arguments)]


def run(*arguments: Any, **options: Any) -> subprocess.CompletedProcess[str]:
    env = ENV | options.pop("env", {})
    options = {"capture_output": True, "text": True, "timeout": TIMEOUT} | options
    return subprocess.run(command(*arguments), env=env, **options)


def script(place: Path, text: str, name: str = "program.py") -> Path:
    path = place / name
    path.write_text(text)
    return path


def test_http_server_and_client_of_one_process(tmp_path: Path) -> None:
    done = run(*LOOP, script(tmp_path, HTTP))
    assert (done.stdout, done.stderr, done.returncode) == ("200 True ustack.socket\n", "", 0)


def test_tls_of_one_process_by_requests(tmp_path: Path) -> None:
    pytest.importorskip("requests")
    done = run(*LOOP, script(tmp_path, TLS), cwd=tmp_path)
    assert done.stdout.splitlines() == ["200 1048576", "refused"], done.stderr


def test_socketserver_and_a_client_over_a_ring(tmp_path: Path) -> None:
    """Two processes, each with a stack of its own; then Ctrl-C."""
    url = ring_url()
    server = subprocess.Popen(
        command(
            "--io", url, "--address", "10.9.0.2/24", script(tmp_path, SOCKETSERVER), "10.9.0.2"
        ),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with server:
        assert server.stdout is not None and server.stdout.readline() == "ready\n"
        config = tmp_path / "client.toml"
        config.write_text(f"io = '{url}'\naddress = ['10.9.0.1/24']\n[settings]\ntcp.sack = 0\n")
        done = run("--config", config, script(tmp_path, CLIENT, "client.py"), "10.9.0.2")
        assert (done.stdout, done.stderr) == ("6000 10.9.0.1\n", "")
        server.send_signal(signal.SIGINT)
        _, err = server.communicate(timeout=TIMEOUT)
    assert server.returncode == 130
    lines = err.splitlines()
    assert lines[1].startswith(f'  File "{tmp_path}/program.py", line ')
    assert lines[-1] == "KeyboardInterrupt"


def test_http_server_as_a_module_over_a_ring(tmp_path: Path) -> None:
    """python -m http.server, on the wildcard, which is the kernel's as well; and urllib."""
    (tmp_path / "file").write_bytes(bytes(1 << 20))
    url = ring_url()
    server = subprocess.Popen(
        command("--io", url, "--address", "10.9.0.2/24", "--only", "ustack", "-m", "http.server",
                "--directory", tmp_path, "8001"),
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )  # fmt: skip
    get = "import time, urllib.request\n"
    get += "for _ in range(100):\n try:\n"
    get += "  print(len(urllib.request.urlopen('http://10.9.0.2:8001/file', timeout=30).read()))\n"
    get += "  break\n except ConnectionRefusedError: time.sleep(0.1)\n"
    get += " except OSError as e: time.sleep(0.1)\n"
    with server:
        done = run("--io", url, "--address", "10.9.0.1/24", script(tmp_path, get))
        server.terminate()
    assert done.stdout == f"{1 << 20}\n", done.stderr


def test_event_loops_are_on_the_stack_however_they_are_made(tmp_path: Path) -> None:
    done = run(*LOOP, script(tmp_path, ASYNCIO))
    lines = done.stdout.splitlines()
    assert (set(lines) - {"no uvloop"}, done.stderr) == ({"b'hello' ustack._aio"}, "")
    assert len(lines) >= 4


def test_it_is_started_as_python_would(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its name, arguments, path, and exit status; the beginning of its tracebacks."""
    monkeypatch.setitem(ENV, "PYTHONSAFEPATH", "")
    (tmp_path / "beside.py").write_text("HERE = True\n")
    text = "import sys, beside, __main__\nprint(__name__, sys.argv, beside.HERE, __file__)\n"
    text += "print(__main__.__dict__ is globals(), __builtins__ is sys.modules['builtins'])\n"
    text += "sys.exit('bye')\n"
    path = script(tmp_path, text)
    done = run(*LOOP, path, "-m", "--io", "x")
    argv = [str(path), "-m", "--io", "x"]
    assert done.stdout == f"__main__ {argv} True {path}\nTrue True\n"
    assert (done.stderr, done.returncode) == ("bye\n", 1)
    done = run(*LOOP, "-m", "program", cwd=tmp_path)
    assert done.stdout.splitlines()[0] == f"__main__ {[str(path)]} True {path}"
    done = run(*LOOP, "-", input="def f():\n  1/0\nf()\n")
    assert done.returncode == 1
    lines = done.stderr.splitlines()
    assert lines[1] == '  File "<stdin>", line 3, in <module>'
    assert lines[-1] == "ZeroDivisionError: division by zero"


def test_a_zip_a_command_and_threads_that_outlive_the_main_one(tmp_path: Path) -> None:
    text = "import threading, time, sys\n"
    text += "threading.Thread(target=lambda: (time.sleep(0.1), print(sys.argv[1:]))).start()\n"
    with zipfile.ZipFile(tmp_path / "app.zip", "w") as file:
        file.writestr("__main__.py", text)
    assert run(*LOOP, tmp_path / "app.zip", "a").stdout == "['a']\n"
    path = script(tmp_path, f"#!{sys.executable}\n{text}", "tool")
    path.chmod(0o755)
    env = {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    assert run(*LOOP, "tool", "b", env=env).stdout == "['b']\n"


RULED = """
import asyncio, socket, sys

async def main():
    serve = lambda r, w: (w.write(b"hello"), w.close())
    server = await asyncio.start_server(serve, "10.9.0.2", 19000)
    kernel = await asyncio.start_server(serve, "127.0.0.1", 0)  # not loopback=True: see --also
    wild = await asyncio.start_server(serve, "0.0.0.0", 19001)
    kinds = sorted(type(sock).__module__.partition(".")[0] for sock in wild.sockets)
    print(len(server.sockets), *kinds)
    peers = [("10.9.0.2", 19000), kernel.sockets[0].getsockname()]
    if "ustack" in kinds:  # or else the kernel would be asked, and ask the network
        peers.append(("10.9.0.2", 19001))
    for host, port in peers:
        try:
            reader, writer = await asyncio.open_connection(host, port)
            print(host, await reader.read(), type(writer.transport).__module__)
        except OSError as error:
            print(host, error.strerror)

asyncio.run(main())
"""

OVER_US = "10.9.0.2 b'hello' ustack._aio"
OVER_KERNEL = "127.0.0.1 b'hello' asyncio"
RULES = {
    (): ["1 asyncio ustack", OVER_US, OVER_KERNEL, OVER_US],
    ("--also", ":19001"): ["1 asyncio", OVER_US, OVER_KERNEL],
    ("--only", "ustack", "--also", "127.0.0.0/8"): ["1 ustack", OVER_US, OVER_KERNEL, OVER_US],
}


@pytest.mark.parametrize(("options", "said"), RULES.items())
def test_only_and_also_hold_for_event_loops(
    tmp_path: Path, options: tuple[str, ...], said: list[str]
) -> None:
    where = ("--io", ring_url(), "--address", "10.9.0.2/24")
    done = run(*where, *options, script(tmp_path, RULED))
    lines = done.stdout.splitlines()
    assert len(lines) == len(said), done.stderr
    for line, start in zip(lines, said, strict=True):
        assert line.startswith(start)


DAEMONS = """
import socket, threading, time, select

def accept(listener):
    while True:
        conn, _ = listener.accept()
        threading.Thread(target=conn.recv, args=[1], daemon=True).start()

def poll(listener):
    while True:
        listener.setblocking(False)
        select.select([listener], [], [], 0.01)
        try:
            listener.accept()
        except BlockingIOError:
            pass

for serve in (accept, poll):
    listener = socket.create_server(("127.0.0.1", 0))
    threading.Thread(target=serve, args=[listener], daemon=True).start()
    conns = [socket.create_connection(listener.getsockname()) for _ in range(3)]
time.sleep(0.1)
"""


HAND_OVER = """
import socket
from multiprocessing.reduction import ForkingPickler

with socket.create_server(("127.0.0.1", 0)) as server:
    try:
        ForkingPickler.dumps(server)
    except TypeError as error:
        print(error)
with socket.socket() as kernels:
    print(len(ForkingPickler.dumps(kernels)) > 0)
"""


def test_a_socket_of_the_stack_does_not_go_to_another_process(tmp_path: Path) -> None:
    """It has only the kernel's sockets; a server with worker processes is told the way out."""
    done = run(*LOOP, script(tmp_path, HAND_OVER))
    refused, kernels = done.stdout.splitlines()
    assert "cannot go to another process" in refused
    assert "hypercorn: -w 0" in refused
    assert kernels == "True"


def test_daemon_threads_do_not_complain_when_the_program_is_over(tmp_path: Path) -> None:
    done = run(*LOOP, script(tmp_path, DAEMONS))
    assert (done.stdout, done.stderr, done.returncode) == ("", "", 0)


#: arguments → what the one line of complaint names
BAD: dict[str, tuple[list[str], list[str]]] = {
    "no program": ([*LOOP], ["a program is missing", "SCRIPT"]),
    "no port": (["-"], ["packet port", "--io", "USTACK_IO"]),
    "no file": ([*LOOP, "nowhere.py"], ["no file", "'nowhere.py'", "-m"]),
    "no script": ([*LOOP, "true"], ["no Python program"]),
    "no config": (["--config", "nowhere.toml", "-"], ["nowhere.toml", "No such file"]),
    "only": ([*LOOP, "--only", "me", "-"], ["--only", "'me'", "kernel"]),
    "also": ([*LOOP, "--also", "me", "-"], ["also", "'me'", "10.9.0.1"]),
    "address": ([*LOOP, "--address", "1", "-"], ["address", "'1'", "prefix"]),
}


@pytest.mark.parametrize(("arguments", "named"), BAD.values(), ids=BAD)
def test_what_is_wrong_is_said_in_one_line(
    arguments: list[str],
    named: list[str],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("USTACK_IO", raising=False)
    try:
        status: Any = cli.main(["run", *arguments])
    except SystemExit as error:
        status = error.code
    out, err = capsys.readouterr()
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert all(name in err for name in named), err


def test_a_module_that_is_not_there_is_said_so() -> None:
    done = run(*LOOP, "-m", "no.such")
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert "-m no.such" in done.stderr
