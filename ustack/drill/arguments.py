# SPDX-License-Identifier: BSD-3-Clause
"""What stands among a call's arguments: numbers, vectors, values of socket options."""

from __future__ import annotations

import struct

from ustack.drill.script import ScriptError, Struct

__all__ = ["iovec", "number_of", "option_value", "refuse_control"]

_LINGER = (1, 13)  # SOL_SOCKET, SO_LINGER


def number_of(value: object) -> int:
    """A number among a call's arguments; 0 for `...`."""
    if value is ...:
        return 0
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    if not isinstance(value, int):
        raise ScriptError(f"expected a number, got {value!r}")
    return value


def iovec(vector: object) -> list[tuple[object, int]]:
    """The parts of a `struct iovec []`: data and length of each."""
    if not isinstance(vector, list):
        raise ScriptError(f"expected [{{..., 1000}}], got {vector!r}")
    parts: list[tuple[object, int]] = []
    for item in vector:
        if not isinstance(item, Struct) or len(item.fields) != 2:
            raise ScriptError(f"expected {{..., 1000}}, got {item!r}")
        (_, data), (_, size) = item.fields
        parts.append((data, number_of(size)))
    return parts


def refuse_control(message: Struct) -> None:
    """Say that control messages are not supported, when there are some."""
    control = message.get("msg_control")
    if control not in (None, ..., []):
        raise ScriptError("control messages (msg_control) are not supported")


def option_value(key: tuple[int, int], value: object) -> int | bytes:
    """What setsockopt() is given: a number, or the bytes of a text or a structure."""
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    if isinstance(value, Struct) and key == _LINGER:
        numbers = [number_of(item) for _, item in value.fields]
        return struct.pack("=ii", *numbers)
    if isinstance(value, list):
        return struct.pack(f"={len(value)}i", *map(number_of, value))
    if isinstance(value, bytes):
        return value
    return number_of(value)
