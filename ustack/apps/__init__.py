# SPDX-License-Identifier: BSD-3-Clause
"""Programs on ustack, each short; `ustack serve` runs them."""
