# SPDX-License-Identifier: BSD-3-Clause
"""The http app's protocol, fed bytes by hand (RFC 9110 and 9112)."""

import hashlib
import os
import re
from pathlib import Path

import pytest
from transport import Transport

from ustack.apps.http import Http, Site, pattern

HELLO = b"hello, world\n"


def connection(root: Path | None = None) -> tuple[Http, Transport]:
    protocol, transport = Http(Site(root)), Transport()
    transport.protocol = protocol
    protocol.connection_made(transport)  # type: ignore[arg-type]
    return protocol, transport


def responses(raw: bytes, *, bodies: bool = True) -> list[tuple[int, dict[str, str], bytes]]:
    """Take responses apart; bodies: whether they have one."""
    found = []
    while raw:
        head, raw = raw.split(b"\r\n\r\n", 1)
        status, *lines = head.decode().split("\r\n")
        headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}
        length = int(headers.get("content-length", 0)) if bodies else 0
        found.append((int(status.split()[1]), headers, raw[:length]))
        raw = raw[length:]
    return found


def ask(
    request: bytes, root: Path | None = None, *, bodies: bool = True
) -> list[tuple[int, dict[str, str], bytes]]:
    protocol, transport = connection(root)
    protocol.data_received(request)
    return responses(transport.written, bodies=bodies)


def get(path: str, root: Path | None = None) -> tuple[int, bytes]:
    ((status, _, body),) = ask(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode(), root)
    return status, body


def test_a_page_comes_with_length_type_and_date() -> None:
    ((status, headers, body),) = ask(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    assert (status, body) == (200, HELLO)
    assert headers["content-length"] == "13"
    assert headers["content-type"] == "text/plain; charset=utf-8"
    assert headers["connection"] == "keep-alive"
    assert re.fullmatch(r"\w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d GMT", headers["date"])


def test_a_request_may_come_byte_by_byte() -> None:
    protocol, transport = connection()
    for byte in b"GET /bytes/3 HTTP/1.1\r\nHost: x\r\n\r\n":
        assert transport.written == b""
        protocol.data_received(bytes([byte]))
    assert responses(transport.written)[0][2] == b"\0\1\2"


def test_pipelined_requests_are_answered_in_order() -> None:
    paths = ["/bytes/5", "/nothing", "/", "/bytes/70000", "/bytes/0"]
    raw = b"".join(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode() for path in paths)
    answers = [(status, len(body)) for status, _, body in ask(raw)]
    assert answers == [(200, 5), (404, 14), (200, 13), (200, 70000), (200, 0)]


def test_head_has_the_headers_of_get_and_no_body() -> None:
    ((status, headers, body),) = ask(
        b"HEAD /bytes/1000000 HTTP/1.1\r\nHost: x\r\n\r\n", bodies=False
    )
    assert (status, headers["content-length"], body) == (200, "1000000", b"")


def test_generated_bodies_have_their_length_and_pattern() -> None:
    for length in (0, 1, 250, 251, 252, 65510, 65511, 65512, 200_000):
        body = b"".join(pattern(length))
        assert body == bytes(i % 251 for i in range(length))
        assert get(f"/bytes/{length}") == (200, body)
    for bad in ("", "-1", "x", "1e3", "٣", "9" * 16):
        assert get(f"/bytes/{bad}")[0] in (400, 404)


def test_a_large_body_is_made_only_as_the_client_takes_it() -> None:
    protocol, transport = connection()
    transport.room = 1
    protocol.data_received(b"GET /bytes/1000000000 HTTP/1.1\r\nHost: x\r\n\r\n")
    assert 0 < len(transport.written) < 200_000
    before = len(transport.written)
    protocol.resume_writing()
    assert before < len(transport.written) < 300_000


def test_many_unanswered_requests_stop_the_reading() -> None:
    protocol, transport = connection()
    transport.room = 1
    for _ in range(100):
        protocol.data_received(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    assert transport.paused
    transport.room = 1 << 40
    protocol.resume_writing()
    assert not transport.paused
    assert [answer[2] for answer in responses(transport.written)] == [HELLO] * 100


@pytest.mark.parametrize("method", ["PUT", "POST"])
def test_an_upload_is_answered_with_its_sha256(method: str) -> None:
    body = bytes(range(256)) * 100
    head = f"{method} /upload HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n"
    ((status, _, answer),) = ask(head.encode() + body)
    assert (status, answer.decode().strip()) == (200, hashlib.sha256(body).hexdigest())


def test_a_chunked_upload_is_understood() -> None:
    """RFC 9112 7.1."""
    raw = (
        b"POST /upload HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
        b"5;extension=1\r\nhello\r\n6\r\n world\r\n0\r\nTrailer: x\r\n\r\n"
    )
    ((status, _, answer),) = ask(raw)
    assert (status, answer.decode().strip()) == (200, hashlib.sha256(b"hello world").hexdigest())


def test_a_client_that_expects_100_is_told_to_continue() -> None:
    """RFC 9110 10.1.1."""
    protocol, transport = connection()
    protocol.data_received(
        b"PUT /upload HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nExpect: 100-continue\r\n\r\n"
    )
    assert transport.written == b"HTTP/1.1 100 Continue\r\n\r\n"
    protocol.data_received(b"x")
    assert [answer[0] for answer in responses(transport.written)] == [100, 200]


@pytest.mark.parametrize(
    ("request_line", "allowed"),
    [
        ("POST / HTTP/1.1", "GET, HEAD"),
        ("GET /upload HTTP/1.1", "PUT, POST"),
        ("DELETE /bytes/1 HTTP/1.1", "GET, HEAD"),
    ],
)
def test_a_wrong_method_is_told_the_right_ones(request_line: str, allowed: str) -> None:
    ((status, headers, _),) = ask(f"{request_line}\r\nHost: x\r\n\r\n".encode())
    assert (status, headers["allow"]) == (405, allowed)


@pytest.mark.parametrize(
    "request_head",
    [b"GET / HTTP/1.1\r\nConnection: close\r\n\r\n", b"GET / HTTP/1.0\r\n\r\n"],
)
def test_a_connection_that_is_not_kept_is_closed_after_the_answer(request_head: bytes) -> None:
    protocol, transport = connection()
    protocol.data_received(request_head + b"GET /bytes/1 HTTP/1.1\r\n\r\n")
    ((status, headers, body),) = responses(transport.written)
    assert (status, headers["connection"], body) == (200, "close", HELLO)
    assert transport.closed


def test_http_1_0_may_keep_the_connection() -> None:
    protocol, transport = connection()
    protocol.data_received(b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
    assert responses(transport.written)[0][1]["connection"] == "keep-alive"
    assert not transport.closed


@pytest.mark.parametrize(
    "garbage",
    [
        b"\x16\x03\x01\x02\x00",
        b"GET\r\n\r\n",
        b"GET / HTTP/1.1\r\nno colon\r\n\r\n",
        b"POST /upload HTTP/1.1\r\nContent-Length: x\r\n\r\n",
        b"POST /upload HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n",
    ],
)
def test_what_is_no_http_is_answered_400_and_closed(garbage: bytes) -> None:
    protocol, transport = connection()
    protocol.data_received(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n" + garbage)
    protocol.data_received(b"more")
    assert [answer[0] for answer in responses(transport.written)] == [200, 400]
    assert responses(transport.written)[1][1]["connection"] == "close"
    assert transport.closed


def test_a_head_without_end_is_answered_431() -> None:
    protocol, transport = connection()
    protocol.data_received(b"GET / HTTP/1.1\r\nX: ")
    for _ in range(40):
        protocol.data_received(b"x" * 64 * 1024)
    assert [answer[0] for answer in responses(transport.written)] == [431]
    assert transport.closed


def test_an_upgrade_is_declined_by_answering_in_http_1_1() -> None:
    """RFC 9110 7.8."""
    protocol, transport = connection()
    protocol.data_received(
        b"GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n"
    )
    assert responses(transport.written)[0][0] == 200
    assert transport.closed


def test_files_below_the_root_are_served_and_nothing_else(tmp_path: Path) -> None:
    root = tmp_path / "root"
    (root / "sub").mkdir(parents=True)
    (tmp_path / "secret").write_text("secret")
    (root / "index.html").write_text("<p>index")
    (root / "sub" / "a file.txt").write_bytes(bytes(100_000))
    (root / "out").symlink_to(tmp_path / "secret")
    (root / "loop").symlink_to(root / "loop")
    os.mkfifo(root / "fifo")
    assert get("/", root) == (200, b"<p>index")
    assert get("/sub/a%20file.txt?query=1", root) == (200, bytes(100_000))
    assert get("/bytes/2", root) == (200, b"\0\1")
    for path in (
        "/sub",
        "/none",
        "/out",
        "/loop",
        "/fifo",
        "/../secret",
        "/%2e%2e/secret",
        "/sub/../../secret",
        "//etc/passwd",
        "/a%00b",
        f"/{tmp_path}/secret",
    ):
        assert get(path, root)[0] == 404, path
    assert get("/%ff", root)[0] == 400


def test_a_file_that_shrinks_while_it_is_sent_costs_the_connection(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(bytes(1_000_000))
    protocol, transport = connection(tmp_path)
    transport.room = 1
    protocol.data_received(b"GET /file HTTP/1.1\r\nHost: x\r\n\r\n")
    os.truncate(tmp_path / "file", 100)
    transport.room = 1 << 40
    protocol.resume_writing()
    assert transport.aborted
