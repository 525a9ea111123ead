# SPDX-License-Identifier: BSD-3-Clause
"""What `ustack run` is told of its stack, by options, by a TOML file, or by the environment.

::

    io = "tap:us0"                       # or a table: {"tap:us0" = ["10.9.0.2/24"], …}
    address = "10.9.0.2/24"              # or a list; so gateway
    gateway = "10.9.0.1"
    loopback = true
    only = "ustack"
    also = ["127.0.0.1:5432"]

    [settings]
    tcp.congestion_control = "bbr"

An option of the command line stands above the file, the file above the environment.
"""

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ustack._whose import Rules
from ustack.errors import ConfigError
from ustack.sim.table import Table, flag, text

__all__ = ["Options", "load"]

Options = dict[str, Any]  #: by the names of the file's keys; what was not said is not there


def load(path: str) -> Options:
    """Return what a file says. Raises ConfigError, naming file, key and cure."""
    try:
        values = tomllib.loads(Path(path).read_text())
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}; give --config a file") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: {error}") from None
    table, found = Table(Path(path).name, values), {}
    for key, convert in _KEYS.items():
        value = table.take(key, None, convert)
        if value is not None:
            found[key] = value
    table.finish()
    with table.blame():
        Rules.parse(found.get("only"), found.get("also", ()))
    return found


def _texts(where: str, value: Any) -> list[str]:
    """Return one string, or several, as a list."""
    values = [value] if isinstance(value, str) else value
    if not isinstance(values, list) or not all(isinstance(item, str) for item in values):
        raise ConfigError(f"{where} must be a string or a list of strings, got {value!r}")
    return values


def _io(where: str, value: Any) -> Any:
    if isinstance(value, Mapping):
        return {url: _texts(f"{where}.{url}", cidrs) for url, cidrs in value.items()}
    return text(where, value)


def _settings(where: str, value: Any) -> dict[str, int | str]:
    """Return settings by name; tcp.sack = 1 comes as a table in a table."""
    if not isinstance(value, Mapping):
        raise ConfigError(f"{where} must be a table, [settings], got {value!r}")
    found: dict[str, int | str] = {}
    for key, item in value.items():
        if isinstance(item, Mapping):
            found |= {f"{key}.{name}": v for name, v in _settings(where, item).items()}
        elif isinstance(item, bool) or not isinstance(item, int | str):
            raise ConfigError(f"{where}.{key} must be a number or a name, got {item!r}")
        else:
            found[key] = item
    return found


def _spin(where: str, value: Any) -> float | str:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise ConfigError(f"{where} must be seconds, 'auto', 'always' or 'never', got {value!r}")
    return value


_KEYS: dict[str, Any] = {
    "io": _io,
    "address": _texts,
    "gateway": _texts,
    "autoconf": flag,
    "loopback": flag,
    "capture": text,
    "name": text,
    "profile": text,
    "settings": _settings,
    "spin": _spin,
    "only": text,
    "also": _texts,
}
