# SPDX-License-Identifier: BSD-3-Clause
"""kv answers as a real redis-server does, to the byte, in both versions of RESP."""

import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import pytest

from ustack.apps.kv.resp import Limits
from ustack.apps.kv.server import Kv, new_service

pytestmark = pytest.mark.skipif(shutil.which("redis-server") is None, reason="no redis-server")

PATIENCE = 30.0  # seconds

#: Requests as redis-cli takes them. Sets and hashes have one element where their order shows.
STRINGS = r"""
PING | PING hello | ping a b | ECHO x | NONSENSE a | GET | GET a b | SET a 1 | GET a | SET a 2 NX
SET b 2 NX | SET c 2 XX | SET a 3 XX | SET a 4 GET | SET c 1 XX GET | SET a 5 NX GET
SET a 6 NX XX | SET a 6 EX | SET a 6 EX 0 | SET a 6 EX -1 | SET a 6 EX x | SET a 6 BAD
SET a 6 EX 10 PX 10 | SET a 6 KEEPTTL EX 10 | SET a 6 EX 100 | TTL a | SET a 7 KEEPTTL | TTL a
SET a 8 | TTL a | PTTL a | SET a 9 PX 100000 | TTL a | PERSIST a | PERSIST a | TTL none
PTTL none | EXPIRE none 10 | EXPIRE a 100 | TTL a | PEXPIRE a 5000 | TTL a | EXPIRE a x
EXPIRE a 99999999999999999 | EXPIRE a -1 | EXISTS a | SET a 1 EX 99999999999999999 | SETNX a 1
SETNX a 2 | GETSET a 3 | GETDEL a | GETDEL a | SETEX e 100 v | TTL e | SETEX e 0 v
PSETEX e 100000 v | TTL e | MSET a 1 b 2 | MSET a 1 b | MGET a b none | MGET | APPEND a xyz
APPEND n xyz | GET a | STRLEN a | STRLEN none | INCR i | INCR i | DECR i | INCRBY i 10
DECRBY i 3 | INCRBY i x | INCR a | INCRBY i 1.5 | SET i 9223372036854775807 | INCR i | SET i " 5"
INCR i | SET i 05 | INCR i | SET i "" | INCR i | SET i -9223372036854775808 | DECR i
INCRBY none 9223372036854775808 | DEL a b none | EXISTS a b n n | TYPE n | TYPE none | UNLINK n
DBSIZE | SELECT 0 | SELECT x
"""
CONTAINERS = r"""
LPUSH l a b c | RPUSH l d e | LLEN l | LRANGE l 0 -1 | LRANGE l 1 2 | LRANGE l -2 -1
LRANGE l -9 1 | LRANGE l 3 99 | LRANGE l 9 12 | LRANGE l 2 1 | LRANGE l -1 -2 | LRANGE l x 1
LRANGE none 0 -1 | LPOP l | RPOP l | LPOP l 2 | LPOP l 0 | RPOP l 9 | LPOP l | LPOP l 1 | LLEN l
LPOP l -1 | TYPE l | LPUSH l | RPOP l x | EXISTS l | SADD s a | SADD s a a | SCARD s
SISMEMBER s a | SISMEMBER s b | SMEMBERS s | TYPE s | SREM s b | SPOP s | SPOP s | SPOP s 2
SMEMBERS s | SREM s a | SCARD s | SADD s x | SPOP s 3 | SPOP s -1 | HSET h f 1 | HSET h f 2
HSET h f | HGET h f | HGET h g | HGETALL h | HLEN h | HEXISTS h f | HEXISTS h g | HMGET h f g
HDEL h g f f | HGETALL h | HLEN h | HGET h f | TYPE h | ZADD z 1 a 2.5 b | ZADD z 3 a
ZADD z CH 4 a 1 c | ZADD z NX 9 a | ZADD z XX 9 d | ZADD z GT 3 a | ZADD z LT CH 3 a
ZADD z NX XX 1 a | ZADD z 1 | ZADD z x a | ZADD z nan a | ZADD z inf i -inf j | ZRANGE z 0 -1
ZRANGE z 0 -1 WITHSCORES | ZRANGE z 0 1 REV | ZRANGE z 0 1 BAD | ZSCORE z b | ZSCORE z none
ZCARD z | ZREM z i j none | ZPOPMIN z | ZPOPMIN z 1 | ZPOPMAX z | ZPOPMAX z 5 | ZPOPMIN z
ZPOPMIN none 2 | ZADD z 1e30 a 0.25 b -0.5 c 100000000000 d | ZRANGE z 0 -1 WITHSCORES | SET str x
LPUSH str a | LRANGE str 0 -1 | SADD str a | HSET str a b | ZADD str 1 a | INCR z | GET z
APPEND z a | SET z a GET | SET z a | TYPE z | GETSET s a | MGET str z none
"""
OTHERS = r"""
FLUSHALL | SET hello 1 | SET hallo 1 | SET a*c 1 | KEYS h?llo | KEYS h[ae]llo | KEYS h[^a]llo
KEYS a\\*c | KEYS *z* | KEYS hell[a-p] | KEYS *l*l*o | FLUSHDB ASYNC | KEYS * | DBSIZE
FLUSHALL BAD | SCAN 0 | SCAN x | SCAN 0 COUNT 0 | SCAN 0 BAD 1 | SCAN 0 MATCH | MULTI | SET a 1
INCR a | GET a | EXEC | EXEC | MULTI | MULTI | DISCARD | DISCARD | GET a | MULTI | NONSENSE
SET a 9 | EXEC | GET a | MULTI | GET | DISCARD | MULTI | LPUSH a 1 | GET a | EXEC | WATCH a
SET a 5 | MULTI | GET a | EXEC | WATCH a | MULTI | GET a | EXEC | WATCH none | SET none 1
DEL none | MULTI | EXEC | MULTI | WATCH a | DISCARD | UNWATCH | WATCH a | SET a 6 | UNWATCH
MULTI | EXEC | WATCH a | EXPIRE a 100 | MULTI | EXEC | WATCH a | FLUSHALL | MULTI | EXEC
CLIENT GETNAME | CLIENT SETNAME me | CLIENT GETNAME | CONFIG GET save | CONFIG GET appendonly
HELLO 4 | COMMAND DOCS nothing | "a\x41\n" | 'single \' quote' | PING "two words" | "" | RESET
PING
"""


class Transport:
    """Collects what is written."""

    def __init__(self) -> None:
        self.written = b""
        self.closed = False

    def write(self, data: bytes) -> None:
        self.written += data

    def close(self) -> None:
        self.closed = True


@pytest.fixture(scope="module")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Return the socket of a redis-server without a network."""
    where = tmp_path_factory.mktemp("redis")
    path = where / "socket"
    options = ["--port", "0", "--unixsocket", str(path), "--save", "", "--dir", str(where)]
    process = subprocess.Popen(["redis-server", *options], stdout=subprocess.DEVNULL)
    try:
        end = time.monotonic() + PATIENCE
        while not path.exists():
            assert time.monotonic() < end, "redis-server does not start"
            time.sleep(0.01)
        yield path
    finally:
        process.terminate()
        process.wait(PATIENCE)


def read_reply(file: IO[bytes]) -> bytes:
    """Return one reply with all its parts, as it came."""
    line = file.readline()
    kind, count = line[:1], line[1:-2]
    if kind == b"$" and count != b"-1":
        return line + file.read(int(count) + 2)
    if kind in b"*~%" and count != b"-1":
        n = int(count) * (2 if kind == b"%" else 1)
        return line + b"".join(read_reply(file) for _ in range(n))
    return line


def connect(path: Path) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX)
    sock.settimeout(PATIENCE)
    sock.connect(str(path))
    return sock


def kv() -> tuple[Kv, Transport]:
    ours: Any = Transport()
    client = Kv(new_service(Limits()))
    client.connection_made(ours)
    return client, ours


def in_order(request: str, reply: bytes) -> bytes:
    return b"".join(sorted(reply.splitlines())) if request.startswith("KEYS") else reply


@pytest.mark.parametrize("version", [2, 3])
@pytest.mark.parametrize("script", [STRINGS, CONTAINERS, OTHERS], ids=["s", "c", "o"])
def test_kv_answers_as_redis_does(redis: Path, script: str, version: int) -> None:
    client, ours = kv()
    client.data_received(b"HELLO %d\r\n" % version)
    differences = []
    with connect(redis) as theirs, theirs.makefile("rb") as file:
        theirs.sendall(b"HELLO %d\r\nFLUSHALL\r\n" % version)
        read_reply(file), read_reply(file)
        for request in filter(None, script.replace("\n", " | ").split(" | ")):
            ours.written = b""
            client.data_received(request.encode() + b"\r\n")
            theirs.sendall(request.encode() + b"\r\n")
            got, wanted = (in_order(request, r) for r in (ours.written, read_reply(file)))
            if got != wanted:
                differences.append((request, got, wanted))
    assert not differences, "\n".join(map(str, differences))


BROKEN = [
    b"*1\r\n:1\r\n",
    b"*1\r\n+PING\r\n",
    b"*x\r\n",
    b"*99999999999\r\n",
    b"*2\r\n$4\r\nECHO\r\n$-1\r\n",
    b"*2\r\n$4\r\nECHO\r\n$x\r\n",
    b"*1\r\n$99999999999\r\n",
    b"PING\r\n*-1\r\n*0\r\n\r\n\r\nPING\r\n'x\r\n",
    b'PING "x\r\n',
    b"x" * 65537,
    b"*" + b"1" * 65537,
    b"*1\r\n$" + b"1" * 65537,
]


@pytest.mark.parametrize("request_", BROKEN, ids=lambda some: repr(some[:24]))
def test_kv_refuses_as_redis_does(redis: Path, request_: bytes) -> None:
    client, ours = kv()
    client.data_received(request_)
    with connect(redis) as theirs, theirs.makefile("rb") as file:
        theirs.sendall(request_)
        assert ours.written == file.read()  # up to the end of the connection
    assert ours.closed
