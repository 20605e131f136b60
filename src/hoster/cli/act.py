"""``hoster act``: what a playbook records of an act, before and after the nodes do it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import wraps
from typing import TYPE_CHECKING, Any

import rich_click as click

from hoster.cli import _common, act_lifecycle
from hoster.incidents.measures import KINDS, SEVERITIES, SUSPENSIONS

if TYPE_CHECKING:
    from collections.abc import Callable

    from hoster.incidents.measures import Measure
    from hoster.ledger import Ledger, Wanted


@dataclass(frozen=True)
class Chosen:
    """The VPSs of an act, each with its host node; ``by_name`` where each was named."""

    node_of: dict[str, str]
    by_name: bool


def _on_vpss(command: Callable[..., None]) -> Callable[..., None]:
    """Give *command* the chosen VPSs: by name, or by node and image."""

    @click.argument("names", nargs=-1, metavar="[VPS[,VPS]]...")
    @click.option("--node", "nodes", help="All VPSs of this host node, or of several: a,b.")
    @click.option("--image", "images", help="All VPSs with this operating system, or several.")
    @wraps(command)
    def chosen(names: tuple[str, ...], nodes: str | None, images: str | None, **rest: Any) -> None:
        command(_chosen(names, nodes, images), **rest)

    return chosen


@click.group()
def act() -> None:
    """Record an act against VPSs in the ledger. Ops run the playbooks, which call this.

    Each subcommand says as JSON what each host node has to do; `done` confirms that it did, and
    tells the clients. What was recorded already is not recorded again.

    \b
    Examples:
      ansible-playbook playbooks/quarantine-vps.yml -e vps=acme/web -e kind=hacked
      ansible-playbook playbooks/quarantine-vps.yml -e image=debian-12 -e kind=vulnerable
      ansible-playbook playbooks/resume-vps.yml -e vps=acme/web -e reason=unpaid
    """


@act.command()
@_on_vpss
@click.option("--kind", type=click.Choice(list(KINDS)), required=True)
@click.option("--severity", type=click.Choice(SEVERITIES), default="serious", show_default=True)
@click.option("--evidence", default="", help="Where the proof is kept: a ticket, a file.")
@click.option("--hours", type=click.FloatRange(min=0), help="How long it is expected to last.")
@click.option("--reinstall", is_flag=True, help="A reinstall is required (C7.4).")
@_common.dry_run
def quarantine(
    chosen: Chosen,
    kind: str,
    severity: str,
    evidence: str,
    hours: float | None,
    reinstall: bool,
    dry_run: bool,
) -> None:
    """Open an incident for each VPS, and want its quarantine (C6.1, C7.2, C7.4).

    \b
    Example:
      hoster act quarantine acme/web --kind hacked --evidence ticket-4711 --hours 24
    """
    from hoster.clients.announcements import require_overdue

    now = _now()
    until = now + timedelta(hours=hours) if hours is not None else None

    def want(ledger: Ledger, vps: str) -> Wanted:
        if kind == "update-missing":
            require_overdue(vps, ledger.announcements.all(), now)
        return ledger.measures.quarantine(
            vps,
            kind,
            severity,
            now,
            evidence=evidence,
            reinstall=reinstall,
            expected_until=until,
        )

    _record(chosen, want, dry_run=dry_run)


@act.command()
@_on_vpss
@click.option("--incident", type=int, help="Which one, where several are open.")
@click.option("--override", default="", help="Why, where the policy refuses it.")
@_common.dry_run
def reconnect(chosen: Chosen, incident: int | None, override: str, dry_run: bool) -> None:
    """Want the end of a quarantine whose problem was corrected (C6.2).

    \b
    Example:
      hoster act reconnect acme/web
    """
    now, policy = _now(), _common.catalogue().policy.incidents
    _record(
        chosen,
        lambda ledger, vps: ledger.measures.reconnect(
            vps, now, policy=policy, incident=incident, override=override
        ),
        dry_run=dry_run,
    )


@act.command()
@_on_vpss
@click.option("--reason", type=click.Choice(list(SUSPENSIONS)), required=True)
@click.option("--note", default="", help="For the record: an invoice, a file number.")
@_common.dry_run
def suspend(chosen: Chosen, reason: str, note: str, dry_run: bool) -> None:
    """Want a suspension for a reason; reasons stack (C7.1, C7.7, C15.1).

    \b
    Example:
      hoster act suspend acme/web --reason unpaid --note invoice-2026-117
    """
    from hoster.clients import proofs

    now = _now()

    def want(ledger: Ledger, vps: str) -> Wanted:
        if reason == proofs.GROUND:
            proofs.require_overdue(vps, ledger.proofs.demands(proofs.client_of(vps)), now)
        return ledger.measures.suspend(vps, reason, note, now)

    _record(chosen, want, dry_run=dry_run)


@act.command()
@_on_vpss
@click.option("--reason", type=click.Choice(list(SUSPENSIONS)), required=True)
@click.option("--note", default="", help="For the record: a payment, a file number.")
@_common.dry_run
def resume(chosen: Chosen, reason: str, note: str, dry_run: bool) -> None:
    """Want the end of the suspension for one reason, and of no other (C15.1).

    \b
    Example:
      hoster act resume acme/web --reason unpaid
    """
    from hoster.clients import proofs

    now = _now()

    def want(ledger: Ledger, vps: str) -> Wanted:
        if reason == proofs.GROUND:
            proofs.require_settled(vps, ledger.proofs.demands(proofs.client_of(vps)))
        return ledger.measures.resume(vps, reason, note, now)

    _record(chosen, want, dry_run=dry_run)


@act.command("proofs")
@_common.dry_run
def enforce_proofs(dry_run: bool) -> None:
    """Want the suspension of VPSs whose client's proof is overdue, its end where it came (C7.1).

    \b
    Example:
      hoster act proofs --dry-run
    """
    from hoster.clients import proofs
    from hoster.ledger import Ledger
    from hoster.project.declarations import read_all

    project, now = _common.project(), _now()
    node_of = {vps.full_name: vps.node for vps in read_all(project)}
    with Ledger.open(project.ledger_url) as ledger:
        demands = ledger.proofs.demands()
        due = proofs.due(node_of, demands, ledger.measures.all(in_force=True), now)

    def want(ledger: Ledger, vps: str) -> Wanted:
        if vps in due.resume:
            return ledger.measures.resume(vps, proofs.GROUND, "the proof came", now)
        return ledger.measures.suspend(vps, proofs.GROUND, "", now)

    concerned = {vps: node_of[vps] for vps in (*due.suspend, *due.resume)}
    _record(Chosen(concerned, by_name=False), want, dry_run=dry_run)


@act.command()
@click.argument("measures", nargs=-1, required=True, type=int)
def summary(measures: tuple[int, ...]) -> None:
    """Print what became of measures, a line each: of an act on many VPSs.

    \b
    Example:
      hoster act summary 17 18
    """
    from rich import box
    from rich.console import Console
    from rich.table import Table

    from hoster.ledger import Ledger

    with Ledger.open(_common.project().ledger_url) as ledger:
        found = [one for one in ledger.measures.all() if one.id in set(measures)]
    table = Table("vps", "measure", "for", "stage", box=box.SIMPLE)
    for one in found:
        table.add_row(one.vps, one.kind, one.ground, one.stage)
    Console(width=100).print(table)
    waiting = sum(one.stage in {"wanted", "being lifted"} for one in found)
    click.echo(f"{len(found) - waiting} done, {waiting} not: run the playbook again for those")


@act.command()
@click.argument("measures", nargs=-1, required=True, type=int)
def done(measures: tuple[int, ...]) -> None:
    """Confirm what the nodes did, and tell the clients; once, however often it is called.

    \b
    Example:
      hoster act done 17 18
    """
    from hoster.ledger import Ledger
    from hoster.mail import outbox

    content = _common.catalogue()
    with Ledger.open(_common.project().ledger_url) as ledger:
        confirmed = ledger.measures.confirm(measures, _now(), content.policy.timezone)
        outbox.send_due(ledger, content.company, _now)
        now = {one.measure.vps: ledger.measures.situation(one.measure.vps) for one in confirmed}
    for one in confirmed:
        if not one.told:
            _common.say(f"no client of {one.measure.vps} is known here: nobody was told")
    _common.print_json(
        {
            "changed": any(one.changed for one in confirmed),
            "measures": [
                {"vps": one.measure.vps, "measure": one.measure.id, "stage": one.measure.stage}
                for one in confirmed
            ],
            "now": [
                f"{vps} is {situation.state}"
                + "".join(
                    f"; {one.kind} for {one.ground}: {one.stage}" for one in situation.measures
                )
                for vps, situation in now.items()
            ],
        }
    )


def _record(chosen: Chosen, want: Callable[[Ledger, str], Wanted], *, dry_run: bool) -> None:
    """Record one act for each VPS, and print what each node has to do.

    One that was not named, but found by its node or image, is passed over where the act does not
    make sense for it.
    """
    from hoster.errors import RuleError
    from hoster.ledger import Ledger

    project, wanted, passed_over = _common.project(), [], {}
    with Ledger.open(project.ledger_url) as ledger, ledger.together(dry_run=dry_run):
        for name, node in chosen.node_of.items():
            try:
                wanted.append((node, want(ledger, name)))
            except RuleError as error:
                if chosen.by_name:
                    raise
                passed_over[name] = error.message
    nodes: dict[str, list[dict[str, Any]]] = {}
    for node, one in wanted:
        nodes.setdefault(node, []).append(job_of(one.measure))
    _common.print_json(
        {
            "changed": any(one.changed for _, one in wanted),
            "nodes": [{"node": node, "measures": some} for node, some in nodes.items()],
            "passed_over": passed_over,
        }
    )


def job_of(measure: Measure) -> dict[str, Any]:
    """Return what a host node has to do about a measure, as `hoster-node measures` reads it."""
    return {
        "vps": measure.vps,
        "measure": measure.id,
        "kind": "quarantine",
        "as": measure.name,
        "lift": not measure.is_wanted,
        "reason": f"{measure.kind}: {measure.ground}",
    }


def _chosen(names: tuple[str, ...], nodes: str | None, images: str | None) -> Chosen:
    """Return the declared VPSs that are meant, each with its host node.

    Raises:
        ConfigurationError: one of them is not declared, or a node or image is unknown; near names
            are told.
    """
    from hoster.errors import ConfigurationError
    from hoster.problems import near
    from hoster.project.declarations import read_all

    if not (names or nodes or images):
        raise click.UsageError("name VPSs, as in acme/web, or choose them by --node or --image")
    declared = {vps.full_name: vps for vps in read_all(_common.project())}
    wanted = list(dict.fromkeys(name for text in names for name in text.split(",") if name))
    found = {name: declared[name] for name in wanted or declared if name in declared}
    for field, text, known in (
        ("VPS", ",".join(wanted), declared),
        ("host node", nodes, _common.catalogue().nodes if nodes else {}),
        ("image", images, _common.catalogue().images if images else {}),
    ):
        for name in (text or "").split(",") if text else ():
            if name not in known:
                raise ConfigurationError(f"no {field} {name} is declared{near(name, known)}")
    for field, text in (("node", nodes), ("image_name", images)):
        if text:
            found = {
                name: vps for name, vps in found.items() if getattr(vps, field) in text.split(",")
            }
    node_of = {name: vps.node for name, vps in found.items()}
    return Chosen(node_of, by_name=bool(wanted) and not (nodes or images))


def _now() -> datetime:
    return datetime.now(UTC)


for _command in act_lifecycle.COMMANDS:
    act.add_command(_command)
