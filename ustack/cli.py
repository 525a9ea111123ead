# SPDX-License-Identifier: BSD-3-Clause
"""The command ustack.

Each subcommand is a module with add_arguments(parser) and main(args) -> exit status, imported only
when it is asked for. Whatever cannot be done is told in one line, with exit status 2.
"""

import argparse
import importlib
import sys
from collections.abc import Sequence
from typing import NoReturn

from ustack import __version__
from ustack.errors import UstackError

__all__ = ["main"]

COMMANDS = {
    "serve": ("ustack.apps.serve", "run a server, echo, http or kv, on a stack of its own"),
    "kv": ("ustack.apps.kv.command", "run a key-value server for Redis' clients"),
    "proxy": ("ustack.apps.proxy", "join the kernel's TCP with a stack's: forwards and SOCKS 5"),
    "demo": ("ustack.demo", "show ustack at work, without root; --tap: with the kernel as client"),
    "run": ("ustack.launch.command", "run an unmodified program on a stack of its own"),
    "ping": ("ustack.apps.ping", "send echo requests from a stack of its own"),
    "addr": ("ustack.control.addr", "show and change the addresses of a running stack"),
    "route": ("ustack.control.route", "show and change its routes"),
    "neigh": ("ustack.control.neigh", "show and change its neighbours"),
    "doctor": ("ustack.doctor", "tell which ways in work on this machine, and the cure if not"),
    "sim": ("ustack.sim.command", "simulate a network on virtual time, and draw it"),
    "bench": ("ustack.bench", "measure ustack beside what one would use instead"),
    "drill": ("ustack.drill.command", "play packetdrill scripts against the engine"),
}


class _Parser(argparse.ArgumentParser):
    """A parser whose complaints are one line."""

    def error(self, message: str) -> NoReturn:
        """Tell what is wrong, and where to read on."""
        self.exit(2, f"ustack: {message}; see {self.prog} --help\n")


def main(argv: Sequence[str] | None = None) -> int:
    """Run `ustack ARGUMENTS`; the exit status."""
    name, rest = _split(sys.argv[1:] if argv is None else list(argv))
    module = importlib.import_module(COMMANDS[name][0])
    parser = _Parser(prog=f"ustack {name}", description=COMMANDS[name][1])
    module.add_arguments(parser)
    try:
        return int(module.main(parser.parse_args(rest)) or 0)
    except KeyboardInterrupt:
        return 130
    except (UstackError, OSError) as error:
        print(f"ustack: {_one_line(error)}", file=sys.stderr)
        return 2


def _split(argv: list[str]) -> tuple[str, list[str]]:
    """Return the subcommand and its arguments."""
    parser = _Parser(
        prog="ustack",
        description="A TCP/IP stack in user space.",
        epilog="\n".join(f"  {name:8} {text}" for name, (_, text) in COMMANDS.items()),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"ustack {__version__}")
    parser.add_argument("command", choices=COMMANDS, metavar="COMMAND", help="see below")
    args = parser.parse_args(argv[:1])
    return str(args.command), argv[1:]


def _one_line(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        where = f": {error.filename}" if error.filename else ""
        return " ".join(f"{error.strerror}{where}".split())
    return " ".join(str(error).split())


if __name__ == "__main__":
    sys.exit(main())
