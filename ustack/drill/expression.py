# SPDX-License-Identifier: BSD-3-Clause
"""The part of C that stands in packetdrill's calls: read it, and know its value.

    {sa_family = AF_INET, sin_port = htons(8080)}   [1]   O_RDWR | O_NONBLOCK   "text"   ...

Constants come from Python's own modules of this machine, so that they are Linux's; those that
Python does not know are listed here.
"""

from __future__ import annotations

import ast
import errno
import fcntl
import re
import select
import socket
from collections.abc import Mapping

from ustack.drill.script import Apply, Binary, Ellipsis_, Expression, Name, ScriptError, Struct

__all__ = ["CONSTANTS", "ExpressionReader", "evaluate"]

_BLANKS = re.compile(r"(?:\s+|//[^\n]*|/\*.*?\*/)*", re.S)
_HASH_BLANKS = re.compile(r"(?:\s+|//[^\n]*|#[^\n]*|/\*.*?\*/)*", re.S)
_INTEGER = re.compile(r"[-+]?(?:0[xX][0-9a-fA-F]+|\d+)[uUlL]*")
_STRING = re.compile(r'"(?:[^"\\]|\\.)*"', re.S)
_WORD = re.compile(r"[A-Za-z_]\w*")
_OPERATORS = re.compile(r"\|\|?|&|<<|>>|\+|-(?!\d)")


def _constants() -> dict[str, int]:
    found = dict(CONSTANTS_BY_HAND)
    wanted = re.compile(
        r"(AF|PF|SOCK|IPPROTO|SOL|SO|TCP|IP|IPV6|MSG|SHUT|SCM|F|O|EPOLL\w*|POLL\w*)_"
    )
    for module in (socket, fcntl, select):
        for name, value in vars(module).items():
            if (wanted.match(name) or name.startswith(("POLL", "EPOLL"))) and isinstance(
                value, int
            ):
                found.setdefault(name, int(value))
    import os

    for name in dir(os):
        if name.startswith("O_"):
            found.setdefault(name, getattr(os, name))
    found.update({name: code for code, name in errno.errorcode.items()})
    return found


#: What <linux/tcp.h> and its like define and Python does not.
CONSTANTS_BY_HAND = {
    "SOL_TCP": 6, "SOL_IP": 0, "SOL_IPV6": 41, "SOL_UDP": 17, "SOL_SOCKET": 1,
    "IP_TOS": 1, "IP_TTL": 2, "IP_MTU_DISCOVER": 10, "IP_RECVERR": 11, "IP_MTU": 14,
    "IP_PMTUDISC_DONT": 0, "IP_PMTUDISC_WANT": 1, "IP_PMTUDISC_DO": 2, "IP_PMTUDISC_PROBE": 3,
    "IP_BIND_ADDRESS_NO_PORT": 24, "IPV6_MTU_DISCOVER": 23, "IPV6_MTU": 24, "IPV6_RECVERR": 25,
    "IPV6_PMTUDISC_DONT": 0, "IPV6_PMTUDISC_WANT": 1, "IPV6_PMTUDISC_DO": 2,
    "IPV6_PMTUDISC_PROBE": 3, "IPV6_TCLASS": 67, "IPV6_UNICAST_HOPS": 16,
    "TCP_NODELAY": 1, "TCP_MAXSEG": 2, "TCP_CORK": 3, "TCP_KEEPIDLE": 4, "TCP_KEEPINTVL": 5,
    "TCP_KEEPCNT": 6, "TCP_SYNCNT": 7, "TCP_LINGER2": 8, "TCP_DEFER_ACCEPT": 9,
    "TCP_WINDOW_CLAMP": 10, "TCP_INFO": 11, "TCP_QUICKACK": 12, "TCP_CONGESTION": 13,
    "TCP_MD5SIG": 14, "TCP_USER_TIMEOUT": 18, "TCP_FASTOPEN": 23, "TCP_TIMESTAMP": 24,
    "TCP_NOTSENT_LOWAT": 25, "TCP_CC_INFO": 26, "TCP_SAVE_SYN": 27, "TCP_SAVED_SYN": 28,
    "TCP_FASTOPEN_CONNECT": 30, "TCP_FASTOPEN_KEY": 33, "TCP_FASTOPEN_NO_COOKIE": 34,
    "TCP_ZEROCOPY_RECEIVE": 35, "TCP_INQ": 36, "TCP_CM_INQ": 36, "TCP_TX_DELAY": 37,
    "SO_REUSEADDR": 2, "SO_ERROR": 4, "SO_BROADCAST": 6, "SO_SNDBUF": 7, "SO_RCVBUF": 8,
    "SO_KEEPALIVE": 9, "SO_OOBINLINE": 10, "SO_PRIORITY": 12, "SO_LINGER": 13, "SO_REUSEPORT": 15,
    "SO_RCVLOWAT": 18, "SO_SNDLOWAT": 19, "SO_ACCEPTCONN": 30, "SO_SNDBUFFORCE": 32,
    "SO_RCVBUFFORCE": 33, "SO_MARK": 36, "SO_TIMESTAMPING": 37, "SO_MAX_PACING_RATE": 47,
    "SO_INCOMING_CPU": 49, "SO_MEMINFO": 55, "SO_ZEROCOPY": 60, "SO_TXTIME": 61,
    "SO_TIMESTAMPING_NEW": 65, "SO_TXREHASH": 74,
    "MSG_OOB": 1, "MSG_PEEK": 2, "MSG_TRUNC": 0x20, "MSG_DONTWAIT": 0x40, "MSG_EOR": 0x80,
    "MSG_WAITALL": 0x100, "MSG_ERRQUEUE": 0x2000, "MSG_NOSIGNAL": 0x4000, "MSG_MORE": 0x8000,
    "MSG_ZEROCOPY": 0x4000000, "MSG_FASTOPEN": 0x20000000, "MSG_CMSG_CLOEXEC": 0x40000000,
    "SHUT_RD": 0, "SHUT_WR": 1, "SHUT_RDWR": 2,
    "SIOCINQ": 0x541B, "FIONREAD": 0x541B, "SIOCOUTQ": 0x5411, "TIOCOUTQ": 0x5411,
    "SIOCOUTQNSD": 0x894B, "SIOCATMARK": 0x8905, "FIONBIO": 0x5421,
    "POLLRDHUP": 0x2000, "EPOLLRDHUP": 0x2000, "EPOLLIN": 1, "EPOLLOUT": 4, "EPOLLERR": 8,
    "EPOLLHUP": 16, "EPOLLET": 1 << 31, "EPOLLONESHOT": 1 << 30,
    "EPOLL_CTL_ADD": 1, "EPOLL_CTL_DEL": 2, "EPOLL_CTL_MOD": 3,
    "SPLICE_F_MOVE": 1, "SPLICE_F_NONBLOCK": 2, "SPLICE_F_MORE": 4,
    "NULL": 0, "INADDR_ANY": 0, "INADDR_LOOPBACK": 0x7F000001,
}  # fmt: skip

CONSTANTS: Mapping[str, int] = _constants()


class ExpressionReader:
    """A text and a position in it, and the rules of expressions."""

    def __init__(self, text: str, path: str) -> None:
        self.text, self.path = text, path
        self.pos = 0
        self.blanks_from = 0  # where the blanks began that were skipped last

    def line_number(self) -> int:
        """Of the position; the first is 1."""
        return self.text.count("\n", 0, self.pos) + 1

    def error(self, message: str) -> ScriptError:
        """An error at this place."""
        near = self.text[self.pos : self.pos + 30].split("\n")[0]
        return ScriptError(f"{self.path}:{self.line_number()}: {message}; got {near!r}")

    # ----------------------------------------------------------------- tokens

    def skip_blanks(self, hash_comments: bool = False) -> None:
        """Pass over blanks, line ends and comments."""
        self.blanks_from = self.pos
        match = (_HASH_BLANKS if hash_comments else _BLANKS).match(self.text, self.pos)
        self.pos = match.end() if match else self.pos

    def peek(self, token: str) -> bool:
        """Is this next?"""
        return self.text.startswith(token, self.pos)

    def take(self, token: str) -> bool:
        """Pass over this if it is next."""
        if self.peek(token):
            self.pos += len(token)
            return True
        return False

    def word(self, word: str) -> bool:
        """Pass over this whole word if it is next."""
        match = self.match(_WORD, move=False)
        if match and match[0] == word:
            self.pos = match.end()
            return True
        return False

    def match(self, pattern: re.Pattern[str], move: bool = True) -> re.Match[str] | None:
        """A pattern at this place."""
        match = pattern.match(self.text, self.pos)
        if match and move:
            self.pos = match.end()
        return match

    def require(self, pattern: re.Pattern[str], complaint: str) -> str:
        """The same, where nothing else may stand."""
        match = self.match(pattern)
        if not match:
            raise self.error(complaint)
        return match[0]

    # ------------------------------------------------------------ expressions

    def read_arguments(self) -> tuple[Expression, ...]:
        """`(a, b)`."""
        self.skip_blanks()
        if not self.take("("):
            raise self.error("expected (")
        return tuple(self.read_items(")"))

    def read_items(self, close: str) -> list[Expression]:
        """Expressions with commas between, up to a closing bracket."""
        items: list[Expression] = []
        self.skip_blanks()
        while not self.take(close):
            items.append(self.read_expression())
            self.skip_blanks()
            if not self.take(",") and not self.peek(close):
                raise self.error(f"expected , or {close}")
            self.skip_blanks()
        return items

    def read_expression(self) -> Expression:
        """One expression; operators bind from the left, all alike."""
        left = self.read_term()
        while True:
            before = self.pos
            self.skip_blanks()
            match = self.match(_OPERATORS)
            # a result is followed by the next event, which may begin with +
            if not match or (match[0] == "+" and "\n" in self.text[before : self.pos]):
                self.pos = before
                return left
            left = Binary(match[0], left, self.read_term())

    def read_term(self) -> Expression:
        """A number, word, string, `...`, `[…]`, `{…}` or call."""
        self.skip_blanks()
        if self.take("..."):
            return Ellipsis_()
        if self.take("["):
            return self.read_items("]")
        if self.take("{"):
            return self.read_struct()
        if self.take("("):
            inside = self.read_items(")")
            if len(inside) != 1:
                raise self.error("expected one expression in parentheses")
            return inside[0]
        if match := self.match(_INTEGER):
            return _integer(match[0])
        if match := self.match(_STRING):
            return bytes(ast.literal_eval("b" + match[0].replace("\n", "\\n")))
        if match := self.match(_WORD):
            self.skip_blanks()
            if self.peek("("):
                return Apply(match[0], self.read_arguments())
            return Name(match[0])
        raise self.error("expected an expression")

    def read_struct(self) -> Struct:
        """Up to the closing brace; a field may be called msg_iov(1)."""
        fields: list[tuple[str | None, Expression]] = []
        self.skip_blanks()
        while not self.take("}"):
            value = self.read_expression()
            name = None
            self.skip_blanks()
            if self.take("="):
                name = value.text if isinstance(value, Name) else getattr(value, "name", None)
                if name is None:
                    raise self.error("expected the name of a field before =")
                value = self.read_expression()
            fields.append((name, value))
            self.skip_blanks()
            if not self.take(",") and not self.peek("}"):
                raise self.error("expected , or }")
            self.skip_blanks()
        return Struct(tuple(fields))


def _integer(text: str) -> int:
    text = text.rstrip("uUlL")
    digits = text.lstrip("+-")
    value = int(digits, 8) if re.fullmatch(r"0[0-7]+", digits) else int(digits, 0)
    return -value if text.startswith("-") else value


def evaluate(expression: Expression, names: Mapping[str, int]) -> object:
    """The value: int, bytes, list, Struct with values in it, or ... for `...`.

    names: more constants than C's. Raises ScriptError for a word that is none.
    """
    match expression:
        case Ellipsis_():
            return ...
        case Name(text):
            if text in names:
                return names[text]
            if text in CONSTANTS:
                return CONSTANTS[text]
            raise ScriptError(f"{text} is no constant that ustack.drill knows")
        case list():
            return [evaluate(item, names) for item in expression]
        case Struct(fields):
            return Struct(tuple((key, evaluate(item, names)) for key, item in fields))  # type: ignore[misc]
        case Apply(name, args):
            return _apply(name, [evaluate(arg, names) for arg in args])
        case Binary(operator, left, right):
            return _binary(operator, evaluate(left, names), evaluate(right, names))
    return expression


def _apply(name: str, args: list[object]) -> object:
    if name in ("htons", "ntohs", "htonl", "ntohl") and len(args) == 1:
        return args[0]  # numbers are the host's wherever drill handles them
    if name in ("inet_addr", "inet6_addr") and isinstance(args[0], bytes):
        return args[0].decode()
    if name == "inet_pton" and len(args) >= 2 and isinstance(args[1], bytes):
        return args[1].decode()
    raise ScriptError(f"{name}() is no function that ustack.drill knows")


def _binary(operator: str, left: object, right: object) -> int:
    if not isinstance(left, int) or not isinstance(right, int):
        raise ScriptError(f"{operator} needs numbers, got {left!r} and {right!r}")
    table = {
        "|": left | right, "||": left or right, "&": left & right, "+": left + right,
        "-": left - right, "<<": left << (right % 64), ">>": left >> (right % 64),
    }  # fmt: skip
    return table[operator]
