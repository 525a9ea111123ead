# SPDX-License-Identifier: BSD-3-Clause
"""Grammar of --io: ring:NAME[?queues=N&mtu=M&offload=0|1], tap:NAME[?…&peer=CIDR&uring], loop:.

Of a ring one may have a single queue, for several processes on one side: ring:NAME?queues=2&side=0
&queue=1.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias
from urllib.parse import parse_qsl

from ustack._addressing import Interface, parse_interface
from ustack.errors import ConfigError

__all__ = ["LoopUrl", "PortUrl", "RingUrl", "TapUrl", "parse_url"]

MAX_QUEUES = 16


@dataclass(frozen=True)
class RingUrl:
    """One side of a simulated NIC pair in shared memory."""

    name: str
    queues: int = 1
    mtu: int = 1500  # bytes of an IP packet
    offload: bool = True  # checksums, and super-segments of up to 64 KiB
    side: int = -1  # 0 or 1; -1: whichever is free
    queue: int = -1  # the only one that is used; -1: all; -2: none, the side is kept

    def __str__(self) -> str:
        return f"ring:{self.name}"


@dataclass(frozen=True)
class TapUrl:
    """A tap device, with the kernel on the other side."""

    name: str
    queues: int = 1
    mtu: int = 1500  # bytes of an IP packet
    offload: bool = True  # checksums and super-segments, as far as the kernel grants them
    uring: bool = True  # many frames a system call, where io_uring is to be had
    peer: Interface | None = None  # the kernel's address; None: the first free one of our network

    def __str__(self) -> str:
        return f"tap:{self.name}"


@dataclass(frozen=True)
class LoopUrl:
    """No outside at all: a stack that only talks to itself."""

    def __str__(self) -> str:
        return "loop:"


PortUrl: TypeAlias = RingUrl | TapUrl | LoopUrl


def parse_url(text: str) -> PortUrl:
    """Return what an --io URL says; ConfigError if it cannot be."""
    scheme, colon, rest = text.partition(":") if isinstance(text, str) else ("", "", "")
    if text == "loop:":
        return LoopUrl()
    if not colon or scheme not in ("ring", "tap"):
        raise ConfigError(f"io must be ring:NAME, tap:NAME or loop:, got {text!r}; try ring:demo")
    name, _, query = rest.partition("?")
    return _ring(name, query) if scheme == "ring" else _tap(name, query)


def _ring(name: str, query: str) -> RingUrl:
    if not re.fullmatch(r"[A-Za-z0-9._-]{1,64}", name):
        raise ConfigError(
            f"ring name must be 1 to 64 letters, digits and ._-, got {name!r}; try ring:demo"
        )
    options = _options("ring", query, {"queues", "mtu", "offload", "side", "queue"})
    queues = _number(options, "queues", 1, MAX_QUEUES, 1)
    if "queue" in options and "side" not in options:
        raise ConfigError(
            f"ring: queue={options['queue']} must come with the side that it is of; add &side=0"
        )
    return RingUrl(
        name,
        queues=queues,
        side=_number(options, "side", 0, 1, -1),
        queue=_number(options, "queue", 0, queues - 1, -1),
        mtu=_number(options, "mtu", 128, 65535, 1500),
        offload=bool(_number(options, "offload", 0, 1, 1)),
    )


def _tap(name: str, query: str) -> TapUrl:
    # What the kernel takes for an interface name; "%" would make it count.
    if not re.fullmatch(r"[^\s/:%]{1,15}", name) or name in (".", "..") or not name.isascii():
        raise ConfigError(
            f"tap name must be 1 to 15 characters without space, '/', ':' and '%', got {name!r};"
            " try tap:us0"
        )
    options = _options("tap", query, {"queues", "mtu", "offload", "uring", "peer"})
    return TapUrl(
        name,
        queues=_number(options, "queues", 1, MAX_QUEUES, 1),
        mtu=_number(options, "mtu", 128, 65521, 1500),
        offload=bool(_number(options, "offload", 0, 1, 1)),
        uring=bool(_number(options, "uring", 0, 1, 1)),
        peer=_with(options, "peer", parse_interface),
    )


def _options(scheme: str, query: str, known: set[str]) -> dict[str, str]:
    options: dict[str, str] = {}
    for key, value in parse_qsl(query, keep_blank_values=True):
        if key not in known:
            names = ", ".join(sorted(known))
            raise ConfigError(f"{scheme}: has no option {key!r} (={value!r}); it has {names}")
        if key in options:
            raise ConfigError(f"{scheme}: option {key!r} is given twice; give it once")
        options[key] = value
    return options


def _number(options: dict[str, str], key: str, low: int, high: int, default: int) -> int:
    text = options.get(key)
    if text is None:
        return default
    # isdecimal() alone takes other scripts' digits, and int() reads huge numbers slowly.
    if not (text.isascii() and text.isdecimal() and len(text) < 10 and low <= int(text) <= high):
        raise ConfigError(f"{key} must be {low}..{high}, got {text!r}; leave it out for {default}")
    return int(text)


def _with(options: dict[str, str], key: str, parse: Callable[[str], Interface]) -> Interface | None:
    if key not in options:
        return None
    try:
        return parse(options[key])
    except ConfigError as error:
        raise ConfigError(f"{key}: {error}") from None
