# SPDX-License-Identifier: BSD-3-Clause
"""`ustack drill PATH…`: play scripts, and tell how they went."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

from ustack.drill import Mode, ScriptError, Verdict, parse_file, run
from ustack.errors import UstackError

__all__ = ["add_arguments", "main", "play", "versions_of"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("paths", nargs="+", metavar="PATH", help="a script, or a folder of them")
    parser.add_argument(
        "--mode", choices=[mode.value for mode in Mode], default="strict", help="what must agree"
    )
    parser.add_argument("--json", action="store_true", help="one JSON object a script")
    parser.add_argument(
        "--ip", choices=["4", "6", "both"], default="4", help="where the script leaves it open"
    )
    parser.add_argument(
        "--backend",
        choices=["engine", "linux"],
        default="engine",
        help="linux: this machine's, through a tun device in a namespace of its own",
    )
    parser.add_argument(
        "--best-of", type=int, default=1, metavar="N", help="linux: play again until it passes"
    )
    parser.add_argument("--repeat", type=int, default=1, metavar="N", help="play each N times")
    parser.add_argument("-v", "--verbose", action="store_true", help="tell of passes, too")


def main(args: argparse.Namespace) -> int:
    """Play all; 0 when every script passes, else 1."""
    linux = args.best_of if args.backend == "linux" else 0
    counts = {"pass": 0, "fail": 0, "error": 0}
    for path in scripts(args.paths):
        for version in versions_of(path, args.ip):
            for _ in range(args.repeat):
                verdict = play(path, Mode(args.mode), version, linux=linux)
                counts[verdict.verdict] += 1
                tell(verdict, args)
    if not args.json:
        print(", ".join(f"{count} {name}" for name, count in counts.items() if count))
    return 0 if counts["fail"] == counts["error"] == 0 else 1


def tell(verdict: Verdict, args: argparse.Namespace) -> None:
    """Print one verdict."""
    if args.json:
        print(verdict.to_json(), flush=True)
    elif args.verbose or not verdict.passed:
        print(verdict, flush=True)


def scripts(paths: list[str]) -> Iterator[str]:
    """Every script among paths; UstackError when there is none."""
    for text in paths:
        path = Path(text)
        if path.is_dir():
            found = sorted(map(str, path.rglob("*.pkt")))
            if not found:
                raise UstackError(f"{path}: no .pkt files in it")
            yield from found
        elif path.exists():
            yield text
        else:
            raise UstackError(f"{path}: no such file; give scripts, or folders of .pkt files")


def versions_of(path: str, choice: str) -> list[int]:
    """Which versions of IP a script is to be played over."""
    try:
        given = parse_file(path).options.get("ip_version")
    except (ScriptError, OSError):
        given = ""
    if given is not None:
        return [6 if given == "ipv6" else 4]
    return [4, 6] if choice == "both" else [int(choice)]


def play(path: str, mode: Mode, version: int, linux: int = 0) -> Verdict:
    """One script on a fresh engine; one that cannot be read is an error.

    linux: play it against this machine's Linux instead, at most so many times.
    """
    try:
        script = parse_file(path)
        if linux:
            from ustack.drill.linux import play as play_on_linux

            return play_on_linux(script, mode, version, linux)
        return run(script, mode, version)
    except (ScriptError, OSError) as error:
        return Verdict(path, mode.value, version, "error", got=str(error))
