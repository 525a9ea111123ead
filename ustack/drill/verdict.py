# SPDX-License-Identifier: BSD-3-Clause
"""How a script went, as a sentence for people and as JSON."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field

__all__ = ["Verdict"]


@dataclass
class Verdict:
    """One script's result.

    verdict: "pass", "fail", or "error": it could not be played. line: the first that went
    otherwise; expected and got say how. trace: what happened up to then. state: the flow's TCB.
    skipped: commands that mean nothing to the stack. seconds: of the stack's time.
    """

    path: str
    mode: str
    version: int
    verdict: str = "pass"
    line: int | None = None
    expected: str = ""
    got: str = ""
    trace: list[str] = field(default_factory=list)
    state: str = ""
    skipped: list[str] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def passed(self) -> bool:
        """Did all go as written?"""
        return self.verdict == "pass"

    def to_json(self) -> str:
        """One JSON object on one line."""
        return json.dumps(asdict(self), ensure_ascii=False)

    def __str__(self) -> str:
        """Several lines: what was wanted, what came, and the trace, as packetdrill prints it."""
        if self.passed:
            return f"{self.path}: pass"
        where = f"{self.path}:{self.line}" if self.line else self.path
        lines = [f"{where}: {self.verdict} ({self.mode}, IPv{self.version})"]
        lines += [f"  expected  {self.expected}"] if self.expected else []
        lines += [f"  got       {self.got}"] if self.got else []
        lines += ["  trace", *(f"    {line}" for line in self.trace)] if self.trace else []
        lines += [f"  state     {self.state}"] if self.state else []
        lines += [f"  skipped   {line}" for line in self.skipped]
        return "\n".join(lines)
