# SPDX-License-Identifier: BSD-3-Clause
"""All that is known of what UDP sockets do, for the kernel's and for ours; see udp_hosts.py."""

import udp_data
import udp_names
import udp_states
from udp_hosts import BEHAVIOURS, cases, perform

__all__ = ["BEHAVIOURS", "cases", "perform", "udp_data", "udp_names", "udp_states"]
