# SPDX-License-Identifier: BSD-3-Clause
"""Several worker processes that are one stack: a core, a queue of the port and an engine each.

`plan` is what the user asks for and the ports that all share, `supervisor` starts and restarts
the workers, `member` is what a worker knows of the others, `draining` how one ends in peace, and
`table` what is told of them.
"""

from ustack.crew.member import Member
from ustack.crew.plan import Queues, Workers
from ustack.crew.supervisor import Supervisor

__all__ = ["Member", "Queues", "Supervisor", "Workers"]
