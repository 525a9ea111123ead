# SPDX-License-Identifier: BSD-3-Clause
"""Read a script in packetdrill's language.

    --tolerance_usecs=10000
    `./defaults.sh`
     0      socket(..., SOCK_STREAM, IPPROTO_TCP) = 3
    +0...0.2 connect(3, ..., ...) = 0
    +.1     < [ect0] S. 0:0(0) ack 1 win 5792 <mss 1460,nop,wscale 2>
    +0~+.01 > . 1:1(0) ack 1
    *       %{ assert tcpi_snd_cwnd == 10 }%

A recursive descent over the text, one method a rule of the grammar; line ends mean no more than
blanks do. Comments are `//`, `/* */`, and `#` where an event could begin.

Not here: what the words mean (constants.py), expressions (expression.py).
"""

from __future__ import annotations

import re
from pathlib import Path

from ustack.drill import tcp_options
from ustack.drill.expression import ExpressionReader
from ustack.drill.script import (
    Call,
    Code,
    Command,
    Event,
    Icmp,
    IpFields,
    Packet,
    Script,
    ScriptError,
    Segment,
    Udp,
    When,
    WhenKind,
)  # fmt: skip

__all__ = ["parse", "parse_file"]

FLAG_ORDER = "SFRPUEWA."
ECN = {"noecn": 0, "ect1": 1, "ect0": 2, "ce": 3}

_OPTION = re.compile(r"[ \t]*--(\w[\w-]*)(?:[= ]([^\n]*))?(?:\n|\Z)")
_DEFINE = re.compile(r"[ \t]*-D[ \t]*(\w+)=([^\n]*)\n")
_COMMENT = re.compile(r"//[^\n]*|/\*.*?\*/", re.S)
_NUMBER = re.compile(r"\d+\.?\d*|\.\d+")
_FLAGS = re.compile(
    r"(?:[SFRPUEWA]+[SFRPUEWA.0-7]*|\.|[.0-7][SFRPUEWA.]+|[0-7](?=\s+-?\d)|-)(?=\s)"
)
_SEQ = re.compile(r"(-?\d+)(?::(-?\d+)\((\d+)\))?")
_INTEGER = re.compile(r"-?(?:0[xX][0-9a-fA-F]+|\d+)")
_WORD = re.compile(r"[A-Za-z_]\w*")
_CALL = re.compile(r"[a-z_]\w*(?=\s*\()")


def parse_file(path: str | Path) -> Script:
    """The script in a file. Raises ScriptError, OSError."""
    return parse(Path(path).read_text(encoding="utf-8", errors="replace"), str(path))


def parse(text: str, path: str = "<script>") -> Script:
    """The script of a text; path is for messages. Raises ScriptError."""
    return _Parser(text, path).script()


class _Parser(ExpressionReader):
    """Reads events; the words and expressions of C are ExpressionReader's."""

    def script(self) -> Script:
        """The whole file."""
        script = Script(self.path)
        self.read_options(script)
        while not self.at_end():
            start = self.pos
            line = self.line_number()
            when, action = self.read_event()
            text = " ".join(_COMMENT.sub("", self.text[start : self.pos]).split())
            script.events.append(Event(when, action, line, text))
        return script

    def read_options(self, script: Script) -> None:
        """Lines of `--name=value` and `-D NAME=value` in front of the rest."""
        while True:
            self.skip_blanks(hash_comments=True)
            self.pos = self.text.rfind("\n", 0, self.pos) + 1
            if match := _OPTION.match(self.text, self.pos):
                name, value = match[1], (match[2] or "").split("//")[0].strip()
                if name == "define":
                    name, _, value = value.partition("=")
                    script.defines[name] = value
                else:
                    script.options[name] = value
            elif match := _DEFINE.match(self.text, self.pos):
                script.defines[match[1]] = match[2].strip()
            else:
                self.skip_blanks(hash_comments=True)
                return
            self.pos = match.end()

    def at_end(self) -> bool:
        """Is there nothing more but comments?"""
        self.skip_blanks(hash_comments=True)
        return self.pos >= len(self.text)

    def read_event(self) -> tuple[When | None, Packet | Call | Command | Code]:
        """A time and what happens then, or a command without a time."""
        if self.peek("`"):
            return None, self.read_command()
        when = self.read_when()
        self.skip_blanks()
        if self.peek("`"):
            return when, self.read_command()
        if self.peek("%{"):
            return when, self.read_code()
        if self.peek("<") or self.peek(">"):
            return when, self.read_packet()
        if self.match(_CALL, move=False):
            return when, self.read_call()
        raise self.error("expected a packet, a call, `command` or %{ code }%")

    # ------------------------------------------------------------------- time

    def read_when(self) -> When:
        """`.1`, `+.1`, `.1~.2`, `+.1~+.2`, `+.1...0.2` or `*`."""
        if self.take("*"):
            return When(WhenKind.ANY)
        kind = WhenKind.RELATIVE if self.take("+") else WhenKind.ABSOLUTE
        low = self.read_time()
        high, end = low, None
        if self.take("~"):
            self.take("+")
            high = self.read_time()
        elif self.take("..."):
            end = self.read_time()
        return When(kind, low, high, end)

    def read_time(self) -> int:
        """Seconds, as ns."""
        match = self.match(_NUMBER)
        # "0...0.2": the number's own dot is not one of three
        if match and match[0].endswith(".") and self.text.startswith("..", self.pos):
            self.pos -= 1
        if not match:
            raise self.error("expected a time: .1, +.1, +.1~+.2, +0...0.2 or *")
        return round(float(match[0].rstrip(".") or "0") * 10**9)

    # --------------------------------------------------------- commands, code

    def read_command(self) -> Command:
        """`…`."""
        self.take("`")
        return Command(self.until("`", "a command that begins with ` ends with `"))

    def read_code(self) -> Code:
        """%{ … }%."""
        self.take("%{")
        return Code(self.until("}%", "Python code that begins with %{ ends with }%"))

    def until(self, mark: str, complaint: str) -> str:
        """The text up to a mark, which is passed over."""
        end = self.text.find(mark, self.pos)
        if end < 0:
            raise self.error(complaint)
        found = self.text[self.pos : end]
        self.pos = end + len(mark)
        return found

    # ---------------------------------------------------------------- packets

    def read_packet(self) -> Packet:
        """From the direction on."""
        inbound = self.take("<")
        if not inbound:
            self.take(">")
        ip, quoted = IpFields(), None
        self.skip_blanks()
        while self.peek("[") or self.peek("("):
            if self.peek("["):
                quoted = self.read_quoted()
            if quoted is None:
                ip = self.read_ip_fields()
            self.skip_blanks()
        for word in ("icmp", "icmpv6"):
            if self.word(word):
                return Packet(inbound, self.read_icmp(quoted), ip)
        if quoted is not None:
            raise self.error("a packet in brackets is quoted by an ICMP error: [1:2(1)] icmp …")
        if self.word("udp"):
            return Packet(inbound, Udp(self.read_length()), ip)
        for word in ("ipv4", "ipv6", "gre", "mpls", "sctp"):
            if self.word(word):
                raise self.error(f"{word}: packets inside packets and SCTP are not supported")
        return Packet(inbound, self.read_segment(), ip)

    def read_quoted(self) -> tuple[int, int] | Udp | None:
        """`[1:1001(1000)]` or `[udp (10)]`; None, and nothing is read, if it is neither."""
        start = self.pos
        self.take("[")
        self.skip_blanks()
        quoted: tuple[int, int] | Udp | None = None
        if self.word("udp"):
            quoted = Udp(self.read_length())
        elif match := self.match(_SEQ):
            quoted = int(match[1]), int(match[3] or 0)
        self.skip_blanks()
        if quoted is None or not self.take("]"):
            self.pos = start
            return None
        return quoted

    def read_ip_fields(self) -> IpFields:
        """`[ect0]`, `[ce, ttl 64]`, `(tos 0x10)`, `[flowlabel 0x1]`."""
        close = {"[": "]", "(": ")"}[self.text[self.pos]]
        self.pos += 1
        inside = self.until(close, f"expected {close!r} behind the fields of the IP header")
        ecn, ecn_any = None, False
        numbers: dict[str, int] = {}
        for item in filter(None, map(str.strip, inside.split(","))):
            name, *value = re.split(r"[\s=]+", item)
            if name in ECN and not value:
                ecn = ECN[name]
            elif name == "ect01" and not value:
                ecn_any = True
            elif name.lower() in ("tos", "ttl", "flowlabel", "hlim") and len(value) == 1:
                numbers[name.lower()] = int(value[0], 0)
            else:
                raise self.error(
                    f"{item!r} is no field of the IP header; there are noecn ect0 ect1 ect01 ce "
                    "tos ttl flowlabel"
                )
        ttl = numbers.get("ttl", numbers.get("hlim"))
        return IpFields(ecn, ecn_any, numbers.get("tos"), ttl, numbers.get("flowlabel"))

    def read_length(self) -> int:
        """`(1000)`."""
        self.skip_blanks()
        match = self.match(re.compile(r"\(\s*(\d+)\s*\)"))
        if not match:
            raise self.error("expected a length in parentheses: udp (1000)")
        return int(match[1])

    def read_icmp(self, quoted: tuple[int, int] | Udp | None) -> Icmp:
        """`unreachable frag_needed mtu 1200`."""
        self.skip_blanks()
        kind = self.require(_WORD, "expected the type of an ICMP message, such as unreachable")
        code = mtu = None
        self.skip_blanks()
        if (match := self.match(_WORD, move=False)) and match[0] != "mtu":
            if "\n" not in self.text[self.blanks_from : self.pos]:
                code = self.require(_WORD, "")
        self.skip_blanks()
        if self.word("mtu"):
            mtu = self.read_integer("a number of bytes")
        return Icmp(kind, code, mtu, quoted)

    def read_segment(self) -> Segment:
        """`P. 1:1001(1000) ack 1 win 257 <nop,nop,sack 1:2>`."""
        self.skip_blanks()
        flags = self.require(_FLAGS, "expected the flags of a segment: letters of SFRPUEWA. or -")
        self.skip_blanks()
        seq, length = self.read_seq()
        numbers: dict[str, int] = {}
        while True:
            self.skip_blanks()
            word = next((w for w in ("ack", "win", "urg") if self.word(w)), None)
            if word is None:
                break
            numbers[word] = self.read_integer(f"a number behind {word}")
        digits = [c for c in flags if c.isdigit()]
        return Segment(
            "".join(c for c in FLAG_ORDER if c in flags),
            seq,
            length,
            numbers.get("ack"),
            numbers.get("win"),
            numbers.get("urg"),
            self.read_tcp_options(),
            int(digits[0]) if digits else None,
        )

    def read_seq(self) -> tuple[int, int]:
        """`1:1001(1000)` or `1`: the first number and how many bytes."""
        match = self.match(_SEQ)
        if not match:
            raise self.error("expected sequence numbers: 1:1001(1000)")
        seq, length = int(match[1]), int(match[3] or 0)
        if match[2] is not None and (int(match[2]) - seq) % 2**32 != length:
            raise self.error(f"{match[0]}: {match[2]} - {seq} is not {length}")
        return seq, length

    def read_tcp_options(self) -> tuple[tuple[object, ...], ...] | None:
        """`<…>`, or nothing."""
        # a "<" on another line than the segment would be an event without a time: no such thing
        if not self.take("<"):
            return ()
        inside = self.until(">", "expected > behind the TCP options")
        if inside.strip() == "...":
            return None
        try:
            return tcp_options.parse(inside)
        except ValueError as error:
            raise self.error(str(error)) from None

    def read_integer(self, what: str) -> int:
        """A number."""
        self.skip_blanks()
        return int(self.require(_INTEGER, f"expected {what}"), 0)

    # ------------------------------------------------------------------ calls

    def read_call(self) -> Call:
        """`read(4, ..., 1000) = -1 EAGAIN (Resource temporarily unavailable)`."""
        name = self.require(_CALL, "expected a call")
        args = self.read_arguments()
        self.skip_blanks()
        if not self.take("="):
            raise self.error(f"expected = and the result of {name}()")
        result = self.read_expression()
        errno = None
        self.skip_blanks()
        if result == -1 and (match := self.match(re.compile(r"E[A-Z0-9]+\b"))):
            errno = match[0]
        self.skip_note()
        return Call(name, args, result, errno)

    def skip_note(self) -> None:
        """A remark in parentheses behind a result, as strace prints it."""
        self.skip_blanks()
        if self.take("("):
            depth = 1
            while depth:
                match = self.match(re.compile(r"[^()]*([()])"))
                if not match:
                    raise self.error("expected ) behind the remark")
                depth += 1 if match[1] == "(" else -1


def check_script(script: Script) -> None:
    """Raise ScriptError when there is nothing in a script."""
    if not script.events:
        raise ScriptError(f"{script.path}: no events in it")
