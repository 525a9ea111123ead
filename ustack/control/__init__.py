# SPDX-License-Identifier: BSD-3-Clause
"""Seeing and changing the network of a stack that another process runs.

A stack with control=True listens on a UNIX socket of its user's; `ustack addr`, `ustack route` and
`ustack neigh` talk to it. One JSON object a line each way: {"do": "addr add", "with": {…}} is
answered by {"ok": …} or {"error": "…"}.
"""
