"""Acts without a command line: values in, a value out, nothing printed, each thing read once."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import FrozenInstanceError
from datetime import datetime
from typing import Any

import pytest
import yaml

from hoster.acts import change as changes
from hoster.acts import reach
from hoster.acts.apply import apply
from hoster.acts.change import Change
from hoster.acts.check import check
from hoster.acts.compare import compare
from hoster.acts.deliver import Deliveries
from hoster.acts.drift import drift
from hoster.acts.order import order
from hoster.acts.preview import preview
from hoster.acts.resize import resize
from hoster.acts.review import review
from hoster.acts.show import record, show
from hoster.catalogue import Catalogue, Company
from hoster.changes.drift import NodeFacts
from hoster.clients.contact import Client
from hoster.engine import pulumi_cli
from hoster.engine.rollout import Result
from hoster.errors import ConfigurationError, RuleError, ToolError
from hoster.fleet import facts, ssh
from hoster.fleet.ssh import NoAnswerError, NodeSsh
from hoster.ledger import Ledger
from hoster.orders.ordering import Order
from hoster.project import Project, declarations, git
from hoster.project.inventory import load_catalogue

WISH = Order("acme", "web", "kvm-2", "debian-12", "paris")
UPDATE = {
    "steps": [
        {
            "op": "update",
            "urn": "urn:pulumi:acme::hoster::hoster:vps:VirtualServer::web",
            "newState": {"type": "hoster:vps:VirtualServer"},
        }
    ]
}


@pytest.fixture(autouse=True)
def silent(capsys: pytest.CaptureFixture[str]) -> Iterator[None]:
    """An act prints nothing, whatever it does."""
    yield
    assert ("", "") == tuple(capsys.readouterr())


@pytest.fixture(autouse=True)
def pulumi(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Stands for Pulumi: what each stack last deployed."""
    outputs: dict[str, Any] = {}

    def ensure_stack(project: Project, client: str) -> None:
        project.declaration(client).write_text("encryptionsalt: v1:AAAA=\n")

    monkeypatch.setattr(pulumi_cli, "ensure_stack", ensure_stack)
    monkeypatch.setattr(pulumi_cli, "encrypt", lambda *_: "v1:sealed")
    monkeypatch.setattr(pulumi_cli, "stack_outputs", lambda _, client: outputs.get(client, {}))
    monkeypatch.setattr(pulumi_cli, "preview", lambda *_: UPDATE)
    monkeypatch.setattr(pulumi_cli, "repair", lambda *_: 0)
    monkeypatch.setattr(pulumi_cli, "deploy", lambda *_: True)
    return outputs


@pytest.fixture
def clock(now: datetime) -> Callable[[], datetime]:
    return lambda: now


@pytest.fixture
def book(project: Project, ada: Client, now: datetime) -> Iterator[Ledger]:
    """The project's ledger, which knows the client acme."""
    with Ledger.open(project.ledger_url) as opened:
        opened.clients.add(ada, now)
        yield opened


@pytest.fixture
def ordered(
    project: Project, catalogue: Catalogue, book: Ledger, clock: Any, pulumi: dict[str, Any]
) -> Ledger:
    """The ledger, once acme/web was ordered and its stack says that it runs."""
    vps = order(project, catalogue, book, clock, WISH).vps
    pulumi["acme"] = {"vps": {"web": {"ipv4": str(vps.ipv4), "plan": "kvm-2"}}}
    return book


def test_an_order_returns_what_it_declared(
    project: Project, catalogue: Catalogue, book: Ledger, clock: Any
) -> None:
    dry = order(project, catalogue, book, clock, WISH, dry_run=True)
    assert (False, False) == (dry.written, project.declaration("acme").exists())

    done = order(project, catalogue, book, clock, WISH)

    assert (True, dry.vps) == (done.written, done.vps)
    assert [done.vps] == list(declarations.read_all(project))
    assert not order(project, catalogue, book, clock, WISH).written
    with pytest.raises(FrozenInstanceError):
        done.written = False  # type: ignore[misc]


def test_a_resize_returns_the_difference(
    project: Project, catalogue: Catalogue, ordered: Ledger
) -> None:
    dry = resize(project, catalogue, "acme/web", "kvm-4", dry_run=True)
    assert (True, False) == (dry.is_another, dry.written)

    done = resize(project, catalogue, "acme/web", "kvm-4")

    assert ("kvm-4", True) == (done.vps.plan, done.written)
    assert "-      plan: kvm-2\n+      plan: kvm-4\n" in done.diff
    assert not resize(project, catalogue, "acme/web", "kvm-4").is_another


def test_a_delivery_says_how_far_it_is(
    project: Project, catalogue: Catalogue, company: Company, ordered: Ledger, clock: Any
) -> None:
    selling = catalogue.model_copy(update={"company": company})
    [web] = declarations.read_all(project)

    act = Deliveries(project, selling, ordered, clock)

    assert [("acme/web", "delivered", True)] == [
        (one.vps, one.state, one.changed) for one in act.each([web])
    ]
    assert [False] == [one.changed for one in act.each([web])]


def test_of_all_deliveries_those_that_are_refused_are_told(
    project: Project,
    catalogue: Catalogue,
    company: Company,
    ordered: Ledger,
    clock: Any,
    pulumi: dict[str, Any],
) -> None:
    selling = catalogue.model_copy(update={"company": company})
    pulumi["acme"]["vps"]["web"]["ipv4"] = "203.0.113.99"
    refused: list[RuleError] = []

    found = Deliveries(project, selling, ordered, clock).all(
        declarations.read_all(project), refused.append
    )

    assert [("acme/web", "refused")] == [(one.vps, one.state) for one in found]
    [error] = refused
    assert "not deployed" in str(error)


def test_what_is_declared_is_shown_with_its_plan_and_its_record(
    project: Project, catalogue: Catalogue, ordered: Ledger
) -> None:
    [shown] = show(project, catalogue, "acme", deployed=True)
    kept = record(ordered, "acme/web")

    assert ("acme/web", catalogue.plans["kvm-2"], "kvm-2") == (
        shown.vps.full_name,
        shown.plan,
        shown.deployed_plan,
    )
    assert ("connected", ()) == (kept.situation.state.value, kept.reinstalls)
    with pytest.raises(ConfigurationError, match="did you mean acme"):
        show(project, catalogue, "acmee")


def test_what_breaks_a_rule_has_its_place(repository: Project) -> None:
    file = repository.declaration("acme")
    file.write_text(file.read_text().replace("plan: kvm-2", "plan: kvm-3"))

    found = check(Change(repository))

    assert 2 == sum(1 for _ in found.declared)
    assert [("plan", str(file), "config.hoster:vps.web.plan")] == [
        (one.rule, one.file, one.key) for one in found.findings
    ]
    assert "plan: kvm-3" in file.read_text().splitlines()[found.findings[0].line - 1]


def test_a_comparison_sums_up_what_a_change_costs(
    repository: Project, catalogue: Catalogue, clock: Any
) -> None:
    resize(repository, catalogue, "acme/web", "kvm-4")

    found = compare(Change(repository, "main"), clock)

    plans = catalogue.plans
    more = plans["kvm-4"].price_eur_month - plans["kvm-2"].price_eur_month
    assert (["acme/web"], ["paris-1"], more) == (
        [one.vps for one in found.vps],
        [one.node for one in found.nodes],
        found.month_eur,
    )


def test_a_preview_and_an_apply_say_what_became_of_each_stack(
    repository: Project, clock: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def deploy(_: Project, client: str) -> bool:
        if client == "beta":
            raise ToolError("beta is broken")
        return True

    monkeypatch.setattr(pulumi_cli, "deploy", deploy)
    clients = reach.named(repository, [])

    seen = preview(repository, clients, ())
    done = apply(repository, clients, clock, max_failures=3, stop=threading.Event())

    assert (True, [Result.CHANGED] * 2) == (seen.is_good, [one.result for one in seen.outcomes])
    assert (False, [Result.CHANGED, Result.FAILED]) == (
        done.is_good,
        [one.result for one in done.outcomes],
    )
    assert (clock(), clock()) == (done.began, done.ended)


def test_drift_tells_who_did_not_answer(
    repository: Project, catalogue: Catalogue, monkeypatch: pytest.MonkeyPatch
) -> None:
    def asked(node: NodeSsh, *, seconds: float) -> NodeFacts:
        if node.name == "paris-1":
            raise NoAnswerError(f"no answer within {seconds:g} s")
        return NodeFacts(node.name, taps=("vps-00000001",))

    nodes = {name: NodeSsh(name, (name,)) for name in ("paris-1", "roubaix-1")}
    monkeypatch.setattr(ssh, "nodes", lambda _: nodes)
    monkeypatch.setattr(facts, "facts", asked)

    found = drift(repository, catalogue, stacks=False, timeout_seconds=3, at_once=2)

    assert ({"paris-1": "no answer within 3 s"}, 2) == (found.silent, found.asked)
    assert ["vps-00000001"] == [one.what for one in found.findings]


def test_a_review_reads_each_thing_once(
    repository: Project, catalogue: Catalogue, clock: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Declarations, both catalogues, what Git has, and the terminations on record."""
    read: list[str] = []

    def counted(name: str, work: Callable[..., Any]) -> Callable[..., Any]:
        def counting(*arguments: Any, **options: Any) -> Any:
            read.append(name)
            return work(*arguments, **options)

        return counting

    monkeypatch.setattr(declarations, "read_all", counted("declared", declarations.read_all))
    monkeypatch.setattr(changes, "load_catalogue", counted("catalogue", load_catalogue))
    for name in ("files_since", "at", "before"):
        monkeypatch.setattr(git, name, counted(name, getattr(git, name)))
    resize(repository, catalogue, "acme/web", "kvm-4")
    plans = repository.inventory / "group_vars" / "all" / "plans.yml"
    plans.write_text(plans.read_text() + "# A remark.\n")
    read.clear()

    change = Change(repository, "main", counted("terminated", set))
    looks = list(review(change, clock))

    assert [("Rules", 0), ("Whom it touches", 0), ("What would happen", 0)] == [
        (one.title, one.exit_code) for one in looks
    ]
    assert ["at", "before", "catalogue", "declared", "files_since", "terminated"] == sorted(read)


def test_a_review_says_nothing_after_what_forbids_the_change(
    repository: Project, clock: Any
) -> None:
    file = repository.declaration("acme")
    file.write_text(yaml.safe_dump({"config": {"hoster:vps": {"web": {"plan": "kvm-2"}}}}))
    begun: list[str] = []

    looks = list(review(Change(repository, "main"), clock, begun=begun.append))

    assert (["Rules"], [5]) == (begun, [one.exit_code for one in looks])
