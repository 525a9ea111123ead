# SPDX-License-Identifier: BSD-3-Clause
"""Linux's sysctls as the engine's settings, and those that the suites' `defaults.sh` sets."""

from __future__ import annotations

from collections.abc import Iterator

from ustack._native import lib

__all__ = ["BUFFERS", "DEFAULTS", "engine_settings"]

#: Buffers that scripts of every origin fit into; also where no defaults.sh is called.
BUFFERS = {
    "net.ipv4.tcp_rmem": "4096 540000 15728640",
    "net.ipv4.tcp_wmem": "4096 262144 4194304",
}
DEFAULTS = BUFFERS | {
    "net.ipv4.tcp_timestamps": "1",
    "net.ipv4.tcp_syn_retries": "5",
    "net.ipv4.tcp_synack_retries": "5",
    "net.ipv4.tcp_frto": "2",
    "net.ipv4.tcp_sack": "1",
    "net.ipv4.tcp_dsack": "1",
    "net.ipv4.tcp_reordering": "3",
    "net.ipv4.tcp_congestion_control": "cubic",
    "net.ipv4.tcp_slow_start_after_idle": "0",
    "net.ipv4.tcp_early_retrans": "3",
    "net.ipv4.tcp_recovery": "1",
    "net.ipv4.tcp_ecn": "0",
    "net.ipv4.tcp_pacing_ss_ratio": "200",
    "net.ipv4.tcp_pacing_ca_ratio": "120",
    "net.ipv4.tcp_fastopen": "1027",
    "net.ipv4.tcp_syncookies": "1",
}

# sysctl → the engine's setting, and what to multiply by. "": nothing to set.
_RENAMED = {
    "net.ipv4.tcp_fin_timeout": ("tcp.fin_timeout_ms", 1000.0),
    "net.ipv4.tcp_rto_min_us": ("tcp.rto_min_ms", 0.001),
    "net.ipv4.tcp_rto_max_ms": ("tcp.rto_max_ms", 1.0),
    "net.ipv4.tcp_invalid_ratelimit": ("tcp.invalid_ratelimit_ms", 1.0),
    "net.ipv4.ip_default_ttl": ("ip.default_ttl", 1.0),
    "net.ipv6.conf.all.hop_limit": ("ip6.hop_limit", 1.0),
}


def engine_settings(key: str, value: str) -> Iterator[tuple[str, int]]:
    """The engine's settings that a sysctl stands for, whether there are such or not.

    Raises ValueError for a value that the sysctl cannot have.
    """
    if key in _RENAMED:
        name, factor = _RENAMED[key]
        yield name, round(int(value, 0) * factor)
    elif key in ("net.ipv4.tcp_rmem", "net.ipv4.tcp_wmem"):
        _, usual, most = value.split()
        name = "tcp." + key.rsplit("_", 1)[1]
        yield name + "_max", int(most)
        yield name, int(usual)
    elif key == "net.ipv4.tcp_congestion_control":
        yield "tcp.congestion_control", _congestion_control(value)
    elif key.startswith("net.ipv4.tcp_"):
        yield "tcp." + key.removeprefix("net.ipv4.tcp_"), int(value, 0)


def _congestion_control(name: str) -> int:
    number = getattr(lib, f"UST_CC_{name.upper()}", None)
    if number is None:
        raise ValueError(f"there is no congestion control {name!r}")
    return int(number)
