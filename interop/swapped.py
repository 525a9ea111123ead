# SPDX-License-Identifier: BSD-3-Clause
"""Run a program unmodified with `ustack.socket` in the place of `socket`: swapped.py PROGRAM …"""

import runpy
import sys

from ustack import process, socket, tls

process.current()  # an error is told before the program begins
sys.modules["socket"] = socket
tls.install()
sys.argv = sys.argv[1:]
if sys.argv[0] == "-m":
    sys.argv = sys.argv[1:]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
else:
    runpy.run_path(sys.argv[0], run_name="__main__")
