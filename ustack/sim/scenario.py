# SPDX-License-Identifier: BSD-3-Clause
"""Scenarios: networks described in TOML, with units, and errors that name what is wrong.

    title = "One flow through a deep queue"
    duration = "60 s"
    hosts.a = {}
    hosts.b = {}
    [[links]]
    between = ["a", "b"]
    rate = "10 Mbit/s"
    delay = "25 ms"
    [[flows]]
    kind = "bulk"
    from = "a"
    to = "b"

docs/sim.md lists every key. Numbers without a unit are seconds, bytes and bits per second. A host
with count = 8 stands for eight, named a1 … a8; names in links and flows may hold * to mean several.
"""

import difflib
import fnmatch
import tomllib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ustack.errors import ConfigError
from ustack.sim.conditions import CoDel, Conditions, DropTail, Gilbert
from ustack.sim.network import Network
from ustack.sim.nodes import Host, Link, Switch
from ustack.sim.table import Table, chance, flag, integer, rate, seconds, size, text

__all__ = ["SCENARIOS", "Scenario", "load", "ready"]

#: Where the ready scenarios are.
SCENARIOS = Path(__file__).parent / "scenarios"

_CONDITIONS: dict[str, Callable[[str, Any], Any]] = {
    "rate": rate,
    "delay": seconds,
    "jitter": seconds,
    "keep_order": flag,
    "duplicate": chance,
    "reorder": chance,
    "reorder_delay": seconds,
    "corrupt": chance,
    "mtu": integer,
    "too_big_from": text,
    "up": flag,
}


@dataclass(frozen=True, slots=True)
class Scenario:
    """A description that has been read; build() makes the network of it.

    duration, interval (of samples): seconds.
    """

    name: str
    file: str
    title: str
    seed: int
    duration: float
    interval: float
    table: dict[str, Any]

    def build(self, seed: int | None = None) -> Network:
        """Return the network, with its flows and samples about to begin."""
        top = Table(self.file, self.table)
        for key in ("title", "seed", "duration", "sample"):
            top.take(key, None, lambda _where, value: value)
        settings = top.take("settings", {}, _mapping)
        net = Network(
            self.seed if seed is None else seed, profile=top.take("profile", "linux", text)
        )
        _add_hosts(net, top, settings)
        for name in top.take("switches", [], _strings):
            net.switch(name)
        for table in top.tables("links"):
            _add_links(net, table)
        for table in top.tables("flows"):
            _add_flows(net, table)
        for table in top.tables("events"):
            _add_event(net, table)
        top.finish()
        net.sample(self.interval)
        return net


def ready() -> dict[str, Path]:
    """Return the ready scenarios: their files by name."""
    return {path.stem: path for path in sorted(SCENARIOS.glob("*.toml"))}


def load(name: str) -> Scenario:
    """Read a scenario: a file, or the name of a ready one.

    Raises ConfigError when there is none or when it makes no sense.
    """
    path = ready().get(name, Path(name))
    try:
        table = tomllib.loads(path.read_text())
    except FileNotFoundError:
        near = difflib.get_close_matches(name, ready(), 1)
        hint = f"did you mean {near[0]!r}?" if near else f"give a file, or {', '.join(ready())}"
        raise ConfigError(f"there is no scenario {name!r}; {hint}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: {error}") from None
    top = Table(path.name, table)
    duration = top.take("duration", 60.0, seconds)
    scenario = Scenario(
        path.stem,
        path.name,
        top.take("title", path.stem, text),
        top.take("seed", 1, integer),
        duration,
        top.take("sample", duration / 600, seconds),
        table,
    )
    if duration <= 0 or scenario.interval <= 0:
        raise ConfigError(f"{path.name}: duration and sample must be greater than 0 seconds")
    return scenario


# ------------------------------------------------------------------------------------- parts


def _add_hosts(net: Network, top: Table, settings: dict[str, Any]) -> None:
    hosts = top.take("hosts", {}, _mapping)
    for name, values in hosts.items():
        table = Table(f"{top.where}: hosts.{name}", _mapping(f"hosts.{name}", values))
        count = table.take("count", 0, integer)
        options = {
            "settings": settings | table.take("settings", {}, _mapping),
            "profile": table.take("profile", None, text),
            "mtu": table.take("mtu", 1500, integer),
        }
        address = table.take("address", None, text)
        table.finish()
        if count and address:
            raise ConfigError(f"{table.where}: many hosts cannot share one address; leave it out")
        for host in [f"{name}{i + 1}" for i in range(count)] or [name]:
            with table.blame():
                net.host(host, address, **options)


def _add_links(net: Network, table: Table) -> None:
    between = table.need("between", _strings)
    if len(between) != 2:
        raise ConfigError(f"{table.where}: between must be two names, got {between!r}")
    vary = table.take("vary", None, _mapping)
    back = table.take("back", None, _mapping)
    conditions = _conditions(table, Conditions())
    backward = Table(f"{table.where}.back", back or {})
    opposite = _conditions(backward, conditions)
    backward.finish()
    table.finish()
    differing = {f: getattr(opposite, f) for f in Conditions.__dataclass_fields__}
    for a in _nodes(net, table, between[0], Switch):
        for b in _nodes(net, table, between[1], Switch):
            with table.blame():
                link = net.link(a, b, conditions, back=differing)
            if vary is not None:
                _vary(net, link, Table(f"{table.where}.vary", vary))


def _vary(net: Network, link: Link, table: Table) -> None:
    every = table.need("every", seconds)
    low, high = table.need("low", rate), table.need("high", rate)
    table.finish()
    if not 0 < low <= high or every <= 0:
        raise ConfigError(f"{table.where}: every must be greater than 0, and 0 < low <= high")
    net.vary(link, every, low, high)


def _conditions(table: Table, base: Conditions) -> Conditions:
    """Return base with what the table says."""
    values = {
        key: table.take(key, getattr(base, key), convert) for key, convert in _CONDITIONS.items()
    }
    values["loss"] = table.take("loss", base.loss, _loss)
    values["queue"] = table.take("queue", base.queue, _queue)
    with table.blame():
        return Conditions(**values)


def _loss(where: str, value: Any) -> float | Gilbert:
    if not isinstance(value, dict):
        return chance(where, value)
    table = Table(where, value)
    loss = Gilbert(
        table.need("to_bad", chance),
        table.need("to_good", chance),
        table.take("good", 0.0, chance),
        table.take("bad", 1.0, chance),
    )
    table.finish()
    return loss


def _queue(where: str, value: Any) -> DropTail | CoDel:
    table = Table(where, _mapping(where, value))
    kind = table.take("kind", "drop-tail", text)
    queue: DropTail | CoDel
    if kind == "codel":
        queue = CoDel(
            table.take("target", 0.005, seconds),
            table.take("interval", 0.1, seconds),
            table.take("ecn", False, flag),
            table.take("frames", 1000, integer),
        )
    elif kind == "drop-tail":
        bytes_ = table.take("bytes", None, size)
        frames = table.take("frames", None if bytes_ else 1000, integer)
        queue = DropTail(frames, bytes_, table.take("mark", None, size))
    else:
        raise ConfigError(f"{where}.kind must be 'drop-tail' or 'codel', got {kind!r}")
    table.finish()
    return queue


def _add_flows(net: Network, table: Table) -> None:
    kind = table.take("kind", "bulk", text)
    clients = _nodes(net, table, table.need("from", text), Host)
    servers = _nodes(net, table, table.need("to", text), Host)
    options: dict[str, Any] = {
        "start": table.take("start", 0.0, seconds),
        "stop": table.take("stop", None, seconds),
        "congestion": table.take("congestion", None, text),
    }
    if kind == "bulk":
        options["bytes"] = table.take("bytes", None, size)
    elif kind == "requests":
        for key, default in (("request", 100), ("response", 1000)):
            options[key] = table.take(key, default, size)
        options["count"] = table.take("count", None, integer)
        options["period"] = table.take("period", 0.0, seconds)
    else:
        raise ConfigError(f"{table.where}.kind must be 'bulk' or 'requests', got {kind!r}")
    name = table.take("name", None, text)
    stagger = table.take("stagger", 0.0, seconds)
    table.finish()
    pairs = [(a, b) for a in clients for b in servers if a is not b]
    for i, (a, b) in enumerate(pairs):
        options["name"] = name and name + (str(i + 1) if len(pairs) > 1 else "")
        with table.blame():
            start = options["start"] + i * stagger
            assert isinstance(a, Host) and isinstance(b, Host)
            getattr(net, kind)(a, b, **options | {"start": start})


def _add_event(net: Network, table: Table) -> None:
    """At a time, one link's conditions change."""
    at, name = table.need("at", seconds), table.need("link", text)
    links = [link for link in net.links if fnmatch.fnmatch(link.name, name)]
    if not links:
        known = ", ".join(link.name for link in net.links)
        raise ConfigError(f"{table.where}: there is no link {name!r}; there are {known}")
    down = table.take("down", None, seconds)
    keys = [key for key in (*_CONDITIONS, "loss", "queue") if key in table]
    changed = _conditions(table, Conditions())
    table.finish()
    values = {key: getattr(changed, key) for key in keys}

    def happen() -> None:
        for link in links:
            link.change(**values)
            if down is not None:
                link.down(down)

    net.at(at, happen)


def _nodes(net: Network, table: Table, pattern: str, kind: type[Switch]) -> list[Switch]:
    """Return the nodes of these names; an error if there is none."""
    found = [
        node
        for name, node in net.nodes.items()
        if fnmatch.fnmatchcase(name, pattern) and isinstance(node, kind)
    ]
    if not found:
        what = "host" if kind is Host else "host or switch"
        raise ConfigError(
            f"{table.where}: there is no {what} {pattern!r}; there are {', '.join(net.nodes)}"
        )
    return found


def _mapping(where: str, value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ConfigError(f"{where} must be a table, got {value!r}")
    return value


def _strings(where: str, value: Any) -> list[str]:
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise ConfigError(f"{where} must be a list of names, got {value!r}")
    return value
