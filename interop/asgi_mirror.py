# SPDX-License-Identifier: BSD-3-Clause
"""An ASGI app that answers a request with its body."""

from typing import Any


async def app(scope: Any, receive: Any, send: Any) -> None:
    """Answer one request."""
    assert scope["type"] == "http"
    body, more = b"", True
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
    headers = [(b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})
