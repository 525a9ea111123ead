# SPDX-License-Identifier: BSD-3-Clause
"""The kv app's parser and protocol, fed bytes by hand; tests/live compares it with redis-server."""

import random
from typing import Any

import hypothesis
import pytest
from hypothesis import strategies as st
from transport import Transport

from ustack.apps.kv.resp import Limits, Parser, encode, format_double
from ustack.apps.kv.server import Kv, new_service
from ustack.apps.kv.store import SLOTS, Store
from ustack.apps.kv.strings import glob
from ustack.apps.kv.table import COMMANDS
from ustack.cli import main as ustack

#: On a busy machine an example, or making one up, may take any time.
UNHURRIED = hypothesis.settings(
    deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)

OOM = b"-OOM command not allowed when used memory > 'maxmemory'.\r\n"


class Client:
    """A client of a service: ask(b"GET k") returns what comes back."""

    def __init__(self, service: Any = None, **limits: int) -> None:
        self.service = service or new_service(Limits(**limits))
        self.protocol, self.transport = Kv(self.service), Transport()
        self.transport.protocol = self.protocol
        self.protocol.connection_made(self.transport)  # type: ignore[arg-type]

    def ask(self, *words: bytes) -> bytes:
        self.transport.written = b""
        self.protocol.data_received(request(*words))
        return self.transport.written

    def store(self) -> Store:
        store: Store = self.service.store
        return store


def request(*words: bytes) -> bytes:
    return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%b\r\n" % (len(w), w) for w in words)


# ----------------------------------------------------------------------------------- parsing

WORDS = st.lists(st.binary(max_size=12) | st.binary(min_size=1020, max_size=1030), min_size=1)


@UNHURRIED
@hypothesis.given(st.lists(WORDS, max_size=8), st.lists(st.integers(0, 9000), max_size=8))
def test_requests_come_out_however_they_are_cut(requests: list[Any], cuts: list[int]) -> None:
    data = b"".join(request(*words) for words in requests)
    parser, got = Parser(Limits()), []
    edges = [0, *sorted(cuts), len(data)]
    for start, end in zip(edges, edges[1:], strict=False):
        got += parser.feed(data[start:end])
    assert (got, parser.held, parser.error) == (requests, 0, None)


@UNHURRIED
@hypothesis.given(st.lists(st.sampled_from([b"*", b"$", b"-", b"\r\n", b"1", b"23", b"x", b"'"])))
def test_garbage_is_told_the_same_byte_by_byte_and_at_once(parts: list[bytes]) -> None:
    data = b"".join(parts)
    one, other = Parser(Limits()), Parser(Limits())
    at_once, by_byte = one.feed(data), [r for i in data for r in other.feed(bytes([i]))]
    assert at_once == by_byte
    assert str(one.error) == str(other.error)


def test_a_parser_holds_no_more_than_a_request_may_have() -> None:
    parser = Parser(Limits(request=1000))
    assert parser.feed(b"*3\r\n$600\r\n" + b"x" * 600 + b"\r\n$600\r\n") == []
    assert parser.error is None
    parser.feed(b"x" * 600)
    assert str(parser.error) == "request of more than 1000 bytes"
    assert parser.feed(request(b"PING")) == []


def test_a_promise_of_a_million_words_costs_nothing() -> None:
    parser = Parser(Limits())
    assert parser.feed(b"*1000000\r\n") == []
    assert (parser.held, parser.error) == (0, None)


@pytest.mark.parametrize(
    ("pattern", "yes", "no"),
    [
        (b"*", b"", None),
        (b"a*b*c", b"a--b--c", b"a--c--b"),
        (b"*aba", b"ababa", b"abab"),
        (b"a[b-d]e", b"ace", b"afe"),
        (b"a[d-b]e", b"ace", b"afe"),
        (b"a[^b-d]e", b"afe", b"ace"),
        (b"a[\\]x]", b"a]", b"a\\"),
        (b"\\*", b"*", b"x"),
        (b"a.c", b"a.c", b"abc"),
        (b"?\n", b"\n\n", b"\n"),
    ],
)
def test_patterns_are_those_of_redis(pattern: bytes, yes: bytes, no: bytes | None) -> None:
    assert glob(pattern).fullmatch(yes)
    assert no is None or not glob(pattern).fullmatch(no)


def test_a_pattern_of_many_stars_is_no_attack() -> None:
    assert not glob(b"*a" * 50 + b"*b").fullmatch(b"a" * 5000)  # ends


def test_doubles_are_written_short() -> None:
    scores = [1.0, -0.5, 1e17, 1e16, 0.1, float("inf"), float("-inf")]
    written = [b"1", b"-0.5", b"1e+17", b"10000000000000000", b"0.1", b"inf", b"-inf"]
    assert [format_double(score) for score in scores] == written
    assert encode({b"a": {b"b"}}, 3) == b"%1\r\n$1\r\na\r\n~1\r\n$1\r\nb\r\n"


# ------------------------------------------------------------------------------ in one session


def test_a_pipeline_is_answered_in_one_write() -> None:
    client = Client()
    client.protocol.data_received(request(b"SET", b"k", b"v") * 3 + b"PING\r\n" + b"GET k\r\n")
    assert client.transport.written == b"+OK\r\n" * 3 + b"+PONG\r\n$1\r\nv\r\n"


def test_a_client_that_does_not_read_is_not_read_from() -> None:
    client = Client()
    client.ask(b"SET", b"k", b"x" * 100_000)
    client.transport.written, client.transport.room = b"", 150_000
    client.protocol.data_received(request(b"GET", b"k") * 10)
    assert len(client.transport.written) < 250_000 and client.transport.paused
    client.protocol.eof_received()
    assert not client.transport.closed
    client.transport.room = 1 << 40
    client.protocol.resume_writing()
    assert client.transport.written.count(b"$100000\r\n") == 10
    assert client.transport.closed


def test_quit_is_answered_and_nothing_after_it() -> None:
    client = Client()
    client.protocol.data_received(b"PING\r\nQUIT\r\nPING\r\n")
    assert client.transport.written == b"+PONG\r\n+OK\r\n"
    assert client.transport.closed


# ------------------------------------------------------------------------------------ limits


def test_a_full_memory_refuses_what_adds_and_nothing_else() -> None:
    client = Client(memory=10_000)
    assert client.ask(b"SET", b"k", b"x" * 20_000) == b"+OK\r\n"
    for words in ([b"SET", b"a", b"b"], [b"LPUSH", b"l", b"1"], [b"APPEND", b"k", b"x"]):
        assert client.ask(*words) == OOM
    assert client.ask(b"STRLEN", b"k") == b":20000\r\n"
    assert client.ask(b"DEL", b"k") == b":1\r\n"
    assert client.ask(b"SET", b"a", b"b") == b"+OK\r\n"


def test_a_client_too_many_is_told_so() -> None:
    first = Client(clients=1)
    second = Client(first.service)
    assert second.transport.written == b"-ERR max number of clients reached\r\n"
    assert second.transport.closed and not first.transport.closed
    first.protocol.connection_lost(None)
    second.protocol.connection_lost(None)
    assert not Client(first.service).transport.closed


def test_unfinished_requests_of_all_clients_have_a_limit() -> None:
    first = Client(memory=1000, request=900)
    second = Client(first.service)
    first.protocol.data_received(b"*1\r\n$800\r\n" + b"x" * 700)
    second.protocol.data_received(b"*1\r\n$800\r\n" + b"x" * 700)
    assert second.transport.written.startswith(b"-OOM ")
    assert second.transport.closed and not first.transport.closed
    for client in (first, second):
        client.protocol.connection_lost(None)
    assert first.service.pending == 0


def test_replies_have_a_limit() -> None:
    client = Client(reply=1000)
    client.ask(b"SET", b"k", b"x" * 600)
    assert client.ask(b"MGET", b"k", b"k").startswith(b"-ERR reply of 1200 bytes")
    client.ask(b"MULTI")
    client.ask(b"GET", b"k")
    client.ask(b"GET", b"k")
    client.ask(b"EXEC")
    assert client.transport.aborted


def test_transactions_have_a_limit_and_leave_nothing_behind() -> None:
    client = Client(request=1000)
    client.ask(b"MULTI")
    assert client.ask(b"SET", b"a", b"x" * 500) == b"+QUEUED\r\n"
    assert client.ask(b"SET", b"a", b"x" * 500).startswith(b"-ERR transaction of more than 1000")
    assert client.ask(b"EXEC").startswith(b"-EXECABORT")
    client.ask(b"MULTI")
    client.ask(b"SET", b"a", b"b")
    client.protocol.connection_lost(None)
    assert client.service.pending == 0


@UNHURRIED
@hypothesis.given(st.data())
def test_used_memory_is_nothing_when_all_is_gone(data: st.DataObject) -> None:
    """Whatever was done, in whichever order."""
    client, name = Client(), st.sampled_from([b"a", b"b", b"c"])
    commands = [
        [b"SET", b"APPEND", b"LPUSH", b"RPUSH", b"SADD", b"SREM", b"HDEL", b"ZREM", b"GETSET"],
        [b"LPOP", b"RPOP", b"SPOP", b"ZPOPMIN", b"DEL", b"INCR", b"GETDEL"],
    ]
    for _ in range(data.draw(st.integers(0, 20))):
        command = data.draw(st.sampled_from([c for some in commands for c in some]))
        words = [command, data.draw(name), *[data.draw(name)] * (command in commands[0])]
        client.ask(*words)
        client.ask(b"HSET", data.draw(name), data.draw(name), data.draw(name))
        client.ask(b"ZADD", data.draw(name), b"1", data.draw(name))
    for key in (b"a", b"b", b"c"):
        client.ask(b"DEL", key)
    assert (client.store().used, len(client.store())) == (0, 0)


# -------------------------------------------------------------------------------------- time


def test_keys_expire_when_asked_for_and_when_collected() -> None:
    now = 0.0
    client = Client()
    client.store().clock = lambda: now
    client.ask(b"SET", b"a", b"1", b"PX", b"1500")
    client.ask(b"SET", b"b", b"1", b"EX", b"2")
    client.ask(b"SET", b"c", b"1", b"EX", b"2")
    client.ask(b"SET", b"c", b"2", b"EX", b"5")
    assert client.ask(b"PTTL", b"a") == b":1500\r\n"
    now = 1.5
    assert client.ask(b"GET", b"a") == b"$-1\r\n"
    now = 2.0
    assert client.store().collect(100) == 1
    assert [*client.store()] == [b"c"]
    client.ask(b"PERSIST", b"c")
    now = 9.0
    assert client.store().collect(100) == 0
    assert client.ask(b"TTL", b"c") == b":-1\r\n"


def test_new_deadlines_for_one_key_do_not_pile_up() -> None:
    client = Client()
    for _ in range(1000):
        client.ask(b"SET", b"k", b"v", b"EX", b"100")
    assert len(client.store()._due) < 100


def test_a_scan_finds_every_key_that_stays() -> None:
    client = Client()
    stay = {b"stay%d" % i for i in range(1000)}
    for key in stay:
        client.ask(b"SET", key, b"")
    found: set[bytes] = set()
    cursor, turn = 0, 0
    while turn == 0 or cursor:
        cursor, keys = client.store().scan(cursor, 10)
        found.update(keys)
        client.ask(b"SET", b"new%d" % turn, b"")
        client.ask(b"DEL", b"new%d" % (turn - 5))
        turn += 1
    assert stay <= found
    assert 10 < turn <= SLOTS


@pytest.mark.parametrize("option", ["--max-memory", "--max-request", "--max-clients"])
@pytest.mark.parametrize("text", ["x", "0", "-1", "5t", "9999999999g"])
def test_a_limit_that_is_none_is_told(
    option: str, text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["kv", "--io", "ring:x", "--address", "10.9.0.1/24", f"{option}={text}"]
    assert ustack(arguments) == 2
    told = f"ustack: {option} must be a number from 1, got {text!r}; such as 64m\n"
    assert capsys.readouterr().err == told


# ---------------------------------------------------------------------------------- anything

NUMBERS = [b"0", b"1", b"-1", b"2", b"-3", b"9223372036854775807", b"-9223372036854775808", b"1.5"]
OPTIONS = [b"NX", b"XX", b"GET", b"EX", b"PX", b"CH", b"WITHSCORES", b"REV", b"MATCH", b"COUNT"]
SUBCOMMANDS = [b"SETNAME", b"GETNAME", b"ID", b"INFO", b"LIB-NAME", b"AUTH", b"DOCS", b"default"]
KEYS = [b"str", b"l", b"s", b"h", b"z"]
SEED = [b"SET str 1", b"RPUSH l a b c", b"SADD s a b c", b"HSET h a 1 b 2", b"ZADD z 1 a 2 b"]
WORDS_OF_ANY_KIND = [*KEYS, *NUMBERS, *NUMBERS, *OPTIONS, *SUBCOMMANDS, b"a", b"[a-", b"", b"\xff"]


@pytest.mark.parametrize("version", [b"2", b"3"])
def test_every_request_has_one_reply(version: bytes) -> None:
    """Every command, with words at random; and no memory is left behind."""
    chance, client = random.Random(1), Client()
    for name in sorted({command.name.upper().encode() for command in COMMANDS.values()}):
        for _ in range(0 if name == b"QUIT" else 80):
            client.ask(b"RESET")
            client.ask(b"HELLO", version)
            client.protocol.data_received(b"FLUSHALL\r\n" + b"\r\n".join(SEED) + b"\r\n")
            n_words = max(abs(COMMANDS[name].arity) - 2 + chance.choice([-1, 0, 0, 0, 1, 2]), 0)
            words = [chance.choice(WORDS_OF_ANY_KIND) for _ in range(n_words)]
            words = [name, chance.choice(KEYS), *words][: n_words + 2]
            reply = client.ask(*words)
            assert skip_reply(reply, 0) == len(reply), (words, reply)
    client.ask(b"RESET")
    client.ask(b"FLUSHALL")
    assert (client.store().used, client.service.pending) == (0, 0)


def skip_reply(data: bytes, at: int) -> int:
    """Return where the reply that begins there ends."""
    end = data.index(b"\r\n", at) + 2
    kind, count = data[at : at + 1], data[at + 1 : end - 2]
    if kind == b"$" and count != b"-1":
        return end + int(count) + 2
    if kind in b"*~%" and count != b"-1":
        for _ in range(int(count) * (2 if kind == b"%" else 1)):
            end = skip_reply(data, end)
    else:
        assert kind in b"+-:,_$*"
    return end
