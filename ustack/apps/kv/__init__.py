# SPDX-License-Identifier: BSD-3-Clause
"""A key-value server that Redis' clients can use: ustack kv --io URL --address CIDR.

Strings, lists, sets, hashes and sorted sets, with lifetimes, pipelines and transactions, in RESP 2
and 3, in memory only. In order of use: resp.py (bytes to words and back), store.py (keys and
values), table.py (what a command is), session.py (one client), strings.py, containers.py and
connection.py (the commands), server.py, command.py.

Not here: publish and subscribe, streams, scripts, blocking commands, persistence, replication.
"""

from ustack.apps.kv.resp import Limits
from ustack.apps.kv.server import PORT, Kv, serve

__all__ = ["PORT", "Kv", "Limits", "serve"]
