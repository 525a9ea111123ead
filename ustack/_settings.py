# SPDX-License-Identifier: BSD-3-Clause
"""The settings of a stack, by names like Linux's sysctls."""

import difflib
import errno
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from ustack._native import check, ffi, lib
from ustack.errors import ConfigError

__all__ = ["PROFILES", "Setting", "Settings", "configure", "settings"]

#: linux: as Linux's TCP behaves. rfc: as the RFCs say where Linux differs.
PROFILES = ("linux", "rfc")


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting: its name, what it means, its value in the profile asked for, its range.

    live: whether it may change while the stack runs. choices: the names that its value may have, in
    place of a number; empty for most.
    """

    name: str
    help: str
    value: int | str
    min: int
    max: int
    live: bool
    choices: tuple[str, ...] = ()

    def number(self, value: int | str) -> int:
        """Return the engine's number for a value; ConfigError says what may be given."""
        if self.choices:
            if value in self.choices:
                return self.min + self.choices.index(str(value))
            allowed = f"one of {', '.join(self.choices)}"
        else:
            if isinstance(value, int) and self.min <= value <= self.max:
                return value
            allowed = f"{self.min}..{self.max}"
        raise ConfigError(f"{self.name} must be {allowed} ({self.help}), got {value!r}")

    def named(self, number: int) -> int | str:
        """Return the value that the engine's number stands for."""
        return self.choices[number - self.min] if self.choices else number


def settings(profile: str = "linux") -> dict[str, Setting]:
    """Return all settings by name, with the values of a profile."""
    return _rows(_new_config(profile))


def configure(profile: str, values: Mapping[str, int | str]) -> Any:
    """Return a `struct ust_config *` of a profile with some values changed; it frees itself."""
    config = _new_config(profile)
    rows = _rows(config)
    for name, value in values.items():
        number = _look_up(rows, name).number(value)
        done = lib.ust_config_set(config, name.encode(), number)  # law 3: once a setting
        check(done, f"setting {name}")
    rows = _rows(config)
    _check_together({name: row.number(row.value) for name, row in rows.items()})
    return config


def _new_config(profile: str) -> Any:
    if profile not in PROFILES:
        raise ConfigError(f"profile must be one of {', '.join(PROFILES)}, got {profile!r}")
    config = lib.ust_config_new(profile.encode())
    if config == ffi.NULL:
        raise MemoryError("no memory for a configuration")
    return ffi.gc(config, lib.ust_config_free)


def _rows(config: Any) -> dict[str, Setting]:
    raw = ffi.new("struct ust_config_row *")
    rows = {}
    i = 0
    while lib.ust_config_row(config, i, raw) == 0:
        name, text = ffi.string(raw.name).decode(), ffi.string(raw.help).decode()
        live = bool(raw.flags & lib.UST_CONFIG_LIVE)
        row = Setting(name, text, raw.value, raw.min, raw.max, live, _choices(raw))
        rows[name] = replace(row, value=row.named(raw.value))
        i += 1
    return rows


def _choices(raw: Any) -> tuple[str, ...]:
    if raw.choices == ffi.NULL:
        return ()
    return tuple(ffi.string(raw.choices[i]).decode() for i in range(raw.max - raw.min + 1))


def _look_up(rows: Mapping[str, Setting], name: str) -> Setting:
    """Return the setting of a name, or raise ConfigError."""
    if not isinstance(name, str) or name not in rows:
        near = difflib.get_close_matches(str(name), rows, 1)
        hint = f"did you mean {near[0]!r}?" if near else "ustack.settings() lists them"
        raise ConfigError(f"there is no setting {name!r}; {hint}")
    return rows[name]


# Pairs of which the first may not be greater than the second.
_ORDERED = (
    ("tcp.port_min", "tcp.port_max"),
    ("tcp.rmem_min", "tcp.rmem"),
    ("tcp.rmem", "tcp.rmem_max"),
    ("tcp.wmem_min", "tcp.wmem"),
    ("tcp.wmem", "tcp.wmem_max"),
    ("tcp.delack_ms", "tcp.delack_max_ms"),
    ("tcp.rto_min_ms", "tcp.rto_max_ms"),
)


def _check_together(values: Mapping[str, int]) -> None:
    """Raise ConfigError for settings that are in their ranges but cannot work together."""
    for low, high in _ORDERED:
        if values[low] > values[high]:
            raise ConfigError(
                f"{low} must not be greater than {high} ({values[high]}), got {values[low]}"
            )
    least = 4 * values["mbuf.reserve"]  # writers leave twice the reserve to control segments
    if values["mbuf.small"] <= least:
        raise ConfigError(
            f"mbuf.small must be more than 4 times mbuf.reserve ({least}), "
            f"got {values['mbuf.small']}; raise it, or lower mbuf.reserve"
        )


class Settings(Mapping[str, int | str]):
    """The settings of a running stack; those that are live may be assigned to."""

    __slots__ = ("_rows", "_worker")

    def __init__(self, worker: Any, profile: str) -> None:
        self._worker = worker
        self._rows = settings(profile)

    def __getitem__(self, name: str) -> int | str:
        value = ffi.new("int64_t *")
        result = lib.ust_worker_get(self._worker, name.encode(), value)
        if result == -errno.ENOENT:
            raise KeyError(name)
        check(result, f"setting {name}")
        return self._rows[name].named(int(value[0]))

    def __setitem__(self, name: str, value: int | str) -> None:
        number = _look_up(self._rows, name).number(value)
        if not self._rows[name].live:
            raise ConfigError(
                f"{name} is fixed once the stack runs, got {value}; give it to Stack(settings=…)"
            )
        check(lib.ust_worker_set(self._worker, name.encode(), number), f"setting {name}")

    def __iter__(self) -> Iterator[str]:
        return iter(self._rows)

    def __len__(self) -> int:
        return len(self._rows)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({dict(self)})"
