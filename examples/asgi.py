# SPDX-License-Identifier: BSD-3-Clause
"""An ASGI app; nothing in it knows of ustack.

USTACK_IO=tap:us0 USTACK_ADDRESS=10.9.0.2/24 uvicorn --app-dir examples asgi:app \
    --host 10.9.0.2 --port 80 --loop ustack:new_event_loop

GET / says hello, POST / tells the SHA-256 of the body, a WebSocket sends back what it gets.
"""

import hashlib
from typing import Any


async def app(scope: Any, receive: Any, send: Any) -> None:
    """Answer one request, or talk on one WebSocket."""
    if scope["type"] == "websocket":
        await echo(receive, send)
    elif scope["type"] == "http":
        digest = hashlib.sha256()
        more = True
        while more:
            message = await receive()
            digest.update(message.get("body", b""))
            more = message.get("more_body", False)
        text = digest.hexdigest() if scope["method"] == "POST" else "hello, world"
        await answer(send, text.encode() + b"\n")


async def answer(send: Any, body: bytes) -> None:
    headers = [
        (b"content-type", b"text/plain; charset=utf-8"),
        (b"content-length", b"%d" % len(body)),
    ]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def echo(receive: Any, send: Any) -> None:
    while (message := await receive())["type"] != "websocket.disconnect":
        if message["type"] == "websocket.connect":
            await send({"type": "websocket.accept"})
        else:
            await send({**message, "type": "websocket.send"})
