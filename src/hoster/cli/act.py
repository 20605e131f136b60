"""``hoster act``: what a playbook records of an act, before and after the nodes do it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import rich_click as click

from hoster.cli import _common, act_systems
from hoster.incidents import KINDS, SEVERITIES, SUSPENSIONS

if TYPE_CHECKING:
    from collections.abc import Callable

    from hoster.incidents import Measure
    from hoster.ledger import Ledger, Wanted

_NAMES = click.argument("names", nargs=-1, required=True, metavar="VPS[,VPS]...")


@click.group()
def act() -> None:
    """Record an act against VPSs in the ledger. Ops run the playbooks, which call this.

    Each subcommand says as JSON what each host node has to do; `done` confirms that it did, and
    tells the clients. What was recorded already is not recorded again.

    \b
    Examples:
      ansible-playbook playbooks/quarantine-vps.yml -e vps=acme/web -e kind=hacked
      ansible-playbook playbooks/resume-vps.yml -e vps=acme/web -e reason=unpaid
    """


@act.command()
@_NAMES
@click.option("--kind", type=click.Choice(list(KINDS)), required=True)
@click.option("--severity", type=click.Choice(SEVERITIES), default="serious", show_default=True)
@click.option("--evidence", default="", help="Where the proof is kept: a ticket, a file.")
@click.option("--hours", type=click.FloatRange(min=0), help="How long it is expected to last.")
@click.option("--reinstall", is_flag=True, help="A reinstall is required (C7.4).")
@_common.dry_run
def quarantine(
    names: tuple[str, ...],
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
    from hoster.announcements import require_overdue

    now = _now()
    until = now + timedelta(hours=hours) if hours is not None else None

    def want(ledger: Ledger, vps: str) -> Wanted:
        if kind == "update-missing":
            require_overdue(vps, ledger.announcements(), now)
        return ledger.quarantine(
            vps,
            kind,
            severity,
            now,
            evidence=evidence,
            reinstall=reinstall,
            expected_until=until,
        )

    _record(names, want, dry_run=dry_run)


@act.command()
@_NAMES
@click.option("--incident", type=int, help="Which one, where several are open.")
@click.option("--override", default="", help="Why, where the policy refuses it.")
@_common.dry_run
def reconnect(names: tuple[str, ...], incident: int | None, override: str, dry_run: bool) -> None:
    """Want the end of a quarantine whose problem was corrected (C6.2).

    \b
    Example:
      hoster act reconnect acme/web
    """
    now, policy = _now(), _common.catalogue().policy.incidents
    _record(
        names,
        lambda ledger, vps: ledger.reconnect(
            vps, now, policy=policy, incident=incident, override=override
        ),
        dry_run=dry_run,
    )


@act.command()
@_NAMES
@click.option("--reason", type=click.Choice(list(SUSPENSIONS)), required=True)
@click.option("--note", default="", help="For the record: an invoice, a file number.")
@_common.dry_run
def suspend(names: tuple[str, ...], reason: str, note: str, dry_run: bool) -> None:
    """Want a suspension for a reason; reasons stack (C7.1, C7.7, C15.1).

    \b
    Example:
      hoster act suspend acme/web --reason unpaid --note invoice-2026-117
    """
    now = _now()
    _record(names, lambda ledger, vps: ledger.suspend(vps, reason, note, now), dry_run=dry_run)


@act.command()
@_NAMES
@click.option("--reason", type=click.Choice(list(SUSPENSIONS)), required=True)
@click.option("--note", default="", help="For the record: a payment, a file number.")
@_common.dry_run
def resume(names: tuple[str, ...], reason: str, note: str, dry_run: bool) -> None:
    """Want the end of the suspension for one reason, and of no other (C15.1).

    \b
    Example:
      hoster act resume acme/web --reason unpaid
    """
    now = _now()
    _record(names, lambda ledger, vps: ledger.resume(vps, reason, note, now), dry_run=dry_run)


@act.command()
@click.argument("measures", nargs=-1, required=True, type=int)
def done(measures: tuple[int, ...]) -> None:
    """Confirm what the nodes did, and tell the clients; once, however often it is called.

    \b
    Example:
      hoster act done 17 18
    """
    from hoster import outbox
    from hoster.ledger import Ledger

    content = _common.catalogue()
    with Ledger.open(_common.project().ledger_url) as ledger:
        confirmed = ledger.confirm(measures, _now(), content.policy.timezone)
        outbox.send_due(ledger, content.company, _now)
        now = {one.measure.vps: ledger.situation(one.measure.vps) for one in confirmed}
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


def _record(
    names: tuple[str, ...], want: Callable[[Ledger, str], Wanted], *, dry_run: bool
) -> None:
    """Record one act for each VPS, and print what each node has to do."""
    from hoster.ledger import Ledger

    project = _common.project()
    node_of = _nodes(names)
    with Ledger.open(project.ledger_url) as ledger, ledger.together(dry_run=dry_run):
        wanted = [(node_of[name], want(ledger, name)) for name in node_of]
    nodes: dict[str, list[dict[str, Any]]] = {}
    for node, one in wanted:
        measure = one.measure
        nodes.setdefault(node, []).append(job_of(measure))
    _common.print_json(
        {
            "changed": any(one.changed for _, one in wanted),
            "nodes": [{"node": node, "measures": some} for node, some in nodes.items()],
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


def _nodes(names: tuple[str, ...]) -> dict[str, str]:
    """Return the host node of each declared VPS.

    Raises:
        ConfigurationError: one of them is not declared; near names are told.
    """
    from hoster.declaration_files import read_all
    from hoster.errors import ConfigurationError
    from hoster.problems import near

    known = {vps.full_name: vps.node for vps in read_all(_common.project())}
    wanted = list(dict.fromkeys(name for text in names for name in text.split(",") if name))
    for name in wanted:
        if name not in known:
            raise ConfigurationError(f"no VPS {name} is declared{near(name, known)}")
    return {name: known[name] for name in wanted}


def _now() -> datetime:
    return datetime.now(UTC)


for _command in act_systems.COMMANDS:
    act.add_command(_command)
