# SPDX-License-Identifier: BSD-3-Clause
"""packetdrill's one-line notation for TCP segments: parse it, print it, turn options into bytes.

    +.1 < P. 1:1001(1000) ack 1 win 257 <nop,nop,sack 2001:3001>

A line is a time, a direction (`<` into the engine, `>` out of it), the IP header's congestion mark
(`[noecn]`, `[ect0]`, `[ect1]`, `[ce]`; optional), flags (`S F R P U E W A .`, `-` for none),
`seq:end(length)`, then `ack`, `win`, `urg` and `<options>`, each optional. In options `...` means
"any"; `FO` asks for a Fast Open cookie, `FO 0102…` is one; `hex fe00` stands for raw bytes, which
packetdrill cannot say.

Not here: what the numbers are relative to (wire.py), frames (frames.py).
"""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass

FLAG_BITS = {"F": 1, "S": 2, "R": 4, "P": 8, ".": 16, "U": 32, "E": 64, "W": 128, "A": 256}
FLAG_ORDER = "SFRPUEWA."
MARKS = ("noecn", "ect1", "ect0", "ce")  # by the value of the IP header's two bits

#: One option: its name in the notation, then its values.
Option = tuple[object, ...]


@dataclass(frozen=True)
class Segment:
    """One TCP segment with relative numbers; None where a line leaves the field open."""

    flags: str
    seq: int
    length: int
    ack: int | None = None
    win: int | None = None
    urg: int | None = None
    options: tuple[Option, ...] | None = ()
    mark: int | None = None

    @property
    def bits(self) -> int:
        """The flags as the header's nine bits."""
        return sum(FLAG_BITS[flag] for flag in self.flags)

    def __str__(self) -> str:
        flags = self.flags or "-"
        if self.mark:
            flags = f"[{MARKS[self.mark]}] {flags}"
        text = f"{flags} {self.seq}:{self.seq + self.length}({self.length})"
        for name, value in (("ack", self.ack), ("win", self.win), ("urg", self.urg)):
            if value is not None:
                text += f" {name} {value}"
        if self.options is None:
            text += " <...>"
        elif self.options:
            text += f" <{','.join(map(option_text, self.options))}>"
        return text


@dataclass(frozen=True)
class When:
    """When a line happens: seconds after the line before, or since the start; high None: any."""

    low: float
    high: float | None
    relative: bool = True

    def __str__(self) -> str:
        sign = "+" if self.relative else ""
        if self.high is None:
            return "*"
        return f"{sign}{self.low:g}" + (f"~{sign}{self.high:g}" if self.high != self.low else "")


@dataclass(frozen=True)
class Line:
    """One line of a conversation."""

    when: When
    inbound: bool
    segment: Segment

    def __str__(self) -> str:
        return f"{self.when} {'<' if self.inbound else '>'} {self.segment}"


def flag_text(bits: int) -> str:
    """The nine flag bits in the notation's order; empty for none."""
    return "".join(flag for flag in FLAG_ORDER if bits & FLAG_BITS[flag])


# ------------------------------------------------------------------- lines

LINE = re.compile(r"(?P<when>\S+)\s+(?P<dir>[<>])\s+(?P<segment>.*)")
SEGMENT = re.compile(
    r"(?:\[(?P<mark>noecn|ect1|ect0|ce)\]\s+)?"
    r"(?P<flags>[SFRPUEWA.]+|-)\s+"
    r"(?P<seq>-?\d+)(?::(?P<end>-?\d+)\((?P<length>\d+)\))?"
    r"(?:\s+ack\s+(?P<ack>-?\d+))?(?:\s+win\s+(?P<win>\d+))?(?:\s+urg\s+(?P<urg>\d+))?"
    r"(?:\s*<(?P<options>[^>]*)>)?\s*"
)
NUMBER = r"(?:\d+\.?\d*|\.\d+)"
TIME = re.compile(rf"(?P<plus>\+?)(?P<low>{NUMBER})(?:~\+?(?P<high>{NUMBER}))?")


def parse_lines(text: str) -> list[Line]:
    """The lines of a conversation, without blanks and comments (`//` or `#`)."""
    lines = (re.split(r"//|#", line, maxsplit=1)[0].strip() for line in text.splitlines())
    return [parse_line(line) for line in lines if line]


def parse_line(text: str) -> Line:
    """One line. ValueError says what is wrong with it."""
    match = LINE.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"not a line of the form 'time < segment': {text!r}")
    return Line(parse_when(match["when"]), match["dir"] == "<", parse_segment(match["segment"]))


def parse_when(text: str) -> When:
    """A time: `+.1`, `.1`, `+.1~+.3` or `*`."""
    if text == "*":
        return When(0.0, None)
    match = TIME.fullmatch(text)
    if match is None:
        raise ValueError(f"not a time: {text!r}")
    low = float(match["low"])
    return When(low, float(match["high"]) if match["high"] else low, bool(match["plus"]))


def parse_segment(text: str) -> Segment:
    """The part of a line behind its direction."""
    match = SEGMENT.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"not a segment: {text!r}")
    seq = int(match["seq"])
    length = int(match["length"] or 0)
    if match["end"] is not None and int(match["end"]) - seq != length:
        raise ValueError(f"{seq}:{match['end']} is not {length} bytes: {text!r}")
    number = {name: int(match[name]) if match[name] else None for name in ("ack", "win", "urg")}
    flags = "" if match["flags"] == "-" else match["flags"]
    return Segment(
        "".join(sorted(flags, key=FLAG_ORDER.index)),
        seq,
        length,
        number["ack"],
        number["win"],
        number["urg"],
        parse_options(match["options"]),
        MARKS.index(match["mark"]) if match["mark"] else None,
    )


# ----------------------------------------------------------------- options


def parse_options(text: str | None) -> tuple[Option, ...] | None:
    """The options between `<` and `>`; None for `...`, () for none at all."""
    if text is None or not text.strip():
        return ()
    if text.strip() == "...":
        return None
    return tuple(parse_option(item.strip()) for item in text.split(","))


def parse_option(text: str) -> Option:
    """One option, such as `TS val 1 ecr 0`."""
    name, *args = text.split()
    if name in ("nop", "eol", "sackOK") and not args:
        return (name,)
    if name in ("mss", "wscale") and len(args) == 1:
        return (name, int(args[0]))
    if name == "TS" and len(args) == 4 and args[0::2] == ["val", "ecr"]:
        return (name, int(args[1]), int(args[3]))
    if name == "sack" and args:
        return (name, *(tuple(int(edge) for edge in block.split(":")) for block in args))
    if name == "FO" and len(args) <= 1:
        return (name, bytes.fromhex(args[0]) if args else b"")
    if name == "ECN" and " ".join(args[0::2]) in (
        "e0b ceb e1b",
        "e1b ceb e0b",
        "e0b ceb",
        "e1b ceb",
    ):
        return ("ECN", *zip(args[0::2], map(int, args[1::2]), strict=True))
    if name == "hex" and len(args) == 1:
        return (name, bytes.fromhex(args[0]))
    raise ValueError(f"not a TCP option: {text!r}")


def option_text(option: Option) -> str:
    """One option as the notation writes it."""
    match option:
        case ("TS", val, ecr):
            return f"TS val {val} ecr {ecr}"
        case ("sack", *blocks):
            return "sack " + " ".join(f"{lo}:{hi}" for lo, hi in blocks)  # type: ignore[misc]
        case ("FO", bytes(cookie)):
            return f"FO {cookie.hex()}".strip()
        case ("ECN", *fields):
            return "ECN " + " ".join(f"{name} {value}" for name, value in fields)  # type: ignore[misc]
        case ("hex", bytes(raw)):
            return f"hex {raw.hex()}"
        case _:
            return " ".join(map(str, option))


def option_bytes(option: Option) -> bytes:
    """One option on the wire, its numbers absolute."""
    match option:
        case ("nop",):
            return b"\x01"
        case ("eol",):
            return b"\x00"
        case ("sackOK",):
            return b"\x04\x02"
        case ("mss", int(value)):
            return struct.pack("!BBH", 2, 4, value)
        case ("wscale", int(value)):
            return struct.pack("!BBB", 3, 3, value)
        case ("TS", int(val), int(ecr)):
            return struct.pack("!BBII", 8, 10, val % 2**32, ecr % 2**32)
        case ("sack", *blocks):
            edges = [edge % 2**32 for block in blocks for edge in block]  # type: ignore[attr-defined]
            return struct.pack(f"!BB{len(edges)}I", 5, 2 + 4 * len(edges), *edges)
        case ("FO", bytes(cookie)):
            return struct.pack("!BB", 34, 2 + len(cookie)) + cookie
        case ("ECN", (str(first), _), *_):
            counts = [count for _, count in option[1:]]  # type: ignore[misc]
            kind = 172 if first == "e0b" else 174
            fields = b"".join(count.to_bytes(3, "big") for count in counts)
            return bytes([kind, 2 + 3 * len(counts)]) + fields
        case ("hex", bytes(raw)):
            return raw
    raise ValueError(f"not a TCP option: {option!r}")


def options_bytes(options: tuple[Option, ...]) -> bytes:
    """All options, padded to a multiple of four with NOPs in front, as every stack aligns them."""
    raw = b"".join(map(option_bytes, options))
    if any(option[0] == "hex" for option in options):
        return raw + bytes(-len(raw) % 4)
    return b"\x01" * (-len(raw) % 4) + raw
