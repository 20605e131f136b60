"""Nothing passes unfiltered while something happens to the filter: captured throughout."""

from __future__ import annotations

import sys
import threading
import time
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from hoster_lab.errors import LabError
from hoster_lab.traffic import DB, WEB, Case, built, places, read_cases, write_rules, wrong_verdicts

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from hoster_lab.wire import Wire

CASES = read_cases(Path(__file__).parent / "verdicts.yml")
CAPTURE = """
import os, socket, sys
link = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
link.bind(("eth0", 3))
print("ready", flush=True)
wrong = honest = 0
link.settimeout(0.2)
while not os.path.exists(sys.argv[1]):
    try:
        frame, sender = link.recvfrom(65535)
    except TimeoutError:
        continue
    if sender[2] != 4:
        wrong += b"case-0000-" in frame
        honest += b"case-0001-" in frame
print(wrong, honest, flush=True)
"""
SEND = """
import os, socket, sys, time
link = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
link.bind(("eth0", 0))
frames = [bytes.fromhex(text) for text in sys.argv[2:]]
sent = 0
while not os.path.exists(sys.argv[1]):
    for frame in frames:
        try:
            link.send(frame)
        except OSError:
            pass
    sent += 1
    time.sleep(0.0005)
print(sent)
"""
SPOOF: Case = {"from": "web", "to": "world", "protocol": "tcp", "as_ipv4": "db", "number": 0}
HONEST: Case = {"from": "web", "to": "world", "protocol": "tcp", "number": 1}


@contextmanager
def watched(node: Wire, folder: Path) -> Iterator[list[int]]:
    """Send spoofed and honest packets all the while; yields what the world saw of both."""
    stop = folder / "stop"
    frames = built([SPOOF, HONEST], places(node))
    capture = node.start(node.world, sys.executable, "-c", CAPTURE, str(stop))
    assert capture.stdout is not None
    assert capture.stdout.readline() == "ready\n"
    sender = node.start(node.station("web"), sys.executable, "-c", SEND, str(stop), *frames)
    time.sleep(0.3)
    seen: list[int] = []
    try:
        yield seen
    finally:
        time.sleep(0.2)
        stop.touch()
        sent = int(sender.communicate(timeout=10)[0])
        seen += [int(number) for number in capture.communicate(timeout=10)[0].split()]
        assert sent > 100


def reload_rules(node: Wire) -> None:
    for packets in (1000, 2000, 3000):
        limit = {"packets_s": packets, "burst_packets": packets, "bytes_s": 10**7}
        write_rules(node, packet_filter_limits={"udp": limit, "icmp": limit, "arp": limit})
        node.agent("restore")


def refuse_rules(node: Wire) -> None:
    """Half a file, and one that nft refuses in its middle."""
    file = node.config / "packet-filter.nft"
    whole = file.read_text()
    for broken in (whole[: len(whole) // 2], whole.replace("@senders", "@nobody", 1)):
        file.write_text(broken)
        with pytest.raises(LabError, match=r"packet-filter\.nft"):
            node.agent("restore")
    file.write_text(whole)


def start_and_stop_neighbours(node: Wire) -> None:
    for _ in range(3):
        node.power_off(DB)
        node.power_on(DB)


def change_the_plan(node: Wire) -> None:
    for mbit_s in (50, 200, 100):
        changed = replace(WEB, guaranteed_mbit_s=mbit_s, quota_bytes=10**12 * mbit_s)
        node.agent("vps", "start", stdin=changed.domain())
    node.agent("vps", "start", stdin=WEB.domain())


def measure_and_lift(node: Wire) -> None:
    for measure in (("throttle", "acme/web"), ("block-port", "acme/web", "25/tcp")):
        node.agent(*measure)
        node.agent(*measure, "--lift")


def refuse_metadata(node: Wire) -> None:
    for wrong in (WEB.domain().replace(WEB.mac, DB.mac), WEB.domain()[:-30], "nonsense"):
        with pytest.raises(LabError):
            node.agent("vps", "start", stdin=wrong)


def kill_the_agent(node: Wire) -> None:
    """At any point: what it did not finish, nothing passes by."""
    for number in range(12):
        argv = node.agent_command("restore" if number % 2 else "reconcile")
        process = node.start(node.node, *argv)
        time.sleep(0.03 * number)
        process.kill()
        process.communicate()
    node.agent("restore")


def reconcile(node: Wire) -> None:
    for _ in range(3):
        node.agent("reconcile")


EVENTS: list[Callable[[Wire], None]] = [
    reload_rules,
    refuse_rules,
    start_and_stop_neighbours,
    change_the_plan,
    measure_and_lift,
    refuse_metadata,
    kill_the_agent,
    reconcile,
]


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: event.__name__)
def test_no_spoofed_packet_passes_during(
    two: Wire, tmp_path: Path, event: Callable[[Wire], None]
) -> None:
    """C7.2: the honest packets beside them show that the way was open."""
    with watched(two, tmp_path) as seen:
        event(two)
    wrong, honest = seen
    assert wrong == 0
    assert honest > 100


def test_the_table_holds_while_vpss_come_and_go_and_rules_are_reloaded(two: Wire) -> None:
    """The table again after each event, and a last time in the middle of all."""
    for event in (reload_rules, start_and_stop_neighbours, measure_and_lift, kill_the_agent):
        event(two)
        assert [] == wrong_verdicts(two, CASES), event.__name__
    other = replace(DB, name="third", ipv4=DB.ipv4 + 1)
    done = threading.Event()

    def churn() -> None:
        while not done.is_set():
            two.power_on(other)
            two.agent("restore")
            two.power_off(other)

    background = threading.Thread(target=churn)
    background.start()
    try:
        found = [wrong_verdicts(two, CASES) for _ in range(2)]
    finally:
        done.set()
        background.join()
    assert [[], []] == found


def test_nothing_passes_before_the_rules_are_loaded_and_named(node: Wire) -> None:
    """The order at boot: rules, then names; a tap that comes before passes nothing."""
    node.on(node.node, "nft", "delete", "table", "bridge", "hoster")
    with pytest.raises(LabError, match="hoster"):
        node.agent("vps", "start", stdin=WEB.domain())


def test_a_cut_ends_a_connection_that_is_open(two: Wire) -> None:
    """C4.11: quarantine stops what flows, both ways, and nothing of a neighbour's."""
    server = two.start(two.world, "iperf3", "-s", "-p", "6000", "--one-off")
    time.sleep(0.3)
    client = two.start(two.station("web"), "iperf3", "-c", "203.0.113.1", "-p", "6000", "-t", "30")
    try:
        time.sleep(1)
        counter = f"/sys/class/net/{WEB.tap}/statistics/"
        two.agent("quarantine", "acme/web", "--reason", "test")
        before = two.on(two.world, "cat", "/sys/class/net/eth0/statistics/rx_bytes")
        towards = two.on(two.node, "cat", f"{counter}tx_packets")
        time.sleep(1)
        assert two.on(two.world, "cat", "/sys/class/net/eth0/statistics/rx_bytes") == before
        assert two.on(two.node, "cat", f"{counter}tx_packets") == towards
        assert " 0% packet loss" in two.on(two.station("db"), "ping", "-c", "2", "203.0.113.1")
        two.agent("quarantine", "acme/web", "--lift")
        assert " 0% packet loss" in two.on(two.station("web"), "ping", "-c", "2", "203.0.113.1")
    finally:
        for process in (client, server):
            process.kill()
            process.communicate()


def test_limits_of_udp_and_icmp_hold_for_each_vps_alone(two: Wire) -> None:
    """C4.6: by packets, by bytes, in fragments; a neighbour's are its own."""
    limit = {"packets_s": 100, "burst_packets": 100, "bytes_s": 50_000}
    write_rules(two, packet_filter_limits={"udp": limit, "icmp": limit, "arp": limit})
    two.agent("restore")
    received = "/sys/class/net/eth0/statistics/rx_packets"

    def passed(**case: object) -> int:
        frame = built([{**HONEST, "protocol": "udp", **case}], places(two))[0]
        before = int(two.on(two.world, "cat", received))
        flood = "import socket,sys\nl=socket.socket(17,3)\nl.bind(('eth0',0))\n"
        flood += "for _ in range(2000): l.send(bytes.fromhex(sys.argv[1]))"
        two.on(two.station(str(case.get("from", "web"))), sys.executable, "-c", flood, frame)
        return int(two.on(two.world, "cat", received)) - before

    assert 100 <= passed() <= 160
    time.sleep(1.1)
    assert 100 <= passed(fragment=50) <= 160
    time.sleep(1.1)
    assert 30 <= passed(bytes=1400) <= 60
    assert 100 <= passed(protocol="icmp") <= 160
    assert 100 <= passed(**{"from": "db"}) <= 160
    assert passed(protocol="tcp") >= 1900


def test_a_vps_cannot_fill_the_nodes_connection_table(two: Wire) -> None:
    """Stateless: a flood of new connections leaves no entry."""
    table = Path("/proc/sys/net/netfilter/nf_conntrack_count")
    if not table.exists():
        assert "ct state" not in two.on(two.node, "nft", "list", "ruleset")
        return
    cases = [{**HONEST, "source_port": 1024 + port} for port in range(500)]
    frames = built(cases, places(two))
    send = "import socket,sys\nl=socket.socket(17,3)\nl.bind(('eth0',0))\n"
    send += "[l.send(bytes.fromhex(line.strip())) for line in sys.stdin]"
    two.on(two.station("web"), sys.executable, "-c", send, stdin="\n".join(frames))
    assert int(two.on(two.node, "cat", str(table))) < 10
