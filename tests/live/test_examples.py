# SPDX-License-Identifier: BSD-3-Clause
"""The servers of examples/, each with clients that know nothing of ustack."""

import asyncio
import hashlib
import importlib.util
import ssl
from pathlib import Path
from typing import Any

import pytest
from two import SERVER, endpoints, payload, run

pytestmark = pytest.mark.usefixtures("base")

EXAMPLES = Path(__file__).parents[2] / "examples"
PATIENCE = 60.0  # seconds


def example(name: str) -> Any:
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def contexts() -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """Return a server's context, and a client's that trusts it."""
    authority = pytest.importorskip("trustme").CA()
    ours = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    theirs = ssl.create_default_context()
    authority.issue_cert(SERVER).configure_cert(ours)
    authority.configure_trust(theirs)
    return ours, theirs


def test_the_asgi_app_under_uvicorn() -> None:
    uvicorn, httpx = pytest.importorskip("uvicorn"), pytest.importorskip("httpx")
    websockets, body = pytest.importorskip("websockets"), payload(1_000_000)

    async def main() -> None:
        app = example("asgi").app
        config = uvicorn.Config(app, host=SERVER, port=80, log_level="warning", lifespan="off")
        server = uvicorn.Server(config)
        serving = asyncio.create_task(server.serve())
        while not server.started:
            await asyncio.sleep(0)
        async with httpx.AsyncClient(trust_env=False, timeout=PATIENCE) as client:
            assert (await client.get(f"http://{SERVER}/")).text == "hello, world\n"
            answer = await client.post(f"http://{SERVER}/", content=body)
            assert answer.text == hashlib.sha256(body).hexdigest() + "\n"
        async with websockets.connect(f"ws://{SERVER}:80/", proxy=None) as socket:
            for message in ("text", b"bytes"):
                await socket.send(message)
                assert await socket.recv() == message
        server.should_exit = True
        await serving

    assert run(main) == []


def test_the_page_over_tls_and_its_websocket() -> None:
    pytest.importorskip("aiohttp")
    httpx, websockets = pytest.importorskip("httpx"), pytest.importorskip("websockets")

    async def main() -> None:
        ours, theirs = contexts()
        serving = asyncio.create_task(example("tls_server").serve(SERVER, 443, ours))
        while not endpoints(asyncio.get_running_loop()):
            await asyncio.sleep(0)
        async with httpx.AsyncClient(verify=theirs, trust_env=False, timeout=PATIENCE) as client:
            assert "A page over TLS" in (await client.get(f"https://{SERVER}/")).text
        async with websockets.connect(
            f"wss://{SERVER}/echo", proxy=None, ssl=theirs, compression=None
        ) as socket:
            await socket.send("x" * 100_000)
            assert await socket.recv() == "x" * 100_000
        serving.cancel()
        with pytest.raises(asyncio.CancelledError):
            await serving

    assert run(main) == []
