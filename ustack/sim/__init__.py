# SPDX-License-Identifier: BSD-3-Clause
"""Networks of engines and links on virtual time: see network.py for the first example."""

from ustack.sim.conditions import CoDel, Conditions, DropTail, Gilbert, Path, PathStats
from ustack.sim.flow import Flow, Samples
from ustack.sim.network import Host, Link, Network, Switch

__all__ = ["CoDel", "Conditions", "DropTail", "Flow", "Gilbert", "Host", "Link", "Network", "Path"]
__all__ += ["PathStats", "Samples", "Switch"]
