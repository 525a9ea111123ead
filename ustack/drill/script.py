# SPDX-License-Identifier: BSD-3-Clause
"""What a script in packetdrill's language says, as data.

A script is a list of options (`--mss=1000`) and of events in the order in which they are to
happen. Numbers in packets are relative, exactly as they are written; what they are relative to is
the runner's business (runner.py), how the text is read is the parser's (parse.py).
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from typing import Any

__all__ = [
    "Call", "Code", "Command", "Ellipsis_", "Event", "Expression", "Icmp", "IpFields", "Name",
    "Option", "Packet", "Script", "ScriptError", "Segment", "Struct", "Udp", "When", "WhenKind",
]  # fmt: skip


class ScriptError(ValueError):
    """A script that cannot be read, or says what ustack.drill cannot do; the message says where."""


class WhenKind(enum.Enum):
    """How the time of an event is written."""

    ABSOLUTE = ".5"
    RELATIVE = "+.5"
    ANY = "*"


@dataclass(frozen=True)
class When:
    """The time of an event, in ns: since the start of the script, or since the event before.

    high: where a range `low~high` ends, else low. end: where a call that blocks ends (`...t`).
    """

    kind: WhenKind
    low: int = 0
    high: int = 0
    end: int | None = None

    @property
    def is_range(self) -> bool:
        """May it happen at more than one moment?"""
        return self.kind is WhenKind.ANY or self.high != self.low


#: One TCP option: its name in the language, then its values.
Option = tuple[Any, ...]


@dataclass(frozen=True)
class IpFields:
    """What a line demands of, or sets in, the IP header; None leaves it open."""

    ecn: int | None = None
    ecn_any: bool = False  # ect01: either of both
    tos: int | None = None
    ttl: int | None = None
    flow_label: int | None = None


@dataclass(frozen=True)
class Segment:
    """One TCP segment with relative numbers.

    flags: the letters `SFRPUEWA.` in the header's order, A for AE (bit 8). ace: the counter of
    three bits that a digit among the flags stands for (RFC 9768). options: None is `<...>`.
    """

    flags: str
    seq: int
    length: int
    ack: int | None = None
    win: int | None = None
    urg: int | None = None
    options: tuple[Option, ...] | None = ()
    ace: int | None = None


@dataclass(frozen=True)
class Udp:
    """A UDP datagram of so many bytes of payload."""

    length: int


@dataclass(frozen=True)
class Icmp:
    """An ICMP error. quoted: the packet that it quotes; None: the flow's own, without data."""

    kind: str
    code: str | None = None
    mtu: int | None = None
    quoted: tuple[int, int] | Udp | None = None  # of TCP: sequence number and length


@dataclass(frozen=True)
class Packet:
    """A line with `<` (inbound: into the stack) or `>` (out of it)."""

    inbound: bool
    body: Segment | Udp | Icmp
    ip: IpFields = IpFields()


@dataclass(frozen=True)
class Name:
    """A word of C: a constant such as SOL_TCP, or a variable of the script."""

    text: str


@dataclass(frozen=True)
class Ellipsis_:
    """`...`: whatever is right."""


@dataclass(frozen=True)
class Struct:
    """`{a=1, b(2)=…}` or `{…, 1000}`: fields with a name, and values without one."""

    fields: tuple[tuple[str | None, Expression], ...]

    def get(self, name: str) -> Expression | None:
        """The value of a field, or None."""
        return next((value for key, value in self.fields if key == name), None)


@dataclass(frozen=True)
class Apply:
    """`htons(8080)`, `inet_addr("10.0.0.1")`."""

    name: str
    args: tuple[Expression, ...]


@dataclass(frozen=True)
class Binary:
    """`a | b` and its like."""

    operator: str
    left: Expression
    right: Expression


#: A list is `[…]`.
Expression = int | str | bytes | list["Expression"] | Name | Ellipsis_ | Struct | Apply | Binary


@dataclass(frozen=True)
class Call:
    """A system call and what it must give: a number, `-1 EPIPE`, or anything."""

    name: str
    args: tuple[Expression, ...]
    result: Expression
    errno: str | None = None


@dataclass(frozen=True)
class Command:
    """What stands between backticks; it is never run, but see host.py."""

    text: str


@dataclass(frozen=True)
class Code:
    """Python between `%{` and `}%`."""

    text: str


@dataclass(frozen=True)
class Event:
    """One event. line: where it begins in the file. text: as it is written, on one line.

    when is None for a command that stands before or behind all events.
    """

    when: When | None
    action: Packet | Call | Command | Code
    line: int
    text: str


@dataclass
class Script:
    """A whole script. options: by name without the dashes, all of them texts."""

    path: str
    options: dict[str, str] = field(default_factory=dict)
    defines: dict[str, str] = field(default_factory=dict)
    events: list[Event] = field(default_factory=list)
