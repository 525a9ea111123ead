# SPDX-License-Identifier: BSD-3-Clause
"""The settings of a stack, by names like Linux's sysctls."""

import difflib
import errno
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ustack._native import check, ffi, lib
from ustack.errors import ConfigError

__all__ = ["PROFILES", "Setting", "Settings", "configure", "settings"]

#: linux: as Linux's TCP behaves. rfc: as the RFCs say where Linux differs.
PROFILES = ("linux", "rfc")


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting: its name, what it means, its value in the profile asked for, its range.

    live: whether it may change while the stack runs.
    """

    name: str
    help: str
    value: int
    min: int
    max: int
    live: bool


def settings(profile: str = "linux") -> dict[str, Setting]:
    """Return all settings by name, with the values of a profile."""
    return _rows(_new_config(profile))


def configure(profile: str, values: Mapping[str, int]) -> Any:
    """Return a `struct ust_config *` of a profile with some values changed; it frees itself."""
    config = _new_config(profile)
    rows = _rows(config)
    for name, value in values.items():
        _validate(rows, name, value)
        done = lib.ust_config_set(config, name.encode(), value)  # law 3: once a setting
        check(done, f"setting {name}")
    _check_together({name: row.value for name, row in _rows(config).items()})
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
        rows[name] = Setting(name, text, raw.value, raw.min, raw.max, live)
        i += 1
    return rows


def _validate(rows: Mapping[str, Setting], name: str, value: int) -> None:
    """Raise ConfigError unless there is such a setting and the value is in its range."""
    if not isinstance(name, str) or name not in rows:
        near = difflib.get_close_matches(str(name), rows, 1)
        hint = f"did you mean {near[0]!r}?" if near else "ustack.settings() lists them"
        raise ConfigError(f"there is no setting {name!r}; {hint}")
    row = rows[name]
    if not isinstance(value, int) or not row.min <= value <= row.max:
        raise ConfigError(f"{name} must be {row.min}..{row.max} ({row.help}), got {value!r}")


# Pairs of which the first may not be greater than the second.
_ORDERED = (
    ("tcp.port_min", "tcp.port_max"),
    ("tcp.rmem", "tcp.rmem_max"),
    ("tcp.wmem", "tcp.wmem_max"),
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


class Settings(Mapping[str, int]):
    """The settings of a running stack; those that are live may be assigned to."""

    __slots__ = ("_rows", "_worker")

    def __init__(self, worker: Any, profile: str) -> None:
        self._worker = worker
        self._rows = settings(profile)

    def __getitem__(self, name: str) -> int:
        value = ffi.new("int64_t *")
        result = lib.ust_worker_get(self._worker, name.encode(), value)
        if result == -errno.ENOENT:
            raise KeyError(name)
        check(result, f"setting {name}")
        return int(value[0])

    def __setitem__(self, name: str, value: int) -> None:
        _validate(self._rows, name, value)
        if not self._rows[name].live:
            raise ConfigError(
                f"{name} is fixed once the stack runs, got {value}; give it to Stack(settings=…)"
            )
        check(lib.ust_worker_set(self._worker, name.encode(), value), f"setting {name}")

    def __iter__(self) -> Iterator[str]:
        return iter(self._rows)

    def __len__(self) -> int:
        return len(self._rows)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({dict(self)})"
