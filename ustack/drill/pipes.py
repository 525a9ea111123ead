# SPDX-License-Identifier: BSD-3-Clause
"""Calls that move bytes between a socket and a pipe: pipe() and splice().

The pipe is the script's own: bytes in memory. What goes into a socket is written, what comes out
of it is read.
"""

from __future__ import annotations

import errno
from dataclasses import dataclass, field

from ustack.drill.arguments import number_of
from ustack.drill.calls import NO_HANDLE, Attempt, Fd
from ustack.drill.script import ScriptError
from ustack.drill.wait import AllCalls

__all__ = ["PipeCalls"]


@dataclass
class Pipe(Fd):
    """Either end of a pipe."""

    held: bytearray = field(default_factory=bytearray)


class PipeCalls(AllCalls):
    """All the calls, and pipes."""

    def do_pipe(self, ends: object, *, expected: object) -> Attempt:
        """pipe([5, 6]): the numbers that its ends are to have."""
        if not isinstance(ends, list) or len(ends) != 2:
            raise ScriptError("pipe() takes [5, 6], the numbers of its ends")
        numbers = [number_of(end) for end in ends]

        def attempt() -> int:
            held = bytearray()
            for number in numbers:
                self._new(number, Pipe(NO_HANDLE, held=held))
            return 0

        return attempt

    def do_splice(
        self, source: Fd, offset: object, target: object, offset2: object, size: object,
        flags: object, *, expected: object,
    ) -> Attempt:  # fmt: skip
        """splice() between a pipe and a socket."""
        sink = self.fds.get(number_of(target))
        if sink is None or isinstance(source, Pipe) == isinstance(sink, Pipe):
            raise ScriptError("splice() needs a pipe and a socket")
        most = number_of(size)

        def attempt() -> int:
            if isinstance(sink, Pipe):
                data = self.backend.recv(source.handle, most, 0)
                self._check_read(source, data, 0)
                sink.held += data
                return len(data)
            assert isinstance(source, Pipe)
            if not source.held:
                raise BlockingIOError(errno.EAGAIN, "splice")
            sent = self.backend.send(sink.handle, bytes(source.held[:most]), 0)
            del source.held[:sent]
            if sink.flow:
                sink.flow.checked = False
            return sent

        return attempt
