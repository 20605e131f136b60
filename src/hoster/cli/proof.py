"""``hoster proof``: clients are asked to prove their contact details (C7.1)."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import rich_click as click

from hoster.cli import _common

if TYPE_CHECKING:
    from collections.abc import Callable

    from hoster.clients.proofs import Demand
    from hoster.ledger import Ledger


@click.group(invoke_without_command=True)
@click.option("--overdue", is_flag=True, help="Only those whose time is over.")
@click.option("--all", "every", is_flag=True, help="Those that are settled, too.")
@_common.as_json
@click.pass_context
def proof(ctx: click.Context, overdue: bool, every: bool, as_json: bool) -> None:
    """List the clients that were asked to prove their contact details, and until when (C7.1).

    A client's time runs from the moment at which the mail server took the mail that asks.
    `playbooks/enforce-proofs.yml` suspends the VPSs of those who are late, and resumes them.

    \b
    Examples:
      hoster proof
      hoster proof --overdue --json
      hoster proof demand acme --note ticket-4711
      hoster proof settle acme --note "extract of the register seen"
    """
    if ctx.invoked_subcommand is not None:
        return
    from hoster.ledger import Ledger

    now = _now()
    with Ledger.open(_common.project().ledger_url) as ledger:
        found = ledger.proofs.demands()
    shown = [
        one
        for one in found
        if (one.is_open or (every and not overdue)) and (one.is_overdue(now) or not overdue)
    ]
    rows = [_row(one, now) for one in shown]
    if as_json:
        _common.print_json({"proofs": rows})
        return
    columns = ("client", "stage", "demanded_at", "due_at", "note", "settlement")
    _common.print_table(columns, [[row[name] or "" for name in columns] for row in rows])


@proof.command()
@click.argument("clients", nargs=-1, required=True, metavar="CLIENT...")
@click.option("--note", default="", help="For the record: why, a ticket.")
@_common.dry_run
@_common.as_json
def demand(clients: tuple[str, ...], note: str, dry_run: bool, as_json: bool) -> None:
    """Ask clients for a proof, by mail; not again where one is asked for already.

    \b
    Example:
      hoster proof demand acme --note ticket-4711
    """
    policy = _common.catalogue().policy
    now = _now()
    _each(
        clients,
        lambda ledger, client: ledger.proofs.demand(
            client, note, now, hours=policy.incidents.proof_hours, timezone=policy.timezone
        ),
        dry_run=dry_run,
        as_json=as_json,
    )


@proof.command()
@click.argument("clients", nargs=-1, required=True, metavar="CLIENT...")
@click.option("--note", default="", help="For the record: what was seen, by whom.")
@_common.dry_run
@_common.as_json
def settle(clients: tuple[str, ...], note: str, dry_run: bool, as_json: bool) -> None:
    """Note that clients have sent their proof, or are asked for it no more; they are told.

    VPSs that were suspended for it come back with the next `playbooks/enforce-proofs.yml`.

    \b
    Example:
      hoster proof settle acme --note "extract of the register seen"
    """
    now = _now()
    _each(
        clients,
        lambda ledger, client: ledger.proofs.settle(client, note, now),
        dry_run=dry_run,
        as_json=as_json,
    )


def _each(
    clients: tuple[str, ...],
    do: Callable[[Ledger, str], bool],
    *,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Do it for all clients or, where one of them cannot be, for none; send the mails."""
    from hoster.ledger import Ledger
    from hoster.mail import outbox

    with Ledger.open(_common.project().ledger_url) as ledger:
        with ledger.together(dry_run=dry_run):
            changed = [client for client in dict.fromkeys(clients) if do(ledger, client)]
        if not dry_run:
            outbox.send_due(ledger, _common.catalogue().company, _now)
        now = _now()
        rows = [
            _row(one, now)
            for one in ledger.proofs.demands()
            if one.client in clients and one.is_open
        ]
    if as_json:
        _common.print_json({"changed": changed, "open": rows})
        return
    would = "Dry run: would change" if dry_run else "Changed"
    _common.say(f"{would} {', '.join(changed) or 'nothing'}.")
    for row in rows:
        _common.say(f"{row['client']}: {row['stage']}, until {row['due_at'] or 'it is told'}")


def _row(one: Demand, now: datetime) -> dict[str, Any]:
    return {
        "client": one.client,
        "stage": one.stage(now),
        "demanded_at": one.demanded_at.isoformat(timespec="minutes"),
        "due_at": one.due_at.isoformat(timespec="minutes") if one.due_at else None,
        "note": one.note,
        "settled_at": one.settled_at.isoformat(timespec="minutes") if one.settled_at else None,
        "settlement": one.settlement,
    }


def _now() -> datetime:
    return datetime.now(UTC)
