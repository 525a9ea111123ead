# SPDX-License-Identifier: BSD-3-Clause
"""Run a program as Python would: `python script.py …`, `python -m module …`.

It is `__main__`, with sys.argv and sys.path as it expects; what it raises is shown from its own
first line on; SystemExit and the end of its non-daemon threads are the interpreter's to handle.
"""

import importlib.machinery
import io
import os
import runpy
import shutil
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ustack.errors import ConfigError

__all__ = ["find_script", "prepare_module", "prepare_script", "run"]

_STDIN = "<stdin>"


class _NoModule(ConfigError):
    """There is no module of the name that the user gave."""


def find_script(name: str) -> str:
    """Return the file that a name is of: its own, or a command's that is written in Python.

    Raises ConfigError when there is none.
    """
    return name if name == "-" or Path(name).exists() else _command(name)


def prepare_script(name: str, arguments: list[str]) -> Callable[[], None]:
    """Return what runs a script: a file, a directory or zip with a __main__, or "-"."""
    if name == "-":
        return _of_source(_STDIN, sys.stdin.buffer.read(), [name, *arguments], "")
    path = Path(name)
    if path.is_dir() or path.suffix in (".zip", ".pyz"):
        return _of_package(str(path), arguments)
    with io.open_code(str(path.absolute())) as file:
        source = file.read()
    return _of_source(str(path), source, [str(path), *arguments], str(path.resolve().parent))


def prepare_module(name: str, arguments: list[str]) -> Callable[[], None]:
    """Return what runs a module as `python -m` does; ConfigError when there is none."""
    sys.argv = ["-m", *arguments]
    _first_on_path(os.getcwd())

    def start() -> None:
        try:
            found: Any = runpy._get_module_details(name, runpy._Error)  # type: ignore[attr-defined]
        except runpy._Error as error:  # type: ignore[attr-defined]
            raise _NoModule(f"cannot run -m {name}: {error}") from None
        _, spec, code = found
        sys.argv[0] = spec.origin
        _execute(code, spec.origin, spec)

    return start


def run(start: Callable[[], None]) -> int:
    """Run a program to its end; the exit status. SystemExit goes on as it is."""
    try:
        start()
    except (SystemExit, _NoModule):
        raise
    except BaseException as error:
        trace = _from_program(error.__traceback__)
        sys.excepthook(type(error), error.with_traceback(trace), trace)
        return 130 if isinstance(error, KeyboardInterrupt) else 1
    return 0


def _of_source(name: str, source: bytes, argv: list[str], place: str) -> Callable[[], None]:
    sys.argv = argv
    _first_on_path(place)
    return lambda: _execute(compile(source, name, "exec", dont_inherit=True), name, None)


def _of_package(path: str, arguments: list[str]) -> Callable[[], None]:
    sys.argv = [path, *arguments]

    def start() -> None:
        runpy.run_path(path, run_name="__main__")

    return start


def _first_on_path(place: str) -> None:
    """Look for modules here first, where Python has put ustack's own place."""
    if not sys.flags.safe_path:
        sys.path[0] = place


def _command(name: str) -> str:
    found = None if os.sep in name else shutil.which(name)
    if found is None:
        raise ConfigError(f"there is no file and no command {name!r}; for a module say -m {name}")
    with open(found, "rb") as file:
        first = file.readline(256)
    if not first.startswith(b"#!") or b"python" not in first:
        raise ConfigError(f"{found} is no Python program, and only such can run on a stack")
    return found


def _execute(code: types.CodeType, file: str, spec: importlib.machinery.ModuleSpec | None) -> None:
    """Execute code as a new module __main__, which stays that."""
    main: Any = types.ModuleType("__main__")
    main.__file__, main.__cached__ = file, None if spec is None else spec.cached
    main.__builtins__ = sys.modules["builtins"]
    if spec is not None:
        main.__spec__, main.__loader__, main.__package__ = spec, spec.loader, spec.parent
    else:
        main.__package__ = None
    sys.modules["__main__"] = main
    exec(code, main.__dict__)


def _from_program(trace: types.TracebackType | None) -> types.TracebackType | None:
    """Return the part of a traceback that begins at the program."""
    ours = str(Path(__file__).parent)
    skipped = trace
    while skipped is not None:
        file = skipped.tb_frame.f_code.co_filename
        if not file.startswith(ours) and file not in (runpy.__file__, "<frozen runpy>"):
            return skipped
        skipped = skipped.tb_next
    return trace
