# SPDX-License-Identifier: BSD-3-Clause
"""A TOML table being read: each key is taken once, with its unit, and none may be left over."""

import difflib
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from ustack.errors import ConfigError

__all__ = ["Table", "chance", "flag", "integer", "number", "rate", "seconds", "size", "text"]

_TIMES = {"s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "ns": 1e-9, "min": 60.0, "h": 3600.0}
_RATES = {"bit/s": 1.0, "kbit/s": 1e3, "Mbit/s": 1e6, "Gbit/s": 1e9}
_SIZES = {"B": 1, "kB": 1000, "MB": 10**6, "GB": 10**9, "KiB": 1 << 10, "MiB": 1 << 20}


class Table:
    """A table with its place in the file, for errors."""

    def __init__(self, where: str, values: dict[str, Any]) -> None:
        """where: "wan.toml: links[0]"."""
        self.where = where
        self._values = values
        self._known: list[str] = []

    def __contains__(self, key: str) -> bool:
        return key in self._values

    def take(self, key: str, default: Any, convert: Callable[[str, Any], Any]) -> Any:
        """Return a key's value, converted; default when it is not there."""
        self._known.append(key)
        if key not in self._values:
            return default
        joint = "." if ": " in self.where else ": "
        return convert(f"{self.where}{joint}{key}", self._values[key])

    def need(self, key: str, convert: Callable[[str, Any], Any]) -> Any:
        """Return a key's value, converted; an error when it is not there."""
        if key not in self._values:
            near = difflib.get_close_matches(key, self._values, 1)
            hint = f"; is it {near[0]!r}?" if near else ""
            raise ConfigError(f"{self.where}: the key {key!r} is missing{hint}")
        return self.take(key, None, convert)

    def tables(self, key: str) -> "Iterator[Table]":
        """Yield the tables of an array: [[key]]."""
        self._known.append(key)
        items = self._values.get(key, [])
        if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
            raise ConfigError(f"{self.where}: {key} must be an array of tables: [[{key}]]")
        for i, item in enumerate(items):
            yield Table(f"{self.where}: {key}[{i}]", item)

    def finish(self) -> None:
        """Raise ConfigError for a key that nobody has asked for."""
        for key in self._values:
            if key not in self._known:
                near = difflib.get_close_matches(key, self._known, 1, 0.5)
                hint = (
                    f"did you mean {near[0]!r}?" if near else f"there are {', '.join(self._known)}"
                )
                raise ConfigError(f"{self.where}: there is no key {key!r}; {hint}")

    @contextmanager
    def blame(self) -> Iterator[None]:
        """Say in errors from here on where in the file they come from."""
        try:
            yield
        except (ValueError, OSError) as error:
            if str(error).startswith(self.where):
                raise
            raise ConfigError(f"{self.where}: {error}") from None


def _measure(units: dict[str, Any], example: str) -> Callable[[str, Any], float]:
    def convert(where: str, value: Any) -> float:
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            return float(value)
        match = (
            re.fullmatch(r"\s*([0-9.eE+-]+)\s*(\S+)\s*", value) if isinstance(value, str) else None
        )
        if match and match[2] in units:
            try:
                return float(match[1]) * float(units[match[2]])
            except ValueError:
                pass
        names = ", ".join(units)
        raise ConfigError(f"{where} must be like {example!r} ({names}), got {value!r}")

    return convert


seconds = _measure(_TIMES, "25 ms")
rate = _measure(_RATES, "10 Mbit/s")
_bytes = _measure(_SIZES, "64 KiB")


def size(where: str, value: Any) -> int:
    """Return bytes."""
    return round(_bytes(where, value))


def number(where: str, value: Any) -> float:
    """Return a number."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise ConfigError(f"{where} must be a number, got {value!r}")
    return float(value)


def chance(where: str, value: Any) -> float:
    """Return a probability; "1 %" is 0.01."""
    if isinstance(value, str) and (match := re.fullmatch(r"\s*([0-9.]+)\s*%\s*", value)):
        value = float(match[1]) / 100
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= 1:
        raise ConfigError(f"{where} must be 0..1 or like '1 %', got {value!r}")
    return float(value)


def integer(where: str, value: Any) -> int:
    """Return a whole number."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise ConfigError(f"{where} must be a whole number, got {value!r}")
    return value


def flag(where: str, value: Any) -> bool:
    """Return true or false."""
    if not isinstance(value, bool):
        raise ConfigError(f"{where} must be true or false, got {value!r}")
    return value


def text(where: str, value: Any) -> str:
    """Return a string."""
    if not isinstance(value, str):
        raise ConfigError(f"{where} must be a string, got {value!r}")
    return value
