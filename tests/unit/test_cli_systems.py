"""`hoster act reinstall`, `terminate` and their other steps, cut before and after each of them."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from email.message import EmailMessage
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

from hoster.cli import _common, cli
from hoster.clients.contact import Client
from hoster.engine import pulumi_cli
from hoster.errors import ConfigurationError, HosterError, NoRoomError, RuleError, ToolError
from hoster.ledger import Ledger
from hoster.ledger._session import Sessions
from hoster.mail.outbox import LEASE
from hoster.orders.declarations import VpsDeclaration
from hoster.orders.disks import volume
from hoster.project import Project, declarations, files

WEB = "acme/web"
TICKET = ("--request", "ticket-4711")
PLAN = {"city": "Paris", "country": "FR", "plan": "KVM 2", "vcpus": 2} | {
    "memory_mib": 2048,
    "disk_gib": 20,
}


class CutError(BaseException):
    """The run ended here, as by a crash."""


@dataclass
class PretendedStack:
    """Stands for Pulumi and its node: volumes appear as declared, and go if unprotected.

    Every step of ours counts: the run is cut before step ``cut_at``, or after it where that is
    odd. ``seen`` is what a watcher of the node saw after each step.
    """

    project: Project
    volumes: dict[str, bool] = field(default_factory=dict)
    runs_on: str = ""
    removed: list[str] = field(default_factory=list)
    cut_at: int = -1
    steps: int = 0

    @contextmanager
    def step(self) -> Iterator[None]:
        before, after = self.steps, self.steps + 1
        self.steps += 2
        if self.cut_at == before:
            raise CutError
        yield
        if self.cut_at == after:
            raise CutError

    def encrypt(self, project: Project, client: str, value: str) -> str:  # noqa: ARG002
        with self.step():
            return f"v1:{value[::-1]}"

    def deploy(self, project: Project, client: str, *, ended: Collection[str] = ()) -> bool:
        with self.step():
            declared = declarations.read(project.declaration(client)).vps
            assert declared or not self.volumes or list(ended) == [WEB]
            before = dict(self.volumes)
            for vps in declarations.read(project.declaration(client)).vps:
                domain = f"{vps.client}.{vps.name}"
                self.runs_on = volume(domain, vps.installation)
                wanted = {self.runs_on}
                if vps.former_disk:
                    wanted.add(volume(domain, vps.former_disk.installation))
                mine = {name for name in self.volumes if name.startswith(f"{domain}.")}
                self._delete(mine - wanted)
                self.volumes |= dict.fromkeys(wanted, True)
            if not declared:
                self._delete(set(self.volumes))
            return before != self.volumes

    def _delete(self, names: set[str]) -> None:
        for name in names:
            if self.volumes[name]:
                raise ToolError(f"{name} is protected")
            del self.volumes[name]

    def unprotect(
        self, project: Project, client: str, vps: str, installation: int | None = None
    ) -> bool:
        with self.step():
            assert project == self.project
            for name in self.volumes:
                if installation is None or name == volume(f"{client}.{vps}", installation):
                    self.volumes[name] = False
            return True

    def remove_stack(self, project: Project, client: str) -> bool:
        with self.step():
            assert not self.volumes
            project.declaration(client).unlink(missing_ok=True)
            self.removed.append(client)
            return True


@pytest.fixture
def stack(project: Project, monkeypatch: pytest.MonkeyPatch) -> PretendedStack:
    pretended = PretendedStack(project)
    for name in ("encrypt", "deploy", "unprotect", "remove_stack"):
        monkeypatch.setattr(pulumi_cli, name, getattr(pretended, name))
    write = files.write

    def counted(*arguments: Any) -> None:
        with pretended.step():
            write(*arguments)

    monkeypatch.setattr(files, "write", counted)
    transaction = Sessions.transaction

    @contextmanager
    def counted_transaction(self: Any) -> Iterator[Any]:
        with pretended.step(), transaction(self) as session:
            yield session

    monkeypatch.setattr(Sessions, "transaction", counted_transaction)
    monkeypatch.delenv("HOSTER_LEDGER", raising=False)
    return pretended


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch, now: datetime) -> list[datetime]:
    """The hour; its one item can be changed."""
    hour = [now]
    monkeypatch.setattr(_common, "clock", lambda: hour[0])
    return hour


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[EmailMessage]:
    """The mails that a pretended mail server took."""
    taken: list[EmailMessage] = []
    monkeypatch.setattr("hoster.mail.outbox.send", lambda message, _smtp: taken.append(message))
    return taken


@pytest.fixture
def run(
    with_ledger: Project,
    stack: PretendedStack,
    ada: Client,
    declared: Callable[..., VpsDeclaration],
    clock: list[datetime],
    sent: list[EmailMessage],
) -> Callable[..., Any]:
    """Run a command in a project whose VPS was delivered; return its JSON."""
    project, web = with_ledger, declared()
    content = {
        "hoster:vps": {"web": web.fields_written()},
        "hoster:access": {"web": {"secure": "v1:a"}},
    }
    project.declaration("acme").write_text("# by hand\n" + yaml.safe_dump({"config": content}))
    with Ledger.open(project.ledger_url) as ledger:
        ledger.clients.add(ada, clock[0])
        ledger.orders.begin(WEB, web.ipv4, user="debian", now=clock[0])
        values = PLAN | {"vps": WEB, "ipv4": str(web.ipv4), "image": "Debian 12"}
        ledger.orders.deliver(WEB, values, clock[0])
    stack.deploy(project, "acme")

    def invoke(*arguments: str) -> Any:
        if arguments[0] == "outbox":
            clock[0] += LEASE  # a mail that was claimed by a run that was cut is free again
        done = CliRunner().invoke(cli, ["--project", str(project.root), *arguments])
        if isinstance(done.exception, (HosterError, CutError)):
            raise done.exception
        assert done.exit_code == 0, done.output
        return json.loads(done.stdout)

    invoke("outbox", "send", "--json")
    sent.clear()
    stack.steps = 0
    return invoke


def reinstall(run: Callable[..., Any], *options: str) -> dict[str, Any]:
    """Go the way of the playbook; return the job."""
    run("act", "reinstall", WEB, *options, "--dry-run")
    [job] = run("act", "reinstall", WEB, *options)["jobs"]
    if job["open"]:
        said = run("act", "seen", str(job["reinstall"]))
        lifted = [str(one["measure"]) for one in said["measures"]]
        if lifted:
            run("act", "reinstalled", str(job["reinstall"]), *lifted)
    run("act", "erase", "--due", WEB)
    return dict(job)


def terminate(run: Callable[..., Any]) -> None:
    """Go the way of the playbook."""
    run("act", "terminate", WEB, "--reason", "request", "--dry-run")
    run("act", "terminate", WEB, "--reason", "request")
    run("act", "remove", WEB)
    run("act", "terminated", WEB)


def ledger_of(project: Project) -> Ledger:
    return Ledger.open(project.ledger_url)


def declared_now(project: Project) -> VpsDeclaration:
    [vps] = declarations.read(project.declaration("acme")).vps
    return vps


def test_a_client_asks_once_for_each_ticket(
    run: Callable[..., Any], stack: PretendedStack, project: Project, sent: list[EmailMessage]
) -> None:
    """C4.3, C4.2: new disk, same address, new codes; the same ticket again changes nothing."""
    before = declared_now(project)
    job = reinstall(run, *TICKET)
    assert ("acme.web.2.qcow2", 20 * 2**30, True) == (job["disk"], job["disk_bytes"], job["open"])
    assert {"acme.web.2.qcow2": True} == stack.volumes
    after = declared_now(project)
    assert after == before.model_copy(update={"installation": 2})
    assert project.declaration("acme").read_text().startswith("# by hand")
    [mail] = sent
    assert "réinstallé" in mail["Subject"]
    assert "ssh debian@203.0.113.17" in mail.get_content()

    steps = stack.steps
    assert not reinstall(run, *TICKET)["open"]
    assert not run("act", "reinstall", WEB, *TICKET)["changed"]
    assert (1, after) == (len(sent), declared_now(project))
    assert {"acme.web.2.qcow2": True} == stack.volumes
    assert steps == stack.steps
    reinstall(run, "--request", "ticket-4712")
    assert {"acme.web.3.qcow2": True} == stack.volumes
    assert 2 == len(sent)


def test_without_a_ticket_an_incident_must_demand_it(run: Callable[..., Any]) -> None:
    with pytest.raises(RuleError, match="no open incident demands one"):
        run("act", "reinstall", WEB)


def test_a_reinstall_closes_the_incident_that_demanded_it_and_no_other(
    run: Callable[..., Any], project: Project, clock: list[datetime], sent: list[EmailMessage]
) -> None:
    """C7.4; a suspension for another reason stays."""
    run("act", "quarantine", WEB, "--kind", "hacked", "--reinstall")
    run("act", "quarantine", WEB, "--kind", "spam")
    run("act", "done", "1", "2")
    job = reinstall(run)
    assert "incident-1" == job["request"]
    with ledger_of(project) as ledger:
        assert [("spam", "in force")] == [
            (one.ground, one.stage) for one in ledger.measures.situation(WEB).measures
        ]
        assert ["spam"] == [one.kind for one in ledger.incidents.all(WEB, open_only=True)]
    assert ["clos", "coupé", "coupé", "réinstallé"] == told(sent)
    assert not reinstall(run)["open"]
    assert 4 == len(sent)


def test_the_former_disk_is_kept_where_the_client_asked_for_it(
    run: Callable[..., Any],
    stack: PretendedStack,
    project: Project,
    clock: list[datetime],
    sent: list[EmailMessage],
) -> None:
    """C7.5: readable for the policy's days, then erased; meanwhile no second one."""
    reinstall(run, *TICKET, "--keep")
    assert {"acme.web.qcow2", "acme.web.2.qcow2"} == set(stack.volumes)
    former = declared_now(project).former_disk
    assert former is not None
    assert (1, 20, True) == (former.installation, former.disk_gib, former.readable)
    assert "/dev/sr0" in sent[0].get_content()
    with pytest.raises(RuleError, match="still has the disk of its former installation"):
        run("act", "reinstall", WEB, "--request", "ticket-2")

    clock[0] += timedelta(days=6, hours=23)
    assert [] == run("act", "erase", "--due")["vps"]
    assert 2 == len(stack.volumes)
    clock[0] += timedelta(hours=2)
    assert [WEB] == run("act", "erase", "--due", "--dry-run")["vps"]
    assert [WEB] == run("act", "erase", "--due")["vps"]
    assert {"acme.web.2.qcow2": True} == stack.volumes
    assert not run("act", "erase", "--due")["changed"]


def test_a_new_system_that_was_not_seen_can_be_given_up(
    run: Callable[..., Any], stack: PretendedStack, project: Project
) -> None:
    """C6.3: the disk of the former one is as it was; once it was seen there is no way back."""
    before = declared_now(project)
    job = run("act", "reinstall", WEB, *TICKET)["jobs"][0]
    assert "acme.web.2.qcow2" == stack.runs_on
    assert run("act", "give-up", WEB, "--dry-run")["changed"]
    assert run("act", "give-up", WEB)["changed"]
    assert not run("act", "give-up", WEB)["changed"]
    assert ("acme.web.qcow2", before) == (stack.runs_on, declared_now(project))
    assert {"acme.web.qcow2": True} == stack.volumes

    again = reinstall(run, *TICKET)
    assert again["reinstall"] > job["reinstall"]
    with pytest.raises(RuleError, match="nothing to give up"):
        run("act", "give-up", WEB)


def test_what_cannot_be_done_is_refused_before_anything_is_touched(
    run: Callable[..., Any], stack: PretendedStack, project: Project
) -> None:
    text = project.declaration("acme").read_text()
    with pytest.raises(ConfigurationError, match=r"acme/wep is declared(?s:.*)acme/web"):
        run("act", "reinstall", "acme/wep", *TICKET)
    with pytest.raises(ConfigurationError, match="unknown image"):
        run("act", "reinstall", WEB, *TICKET, "--image", "debian-1")
    hosts = project.inventory / "hosts.yml"
    hosts.write_text(hosts.read_text().replace("disk_gib: 7000", "disk_gib: 39"))
    with pytest.raises(NoRoomError, match=r"disk \(GiB\): 20 asked, 19 free"):
        run("act", "reinstall", WEB, *TICKET)
    assert (text, 0) == (project.declaration("acme").read_text(), stack.steps)


def test_another_image_in_the_middle_is_refused(run: Callable[..., Any]) -> None:
    run("act", "reinstall", WEB, *TICKET)
    with pytest.raises(RuleError, match=r"with debian-12@.* already"):
        run("act", "reinstall", WEB, *TICKET, "--image", "other")
    with pytest.raises(RuleError, match="as ticket-4711 asked"):
        run("act", "reinstall", WEB, "--request", "ticket-2", "--image", "debian-12")


def test_a_termination_leaves_nothing_but_its_record(
    run: Callable[..., Any], stack: PretendedStack, project: Project, sent: list[EmailMessage]
) -> None:
    """C12.5, C15.2: and the address rests before somebody else gets it (C4.3)."""
    run("act", "suspend", WEB, "--reason", "unpaid")
    run("act", "done", "1")
    [job] = run("act", "terminate", WEB, "--reason", "unpaid", "--dry-run")["jobs"]
    assert [{"volume": "acme.web.qcow2", "image": declared_now(project).image, "disk_gib": 20}] == (
        job["disks"]
    )
    terminate(run)
    assert ({}, ["acme"]) == (stack.volumes, stack.removed)
    assert not project.declaration("acme").exists()
    with ledger_of(project) as ledger:
        situation = ledger.measures.situation(WEB)
        assert ("terminated", []) == (situation.state, situation.possible())
        [record] = ledger.terminations.all()
        assert (WEB, "request", "203.0.113.17") == (record.vps, record.reason, record.lost["ipv4"])
        assert ["203.0.113.17"] == [str(ipv4) for ipv4 in ledger.addresses.released()]
        assert not ledger.measures.all(WEB, in_force=True)
        assert ledger.trail.verify().broken is None
    assert "supprimé" in sent[-1]["Subject"]
    with pytest.raises(ConfigurationError, match="no VPS acme/web is declared"):
        run("act", "quarantine", WEB, "--kind", "spam")
    terminate(run)
    assert 2 == len(sent)


def test_what_a_court_wants_kept_is_not_terminated(run: Callable[..., Any]) -> None:
    run("act", "suspend", WEB, "--reason", "court-order")
    with pytest.raises(RuleError, match="order of a court"):
        run("act", "terminate", WEB, "--reason", "unpaid")


def test_nothing_is_removed_without_a_record(
    run: Callable[..., Any], stack: PretendedStack
) -> None:
    with pytest.raises(RuleError, match="no termination of acme/web is on record"):
        run("act", "remove", WEB)
    assert {"acme.web.qcow2": True} == stack.volumes


def told(sent: list[EmailMessage]) -> list[str]:
    """Return what the clients were told, in a word; a mail that came twice was one to them."""
    subjects = {mail["Message-ID"]: str(mail["Subject"]) for mail in sent}
    words = ("coupé", "clos", "réinstallé", "supprimé")
    return sorted(next(word for word in words if word in text) for text in subjects.values())


def quarantined_first(run: Callable[..., Any]) -> None:
    run("act", "quarantine", WEB, "--kind", "hacked", "--reinstall")
    run("act", "done", "1")


def steps_of(act: Callable[..., Any], run: Callable[..., Any], stack: PretendedStack) -> int:
    """Return how many steps an act has when nothing cuts it."""
    stack.steps = 0
    act(run)
    return stack.steps


@pytest.mark.parametrize("cut_at", range(60))
def test_a_reinstall_that_is_cut_anywhere_is_run_again(
    run: Callable[..., Any],
    stack: PretendedStack,
    project: Project,
    sent: list[EmailMessage],
    cut_at: int,
) -> None:
    """C4.2, C6.3, C7.4: one mail, one disk, no network before its time, never none of both."""
    quarantined_first(run)
    sent.clear()
    stack.steps, stack.cut_at = 0, cut_at
    with suppress(CutError):
        reinstall(run)
    with ledger_of(project) as ledger:
        if not any(row.seen_at for row in ledger.reinstalls.all(WEB)):
            assert "acme.web.qcow2" in stack.volumes
            assert [True] == [one.is_wanted for one in ledger.measures.situation(WEB).measures]
    stack.cut_at = -1
    reinstall(run)
    run("outbox", "send", "--json")
    assert {"acme.web.2.qcow2": True} == stack.volumes
    assert 2 == declared_now(project).installation
    assert ["clos", "réinstallé"] == told(sent)
    with ledger_of(project) as ledger:
        [row] = ledger.reinstalls.all(WEB)
        assert "finished, former disk erased" == row.stage
        assert "connected" == ledger.measures.situation(WEB).state
        assert ledger.trail.verify().broken is None


@pytest.mark.parametrize("cut_at", range(40))
def test_a_termination_that_is_cut_anywhere_is_run_again(
    run: Callable[..., Any],
    stack: PretendedStack,
    project: Project,
    sent: list[EmailMessage],
    cut_at: int,
) -> None:
    stack.cut_at = cut_at
    with suppress(CutError):
        terminate(run)
    stack.cut_at = -1
    terminate(run)
    run("outbox", "send", "--json")
    assert {} == stack.volumes
    assert not project.declaration("acme").exists()
    assert ["supprimé"] == told(sent)
    with ledger_of(project) as ledger:
        assert "terminated" == ledger.measures.situation(WEB).state
        assert 1 == len(ledger.addresses.released())


@pytest.mark.parametrize("cut_at", range(30))
def test_a_giving_up_that_is_cut_anywhere_is_run_again(
    run: Callable[..., Any], stack: PretendedStack, project: Project, cut_at: int
) -> None:
    run("act", "reinstall", WEB, *TICKET)
    stack.steps, stack.cut_at = 0, cut_at
    with suppress(CutError):
        run("act", "give-up", WEB)
    assert "acme.web.qcow2" in stack.volumes
    stack.cut_at = -1
    run("act", "give-up", WEB)
    assert ({"acme.web.qcow2": True}, 1) == (stack.volumes, declared_now(project).installation)


def test_the_matrix_has_every_step(run: Callable[..., Any], stack: PretendedStack) -> None:
    """What is cut above is all there is: a new step makes these numbers too small."""
    quarantined_first(run)
    assert 20 < steps_of(reinstall, run, stack) <= 60
    assert 10 < steps_of(terminate, run, stack) <= 40
