# SPDX-License-Identifier: BSD-3-Clause
"""curl, over the kernel's TCP, and the http app."""

from __future__ import annotations

import functools
import hashlib
import shutil

import pytest

from lab import Lab
from netlab import OURS4, PATIENCE, pattern, program
from ustack.apps.http import Http, Site

pytestmark = pytest.mark.skipif(shutil.which("curl") is None, reason="curl is missing")

CURL = ["curl", "-q", "-sS", "--fail", "--noproxy", "*", "--max-time", f"{PATIENCE:.0f}"]
SHA256_OF_100_MB = "b736eb4f696a0f5f7df764258137852674817095d20f2adb9aba29758540efce"


@pytest.fixture
def lab(lab: Lab) -> Lab:
    lab.serve(functools.partial(Http, Site()))
    return lab


def curl(*arguments: str) -> str:
    return program(*CURL, *arguments).decode()


def test_curl_gets_a_page(lab: Lab) -> None:
    assert curl(f"http://{OURS4}/") == "hello, world\n"


@pytest.mark.parametrize("lab", ["?offload=1", "?offload=0"], indirect=True)
def test_curl_gets_100_megabytes_unchanged(lab: Lab) -> None:
    body = program(*CURL, f"http://{OURS4}/bytes/100000000")
    assert hashlib.sha256(body).hexdigest() == SHA256_OF_100_MB


@pytest.mark.parametrize("lab", ["?offload=1", "?offload=0"], indirect=True)
def test_curl_uploads_20_megabytes_unchanged(lab: Lab) -> None:
    body = pattern(20_000_000)
    answer = program(*CURL, "--data-binary", "@-", f"http://{OURS4}/upload", data=body)
    assert answer.decode().strip() == hashlib.sha256(body).hexdigest()


def test_curl_keeps_one_connection_for_several_requests(lab: Lab) -> None:
    assert curl(*[f"http://{OURS4}/"] * 20) == "hello, world\n" * 20
    assert lab.counter("tcp.opens.passive") == 1


def test_curl_takes_many_connections_at_once(lab: Lab) -> None:
    urls = f"http://{OURS4}/bytes/[10000-10499]"
    codes = curl("-Z", "--parallel-max", "50", "-w", "%{http_code} ", "-o", "/dev/null", urls)
    assert codes.split() == ["200"] * 500
    assert lab.counter("tcp.opens.passive") > 10
