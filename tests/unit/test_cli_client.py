"""`hoster client`, `hoster deliver`, `hoster outbox`: what they say, write and exit with."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime
from ipaddress import IPv4Address
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from click.testing import CliRunner, Result

from hoster.acts import deliver
from hoster.cli import cli
from hoster.engine import pulumi_cli
from hoster.errors import ConfigurationError, RuleError
from hoster.ledger import Ledger
from hoster.project import Project

if TYPE_CHECKING:
    from conftest import MailServer

Run = Callable[..., Result]


@pytest.fixture(autouse=True)
def _own_ledger(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HOSTER_LEDGER", raising=False)


@pytest.fixture
def run(project: Project) -> Run:
    """Run `hoster` in the project; an error that nothing expects comes through."""

    def call(*arguments: str, fails: bool = False) -> Result:
        result = CliRunner().invoke(cli, ["--project", str(project.root), *arguments])
        if result.exception and not isinstance(result.exception, SystemExit) and not fails:
            raise result.exception
        return result

    return call


def options(details: dict[str, Any]) -> list[str]:
    return [
        part
        for field, value in details.items()
        if field != "name"
        for part in (f"--{field.replace('_', '-')}", value)
    ]


# --- hoster client ---


def test_a_client_is_registered_shown_and_edited(run: Run, details: dict[str, Any]) -> None:
    assert "Registered acme" in run("client", "add", "acme", *options(details)).stderr

    assert (
        "Changed email of acme" in run("client", "edit", "acme", "--email", "ops@b.example").stderr
    )
    [shown] = json.loads(run("client", "show", "acme", "--json").stdout)["clients"]
    assert ("ops@b.example", "+33199001234", "Martin") == (
        shown["email"],
        shown["phone"],
        shown["last_name"],
    )


def test_registering_again_changes_nothing(run: Run, details: dict[str, Any]) -> None:
    run("client", "add", "acme", *options(details))

    again = run("client", "add", "acme", *options(details), "--json")

    assert (0, False) == (again.exit_code, json.loads(again.stdout)["changed"])


def test_registering_otherwise_names_the_command_that_edits(
    run: Run, details: dict[str, Any]
) -> None:
    run("client", "add", "acme", *options(details))

    with pytest.raises(RuleError, match="hoster client edit acme"):
        run("client", "add", "acme", *options(details | {"city": "Roubaix"}))


def test_a_dry_run_writes_nothing(run: Run, project: Project, details: dict[str, Any]) -> None:
    result = run("client", "add", "acme", *options(details), "--dry-run")

    assert (0, True) == (result.exit_code, "nothing was written" in result.stderr)
    assert not project.state.exists()


def test_a_dry_edit_tells_what_would_change(run: Run, details: dict[str, Any]) -> None:
    run("client", "add", "acme", *options(details))

    told = run("client", "edit", "acme", "--city", "Lille", "--dry-run").stderr

    assert "would change city of acme" in told
    assert "Lille" not in run("client", "show").stdout


def test_an_edit_that_changes_nothing_says_so(run: Run, details: dict[str, Any]) -> None:
    run("client", "add", "acme", *options(details))

    result = run("client", "edit", "acme", "--city", details["city"])

    assert (0, True) == (result.exit_code, "Changed nothing of acme" in result.stderr)


def test_an_empty_organisation_clears_it(run: Run, details: dict[str, Any]) -> None:
    run("client", "add", "acme", *options(details), "--organisation", "Acme SARL")
    assert "Acme SARL" in run("client", "show").stdout

    run("client", "edit", "acme", "--organisation", "")

    assert "Acme SARL" not in run("client", "show").stdout


def test_details_that_are_not_valid_write_nothing(
    run: Run, project: Project, details: dict[str, Any]
) -> None:
    with pytest.raises(ConfigurationError, match="--email"):
        run("client", "add", "acme", *options(details | {"email": "ada"}))

    assert not project.state.exists()


# --- hoster deliver ---


class PretendedStacks:
    """What the last `pulumi up` of each client made."""

    def __init__(self) -> None:
        self.outputs: dict[str, dict[str, Any]] = {}

    def stack_outputs(self, _project: Project, client: str) -> dict[str, Any]:
        return self.outputs.get(client, {})


@pytest.fixture
def stacks(monkeypatch: pytest.MonkeyPatch) -> PretendedStacks:
    pretended = PretendedStacks()
    monkeypatch.setattr(pulumi_cli, "stack_outputs", pretended.stack_outputs)
    return pretended


@pytest.fixture
def ordered(
    run: Run, project: Project, details: dict[str, Any], mail_server: MailServer, now: datetime
) -> Project:
    """A project with acme/web and acme/mail ordered, and a mail server that answers."""
    run("client", "add", "acme", *options(details))
    common = {"plan": "kvm-2", "image": "debian-12@20250703-2162", "location": "paris"}
    config = {
        "hoster:vps": {
            "web": {**common, "node": "paris-1", "ipv4": "203.0.113.17"},
            "mail": {**common, "node": "paris-1", "ipv4": "203.0.113.18"},
        },
        "hoster:access": {"web": {"secure": "v1:AAAA="}, "mail": {"secure": "v1:AAAA="}},
    }
    project.declaration("acme").write_text(yaml.safe_dump({"config": config}))
    with Ledger.open(project.ledger_url) as ledger:
        for number, name in enumerate(("acme/web", "acme/mail"), start=17):
            address = IPv4Address(f"203.0.113.{number}")
            ledger.orders.begin(name, address, user="debian", now=now)
    company = project.inventory / "group_vars" / "all" / "company.yml"
    content = yaml.safe_load(company.read_text())
    content["company"]["smtp"] = {"host": "127.0.0.1", "port": mail_server.port, "starttls": False}
    company.write_text(yaml.safe_dump(content))
    return project


@pytest.fixture
def deployed(ordered: Project, stacks: PretendedStacks) -> Project:
    """The same, with acme/web running."""
    stacks.outputs["acme"] = {"vps": {"web": {"ipv4": "203.0.113.17"}}}
    return ordered


def deliveries(result: Result) -> list[tuple[str, str, bool]]:
    rows = json.loads(result.stdout)["deliveries"]
    return [(row["vps"], row["state"], row["changed"]) for row in rows]


@pytest.mark.usefixtures("deployed")
def test_a_second_delivery_mails_nobody(run: Run, mail_server: MailServer) -> None:
    first = run("deliver", "acme/web", "--json")
    second = run("deliver", "acme/web", "--json")

    assert (0, [("acme/web", "delivered", True)]) == (first.exit_code, deliveries(first))
    assert (0, [("acme/web", "delivered", False)]) == (second.exit_code, deliveries(second))
    assert 1 == len(mail_server.taken)


@pytest.mark.usefixtures("deployed")
def test_all_delivers_what_runs_and_leaves_the_rest(run: Run, mail_server: MailServer) -> None:
    assert [("acme/web", "delivered", True)] == deliveries(run("deliver", "--all", "--json"))
    assert 1 == len(mail_server.taken)


def test_all_tells_what_it_cannot_deliver_and_delivers_the_others(
    run: Run, deployed: Project, stacks: PretendedStacks, mail_server: MailServer
) -> None:
    stacks.outputs["acme"]["vps"]["mail"] = {"ipv4": "203.0.113.99"}

    result = run("deliver", "--all", "--json")

    assert 5 == result.exit_code
    assert [("acme/mail", "refused", False), ("acme/web", "delivered", True)] == sorted(
        deliveries(result)
    )
    assert "acme/mail is declared and not deployed" in result.stderr


@pytest.mark.usefixtures("deployed")
def test_a_dry_delivery_queues_nothing_and_knows_what_was_delivered(
    run: Run, mail_server: MailServer
) -> None:
    dry = run("deliver", "acme/web", "--dry-run", "--json")
    run("deliver", "acme/web")
    after = run("deliver", "acme/web", "--dry-run", "--json")

    assert [("acme/web", "would be delivered", False)] == deliveries(dry)
    assert [("acme/web", "delivered", False)] == deliveries(after)
    assert 1 == len(mail_server.taken)


@pytest.mark.usefixtures("deployed")
def test_what_is_not_deployed_is_refused_before_any_waiting(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    waited: list[object] = []
    monkeypatch.setattr(deliver, "wait_for", lambda *given: waited.append(given))

    with pytest.raises(RuleError, match="acme/mail is declared and not deployed"):
        run("deliver", "acme/mail", "--wait", "600")

    assert [] == waited


@pytest.mark.usefixtures("deployed")
def test_a_mail_server_that_is_away_is_told_and_the_mail_goes_later(
    run: Run, mail_server: MailServer
) -> None:
    mail_server.stop()
    away = run("deliver", "acme/web", "--json")
    mail_server.start()
    [mail] = json.loads(run("outbox", "--json").stdout)["mails"]
    run("outbox", "retry", str(mail["id"]))
    sent = run("outbox", "send", "--json")

    assert (4, [("acme/web", "queued", True)]) == (away.exit_code, deliveries(away))
    assert "hoster outbox send tries again" in away.stderr
    assert (0, ["delivery:acme/web"]) == (sent.exit_code, json.loads(sent.stdout)["sent"])
    assert 1 == len(mail_server.taken)


@pytest.mark.usefixtures("deployed")
def test_a_mail_that_is_refused_for_good_is_not_called_delivered(
    run: Run, mail_server: MailServer
) -> None:
    mail_server.answer_to_recipient = "550 nobody of that name"

    result = run("deliver", "acme/web", "--json")

    assert (4, [("acme/web", "failed", True)]) == (result.exit_code, deliveries(result))
    assert "550 nobody of that name" in run("outbox").stdout


@pytest.mark.usefixtures("deployed")
def test_no_command_shows_the_password(
    run: Run, deployed: Project, mail_server: MailServer, now: datetime
) -> None:
    with Ledger.open(deployed.ledger_url) as ledger:
        codes = ledger.orders.begin("acme/web", IPv4Address("203.0.113.17"), user="debian", now=now)
    results = [
        run("deliver", "acme/web"),
        run("outbox"),
        run("outbox", "--json"),
        run("client", "show", "--json"),
        run("outbox", "send", "--json"),
    ]

    assert codes.password in mail_server.taken[0].get_content()
    assert [] == [each.output for each in results if codes.password in each.output]
    left = [path for path in deployed.root.rglob("*") if path.is_file()]
    assert [] == [path for path in left if codes.password.encode() in path.read_bytes()]


def test_naming_nothing_is_a_usage_error(run: Run) -> None:
    assert 2 == run("deliver").exit_code


@pytest.mark.usefixtures("deployed")
def test_a_vps_that_is_not_declared_is_told_with_near_names(run: Run) -> None:
    with pytest.raises(ConfigurationError, match=r"no VPS acme/wep is declared; did you mean"):
        run("deliver", "acme/wep")


# --- hoster outbox ---


def test_an_empty_outbox_is_no_error(run: Run) -> None:
    assert {"mails": []} == json.loads(run("outbox", "--json").stdout)
    assert 0 == run("outbox").exit_code


@pytest.mark.parametrize(
    "command",
    [
        ("client",),
        ("client", "add"),
        ("client", "edit"),
        ("client", "show"),
        ("deliver",),
        ("outbox",),
        ("outbox", "send"),
        ("outbox", "retry"),
    ],
    ids=" ".join,
)
def test_every_commands_help_has_an_example(run: Run, command: tuple[str, ...]) -> None:
    told = run(*command, "--help").output

    assert "Example" in told
    assert f"hoster {command[0]}" in told
