# SPDX-License-Identifier: BSD-3-Clause
"""A stack says what is wrong with its configuration, and what it has in use."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

import ustack
from pair import SMALL, Pair, ring_url
from ustack import ConfigError, Stack, UstackError

GOOD = {"address": "10.9.0.2/24", "settings": SMALL}


@pytest.fixture
def stack() -> Iterator[Stack]:
    stack = Stack(io=ring_url(), **GOOD)
    yield stack
    stack.close(linger=0)


#: options → what the message must name: the thing, the value, the cure.
BAD: dict[str, tuple[dict[str, Any], tuple[str, str, str]]] = {
    "no address": ({"address": None}, ("address", "none", "10.9.0.2/24")),
    "no prefix length": ({"address": "10.9.0.2"}, ("address", "'10.9.0.2'", "prefix length")),
    "no such CIDR": ({"address": "10.9.0.256/24"}, ("address", "10.9.0.256", "10.9.0.2/24")),
    "prefix too long": ({"address": "10.9.0.2/33"}, ("address", "10.9.0.2/33", "10.9.0.2/24")),
    "no address at all": ({"address": "0.0.0.0/0"}, ("address", "0.0.0.0/0", "take another")),
    "group": ({"address": "224.0.0.1/24"}, ("address", "224.0.0.1/24", "take another")),
    "loopback": ({"address": "127.0.0.1/8"}, ("address", "127.0.0.1/8", "take another")),
    "everybody": (
        {"address": "255.255.255.255/32"}, ("address", "255.255.255.255/32", "take another")
    ),
    "broadcast": ({"address": "10.9.0.255/24"}, ("broadcast", "10.9.0.255", "take another")),
    "network": ({"address": "10.9.0.0/24"}, ("10.9.0.0/24 itself", "10.9.0.0", "take another")),
    "addresses a string": (
        {"addresses": "10.9.0.3/24"}, ("addresses", "10.9.0.3/24", "use address=")
    ),
    "too many": (
        {"addresses": [f"10.9.0.{i}/24" for i in range(3, 30)]}, ("addresses", "28", "give fewer")
    ),
    "twice": ({"addresses": ["10.9.0.2/24"]}, ("address", "10.9.0.2/24", "give it once")),
    "gateway no address": ({"gateway": "router"}, ("gateway", "'router'", "10.9.0.1")),
    "gateway far": ({"gateway": "10.8.0.1"}, ("gateway", "10.8.0.1", "neighbour")),
    "gateway ours": ({"gateway": "10.9.0.2"}, ("gateway", "10.9.0.2", "router")),
    "profile": ({"profile": "bsd"}, ("profile", "'bsd'", "linux, rfc")),
    "setting misspelt": (
        {"settings": {"tcp.syn_retry": 1}}, ("setting", "'tcp.syn_retry'", "'tcp.syn_retries'")
    ),
    "setting unknown": ({"settings": {"zzz": 1}}, ("setting", "'zzz'", "ustack.settings()")),
    "setting too big": ({"settings": {"tcp.sack": 2}}, ("tcp.sack", "got 2", "0..1")),
    "ports reversed": (
        {"settings": {"tcp.port_min": 50000, "tcp.port_max": 40000}},
        ("tcp.port_min", "50000", "tcp.port_max (40000)"),
    ),
    "buffer over its maximum": (
        {"settings": {"tcp.rmem_max": 4096}},
        ("tcp.rmem", "131072", "tcp.rmem_max (4096)"),
    ),
    "nothing left for data": (
        {"settings": {"mbuf.small": 128}},
        ("mbuf.small", "got 128", "lower mbuf.reserve"),
    ),
    "setting no number": ({"settings": {"tcp.sack": "on"}}, ("tcp.sack", "'on'", "0..1")),
    "spin": ({"spin": -1}, ("spin", "got -1", "0..10 seconds")),
    "seed": ({"seed": 1 << 64}, ("seed", str(1 << 64), "fewer bits")),
    "secret": ({"secret": b"short"}, ("secret", "got 5", "os.urandom")),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_a_bad_configuration_is_named_with_its_value_and_its_cure(case: str) -> None:
    options, names = BAD[case]
    with pytest.raises(ConfigError) as caught:
        Stack(io=ring_url(), **(GOOD | options))
    message = str(caught.value)
    assert all(name in message for name in names), message
    assert "\n" not in message


def test_a_stack_that_fails_leaves_its_port(monkeypatch: pytest.MonkeyPatch) -> None:
    url = ring_url()
    for _ in range(3):  # a ring has two sides
        with pytest.raises(ConfigError):
            Stack(io=url, **(GOOD | {"addresses": ["10.9.0.2/24"]}))
    Stack(io=url, **GOOD).close(linger=0)


def test_settings_can_be_read_and_the_live_ones_changed(stack: Stack) -> None:
    assert stack.get("tcp.max_tcbs") == stack.settings["tcp.max_tcbs"] == SMALL["tcp.max_tcbs"]
    stack.set("tcp.syn_retries", 2)
    stack.settings["tcp.retries2"] = 5
    assert stack.get("tcp.syn_retries") == 2
    assert dict(stack.settings)["tcp.retries2"] == 5
    assert len(stack.settings) == len(ustack.settings())
    with pytest.raises(KeyError):
        stack.get("tcp.nothing")
    with pytest.raises(ConfigError, match=r"tcp\.max_tcbs is fixed.*128"):
        stack.set("tcp.max_tcbs", 128)
    with pytest.raises(ConfigError, match=r"0\.\.127"):
        stack.set("tcp.syn_retries", 128)


def test_the_profiles_differ_where_linux_leaves_the_rfcs() -> None:
    linux, rfc = ustack.settings(), ustack.settings("rfc")
    assert linux.keys() == rfc.keys()
    assert rfc["tcp.rto_min_ms"].value == 1000  # RFC 6298 2.4
    assert linux["tcp.rto_min_ms"].value == 200
    for row in linux.values():
        assert row.min <= row.number(row.value) <= row.max
        assert row.help


def test_one_seed_and_secret_give_one_isn() -> None:
    def first_isn(**entropy: Any) -> int:
        with Pair(**entropy) as pair:
            pair.listen()
            return pair.begin().tcp_info().iss

    # The ISN also counts time (RFC 6528), 4 us a step: the runs are less than 10 s apart.
    same = {"seed": 1, "secret": bytes(range(32))}
    distance = (first_isn(**same) - first_isn(**same)) % (1 << 32)
    assert min(distance, (1 << 32) - distance) < 10_000_000 / 4


def test_counters_have_every_name_once(stack: Stack) -> None:
    counters = stack.counters()
    assert all(isinstance(value, int) for value in counters.values())
    assert {"port.rx_frames", "worker.rounds"} <= counters.keys()


def test_counters_and_usage_follow_a_connection() -> None:
    with Pair() as pair:
        idle = pair.server.usage()
        near, far = pair.connect()
        near.send(b"x")
        pair.pump()
        assert pair.server.usage()["tcbs"] == idle["tcbs"] + 1
        assert pair.server.counters()["port.rx_frames"] > 0
        assert idle["tcbs_max"] == SMALL["tcp.max_tcbs"]
        far.close()
        near.close()
        pair.pump()
        assert pair.server.usage()["tcbs"] == idle["tcbs"]


def test_ten_thousand_connections_leave_nothing_but_time_wait() -> None:
    with Pair(settings=SMALL | {"tcp.max_tw_buckets": 10_000}) as pair:
        listener = pair.listen()
        for _ in range(10_000):
            near = pair.begin()
            pair.pump()
            far, _ = listener.accept()
            near.send(b"ping")
            pair.pump()
            assert far.recv(10) == b"ping"
            near.close()
            pair.pump()
            far.close()
            pair.pump()
        listener.close()
        for usage in (pair.client.usage(), pair.server.usage()):
            used = {name for name in usage if usage.get(f"{name}_max") and usage[name]}
            assert used <= {"timewaits", "neighs"}
            assert usage["timers"] <= usage["timewaits"] + usage["neighs"]
            assert usage["flows"] == usage["timewaits"]
        assert pair.client.usage()["timewaits"] == 10_000


def test_a_port_of_several_queues_loses_no_flow() -> None:
    """One worker serves one queue, so all frames must come by that."""
    with Pair("?queues=4") as pair:
        for port in range(80, 100):
            near, far = pair.connect(port)
            assert near.send(b"there") == 5
            pair.pump()
            assert far.recv(10) == b"there"


def test_a_closed_stack_says_so(stack: Stack) -> None:
    stack.close()
    stack.close()
    assert stack.closed
    for call in (stack.counters, stack.usage, stack.run_once):
        with pytest.raises(UstackError, match="closed"):
            call()


def test_a_route_leads_by_way_of_a_neighbour() -> None:
    with Pair(gateway=None) as pair:
        pair.client.add_route("192.0.2.0/24", "10.9.0.1")
        pair.server.add_address("192.0.2.1/24")
        listener = pair.server.listen(("192.0.2.1", 80))
        near = pair.client.socket()
        near.setblocking(False)
        assert near.connect_ex(("192.0.2.1", 80)) == 115
        pair.pump()
        assert near.tcp_info().state_name == "ESTABLISHED"
        listener.setblocking(False)
        assert listener.accept()[1][0] == "10.9.0.2"


def test_a_stack_tells_its_address_and_mtu(stack: Stack) -> None:
    assert list(map(str, stack.addresses)) == ["10.9.0.2/24"]
    assert stack.mtu == 1500
    assert len(bytes.fromhex(stack.mac.replace(":", ""))) == 6
    assert "10.9.0.2/24" in repr(stack)
