# SPDX-License-Identifier: BSD-3-Clause
"""ustack addr [show | add CIDR [dev PORT] | del ADDRESS]: the addresses of a running stack."""

from typing import Any

from ustack.control.command import Grammar

__all__ = ["add_arguments", "main"]


def _show(answer: dict[str, Any]) -> str:
    lines = []
    for number, port in enumerate(answer["ports"], 1):
        state = "UP" if port["up"] else "NO-CARRIER"
        lines.append(f"{number}: {port['port']}: <{state}> mtu {port['mtu']}")
        lines.append(f"    link/ether {port['mac']}")
        for address in answer["addresses"]:
            if address["port"] == port["port"]:
                lines += _address(address)
    return "\n".join(lines)


def _address(address: dict[str, Any]) -> list[str]:
    family = "inet6" if ":" in address["address"] else "inet"
    flags = " dynamic" * address["auto"] + " tentative" * address["tentative"]
    valid = "forever" if address["valid"] is None else f"{address['valid']:.0f}sec"
    return [f"    {family} {address['address']}{flags}", f"       valid_lft {valid}"]


_GRAMMAR = Grammar(
    "addr", "address", "10.9.0.3/24 dev ring:demo", {"dev": False}, (), "addresses", _show
)
add_arguments, main = _GRAMMAR.add_arguments, _GRAMMAR.main
