# SPDX-License-Identifier: BSD-3-Clause
"""The demo with the kernel as client: its TCP and its ping against a server process, by a tap.

All of it happens in namespaces of its own, so it meets no interface of the machine, and it needs no
root where user namespaces are allowed.
"""

import argparse
import hashlib
import http.client
import os
import re
import shutil
import subprocess
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from typing import IO, cast

from ustack.apps.http import pattern
from ustack.demo import ping
from ustack.demo.child import ENDED, Server, started
from ustack.demo.over_ring import CONNECTIONS, SIZE, echoes, since
from ustack.demo.report import (
    DemoError,
    Progress,
    Row,
    check_digest,
    megabytes,
    table,
)
from ustack.io import userns

__all__ = ["run"]

IO_URL, SERVER = "tap:us0", "10.9.0.2"
PINGS, INTERVAL = 100, 0.01
PATIENCE = 10  # seconds without any progress
PIECE = 256 * 1024

_Show = Callable[[int], None]


def run(args: argparse.Namespace, capture: str, progress: Progress) -> str:
    """Download, upload, ping, echo; the report. capture: the file for the first frames."""
    userns.isolate()
    rows: list[Row] = []
    with started(IO_URL, f"{SERVER}/24", capture) as server:
        for work in (_download_row, _upload_row, _ping_row, _echo_row):
            before = _counters(server)
            row = _done(work, args, server, progress)
            rows.append(Row(*row, since(before, _counters(server))))
    client = "curl" if shutil.which("curl") else "urllib"
    title = (
        f"server {SERVER} on a stack by {IO_URL}, client 10.9.0.1: this kernel's TCP, by {client}"
    )
    return table(title, rows, capture)


def _counters(server: Server) -> dict[str, int]:
    counters = server.counters()
    return {name: counters[name] for name in ("tcp.in", "tcp.out", "tcp.rexmt.segs")}


def _done(
    work: Callable[..., "_Result"], args: argparse.Namespace, server: Server, progress: Progress
) -> "_Result":
    """Do one thing; if it fails, the server's end is the better reason."""
    try:
        return work(args, server, progress)
    except DemoError:
        if not server.is_alive():
            raise DemoError(ENDED) from None
        raise


_Result = tuple[str, str, str]


def _download_row(args: argparse.Namespace, server: Server, progress: Progress) -> _Result:
    length = args.bytes
    show = progress.begin("download", length)
    download = _download_curl if shutil.which("curl") else _download_urllib
    digest, done, started_at = hashlib.sha256(), 0, time.monotonic()
    for piece in download(f"http://{SERVER}/bytes/{length}"):
        digest.update(piece)
        done += len(piece)
        show(done)
    seconds = time.monotonic() - started_at
    if done != length:
        raise DemoError(f"download: got {done} of {length} bytes")
    check_digest("download", length, digest.hexdigest())
    return "download", f"{megabytes(length)}, SHA-256 as it must be", _gigabits(length, seconds)


def _upload_row(args: argparse.Namespace, server: Server, progress: Progress) -> _Result:
    length = args.bytes
    show = progress.begin("upload", length)
    upload = _upload_curl if shutil.which("curl") else _upload_urllib
    started_at = time.monotonic()
    digest = upload(f"http://{SERVER}/upload", _shown(pattern(length), show))
    seconds = time.monotonic() - started_at
    check_digest("upload", length, digest)
    return "upload", f"{megabytes(length)}, SHA-256 as it must be", _gigabits(length, seconds)


def _shown(pieces: Iterator[bytes], show: _Show) -> Iterator[bytes]:
    done = 0
    for piece in pieces:
        yield piece
        done += len(piece)
        show(done)


def _gigabits(length: int, seconds: float) -> str:
    return f"{length * 8 / seconds / 1e9:.2f} Gb/s"


# -------------------------------------------------------------------------- by curl

#: Without its configuration and any proxy; it gives up when nothing moves.
CURL = ["curl", "-q", "-sS", "--fail", "--noproxy", "*"]
CURL += ["--connect-timeout", str(PATIENCE), "--speed-limit", "1", "--speed-time", str(PATIENCE)]


def _download_curl(url: str) -> Iterator[bytes]:
    with subprocess.Popen([*CURL, url], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as curl:
        stdout = cast(IO[bytes], curl.stdout)
        while piece := stdout.read(PIECE):
            yield piece
        _check_curl(curl)


def _upload_curl(url: str, pieces: Iterator[bytes]) -> str:
    command = [*CURL, "-T", "-", url]  # in chunks
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe) as curl:
        stdin, stdout = cast(IO[bytes], curl.stdin), cast(IO[bytes], curl.stdout)

        def feed() -> None:
            try:
                with stdin:
                    for piece in pieces:
                        stdin.write(piece)
            except BrokenPipeError:  # curl tells why
                pass

        feeder = threading.Thread(target=feed)
        feeder.start()
        answer = stdout.read()
        feeder.join()
        _check_curl(curl)
        return answer.decode().strip()


def _check_curl(curl: "subprocess.Popen[bytes]") -> None:
    said = cast(IO[bytes], curl.stderr).read().decode(errors="replace").strip()
    if curl.wait() != 0:
        raise DemoError(" ".join(said.split()) or f"curl: exit status {curl.returncode}")


# ------------------------------------------------------------------------ by urllib


def _download_urllib(url: str) -> Iterator[bytes]:
    with _open(urllib.request.Request(url)) as response:
        while piece := response.read(PIECE):
            yield piece


def _upload_urllib(url: str, pieces: Iterator[bytes]) -> str:
    request = urllib.request.Request(url, pieces, method="PUT")  # in chunks
    with _open(request) as response:
        return response.read().decode().strip()


def _open(request: urllib.request.Request) -> http.client.HTTPResponse:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        return cast(http.client.HTTPResponse, opener.open(request, timeout=PATIENCE))
    except OSError as error:
        raise DemoError(f"urllib: {error}") from None


# ------------------------------------------------------------------- the other rows


def _ping_row(args: argparse.Namespace, server: Server, progress: Progress) -> _Result:
    progress.begin("ping", 1)
    answered, seconds = _ping_program() or ping.ping(SERVER, PINGS, INTERVAL)
    if answered != PINGS:
        raise DemoError(f"ping: {answered} of {PINGS} answered")
    return "ping", f"{answered} of {PINGS} answered", f"{seconds * 1e6:,.0f} µs"


def _ping_program() -> tuple[int, float] | None:
    """Return how many were answered and the mean time; None where there is no ping that can."""
    if shutil.which("ping") is None:
        return None
    command = ["ping", "-n", "-q", "-c", str(PINGS), "-i", str(INTERVAL), "-W", "2", SERVER]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | {"LC_ALL": "C"})
    answered = re.search(r"(\d+) (?:packets )?received", done.stdout)
    mean = re.search(r"= [\d.]+/([\d.]+)/", done.stdout)
    if answered is None:
        return None
    return int(answered[1]), float(mean[1]) / 1e3 if mean else 0.0


def _echo_row(args: argparse.Namespace, server: Server, progress: Progress) -> _Result:
    sample = echoes(None, SERVER, server, args.seconds, progress)
    rate = f"{sample.requests / sample.seconds:,.0f} requests/s"
    return "echo", f"{SIZE} bytes × {CONNECTIONS} connections", rate
