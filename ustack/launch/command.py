# SPDX-License-Identifier: BSD-3-Clause
"""ustack run: parse what the user typed, open the stack, run the program."""

import argparse
import os
import signal
import sys
from collections.abc import Callable
from typing import Any

from ustack import process
from ustack._whose import Rules
from ustack.apps.serve import add_worker_arguments, parse_setting, parse_workers
from ustack.crew import Member, Queues, Supervisor, Workers
from ustack.errors import ConfigError
from ustack.io import TapUrl, parse_url, userns
from ustack.launch import config, program
from ustack.stack import Stack

__all__ = ["add_arguments", "main"]

_USAGE = "ustack run [OPTIONS] SCRIPT [ARGUMENTS]  |  ustack run [OPTIONS] -m MODULE [ARGUMENTS]"
_LISTS = ("address", "gateway", "also")
_HELP: dict[str, tuple[str, str]] = {
    "--io": ("URL", "ring:NAME[?…], tap:NAME[?…], loop:; else USTACK_IO"),
    "--address": ("CIDR", "ours: 10.9.0.2/24; more than once for several; else USTACK_ADDRESS"),
    "--gateway": ("ADDRESS", "a default route's next hop; once for each version of IP"),
    "--config": ("FILE", "a TOML file that says all of this"),
    "--also": ("WHERE", "except ADDRESS, CIDR or *, with :PORT; see docs/run.md"),
    "--name": ("NAME", "what ustack addr --name tells the stack by"),
    "--capture": ("FILE", "write all frames to a pcapng file"),
    "--profile": ("NAME", "linux or rfc"),
    "--spin": ("SECONDS", "how long to poll before sleeping"),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what `ustack run` understands."""
    parser.usage = _USAGE
    for name, (metavar, text) in _HELP.items():
        action = "append" if name[2:] in _LISTS else "store"
        parser.add_argument(name, action=action, metavar=metavar, help=text)
    for name, text in (
        ("--loopback", "own 127.0.0.0/8 and ::1, too; loop: does"),
        ("--autoconf", "take IPv6 addresses that routers advertise"),
    ):
        parser.add_argument(name, action="store_true", default=None, help=text)
    parser.add_argument(
        "--only", choices=("ustack", "kernel"), help="who gets what --also does not name"
    )
    parser.add_argument(
        "--set", action="append", default=[], metavar="NAME=VALUE", help="change a setting"
    )
    add_worker_arguments(parser)
    parser.add_argument("-m", dest="module", action="store_true", help="run a module")
    parser.add_argument("program", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)


def main(args: argparse.Namespace) -> int:
    """Run the program; its exit status."""
    name, *arguments = _program(args)
    options = _options(args)
    rules = Rules.parse(options.pop("only", None), options.pop("also", ()))
    workers = parse_workers(args)
    if not args.module:
        name = program.find_script(name)
    _enter_namespaces(options)

    def run(member: Member | None = None) -> int:
        stack = _open(options, member)
        process.install(stack)
        process.close_at_exit(stack)
        process.place(rules=rules)
        from ustack.launch import patches

        patches.apply()
        start = program.prepare_module if args.module else program.prepare_script
        return program.run(start(name, arguments))

    return run() if workers is None else _run_workers(workers, options, run)


def _run_workers(
    workers: Workers, options: config.Options, run: Callable[[Member | None], int]
) -> int:
    """Run the program in each worker; the exit status."""

    def body(member: Member) -> int:
        # As a stack of the program's own process, ours is closed in peace when that ends.
        if signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
            signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
        return run(member)

    addresses = options.get("address") or process.io_and_addresses(options["io"], None)[1]
    queues = Queues(options["io"], workers.count, addresses)
    return Supervisor(workers, queues).run(body)


def _program(args: argparse.Namespace) -> list[str]:
    words: list[str] = args.program
    if words[:1] == ["--"]:
        words = words[1:]
    if not words:
        raise ConfigError(f"a program is missing: {_USAGE}")
    return words


def _options(args: argparse.Namespace) -> config.Options:
    """Return what the command line and the file say together."""
    options = {} if args.config is None else config.load(args.config)
    for name in ("io", "loopback", "autoconf", "name", "capture", "profile", "only", *_LISTS):
        value = getattr(args, name)
        if value is not None:
            options[name] = value
    if args.spin is not None:
        options["spin"] = _parse_spin(args.spin)
    if args.set:
        options["settings"] = options.get("settings", {}) | dict(map(parse_setting, args.set))
    return options


def _parse_spin(text: str) -> float | str:
    try:
        return float(text)
    except ValueError:
        return text


def _enter_namespaces(options: config.Options) -> None:
    """See that there is a port, and enter namespaces of our own if it takes them to open it."""
    io: Any = options.get("io") or os.environ.get("USTACK_IO")
    if not io:
        raise ConfigError("a packet port is missing: --io URL, io in --config, or USTACK_IO")
    for one in [io] if isinstance(io, str) else io:
        url = parse_url(one)
        if isinstance(url, TapUrl) and userns.enter_if_needed(url.name):
            print(
                "ustack: without root, so in namespaces of its own; programs join with"
                f" nsenter -t {os.getpid()} -U -n --preserve-credentials",
                file=sys.stderr,
                flush=True,
            )
    options["io"] = io


def _open(options: config.Options, member: Member | None) -> Stack:
    options = dict(options)
    control = options.pop("name", None) or True
    for name in _LISTS[:2]:
        if name in options:
            options[name] = ",".join(options[name])
    return process.from_environment(**options, control=control, member=member)
