# SPDX-License-Identifier: BSD-3-Clause
"""Clients of databases, unchanged on ustack's event loop, against the servers on the kernel's side.

The server is a real one at the other end of a tap; see servers.py. Each moves a megabyte there and
back, and again under TLS.
"""

from __future__ import annotations

import asyncio
import hashlib
import ssl
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from netlab import KERNEL4, OURS4
from servers import POSTGRES, REDIS, REDIS_TLS, postgresql, redis_server
from ustack import Stack, aio

BODY = hashlib.shake_128(b"ustack").digest(1_000_000)
PATIENCE = 100  # seconds; a test here may take 120

pytestmark = pytest.mark.parametrize("base", ["asyncio", "uvloop"])


def play(stack: Stack, base: str, main: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Run main() on a loop with the stack."""
    pytest.importorskip(base)

    async def limited() -> None:
        async with asyncio.timeout(PATIENCE):
            await main()

    aio.run(limited(), stack, base=base)
    assert stack.counters()["tcp.opens.active"] > 0


def test_redis(base: str) -> None:
    redis = pytest.importorskip("redis.asyncio")

    async def use(**options: Any) -> None:
        async with redis.Redis(host=KERNEL4, protocol=3, **options) as client:
            assert await client.ping()
            assert await client.set("body", BODY)
            assert await client.get("body") == BODY
            async with client.pipeline() as pipe:
                for number in range(1000):
                    pipe.incrby("sum", number)
                assert (await pipe.execute())[-1] == sum(range(1000))
            await client.delete("sum")
            async with client.pubsub() as subscriber:
                await subscriber.subscribe("news")
                await subscriber.get_message(timeout=PATIENCE)
                assert await client.publish("news", BODY) == 1
                message = await subscriber.get_message(timeout=PATIENCE)
                assert message["data"] == BODY

    with Stack("tap:us0", f"{OURS4}/24") as stack, redis_server() as place:
        play(stack, base, lambda: use(port=REDIS))
        secret = {"ssl": True, "ssl_ca_certs": str(place.path / "ca.pem")}
        play(stack, base, lambda: use(port=REDIS_TLS, **secret))


def test_asyncpg(base: str) -> None:
    """TLS by start_tls on the open connection, which PostgreSQL asks for."""
    asyncpg = pytest.importorskip("asyncpg")

    async def use(user: str, context: ssl.SSLContext | bool) -> None:
        where = {"host": KERNEL4, "port": POSTGRES, "user": user, "database": "postgres"}
        async with asyncpg.create_pool(**where, ssl=context, min_size=2, max_size=4) as pool:
            answers = [pool.fetchval("SELECT $1::bytea", BODY) for _ in range(4)]
            assert await asyncio.gather(*answers) == [BODY] * 4
            async with pool.acquire() as connection, connection.transaction():
                query = "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()"
                assert await connection.fetchval(query) == bool(context)
                await connection.execute("CREATE TEMP TABLE numbers (n int, text text)")
                rows = [(number, str(number)) for number in range(10_000)]
                await connection.copy_records_to_table("numbers", records=rows)
                assert [tuple(row) async for row in connection.cursor("TABLE numbers")] == rows
            with pytest.raises(asyncpg.exceptions.UndefinedTableError):
                await pool.execute("TABLE nothing")

    with Stack("tap:us0", f"{OURS4}/24") as stack, postgresql() as place:
        play(stack, base, lambda: use("me", False))
        context = ssl.create_default_context()
        place.authority.configure_trust(context)
        play(stack, base, lambda: use("me", context))
