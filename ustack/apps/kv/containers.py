# SPDX-License-Identifier: BSD-3-Clause
"""Commands on lists, sets, hashes and sorted sets."""

import bisect
import itertools
from functools import partial
from typing import Any

from ustack.apps.kv.resp import NO_ARRAY
from ustack.apps.kv.session import Session
from ustack.apps.kv.store import ELEMENT, Hash, KvError, List, Set, ZSet
from ustack.apps.kv.table import command, integer, real, syntax_error

__all__: list[str] = []


def _cost(elements: Any) -> int:
    """Return what elements cost in memory."""
    return sum(map(len, elements)) + ELEMENT * len(elements)


def _count(words: list[bytes]) -> int | None:
    """Return the third word, a count from 0; None without one."""
    if len(words) < 3:
        return None
    if len(words) > 3:
        raise syntax_error()
    if not words[2].isdigit():
        raise KvError("ERR value is out of range, must be positive")
    return integer(words[2])


def _slice(words: list[bytes], length: int) -> tuple[int, int]:
    """Return the start and end of `KEY start stop`, where -1 is the last element's number."""
    start, stop = integer(words[2]), integer(words[3])
    start = max(start + length, 0) if start < 0 else min(start, length)
    stop = stop + length if stop < 0 else min(stop, length - 1)
    return start, max(stop + 1, start)


# ------------------------------------------------------------------------------------- lists


@command("lpush", -3, adds=True)
def _lpush(session: Session, words: list[bytes]) -> Any:
    values = session.store.make(words[1], List)
    values.extendleft(words[2:])
    session.store.changed(words[1], values, _cost(words[2:]))
    return len(values)


@command("rpush", -3, adds=True)
def _rpush(session: Session, words: list[bytes]) -> Any:
    values = session.store.make(words[1], List)
    values.extend(words[2:])
    session.store.changed(words[1], values, _cost(words[2:]))
    return len(values)


def _pop(session: Session, words: list[bytes], *, left: bool) -> Any:
    count = _count(words)
    values = session.store.container(words[1], List)
    if values is None:
        return None if count is None else NO_ARRAY
    pop = values.popleft if left else values.pop
    taken = [pop() for _ in range(min(1 if count is None else count, len(values)))]
    session.store.changed(words[1], values, -_cost(taken))
    return taken[0] if count is None else taken


command("lpop", -2, writes=True)(partial(_pop, left=True))
command("rpop", -2, writes=True)(partial(_pop, left=False))


@command("llen", 2)
def _llen(session: Session, words: list[bytes]) -> Any:
    return len(session.store.container(words[1], List) or ())


@command("lrange", 4)
def _lrange(session: Session, words: list[bytes]) -> Any:
    values = session.store.container(words[1], List) or List()
    start, end = _slice(words, len(values))
    if start > len(values) // 2:  # nearer from behind
        back = itertools.islice(reversed(values), len(values) - end, len(values) - start)
        return [*back][::-1] if end > start else []
    return [*itertools.islice(values, start, end)]


# -------------------------------------------------------------------------------------- sets


@command("sadd", -3, adds=True)
def _sadd(session: Session, words: list[bytes]) -> Any:
    members = session.store.make(words[1], Set)
    new = {*words[2:]} - members
    members |= new
    session.store.changed(words[1], members, _cost(new))
    return len(new)


@command("srem", -3, writes=True)
def _srem(session: Session, words: list[bytes]) -> Any:
    members = session.store.container(words[1], Set)
    if members is None:
        return 0
    gone = members & {*words[2:]}
    members -= gone
    session.store.changed(words[1], members, -_cost(gone))
    return len(gone)


@command("spop", -2, writes=True)
def _spop(session: Session, words: list[bytes]) -> Any:
    """Take out any members: which, is not told."""
    count = _count(words)
    members = session.store.container(words[1], Set)
    if members is None:
        return None if count is None else set()
    taken = [members.pop() for _ in range(min(1 if count is None else count, len(members)))]
    session.store.changed(words[1], members, -_cost(taken))
    return taken[0] if count is None else {*taken}


@command("smembers", 2)
def _smembers(session: Session, words: list[bytes]) -> Any:
    return {*(session.store.container(words[1], Set) or ())}


@command("sismember", 3)
def _sismember(session: Session, words: list[bytes]) -> Any:
    return int(words[2] in (session.store.container(words[1], Set) or ()))


@command("scard", 2)
def _scard(session: Session, words: list[bytes]) -> Any:
    return len(session.store.container(words[1], Set) or ())


# ------------------------------------------------------------------------------------ hashes


@command("hset", -4, adds=True)
def _hset(session: Session, words: list[bytes]) -> Any:
    if len(words) % 2:
        raise KvError("ERR wrong number of arguments for 'hset' command")
    fields = session.store.make(words[1], Hash)
    before, cost = len(fields), 0
    for field, value in zip(words[2::2], words[3::2], strict=True):
        old = fields.get(field)
        cost += len(value) + (ELEMENT + len(field) if old is None else -len(old))
        fields[field] = value
    session.store.changed(words[1], fields, cost)
    return len(fields) - before


@command("hget", 3)
def _hget(session: Session, words: list[bytes]) -> Any:
    return (session.store.container(words[1], Hash) or Hash()).get(words[2])


@command("hmget", -3)
def _hmget(session: Session, words: list[bytes]) -> Any:
    fields = session.store.container(words[1], Hash) or Hash()
    values = [fields.get(field) for field in words[2:]]
    session.check_reply(sum(len(value) for value in values if value is not None))
    return values


@command("hdel", -3, writes=True)
def _hdel(session: Session, words: list[bytes]) -> Any:
    fields = session.store.container(words[1], Hash)
    if fields is None:
        return 0
    gone = {field: fields.pop(field) for field in {*words[2:]} if field in fields}
    cost = sum(len(field) + len(value) + ELEMENT for field, value in gone.items())
    session.store.changed(words[1], fields, -cost)
    return len(gone)


@command("hgetall", 2)
def _hgetall(session: Session, words: list[bytes]) -> Any:
    return {**(session.store.container(words[1], Hash) or {})}


@command("hexists", 3)
def _hexists(session: Session, words: list[bytes]) -> Any:
    return int(words[2] in (session.store.container(words[1], Hash) or ()))


@command("hlen", 2)
def _hlen(session: Session, words: list[bytes]) -> Any:
    return len(session.store.container(words[1], Hash) or ())


# ------------------------------------------------------------------------------- sorted sets

_ZADD_OPTIONS = {b"NX", b"XX", b"GT", b"LT", b"CH"}
_CLASHES = [{b"NX", b"GT"}, {b"NX", b"LT"}, {b"GT", b"LT"}]


@command("zadd", -4, adds=True)
def _zadd(session: Session, words: list[bytes]) -> Any:
    at, options = 2, set()
    while at < len(words) and words[at].upper() in _ZADD_OPTIONS:
        options.add(words[at].upper())
        at += 1
    if {b"NX", b"XX"} <= options:
        raise KvError("ERR XX and NX options at the same time are not compatible")
    if any(clash <= options for clash in _CLASHES) or at == len(words) or (len(words) - at) % 2:
        raise syntax_error()
    new = [
        (real(score), member)
        for score, member in zip(words[at::2], words[at + 1 :: 2], strict=True)
    ]
    zset = session.store.make(words[1], ZSet)
    before, n_changed, cost = len(zset), 0, 0
    for score, member in new:
        old = zset.get(member)
        if _is_allowed(old, score, options):
            n_changed += old is not None and old != score
            cost += ELEMENT + len(member) if old is None else 0
            _place(zset, member, score)
    session.store.changed(words[1], zset, cost)
    n_new = len(zset) - before
    return n_new + n_changed if b"CH" in options else n_new


def _is_allowed(old: float | None, score: float, options: set[bytes]) -> bool:
    if old is None:
        return b"XX" not in options
    if b"NX" in options or (b"GT" in options and score <= old):
        return False
    return not (b"LT" in options and score >= old)


def _place(zset: ZSet, member: bytes, score: float) -> None:
    old = zset.get(member)
    if old is not None:
        del zset.order[bisect.bisect_left(zset.order, (old, member))]
    zset[member] = score
    bisect.insort(zset.order, (score, member))


@command("zrem", -3, writes=True)
def _zrem(session: Session, words: list[bytes]) -> Any:
    zset = session.store.container(words[1], ZSet)
    if zset is None:
        return 0
    gone = {*words[2:]} & zset.keys()
    for member in gone:
        del zset.order[bisect.bisect_left(zset.order, (zset.pop(member), member))]
    session.store.changed(words[1], zset, -_cost(gone))
    return len(gone)


@command("zscore", 3)
def _zscore(session: Session, words: list[bytes]) -> Any:
    return (session.store.container(words[1], ZSet) or ZSet()).get(words[2])


@command("zcard", 2)
def _zcard(session: Session, words: list[bytes]) -> Any:
    return len(session.store.container(words[1], ZSet) or ())


def _zpop(session: Session, words: list[bytes], *, lowest: bool) -> Any:
    count = _count(words)
    zset = session.store.container(words[1], ZSet)
    if zset is None:
        return []
    n = min(1 if count is None else count, len(zset))
    where = slice(0, n) if lowest else slice(len(zset) - n, None)
    taken = zset.order[where] if lowest else zset.order[where][::-1]
    del zset.order[where]
    for _, member in taken:
        del zset[member]
    session.store.changed(words[1], zset, -_cost([member for _, member in taken]))
    if count is None:
        return [member_or_score for score, member in taken for member_or_score in (member, score)]
    return _scored(session, taken)


command("zpopmin", -2, writes=True)(partial(_zpop, lowest=True))
command("zpopmax", -2, writes=True)(partial(_zpop, lowest=False))


@command("zrange", -4)
def _zrange(session: Session, words: list[bytes]) -> Any:
    options = {word.upper() for word in words[4:]}
    if options - {b"WITHSCORES", b"REV"}:
        raise syntax_error()
    zset = session.store.container(words[1], ZSet) or ZSet()
    start, end = _slice(words, len(zset))
    order = zset.order[::-1] if b"REV" in options else zset.order
    found = order[start:end]
    if b"WITHSCORES" in options:
        return _scored(session, found)
    return [member for _, member in found]


def _scored(session: Session, found: list[tuple[float, bytes]]) -> Any:
    """Return members with their scores: in pairs since RESP 3."""
    pairs = [[member, score] for score, member in found]
    return pairs if session.version == 3 else [*itertools.chain.from_iterable(pairs)]
