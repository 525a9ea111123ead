# SPDX-License-Identifier: BSD-3-Clause
"""What `ustack addr`, `ustack route` and `ustack neigh` have in common: their grammar.

VERB [SUBJECT [KEY VALUE]…] [--pid PID | --name NAME] [--json], after iproute2's.
"""

import argparse
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ustack.control.client import ask, find
from ustack.errors import ConfigError

__all__ = ["Grammar"]


@dataclass(frozen=True, slots=True)
class Grammar:
    """One command: its name, what it is about, which words add takes, and how it is shown."""

    name: str  # "route"
    subject: str  # the argument of add and del: "network"
    example: str  # "default via 10.9.0.1"
    keys: dict[str, bool]  # words of add, and whether they must be there
    del_keys: tuple[str, ...]  # words of del
    shown: str  # which part of the answer: "routes"
    show: Callable[[dict[str, Any]], str]

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declare what it understands."""
        parser.add_argument("verb", nargs="?", default="show", choices=("show", "add", "del"))
        parser.add_argument("words", nargs="*", metavar="WORD", help=f"such as {self.example}")
        which = parser.add_mutually_exclusive_group()
        which.add_argument("--pid", type=int, metavar="PID", help="the stack of this process")
        which.add_argument("--name", metavar="NAME", help="the stack of this name")
        parser.add_argument("--json", action="store_true", help="show: as JSON")

    def main(self, args: argparse.Namespace) -> int:
        """Ask the stack; the exit status."""
        request = self._parse(args.verb, args.words)
        place = find(args.pid, args.name)
        if args.verb != "show":
            ask(place, f"{self.name} {args.verb}", request)
            return 0
        answer = ask(place, "show")
        text = json.dumps(answer[self.shown], indent=2) if args.json else self.show(answer)
        if text:
            print(text)
        return 0

    def _parse(self, verb: str, words: list[str]) -> dict[str, str | None]:
        if verb == "show":
            if words:
                raise ConfigError(f"{self.name} show takes nothing more, got {words[0]!r}; omit it")
            return {}
        keys = tuple(self.keys) if verb == "add" else self.del_keys
        must = [key for key in keys if self.keys.get(key)] if verb == "add" else []
        if not words:
            raise self._wrong(verb, f"needs a {self.subject}, got none")
        pairs = words[1:]
        request: dict[str, str | None] = {self.subject: words[0]}
        for key, value in zip(pairs[::2], [*pairs[1::2], None], strict=False):
            if key not in keys or value is None or key in request:
                known = ", ".join(keys) or "nothing"
                raise self._wrong(verb, f"takes {known} and a value each, got {key!r}")
            request[key] = value
        for key in must:
            if key not in request:
                raise self._wrong(verb, f"needs {key}, got {' '.join(words)!r}")
        return request

    def _wrong(self, verb: str, what: str) -> ConfigError:
        example = self.example if verb == "add" else self.example.partition(" ")[0]
        return ConfigError(f"{self.name} {verb} {what}; try ustack {self.name} {verb} {example}")
