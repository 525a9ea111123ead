# SPDX-License-Identifier: BSD-3-Clause
"""ustack kv: the key-value server on a stack of its own, until Ctrl-C."""

import argparse
import re

from ustack.apps.kv.resp import Limits
from ustack.apps.kv.server import PORT, serve
from ustack.apps.serve import add_stack_arguments, parse_port, serve_on_stack
from ustack.errors import ConfigError

__all__ = ["add_arguments", "main"]

_UNITS = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what `ustack kv` understands."""
    add_stack_arguments(parser)
    parser.add_argument("--listen", metavar="PORT", help=f"the TCP port ({PORT})")
    parser.add_argument(
        "--max-memory", default="256m", metavar="BYTES", help="of all keys and values (256m)"
    )
    parser.add_argument(
        "--max-request", default="16m", metavar="BYTES", help="of one request or value (16m)"
    )
    parser.add_argument("--max-clients", default="10000", metavar="N", help="at once (10000)")


def main(args: argparse.Namespace) -> int:
    """Serve until Ctrl-C or SIGTERM; the exit status."""
    port = parse_port(args.listen, PORT)
    limits = Limits(
        memory=_size("--max-memory", args.max_memory),
        request=_size("--max-request", args.max_request),
        clients=_size("--max-clients", args.max_clients),
    )
    return serve_on_stack(args, "kv", lambda host: serve(host, port, limits))


def _size(name: str, text: str) -> int:
    match = re.fullmatch(r"([0-9]{1,12})([kmg]?)b?", text.lower())
    size = int(match[1]) * _UNITS[match[2]] if match else 0
    if not 0 < size < 1 << 40:
        raise ConfigError(f"{name} must be a number from 1, got {text!r}; such as 64m")
    return size
