"""What may be changed of a VPS that runs, and what not: a resize, an edit, an act by hand."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING

import pytest
import yaml

from hoster_lab import client as client_side
from hoster_lab import journey
from hoster_lab.e2e import VPS, declared, on_its_node

if TYPE_CHECKING:
    from tests.lab.conftest import Change

    from hoster_lab.client import AccessCodes, Client
    from hoster_lab.lab import Lab

pytestmark = pytest.mark.lab


def test_the_pipeline_says_that_a_resize_is_live_and_applies_it(resized: Change) -> None:
    """C4.7: of this client's stack alone, however many there are."""
    assert resized.review.startswith("### This change can be merged\n")
    assert "| e2e/web | kvm-1 -> kvm-2 | live | +4.00 |" in resized.review
    assert "**1 stack: 1 changed**" in resized.review
    assert "no reboot" in resized.review
    assert "replace" not in resized.review
    assert {"changed": 1} == resized.report["counts"]
    assert ["e2e"] == [one["client"] for one in resized.report["clients"]]


def test_a_resize_is_seen_inside_without_a_reboot(
    client: Client, resized: Change, seen_before: dict[str, int]
) -> None:
    """C4.7: more vCPUs, RAM and disk, and the guest never stopped."""
    after = journey.size_seen_inside(client)
    assert after["vcpus"] == 2
    assert after["disk_gib"] == 20
    assert after["memory_mib"] >= seen_before["memory_mib"] + 1000
    assert after["uptime_seconds"] > seen_before["uptime_seconds"]


def test_a_resize_keeps_file_and_address(
    client: Client,
    company: journey.Company,
    codes: AccessCodes,
    file_before: str,
    resized: Change,
) -> None:
    assert journey.leave_a_file(client, mebibytes=32) == file_before
    assert declared(company)["ipv4"] == codes.address


@pytest.mark.parametrize(
    ("edit", "said"),
    [
        ({"location": "roubaix", "node": "roubaix-1", "ipv4": "203.0.113.200"}, "C10.1"),
        ({"ipv4": "203.0.113.99"}, "C4.3"),
        ({"plan": "kvm-1"}, "never shrinks"),
    ],
)
def test_an_edit_of_what_is_final_fails_in_preview(
    company: journey.Company, lab: Lab, rebooting: str, edit: dict[str, str], said: str
) -> None:
    """C4.3, C4.7, C10.1: the preview says why, and nothing is touched.

    Meanwhile the client reboots the VPS, for the next test.
    """
    path = lab.company.project / "pulumi" / "Pulumi.e2e.yaml"
    before = path.read_text()
    document = yaml.safe_load(before)
    document["config"]["hoster:vps"]["web"].update(edit)
    path.write_text(yaml.safe_dump(document))
    try:
        with pytest.raises(journey.StepError, match=said):
            company.pulumi("preview", "--stack", "e2e")
    finally:
        path.write_text(before)


def test_a_reboot_keeps_the_new_size_and_the_file(
    client: Client, file_before: str, rebooting: str
) -> None:
    """What was plugged in live is there after the client's own reboot, too."""
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline:
        try:
            if client.run("cat /proc/sys/kernel/random/boot_id") != rebooting:
                break
        except client_side.LoginError:
            pass
        time.sleep(1)
    after = journey.size_seen_inside(client)
    assert (after["vcpus"], after["disk_gib"]) == (2, 20)
    assert after["memory_mib"] > 1800
    assert journey.leave_a_file(client, mebibytes=32) == file_before


def test_neither_a_destroy_nor_an_edit_ends_a_vps(
    lab: Lab, company: journey.Company, client: Client
) -> None:
    """C6.3: disk and domain are protected; not even for a moment is it switched off."""
    domain = on_its_node(lab, "virsh", "domid", "e2e.web")
    with pytest.raises(journey.StepError, match="protected"):
        company.pulumi("destroy", "--yes", "--skip-preview", "--stack", "e2e")
    path = lab.company.project / "pulumi" / "Pulumi.e2e.yaml"
    before = path.read_text()
    document = yaml.safe_load(before)
    for section in ("hoster:vps", "hoster:access"):
        del document["config"][section]["web"]
    path.write_text(yaml.safe_dump(document))
    try:
        with pytest.raises(journey.StepError, match="e2e/web is declared no more"):
            company.pulumi("up", "--yes", "--skip-preview", "--stack", "e2e")
    finally:
        path.write_text(before)
    assert domain == on_its_node(lab, "virsh", "domid", "e2e.web")
    assert client.run("true") == ""
    company.pulumi("preview", "--stack", "e2e", "--expect-no-changes")


def test_what_is_not_as_declared_is_told_and_left_alone(
    lab: Lab, company: journey.Company, client: Client
) -> None:
    """C4.7, C6.3: what ops did by hand, on the node or in a declaration that is not deployed."""

    def found() -> set[tuple[str, str, str]]:
        said = json.loads(company.run("sh", "-c", "hoster drift --json; true"))
        assert said["silent"] == {}
        return {(one["kind"], one["what"], one["where"]) for one in said["findings"]}

    assert client.run("true") == ""
    before = found()
    assert VPS not in {what for _, what, _ in before}
    xml = "<domain type='qemu'><name>by hand</name><memory>1024</memory><os><type>hvm</type></os>"
    by_hand = (
        f'echo "{xml}</domain>" | virsh define /dev/stdin; ip tuntap add vps-cb0071ff mode tap'
    )
    on_its_node(lab, "sh", "-ec", by_hand)
    path = lab.company.project / "pulumi" / "Pulumi.e2e.yaml"
    declared = path.read_text()
    path.write_text(declared.replace("plan: kvm-2", "plan: kvm-4"))
    try:
        assert {
            ("unknown", "by hand", "paris-1"),
            ("unknown", "vps-cb0071ff", "paris-1"),
            ("different", VPS, "paris-1"),
            ("different", VPS, "stack"),
        } == found() - before
        assert "by hand" in on_its_node(lab, "virsh", "list", "--all")
    finally:
        path.write_text(declared)
        gone = "virsh undefine 'by hand'; ip tuntap delete vps-cb0071ff mode tap"
        on_its_node(lab, "sh", "-ec", gone)
    assert before == found()


def test_the_node_knows_the_vps_by_its_address(lab: Lab, resized: Change) -> None:
    """The tap and the metadata carry the identity that the packet filter will hold it to."""
    xml = lab.on(lab.node("paris-1"), ["virsh", "dumpxml", "e2e.web"]).stdout
    assert "target dev='vps-cb0071" in xml
    assert "urn:hoster:vps:1" in xml
    assert xml.count("mac address='02:00:cb:00:71:") == 1
