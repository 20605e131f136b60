"""Acts as any face calls them: handed what they need, saying what came of it, printing nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from email.message import EmailMessage
from typing import Any

import pytest
import yaml

from hoster.acts import announce, clients, collect, incidents, measures, proofs
from hoster.acts.by_name import ACTS, perform
from hoster.acts.choice import Chosen, choose, split
from hoster.catalogue import Catalogue
from hoster.clients.contact import Client
from hoster.clients.notices import Collected
from hoster.errors import ConfigurationError, RuleError
from hoster.fleet import events
from hoster.ledger import Ledger
from hoster.orders.declarations import VpsDeclaration
from hoster.project import Project
from hoster.project.declarations import read_all

WEB = Chosen({"acme/web": "paris-1"}, by_name=True)


@pytest.fixture
def hour(now: datetime) -> list[datetime]:
    """What the clock shows; its one item can be changed."""
    return [now]


@pytest.fixture
def clock(hour: list[datetime]) -> Callable[[], datetime]:
    return lambda: hour[0]


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[EmailMessage]:
    """The mails that a pretended mail server took."""
    taken: list[EmailMessage] = []
    monkeypatch.setattr("hoster.mail.outbox.send", lambda message, _smtp: taken.append(message))
    return taken


@pytest.fixture
def renting(
    project: Project,
    declared: Callable[..., VpsDeclaration],
    monkeypatch: pytest.MonkeyPatch,
) -> Project:
    """A project with two VPSs of acme, on two nodes."""
    monkeypatch.delenv("HOSTER_LEDGER", raising=False)
    db = declared("acme/db", location="roubaix", node="roubaix-1", ipv4="203.0.113.140")
    some = {vps.name: vps.fields_written() for vps in (declared(), db)}
    project.declaration("acme").write_text(yaml.safe_dump({"config": {"hoster:vps": some}}))
    return project


@pytest.fixture
def books(
    renting: Project, ada: Client, now: datetime, sent: list[EmailMessage]
) -> Iterator[Ledger]:
    """Its ledger, which knows acme."""
    with Ledger.open(renting.ledger_url) as opened:
        opened.clients.add(ada, now)
        yield opened


@pytest.mark.parametrize(
    ("names", "found"),
    [("a/b,c/d", ("a/b", "c/d")), (["a/b", "c/d,a/b"], ("a/b", "c/d")), ([], ()), (None, ())],
)
def test_names_are_a_list_or_text_with_commas(names: Any, found: tuple[str, ...]) -> None:
    assert found == split(names)


@pytest.mark.parametrize("names", ["", ",", [""], ["", ","]])
def test_an_empty_name_is_not_the_same_as_none(names: Any) -> None:
    """Beside a host node it would mean all VPSs there: `-e vps=$VPS -e node=paris-1`."""
    with pytest.raises(ConfigurationError, match="names nothing"):
        split(names)


@pytest.mark.parametrize("names", [True, 7, ["acme/web", None], {"acme/web": 1}])
def test_what_yaml_reads_as_something_else_is_no_name(names: Any) -> None:
    with pytest.raises(ConfigurationError, match="is no name"):
        split(names)


def test_what_names_nothing_does_not_choose_all(renting: Project, catalogue: Catalogue) -> None:
    with pytest.raises(ConfigurationError, match="name VPSs"):
        choose(read_all(renting), catalogue)


def test_names_nodes_and_images_narrow_each_other(renting: Project, catalogue: Catalogue) -> None:
    declared = read_all(renting)
    assert Chosen({"acme/web": "paris-1"}, by_name=True) == choose(declared, None, vps=["acme/web"])
    both = {"vps": ("acme/web", "acme/db"), "node": ("roubaix-1",)}
    assert Chosen({"acme/db": "roubaix-1"}, by_name=False) == choose(declared, catalogue, **both)


def test_a_quarantine_is_wanted_then_confirmed_and_its_end_too(
    books: Ledger, catalogue: Catalogue, clock: Any, sent: list[EmailMessage]
) -> None:
    recorded = measures.quarantine(books, clock, WEB, kind="hacked", hours=24)
    [(node, wanted)] = recorded.wanted
    assert ("paris-1", True, "wanted") == (node, wanted.changed, wanted.measure.stage)
    assert not recorded.as_json()["nodes"][0]["measures"][0]["lift"]
    done = measures.confirm(catalogue, books, clock, measures=(1,))
    assert "acme/web is cut off; quarantine for hacked: in force" == done.as_json()["now"][0]

    back = measures.reconnect(catalogue, books, clock, WEB)
    assert back.as_json()["nodes"][0]["measures"][0]["lift"]
    measures.confirm(catalogue, books, clock, measures=(1,))
    assert ["lifted"] == [one.measure.stage for one in incidents.listed(books, everything=True)]
    assert 2 == len(sent)


def test_a_suspension_ends_by_its_own_reason(books: Ledger, clock: Any) -> None:
    assert measures.suspend(books, clock, WEB, reason="unpaid").as_json()["changed"]
    assert not measures.suspend(books, clock, WEB, reason="unpaid").as_json()["changed"]
    with pytest.raises(RuleError, match="name one of"):
        measures.resume(books, clock, WEB, reason="licence")
    assert measures.resume(books, clock, WEB, reason="unpaid").wanted[0][1].changed
    [one] = incidents.listed(books, "acme/web")
    assert ("unpaid", "being lifted", None) == (
        one.measure.ground,
        one.measure.stage,
        one.incident,
    )


def test_a_summary_is_a_table_for_people_and_rows_for_programs(books: Ledger, clock: Any) -> None:
    measures.suspend(books, clock, WEB, reason="unpaid")
    found = measures.summary(books, measures=(1, 99))

    assert 1 == found.waiting
    assert [
        "  acme/web   suspend   unpaid   wanted  ",
        " " * 40,
        "0 done, 1 not: run the playbook again for those",
    ] == found.lines()[3:]
    assert {"vps": "acme/web", "measure": "suspend", "for": "unpaid", "stage": "wanted"} == (
        found.as_json()["measures"][0]
    )


def test_what_an_act_on_many_asks_of_the_ledger_is_asked_once(
    books: Ledger, clock: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def note(subject: str) -> Callable[[], list[Any]]:
        def read() -> list[Any]:
            asked.append(subject)
            return []

        return read

    monkeypatch.setattr(books.announcements, "all", note("announcements"))
    monkeypatch.setattr(books.proofs, "demands", note("demands"))
    many = Chosen({"acme/web": "paris-1", "acme/db": "roubaix-1"}, by_name=False)

    passed = measures.quarantine(books, clock, many, kind="update-missing").passed_over
    assert {"acme/web", "acme/db"} == set(passed)
    measures.suspend(books, clock, many, reason="identity")
    assert ["announcements", "demands"] == asked


def test_a_proof_that_does_not_come_suspends_and_one_that_comes_resumes(
    books: Ledger, renting: Project, catalogue: Catalogue, clock: Any, hour: list[datetime]
) -> None:
    """C7.1."""
    asked = proofs.demand(catalogue, books, clock, clients=("acme",))
    assert (["acme"], ["asked for"]) == (
        list(asked.changed),
        [one.as_json()["stage"] for one in asked.open],
    )
    assert [] == proofs.enforce(renting, books, clock).wanted
    hour[0] += timedelta(hours=73)
    assert ["overdue"] == [
        one.as_json()["stage"] for one in proofs.listed(books, clock, overdue=True)
    ]
    assert 2 == len(proofs.enforce(renting, books, clock).wanted)
    hour[0] += timedelta(hours=1)
    assert () == tuple(proofs.settle(catalogue, books, clock, clients=("acme",)).open)
    lifted = proofs.enforce(renting, books, clock)
    assert [False, False] == [one.measure.is_wanted for _, one in lifted.wanted]


def test_clients_are_told_beforehand_and_reminded(
    books: Ledger,
    renting: Project,
    catalogue: Catalogue,
    clock: Any,
    now: datetime,
    sent: list[EmailMessage],
) -> None:
    """C5.1, C7.3."""
    start = now.replace(tzinfo=None) + timedelta(days=10)
    work = {"node": ("paris-1",), "start": start, "hours": 2}
    tried = announce.maintenance(renting, catalogue, books, clock, **work, dry_run=True)
    assert (None, ["acme"]) == (tried.as_json()["announcement"], tried.as_json()["clients"])
    assert [] == sent
    assert 1 == announce.maintenance(renting, catalogue, books, clock, **work).told.announcement.id

    told = announce.update(
        renting, catalogue, books, clock, image="debian-12", due=start, what="openssl"
    )
    assert ["acme/db", "acme/web"] == told.as_json()["left"]
    assert announce.remind(catalogue, books, clock, number=2).as_json()["changed"]
    assert 3 == len(sent)
    with pytest.raises(ConfigurationError, match="no image debian-1;"):
        announce.update(renting, catalogue, books, clock, image="debian-1", due=start, what="x")


def test_a_node_that_does_not_answer_is_told_of_and_the_others_are_kept(
    books: Ledger,
    renting: Project,
    catalogue: Catalogue,
    clock: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    said = [events.Answer("roubaix-1", [], "no route"), events.Answer("paris-1", [])]
    monkeypatch.setattr(events, "collect", lambda *_, **__: iter(said))
    seen: list[int] = []

    def watch(answers: Iterator[events.Answer], total: int) -> Iterator[events.Answer]:
        seen.append(total)
        return answers

    found = collect.collect(renting, catalogue, books, clock, watch=watch)
    assert [len(catalogue.nodes)] == seen
    assert [("paris-1", Collected(0, (), (), 0))] == found.answered
    assert [("paris-1", ""), ("roubaix-1", "no route")] == [
        (one.node, one.trouble) for one in found.nodes
    ]
    assert not found.is_complete


def test_only_the_details_that_are_given_change(books: Ledger, clock: Any) -> None:
    tried = clients.edit(books, clock, name="acme", details={"city": "Lyon"}, dry_run=True)
    assert (["city"], "Paris") == (tried.changed, books.clients.named("acme").city)
    assert ["city"] == clients.edit(books, clock, name="acme", details={"city": "Lyon"}).changed
    assert "Lyon" == books.clients.named("acme").city


def test_an_act_by_name_takes_words_as_playbooks_have_them(
    books: Ledger, renting: Project, clock: Any
) -> None:
    given = {"vps": "acme/web", "kind": "hacked", "hours": "24", "reinstall": "true"}
    tried = perform("quarantine", given, renting, clock, dry_run=True)
    assert (True, []) == (tried.as_json()["changed"], books.measures.all())
    perform("quarantine", given, renting, clock)
    [incident] = books.incidents.all()
    assert (True, clock() + timedelta(hours=24)) == (incident.reinstall, incident.expected_until)
    all_of_it = {"image": "debian-12", "override": "known", "incident": None}
    back = perform("reconnect", all_of_it, renting, clock)
    assert ["acme/db"] == list(back.as_json()["passed_over"])


@pytest.mark.parametrize(
    ("name", "given", "reason"),
    [
        ("suspent", {}, "no such act as suspent; did you mean suspend"),
        ("suspend", {"vps": "acme/web"}, "suspend: reason: is missing"),
        ("suspend", {"reason": "unpaid", "knote": ""}, "knote: unknown key; did you mean note"),
        ("suspend", {"reason": "unpaid", "dry_run": True}, "dry_run: unknown key"),
        ("quarantine", {"kind": "hacked", "hours": -1}, "hours: input should be greater"),
        ("done", {"measures": ["x"]}, "measures.0: input should be a valid integer"),
        ("done", "measures", "done: arguments: input should be"),
    ],
)
def test_an_argument_that_an_act_does_not_take_is_refused(
    renting: Project, clock: Any, name: str, given: Any, reason: str
) -> None:
    with pytest.raises(ConfigurationError, match=reason):
        perform(name, given, renting, clock)
    assert renting.has_no_ledger


@pytest.mark.parametrize("name", sorted(ACTS))
def test_every_act_can_be_called_by_name(renting: Project, clock: Any, name: str) -> None:
    """What its parameters are called is known to whoever hands them in."""
    with pytest.raises(ConfigurationError, match="nonsense: unknown key"):
        perform(name, {"nonsense": 1}, renting, clock)
