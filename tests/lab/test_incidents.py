"""Measures against a VPS, by playbooks: from the cut to the reconnection."""

from __future__ import annotations

import contextlib
import sqlite3
import time
from typing import TYPE_CHECKING

import pytest

from hoster_lab import client as client_side
from hoster_lab import journey
from hoster_lab.e2e import EMAIL, VPS, captured, on_its_node, reachable, says_changed
from hoster_lab.errors import LabError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.lab.conftest import Cuts

    from hoster_lab.client import AccessCodes, Client
    from hoster_lab.lab import Lab

pytestmark = pytest.mark.lab


def subjects(lab: Lab) -> list[str]:
    """Return what the client was told of since the delivery."""
    return [str(mail["Subject"]) for mail in client_side.mails(lab.mail_dir, EMAIL)[1:]]


def test_an_incident_from_the_cut_to_the_reconnection(
    lab: Lab,
    client: Client,
    codes: AccessCodes,
    company: journey.Company,
    cuts: Cuts,
    changed_by: Callable[..., bool],
) -> None:
    """C6.1, C6.2, C7.7, C15.1, C15.3: by playbooks that are killed after each of their steps."""

    def act(playbook: str, *more: str) -> None:
        assert cuts.run(playbook, f"vps={VPS}", *more) >= 4
        assert not changed_by(playbook, *more)

    assert client.run("true") == ""
    act("suspend-vps.yml", "reason=unpaid")
    assert changed_by("suspend-vps.yml", "reason=licence")
    act("quarantine-vps.yml", "kind=spam", "severity=minor", "hours=24")
    with captured(lab) as seen:
        time.sleep(3)
    assert seen == {"spoofed": 0, "honest": 0}
    company.pulumi("preview", "--stack", "e2e", "--expect-no-changes")
    company.pulumi("up", "--yes", "--skip-preview", "--stack", "e2e")
    assert not reachable(lab, codes)

    act("resume-vps.yml", "reason=unpaid", "note=paid")
    assert not reachable(lab, codes)
    assert changed_by("resume-vps.yml", "reason=licence")
    assert not reachable(lab, codes)
    act("reconnect-vps.yml")
    assert reachable(lab, codes)
    assert client.run("true") == ""
    told = ("suspendu", "suspendu", "coupé", "levée", "levée", "clos")
    assert sorted(told) == sorted(
        next(word for word in told if word in subject) for subject in subjects(lab)
    )
    assert company.hoster("audit", "verify")["sound"]
    when = ("-e", "start=2030-01-01T22:00", "-e", "hours=2", "-e", "what='a new kernel'")
    lab.playbook("announce-maintenance.yml", "-e", "node=paris-1", *when)
    assert subjects(lab)[-1].startswith("Maintenance le 1 janvier 2030, 22:00")


@pytest.fixture
def undeployed(company: journey.Company, lab: Lab) -> Iterator[str]:
    """A VPS that is declared on the other node, and was never made."""
    company.hoster("client", "add", "far", *journey.contact("far@example.org", "en"))
    plan = ("--plan", "kvm-1", "--image", "debian-12", "--location", "roubaix")
    company.hoster("order", "far/web", *plan)
    yield "far/web"
    company.pulumi("stack", "rm", "--yes", "--stack", "far")


def test_of_many_each_is_done_that_can_be_and_a_table_says_which(
    lab: Lab, company: journey.Company, codes: AccessCodes, undeployed: str
) -> None:
    """C15.1: one node that fails hinders no other."""
    both = ("-e", f"vps={VPS},{undeployed}", "-e", "reason=licence", "-e", "serial=1")
    with pytest.raises(LabError):
        lab.playbook("suspend-vps.yml", *both)
    assert not reachable(lab, codes)
    rows = company.hoster("incidents")["measures"]
    numbers = [str(row["id"]) for row in rows]
    assert {VPS: "in force", undeployed: "wanted"} == {row["vps"]: row["stage"] for row in rows}
    assert "1 done, 1 not" in company.run("hoster", "act", "summary", *numbers)
    lab.playbook("resume-vps.yml", "-e", "node=paris-1", "-e", "reason=licence")
    assert reachable(lab, codes)


def test_who_is_late_with_a_proof_is_suspended_until_it_comes(
    lab: Lab, company: journey.Company, codes: AccessCodes
) -> None:
    """C7.1: 72 hours after the mail, and not before."""

    def changed() -> bool:
        return says_changed(lab.playbook("enforce-proofs.yml"))

    company.hoster("proof", "demand", "e2e")
    assert not changed()
    assert reachable(lab, codes)
    ledger = lab.company.project / ".hoster" / "ledger.sqlite3"
    with contextlib.closing(sqlite3.connect(ledger)) as database, database:
        older = "UPDATE outbox SET sent_at = datetime(sent_at, '-73 hours') WHERE template = ?"
        database.execute(older, ["proof-demanded"])
    assert changed()
    assert not reachable(lab, codes)
    assert not changed()
    company.hoster("proof", "settle", "e2e", "--note", "seen")
    assert changed()
    assert reachable(lab, codes)
    assert not changed()


def test_what_a_node_cannot_do_is_refused_before_anything_is_touched(
    lab: Lab, company: journey.Company, client: Client
) -> None:
    """C6.3: no image, no room, no way to the node."""
    assert client.run("true") == ""
    declaration = lab.company.project / "pulumi" / "Pulumi.e2e.yaml"
    before, last = declaration.read_text(), company.hoster("audit")["entries"][-1]
    asked = ("-e", f"vps={VPS}", "-e", "request=ticket-1")
    [image] = on_its_node(lab, "sh", "-c", "ls /var/lib/libvirt/images/vps/debian-12@*").split()
    try:
        on_its_node(lab, "sh", "-ec", f"mv {image} {image}.away; virsh -q pool-refresh vps")
        with pytest.raises(LabError, match="has no image"):
            lab.playbook("reinstall-vps.yml", *asked)
    finally:
        on_its_node(lab, "sh", "-ec", f"mv {image}.away {image}; virsh -q pool-refresh vps")
    for playbook in ("reinstall-vps.yml", "terminate-vps.yml"):
        with pytest.raises(LabError, match="could not be reached"):
            lab.playbook(
                playbook,
                *asked,
                "-e",
                "reason=request",
                "-e",
                f"confirm={VPS}",
                "-e",
                "ansible_port=1",
            )
    assert before == declaration.read_text()
    assert last == company.hoster("audit")["entries"][-1]
