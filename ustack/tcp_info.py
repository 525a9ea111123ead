# SPDX-License-Identifier: BSD-3-Clause
"""TCP_INFO: what the engine knows about one connection, as a dataclass and as Linux's bytes."""

from dataclasses import dataclass
from typing import Any

from ustack._native import ffi, lib

__all__ = ["STATES", "TcpInfo"]

#: Names of the states by Linux's numbers.
STATES = {
    getattr(lib, f"UST_{name}"): name
    for name in [
        "ESTABLISHED",
        "SYN_SENT",
        "SYN_RECEIVED",
        "FIN_WAIT_1",
        "FIN_WAIT_2",
        "TIME_WAIT",
        "CLOSED",
        "CLOSE_WAIT",
        "LAST_ACK",
        "LISTEN",
        "CLOSING",
    ]
}


@dataclass(frozen=True, slots=True)
class TcpInfo:
    """One connection at one moment; ustack.h says what each field means.

    Times of measurement are in microseconds, windows and buffers in bytes, and the timers
    reo … timewait are deadlines in nanoseconds of the monotonic clock, 0 when not armed.
    """

    state: int
    ca_state: int
    retransmits: int
    probes: int
    backoff: int
    ts_ok: int
    sack_ok: int
    wscale_ok: int
    snd_wscale: int
    rcv_wscale: int
    syn_sent: int
    fin_sent: int
    fin_received: int
    nodelay: int
    congestion: int
    ecn: int
    ecn_seen: int
    iss: int
    irs: int
    snd_una: int
    snd_nxt: int
    snd_max: int
    snd_wnd: int
    rcv_nxt: int
    rcv_wnd: int
    rcv_adv: int
    snd_mss: int
    rcv_mss: int
    advmss: int
    cwnd: int
    ssthresh: int
    rto_us: int
    srtt_us: int
    rttvar_us: int
    min_rtt_us: int
    ato_us: int
    pacing_rate: int
    max_pacing_rate: int
    delivery_rate: int
    rate_app_limited: int
    ts_recent: int
    inq: int
    outq: int
    unsent: int
    ooo_bytes: int
    ooo_ranges: int
    sndbuf: int
    rcvbuf: int
    rcv_charged: int
    bytes_acked: int
    bytes_received: int
    bytes_sent: int
    bytes_retrans: int
    segs_in: int
    segs_out: int
    data_segs_in: int
    data_segs_out: int
    total_retrans: int
    dupacks_in: int
    delivered_ce: int
    received_ce: int
    received_e1_bytes: int
    received_e0_bytes: int
    received_ce_bytes: int
    unacked: int
    sacked: int
    lost: int
    retrans: int
    reordering: int
    reord_seen: int
    delivered: int
    dsack_dups: int
    pmtu: int
    rcv_ssthresh: int
    rcv_rtt_us: int
    rcv_space: int
    rcv_ooopack: int
    last_data_sent_ms: int
    last_data_recv_ms: int
    last_ack_recv_ms: int
    busy_us: int
    rwnd_limited_us: int
    sndbuf_limited_us: int
    total_rto: int
    total_rto_recoveries: int
    total_rto_ms: int
    syn_data: int
    fastopen_fail: int
    reo: int
    tlp: int
    rexmt: int
    persist: int
    delack: int
    keepalive: int
    timewait: int

    @classmethod
    def read(cls, raw: Any) -> "TcpInfo":
        """Return a `struct ust_tcp_info` as a TcpInfo."""
        return cls(*[getattr(raw, name) for name in _FIELDS])

    @property
    def state_name(self) -> str:
        """The state as RFC 9293 spells it, with underscores: "FIN_WAIT_1"."""
        return STATES[self.state]

    def to_linux(self) -> bytes:
        """Return Linux's struct tcp_info, up to tcpi_accecn_opt_seen; what is not known is 0.

        Linux counts windows in segments, ustack in bytes: these are rounded down.
        """
        raw = ffi.new("struct ust_tcp_info *", {name: getattr(self, name) for name in _FIELDS})
        linux = ffi.new("struct ust_linux_tcp_info *")
        lib.ust_tcp_info_to_linux(raw, linux)
        return bytes(ffi.buffer(linux))


_FIELDS = tuple(name for name, _ in ffi.typeof("struct ust_tcp_info").fields)
assert tuple(TcpInfo.__dataclass_fields__) == _FIELDS, "TcpInfo differs from ustack.h"
