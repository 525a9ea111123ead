# SPDX-License-Identifier: BSD-3-Clause
"""Commands on strings, and on keys of any type."""

import re
from functools import lru_cache
from typing import Any

from ustack.apps.kv.resp import OK
from ustack.apps.kv.session import Session
from ustack.apps.kv.store import KvError, Store
from ustack.apps.kv.table import command, integer, syntax_error

__all__ = ["glob"]

_UNITS = {b"EX": 1000, b"PX": 1}  # in milliseconds
_MAX_MS = 1 << 53  # a lifetime beyond any


# ----------------------------------------------------------------------------------- strings


@command("get", 2)
def _get(session: Session, words: list[bytes]) -> Any:
    return session.store.string(words[1])


@command("set", -3, adds=True)
def _set(session: Session, words: list[bytes]) -> Any:
    store, key, value = session.store, words[1], words[2]
    if len(words) == 3:
        store.put(key, value)
        store.persist(key)
        return OK
    options = _set_options(words[3:])
    old = store.string(key) if b"GET" in options else store.get(key)
    reply = old if b"GET" in options else OK
    if (b"NX" in options and old is not None) or (b"XX" in options and old is None):
        return old if b"GET" in options else None
    store.put(key, value)
    if b"KEEPTTL" not in options:
        store.persist(key)
    for unit in options.keys() & _UNITS.keys():
        store.expire(key, store.clock() + options[unit] / 1000)
    return reply


def _set_options(words: list[bytes]) -> dict[bytes, int]:
    """Return the options; the lifetime in milliseconds with EX and PX."""
    options: dict[bytes, int] = {}
    rest = iter(words)
    for word in rest:
        name = word.upper()
        if name in _UNITS:
            lifetime = next(rest, None)
            if lifetime is None:
                raise syntax_error()
            options[name] = _lifetime(lifetime, _UNITS[name], "set", least=1)
        elif name in (b"NX", b"XX", b"GET", b"KEEPTTL"):
            options[name] = 1
        else:
            raise syntax_error()
    if len(options.keys() & {b"NX", b"XX"}) > 1 or len(options.keys() & _ONE_OF) > 1:
        raise syntax_error()
    return options


_ONE_OF = {b"EX", b"PX", b"KEEPTTL"}


@command("setnx", 3, adds=True)
def _setnx(session: Session, words: list[bytes]) -> Any:
    if words[1] in session.store:
        return 0
    session.store.put(words[1], words[2])
    return 1


@command("setex", 4, adds=True)
def _setex(session: Session, words: list[bytes]) -> Any:
    return _put_for(session.store, words, 1000, "setex")


@command("psetex", 4, adds=True)
def _psetex(session: Session, words: list[bytes]) -> Any:
    return _put_for(session.store, words, 1, "psetex")


def _put_for(store: Store, words: list[bytes], unit: int, name: str) -> Any:
    lifetime = _lifetime(words[2], unit, name, least=1)
    store.put(words[1], words[3])
    store.expire(words[1], store.clock() + lifetime / 1000)
    return OK


@command("getset", 3, adds=True)
def _getset(session: Session, words: list[bytes]) -> Any:
    old = session.store.string(words[1])
    session.store.put(words[1], words[2])
    session.store.persist(words[1])
    return old


@command("getdel", 2, writes=True)
def _getdel(session: Session, words: list[bytes]) -> Any:
    old = session.store.string(words[1])
    session.store.drop(words[1])
    return old


@command("mget", -2)
def _mget(session: Session, words: list[bytes]) -> Any:
    found = [session.store.get(key) for key in words[1:]]
    values = [value if type(value) is bytes else None for value in found]
    session.check_reply(sum(len(value) for value in values if value is not None))
    return values


@command("mset", -3, adds=True)
def _mset(session: Session, words: list[bytes]) -> Any:
    if len(words) % 2 == 0:
        raise KvError("ERR wrong number of arguments for 'mset' command")
    for key, value in zip(words[1::2], words[2::2], strict=True):
        session.store.put(key, value)
        session.store.persist(key)
    return OK


@command("append", 3, adds=True)
def _append(session: Session, words: list[bytes]) -> Any:
    old = session.store.string(words[1]) or b""
    length = len(old) + len(words[2])
    if length > session.limits.request:
        raise KvError(f"ERR string exceeds maximum allowed size ({session.limits.request} bytes)")
    session.store.put(words[1], old + words[2])
    return length


@command("strlen", 2)
def _strlen(session: Session, words: list[bytes]) -> Any:
    return len(session.store.string(words[1]) or b"")


@command("incr", 2, adds=True)
def _incr(session: Session, words: list[bytes]) -> Any:
    return _add(session.store, words[1], 1)


@command("decr", 2, adds=True)
def _decr(session: Session, words: list[bytes]) -> Any:
    return _add(session.store, words[1], -1)


@command("incrby", 3, adds=True)
def _incrby(session: Session, words: list[bytes]) -> Any:
    return _add(session.store, words[1], integer(words[2]))


@command("decrby", 3, adds=True)
def _decrby(session: Session, words: list[bytes]) -> Any:
    return _add(session.store, words[1], -integer(words[2]))


def _add(store: Store, key: bytes, amount: int) -> int:
    old = store.string(key)
    total = amount if old is None else integer(old) + amount
    if not -(1 << 63) <= total < 1 << 63:
        raise KvError("ERR increment or decrement would overflow")
    store.put(key, b"%d" % total)
    return total


# -------------------------------------------------------------------------------------- keys


@command("del", -2, writes=True)
@command("unlink", -2, writes=True)
def _del(session: Session, words: list[bytes]) -> Any:
    store = session.store
    return sum(key in store and store.drop(key) for key in words[1:])


@command("exists", -2)
def _exists(session: Session, words: list[bytes]) -> Any:
    return sum(key in session.store for key in words[1:])


@command("type", 2)
def _type(session: Session, words: list[bytes]) -> Any:
    value = session.store.get(words[1])
    if value is None:
        return session.status("none")
    return session.status("string" if isinstance(value, bytes) else value.name)


@command("expire", 3, writes=True)
def _expire(session: Session, words: list[bytes]) -> Any:
    return _expire_in(session.store, words, 1000, "expire")


@command("pexpire", 3, writes=True)
def _pexpire(session: Session, words: list[bytes]) -> Any:
    return _expire_in(session.store, words, 1, "pexpire")


def _expire_in(store: Store, words: list[bytes], unit: int, name: str) -> int:
    lifetime = _lifetime(words[2], unit, name, least=-_MAX_MS)
    if words[1] not in store:
        return 0
    store.expire(words[1], store.clock() + lifetime / 1000)
    return 1


def _lifetime(word: bytes, unit: int, name: str, least: int) -> int:
    """Return milliseconds."""
    milliseconds = integer(word) * unit
    if not least <= milliseconds <= _MAX_MS:
        raise KvError(f"ERR invalid expire time in '{name}' command")
    return milliseconds


@command("ttl", 2)
def _ttl(session: Session, words: list[bytes]) -> Any:
    left = _left(session.store, words[1])
    return left if left < 0 else (left + 500) // 1000


@command("pttl", 2)
def _pttl(session: Session, words: list[bytes]) -> Any:
    return _left(session.store, words[1])


def _left(store: Store, key: bytes) -> int:
    """Return milliseconds; -1 without a deadline, -2 without a key."""
    if key not in store:
        return -2
    deadline = store.deadline(key)
    return -1 if deadline is None else max(round((deadline - store.clock()) * 1000), 0)


@command("persist", 2, writes=True)
def _persist(session: Session, words: list[bytes]) -> Any:
    return int(words[1] in session.store and session.store.persist(words[1]))


@command("keys", 2)
def _keys(session: Session, words: list[bytes]) -> Any:
    matches = glob(words[1]).fullmatch
    return [key for key in session.store if matches(key)]


@command("scan", -2)
def _scan(session: Session, words: list[bytes]) -> Any:
    cursor, count, pattern = _cursor(words[1]), 10, b"*"
    options = words[2:]
    if len(options) % 2:
        raise syntax_error()
    for name, word in zip(options[::2], options[1::2], strict=True):
        if name.upper() == b"MATCH":
            pattern = word
        elif name.upper() == b"COUNT" and integer(word) > 0:
            count = integer(word)
        else:
            raise syntax_error()
    cursor, keys = session.store.scan(cursor, count)
    matches = glob(pattern).fullmatch
    return [b"%d" % cursor, [key for key in keys if matches(key)]]


def _cursor(word: bytes) -> int:
    if not (word.isdigit() and len(word) <= 20):
        raise KvError("ERR invalid cursor")
    return int(word)


@lru_cache(maxsize=64)
def glob(pattern: bytes) -> re.Pattern[bytes]:
    """Return a pattern of *, ?, [a-z], [^a] and backslashes as an expression.

    What stands between two stars is taken where it first fits, once and for all, so the time is
    bounded by the lengths of pattern and key.
    """
    parts, at = [[b""]], 0
    while at < len(pattern):
        byte = pattern[at : at + 1]
        if byte == b"*":
            parts.append([b""])
        elif byte == b"?":
            parts[-1].append(b".")
        elif byte == b"[" and (match := _CLASS.match(pattern, at)):
            parts[-1].append(_class(match[1], match[2]))
            at = match.end() - 1
        else:
            at += byte == b"\\" and at + 1 < len(pattern)
            parts[-1].append(re.escape(pattern[at : at + 1]))
        at += 1
    first, *others = (b"".join(part) for part in parts)
    if others:
        first += b"".join(b"(?>.*?%b)" % part for part in others[:-1] if part) + b".*" + others[-1]
    return re.compile(first, re.DOTALL)


_CLASS = re.compile(rb"\[(\^?)((?:\\.|[^\]\\])*)\]", re.DOTALL)
_MEMBER = re.compile(rb"(\\.|[^\\])(?:-(\\.|[^\\]))?", re.DOTALL)


def _class(negated: bytes, members: bytes) -> bytes:
    ranges = []
    for match in _MEMBER.finditer(members):
        low = match[1][-1]
        high = low if match[2] is None else match[2][-1]
        ranges.append(b"\\x%02x-\\x%02x" % (min(low, high), max(low, high)))
    if not ranges:
        return b"." if negated else b"(?!)"
    return b"[%b%b]" % (negated, b"".join(ranges))


@command("dbsize", 1)
def _dbsize(session: Session, words: list[bytes]) -> Any:
    return len(session.store)


@command("flushall", -1, writes=True)
@command("flushdb", -1, writes=True)
def _flush(session: Session, words: list[bytes]) -> Any:
    if len(words) > 2 or (len(words) == 2 and words[1].upper() not in (b"ASYNC", b"SYNC")):
        raise syntax_error()
    session.store.clear()
    return OK
