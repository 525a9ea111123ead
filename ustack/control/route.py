# SPDX-License-Identifier: BSD-3-Clause
"""ustack route [show | add NETWORK via ADDRESS [dev PORT] | del NETWORK [via ADDRESS]]."""

from typing import Any

from ustack.control.command import Grammar

__all__ = ["add_arguments", "main"]


def _show(answer: dict[str, Any]) -> str:
    return "\n".join(map(_route, answer["routes"]))


def _route(route: dict[str, Any]) -> str:
    network = "default" if route["network"] in ("0.0.0.0/0", "::/0") else route["network"]
    via = f" via {route['gateway']}" if route["gateway"] else ""
    expires = "" if route["valid"] is None else f" expires {route['valid']:.0f}sec"
    return f"{network}{via} dev {route['port']}{expires}"


_GRAMMAR = Grammar(
    "route",
    "network",
    "default via 10.9.0.1",
    {"via": True, "dev": False},
    ("via",),
    "routes",
    _show,
)
add_arguments, main = _GRAMMAR.add_arguments, _GRAMMAR.main
