# SPDX-License-Identifier: BSD-3-Clause
"""The kv app and redis-py's asyncio client, which knows nothing of ustack, over two stacks."""

import asyncio
from typing import Any

import pytest
from two import SERVER, payload, run

from ustack.apps import kv

redis: Any = pytest.importorskip("redis.asyncio")

VALUE = payload(1_000_000)


@pytest.mark.parametrize("version", [2, 3])
def test_redis_py_uses_it_as_it_uses_redis(base: str, version: int) -> None:
    async def main() -> None:
        server = await kv.serve(SERVER)
        async with redis.Redis(host=SERVER, protocol=version) as client:
            assert await client.set("big", VALUE) and await client.get("big") == VALUE
            assert await client.set("short", "x", px=20) and await client.ttl("short") == 0
            async with client.pipeline() as pipe:  # a transaction
                pipe.incr("n").incr("n").lpush("l", *range(100)).lrange("l", 0, 1)
                assert await pipe.execute() == [1, 2, 100, [b"99", b"98"]]
            await client.hset("h", mapping={"a": 1, "b": 2})
            assert await client.hgetall("h") == {b"a": b"1", b"b": b"2"}
            await client.zadd("z", {"a": 1.5, "b": 1})
            scored = [[*pair] for pair in await client.zrange("z", 0, -1, withscores=True)]
            assert scored == [[b"b", 1], [b"a", 1.5]]
            with pytest.raises(redis.ResponseError, match="WRONGTYPE"):
                await client.get("h")
            while await client.dbsize() == 6:  # until the short one is collected
                await asyncio.sleep(0.01)
            assert {key async for key in client.scan_iter()} == {b"big", b"n", b"l", b"h", b"z"}
            await asyncio.gather(*(client.incr("n") for _ in range(50)))
            assert int(await client.get("n")) == 52
        server.close()

    assert run(main) == []
