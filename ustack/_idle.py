# SPDX-License-Identifier: BSD-3-Clause
"""How a stack idles, and what becomes of it in the child of a fork.

spin: how long whoever drives the stack polls without work before sleeping. guardian: how long
Python may keep the stack waiting before its guardian thread stands in (guardian.c).
"""

import atexit
import os
import weakref
from typing import TYPE_CHECKING, Literal

from ustack import _native
from ustack.errors import ConfigError

if TYPE_CHECKING:
    from ustack.stack import Stack

__all__ = ["ALWAYS_NS", "Spin", "enlist", "parse_guardian", "parse_spin"]

Spin = float | Literal["auto", "always", "never"]

AUTO = 50e-6  # seconds: to sleep and be woken costs both sides about as much
ALWAYS_NS = 1 << 62
PATIENCE = 1e-3  # seconds

_WORDS = {"always": ALWAYS_NS, "never": 0}


def parse_spin(spin: Spin | None) -> int:
    """Return nanoseconds to spin; None: after USTACK_SPIN, else "auto".

    "auto" is 50 µs, or nothing where the process has but one processor, which a peer may want.
    """
    given = os.environ.get("USTACK_SPIN") or "auto" if spin is None else spin
    if given == "auto":
        return int(AUTO * 1e9) if len(os.sched_getaffinity(0)) > 1 else 0
    if given in _WORDS:
        return _WORDS[str(given)]
    try:
        seconds = float(given)
    except (TypeError, ValueError):
        seconds = -1.0
    if not 0 <= seconds <= 10:
        name = "USTACK_SPIN" if spin is None else "spin"
        raise ConfigError(
            f"{name} must be auto, always, never or 0..10 seconds, got {given!r}; auto is 50e-6"
        )
    return int(seconds * 1e9)


def parse_guardian(guardian: float | bool | None) -> int | None:
    """Return nanoseconds of its patience, None for no guardian; None: after USTACK_GUARDIAN."""
    given: object = os.environ.get("USTACK_GUARDIAN") or True if guardian is None else guardian
    if given is False or given == "no":
        return None
    try:
        seconds = PATIENCE if given is True else float(given)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        seconds = -1.0
    if not 0 <= seconds <= 10:
        name, no = ("USTACK_GUARDIAN", "no") if guardian is None else ("guardian", "False")
        raise ConfigError(f"{name} must be {no} or 0..10 seconds, got {given!r}; 1e-3 is usual")
    return int(seconds * 1e9)


# ----------------------------------------------------------------------------------- forks

_stacks: "weakref.WeakSet[Stack]" = weakref.WeakSet()


def enlist(stack: "Stack") -> None:
    """Have the stack stopped in the children of forks, and when the program ends."""
    _stacks.add(stack)


def _in_child() -> None:
    _native.forked |= len(_stacks) > 0
    for stack in list(_stacks):
        stack._forked()


def _at_exit() -> None:
    for stack in list(_stacks):
        stack._stop()  # its guardian, before the interpreter takes things apart


os.register_at_fork(after_in_child=_in_child)
atexit.register(_at_exit)
