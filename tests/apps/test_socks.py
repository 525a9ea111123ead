# SPDX-License-Identifier: BSD-3-Clause
"""What the proxy reads: SOCKS 5 (RFC 1928) and its options; tests/live has it at work."""

import contextlib

import hypothesis
import pytest
from hypothesis import strategies as st

from ustack.apps.proxy import Forward, Place, parse_forward, parse_place
from ustack.apps.socks import Refusal, Request, parse_greeting, parse_request, reply
from ustack.cli import main as ustack
from ustack.errors import ConfigError

TO_NAME = b"\5\1\0\3\x0bexample.org\1\xbb"
TO_V4 = b"\5\1\0\1\x0a\x09\0\2\0\x50"
TO_V6 = b"\5\1\0\4" + bytes(15) + b"\1\0\x50"

#: On a busy machine an example, or making one up, may take any time.
UNHURRIED = hypothesis.settings(
    deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)


@pytest.mark.parametrize(
    ("data", "host", "port"),
    [(TO_NAME, "example.org", 443), (TO_V4, "10.9.0.2", 80), (TO_V6, "::1", 80)],
)
def test_a_request_may_come_byte_by_byte(data: bytes, host: str, port: int) -> None:
    """RFC 1928 4 and 5."""
    for end in range(len(data)):
        assert parse_request(data[:end]) is None
    assert parse_request(data + b"more") == Request(host, port, len(data))


def test_a_greeting_may_come_byte_by_byte() -> None:
    """RFC 1928 3: without authentication, if the client knows that."""
    assert [parse_greeting(b"\5\2\1\0"[:end]) for end in range(5)] == [None] * 4 + [(0, 4)]
    assert parse_greeting(b"\5\1\2") == (0xFF, 3)
    assert parse_greeting(b"\5\0") == (0xFF, 2)


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"\5\2" + TO_V4[2:], 7),  # BIND
        (b"\5\3" + TO_V4[2:], 7),  # UDP ASSOCIATE
        (b"\5\1\0\2" + TO_V4[4:], 8),
        (b"\5\1\0\3\0\0\x50", 1),
        (b"\5\1\0\3\1\0\0\x50", 1),
        (b"\5\1\0\3\1\xff\0\x50", 1),
        (b"\4\1\0\x50\x0a\x09\0\2\0", None),
    ],
)
def test_what_is_not_granted_has_its_code(data: bytes, code: int | None) -> None:
    """RFC 1928 6."""
    with pytest.raises(Refusal) as refused:
        parse_request(data)
    assert refused.value.code == code


def test_what_does_not_speak_socks_5_is_refused_at_its_first_byte() -> None:
    for data in (b"\4", b"GET / HTTP/1.1\r\n"):
        with pytest.raises(Refusal, match="not SOCKS 5"):
            parse_greeting(data)


def test_a_reply_has_the_address_in_its_own_version() -> None:
    assert reply(0, ("10.9.0.1", 258)) == b"\5\0\0\1\x0a\x09\0\1\1\2"
    assert reply(0, ("::1%eth0", 258, 0, 0)) == b"\5\0\0\4" + bytes(15) + b"\1\1\2"
    assert reply(5) == b"\5\5\0\1" + bytes(6)


def test_forwards_are_written_as_for_ssh() -> None:
    assert parse_forward("-L", "80:host:81") == Forward(Place(None, 80), Place("host", 81))
    got = parse_forward("-L", "[::]:80:[fd09::2]:81")
    assert got == Forward(Place("::", 80), Place("fd09::2", 81))
    assert str(got.target) == "[fd09::2]:81"
    assert parse_place("-D", "0.0.0.0:1080") == Place("0.0.0.0", 1080)


@pytest.mark.parametrize("text", ["", "80", "80:host", "80:fd09::2:81", "70000:h:1", "1:h:0"])
def test_a_forward_that_is_none_is_told(text: str) -> None:
    with pytest.raises(ConfigError, match="-L"):
        parse_forward("-L", text)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ([], "nothing to forward; give -L, -R or -D"),
        (["-D", "99999"], "-D must be [HOST:]PORT, got '99999'"),
        (["-D", "1080", "--idle", "x"], "--idle must be a number from 0"),
        (["-D", "1080", "--limit", "0.5"], "--limit must be a number from 1"),
        (["-D", "192.0.2.1:1080"], "cannot listen on 192.0.2.1:1080"),
    ],
)
def test_the_command_tells_what_it_cannot_do(
    arguments: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ustack(["proxy", "--io", "ring:x", "--address", "10.9.0.1/24", *arguments]) == 2
    assert told in capsys.readouterr().err


@UNHURRIED
@hypothesis.given(st.sampled_from([b"", b"\5", b"\5\1\0", b"\5\1\0\3"]), st.binary(max_size=30))
def test_whatever_a_client_says_is_parsed_or_refused(start: bytes, data: bytes) -> None:
    for parse in (parse_greeting, parse_request):
        with contextlib.suppress(Refusal):
            parse(start + data)
