# SPDX-License-Identifier: BSD-3-Clause
"""A port as Python holds it, and how one is opened."""

import errno
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from ustack import _native
from ustack._addressing import Interface, parse_interface
from ustack._native import check, ffi, lib
from ustack.errors import PortError
from ustack.io.tap import attach, open_tap
from ustack.io.url import LoopUrl, PortUrl, RingUrl, parse_url

__all__ = ["Port", "PortInfo", "PortStats", "open_port", "ring_pair"]

#: What a ring does for an engine: its wire breaks no bits and carries 64 KiB.
OFFLOAD: int = (
    lib.UST_CAP_RX_CSUM | lib.UST_CAP_TX_CSUM | lib.UST_CAP_TSO | lib.UST_CAP_LRO | lib.UST_CAP_USO
)

_FRAME_MAX = 14 + 65535


@dataclass(frozen=True)
class PortInfo:
    """What a port is."""

    mac: bytes  # our address on the wire
    n_queues: int
    mtu: int  # bytes of an IP packet, without Ethernet header
    caps: int  # lib.UST_CAP_*
    link_up: bool  # False when the other side is gone
    runs: bool  # one system call may move many frames (tap, by io_uring)


@dataclass(frozen=True)
class PortStats:
    """What went through a port since it was opened, over all queues."""

    rx_frames: int
    rx_bytes: int
    tx_frames: int
    tx_bytes: int
    rx_no_mbuf: int  # dropped: the pool was empty
    rx_bad: int  # dropped: the peer wrote nonsense
    rx_stale: int  # skipped: they were for the queue's previous worker
    tx_full: int  # times a burst did not fit
    tx_errors: int  # dropped: the frame was refused
    tx_lost: int  # dropped: nobody serves the queue that they were for, and it is full
    wakes: int  # doorbells rung for a sleeping peer
    syscalls: int  # data-path system calls (tap)
    runs: int  # those of them that moved many frames, or would have


class Port:
    """An open port. It owns the C one; a context manager."""

    def __init__(
        self, handle: Any, name: str, fds: Iterable[int] = (), queue: int | None = None
    ) -> None:
        """handle: a `struct ust_port *`, which this object owns from now on. name: for messages.

        fds: a tap's descriptors, one a queue, which belong to the handle. queue: the only one that
        is ours, of several; None: all are.
        """
        self._handle = handle
        self._name = name
        self.queue, self.shared = queue or 0, queue is not None
        self._fds = list(fds)
        self._worker: Any = None

    @property
    def handle(self) -> Any:
        """The `struct ust_port *`, for calls into C; ValueError when the port is closed."""
        if self._handle is None:
            why = f" ({_native.FORKED})" if _native.forked else ""
            raise ValueError(f"port {self._name} is closed{why}")
        return self._handle

    @property
    def info(self) -> PortInfo:
        """What the port is, as of now."""
        raw = ffi.new("struct ust_port_info *")
        lib.ust_port_info(self.handle, raw)
        return PortInfo(
            bytes(raw.mac), raw.n_queues, raw.mtu, raw.caps, bool(raw.link_up), bool(raw.runs)
        )

    def stats(self) -> PortStats:
        """What went through it so far."""
        raw = ffi.new("struct ust_port_stats *")
        lib.ust_port_stats(self.handle, raw)
        return PortStats(**{name: getattr(raw, name) for name in PortStats.__annotations__})

    def capture(self, path: str | Path, max_frames: int = 0, snaplen: int = 0) -> None:
        """Write all frames to a pcapng file from now on; before an engine has the port.

        max_frames: stop after so many; snaplen: bytes to keep of each; 0 is no limit. Raises
        PortError when the file cannot be written.
        """
        err = ffi.new("int *")
        wrapped = lib.ust_pcap_open(self.handle, os.fsencode(path), max_frames, snaplen, err)
        if wrapped == ffi.NULL:
            text = os.strerror(-err[0])
            raise PortError(
                f"cannot capture to {os.fspath(path)!r}: {text}; give another path", -err[0]
            )
        self._handle = wrapped

    def set_rss(self, key: bytes | None = None, table: Iterable[int] | None = None) -> None:
        """Change how a ring spreads the frames that this side receives.

        key: 40 bytes of Toeplitz key. table: a power of two of queue numbers.
        """
        if key is not None and len(key) != 40:
            raise ValueError(f"RSS key must be 40 bytes, got {len(key)}")
        queues = None if table is None else list(table)
        check(
            lib.ust_ring_rss(
                self.handle,
                ffi.NULL if key is None else key,
                ffi.NULL if queues is None else ffi.new("uint16_t[]", queues),
                0 if queues is None else len(queues),
            ),
            f"RSS of {self._name}",
        )

    def receive_on(self, n: int) -> None:
        """Let all frames arrive on the first n queues, n a power of two; before any capture."""
        if self._fds:
            attach(self._fds, n)
        else:
            self.set_rss(table=range(n))

    def send(self, frame: bytes, queue: int = 0) -> bool:
        """Send one raw frame; whether there was room. For tests: no engine may use the queue."""
        result = lib.ust_port_send_raw(self.handle, queue, frame, len(frame))
        if result == -errno.EAGAIN:
            return False
        check(result, f"frame to {self._name}")
        return True

    def recv(self, queue: int = 0) -> bytes | None:
        """Take one raw frame, None if there is none. For tests: no engine may use the queue."""
        size = _FRAME_MAX
        raw = ffi.new("uint8_t[]", size)
        result = lib.ust_port_recv_raw(self.handle, queue, raw, size)
        if result == -errno.EAGAIN:
            return None
        return bytes(ffi.buffer(raw, check(result, f"frame from {self._name}")))

    def serve(self, worker: Any) -> None:
        """Remember the `struct ust_worker *` that uses it, to end that first."""
        lib.ust_worker_hold(worker)
        self._worker = worker

    def close(self) -> None:
        """Leave the wire and free everything. Closing twice is harmless."""
        worker, self._worker = self._worker, None
        if worker is not None:
            lib.ust_worker_free(worker)
        handle, self._handle = self._handle, None
        if handle is not None:
            lib.ust_port_close(handle)

    def abandon(self) -> None:
        """Leave it to the parent: in the child of a fork. Only our descriptors are closed."""
        self.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def __del__(self) -> None:
        # A module that is being torn down may have lost lib; the process ends anyway.
        if getattr(self, "_handle", None) is not None and lib is not None:
            self.close()

    def __str__(self) -> str:
        return self._name

    def __repr__(self) -> str:
        return f"<ustack.io.Port {self._name}{'' if self._handle else ' (closed)'}>"


def open_port(url: str | PortUrl, *, addresses: Iterable[str | Interface] = ()) -> Port:
    """Open the port that a URL names.

    addresses: ours, as CIDRs; a tap derives the kernel's addresses from them.

    Raises ConfigError for a URL that cannot be, PortError for a port that cannot be opened.
    """
    if isinstance(url, str):
        url = parse_url(url)
    if isinstance(url, RingUrl):
        return _open_ring(url)
    if isinstance(url, LoopUrl):
        return _open_null(url)
    interfaces = [parse_interface(a) if isinstance(a, str) else a for a in addresses]
    handle, fds = open_tap(url, interfaces)
    return Port(handle, str(url), fds)


def ring_pair(
    n_queues: int = 1, mtu: int = 1500, n_slots: int = 0, caps: int = OFFLOAD
) -> tuple[Port, Port]:
    """Return two ports of this process, joined by a wire. n_slots: a power of two; 0: 1024."""
    ends = ffi.new("struct ust_port *[2]")
    check(lib.ust_ring_pair(ends, n_queues, mtu, n_slots, caps), "ring pair")
    return Port(ends[0], "ring pair, side 0"), Port(ends[1], "ring pair, side 1")


def _open_null(url: LoopUrl) -> Port:
    err = ffi.new("int *")
    handle = lib.ust_null_open(err)
    if handle == ffi.NULL:
        raise PortError(f"cannot open {url}: {os.strerror(-err[0])}; see errno(3)", -err[0])
    return Port(handle, str(url))


def _open_ring(url: RingUrl) -> Port:
    err = ffi.new("int *")
    caps = OFFLOAD if url.offload else 0
    share = url.side, url.queue
    handle = lib.ust_ring_open(url.name.encode(), *share, url.queues, url.mtu, 0, caps, err)
    if handle != ffi.NULL:
        return Port(handle, str(url), queue=None if url.queue < 0 else url.queue)
    taken = "both sides are taken" if url.side < 0 else f"side {url.side} is taken"
    if url.queue >= 0:
        taken = f"queue {url.queue} of side {url.side} is taken"
    why = {
        errno.EADDRINUSE: f"{taken}; end one of their processes or take another name",
        errno.EINVAL: f"the other side has other parameters than queues={url.queues},"
        f" mtu={url.mtu}, offload={url.offload:d}; use the same on both sides",
        errno.EACCES: "its file in /dev/shm belongs to another user; take another name",
        errno.ENOSPC: "/dev/shm has no room for it; make it larger (docker: --shm-size=256m)",
    }
    reason = why.get(-err[0], os.strerror(-err[0]) + "; see errno(3)")
    raise PortError(f"cannot open {url}: {reason}", -err[0])
