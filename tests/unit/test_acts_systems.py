"""New systems and ends of VPSs, as acts: of several at once, and what each reads and writes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from email.message import EmailMessage
from typing import Any

import pytest
import yaml

from hoster.acts import reinstall, terminate
from hoster.catalogue import Catalogue
from hoster.clients.contact import Client
from hoster.engine import pulumi_cli
from hoster.errors import ConfigurationError, NoRoomError, RuleError
from hoster.ledger import Ledger
from hoster.orders.declarations import VpsDeclaration
from hoster.project import Project, declarations
from hoster.project.inventory import load_catalogue

BOTH = ("acme/web", "acme/db")
VALUES = {"city": "Paris", "country": "FR", "plan": "KVM 2", "vcpus": 2, "memory_mib": 2048}


@pytest.fixture
def pulumi(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What was asked of Pulumi, which does as it is told."""
    asked: list[str] = []

    def note(name: str, answer: Any) -> Callable[..., Any]:
        def call(_project: Project, client: str, *given: Any, **options: Any) -> Any:
            words = map(str, (name, client, *given, *options.values()))
            asked.append(" ".join(words) if name != "encrypt" else f"encrypt {client}")
            return answer

        return call

    answers = {"encrypt": "v1:sealed", "deploy": True, "unprotect": True, "remove_stack": True}
    for name, answer in answers.items():
        monkeypatch.setattr(pulumi_cli, name, note(name, answer))
    return asked


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The files of declarations that were read."""
    read, found = declarations.read, list[str]()
    monkeypatch.setattr(declarations, "read", lambda file: (found.append(file.name), read(file))[1])
    return found


@pytest.fixture
def renting(
    project: Project, declared: Callable[..., VpsDeclaration], monkeypatch: pytest.MonkeyPatch
) -> Project:
    """A project with two VPSs of acme on one node, and one of beta."""
    monkeypatch.delenv("HOSTER_LEDGER", raising=False)
    vpss = [
        declared(),
        declared("acme/db", ipv4="203.0.113.18"),
        declared("beta/app", ipv4="203.0.113.19"),
    ]
    for client in ("acme", "beta"):
        some = {vps.name: vps.fields_written() for vps in vpss if vps.client == client}
        project.declaration(client).write_text(yaml.safe_dump({"config": {"hoster:vps": some}}))
    return project


@pytest.fixture
def books(
    renting: Project, ada: Client, now: datetime, sent: list[EmailMessage], clock: Any
) -> Iterator[Ledger]:
    """Its ledger: the VPSs of acme were delivered."""
    with Ledger.open(renting.ledger_url) as opened:
        opened.clients.add(ada, now)
        for vps in declarations.read_all(renting).named(BOTH):
            opened.orders.begin(vps.full_name, vps.ipv4, user="debian", now=now)
            values = VALUES | {"vps": vps.full_name, "ipv4": str(vps.ipv4), "image": "Debian"}
            opened.orders.deliver(vps.full_name, values | {"disk_gib": 20}, now)
            [mail] = [one for one in opened.outbox.mails() if one.sent_at is None]
            opened.outbox.mark_sent(mail, now)
        yield opened


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[EmailMessage]:
    """The mails that a pretended mail server took."""
    taken: list[EmailMessage] = []
    monkeypatch.setattr("hoster.mail.outbox.send", lambda message, _smtp: taken.append(message))
    return taken


@pytest.fixture
def hour(now: datetime) -> list[datetime]:
    return [now]


@pytest.fixture
def clock(hour: list[datetime]) -> Callable[[], datetime]:
    return lambda: hour[0]


@pytest.fixture
def wanted(
    renting: Project, catalogue: Catalogue, books: Ledger, clock: Any, pulumi: list[str]
) -> Callable[..., reinstall.Reinstalling]:
    """Want new systems, as ticket-1 asks."""

    def want(*vps: str, **options: Any) -> reinstall.Reinstalling:
        given = {"request": "ticket-1", **options}
        return reinstall.reinstall(renting, catalogue, books, clock, vps=vps, **given)

    return want


def installations(project: Project) -> list[int]:
    return [vps.installation for vps in declarations.read_all(project)]


def test_two_reinstalls_that_fit_singly_and_not_together_are_refused_together(
    renting: Project, books: Ledger, clock: Any, pulumi: list[str]
) -> None:
    """C2.1: nothing of either is recorded or declared; and a dry run says so, too."""
    hosts = renting.inventory / "hosts.yml"
    hosts.write_text(hosts.read_text().replace("disk_gib: 7000", "disk_gib: 99"))
    small = load_catalogue(renting.inventory)

    def want(*vps: str, dry_run: bool) -> bool:
        options = {"vps": vps, "request": "ticket-1", "dry_run": dry_run}
        return reinstall.reinstall(renting, small, books, clock, **options).changed

    assert [True, True] == [want(name, dry_run=True) for name in BOTH]
    for dry_run in (True, False):
        with pytest.raises(NoRoomError, match=r"acme/db.*disk \(GiB\): 20 asked, 19 free"):
            want(*BOTH, dry_run=dry_run)
    assert ([], []) == (books.reinstalls.all(), pulumi)
    assert [1, 1, 1] == sorted(installations(renting))


def test_of_several_each_declaration_is_read_once(
    wanted: Callable[..., reinstall.Reinstalling], renting: Project, reads: list[str]
) -> None:
    done = wanted(*BOTH)

    assert [2, 2] == [one.installation for one in declarations.read_all(renting).named(BOTH)]
    assert ["acme/web", "acme/db"] == [job.vps for job in done.jobs]
    assert {"Pulumi.acme.yaml", "Pulumi.beta.yaml"} == set(reads)
    assert 2 * 2 == len(reads)  # the test's own reading among them


def test_a_dry_run_of_a_reinstall_writes_nothing(
    wanted: Callable[..., reinstall.Reinstalling], renting: Project, books: Ledger
) -> None:
    [job] = wanted("acme/web", dry_run=True).jobs

    assert (0, "possible", "acme.web.2.qcow2") == (job.reinstall, job.stage, job.disk)
    assert ([], [1, 1, 1]) == (books.reinstalls.all(), installations(renting))
    with pytest.raises(ConfigurationError, match="no VPS acme/wep"):
        wanted("acme/wep")


def test_a_new_system_that_was_seen_is_handed_over_and_its_former_disk_erased_when_due(
    wanted: Callable[..., reinstall.Reinstalling],
    renting: Project,
    catalogue: Catalogue,
    books: Ledger,
    clock: Any,
    hour: list[datetime],
    sent: list[EmailMessage],
    pulumi: list[str],
) -> None:
    """C4.2, C7.5."""
    wanted("acme/web", keep=True)
    with pytest.raises(RuleError, match="not seen up yet"):
        reinstall.hand_over(renting, catalogue, books, clock, reinstall=1)
    seen = reinstall.seen(renting, catalogue, books, clock, reinstall=1)
    assert (True, []) == (seen.changed, list(seen.measures))
    assert seen.now.endswith("and is connected")
    assert not reinstall.hand_over(renting, catalogue, books, clock, reinstall=1).changed
    assert 1 == len(sent)

    assert [] == reinstall.erase(renting, books, clock, due=True).vps
    hour[0] += timedelta(days=7)
    pulumi.clear()
    assert ["acme/web"] == reinstall.erase(renting, books, clock, due=True).vps
    assert ["unprotect acme web 1", "deploy acme"] == pulumi
    with pytest.raises(ConfigurationError, match="name VPSs"):
        reinstall.erase(renting, books, clock)


def test_a_new_system_that_nobody_saw_is_given_up(
    wanted: Callable[..., reinstall.Reinstalling],
    renting: Project,
    books: Ledger,
    clock: Any,
    reads: list[str],
) -> None:
    """C6.3: only its own client's declarations are read."""
    wanted("acme/web")
    reads.clear()
    given_up = reinstall.give_up(renting, books, clock, vps=("acme/web",))

    assert {"Pulumi.acme.yaml"} == set(reads)
    assert given_up.changed
    assert [{"vps": "acme/web", "node": "paris-1", "domain": "acme.web"}] == (
        given_up.as_json()["jobs"]
    )
    assert [1, 1, 1] == installations(renting)


def test_several_ends_are_wanted_and_removed_with_what_there_is_read_once(
    renting: Project,
    catalogue: Catalogue,
    books: Ledger,
    clock: Any,
    reads: list[str],
    pulumi: list[str],
    sent: list[EmailMessage],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """C12.5, C15.2: a stack goes with its last VPS, and may do without those that ended."""
    asked: list[str] = []
    known = books.terminations.all
    monkeypatch.setattr(
        books.terminations, "all", lambda: (asked.append("terminations"), known())[1]
    )
    with pytest.raises(RuleError, match="no termination of acme/web"):
        terminate.remove(renting, books, vps=BOTH)
    with pytest.raises(RuleError, match="no termination of acme/web"):
        terminate.terminated(catalogue, books, clock, vps=BOTH)
    asked.clear()
    ends = terminate.terminate(renting, catalogue, books, clock, vps=BOTH, reason="request")
    assert [True, True] == [one.is_open for one in ends.endings]
    assert ["Pulumi.acme.yaml", "Pulumi.beta.yaml"] == reads
    assert ["terminations"] == asked

    assert terminate.remove(renting, books, vps=BOTH).changed
    assert ["terminations"] * 2 == asked
    deploy = "deploy acme ['acme/web', 'acme/db']"
    assert [
        "unprotect acme web",
        deploy,
        "unprotect acme db",
        deploy,
        "remove_stack acme",
    ] == pulumi
    assert not renting.declaration("acme").exists()
    assert terminate.terminated(catalogue, books, clock, vps=BOTH).changed
    assert not terminate.terminated(catalogue, books, clock, vps=BOTH).changed
    assert 2 == len(sent)


def test_a_dry_run_of_a_termination_says_what_would_be_lost(
    renting: Project, catalogue: Catalogue, books: Ledger, clock: Any
) -> None:
    options = {"vps": ("acme/web",), "reason": "request", "dry_run": True}
    [end] = terminate.terminate(renting, catalogue, books, clock, **options).endings

    assert ("acme.web", "203.0.113.17") == (end.lost["domain"], end.lost["ipv4"])
    assert [] == books.terminations.all()
