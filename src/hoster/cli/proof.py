"""``hoster proof``: clients are asked to prove their contact details (C7.1)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import rich_click as click

from hoster.cli import _common

if TYPE_CHECKING:
    from hoster.acts.proofs import Asked


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
    from hoster.acts import proofs

    found = _common.act(proofs.listed, overdue=overdue, every=every)
    rows = [one.as_json() for one in found]
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
def demand(as_json: bool, **options: Any) -> None:
    """Ask clients for a proof, by mail; not again where one is asked for already.

    \b
    Example:
      hoster proof demand acme --note ticket-4711
    """
    from hoster.acts import proofs

    reply = _common.act(proofs.demand, _common.catalogue(), **options)
    _tell(reply, as_json=as_json, dry_run=options["dry_run"])


@proof.command()
@click.argument("clients", nargs=-1, required=True, metavar="CLIENT...")
@click.option("--note", default="", help="For the record: what was seen, by whom.")
@_common.dry_run
@_common.as_json
def settle(as_json: bool, **options: Any) -> None:
    """Note that clients have sent their proof, or are asked for it no more; they are told.

    VPSs that were suspended for it come back with the next `playbooks/enforce-proofs.yml`.

    \b
    Example:
      hoster proof settle acme --note "extract of the register seen"
    """
    from hoster.acts import proofs

    reply = _common.act(proofs.settle, _common.catalogue(), **options)
    _tell(reply, as_json=as_json, dry_run=options["dry_run"])


def _tell(reply: Asked, *, as_json: bool, dry_run: bool) -> None:
    data = reply.as_json()
    if as_json:
        _common.print_json(data)
        return
    would = "Dry run: would change" if dry_run else "Changed"
    _common.say(f"{would} {', '.join(reply.changed) or 'nothing'}.")
    for row in data["open"]:
        _common.say(f"{row['client']}: {row['stage']}, until {row['due_at'] or 'it is told'}")
