"""A host node is rebooted under its VPS."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from hoster_lab import journey
from hoster_lab.e2e import SPOOF, captured, on_its_node, status
from hoster_lab.wire import Rented

if TYPE_CHECKING:
    from collections.abc import Iterator

    from hoster_lab.client import AccessCodes, Client
    from hoster_lab.lab import Lab

pytestmark = pytest.mark.lab


@pytest.fixture
def neighbour(lab: Lab) -> Iterator[Rented]:
    """A VPS on the other node that sends as the hostile guest does; a namespace is its guest."""
    node = lab.node("roubaix-1")
    gateway = node.location.gateway
    vps = Rented("neighbour", gateway.ip + 119)
    hook = "/etc/libvirt/hooks/qemu.d/hoster acme.neighbour"
    plugged = f"""
ip netns add {vps.name}
ip link add {vps.tap} type veth peer name eth0 address {vps.mac} netns {vps.name}
ip link set {vps.tap} master br-public up
ip -n {vps.name} link set eth0 up
ip -n {vps.name} address add {vps.ipv4}/{gateway.network.prefixlen} dev eth0
ip -n {vps.name} route add default via {gateway.ip}
systemd-run --unit {vps.name} ip netns exec {vps.name} python3 -c '{SPOOF}'
"""
    lab.on(node, ["sh", "-ec", f"{hook} prepare begin - <<'XML'\n{vps.domain()}\nXML\n{plugged}"])
    yield vps
    gone = f"systemctl stop {vps.name}; ip netns delete {vps.name}"
    lab.on(node, ["sh", "-ec", f"{gone}\n{hook} release end - <<'XML'\n{vps.domain()}\nXML"])


def test_a_reboot_of_the_node_keeps_the_volume_and_opens_nothing(
    lab: Lab, client: Client, codes: AccessCodes, neighbour: Rented
) -> None:
    """C4.9: the count goes on; rules are loaded before the first guest starts.

    Meanwhile nothing changes for the VPS of the other node.
    """
    assert client.run("true") == ""
    before = int(str(status(lab)["used_bytes"]))
    with captured(lab) as before_it:
        time.sleep(2)
    assert before_it["honest"] > 20
    with captured(lab, "roubaix-1") as elsewhere:
        lab.reboot(lab.node("paris-1"))
        with captured(lab) as seen:
            journey.wait_until_answering(lab, codes.address)
            time.sleep(5)
    for node in (seen, elsewhere):
        assert node["spoofed"] == 0
        assert node["honest"] > 20
    assert int(str(status(lab)["used_bytes"])) >= before
    unit = ("systemctl", "show", "--value", "--property", "ActiveEnterTimestampMonotonic")
    loaded = int(on_its_node(lab, *unit, "hoster-node-restore.service"))
    libvirt = int(on_its_node(lab, *unit, "libvirtd.service"))
    assert 0 < loaded <= libvirt
