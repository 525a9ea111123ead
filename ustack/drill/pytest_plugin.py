# SPDX-License-Identifier: BSD-3-Clause
"""A pytest plugin: every .pkt file below the test paths is a test, one for each version of IP.

Installed with ustack. In pytest's configuration: `drill_mode` (strict, semantic or api; strict) and
`drill_ip` (4, 6 or both; both), for scripts that do not say --ip_version themselves.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

__all__ = ["ScriptFile", "ScriptItem"]


def pytest_addoption(parser: pytest.Parser) -> None:
    """Two settings."""
    parser.addini(
        "drill_mode", "how .pkt scripts are compared: strict, semantic, api", default="strict"
    )
    parser.addini(
        "drill_ip", "IP versions that .pkt scripts are played over: 4, 6, both", default="both"
    )


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> pytest.Collector | None:
    """Every .pkt file is one of ours."""
    if file_path.suffix != ".pkt":
        return None
    return ScriptFile.from_parent(parent, path=file_path)


class ScriptFile(pytest.File):
    """One script."""

    def collect(self) -> Iterator[ScriptItem]:
        """A test for each version of IP that the script leaves open."""
        from ustack.drill.command import versions_of

        versions = versions_of(str(self.path), self.config.getini("drill_ip"))
        for version in versions:
            name = f"ipv{version}" if len(versions) > 1 else "script"
            yield ScriptItem.from_parent(self, name=name, version=version)


class ScriptItem(pytest.Item):
    """One script over one version of IP."""

    def __init__(self, *, version: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.version = version

    def runtest(self) -> None:
        """Play it."""
        from ustack.drill import Mode
        from ustack.drill.command import play

        verdict = play(str(self.path), Mode(self.config.getini("drill_mode")), self.version)
        if not verdict.passed:
            raise ScriptFailed(str(verdict))

    def repr_failure(self, excinfo: Any, style: Any = None) -> Any:
        """The verdict alone: no Python of ours tells more."""
        if isinstance(excinfo.value, ScriptFailed):
            return str(excinfo.value)
        return super().repr_failure(excinfo, style)

    def reportinfo(self) -> tuple[Path, int | None, str]:
        """Where the test is."""
        return self.path, None, f"{self.path.name} [{self.name}]"


class ScriptFailed(Exception):
    """A script did not go as written."""
