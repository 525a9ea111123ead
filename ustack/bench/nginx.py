# SPDX-License-Identifier: BSD-3-Clause
"""nginx as a peer of http: one process on the server's core that has one answer in memory.

Small bodies are in its configuration (return 200), larger ones in a file that stays open. Its
files are in a temporary directory, and it ends with the repetition.
"""

import contextlib
import grp
import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from ustack.bench.definition import Task
from ustack.bench.machine import CORES
from ustack.bench.sides import START_TIMEOUT, KernelSide
from ustack.errors import UstackError

__all__ = ["NginxSide", "program"]

MOST_IN_CONFIGURATION = 2000  # bytes of a body; nginx takes 4096 for a whole parameter

CONFIGURATION = """
{user}
daemon off;
master_process off;
worker_processes 1;
worker_rlimit_nofile {descriptors};
pid nginx.pid;
error_log error.log crit;
events {{ worker_connections {descriptors}; multi_accept on; }}
http {{
    access_log off;
    default_type application/octet-stream;
    keepalive_timeout 3600;
    keepalive_requests 1000000000;
    tcp_nodelay on;
    sendfile on;
    open_file_cache max=16;
    client_body_temp_path tmp;
    proxy_temp_path tmp;
    fastcgi_temp_path tmp;
    uwsgi_temp_path tmp;
    scgi_temp_path tmp;
    server {{
        listen 127.0.0.1:{port} backlog=4096;
        root {root};
        location = / {{ {answer} }}
    }}
}}
"""


def program() -> str | None:
    """Return nginx's path, or None where it is not installed."""
    return shutil.which("nginx", path=os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin")


class NginxSide(KernelSide):
    """nginx on loopback."""

    def __init__(self, path: str, descriptors: int) -> None:
        """path: of the program. descriptors: that a process may have open."""
        super().__init__("nginx", "nginx", descriptors)
        self._path = path

    @contextlib.contextmanager
    def _start(self, task: Task) -> "Iterator[tuple[subprocess.Popen[str], int]]":
        with tempfile.TemporaryDirectory(prefix="ustack-nginx-") as directory:
            place, port = Path(directory), _free_port()
            (place / "nginx.conf").write_text(self._configuration(place, port, task))
            command = [self._path, "-p", directory, "-c", "nginx.conf"]
            with open(place / "stderr", "w") as stderr:
                process = subprocess.Popen(command, stderr=stderr, text=True)
            try:
                _wait_for(process, port, place / "stderr")
                if len(CORES) > 1:
                    os.sched_setaffinity(process.pid, {CORES[0]})
                yield process, port
            finally:
                process.kill()
                process.wait()

    def _end(self, process: "subprocess.Popen[str]") -> None:
        process.terminate()
        process.wait(START_TIMEOUT)

    def _configuration(self, place: Path, port: int, task: Task) -> str:
        if task.size <= MOST_IN_CONFIGURATION:
            answer = f'return 200 "{"u" * task.size}";'
        else:
            (place / "body").write_bytes(bytes(task.size))
            answer = "try_files /body =404;"
        return CONFIGURATION.format(
            user=_user(),
            descriptors=self._descriptors,
            port=port,
            root=place,
            answer=answer,
        )


def _user() -> str:
    """Return the directive that keeps nginx, when it is root, from giving its files to another."""
    if os.geteuid() != 0:
        return ""
    return f"user {pwd.getpwuid(0).pw_name} {grp.getgrgid(os.getegid()).gr_name};"


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        return int(sock.getsockname()[1])


def _wait_for(process: "subprocess.Popen[str]", port: int, stderr: Path) -> None:
    """Return once it listens. Raises UstackError when it does not, with what it said."""
    end = time.monotonic() + START_TIMEOUT
    while time.monotonic() < end and process.poll() is None:
        with contextlib.suppress(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port)).close()
            return
        time.sleep(0.01)
    said = stderr.read_text().strip().splitlines() or ["it does not listen"]
    raise UstackError(f"nginx: {said[-1]}")
