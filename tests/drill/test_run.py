# SPDX-License-Identifier: BSD-3-Clause
"""The runner: what passes, what fails and how it is told, by comparator."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ustack.cli import main
from ustack.drill import Mode, Verdict, parse, run

pytest_plugins = ["pytester"]

SERVER = """
 0  socket(..., SOCK_STREAM, IPPROTO_TCP) = 3
+0  setsockopt(3, SOL_SOCKET, SO_REUSEADDR, [1], 4) = 0
+0  bind(3, ..., ...) = 0
+0  listen(3, 1) = 0
+0  < S  0:0(0) win 65535 <mss 1000,sackOK,nop,wscale 8>
+0  > S. 0:0(0) ack 1 <mss 1460,nop,nop,sackOK,nop,wscale 8>
+.1 < .  1:1(0) ack 1 win 257
+0  accept(3, ..., ...) = 4
"""


def play(text: str, mode: Mode = Mode.STRICT, version: int = 4) -> Verdict:
    return run(parse(SERVER + text), mode, version)


@pytest.mark.parametrize("version", [4, 6])
def test_a_conversation_that_goes_as_written_passes(version: int) -> None:
    verdict = play(
        """
        +0   < P. 1:1001(1000) ack 1 win 257
        +0   > .  1:1(0) ack 1001
        +0   read(4, ..., 5000) = 1000
        +0   write(4, ..., 3000) = 3000
        +0   > P. 1:3001(3000) ack 1001
        +.1  < .  1001:1001(0) ack 3001 win 257
        +0   %{ assert tcpi_state == TCP_ESTABLISHED and tcpi_unacked == 0 }%
        +0   close(4) = 0
        +0   > F. 3001:3001(0) ack 1001
        """,
        version=version,
    )
    assert verdict.passed, verdict
    assert verdict.version == version


@pytest.mark.parametrize(
    ("line", "got"),
    [
        ("+0 > F. 1:1(0) ack 1001", "(flags)"),
        ("+0 > . 2:2(0) ack 1001", "(seq)"),
        ("+0 > . 1:1(0) ack 1002", "(ack)"),
        ("+0 > . 1:1(0) ack 1001 win 1", "(win)"),
        ("+0 > . 1:1(0) ack 1001 <nop>", "(options)"),
        ("+.1 > . 1:1(0) ack 1001", "(at +0.000000)"),
        ("+0 > [ce] . 1:1(0) ack 1001", "(ecn)"),
        ("+0 read(4, ..., 5000) = 999", "1000"),
        ("+0 read(4, ..., 5000) = -1 EAGAIN (Try again)", "1000"),
        ("+0 ioctl(4, SIOCINQ, [7]) = 0", "1000"),
        ("+0 %{ assert tcpi_state == 7, tcpi_state }%", "AssertionError: 1"),
        ("+0 %{ assert tcpi_frobs == 7 }%", "NameError"),
    ],
)
def test_what_goes_otherwise_fails_with_its_line(line: str, got: str) -> None:
    verdict = play(f"+0 < P. 1:1001(1000) ack 1 win 257\n{line}")
    assert verdict.verdict == "fail"
    assert verdict.line == 11
    assert got in verdict.got
    assert "< P. 1:1001(1000) ack 1 win 257" in verdict.trace[-2] + verdict.trace[-1]
    assert verdict.state.startswith("ESTABLISHED")


def test_a_missing_segment_is_told_with_the_one_that_comes_later() -> None:
    verdict = play("+0 write(4, ..., 100) = 100" + "\n+0 > P. 1:101(100) ack 1" * 2)
    assert verdict.got.startswith("nothing was sent until then; the next is > P. 1:101(100) ack 1")


def test_a_segment_cut_otherwise_is_the_same_segment() -> None:
    verdict = play("+0 write(4, ..., 2500) = 2500\n+0 > P. 1:2501(2500) ack 1")
    assert verdict.passed, verdict


def test_calls_block_while_the_script_goes_on() -> None:
    verdict = play(
        """
        +0...0.200 read(4, ..., 5000) = 10
        +.2 < P. 1:11(10) ack 1 win 257
        +0  > . 1:1(0) ack 11
        """
    )
    assert verdict.passed, verdict
    late = play("+0...0.1 read(4, ..., 5000) = 10\n+.2 < P. 1:11(10) ack 1 win 257")
    assert late.verdict == "fail"
    assert "from when it was to return" in late.got


def test_poll_and_epoll_tell_readiness() -> None:
    verdict = play(
        """
        +0 poll([{fd=4, events=POLLIN|POLLOUT, revents=POLLOUT}], 1, 0) = 1
        +0 epoll_create(1) = 5
        +0 epoll_ctl(5, EPOLL_CTL_ADD, 4, {events=EPOLLIN|EPOLLET, fd=4}) = 0
        +0 epoll_wait(5, {events=EPOLLIN, fd=4}, 1, 0) = 0
        +0...0.1 epoll_wait(5, {events=EPOLLIN, fd=4}, 1, 1000) = 1
        +.1 < P. 1:11(10) ack 1 win 257
        +0 > . 1:1(0) ack 11
        +0 epoll_wait(5, {events=EPOLLIN, fd=4}, 1, 0) = 0
        +0...0.5 poll([{fd=4, events=POLLRDHUP, revents=0}], 1, 500) = 0
        """
    )
    assert verdict.passed, verdict


def test_vectors_and_messages_are_written_and_read() -> None:
    verdict = play(
        """
        +0 setsockopt(4, SOL_TCP, TCP_NODELAY, [1], 4) = 0
        +0 writev(4, [{..., 100}, {..., 200}], 2) = 300
        +0 > P. 1:301(300) ack 1
        +0 sendmsg(4, {msg_name(...)=..., msg_iov(1)=[{..., 50}], msg_flags=0}, 0) = 50
        +0 > P. 301:351(50) ack 1
        +0 < P. 1:31(30) ack 351 win 257
        +0 > . 351:351(0) ack 31
        +0 readv(4, [{..., 10}, {..., 10}], 2) = 20
        +0 recvmsg(4, {msg_name(...)=..., msg_iov(1)=[{..., 50}], msg_flags=0}, 0) = 10
        """
    )
    assert verdict.passed, verdict


def test_sendto_opens_and_asks_for_a_cookie() -> None:
    """RFC 7413 4.1.2: without a cookie the text waits for the handshake."""
    script = """
    `./defaults.sh`
     0 socket(..., SOCK_STREAM, IPPROTO_TCP) = 3
    +0...0.1 sendto(3, ..., 100, MSG_FASTOPEN, ..., ...) = 100
    +0  > S 0:0(0) <mss 1460,sackOK,TS val 100 ecr 0,nop,wscale 8,FO,nop,nop>
    +.1 < S. 0:0(0) ack 1 win 65535 <mss 1000,FO 0011223344556677,nop,nop>
    +0  > . 1:1(0) ack 1
    +0  > P. 1:101(100) ack 1
    """
    verdict = run(parse(script))
    assert verdict.passed, verdict


def test_a_control_message_tells_what_is_left_to_read() -> None:
    text = """
    +0 setsockopt(4, SOL_TCP, TCP_INQ, [1], 4) = 0
    +0 < P. 1:31(30) ack 1 win 257
    +0 > . 1:1(0) ack 31
    +0 recvmsg(4, {msg_name(...)=..., msg_iov(1)=[{..., 10}], msg_flags=0,
                   msg_control=[{cmsg_level=SOL_TCP, cmsg_type=TCP_CM_INQ, cmsg_data=%d}]}, 0) = 10
    """
    assert play(text % 20).passed
    assert play(text % 21).got == "20"


def test_splice_moves_bytes_through_a_pipe() -> None:
    verdict = play(
        """
        +0 pipe([5, 6]) = 0
        +0 < P. 1:31(30) ack 1 win 257
        +0 > . 1:1(0) ack 31
        +0 splice(4, NULL, 6, NULL, 100, 0) = 30
        +0 splice(5, NULL, 4, NULL, 20, 0) = 20
        +0 > P. 1:21(20) ack 31
        +0 close(5) = 0
        +0 close(6) = 0
        """
    )
    assert verdict.passed, verdict


def test_what_a_scripts_python_prints_is_no_verdict(capsys: pytest.CaptureFixture[str]) -> None:
    assert play("+0 %{ print(tcpi_state) }%").passed
    assert capsys.readouterr() == ("", "1\n")


def test_semantic_ignores_what_systems_differ_in() -> None:
    text = """
    +0 < P. 1:11(10) ack 1 win 257
    +0 getsockopt(4, SOL_SOCKET, SO_RCVBUF, [65536], [4]) = 0
    +0 `sysctl -w net.inet.tcp.hostcache.purgenow=1`
    +0 > . 1:1(0) ack 11 win 7 <>
    """
    assert play(text, Mode.SEMANTIC).passed
    assert not play(text, Mode.STRICT).passed


def test_semantic_passes_over_an_ack_that_a_later_one_makes_superfluous() -> None:
    text = """
    +0 < P. 1:1001(1000) ack 1 win 257
    +0 < P. 1001:2001(1000) ack 1 win 257
    +0 > . 1:1(0) ack 2001
    """
    assert play(text, Mode.SEMANTIC).passed
    assert not play(text, Mode.STRICT).passed


def test_semantic_compares_sack_blocks_exactly() -> None:
    text = "+0 < . 1001:2001(1000) ack 1 win 257\n+0 > . 1:1(0) ack 1 <sack 1001:{},nop,nop>"
    assert play(text.format(2001), Mode.SEMANTIC).passed
    assert not play(text.format(2002), Mode.SEMANTIC).passed


def test_api_compares_only_what_is_read() -> None:
    text = "+0 < P. 1:11(10) ack 1 win 257\n+0 > F. 9:9(0) ack 9\n+0 read(4, ..., 99) = {}"
    assert play(text.format(10), Mode.API).passed
    assert not play(text.format(11), Mode.API).passed


@pytest.mark.parametrize(("count", "passes"), [(1, True), (0, False)])
def test_sockstat_asks_for_the_states_of_flows(count: int, passes: bool) -> None:
    line = f"+0 `sockstat -4 -P tcp -s | grep -c ESTABLISHED | grep {count}`"
    assert play(line, Mode.SEMANTIC).passed is passes


def test_sysctls_are_the_engines_settings_and_the_rest_is_reported() -> None:
    script = "`sysctl -q net.ipv4.tcp_timestamps=0 net.ipv4.tcp_frobs=3\ntc qdisc del dev tun0`"
    client = """
     0 socket(..., SOCK_STREAM, IPPROTO_TCP) = 3
    +0 fcntl(3, F_SETFL, O_RDWR|O_NONBLOCK) = 0
    +0 connect(3, ..., ...) = -1 EINPROGRESS (Operation now in progress)
    +0 > S 0:0(0) <mss 1460,nop,nop,sackOK,nop,wscale 8>
    """
    verdict = run(parse(script + client))
    assert verdict.passed, verdict
    assert verdict.skipped == ["tc qdisc del dev tun0", "sysctl net.ipv4.tcp_frobs=3"]


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("+0 frobnicate(4) = 0", "frobnicate() is not supported"),
        ("+0 read(4) = 0", "read() does not take 1 arguments"),
        ("+0 < . 1:1(0) ack 1 <...>", "<...> says nothing in an inbound packet"),
        ("+0 < icmp frobbed", "icmp frobbed"),
        (
            "+0 recvmsg(4, {msg_iov(1)=[{..., 1}], msg_control=[{a=1}]}, 0) = 0",
            "control messages",
        ),
    ],
)
def test_what_drill_cannot_do_is_an_error_that_says_so(line: str, complaint: str) -> None:
    verdict = play(line)
    assert verdict.verdict == "error"
    assert complaint in verdict.got
    assert verdict.line == 10


def test_an_unknown_option_is_an_error() -> None:
    verdict = run(parse("--frob=1\n 0 socket(..., SOCK_STREAM, 0) = 3"))
    assert "--frob is not supported" in verdict.got


def test_the_command_tells_a_failure_in_text_and_json(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good, bad = tmp_path / "a.pkt", tmp_path / "b.pkt"
    good.write_text(SERVER)
    bad.write_text(SERVER + "+0 read(4, ..., 1) = 1\n")
    assert main(["drill", str(good)]) == 0
    assert capsys.readouterr().out == "1 pass\n"
    assert main(["drill", "--json", "--ip", "both", str(tmp_path)]) == 1
    verdicts = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(v["verdict"], v["version"]) for v in verdicts] == [
        ("pass", 4), ("pass", 6), ("fail", 4), ("fail", 6),
    ]  # fmt: skip
    assert verdicts[2]["line"] == 10
    assert "still blocks" in verdicts[2]["got"]
    assert main(["drill", str(bad)]) == 1
    assert "trace" in capsys.readouterr().out


def test_the_command_says_what_is_not_there(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["drill", "nowhere.pkt"]) == 2
    assert "nowhere.pkt: no such file" in capsys.readouterr().err


def test_the_plugin_collects_scripts(pytester: pytest.Pytester) -> None:
    pytester.makefile(".pkt", good=SERVER, bad=SERVER + "+0 read(4, ..., 1) = 1\n")
    result = pytester.runpytest("-p", "ustack.drill.pytest_plugin")
    result.assert_outcomes(passed=2, failed=2)
    result.stdout.fnmatch_lines(["*it still blocks*"])
