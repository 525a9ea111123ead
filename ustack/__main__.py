# SPDX-License-Identifier: BSD-3-Clause
"""python -m ustack: the command ustack."""

import sys

from ustack.cli import main

sys.exit(main())
