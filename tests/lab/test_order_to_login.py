"""From the order to the client's login, on a real guest of the lab."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from hoster_lab import client as client_side
from hoster_lab import journey
from hoster_lab.e2e import EMAIL, VPS, ProcessListWatch, declared, places_of

if TYPE_CHECKING:
    from hoster_lab.client import AccessCodes, Client
    from hoster_lab.lab import Lab

pytestmark = pytest.mark.lab


def test_the_client_logs_in_from_outside_with_the_codes_of_the_mail(client: Client) -> None:
    """C4.2: and must choose a password of its own first."""
    assert client.run("hostname; whoami").split() == ["web", "debian"]


def test_the_guest_has_the_declared_address_and_no_other(
    client: Client, company: journey.Company, codes: AccessCodes
) -> None:
    """C4.3."""
    assert codes.address == declared(company)["ipv4"]
    addresses = client.run("ip -4 -o addr show scope global | awk '{print $4}'").split()
    assert addresses == [f"{codes.address}/25"]


def test_nothing_of_the_hosters_is_inside(client: Client) -> None:
    """C4.4: no key, no agent."""
    keys = client.run("sudo find / -xdev -name authorized_keys -size +0 2>/dev/null; true")
    agents = client.run("systemctl list-unit-files --no-legend '*agent*'; pgrep -l qemu-ga; true")
    assert (keys, agents) == ("", "")


def test_the_clear_password_is_nowhere(
    lab: Lab,
    company: journey.Company,
    codes: AccessCodes,
    client: Client,
    output: list[str],
    watch: ProcessListWatch,
) -> None:
    """C4.2: not in state, ledger, declarations, logs, printed output or the process list."""
    assert client.run("true") == ""
    assert [] == places_of(lab, codes.password)
    assert [text for text in output if codes.password in text] == []
    assert len(watch.seen) > 10
    assert [line for line in watch.seen if codes.password.encode() in line] == []


def test_a_second_delivery_mails_nobody(company: journey.Company, lab: Lab, client: Client) -> None:
    company.hoster("deliver", VPS)
    assert len(client_side.mails(lab.mail_dir, EMAIL)) == 1


def test_a_second_up_changes_nothing(company: journey.Company, client: Client) -> None:
    assert client.run("true") == ""
    company.pulumi("preview", "--expect-no-changes", "--stack", "e2e")
    nothing = ("--skip-preview", "--expect-no-changes")
    company.pulumi("up", "--yes", *nothing, "--stack", "e2e")
