# SPDX-License-Identifier: BSD-3-Clause
"""ustack run: an unmodified program, whose sockets and event loops are on a stack.

`command` is what the user types, `config` its file, `patches` what a program finds changed, and
`program` how it is started as Python would.
"""
