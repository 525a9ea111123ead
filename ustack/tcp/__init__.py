# SPDX-License-Identifier: BSD-3-Clause
"""TCP. The engine is the C beside this file; `model` says in Python what it has to do."""
