"""The lab itself: reachable, repaired by running it again, whole after a node's reboot."""

from __future__ import annotations

import time
from pathlib import Path

import libvirt
import pytest
import yaml

from hoster_lab import network
from hoster_lab.commands import run
from hoster_lab.lab import Lab
from hoster_lab.nodes import Node, state
from hoster_lab.progress import Progress
from hoster_lab.wire import Rented

pytestmark = pytest.mark.lab

LAB = Lab(Path(__file__).parents[2])


@pytest.fixture(scope="module", autouse=True)
def _lab() -> None:
    LAB.up()


@pytest.fixture(params=LAB.nodes, ids=lambda node: str(node.name))
def node(request: pytest.FixtureRequest) -> Node:
    chosen: Node = request.param
    return chosen


def test_a_second_up_is_quick_and_starts_nothing_anew() -> None:
    before = [state(node.container).pid for node in LAB.nodes]
    started = time.monotonic()
    LAB.up(Progress())
    assert time.monotonic() - started < 10
    assert before == [state(node.container).pid for node in LAB.nodes]


def test_everything_is_up() -> None:
    status = LAB.status()
    assert status["up"], status


def test_a_node_runs_with_no_failed_unit(node: Node) -> None:
    assert "" == LAB.on(node, ["systemctl", "--failed", "--no-legend"]).stdout.strip()


def test_libvirt_opens_a_node_without_a_question(node: Node) -> None:
    hosts = yaml.safe_load((LAB.company.inventory / "hosts.yml").read_text())
    here = hosts["all"]["children"]["host_nodes"]["children"][node.location.name]["hosts"]
    connection = libvirt.open(here[node.name]["libvirt_uri"])
    try:
        assert node.name == connection.getHostname()
        names = [
            volume.name() for volume in connection.storagePoolLookupByName("vps").listAllVolumes()
        ]
    finally:
        connection.close()
    assert [name for name in names if name.startswith("debian-12@")]


@pytest.mark.parametrize("known", [True, False], ids=["a VPS", "unknown"])
def test_a_location_is_reached_from_outside_by_a_vps_alone(node: Node, known: bool) -> None:
    """A namespace of the node stands for a VPS behind `br-public`; the hook lets it in (C7.2)."""
    vps = Rented("trial", node.location.gateway.ip + 120)
    hook = "/etc/libvirt/hooks/qemu.d/hoster acme.trial"
    script = f"""
        set -e
        {hook} {"prepare" if known else "started"} begin - <<'XML'
{vps.domain()}
XML
        ip netns add trial
        trap 'ip netns delete trial' EXIT
        ip link add {vps.tap} type veth peer name eth0 address {vps.mac} netns trial
        ip link set {vps.tap} master br-public up
        ip -n trial address add {vps.ipv4}/25 dev eth0
        ip -n trial link set eth0 up
        ip -n trial route add default via {node.location.gateway.ip}
        ip netns exec trial ping -c 3 -i 0.2 -W {5 if known else 1} {network.OUTSIDE_HOST.ip} &&
            answered=yes || answered=no
        {hook} release end - <<'XML'
{vps.domain()}
XML
        echo answered: $answered
    """
    done = LAB.on(node, ["sh", "-c", script], check=False)
    assert f"answered: {'yes' if known else 'no'}" in done.stdout, done.stdout + done.stderr


def test_the_machines_own_way_to_the_documentation_ranges_stays_its_own() -> None:
    routes = run(["ip", "route", "show"]).stdout.splitlines()
    ours = [route.split()[0] for route in routes if f"dev {network.CONTROL_LINK}" in route]
    assert sorted(str(node.address) for node in LAB.nodes) == sorted(ours)


def test_what_was_cut_is_connected_again_by_up() -> None:
    node = LAB.node("roubaix-1")
    run([*network.inside(network.outside()), "ip", "link", "delete", "up-roubaix-1"])
    assert not LAB.status()["up"]
    LAB.up()
    assert LAB.status()["up"]
    LAB.on(node, ["test", "-e", "/sys/class/net/br-public/brif/eth1"])
    # A new uplink has no class and no rule of its own until the agent gives it both.
    LAB.on(node, ["systemctl", "start", "hoster-node-reconcile.service"])
    assert "htb 1:1 root" in LAB.on(node, ["tc", "class", "show", "dev", "eth1"]).stdout
    LAB.on(node, ["nft", "list", "chain", "netdev", "hoster", "inbound"])
