# SPDX-License-Identifier: BSD-3-Clause
"""UDP sockets do as Linux's do: each behaviour runs on two stacks and on the kernel, and agrees.

The behaviours are in what udp_behaviours.py imports; those in which we differ are listed here, with
the reason.
"""

import os
import pickle
import subprocess
import sys
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import udp_behaviours
from two import two_stacks

from ustack import Stack
from ustack.datagram import UdpSocket

#: Behaviour → why ours is another.
DEVIATIONS = {
    "msg_more_joins_sends_to_one_datagram": "not built yet; refused, not ignored",
    "after_shutdown_of_reading_a_socket_that_does_not_block_finds_nothing": (
        "poll() says readable, as Linux's does; EAGAIN would make its callers spin"
    ),
    "buffer_sizes_are_told_doubled": (
        "a size is told as it was set; datagrams leave at once, so SO_SNDBUF is a constant"
    ),
}


@pytest.fixture(scope="module")
def theirs() -> Any:
    """What the kernel's sockets do."""
    program = Path(udp_behaviours.__file__).with_name("udp_kernel.py")
    path = os.pathsep.join([str(program.parent), os.environ.get("PYTHONPATH", "")])
    env = os.environ | {"PYTHONPATH": path}
    done = subprocess.run([sys.executable, program], capture_output=True, timeout=120, env=env)
    if done.returncode != 0:
        why = done.stderr.decode().strip().splitlines()[-1]
        assert why.startswith(("PermissionError", "OSError", "ustack.errors.PortError")), why
        pytest.skip(f"no namespaces: {why}")
    return pickle.loads(done.stdout)


def drive(stack: Stack, over: threading.Event) -> None:
    while not over.is_set():
        stack.run_once(0.01)


@pytest.fixture(scope="module")
def ours() -> Iterator[Any]:
    """What ours do."""
    over = threading.Event()
    settings = {"ip6.dad_transmits": 0}
    with two_stacks(settings=settings) as (far, near):
        near.add_address("fd09::1/64")
        far.add_address("fd09::2/64")
        threads = [threading.Thread(target=drive, args=(stack, over)) for stack in (near, far)]
        for thread in threads:
            thread.start()
        try:
            yield udp_behaviours.perform(partial(UdpSocket, near), partial(UdpSocket, far))
        finally:
            over.set()
            for thread in threads:
                thread.join()


@pytest.mark.parametrize(("name", "version"), udp_behaviours.cases())
def test_our_sockets_do_as_linuxs(name: str, version: int, ours: Any, theirs: Any) -> None:
    if name in DEVIATIONS:
        assert ours[name, version] != theirs[name, version], "no deviation any more"
    else:
        assert ours[name, version] == theirs[name, version]


def test_there_are_sixty_behaviours_and_each_says_something() -> None:
    assert len(udp_behaviours.BEHAVIOURS) >= 60
    assert set(DEVIATIONS) <= set(udp_behaviours.BEHAVIOURS)
