# SPDX-License-Identifier: BSD-3-Clause
"""When is a packet of the stack the one that a line demands?

strict: as written: flags, sequence, length, ack, options in order; the window only where a line
writes one. semantic: options are a set, in which a SYN may offer timestamps and a window scale
besides what is written, as Linux does in a simultaneous open; SACK blocks count exactly, windows
and their scale not at all. api: no packet is compared, only what recv() and its like return.

Not here: times (runner.py), the values of timestamps (they are mapped, see flow.py).
"""

from __future__ import annotations

import enum

from ustack.drill.flow import with_ace
from ustack.drill.packet import Live
from ustack.drill.script import IpFields, Option, Segment

__all__ = ["Mode", "differs", "ip_differs", "is_pure_ack"]

_PADDING = ("nop", "eol")
_OFFERS = ("TS", "wscale")


class Mode(enum.Enum):
    """How much has to be as it is written."""

    STRICT = "strict"
    SEMANTIC = "semantic"
    API = "api"


def differs(want: Segment, got: Segment, mode: Mode) -> str:
    """The first thing in which a segment is another than demanded; "" if none."""
    want = with_ace(want)
    if set(want.flags) != set(got.flags):
        return "flags"
    for name in ("seq", "length", "ack"):
        if getattr(want, name) != getattr(got, name):
            if name == "ack" and want.ack is None and got.ack == 0:
                continue
            return name
    if mode is Mode.STRICT and want.win is not None and want.win != got.win:
        return "win"
    if (want.urg or 0) != (got.urg or 0):
        return "urg"
    if want.options is not None:
        if not _same_options(want.options, got.options or (), mode, "S" in got.flags):
            return "options"
    return ""


def _same_options(
    want: tuple[Option, ...], got: tuple[Option, ...], mode: Mode, is_syn: bool
) -> bool:
    if mode is Mode.STRICT:
        return [_without_ts_val(o) for o in want] == [_without_ts_val(o) for o in got]
    wanted, found = _as_set(want), _as_set(got)
    return wanted <= found and all(is_syn and o[0] in _OFFERS for o in found - wanted)


def _as_set(options: tuple[Option, ...]) -> set[Option]:
    """What is left when padding, order, windows and clocks do not count."""
    left = (_without_ts_val(o) for o in options if o[0] not in _PADDING)
    return {o[:1] if o[0] == "wscale" else o for o in left}


def _without_ts_val(option: Option) -> Option:
    return ("TS", option[2]) if option[0] == "TS" else option


def ip_differs(want: IpFields, live: Live) -> str:
    """The same for what a line says of the IP header."""
    ecn = live.tos & 3
    if want.ecn_any and ecn not in (1, 2):
        return "ecn"
    for name, wanted, got in (
        ("ecn", want.ecn, ecn),
        ("tos", want.tos, live.tos),
        ("ttl", want.ttl, live.ttl),
        ("flowlabel", want.flow_label, live.flow_label),
    ):
        if wanted is not None and wanted != got:
            return name
    return ""


def is_pure_ack(segment: Segment) -> bool:
    """Only an acknowledgment?"""
    return segment.length == 0 and set(segment.flags) <= set(".EWA") and "." in segment.flags
