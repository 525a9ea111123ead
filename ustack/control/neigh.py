# SPDX-License-Identifier: BSD-3-Clause
"""ustack neigh [show | add ADDRESS lladdr MAC [dev PORT] | del ADDRESS]: a stack's neighbours."""

from typing import Any

from ustack.control.command import Grammar

__all__ = ["add_arguments", "main"]


def _show(answer: dict[str, Any]) -> str:
    return "\n".join(map(_neighbour, answer["neighbours"]))


def _neighbour(neighbour: dict[str, Any]) -> str:
    mac = f" lladdr {neighbour['mac']}" if neighbour["mac"] else ""
    return f"{neighbour['address']} dev {neighbour['port']}{mac} {neighbour['state']}"


_GRAMMAR = Grammar(
    "neigh",
    "address",
    "10.9.0.1 lladdr 02:00:00:00:00:01",
    {"lladdr": True, "dev": False},
    (),
    "neighbours",
    _show,
)
add_arguments, main = _GRAMMAR.add_arguments, _GRAMMAR.main
