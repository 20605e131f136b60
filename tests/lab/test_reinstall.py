"""Another system on the VPS; and its end."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from hoster_lab import client as client_side
from hoster_lab import journey
from hoster_lab.e2e import EMAIL, TOKEN, VPS, on_its_node, places_of, reachable
from hoster_lab.errors import LabError

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.lab.conftest import Cuts

    from hoster_lab.client import AccessCodes, Client
    from hoster_lab.lab import Lab

pytestmark = pytest.mark.lab


def test_a_reinstalled_vps_is_another_system_at_the_same_address(
    lab: Lab, codes: AccessCodes, reinstalled: AccessCodes, new_client: Client
) -> None:
    """C4.3, C7.4: with new codes, which are nowhere else."""
    assert new_client.run("test ! -e precious && hostname").split() == ["web"]
    assert (codes.address, "other") == (reinstalled.address, reinstalled.user)
    assert codes.password != reinstalled.password
    assert [] == places_of(lab, reinstalled.password)
    assert reachable(lab, codes)


def test_the_former_disk_is_readable_and_no_more(new_client: Client) -> None:
    """C7.5."""
    loop = "sudo losetup --find --show --partscan --read-only /dev/sr0"
    new_client.run(f"sudo mkdir -p /old && sudo mount -o ro,noload $({loop})p1 /old")
    assert new_client.run("sudo head -n 1 /old/home/debian/token").strip() == TOKEN
    refused = "sudo dd if=/dev/zero of=/dev/sr0 bs=2048 count=1 2>&1 || true"
    assert "Read-only file system" in new_client.run(refused)
    new_client.run("sudo umount /old && sudo losetup --detach-all")


def test_nothing_of_a_reinstall_is_left_to_do(
    company: journey.Company, new_client: Client, changed_by: Callable[..., bool]
) -> None:
    assert new_client.run("true") == ""
    company.pulumi("preview", "--stack", "e2e", "--expect-no-changes")
    assert not changed_by("reinstall-vps.yml", "keep=true")
    [vps] = company.hoster("show", VPS)["vps"]
    assert ("connected", ["finished"]) == (vps["state"], [one["stage"] for one in vps["systems"]])


def test_the_former_disk_goes_when_its_time_has_come(
    lab: Lab,
    company: journey.Company,
    codes: AccessCodes,
    new_client: Client,
    changed_by: Callable[..., bool],
) -> None:
    """C7.5: and no sooner."""
    lab.playbook("erase-former-disks.yml")
    assert new_client.run("lsblk -dno SIZE").split() == ["20G", "20G", "1M"]
    assert changed_by("erase-former-disks.yml")
    assert not changed_by("erase-former-disks.yml")
    journey.wait_until_answering(lab, codes.address)
    assert new_client.run("lsblk -dno SIZE").split() == ["20G", "1M"]
    assert f"{VPS.replace('/', '.')}.qcow2" not in on_its_node(lab, "virsh", "vol-list", "vps")
    company.pulumi("preview", "--stack", "e2e", "--expect-no-changes")


def test_a_termination_leaves_nothing_of_the_vps(
    lab: Lab,
    company: journey.Company,
    codes: AccessCodes,
    new_client: Client,
    cuts: Cuts,
    changed_by: Callable[..., bool],
) -> None:
    """C12.5, C15.2: not a byte; its address rests; who typed no name lost nothing."""
    new_client.run(f"for _ in $(seq 1000); do echo {TOKEN}; done > token; sync")
    pool = "/var/lib/libvirt/images/vps"
    search = ["sh", "-c", f"grep --recursive --files-with-matches {TOKEN} {pool} || true"]
    assert "e2e.web" in on_its_node(lab, *search)
    with pytest.raises(LabError, match="was not confirmed"):
        changed_by("terminate-vps.yml", "reason=request")
    assert new_client.run("true") == ""

    assert cuts.run("terminate-vps.yml", f"vps={VPS}", "reason=request", f"confirm={VPS}") >= 10
    assert not changed_by("terminate-vps.yml", "reason=request", f"confirm={VPS}")
    assert on_its_node(lab, *search) == ""
    assert "e2e" not in on_its_node(lab, "sh", "-c", "virsh list --all; virsh vol-list vps")
    known = json.loads(on_its_node(lab, "hoster-node", "status", "--json"))
    assert VPS not in [one["vps"] for one in known]
    assert not (lab.company.project / "pulumi" / "Pulumi.e2e.yaml").exists()
    assert "supprimé" in str(client_side.mails(lab.mail_dir, EMAIL)[-1]["Subject"])
    plan = ("--plan", "kvm-1", "--image", "debian-12", "--location", "paris")
    with pytest.raises(journey.StepError, match="was delivered before"):
        company.hoster("order", VPS, *plan)
    assert codes.address != company.hoster("order", "e2e/next", *plan, "--dry-run")["ipv4"]
