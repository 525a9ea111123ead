# SPDX-License-Identifier: BSD-3-Clause
"""The parser reads packetdrill's language, and says where it cannot."""

from __future__ import annotations

import pytest

from ustack.drill import ScriptError, parse
from ustack.drill.expression import evaluate
from ustack.drill.script import Call, Code, Command, Icmp, Packet, Segment, Udp, When, WhenKind
from ustack.drill.show import show

SECOND = 10**9


def action(line: str) -> object:
    return parse(line).events[0].action


def segment(line: str) -> Segment:
    packet = action(line)
    assert isinstance(packet, Packet) and isinstance(packet.body, Segment)
    return packet.body


@pytest.mark.parametrize(
    ("text", "when"),
    [
        (".5", When(WhenKind.ABSOLUTE, SECOND // 2, SECOND // 2)),
        ("+.5", When(WhenKind.RELATIVE, SECOND // 2, SECOND // 2)),
        ("+1", When(WhenKind.RELATIVE, SECOND, SECOND)),
        ("1~2.5", When(WhenKind.ABSOLUTE, SECOND, 5 * SECOND // 2)),
        ("+1~+2", When(WhenKind.RELATIVE, SECOND, 2 * SECOND)),
        ("*", When(WhenKind.ANY)),
    ],
)
def test_times_are_absolute_relative_ranges_or_any(text: str, when: When) -> None:
    assert parse(f"{text} > . 1:1(0) ack 1").events[0].when == when


@pytest.mark.parametrize("text", ["+0...0.25", "+0.0...0.25", "+.0....25"])
def test_a_call_that_blocks_says_when_it_ends(text: str) -> None:
    when = parse(f"{text} accept(3, ..., ...) = 4").events[0].when
    assert when == When(WhenKind.RELATIVE, 0, 0, SECOND // 4)


def test_a_segment_has_all_its_parts() -> None:
    got = segment("+0 < [ect0] PU. 1:1001(1000) ack 5 win 257 urg 7 <nop,nop,sack 1:2 5:6>")
    options = (("nop",), ("nop",), ("sack", (1, 2), (5, 6)))
    assert got == Segment("PU.", 1, 1000, 5, 257, 7, options)


@pytest.mark.parametrize(
    ("text", "flags", "ace"),
    [
        ("-", "", None),
        ("SEWA", "SEWA", None),
        ("AEW.", "EWA.", None),
        ("5.", ".", 5),
        ("P2.", "P.", 2),
        (".", ".", None),
    ],
)
def test_flags_are_letters_and_an_ace_counter(text: str, flags: str, ace: int | None) -> None:
    got = segment(f"+0 < {text} 1:1(0) win 5")
    assert (got.flags, got.ace) == (flags, ace)


@pytest.mark.parametrize(
    "options",
    [
        "mss 1460,sackOK,TS val 100 ecr 0,nop,wscale 8",
        "FO deadbeef,nop,nop",
        "FO",
        "FOEXP 0102",
        "ECN e0b 1 ceb 0 e1b 1,nop",
        "hex fe04abcd",
        "...",
    ],
)
def test_options_are_printed_as_they_are_read(options: str) -> None:
    line = f"> S. 0:0(0) ack 1 <{options}>"
    packet = action(f"+0 {line}")
    assert isinstance(packet, Packet)
    assert show(packet) == line


def test_datagrams_and_icmp_errors_are_packets() -> None:
    assert action("+0 > udp (1000)") == Packet(False, Udp(1000))
    quoted = Icmp("unreachable", "frag_needed", 1200, (1, 1000))
    assert action("+0 < [1:1001(1000)] icmp unreachable frag_needed mtu 1200") == Packet(
        True, quoted
    )
    assert action("+0 < [udp (9)] icmp unreachable port_unreachable") == Packet(
        True, Icmp("unreachable", "port_unreachable", None, Udp(9))
    )


def test_a_call_has_arguments_a_result_and_an_error() -> None:
    call = action(
        '+0 setsockopt(3, SOL_TCP, TCP_CONGESTION, "cubic", 5) = -1 ENOENT (No such file (or so))'
    )
    assert isinstance(call, Call)
    assert (call.name, call.result, call.errno) == ("setsockopt", -1, "ENOENT")
    assert [evaluate(arg, {}) for arg in call.args] == [3, 6, 13, b"cubic", 5]


def test_expressions_are_those_of_c() -> None:
    call = action("+0 f(3, F_SETFL, O_RDWR | O_NONBLOCK, [0x10, 010], {a=1, b(2)=[{..., 7}]}) = 0")
    assert isinstance(call, Call)
    assert [evaluate(arg, {}) for arg in call.args[1:4]] == [4, 2 | 2048, [16, 8]]


def test_a_result_is_not_added_to_the_next_events_time() -> None:
    script = parse("+0 read(4, ..., 1000) = 0\n+.1 close(4) = 0")
    assert [event.line for event in script.events] == [1, 2]


def test_options_comments_commands_and_code_are_told_apart() -> None:
    script = parse(
        "#!/usr/bin/env drill\n"
        "// about\n--mss=1000 // why\n--define=LEVEL=6\n"
        "`one\ntwo`\n/* more */\n 0 %{ assert True # }\n}%\n+0 `three`\n"
    )
    assert script.options == {"mss": "1000"}
    assert script.defines == {"LEVEL": "6"}
    assert [event.action for event in script.events] == [
        Command("one\ntwo"), Code(" assert True # }\n"), Command("three"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("+0 > X 1:1(0)", "x.pkt:1: expected the flags of a segment"),
        ("\n+0 > . 1:5(3) ack 1", "x.pkt:2: 1:5(3): 5 - 1 is not 3"),
        ("+0 > . 1:1(0) ack 1 <md5 x>", "no TCP option that ustack.drill knows"),
        ("+0 > sctp DATA", "SCTP are not supported"),
        ("+0 frobnicate", "expected a packet, a call"),
        ("+0 read(3, ..., 5)", "expected = and the result of read()"),
        ("soon > . 1:1(0)", "expected a time"),
        ("+0 `open", "a command that begins with ` ends with `"),
        ("+0 > [red] . 1:1(0)", "no field of the IP header"),
    ],
)
def test_what_cannot_be_read_is_told_with_its_line(text: str, complaint: str) -> None:
    with pytest.raises(ScriptError) as error:
        parse(text, "x.pkt")
    assert complaint in str(error.value)


def test_a_word_that_is_no_constant_is_told() -> None:
    call = action("+0 socket(AF_TOKENRING, SOCK_STREAM, 0) = 3")
    assert isinstance(call, Call)
    with pytest.raises(ScriptError, match="AF_TOKENRING is no constant"):
        evaluate(call.args[0], {})
