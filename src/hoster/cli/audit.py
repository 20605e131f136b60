"""``hoster audit``: who did what, when, to whom; and whether nobody rewrote it."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import rich_click as click

from hoster.cli import _common

if TYPE_CHECKING:
    from hoster.ledger.audit import Entry, Verdict


@click.group(invoke_without_command=True)
@click.option("--subject", help="Only what concerns this VPS or client.")
@click.option("--limit", type=click.IntRange(min=1), default=100, show_default=True)
@_common.as_json
@click.pass_context
def audit(ctx: click.Context, subject: str | None, limit: int, as_json: bool) -> None:
    """List the latest entries of the audit trail, oldest first.

    \b
    Examples:
      hoster audit --subject acme/web
      hoster audit verify
    """
    if ctx.invoked_subcommand is not None:
        return
    with _common.ledger() as ledger:
        rows = [_row(one) for one in ledger.trail.entries(subject, limit)]
    if as_json:
        _common.print_json({"entries": rows})
        return
    columns = ("at", "actor", "kind", "subject", "details")
    _common.print_table(columns, [[_cell(row[name]) for name in columns] for row in rows])


def _row(one: Entry) -> dict[str, Any]:
    return {
        "id": one.id,
        "at": one.at.isoformat(timespec="seconds"),
        "actor": one.actor,
        "kind": one.kind,
        "subject": one.subject,
        "details": one.details,
    }


def _cell(value: object) -> object:
    if not isinstance(value, dict):
        return value
    return " ".join(f"{name}={said}" for name, said in value.items())


@audit.command()
@click.option("--anchor", default="", help="A digest noted before: it must still be in the trail.")
@_common.as_json
def verify(anchor: str, as_json: bool) -> None:
    """Follow the trail's chain from its first entry: whoever changed one broke it.

    Note the digest elsewhere now and then, out of reach of those who own the database: with it
    as --anchor, a trail that was rewritten as a whole, or cut, is found out, too.

    \b
    Examples:
      hoster audit verify
      hoster audit verify --anchor 3f8c...

    \b
    Exit codes: 0 it is whole; 5 it is not.
    """
    from hoster.errors import ExitCode

    with _common.ledger() as ledger:
        found = ledger.trail.verify(anchor)
    sound = found.broken is None and found.anchored
    if as_json:
        _common.print_json({"sound": sound, **vars(found)})
    else:
        _common.say(_verdict(found, anchor))
    if not sound:
        sys.exit(ExitCode.POLICY)


def _verdict(found: Verdict, anchor: str) -> str:
    if found.broken is not None:
        return f"Entry {found.broken} does not follow the one before it: somebody changed it."
    if not found.anchored:
        return f"Nothing in the trail has the digest {anchor}: it was rewritten, or cut."
    return f"{found.entries} entries, each follows the one before. Digest: {found.head}"
