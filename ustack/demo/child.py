# SPDX-License-Identifier: BSD-3-Clause
"""The server process as the demo holds it."""

import contextlib
import json
import os
import select
import subprocess
import sys
from collections.abc import Iterator
from typing import IO

from ustack.demo.report import DemoError
from ustack.errors import PortError

__all__ = ["ENDED", "Server", "started"]

ENDED = "the server process has ended"
PATIENCE = 30.0  # seconds; a Python may take some to start


class Server:
    """A server process that runs."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process
        self.pid = process.pid

    def is_alive(self) -> bool:
        """Return whether it still runs."""
        return self._process.poll() is None

    def fileno(self) -> int:
        """Return the descriptor that it talks by; readable when it says something or ends."""
        return _pipe(self._process.stdout).fileno()

    def counters(self) -> dict[str, int]:
        """Return the counters of its stack as they are now."""
        try:
            _pipe(self._process.stdin).write("counters\n")
            _pipe(self._process.stdin).flush()
        except BrokenPipeError:
            raise DemoError(ENDED) from None
        counters: dict[str, int] = json.loads(self.read())
        return counters

    def read(self) -> str:
        """Return the next line that it says."""
        stdout = _pipe(self._process.stdout)
        if not select.select([stdout], [], [], PATIENCE)[0]:
            raise DemoError(f"the server process has said nothing for {PATIENCE:.0f} s")
        os.set_blocking(stdout.fileno(), True)  # a loop that has watched it left it otherwise
        line = stdout.readline().strip()
        if not line:
            raise DemoError(ENDED)
        return line


@contextlib.contextmanager
def started(io: str, address: str, capture: str | None = None) -> Iterator[Server]:
    """Start the server process; yield it once it listens, and end it at last.

    Raises PortError, with the server's words, when it cannot open its port.
    """
    command = [sys.executable, "-m", "ustack.demo.server", "--io", io, "--address", address]
    process = subprocess.Popen(
        [*command, *([] if capture is None else ["--capture", capture])],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        server = Server(process)
        word, _, rest = server.read().partition(" ")
        if word != "ready":
            raise PortError(rest)
        yield server
        _pipe(process.stdin).close()
        process.wait(PATIENCE)
    finally:
        process.kill()
        process.wait()
        _pipe(process.stdout).close()
        with contextlib.suppress(BrokenPipeError):
            _pipe(process.stdin).close()


def _pipe(pipe: IO[str] | None) -> IO[str]:
    assert pipe is not None
    return pipe
