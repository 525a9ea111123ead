# SPDX-License-Identifier: BSD-3-Clause
"""The exceptions of ustack's own; what a socket call raises is an OSError with its errno."""

__all__ = ["ConfigError", "Deadlock", "PortError", "UstackError"]


class UstackError(Exception):
    """Anything that ustack itself complains about."""


class ConfigError(UstackError, ValueError):
    """A configuration that cannot work. The message names the thing, the value and the cure."""


class Deadlock(UstackError, RuntimeError):
    """On virtual time: tasks wait, and no timer, frame or descriptor will ever wake one of them."""


class PortError(UstackError, OSError):
    """A port that cannot be opened. The message names the thing, the value and the cure."""

    def __init__(self, message: str, code: int | None = None) -> None:
        """message: all that is shown. code: the errno, if the system gave one."""
        super().__init__(message)
        self.errno = code
