"""Guarantee, ceiling and throttle as measured with iperf3; nothing else may run meanwhile."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from contextlib import contextmanager
from dataclasses import replace
from ipaddress import IPv4Address
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest

from hoster_lab.traffic import write_rules
from hoster_lab.wire import GATEWAY, UPLINK, Rented

if TYPE_CHECKING:
    from collections.abc import Iterator

    from hoster_lab.wire import Wire

pytestmark = pytest.mark.alone

SERVER = str(GATEWAY.ip)
FIRST = IPv4Address("203.0.113.20")
WIDE = {"packets_s": 10**7, "burst_packets": 10**6, "bytes_s": 2 * 10**9}
ATTEMPTS = 3
"""Something else on a busy machine takes away from what is measured, and never adds to it."""
LOOKS = """
import json, pathlib, sys, time
counter, seconds = pathlib.Path(sys.argv[1]), float(sys.argv[2])
looks = []
for _ in range(int(6 / seconds) + 1):
    looks.append((time.monotonic(), int(counter.read_text())))
    time.sleep(seconds)
print(json.dumps(looks))
"""
"""When, and how many bytes by then."""
NO_LIMITS = {"packet_filter_limits": {"udp": WIDE, "icmp": WIDE, "arp": WIDE}}


def rented(number: int, **terms: Any) -> Rented:
    return Rented(f"v{number}", FIRST + number, **terms)


@contextmanager
def servers(node: Wire, count: int) -> Iterator[list[int]]:
    """iperf3 servers in the world, each for one test at a time."""
    ports = [6000 + number for number in range(count)]
    started = [node.start(node.world, "iperf3", "-s", "-p", str(port)) for port in ports]
    time.sleep(0.5)
    try:
        yield ports
    finally:
        for process in started:
            process.kill()
            process.communicate()


def flow(node: Wire, vps: Rented, port: int, *options: str) -> subprocess.Popen[str]:
    station = node.station(vps.name)
    return node.start(station, "iperf3", "-J", "-c", SERVER, "-p", str(port), *options)


def goodput(process: subprocess.Popen[str]) -> float:
    """What arrived, in Mbit/s."""
    output, _ = process.communicate(timeout=120)
    answer = json.loads(output)
    assert "error" not in answer, answer["error"]
    return answer["end"]["sum_received"]["bits_per_second"] / 1e6


def pings(node: Wire, vps: Rented, seconds: int) -> float:
    """The mean round trip to a VPS in ms."""
    count = str(seconds * 2)
    said = node.on(node.world, "ping", "-q", "-i", "0.5", "-c", count, str(vps.ipv4), check=False)
    return float(said.rpartition("=")[2].split("/")[1])


@pytest.mark.parametrize("way", [(), ("-R",)], ids=["out", "in"])
def test_each_vps_gets_its_guarantee_though_one_floods_the_uplink(
    node: Wire, way: tuple[str, ...]
) -> None:
    """C4.8: at least 95 Mbit/s of goodput each, and the rest is shared."""
    write_rules(node, **NO_LIMITS, bandwidth_uplink_mbit_s=600)
    node.agent("restore")
    some = [rented(number) for number in range(6)]
    for vps in some:
        node.power_on(vps)
    with servers(node, 6) as ports:
        for _ in range(ATTEMPTS):
            flows = [
                flow(node, vps, port, "-t", "8", *way)
                for vps, port in zip(some[:5], ports, strict=False)
            ]
            flood = flow(node, some[5], ports[5], "-t", "8", "-u", "-b", "600M", *way)
            got = [goodput(one) for one in flows]
            goodput(flood)
            if min(got) >= 95:
                break
        alone = goodput(flow(node, some[0], ports[0], "-t", "4", *way))

    assert [] == [round(rate, 1) for rate in got if rate < 95]
    assert alone > 500


def test_a_new_vps_and_a_new_plan_leave_no_gap_without_limits(node: Wire) -> None:
    """C4.8: a neighbour's guarantee holds while classes come, change and go."""
    write_rules(node, **NO_LIMITS, bandwidth_uplink_mbit_s=300)
    node.agent("restore")
    steady, flooding, coming = rented(0), rented(1), rented(2)
    node.power_on(steady)
    node.power_on(flooding)
    with servers(node, 2) as ports:
        for _ in range(ATTEMPTS):
            flood = flow(node, flooding, ports[1], "-t", "10", "-u", "-b", "600M")
            watched = flow(node, steady, ports[0], "-t", "9", "-i", "1")
            for guaranteed in (50, 150, 100):
                node.power_on(coming)
                node.agent(
                    "vps", "start", stdin=replace(flooding, guaranteed_mbit_s=guaranteed).domain()
                )
                node.agent("restore")
                node.power_off(coming)
            output, _ = watched.communicate(timeout=60)
            flood.communicate(timeout=60)
            every = json.loads(output)["intervals"]
            seconds = [one["sum"]["bits_per_second"] / 1e6 for one in every]
            if min(seconds) >= 85:
                break

    assert [] == [round(rate) for rate in seconds if rate < 85]


@pytest.mark.parametrize(("asked", "seconds"), [(1, 6), (100, 2), (1000, 0.5)])
def test_a_ceiling_is_the_rate_that_is_measured(node: Wire, asked: int, seconds: float) -> None:
    """Within 5 %, counted as the wire carries it.

    The best stretch of *seconds* counts: long enough for the largest packets to even out, short
    enough that nothing else on the machine was in the way of one of them.
    """
    write_rules(node, **NO_LIMITS, bandwidth_uplink_mbit_s=10_000)
    node.agent("restore")
    vps = rented(0, guaranteed_mbit_s=min(asked, 100), ceiling_mbit_s=asked)
    node.power_on(vps)
    with servers(node, 1) as ports:
        for _ in range(ATTEMPTS):
            measured = _sent(node, flow(node, vps, ports[0], "-t", "9", "-P", "4"), seconds)
            if measured >= asked * 0.95:
                break

    assert pytest.approx(asked, rel=0.05) == measured


def _sent(node: Wire, busy: subprocess.Popen[str], seconds: float) -> float:
    """Return what leaves the node while *busy* sends, in Mbit/s, in the best stretch of six s."""
    time.sleep(2)
    counter = f"/sys/class/net/{UPLINK}/statistics/tx_bytes"
    looks = node.on(node.node, sys.executable, "-c", LOOKS, counter, str(seconds))
    busy.kill()
    busy.communicate()
    return max(
        (after - before) * 8 / (ended - began) / 1e6
        for (began, before), (ended, after) in pairwise(json.loads(looks))
    )


def test_tcp_works_at_the_throttle_with_one_flow_and_with_ten(node: Wire) -> None:
    """C4.10: 0.85 to 1.0 Mbit/s over a minute, offloads on, and a ping as quick as ever."""
    one, ten, idle = rented(0, quota_bytes=1), rented(1, quota_bytes=1), rented(2)
    for vps in (one, ten, idle):
        node.power_on(vps)
    with servers(node, 2) as ports:
        flows = [
            flow(node, one, ports[0], "-t", "60"),
            flow(node, ten, ports[1], "-t", "60", "-P", "10"),
        ]
        time.sleep(1)
        path = pings(node, idle, 5)
        slower = [pings(node, vps, 15) - path for vps in (one, ten)]
        got = [goodput(each) for each in flows]

    assert [] == [round(rate, 3) for rate in got if not 0.85 <= rate <= 1.0]
    assert [] == [round(more) for more in slower if more > 300]


def test_inbound_is_not_throttled(node: Wire) -> None:
    """C4.9, C4.10: only what a VPS sends is its volume."""
    vps = rented(0, quota_bytes=1)
    node.power_on(vps)
    with servers(node, 1) as ports:
        # What acknowledges it is outbound, and has the throttle to itself.
        assert goodput(flow(node, vps, ports[0], "-t", "4", "-R")) > 20
