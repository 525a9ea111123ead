# SPDX-License-Identifier: BSD-3-Clause
"""What transports are to isinstance(): asyncio's own classes.

They are C types of another layout, so they cannot inherit; their __class__ says these instead.
"""

import asyncio

__all__ = ["Datagrams", "Stream"]


class Stream(asyncio.Transport):
    """A connection of a stack."""

    __slots__ = ()


class Datagrams(asyncio.DatagramTransport, asyncio.Transport):
    """A UDP socket of a stack; asyncio's own is both, too."""

    __slots__ = ()
