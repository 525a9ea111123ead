# SPDX-License-Identifier: BSD-3-Clause
"""Networks of engines and links on virtual time: see network.py for the first example."""

from ustack.errors import Deadlock
from ustack.sim.conditions import CoDel, Conditions, DropTail, Gilbert, Path, PathStats
from ustack.sim.flow import Flow, Samples
from ustack.sim.network import Network
from ustack.sim.nodes import Host, Link, LinkSamples, Switch, current_host

__all__ = ["CoDel", "Conditions", "Deadlock", "DropTail", "Flow", "Gilbert", "Host", "Link"]
__all__ += ["LinkSamples", "Network", "Path", "PathStats", "Samples", "Switch", "current_host"]
