# SPDX-License-Identifier: BSD-3-Clause
"""Stacks and sockets that nobody closes: collected in any order, or left at the end."""

from __future__ import annotations

import subprocess
import sys

import pytest

ENDS = {
    "a socket of the module": "kept = socket.create_server((HOST, 0))",
    "one with a doorbell": "kept = socket.create_server((HOST, 0)); kept.fileno()",
    "one of both": "kept = socket.create_server(('', 0)); kept.fileno()",
    "a stack's own": "kept = stack.socket()",
    "a connection": """
listener = socket.create_server((HOST, 0))
kept = socket.create_connection(listener.getsockname()), listener.accept()
""",
    "an event loop's": """
async def main():
    loop = asyncio.get_running_loop()
    global kept
    kept = await loop.create_server(asyncio.Protocol, HOST, 0)
    kept = kept, await loop.create_connection(asyncio.Protocol, HOST, PORT(kept))
loop = aio.new_event_loop(stack)
loop.run_until_complete(main())
""",
    "a simulated host's": """
host = sim.Network(seed=1).host("alone")
kept = host.stack.socket()
""",
}
BEGIN = """
import asyncio, gc, sys
from ustack import Stack, aio, process, sim, socket
HOST, PORT = "127.0.0.1", lambda server: server.sockets[0].getsockname()[1]
class Cycle: pass
def once():
    stack = Stack("loop:")
    process.install(stack)
    names = dict(globals(), stack=stack)
    exec(sys.argv[1], names)
    names["cycle"] = names  # all is garbage at once, and finalized in any order
    process.install(None)
    return names
"""
COLLECTS = BEGIN + "for _ in range(10): once(); gc.collect()"
LEAVES = BEGIN + "import builtins; builtins.kept = once()"


def run(program: str, part: str) -> tuple[int, str]:
    done = subprocess.run(
        [sys.executable, "-c", program, part],
        capture_output=True,
        text=True,
        timeout=60,
    )
    return done.returncode, done.stderr


@pytest.mark.parametrize("kept", ENDS)
def test_a_stack_is_collected_together_with_what_is_open_on_it(kept: str) -> None:
    assert run(COLLECTS, ENDS[kept]) == (0, "")


@pytest.mark.parametrize("kept", ENDS)
def test_a_program_that_leaves_things_open_ends_quietly(kept: str) -> None:
    assert run(LEAVES, ENDS[kept]) == (0, "")
