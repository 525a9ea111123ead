# SPDX-License-Identifier: BSD-3-Clause
"""Headless Chromium loads a page over TLS and talks on a WebSocket, over a tap, without an error.

The server is examples/tls_server.py on a stack of its own; the browser is the kernel's, in a
namespace without any other network, and is watched by the DevTools protocol. --runs N: how many
times (3).
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import hashlib
import importlib.util
import json
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ustack.io import userns

HOST = "10.9.0.2"
PATIENCE = 60.0  # seconds for anything
ROOT = Path(__file__).parent.parent
NEEDS = ("aiohttp", "cryptography", "trustme", "websockets")
OPTIONS = [
    "--headless=new",
    "--no-sandbox",  # it may be run by root
    "--no-first-run",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-dev-shm-usage",
    "--remote-debugging-port=0",
]
WORKS = "the WebSocket works"
EVENTS_OF_ERRORS = {
    "Network.loadingFailed",
    "Network.webSocketFrameError",
    "Runtime.exceptionThrown",
    "Inspector.targetCrashed",
}


def main() -> int:
    """Load the page so many times; 1 after any error."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--runs", type=int, default=3)
    args = parser.parse_args()
    browser = shutil.which("chromium") or shutil.which("chromium-browser")
    missing = [name for name in NEEDS if importlib.util.find_spec(name) is None]
    if browser is None or missing:
        print(f"skipped: not installed: {', '.join(missing) or 'chromium (a Debian package)'}")
        return 0
    userns.isolate()
    print(version(browser), "\n")
    print("| run | page | TLS | WebSocket | it took | errors |\n|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as where:
        pin = make_certificate(Path(where))
        with serving(Path(where)):
            visits = [visit(browser, pin) for _ in range(args.runs)]
    for number, (row, errors) in enumerate(visits, 1):
        print(f"| {number} | {row} | {len(errors)} |")
    told = [f"run {number}: {e}" for number, (_, errors) in enumerate(visits, 1) for e in errors]
    print("\n" + "\n".join(f"- {line}" for line in told))
    return int(bool(told))


def version(browser: str) -> str:
    done = subprocess.run([browser, "--version"], capture_output=True, text=True, timeout=PATIENCE)
    return done.stdout.strip()


def make_certificate(where: Path) -> str:
    """Write cert.pem and key.pem; the hash of the key, by which the browser trusts it."""
    import trustme
    from cryptography import x509
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    made = trustme.CA().issue_cert(HOST)
    made.cert_chain_pems[0].write_to_path(where / "cert.pem")
    made.private_key_pem.write_to_path(where / "key.pem")
    key = x509.load_pem_x509_certificate(made.cert_chain_pems[0].bytes()).public_key()
    spki = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return base64.b64encode(hashlib.sha256(spki).digest()).decode()


@contextlib.contextmanager
def serving(where: Path) -> Iterator[None]:
    """Run the example on a tap; it must have nothing to tell but where it is."""
    argv = [sys.executable, str(ROOT / "examples" / "tls_server.py"), "--address", f"{HOST}/24"]
    argv += ["--cert", str(where / "cert.pem"), "--key", str(where / "key.pem")]
    with subprocess.Popen(
        argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as server:
        assert server.stdout is not None
        try:
            line = server.stdout.readline()
            assert line == f"https://{HOST}:443/\n", line + server.stdout.read()
            yield
        finally:
            server.terminate()
            rest = server.communicate(timeout=PATIENCE)[0]
        assert not rest, rest


def visit(browser: str, pin: str) -> tuple[str, list[str]]:
    """Load the page in a new browser until its WebSocket has worked; (a row, errors)."""
    with tempfile.TemporaryDirectory() as profile:
        argv = [browser, *OPTIONS, f"--user-data-dir={profile}"]
        argv += [f"--ignore-certificate-errors-spki-list={pin}", "about:blank"]
        process = subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            with contextlib.closing(DevTools(Path(profile, "DevToolsActivePort"))) as tools:
                return look(tools)
        finally:
            process.terminate()
            process.wait(PATIENCE)


def look(tools: DevTools) -> tuple[str, list[str]]:
    """Open the page, and tell what the browser says of it."""
    for domain in ("Page", "Network", "Runtime", "Log", "Inspector"):
        tools.call(f"{domain}.enable")
    started = time.monotonic()
    tools.call("Page.navigate", url=f"https://{HOST}/")
    state, end = "", time.monotonic() + PATIENCE
    while "waiting" in state or not state:
        if time.monotonic() > end:
            break
        asked = "document.getElementById('state')?.textContent ?? ''"
        state = tools.call("Runtime.evaluate", expression=asked)["result"].get("value", "")
        time.sleep(0.02)
    took = time.monotonic() - started
    errors = [] if state == WORKS else [f"the page says {state!r}"]
    errors += [
        f"{name}: {json.dumps(told)[:300]}" for name, told in tools.events if is_error(name, told)
    ]
    answer = next((told["response"] for name, told in tools.events if is_page(name, told)), {})
    frames = [told for name, told in tools.events if name == "Network.webSocketFrameReceived"]
    length = sum(len(told["response"]["payloadData"]) for told in frames)
    if answer.get("status") != 200:
        errors.append(f"the page has status {answer.get('status')}")
    details = answer.get("securityDetails", {})
    tls = f"{details.get('protocol')}, {details.get('cipher')}"
    return f"{answer.get('status')} | {tls} | {length} bytes back | {took:.2f} s", errors


def is_error(name: str, told: dict[str, Any]) -> bool:
    is_logged = name == "Log.entryAdded" and told["entry"]["level"] in ("error", "warning")
    return is_logged or name in EVENTS_OF_ERRORS


def is_page(name: str, told: dict[str, Any]) -> bool:
    return name == "Network.responseReceived" and told["type"] == "Document"


class DevTools:
    """A connection to one page of the browser; events are collected."""

    def __init__(self, place: Path) -> None:
        """place: the file in which the browser writes its port and path."""
        from websockets.sync.client import connect

        end = time.monotonic() + PATIENCE
        while not place.exists() or place.read_text().count("\n") < 1:
            assert time.monotonic() < end, "the browser does not start"
            time.sleep(0.02)
        port, path = place.read_text().split()
        sock = socket.create_connection(("127.0.0.1", int(port)))
        url = f"ws://127.0.0.1:{port}{path}"
        self._open = contextlib.ExitStack()
        self._socket = self._open.enter_context(connect(url, sock=sock, max_size=None, proxy=None))
        self._number = 0
        self._session: str | None = None
        self.events: list[tuple[str, dict[str, Any]]] = []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        attached = self.call("Target.attachToTarget", targetId=target, flatten=True)
        self._session = attached["sessionId"]

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Call a method of the protocol; its result."""
        self._number += 1
        message: dict[str, Any] = {"id": self._number, "method": method, "params": parameters}
        if self._session is not None:
            message["sessionId"] = self._session
        self._socket.send(json.dumps(message))
        while True:
            told = json.loads(self._socket.recv(PATIENCE))
            if told.get("id") == self._number:
                assert "error" not in told, (method, told["error"])
                result: dict[str, Any] = told["result"]
                return result
            if "method" in told:
                self.events.append((told["method"], told["params"]))

    def close(self) -> None:
        self._open.close()


if __name__ == "__main__":
    sys.exit(main())
