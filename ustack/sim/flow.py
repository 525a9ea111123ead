# SPDX-License-Identifier: BSD-3-Clause
"""One piece of work in a simulation, as it goes on: figures, and samples over virtual time."""

import statistics
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ustack._native import check, ffi, lib
from ustack.sim.conditions import NS
from ustack.tcp_info import TcpInfo

if TYPE_CHECKING:
    from ustack.sim.network import Network
    from ustack.sim.nodes import Host

__all__ = ["Flow", "Samples"]

START = NS  # as in nodes.py
_NOT_SET = 0xFFFFFFFF


@dataclass(slots=True)
class Samples:
    """A flow over time, a list for each figure; the i-th of all were taken together.

    time, srtt: seconds. cwnd, ssthresh (None: not set), in_flight: bytes, of the sender.
    delivered: bytes that the end which reads more has read; sent: bytes sent, with
    retransmissions; rexmts: segments sent again. All three are counted from the beginning.
    """

    time: list[float] = field(default_factory=list)
    cwnd: list[int] = field(default_factory=list)
    ssthresh: list[int | None] = field(default_factory=list)
    in_flight: list[int] = field(default_factory=list)
    srtt: list[float] = field(default_factory=list)
    delivered: list[int] = field(default_factory=list)
    sent: list[int] = field(default_factory=list)
    rexmts: list[int] = field(default_factory=list)

    def throughput(self) -> list[float]:
        """Return bits per second read between each sample and the one before; 0 for the first."""
        pairs = zip(self.time, self.delivered, strict=True)
        out, last = [], None
        for time, bytes_read in pairs:
            rate = 0.0
            if last is not None and time > last[0]:
                rate = 8 * (bytes_read - last[1]) / (time - last[0])
            out.append(rate)
            last = (time, bytes_read)
        return out


class Flow:
    """A client and a server that talk; made by Network.bulk() and Network.requests()."""

    def __init__(
        self, net: "Network", raw: Any, number: int, name: str, ends: "tuple[Host, Host]"
    ) -> None:
        self.net, self.number, self.name = net, number, name
        self.client, self.server = ends
        self.samples: Samples | None = None  # what Network.sample() collects
        self._sim = raw
        self._info = ffi.new("struct ust_tcp_info *")
        self._last: TcpInfo | None = None

    def _stats(self) -> Any:
        stats = ffi.new("struct ust_sim_flow_stats *")
        check(lib.ust_sim_flow_stats(self._sim, self.number, stats), f"flow {self.name}")
        return stats

    @property
    def bytes_to_server(self) -> int:
        """Bytes that the server has read."""
        return int(self._stats().to_server)

    @property
    def bytes_to_client(self) -> int:
        """Bytes that the client has read."""
        return int(self._stats().to_client)

    @property
    def done(self) -> int:
        """Requests that have been answered."""
        return int(self._stats().done)

    @property
    def connected(self) -> float | None:
        """When the client was connected, in seconds; None: not yet."""
        return self._seconds(self._stats().connected)

    @property
    def finished(self) -> float | None:
        """When the server had read the last byte, or the flow failed; None: not yet."""
        return self._seconds(self._stats().finished)

    @property
    def error(self) -> int:
        """The errno that ended the flow; 0: none."""
        return -int(self._stats().error)

    @property
    def goodput(self) -> float:
        """Bits per second that one end has read, whichever reads more, while connected."""
        stats = self._stats()
        end = stats.finished or self.net.now_ns
        if not stats.connected or end <= stats.connected:
            return 0.0
        return float(8 * max(stats.to_server, stats.to_client) * NS / (end - stats.connected))

    @property
    def rexmts(self) -> int:
        """Segments that either end has sent again."""
        return int(self._stats().rexmts)

    @property
    def latencies(self) -> list[float]:
        """Seconds from each request to its answer."""
        count = int(self._stats().n_latencies)
        raw = ffi.new("uint64_t[]", max(count, 1))
        got = lib.ust_sim_latencies(self._sim, self.number, raw, count)
        return [ns / NS for ns in ffi.unpack(raw, got)] if got else []

    def info(self) -> TcpInfo | None:
        """Return what the client's engine knows of the connection; when it is gone, the last."""
        handle = self._stats().client
        if handle and lib.ust_tcp_info(self.client.engine, handle, self._info) == 0:
            self._last = TcpInfo.read(self._info)
        return self._last

    @property
    def window(self) -> int:
        """The client's cwnd, in bytes; 0 before there is one."""
        info = self.info()
        return info.cwnd if info else 0

    def server_info(self) -> TcpInfo | None:
        """Return what the server's engine knows of the connection; None when it is gone."""
        handle = self._stats().server
        if not handle or lib.ust_tcp_info(self.server.engine, handle, self._info) < 0:
            return None
        return TcpInfo.read(self._info)

    def take_sample(self) -> None:
        """Append what the flow is like now to its samples, if it is under way."""
        stats, raw = self._stats(), self._info
        if self.samples is None or not stats.connected or not stats.client:
            return
        if lib.ust_tcp_info(self.client.engine, stats.client, raw) < 0:
            return
        s = self.samples
        s.time.append(self.net.now)
        s.cwnd.append(raw.cwnd)
        s.ssthresh.append(None if raw.ssthresh == _NOT_SET else raw.ssthresh)
        s.in_flight.append((raw.snd_max - raw.snd_una) & 0xFFFFFFFF)
        s.srtt.append(raw.srtt_us / 1e6)
        s.delivered.append(max(stats.to_server, stats.to_client))
        s.sent.append(raw.bytes_sent)
        s.rexmts.append(raw.total_retrans)

    def median_rtt(self) -> float:
        """Return the median of the sampled smoothed round-trip times, in seconds."""
        return statistics.median(self.samples.srtt) if self.samples and self.samples.srtt else 0.0

    def _seconds(self, at: int) -> float | None:
        return (at - START) / NS if at else None

    def __repr__(self) -> str:
        return f"<Flow {self.name} {self.client.name}>{self.server.name}>"
