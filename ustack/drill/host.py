# SPDX-License-Identifier: BSD-3-Clause
"""The host around a script: its options, and what commands in backticks mean for a stack.

No command is ever run. sysctls become settings of the engine where it has one for them, the
suites' `defaults.sh` is known, ethtool turns segmentation off, `sockstat … grep -c STATE` asks for
the states of flows. Everything else is skipped, and reported by its name.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from ustack.drill.backend import Host
from ustack.drill.script import Script, ScriptError
from ustack.drill.sysctl import DEFAULTS

__all__ = ["Environment", "StateQuestion", "apply_options"]

_QUIET = ("true", ":", "exit", "sleep 0")
# Options that the language has; those without a use here mean nothing to a stack on virtual time.
_KNOWN_OPTIONS = re.compile(
    r"ip_version|mtu|mss|(local|remote|gateway|netmask)_ip|(bind|connect)_port|tolerance_\w+"
    r"|tcp_ts_tick_usecs|non_fatal|verbose|debug|dry_run|speed|send_omit_free|init_scripts"
    r"|code_\w+|is_anyip"
)


def apply_options(script: Script, version: int | None) -> Host:
    """The host that a script's options ask for; version: of IP, where they leave it open."""
    options = script.options
    for name in options:
        if not _KNOWN_OPTIONS.fullmatch(name):
            raise ScriptError(f"{script.path}: --{name} is not supported")
    given = options.get("ip_version")
    wanted = {"ipv4": 4, "ipv4-mapped-ipv6": 4, "ipv6": 6, None: version or 4}.get(given)
    if wanted is None:
        raise ScriptError(f"{script.path}: --ip_version must be ipv4 or ipv6, got {given}")
    host = Host.of(wanted)
    host.mapped = given == "ipv4-mapped-ipv6"
    if given is None and wanted == 6:
        host.mtu = 1520  # so that segments are as long as over IPv4
    for name, attribute in (
        ("mtu", "mtu"),
        ("bind_port", "bind_port"),
        ("connect_port", "connect_port"),
    ):
        if name in options:
            setattr(host, attribute, int(options[name]))
    for name, attribute in (
        ("local_ip", "local"),
        ("remote_ip", "remote"),
        ("gateway_ip", "gateway"),
    ):
        if name in options:
            setattr(host, attribute, options[name])
    return host


@dataclass(frozen=True)
class StateQuestion:
    """`sockstat … | grep -c STATE | grep N`: are so many flows in this state?"""

    state: str
    count: int


_BSD_STATES = {"SYN_RCVD": "SYN_RECEIVED"}


@dataclass
class Environment:
    """What commands do. sysctl: sets one of the running stack; None before it runs."""

    host: Host
    sysctl: Callable[[str, str], bool] | None = None
    skipped: list[str] = field(default_factory=list)

    def run(self, command: str) -> StateQuestion | None:
        """What a command means is done; a question about states is given back."""
        for line in _lines(command):
            if question := _state_question(line):
                return question
            self._run_line(line)
        return None

    def _run_line(self, line: str) -> None:
        words = _words(line)
        name = words[0].rsplit("/", 1)[-1] if words else ""
        if name == "defaults.sh":
            self.host.sysctls.update(DEFAULTS)
        elif name == "sysctl" or name == "set_sysctls.py":
            for key, value in _assignments(words[1:]):
                self._sysctl(key, value)
        elif name == "echo" and ">" in words and "/proc/sys/" in words[-1]:
            self._sysctl(_dotted(words[-1]), " ".join(words[1 : words.index(">")]))
        elif name == "ethtool":
            self._ethtool(words)
        elif not line.startswith(_QUIET) and "sysctl_restore" not in name:
            self.skip(line)

    def skip(self, what: str) -> None:
        """Report something that means nothing to the stack."""
        if what not in self.skipped:
            self.skipped.append(what)

    def _ethtool(self, words: list[str]) -> None:
        for feature, value in zip(words, words[1:], strict=False):
            if feature in ("tso", "gso"):
                self.host.segmentation = value == "on"

    def _sysctl(self, key: str, value: str) -> None:
        if self.sysctl is None:
            self.host.sysctls[key] = value
        elif not self.sysctl(key, value):
            self.skip(f"sysctl {key}={value}")


def _lines(command: str) -> Iterator[str]:
    joined = command.replace("\\\n", " ")
    for line in re.split(r"[\n;]|&&", joined):
        line = line.split(" #")[0].strip()
        if line and not line.startswith("#"):
            yield line


def _words(line: str) -> list[str]:
    try:
        return shlex.split(line)
    except ValueError:
        return line.split()


def _assignments(words: list[str]) -> Iterator[tuple[str, str]]:
    for word in words:
        key, sign, value = word.partition("=")
        if sign and not key.startswith("-"):
            yield _dotted(key), value.strip()


def _dotted(key: str) -> str:
    """net.ipv4.x, which may be given as a path below /proc/sys."""
    return key.removeprefix("/proc/sys/").replace("/", ".") if "/" in key else key


def _state_question(line: str) -> StateQuestion | None:
    if not line.startswith("sockstat"):
        return None
    state = re.search(r"grep\s+-c\s+(\w+)", line)
    count = re.search(r"\|\s*grep\s+(\d+)\s*$", line)
    if not state:
        return None
    name = _BSD_STATES.get(state[1], state[1])
    return StateQuestion(name, int(count[1]) if count else 1)
