# SPDX-License-Identifier: BSD-3-Clause
"""Scripts in packetdrill's language, played against the engine on virtual time.

    from ustack.drill import Mode, parse_file, run

    verdict = run(parse_file("handshake.pkt"), mode=Mode.STRICT)
    assert verdict.passed, verdict

The command `ustack drill` and the pytest plugin (pytest_plugin.py) do the same with files.
"""

from ustack.drill.compare import Mode
from ustack.drill.parse import parse, parse_file
from ustack.drill.runner import run
from ustack.drill.script import ScriptError
from ustack.drill.verdict import Verdict

__all__ = ["Mode", "ScriptError", "Verdict", "parse", "parse_file", "run"]
