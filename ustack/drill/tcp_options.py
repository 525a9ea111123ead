# SPDX-License-Identifier: BSD-3-Clause
"""TCP options: as packetdrill's language writes them, as data, and on the wire.

An option is a tuple of its name and its values. Blocks of sack are pairs; `ECN` has its named
counters in order (RFC 9768 3.2.3). `hex fe04abcd` stands for the bytes of any other option. NOPs
and EOLs are options like any other. Bytes that make no sense become one `hex` option.

Not here: what the numbers are relative to.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterable

from ustack.drill.script import Option

__all__ = ["decode", "encode", "parse", "text"]

_FO_MAGIC = b"\xf9\x89"  # of the experimental option 254 (RFC 6994)
_COUNTERS = {172: ("e0b", "ceb", "e1b"), 174: ("e1b", "ceb", "e0b")}
_PLAIN = {"nop": b"\x01", "eol": b"\x00", "sackOK": b"\x04\x02"}
_BLOCK = re.compile(r"\s*(-?\d+)\s*:\s*(-?\d+)\s*")


def parse(source: str) -> tuple[Option, ...]:
    """The options between `<` and `>`. Raises ValueError for what is none."""
    return tuple(_parse_one(item) for item in source.split(",") if item.strip())


def _parse_one(source: str) -> Option:
    name, *args = source.split()
    match name, args:
        case (("nop" | "eol" | "sackOK"), []):
            return (name,)
        case (("mss" | "wscale"), [value]):
            return (name, int(value, 0))
        case "TS", ["val", val, "ecr", ecr]:
            return (name, int(val), int(ecr))
        case "sack", [_, *_]:
            return ("sack", *_blocks(" ".join(args), source))
        case (("FO" | "FOEXP"), []):
            return (name, b"")
        case (("FO" | "FOEXP" | "hex"), [cookie]):
            return (name, bytes.fromhex(cookie.removeprefix("0x")))
        case "ECN", [_, *_] if len(args) % 2 == 0:
            return ("ECN", *((key, int(n)) for key, n in zip(args[::2], args[1::2], strict=True)))
        case "ECN", []:
            return ("ECN",)
    raise ValueError(f"{source.strip()!r} is no TCP option that ustack.drill knows")


def _blocks(source: str, whole: str) -> Iterable[tuple[int, int]]:
    matches = list(_BLOCK.finditer(source))
    if "".join(m[0] for m in matches) != source:
        raise ValueError(f"{whole.strip()!r} is no list of SACK blocks; write sack 1:2 5:6")
    return [(int(m[1]), int(m[2])) for m in matches]


def text(options: Iterable[Option]) -> str:
    """Options as the language writes them, without the angle brackets."""
    return ",".join(map(_text_one, options))


def _text_one(option: Option) -> str:
    match option:
        case ("TS", val, ecr):
            return f"TS val {val} ecr {ecr}"
        case ("sack", *blocks):
            return "sack " + " ".join(f"{lo}:{hi}" for lo, hi in blocks)
        case ("ECN", *counters):
            return " ".join(["ECN", *(f"{key} {n}" for key, n in counters)])
        case (name, bytes(raw)):
            return f"{name} {raw.hex()}".strip()
    return " ".join(map(str, option))


def encode(options: Iterable[Option]) -> bytes:
    """Options on the wire, filled up with EOL to a multiple of four; their numbers absolute."""
    raw = b"".join(map(_encode_one, options))
    return raw + bytes(-len(raw) % 4)


def _encode_one(option: Option) -> bytes:
    match option:
        case (str(name),) if name in _PLAIN:
            return _PLAIN[name]
        case ("mss", int(value)):
            return struct.pack("!BBH", 2, 4, value)
        case ("wscale", int(value)):
            return struct.pack("!BBB", 3, 3, value)
        case ("TS", int(val), int(ecr)):
            return struct.pack("!BBII", 8, 10, val % 2**32, ecr % 2**32)
        case ("sack", *blocks):
            edges = [edge % 2**32 for block in blocks for edge in block]
            return struct.pack(f"!BB{len(edges)}I", 5, 2 + 4 * len(edges), *edges)
        case ("FO", bytes(cookie)):
            return struct.pack("!BB", 34, 2 + len(cookie)) + cookie
        case ("FOEXP", bytes(cookie)):
            return struct.pack("!BB", 254, 4 + len(cookie)) + _FO_MAGIC + cookie
        case ("ECN", *counters):
            return _encode_counters([*counters])
        case ("hex", bytes(raw)):
            return raw
    raise ValueError(f"{option!r} is no TCP option")


def _encode_counters(counters: list[tuple[str, int]]) -> bytes:
    names = tuple(name for name, _ in counters)
    for kind, order in _COUNTERS.items():
        if order[: len(names)] == names:
            values = b"".join((n % 2**24).to_bytes(3, "big") for _, n in counters)
            return struct.pack("!BB", kind, 2 + len(values)) + values
    raise ValueError(f"ECN {' '.join(names)}: AccECN has e0b ceb e1b or e1b ceb e0b")


def decode(raw: bytes) -> tuple[Option, ...]:
    """The options of a header, NOPs and EOLs included."""
    options: list[Option] = []
    at = 0
    while at < len(raw):
        kind = raw[at]
        if kind < 2:
            options.append(("nop",) if kind else ("eol",))
            at += 1
            continue
        length = raw[at + 1] if at + 1 < len(raw) else 0
        if length < 2 or at + length > len(raw):
            options.append(("hex", raw[at:]))
            break
        options.append(_decode_one(kind, raw[at : at + length]))
        at += length
    return tuple(options)


def _decode_one(kind: int, raw: bytes) -> Option:
    body = raw[2:]
    match kind, len(body):
        case 2, 2:
            return ("mss", int.from_bytes(body, "big"))
        case 3, 1:
            return ("wscale", body[0])
        case 4, 0:
            return ("sackOK",)
        case 5, n if n % 8 == 0:
            edges = struct.unpack(f"!{n // 4}I", body)
            return ("sack", *zip(edges[::2], edges[1::2], strict=True))
        case 8, 8:
            return ("TS", *struct.unpack("!II", body))
        case 34, _:
            return ("FO", body)
        case 254, n if n >= 2 and body[:2] == _FO_MAGIC:
            return ("FOEXP", body[2:])
        case ((172 | 174), n) if n % 3 == 0 and n <= 9:
            values = [int.from_bytes(body[i : i + 3], "big") for i in range(0, n, 3)]
            return ("ECN", *zip(_COUNTERS[kind], values))  # noqa: B905
    return ("hex", raw)
