"""`hoster act`, `incidents`, `audit`: what playbooks record, what ops and auditors see."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from email.message import EmailMessage
from typing import Any

import pytest
import time_machine
import yaml
from click.testing import CliRunner

from hoster.cli import cli
from hoster.clients.contact import Client
from hoster.errors import ConfigurationError, HosterError, RuleError
from hoster.ledger import Ledger
from hoster.mail import message as mail
from hoster.orders.declarations import VpsDeclaration
from hoster.project import Project

CUT = ("act", "quarantine", "acme/web", "--kind", "hacked", "--hours", "24", "--reinstall")


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[EmailMessage]:
    """The mails that a pretended mail server took."""
    taken: list[EmailMessage] = []
    monkeypatch.setattr("hoster.mail.outbox.send", lambda message, _smtp: taken.append(message))
    return taken


@pytest.fixture
def run(
    with_ledger: Project, ada: Client, declared: Callable[..., VpsDeclaration], now: Any
) -> Iterator[Callable[..., Any]]:
    """Run a command in a project with two VPSs on two nodes; return its JSON."""
    project, web = with_ledger, declared()
    db = declared("acme/db", location="roubaix", node="roubaix-1", ipv4="203.0.113.140")
    some = {vps.name: vps.fields_written() for vps in (web, db)}
    project.declaration("acme").write_text(yaml.safe_dump({"config": {"hoster:vps": some}}))
    with Ledger.open(project.ledger_url) as ledger:
        ledger.clients.add(ada, now)

    def invoke(*arguments: str, code: int = 0) -> Any:
        done = CliRunner().invoke(cli, ["--project", str(project.root), *arguments])
        if isinstance(done.exception, HosterError):
            raise done.exception
        assert code == done.exit_code, done.output
        return json.loads(done.stdout) if done.stdout else None

    return invoke


def test_an_act_says_what_each_node_has_to_do(run: Callable[..., Any]) -> None:
    said = run("act", "suspend", "acme/web,acme/db", "--reason", "unpaid")

    assert said["changed"]
    assert {"paris-1": "acme/web", "roubaix-1": "acme/db"} == {
        one["node"]: one["measures"][0]["vps"] for one in said["nodes"]
    }
    assert {
        "vps": "acme/web",
        "measure": 1,
        "kind": "quarantine",
        "as": "measure-1",
        "lift": False,
        "reason": "suspend: unpaid",
    } == said["nodes"][0]["measures"][0]
    assert not run("act", "suspend", "acme/web,acme/db", "--reason", "unpaid")["changed"]


def test_an_act_is_told_once_it_is_done(run: Callable[..., Any], sent: list[EmailMessage]) -> None:
    """C6.1, C7.4: nature, duration, and that a reinstall is required; then the end, once each."""
    run(*CUT)
    assert [] == sent
    assert run("act", "done", "1")["changed"]
    assert not run("act", "done", "1")["changed"]
    [mail_] = sent
    text = mail_.get_content()
    assert "incident 1" in mail_["Subject"]
    assert "prise de contrôle" in text
    assert "réinstallation" in text
    assert "Durée prévue" in text

    assert run("act", "reconnect", "acme/web")["nodes"][0]["measures"][0]["lift"]
    run("act", "done", "1")
    assert ["1 de votre VPS acme/web est clos"] == [
        mail_["Subject"].partition("incident ")[2] for mail_ in sent[1:]
    ]


def test_a_dry_run_records_nothing(run: Callable[..., Any]) -> None:
    assert run(*CUT, "--dry-run")["changed"]
    assert [] == run("incidents", "--json")["measures"]


def test_a_wrong_name_leaves_no_half_of_the_others(run: Callable[..., Any]) -> None:
    with pytest.raises(ConfigurationError, match="did you mean acme/web"):
        run("act", "suspend", "acme/db,acme/wep", "--reason", "unpaid")
    with pytest.raises(RuleError, match="nothing to resume"):
        run("act", "resume", "acme/db", "--reason", "unpaid")
    assert [] == run("incidents", "--all", "--json")["measures"]


def test_incidents_show_what_is_in_force_and_what_was(run: Callable[..., Any]) -> None:
    run(*CUT, "--evidence", "ticket-4711")
    run("act", "suspend", "acme/web", "--reason", "unpaid", "--note", "invoice-7")
    run("act", "resume", "acme/web", "--reason", "unpaid")
    run("act", "done", "1", "2")

    [left] = run("incidents", "acme/web", "--json")["measures"]
    assert ("hacked", "in force", "ticket-4711", True) == (
        left["ground"],
        left["stage"],
        left["evidence"],
        left["reinstall"],
    )
    every = run("incidents", "--all", "--json")["measures"]
    assert ["in force", "lifted"] == [one["stage"] for one in every]


def test_an_auditor_reads_the_trail_and_sees_that_it_is_whole(run: Callable[..., Any]) -> None:
    """C15.1."""
    run(*CUT)
    entries = run("audit", "--subject", "acme/web", "--json")["entries"]
    assert ["incident-opened", "quarantine-wanted"] == [one["kind"] for one in entries]
    found = run("audit", "verify", "--json")
    assert found["sound"]
    assert 3 == found["entries"]
    assert run("audit", "verify", "--json", "--anchor", found["head"])["sound"]
    assert not run("audit", "verify", "--json", "--anchor", "f" * 64, code=5)["sound"]


def test_no_mail_is_lost_while_the_mail_server_is_away(
    run: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, sent: list[EmailMessage]
) -> None:
    def away(*_: object) -> None:
        raise mail.MailNotTakenError("away", final=False)

    with monkeypatch.context() as patched:
        patched.setattr("hoster.mail.outbox.send", away)
        run(*CUT)
        run("act", "done", "1")
    assert [] == sent
    run("outbox", "retry", "1", "--json")
    run("outbox", "send", "--json")
    assert 1 == len(sent)


def test_a_vps_shows_why_it_is_cut_off_and_what_can_be_done(run: Callable[..., Any]) -> None:
    run(*CUT)
    run("act", "suspend", "acme/web", "--reason", "unpaid")
    run("act", "done", "1")
    [shown] = run("show", "acme/web", "--json")["vps"]

    assert "cut off" == shown["state"]
    assert [("hacked", "in force"), ("unpaid", "wanted")] == [
        (one["ground"], one["stage"]) for one in shown["measures"]
    ]
    assert {"quarantine", "suspend", "reconnect", "resume", "reinstall", "terminate"} == set(
        shown["possible"]
    )
    assert "incident-opened" == shown["history"][0]["kind"]
    [other] = run("show", "acme/db", "--json")["vps"]
    assert ("connected", []) == (other["state"], other["measures"])


def test_clients_are_told_of_work_on_their_node_and_of_an_update(
    run: Callable[..., Any], sent: list[EmailMessage]
) -> None:
    """C7.3: at the times that the clients' clocks show."""
    when = ("--node", "paris-1", "--start", "2026-12-01T22:00", "--hours", "2", "--json")
    assert run("announce", "maintenance", *when, "--dry-run")["changed"]
    assert [] == sent
    assert ["acme/web"] == run("announce", "maintenance", *when)["vps"]
    assert not run("announce", "maintenance", *when)["changed"]
    assert "1 décembre 2026, 22:00 (Europe/Paris)" in sent[0]["Subject"]

    due = ("--image", "debian-12", "--due", "2026-01-10", "--what", "openssl", "--json")
    assert 2 == run("announce", "update", *due)["announcement"]
    cut = ("act", "quarantine", "acme/web", "--kind", "update-missing")
    with pytest.raises(RuleError, match="never reminded"):
        run(*cut)
    assert ["acme"] == run("announce", "remind", "2", "--json")["clients"]
    assert run("announce", "settle", "2", "acme/db", "--json")["changed"]
    assert run(*cut)["changed"]
    listed = run("announce", "--json")["announcements"]
    assert [[], ["acme/web"]] == [one["left"] for one in listed]
    assert 3 == len(sent)
    with pytest.raises(ConfigurationError, match="did you mean paris-1"):
        run("announce", "maintenance", "--node", "paris-11", *when[2:])


def on_nodes(said: Any) -> dict[str, list[str]]:
    return {one["node"]: [each["vps"] for each in one["measures"]] for one in said["nodes"]}


def test_an_act_can_be_of_all_vpss_of_a_node_or_an_image(run: Callable[..., Any]) -> None:
    """By names, nodes and images: each narrows the others."""
    suspend = ("act", "suspend", "--reason", "licence", "--dry-run")
    everywhere = {"paris-1": ["acme/web"], "roubaix-1": ["acme/db"]}
    assert everywhere == on_nodes(run(*suspend, "--image", "debian-12"))
    assert everywhere == on_nodes(run(*suspend, "--node", "paris-1,roubaix-1"))
    assert {"paris-1": ["acme/web"]} == on_nodes(run(*suspend, "--node", "paris-1"))
    assert {} == on_nodes(run(*suspend, "acme/db", "--node", "paris-1"))
    with pytest.raises(ConfigurationError, match=r"no host node paris-2(?s:.*)paris-1"):
        run(*suspend, "--node", "paris-2")
    with pytest.raises(ConfigurationError, match=r"no image debian-1(?s:.*)debian-12"):
        run(*suspend, "--image", "debian-1")
    run(*suspend, code=2)
    run(*suspend, "", code=2)
    with pytest.raises(ConfigurationError, match="names nothing"):
        run(*suspend, "", "--node", "paris-1")


def test_of_many_those_are_passed_over_for_which_it_makes_no_sense(
    run: Callable[..., Any],
) -> None:
    """C15.1: but a VPS that was named must be told why."""
    run("act", "suspend", "acme/web", "--reason", "unpaid")
    resume = ("act", "resume", "--reason", "unpaid")
    with pytest.raises(RuleError, match="acme/db is connected"):
        run(*resume, "acme/web,acme/db")
    said = run(*resume, "--image", "debian-12")
    assert {"paris-1": ["acme/web"]} == on_nodes(said)
    assert ["acme/db"] == list(said["passed_over"])


def test_a_summary_says_what_became_of_each(run: Callable[..., Any], project: Project) -> None:
    run("act", "suspend", "acme/web,acme/db", "--reason", "unpaid")
    run("act", "done", "1")
    done = CliRunner().invoke(cli, ["--project", str(project.root), "act", "summary", "1", "2"])
    lines = [line.split() for line in done.stdout.splitlines()]
    assert ["acme/web", "suspend", "unpaid", "in", "force"] in lines
    assert ["acme/db", "suspend", "unpaid", "wanted"] in lines
    assert "1 done, 1 not" in done.stdout


def test_vpss_are_suspended_once_their_clients_proof_is_overdue_and_come_back(
    run: Callable[..., Any], sent: list[EmailMessage], now: datetime
) -> None:
    """C7.1: 72 hours, from the mail on; each mail once; what is in force is left alone."""
    with time_machine.travel(now, tick=False) as clock:
        assert ["acme"] == run("proof", "demand", "acme", "--json")["changed"]
        assert [] == run("proof", "demand", "acme", "--json")["changed"]
        assert ["avant le 4 mars 2026, 10:30 (Europe/Paris)"] == [
            mail_["Subject"].partition("demandé ")[2] for mail_ in sent
        ]
        suspend = ("act", "suspend", "acme/web", "--reason", "identity")
        with pytest.raises(RuleError, match="until 2026-03-04 09:30 UTC to send"):
            run(*suspend)
        clock.shift(timedelta(hours=72))
        assert {} == on_nodes(run("act", "proofs"))
        assert [] == run("proof", "--overdue", "--json")["proofs"]
        clock.shift(timedelta(seconds=1))
        assert ["acme"] == [one["client"] for one in run("proof", "--overdue", "--json")["proofs"]]
        both = {"paris-1": ["acme/web"], "roubaix-1": ["acme/db"]}
        assert run("act", "proofs", "--dry-run")["changed"]
        assert both == on_nodes(run("act", "proofs"))
        again = run("act", "proofs")
        assert (False, both) == (again["changed"], on_nodes(again))
        run("act", "done", "1", "2")
        assert {} == on_nodes(run("act", "proofs"))
        with pytest.raises(RuleError, match="has not come"):
            run("act", "resume", "acme/web", "--reason", "identity")

        clock.shift(timedelta(hours=1))
        assert ["acme"] == run("proof", "settle", "acme", "--note", "seen", "--json")["changed"]
        assert [] == run("proof", "settle", "acme", "--json")["changed"]
        back = run("act", "proofs")
        assert both == on_nodes(back)
        assert [True, True] == [one["measures"][0]["lift"] for one in back["nodes"]]
        run("act", "done", "1", "2")
        assert {} == on_nodes(run("act", "proofs"))
    assert [("settled", "seen")] == [
        (one["stage"], one["settlement"]) for one in run("proof", "--all", "--json")["proofs"]
    ]
    assert 1 + 2 + 1 + 2 == len(sent)


def test_a_client_whose_mail_has_not_gone_out_is_not_late(
    run: Callable[..., Any],
    sent: list[EmailMessage],
    monkeypatch: pytest.MonkeyPatch,
    now: datetime,
) -> None:
    """C7.1: its 72 hours begin when it is told."""

    def away(*_: object) -> None:
        raise mail.MailNotTakenError("away", final=False)

    with time_machine.travel(now, tick=False) as clock:
        with monkeypatch.context() as patched:
            patched.setattr("hoster.mail.outbox.send", away)
            run("proof", "demand", "acme", "--json")
            clock.shift(timedelta(hours=100))
            assert ["not told yet"] == [one["stage"] for one in run("proof", "--json")["proofs"]]
            assert {} == on_nodes(run("act", "proofs"))
            with pytest.raises(RuleError, match="has not gone out"):
                run("act", "suspend", "acme/web", "--reason", "identity")
        run("outbox", "send", "--json")
        clock.shift(timedelta(hours=71))
        assert {} == on_nodes(run("act", "proofs"))
        clock.shift(timedelta(hours=2))
        assert 2 == len(on_nodes(run("act", "proofs")))
    assert 1 == len(sent)


def test_a_demand_to_somebody_unknown_is_made_to_nobody(
    run: Callable[..., Any], sent: list[EmailMessage]
) -> None:
    with pytest.raises(ConfigurationError, match=r"no client acne(?s:.*)acme"):
        run("proof", "demand", "acme", "acne", "--json")
    assert ["acme"] == run("proof", "demand", "acme", "--dry-run", "--json")["changed"]
    assert [] == run("proof", "--json")["proofs"]
    assert [] == sent
    with pytest.raises(RuleError, match="never asked"):
        run("proof", "settle", "acme", "--json")
    with pytest.raises(RuleError, match="asked for no proof"):
        run("act", "suspend", "acme/web", "--reason", "identity")
