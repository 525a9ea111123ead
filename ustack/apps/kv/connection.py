# SPDX-License-Identifier: BSD-3-Clause
"""Commands on the connection, on transactions, and on the server."""

import fnmatch
import time
from typing import Any

from ustack import __version__
from ustack.apps.kv.resp import OK, Raw
from ustack.apps.kv.session import Session
from ustack.apps.kv.store import KvError
from ustack.apps.kv.table import COMMANDS, Command, command, integer, syntax_error

__all__: list[str] = []

_MAX_WATCHED = 1024  # keys of one client
_NAME = 64  # bytes


@command("ping", -1)
def _ping(session: Session, words: list[bytes]) -> Any:
    if len(words) > 2:
        raise KvError("ERR wrong number of arguments for 'ping' command")
    return words[1] if len(words) == 2 else Raw(b"+PONG\r\n")


@command("echo", 2)
def _echo(session: Session, words: list[bytes]) -> Any:
    return words[1]


@command("quit", -1, queued=False)
def _quit(session: Session, words: list[bytes]) -> Any:
    session.is_leaving = True
    return OK


@command("select", 2)
def _select(session: Session, words: list[bytes]) -> Any:
    if integer(words[1]) != 0:
        raise KvError("ERR DB index is out of range")
    return OK


@command("auth", -2)
def _auth(session: Session, words: list[bytes]) -> Any:
    raise KvError("ERR there are no passwords here; connect without one")


@command("reset", 1, queued=False)
def _reset(session: Session, words: list[bytes]) -> Any:
    session.discard()
    session.version, session.name = 2, b""
    return session.status("RESET")


@command("hello", -1)
def _hello(session: Session, words: list[bytes]) -> Any:
    options = words[1:]
    if options:
        if options[0] not in (b"2", b"3"):
            raise KvError("NOPROTO unsupported protocol version")
        name = _hello_name(options[1:])
        session.version = int(options[0])
        session.name = session.name if name is None else name
    return {
        b"server": b"ustack-kv",
        b"version": __version__.encode(),
        b"proto": session.version,
        b"id": session.number,
        b"mode": b"standalone",
        b"role": b"master",
        b"modules": [],
    }


def _hello_name(options: list[bytes]) -> bytes | None:
    """Return what SETNAME says. AUTH names the user default, which has no password."""
    name, at = None, 0
    while at < len(options):
        option, left = options[at].upper(), len(options) - at
        if option == b"AUTH" and left > 2:
            if options[at + 1] != b"default":
                raise KvError("WRONGPASS there is only the user default, without a password")
            at += 3
        elif option == b"SETNAME" and left > 1:
            name = _client_name(options[at + 1])
            at += 2
        else:
            raise syntax_error()
    return name


# ------------------------------------------------------------------------------------ client


@command("client", -2)
def _client(session: Session, words: list[bytes]) -> Any:
    name, n = words[1].upper(), len(words)
    if name == b"ID" and n == 2:
        return session.number
    if name == b"GETNAME" and n == 2:
        return session.name or None
    if name == b"SETNAME" and n == 3:
        session.name = _client_name(words[2])
        return OK
    if name == b"SETINFO" and n == 4:
        if words[2].upper() not in (b"LIB-NAME", b"LIB-VER"):
            raise KvError("ERR CLIENT SETINFO knows lib-name and lib-ver")
        return OK
    if name == b"INFO" and n == 2:
        return f"id={session.number} name={session.name.decode()} resp={session.version}\n"
    raise _unknown_subcommand(words)


def _client_name(word: bytes) -> bytes:
    if len(word) > _NAME or any(not 33 <= byte <= 126 for byte in word):
        raise KvError(f"ERR a client's name is up to {_NAME} letters without blanks")
    return word


def _unknown_subcommand(words: list[bytes]) -> KvError:
    name = words[0].decode().upper()
    return KvError(f"ERR unknown subcommand or wrong number of arguments for '{name}'")


# ------------------------------------------------------------------------------ transactions


@command("multi", 1, queued=False)
def _multi(session: Session, words: list[bytes]) -> Any:
    if session.queue is not None:
        raise KvError("ERR MULTI calls can not be nested")
    session.begin()
    return OK


@command("exec", 1, queued=False)
def _exec(session: Session, words: list[bytes]) -> Any:
    if session.queue is None:
        raise KvError("ERR EXEC without MULTI")
    return session.perform_all()


@command("discard", 1, queued=False)
def _discard(session: Session, words: list[bytes]) -> Any:
    if session.queue is None:
        raise KvError("ERR DISCARD without MULTI")
    session.discard()
    return OK


@command("watch", -2, queued=False)
def _watch(session: Session, words: list[bytes]) -> Any:
    if session.queue is not None:
        raise KvError("ERR WATCH inside MULTI is not allowed")
    if len(session.watching | {*words[1:]}) > _MAX_WATCHED:
        raise KvError(f"ERR a client may watch {_MAX_WATCHED} keys")
    for key in words[1:]:
        session.watch(key)
    return OK


@command("unwatch", 1)
def _unwatch(session: Session, words: list[bytes]) -> Any:
    session.unwatch()
    return OK


# ------------------------------------------------------------------------------------ server


@command("command", -1)
def _command(session: Session, words: list[bytes]) -> Any:
    rows = {row.name: row for row in COMMANDS.values()}
    name = words[1].upper() if len(words) > 1 else b"INFO"
    if name == b"COUNT":
        return len(rows)
    if name == b"DOCS":
        return {}
    if name == b"INFO":
        wanted = [word.decode("latin-1").lower() for word in words[2:]] or [*rows]
        session.check_reply(100 * len(wanted))
        return [_describe(rows.get(name)) for name in wanted]
    raise _unknown_subcommand(words)


def _describe(row: Command | None) -> list[Any] | None:
    if row is None:
        return None
    flags = [Raw(b"+write\r\n") if row.writes else Raw(b"+readonly\r\n")]
    return [row.name, row.arity, flags + [Raw(b"+denyoom\r\n")] * row.adds, 0, 0, 0]


@command("config", -2)
def _config(session: Session, words: list[bytes]) -> Any:
    if words[1].upper() == b"RESETSTAT" and len(words) == 2:
        session.service.processed = 0
        return OK
    if words[1].upper() != b"GET" or len(words) < 3:
        raise _unknown_subcommand(words)
    limits = session.limits
    known = {
        "appendonly": "no",
        "databases": "1",
        "maxclients": str(limits.clients),
        "maxmemory": str(limits.memory),
        "maxmemory-policy": "noeviction",
        "proto-max-bulk-len": str(limits.request),
        "save": "",
    }
    patterns = [word[:_NAME].decode("latin-1").lower() for word in words[2:10]]
    return {
        name: value
        for name, value in known.items()
        if any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)
    }


@command("info", -1)
def _info(session: Session, words: list[bytes]) -> Any:
    service, store, limits = session.service, session.store, session.limits
    sections: dict[str, dict[str, Any]] = {
        "Server": {
            "redis_version": "7.0.0",  # whose commands these are
            "redis_mode": "standalone",
            "server_name": "ustack-kv",
            "ustack_version": __version__,
            "uptime_in_seconds": int(time.monotonic() - service.started),
        },
        "Clients": {"connected_clients": service.clients, "maxclients": limits.clients},
        "Memory": {"used_memory": store.used + service.pending, "maxmemory": limits.memory},
        "Stats": {
            "total_connections_received": service.accepted,
            "total_commands_processed": service.processed,
            "rejected_connections": service.refused,
            "expired_keys": store.expired,
        },
        "Keyspace": {"db0": f"keys={len(store)}"} if len(store) else {},
    }
    wanted = {word.decode("latin-1").capitalize() for word in words[1:]}
    every = not wanted or wanted & {"All", "Default", "Everything"}
    return "\r\n".join(
        f"# {title}\r\n" + "".join(f"{name}:{value}\r\n" for name, value in lines.items())
        for title, lines in sections.items()
        if every or title in wanted
    )
