# SPDX-License-Identifier: BSD-3-Clause
"""Packet ports: where frames come from and go to.

`open_port` opens what a URL names: ``ring:NAME[?queues=N&mtu=M&offload=0|1]``, two sides joined
by shared memory, or ``tap:NAME[?queues=N&mtu=M&offload=0|1&uring=0|1&peer=CIDR]``, with the kernel
on the other side, or ``loop:``, which has no other side. The data path is C; what is
Python here runs once.
"""

from ustack.io.port import Port, PortInfo, PortStats, open_port, ring_pair
from ustack.io.url import LoopUrl, RingUrl, TapUrl, parse_url

__all__ = [
    "LoopUrl",
    "Port",
    "PortInfo",
    "PortStats",
    "RingUrl",
    "TapUrl",
    "open_port",
    "parse_url",
    "ring_pair",
]
