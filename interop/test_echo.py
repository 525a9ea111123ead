# SPDX-License-Identifier: BSD-3-Clause
"""Linux pings us, in whole packets and in fragments; traceroute and tracepath find us."""

import pytest

from netlab import OURS, run, stack

pytestmark = pytest.mark.usefixtures("way")


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("size", [1, 1472, 20_000])
def test_linux_gets_its_pings_back(version: int, size: int) -> None:
    with stack() as ours:
        said = run("ping", "-n", f"-{version}", "-c5", "-i0.01", "-W5", "-s", size, OURS[version])
        assert "5 received" in said and "0% packet loss" in said
        counters = ours.counters()
        assert counters["icmp.in.echo"] == counters["icmp.out.echo"] == 5
        assert (counters["frag.ok"] > 0) == (size + 8 + 20 * version // 4 > 1500)


@pytest.mark.parametrize("version", [4, 6])
def test_tracepath_reaches_us_and_sees_the_mtu(version: int) -> None:
    with stack() as ours:
        said = run("tracepath", "-n", f"-{version}", OURS[version])
        assert OURS[version] in said and "reached" in said and "pmtu 1500" in said
        assert ours.counters()["icmp.out.unreach"] > 0


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("probe", ["-I", "-U", "-T"])
def test_traceroute_reaches_us(version: int, probe: str) -> None:
    with stack():
        said = run("traceroute", "-n", f"-{version}", probe, "-w1", "-q1", "-m3", OURS[version])
        assert said.splitlines()[-1].split()[1] == OURS[version], said
