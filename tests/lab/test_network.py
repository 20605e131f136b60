"""What a VPS may send, what is counted of it, and that no restart of libvirt opens it."""

from __future__ import annotations

import base64
import json
import time
from typing import TYPE_CHECKING

import pytest

from hoster_lab import journey
from hoster_lab.e2e import SPOOF, VPS, captured, on_its_node, reachable, status

if TYPE_CHECKING:
    from tests.lab.conftest import Change

    from hoster_lab.client import AccessCodes, Client
    from hoster_lab.lab import Lab

pytestmark = pytest.mark.lab


def test_the_vps_is_limited_and_counted_since_it_started(
    lab: Lab, client: Client, resized: Change
) -> None:
    """C4.8, C4.9: by the hook alone; and the larger plan is in force, too."""
    before = int(str(status(lab)["used_bytes"]))
    client.run("head -c 200000 /dev/urandom | base64 --wrap=0")
    said = status(lab)
    assert (said["running"], said["plan"], said["quota_bytes"]) == (True, "kvm-2", 10**13)
    assert int(str(said["used_bytes"])) - before > 266_000
    kinds = [
        json.loads(line)["kind"]
        for line in on_its_node(lab, "hoster-node", "events", "--json").splitlines()
        if json.loads(line)["subject"] == VPS
    ]
    assert kinds[0] == "vps-new"
    assert "plan-changed" in kinds
    assert "rate 100Mbit" in on_its_node(lab, "tc", "class", "show", "dev", "eth1")


def test_what_the_nodes_tell_is_collected_once(
    lab: Lab, company: journey.Company, resized: Change
) -> None:
    """C4.9, C4.10: over the SSH that Ansible uses."""
    told = on_its_node(lab, "hoster-node", "events", "--json").splitlines()
    first, second = company.hoster("collect"), company.hoster("collect")
    assert [""] * len(lab.nodes) == [node["trouble"] for node in first["nodes"]]
    assert {node["node"]: node["new"] for node in first["nodes"]}["paris-1"] >= len(told)
    assert not any(node["missing"] for node in first["nodes"])
    assert second["changed"] is False
    kept = company.hoster("events", VPS)["events"]
    assert kept[0]["kind"] == "vps-new"
    assert kept[0]["node"] == "paris-1"
    assert {event["id"] for event in kept} <= {json.loads(line)["id"] for line in told}


UNIT = """
[Service]
ExecStart=/usr/bin/python3 /opt/spoof.py
Restart=always
[Install]
WantedBy=sysinit.target
"""


def test_the_client_cannot_send_as_somebody_else(lab: Lab, client: Client) -> None:
    """C7.2: root inside the guest may do what it likes; the tap lets its own address through.

    It goes on with it as a service of the guest, through what the next tests do to the node.
    """
    for file, text in (("/opt/spoof.py", SPOOF), ("/etc/systemd/system/spoof.service", UNIT)):
        encoded = base64.b64encode(text.encode()).decode()
        client.run(f"echo {encoded} | base64 -d | sudo tee {file} > /dev/null")
    with captured(lab) as seen:
        client.run("sudo systemctl enable --now spoof.service 2>/dev/null")
        time.sleep(5)
    assert seen["spoofed"] == 0
    assert seen["honest"] > 20
    on_its_node(lab, "systemctl", "start", "hoster-node-reconcile.service")
    refused = [
        json.loads(line)["details"]["packets"]
        for line in on_its_node(lab, "hoster-node", "events", "--json").splitlines()
        if '"spoof-refused"' in line and VPS in line
    ]
    assert sum(refused) > 20


def test_quarantine_holds_through_a_restart_of_libvirt(
    lab: Lab, client: Client, codes: AccessCodes
) -> None:
    """C4.11: and a restart alone neither cuts nor opens anything."""
    assert client.run("true") == ""
    with captured(lab) as seen:
        on_its_node(lab, "systemctl", "restart", "libvirtd")
        assert reachable(lab, codes)
    assert seen["spoofed"] == 0
    assert seen["honest"] > 20
    on_its_node(lab, "hoster-node", "quarantine", VPS, "--reason", "a test")
    try:
        assert not reachable(lab, codes)
        on_its_node(lab, "systemctl", "restart", "libvirtd")
        on_its_node(lab, "systemctl", "start", "hoster-node-reconcile.service")
        assert not reachable(lab, codes)
    finally:
        on_its_node(lab, "hoster-node", "quarantine", VPS, "--lift")
    assert reachable(lab, codes)
