"""`hoster order` and `hoster resize`: what they write, refuse, and do again."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from ipaddress import IPv4Address
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from hoster.cli import cli
from hoster.clients.contact import client_of
from hoster.engine import pulumi_cli
from hoster.errors import ConfigurationError, HosterError, NoRoomError, RuleError
from hoster.ledger import Ledger
from hoster.project import Project
from hoster.project.declarations import read_all

Run = Callable[..., Result]
NOW = datetime(2026, 3, 1, tzinfo=UTC)
DETAILS = {
    "last_name": "Lovelace",
    "first_name": "Ada",
    "street": "1 rue de la Paix",
    "postal_code": "75002",
    "city": "Paris",
    "country": "FR",
    "phone": "+33199001234",
    "email": "ada@client.example",
}
ORDER = ("--plan", "kvm-2", "--image", "debian-12", "--location", "paris")


class PretendedPulumi:
    """Encrypts by turning the text around, and can be cut off before it does."""

    def __init__(self) -> None:
        self.stacks: list[str] = []
        self.cut_at = ""

    def ensure_stack(self, project: Project, client: str) -> None:
        if self.cut_at == "stack":
            raise KeyboardInterrupt
        if client not in self.stacks:
            self.stacks.append(client)
            project.declaration(client).write_text("encryptionsalt: v1:AAAA=\n")

    def encrypt(self, project: Project, client: str, value: str) -> str:  # noqa: ARG002
        if self.cut_at == "encrypt":
            raise KeyboardInterrupt
        return f"v1:{value[::-1]}"


@pytest.fixture
def pretended(monkeypatch: pytest.MonkeyPatch) -> PretendedPulumi:
    pulumi = PretendedPulumi()
    monkeypatch.setattr(pulumi_cli, "ensure_stack", pulumi.ensure_stack)
    monkeypatch.setattr(pulumi_cli, "encrypt", pulumi.encrypt)
    monkeypatch.delenv("HOSTER_LEDGER", raising=False)
    return pulumi


@pytest.fixture
def run(with_ledger: Project, pretended: PretendedPulumi) -> Run:
    """Run the command line in a project whose client acme is known."""
    project = with_ledger
    with Ledger.open(project.ledger_url) as ledger:
        for name in ("acme", "bell"):
            ledger.clients.add(client_of({"name": name, **DETAILS}), NOW)

    def command(*arguments: str) -> Result:
        return CliRunner().invoke(
            cli, ["--project", str(project.root), *arguments], catch_exceptions=True
        )

    return command


def refused(result: Result, kind: type[HosterError]) -> str:
    assert isinstance(result.exception, kind), result.output
    return str(result.exception)


def files(project: Project) -> dict[str, str]:
    return {file.name: file.read_text() for file in project.program.iterdir() if file.is_file()}


def test_an_order_becomes_a_declaration(run: Run, project: Project) -> None:
    result = run("order", "acme/web", *ORDER, "--term", "12")

    assert 0 == result.exit_code, result.output
    [vps] = read_all(project)
    assert (
        "kvm-2",
        "debian-12@20250703-2162",
        "paris",
        "paris-1",
        IPv4Address("203.0.113.10"),
        12,
    ) == (
        vps.plan,
        vps.image,
        vps.location,
        vps.node,
        vps.ipv4,
        vps.term_months,
    )
    assert "pulumi -C pulumi up -s acme" in result.stderr


def test_the_declaration_holds_the_sealed_hash_and_nothing_in_clear(
    run: Run, project: Project
) -> None:
    result = run("order", "acme/web", *ORDER)

    text = project.declaration("acme").read_text()
    with Ledger.open(project.ledger_url) as ledger:
        codes = ledger.orders.begin("acme/web", IPv4Address("203.0.113.10"), user="debian", now=NOW)
    assert codes.password_hash[::-1] in text
    assert codes.password_hash not in text
    assert codes.password
    assert codes.password not in text + result.stdout + result.stderr


def test_orders_one_after_another_take_different_addresses(run: Run, project: Project) -> None:
    for name in ("acme/a", "acme/b", "bell/a"):
        assert 0 == run("order", name, *ORDER).exit_code

    assert ["203.0.113.10", "203.0.113.11", "203.0.113.12"] == sorted(
        str(vps.ipv4) for vps in read_all(project)
    )


def test_the_same_order_again_changes_nothing(run: Run, project: Project) -> None:
    run("order", "acme/web", *ORDER)
    before = files(project)

    again = run("order", "acme/web", *ORDER, "--json")

    assert 0 == again.exit_code
    assert json.loads(again.stdout)["changed"] is False
    assert before == files(project)


def test_an_order_of_a_known_name_with_another_plan_is_refused(run: Run, project: Project) -> None:
    run("order", "acme/web", *ORDER)
    before = files(project)

    text = refused(
        run("order", "acme/web", "--plan", "kvm-4", *ORDER[2:]),
        RuleError,
    )

    assert "plan: kvm-2 is declared, kvm-4 asked" in text
    assert "hoster resize" in text
    assert before == files(project)


@pytest.mark.parametrize("step", ["stack", "encrypt"])
def test_an_order_that_was_cut_is_finished_by_running_it_again(
    run: Run, project: Project, pretended: PretendedPulumi, step: str
) -> None:
    pretended.cut_at = step
    run("order", "acme/web", *ORDER)
    assert [] == list(read_all(project))

    pretended.cut_at = ""
    result = run("order", "acme/web", *ORDER)

    assert 0 == result.exit_code, result.output
    assert ["acme/web"] == [vps.full_name for vps in read_all(project)]


def test_a_dry_run_writes_nothing(run: Run, project: Project, pretended: PretendedPulumi) -> None:
    before = files(project)

    result = run("order", "acme/web", *ORDER, "--dry-run", "--json")

    assert "203.0.113.10" == json.loads(result.stdout)["ipv4"]
    assert (before, []) == (files(project), pretended.stacks)


@pytest.mark.parametrize(
    ("arguments", "kind", "said"),
    [
        (("acme/web", "--plan", "kvm2", *ORDER[2:]), ConfigurationError, "did you mean kvm-2?"),
        (
            ("acme/web", *ORDER[:2], "--image", "debain-12", *ORDER[4:]),
            ConfigurationError,
            "did you mean debian-12?",
        ),
        (("acme/web", *ORDER[:4], "--location", "lyon"), ConfigurationError, "paris, roubaix"),
        (("acem/web", *ORDER), ConfigurationError, "did you mean acme?"),
        (("acme/web", *ORDER, "--node", "roubaix-1"), ConfigurationError, "unknown node"),
        (("acme/web", *ORDER, "--ipv4", "203.0.113.1"), RuleError, "it is the gateway"),
        (("acme/web", *ORDER, "--ipv4", "203.0.113.140"), RuleError, "in none of"),
        (("acme/web", *ORDER, "--term", "99"), ConfigurationError, "term_months"),
        (("acme/Web", *ORDER), ConfigurationError, "name"),
        (("acme/web", *ORDER, "--ssh-key", "ssh-ed25519 AAAA"), ConfigurationError, "damaged"),
    ],
)
def test_what_cannot_be_had_is_refused_and_nothing_is_written(
    run: Run, project: Project, arguments: tuple[str, ...], kind: type[HosterError], said: str
) -> None:
    before = files(project)

    assert said in refused(run("order", *arguments), kind)
    assert before == files(project)


def test_an_address_released_lately_is_not_given(run: Run, project: Project) -> None:
    with Ledger.open(project.ledger_url) as ledger:
        ledger.addresses.release(IPv4Address("203.0.113.10"), vps="bell/old", now=datetime.now(UTC))

    run("order", "acme/web", *ORDER)

    assert [IPv4Address("203.0.113.11")] == [vps.ipv4 for vps in read_all(project)]


def test_the_address_of_a_vps_that_vanished_from_its_file_is_not_given(
    run: Run, project: Project
) -> None:
    """C4.3: nobody terminated it, so that it may still run."""
    run("order", "bell/old", *ORDER)
    project.declaration("bell").unlink()

    run("order", "acme/web", *ORDER)

    assert [IPv4Address("203.0.113.11")] == [vps.ipv4 for vps in read_all(project)]


def test_a_full_node_refuses_and_nothing_is_written(run: Run, project: Project) -> None:
    hosts = project.inventory / "hosts.yml"
    hosts.write_text(hosts.read_text().replace("disk_gib: 7000", "disk_gib: 19"))
    before = files(project)

    text = refused(run("order", "acme/web", *ORDER), NoRoomError)

    assert "paris-1: disk (GiB): 20 asked, 19 free of 19" in text
    assert before == files(project)


def test_a_resize_writes_the_plan_and_shows_the_difference(run: Run, project: Project) -> None:
    run("order", "acme/web", *ORDER)
    before = project.declaration("acme").read_text()

    result = run("resize", "acme/web", "--plan", "kvm-4")

    assert 0 == result.exit_code, result.output
    assert before.replace("plan: kvm-2", "plan: kvm-4") == project.declaration("acme").read_text()
    assert "-      plan: kvm-2\n+      plan: kvm-4\n" in result.stdout


def test_a_resize_by_dry_run_shows_the_difference_only(run: Run, project: Project) -> None:
    run("order", "acme/web", *ORDER)
    before = files(project)

    result = run("resize", "acme/web", "--plan", "kvm-4", "--dry-run", "--json")

    assert "+      plan: kvm-4" in json.loads(result.stdout)["diff"]
    assert before == files(project)


@pytest.mark.parametrize(
    ("arguments", "kind", "said"),
    [
        (("acme/web", "--plan", "kvm-1"), RuleError, ["10 GiB", "20 GiB", "C4.7"]),
        (("acme/web", "--plan", "kvm4"), ConfigurationError, ["did you mean kvm-4?"]),
        (("acme/wbe", "--plan", "kvm-4"), ConfigurationError, ["did you mean acme/web?"]),
    ],
)
def test_a_resize_that_cannot_be_is_refused_and_nothing_is_written(
    run: Run, project: Project, arguments: tuple[str, ...], kind: type[HosterError], said: list[str]
) -> None:
    run("order", "acme/web", *ORDER)
    before = files(project)

    text = refused(run("resize", *arguments), kind)

    assert [] == [part for part in said if part not in text]
    assert before == files(project)


def test_what_was_ordered_passes_the_check_and_is_shown(run: Run) -> None:
    run("order", "acme/web", *ORDER)

    assert 0 == run("check").exit_code
    [shown] = json.loads(run("show", "acme/web", "--json").stdout)["vps"]
    assert ("vps-cb00710a", "02:00:cb:00:71:0a", 20) == (
        shown["tap"],
        shown["mac"],
        shown["disk_gib"],
    )


def test_a_check_names_both_places_of_a_clash_and_exits_5(run: Run, project: Project) -> None:
    run("order", "acme/web", *ORDER)
    acme = project.declaration("acme")
    project.declaration("bell").write_text(acme.read_text())

    result = run("check", "--json")

    assert 5 == result.exit_code
    [clash] = [
        each for each in json.loads(result.stdout)["findings"] if each["rule"] == "duplicate"
    ]
    line = next(
        number
        for number, text in enumerate(acme.read_text().splitlines(), start=1)
        if "ipv4" in text
    )
    assert (str(project.declaration("bell")), line) == (clash["file"], clash["line"])
    assert f"{acme}:{line}" == clash["other"]


def test_a_key_can_be_a_file(run: Run, project: Project, tmp_path: Path) -> None:
    key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f ada"
    file = tmp_path / "id.pub"
    file.write_text(f"{key}\n")

    run("order", "acme/web", *ORDER, "--ssh-key", str(file))

    assert [(key,)] == [vps.ssh_keys for vps in read_all(project)]
