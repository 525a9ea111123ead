# SPDX-License-Identifier: BSD-3-Clause
"""ustack: a TCP/IP stack in user space, over packet ports, for programs written in Python."""

from ustack._network import Neighbour, Route, StackAddress
from ustack._settings import Setting, settings
from ustack.congestion import Ack, CongestionControl, Loss, control_congestion
from ustack.datagram import PingSocket, UdpSocket
from ustack.errors import ConfigError, PortError, UstackError
from ustack.poll import Poll
from ustack.running import new_event_loop, run
from ustack.stack import Stack
from ustack.stream import Address, Socket
from ustack.tcp_info import TcpInfo

__version__ = "0.1.0"

__all__ = [
    "Ack",
    "Address",
    "ConfigError",
    "CongestionControl",
    "Loss",
    "Neighbour",
    "PingSocket",
    "Poll",
    "PortError",
    "Route",
    "Setting",
    "Socket",
    "Stack",
    "StackAddress",
    "TcpInfo",
    "UdpSocket",
    "UstackError",
    "control_congestion",
    "new_event_loop",
    "run",
    "settings",
]
