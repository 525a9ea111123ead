# SPDX-License-Identifier: BSD-3-Clause
"""A congestion control in Python: TCP's additive increase and multiplicative decrease.

python3 examples/aimd.py shows its window on a simulated link of 10 Mbit/s and 50 ms. On a running
stack it is one line: ustack.control_congestion(stack, Aimd).
"""

import ustack
from ustack import sim


class Aimd(ustack.CongestionControl):
    """A segment more each round trip; half at a loss. Before the first loss, twice as much."""

    lossless = True

    def on_ack(self, ack: ustack.Ack) -> None:
        if self.lossless:
            self.cwnd += ack.acked
        elif ack.limited:
            self.cwnd += self.mss * ack.acked / self.cwnd

    def on_loss(self, loss: ustack.Loss) -> None:
        self.lossless = False
        self.cwnd = loss.prior_cwnd / 2


if __name__ == "__main__":
    net = sim.Network(seed=1)
    a, b = net.host("a"), net.host("b")
    net.link(a, b, rate=10e6, delay=0.025, queue=sim.DropTail(bytes=60_000))
    flow = net.bulk(a, b, congestion=Aimd)
    net.every(0.5, lambda: print(f"{net.now:5.1f} s  {'#' * (flow.window // 2000)}"))
    net.run(20)
    print(f"{flow.goodput / 1e6:.2f} Mbit/s")
