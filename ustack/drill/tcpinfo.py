# SPDX-License-Identifier: BSD-3-Clause
"""Linux's struct tcp_info as names, for the Python in scripts.

A stack may know only the first part of the structure: what it does not give has no name, so that an
assertion about it fails by name instead of reading a 0.
"""

from __future__ import annotations

import struct
from collections.abc import Callable

from ustack.drill.script import ScriptError, Struct

__all__ = ["CONSTANTS", "compare", "fields"]

# Formats and names in the order of <linux/tcp.h>; what is not told apart has no name.
_HEAD = "state ca_state retransmits probes backoff options wscale flags"
_WORDS = """rto ato snd_mss rcv_mss unacked sacked lost retrans fackets
last_data_sent last_ack_sent last_data_recv last_ack_recv
pmtu rcv_ssthresh rtt rttvar snd_ssthresh snd_cwnd advmss reordering
rcv_rtt rcv_space total_retrans"""
_LONGS = "pacing_rate max_pacing_rate bytes_acked bytes_received"
_MORE = "segs_out segs_in notsent_bytes min_rtt data_segs_in data_segs_out"
_RATES = "delivery_rate busy_time rwnd_limited sndbuf_limited"
_DELIVERED = "delivered delivered_ce"
_BYTES = "bytes_sent bytes_retrans"
_LATER = "dsack_dups reord_seen rcv_ooopack snd_wnd rcv_wnd rehash"
_RTO = "total_rto total_rto_recoveries"  # two of 16 bits
_AFTER = "total_rto_time"
_ACCECN = "received_ce delivered_e1_bytes delivered_e0_bytes delivered_ce_bytes"
_ACCECN3 = "accecn_fail_mode accecn_opt_seen"
_ACCECN2 = "received_e1_bytes received_e0_bytes received_ce_bytes"

_FIELDS: list[tuple[str, str]] = []
for _format, _names in (
    ("B", _HEAD), ("I", _WORDS), ("Q", _LONGS), ("I", _MORE), ("Q", _RATES), ("I", _DELIVERED),
    ("Q", _BYTES), ("I", _LATER), ("H", _RTO), ("I", _AFTER), ("I", _ACCECN), ("I", _ACCECN2),
    ("H", _ACCECN3),
):  # fmt: skip
    _FIELDS += [(_format, name) for name in _names.split()]

#: What else scripts name.
CONSTANTS = {
    "TCP_CA_Open": 0, "TCP_CA_Disorder": 1, "TCP_CA_CWR": 2, "TCP_CA_Recovery": 3,
    "TCP_CA_Loss": 4,
    "TCP_ESTABLISHED": 1, "TCP_SYN_SENT": 2, "TCP_SYN_RECV": 3, "TCP_FIN_WAIT1": 4,
    "TCP_FIN_WAIT2": 5, "TCP_TIME_WAIT": 6, "TCP_CLOSE": 7, "TCP_CLOSE_WAIT": 8,
    "TCP_LAST_ACK": 9, "TCP_LISTEN": 10, "TCP_CLOSING": 11,
    "TCPI_OPT_TIMESTAMPS": 1, "TCPI_OPT_SACK": 2, "TCPI_OPT_WSCALE": 4, "TCPI_OPT_ECN": 8,
    "TCPI_OPT_ECN_SEEN": 16, "TCPI_OPT_SYN_DATA": 32, "TCPI_OPT_USEC_TS": 64,
    "TCP_INFINITE_SSTHRESH": 0x7FFFFFFF,
}  # fmt: skip


def fields(raw: bytes) -> dict[str, int]:
    """The structure's fields as tcpi_…, as many as there are."""
    found: dict[str, int] = {}
    at = 0
    for form, name in _FIELDS:
        size = struct.calcsize("=" + form)
        at += -at % size
        if at + size > len(raw):
            break
        found[f"tcpi_{name}"] = struct.unpack_from("=" + form, raw, at)[0]
        at += size
    _split_bits(found)
    return found


def _split_bits(found: dict[str, int]) -> None:
    scales = found.pop("tcpi_wscale", 0)
    flags = found.pop("tcpi_flags", 0)
    found["tcpi_snd_wscale"], found["tcpi_rcv_wscale"] = scales & 15, scales >> 4
    found["tcpi_delivery_rate_app_limited"] = flags & 1
    found["tcpi_fastopen_client_fail"] = flags >> 1 & 3


def compare(raw: bytes, wanted: object, differs: Callable[[str, object, object], None]) -> None:
    """Compare the fields that a structure of the script names."""
    if not isinstance(wanted, Struct):
        return
    known = fields(raw)
    for name, value in wanted.fields:
        if name not in known:
            raise ScriptError(f"{name} is no field of tcp_info that this stack keeps")
        differs(str(name), value, known[name])
