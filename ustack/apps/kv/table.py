# SPDX-License-Identifier: BSD-3-Clause
"""The table of commands, what they are called with, and how their arguments are read."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ustack.apps.kv.store import KvError

if TYPE_CHECKING:
    from ustack.apps.kv.session import Session

__all__ = ["COMMANDS", "Command", "command", "integer", "real", "syntax_error"]

Handler = Callable[["Session", list[bytes]], Any]

COMMANDS: dict[bytes, "Command"] = {}


@dataclass(frozen=True, slots=True)
class Command:
    """One command. arity: how many words it has, its name among them; -n: at least n.

    adds: it may need memory. queued: MULTI puts it off until EXEC. writes: it may change keys.
    """

    name: str
    handler: Handler
    arity: int
    adds: bool
    writes: bool
    queued: bool

    def takes(self, n_words: int) -> bool:
        """Return whether a request may have so many words."""
        return n_words == self.arity if self.arity > 0 else n_words >= -self.arity


def command(
    name: str, arity: int, *, adds: bool = False, writes: bool = False, queued: bool = True
) -> Callable[[Handler], Handler]:
    """Put a function into the table: it gets the session and the words, and returns the reply."""

    def register(handler: Handler) -> Handler:
        row = Command(name, handler, arity, adds, writes or adds, queued)
        COMMANDS[name.upper().encode()] = row
        COMMANDS[name.encode()] = row
        return handler

    return register


def syntax_error() -> KvError:
    """Return what is said of arguments that nobody understands."""
    return KvError("ERR syntax error")


def integer(word: bytes) -> int:
    """Return a number of 64 bits as Redis takes it: no blanks, no leading zeros or plus."""
    if len(word) <= 20:
        try:
            number = int(word)
        except ValueError:
            pass
        else:
            if b"%d" % number == word and -(1 << 63) <= number < 1 << 63:
                return number
    raise KvError("ERR value is not an integer or out of range")


def real(word: bytes) -> float:
    """Return a score: a number, inf or -inf."""
    try:
        number = float(word) if word.strip() == word and b"_" not in word else math.nan
    except ValueError:
        number = math.nan
    if math.isnan(number):
        raise KvError("ERR value is not a valid float")
    return number
