# SPDX-License-Identifier: BSD-3-Clause
"""A page over HTTPS and a WebSocket, by aiohttp, on a stack.

openssl req -x509 -newkey rsa:2048 -nodes -keyout key.pem -out cert.pem -days 30 \
    -subj /CN=10.9.0.2 -addext subjectAltName=IP:10.9.0.2
sudo python3 examples/tls_server.py --io tap:us0 --address 10.9.0.2/24 --cert cert.pem --key key.pem

Then open https://10.9.0.2/ in a browser: the page says "the WebSocket works" when it does.
"""

import argparse
import asyncio
import ssl

from aiohttp import WSMsgType, web

import ustack

PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>ustack</title><link rel="icon" href="data:,">
</head><body><h1>A page over TLS</h1><p id="state">waiting for the WebSocket</p>
<script>
const state = document.getElementById("state");
const socket = new WebSocket(`wss://${location.host}/echo`);
const sent = "x".repeat(100000);
socket.onopen = () => socket.send(sent);
socket.onmessage = (event) => {
  state.textContent = event.data === sent ? "the WebSocket works" : "the WebSocket lies";
  socket.close();
};
socket.onerror = () => { state.textContent = "the WebSocket fails"; };
</script></body></html>
"""


async def page(request: web.Request) -> web.Response:
    return web.Response(text=PAGE, content_type="text/html")


async def echo(request: web.Request) -> web.WebSocketResponse:
    socket = web.WebSocketResponse()
    await socket.prepare(request)
    async for message in socket:
        if message.type == WSMsgType.TEXT:
            await socket.send_str(message.data)
    return socket


async def serve(host: str, port: int, context: ssl.SSLContext) -> None:
    app = web.Application()
    app.add_routes([web.get("/", page), web.get("/echo", echo)])
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, host, port, ssl_context=context).start()
    print(f"https://{host}:{port}/", flush=True)
    try:
        await asyncio.Event().wait()
    finally:
        await runner.cleanup()


def main() -> None:
    parser = argparse.ArgumentParser(description="Serve a page over HTTPS on a stack.")
    parser.add_argument("--io", default="tap:us0")
    parser.add_argument("--address", default="10.9.0.2/24")
    parser.add_argument("--port", type=int, default=443)
    parser.add_argument("--cert", required=True, help="a certificate, PEM")
    parser.add_argument("--key", required=True, help="its key, PEM")
    args = parser.parse_args()
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(args.cert, args.key)
    host = args.address.partition("/")[0]
    try:
        ustack.run(lambda: serve(host, args.port, context), io=args.io, address=args.address)
    except KeyboardInterrupt:
        pass


if __name__ == "__main__":
    main()
