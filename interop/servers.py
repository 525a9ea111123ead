# SPDX-License-Identifier: BSD-3-Clause
"""Real servers on the kernel's side of a tap: PostgreSQL and Redis, each of its own, for one test.

They run as nobody where that is possible, in a directory of their own that goes with them.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from netlab import ENV, KERNEL4, need

PATIENCE = 60.0  # seconds for one to start
NOBODY = 65534
REDIS, REDIS_TLS, POSTGRES = 6379, 6380, 5432


class Place:
    """A directory for one server, a certificate for KERNEL4 in it, and who will own it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.user: dict[str, Any] = {}
        self.prefix: list[str] = []
        self.authority = pytest.importorskip("trustme").CA()
        cert = self.authority.issue_cert(KERNEL4)
        cert.private_key_pem.write_to_path(path / "key.pem")
        cert.cert_chain_pems[0].write_to_path(path / "cert.pem")
        self.authority.cert_pem.write_to_path(path / "ca.pem")
        (path / "key.pem").chmod(0o600)
        self._become_nobody()

    def run(self, *command: object) -> str:
        """Run a program to its end, as the directory's owner; what it complained of, if it did."""
        done = subprocess.run(self._words(command), capture_output=True, text=True, **self._options)
        return f"{command[0]}: {done.stdout}{done.stderr}" if done.returncode else ""

    @contextlib.contextmanager
    def running(self, is_ready: Callable[[], bool], *command: object) -> Iterator[None]:
        """Keep a server running, from when it is ready; it is ended, and only it."""
        log = self.path / "log"
        with log.open("w") as output:
            words = self._words(command)
            process = subprocess.Popen(words, stdout=output, stderr=output, **self._options)
        try:
            _wait_for(is_ready, process, log)
            yield
        finally:
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    @property
    def _options(self) -> dict[str, Any]:
        return {"cwd": self.path, "env": ENV | {"LC_ALL": "C"}, **self.user}

    def _words(self, command: tuple[object, ...]) -> list[str]:
        return [*self.prefix, *map(str, command)]

    def _become_nobody(self) -> None:
        """Who is root of a user namespace alone has nobody to become, but for one more of these."""
        rows = Path("/proc/self/uid_map").read_text().splitlines()
        if sum(int(row.split()[2]) for row in rows) > NOBODY:
            for path in [self.path, *self.path.iterdir()]:
                os.chown(path, NOBODY, NOBODY)
            self.user = {"user": NOBODY, "group": NOBODY, "extra_groups": []}
        else:
            self.prefix = ["unshare", "--user", f"--map-user={NOBODY}"]


def _wait_for(is_ready: Callable[[], bool], process: subprocess.Popen[bytes], log: Path) -> None:
    end = time.monotonic() + PATIENCE
    while not is_ready():
        assert process.poll() is None and time.monotonic() < end, log.read_text()
        time.sleep(0.02)


def _listens(port: int) -> bool:
    with contextlib.suppress(OSError):
        socket.create_connection((KERNEL4, port), 1).close()
        return True
    return False


@contextlib.contextmanager
def _place() -> Iterator[Place]:
    path = Path(tempfile.mkdtemp(prefix="ustack-"))
    try:
        yield Place(path)
    finally:
        shutil.rmtree(path, ignore_errors=True)


@contextlib.contextmanager
def redis_server() -> Iterator[Place]:
    """Run Redis on KERNEL4: REDIS, and REDIS_TLS under TLS."""
    program = need("redis-server")
    with _place() as place:
        options = f"--bind {KERNEL4} --port {REDIS} --tls-port {REDIS_TLS} --protected-mode no"
        files = "--tls-cert-file cert.pem --tls-key-file key.pem --tls-auth-clients no"
        with place.running(
            lambda: _listens(REDIS), program, *options.split(), *files.split(), "--save", ""
        ):
            yield place


@contextlib.contextmanager
def postgresql() -> Iterator[Place]:
    """Run PostgreSQL on KERNEL4, which trusts everybody, with TLS for who asks."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    if not found:
        pytest.skip("not installed: postgresql")
    programs = found[-1].parent
    with _place() as place:
        data = place.path / "data"
        words = f"--no-sync --auth=trust --username=me --encoding=UTF8 -D {data}"
        assert (said := place.run(programs / "initdb", *words.split())) == "", said
        with (data / "pg_hba.conf").open("a") as file:
            file.write(f"host all me {KERNEL4}/24 trust\n")
        options = {
            "listen_addresses": KERNEL4,
            "unix_socket_directories": str(place.path),
            "fsync": "off",
            "ssl": "on",
            "ssl_cert_file": str(place.path / "cert.pem"),
            "ssl_key_file": str(place.path / "key.pem"),
        }
        settings = [word for name, value in options.items() for word in ("-c", f"{name}={value}")]
        asked = (programs / "pg_isready", "-h", KERNEL4)
        with place.running(
            lambda: not place.run(*asked), programs / "postgres", "-D", data, *settings
        ):
            yield place
