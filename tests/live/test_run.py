# SPDX-License-Identifier: BSD-3-Clause
"""ustack.run() and ustack.new_event_loop(): a program, or a server, on a stack of its own."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from two import SERVER

import ustack
from pair import ring_url
from ustack import ConfigError, Stack, aio
from ustack.apps.echo import Echo

APP = """
async def app(scope, receive, send):
    assert scope["type"] == "http"
    body = b""
    while True:
        message = await receive()
        body += message.get("body", b"")
        if not message.get("more_body"):
            break
    headers = [(b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})
"""


async def echoed(address: str, url: str, port: int) -> bytes:
    """Send hello from a second stack on the other side of the ring; what comes back."""
    loop: Any = asyncio.get_running_loop()
    loop.attach(Stack(url, address), own=True)
    reader, writer = await asyncio.open_connection(SERVER, port)
    writer.write(b"hello")
    answer = await reader.readexactly(5)
    writer.close()
    return answer


@pytest.mark.parametrize("base", ["asyncio", "uvloop", None])
def test_run_opens_the_stack_runs_main_and_closes_what_the_loop_owns(base: str | None) -> None:
    url = ring_url()

    async def main() -> bytes:
        async with await asyncio.get_running_loop().create_server(Echo, SERVER, 7):
            return await echoed("10.9.0.1/24", url, 7)

    for _ in range(2):  # the second finds the ring's side free again
        assert ustack.run(main, io=url, address=f"{SERVER}/24", base=base) == b"hello"


def test_several_addresses_stand_with_commas_between(monkeypatch: Any) -> None:
    async def main() -> list[str]:
        loop: Any = asyncio.get_running_loop()
        (stack,) = loop._stacks
        return [str(address.host) for address in stack.addresses]

    monkeypatch.setenv("USTACK_IO", ring_url())
    monkeypatch.setenv("USTACK_ADDRESS", "10.9.0.2/24, 10.9.1.2/24")
    assert ustack.run(main) == ["10.9.0.2", "10.9.1.2"]
    assert ustack.run(main, address="10.9.0.3/24") == ["10.9.0.3"]


def test_without_a_port_the_way_out_is_said(monkeypatch: Any) -> None:
    async def main() -> None: ...

    monkeypatch.delenv("USTACK_IO", raising=False)
    with pytest.raises(ConfigError, match="USTACK_IO"):
        ustack.run(main)
    with pytest.raises(ConfigError, match="USTACK_IO"):
        ustack.new_event_loop()


def test_a_coroutine_in_place_of_its_function_is_refused() -> None:
    async def main() -> None: ...

    with pytest.raises(TypeError, match=r"run\(main, …\) without \(\)"):
        ustack.run(main(), io=ring_url())  # type: ignore[arg-type]


def test_a_stack_that_cannot_be_opened_leaves_no_loop_open() -> None:
    async def main() -> None: ...

    with pytest.raises(ConfigError):
        ustack.run(main, io=ring_url(), address="no address")
    gc.collect()  # a ResourceWarning of an open loop would fail the test


def test_uvicorn_serves_an_app_by_the_factory(tmp_path: Path) -> None:
    pytest.importorskip("uvicorn")
    httpx = pytest.importorskip("httpx")
    url = ring_url()
    (tmp_path / "served.py").write_text(APP)
    command = [sys.executable, "-m", "uvicorn", "served:app", "--host", SERVER, "--port", "80"]
    server = subprocess.Popen(
        [*command, "--loop", "ustack:new_event_loop", "--lifespan", "off"],
        cwd=tmp_path,
        env={**os.environ, "USTACK_IO": url, "USTACK_ADDRESS": f"{SERVER}/24"},
        stderr=subprocess.PIPE,
        text=True,
    )

    async def main() -> None:
        body = os.urandom(1_000_000)
        async with httpx.AsyncClient(timeout=20) as client:
            for _ in range(3):
                answer = await client.post(f"http://{SERVER}/", content=body)
                assert answer.content == body

    try:
        assert server.stderr is not None
        for line in server.stderr:
            if "Uvicorn running" in line:
                break
        with Stack(url, "10.9.0.1/24") as stack:
            aio.run(main(), stack)
        server.send_signal(signal.SIGINT)
        assert server.wait(20) == 0
    finally:
        server.kill()
        server.wait()


def test_importing_ustack_does_not_load_asyncio() -> None:
    """It is half of the import's time, and no use to programs with blocking sockets."""
    code = "import sys, ustack; print([name for name in ('asyncio', 'ssl') if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
