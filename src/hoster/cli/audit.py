"""``hoster audit``: who did what, when, to whom; and whether nobody rewrote it."""

from __future__ import annotations

import sys

import rich_click as click

from hoster.cli import _common


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
    from hoster.ledger import Ledger

    with Ledger.open(_common.project().ledger_url) as ledger:
        entries = ledger.trail.entries(subject, limit)
    rows = [
        {
            "id": one.id,
            "at": one.at.isoformat(timespec="seconds"),
            "actor": one.actor,
            "kind": one.kind,
            "subject": one.subject,
            "details": one.details,
        }
        for one in entries
    ]
    if as_json:
        _common.print_json({"entries": rows})
        return
    columns = ("at", "actor", "kind", "subject", "details")
    _common.print_table(
        columns,
        [
            [*list(row.values())[1:5], " ".join(f"{k}={v}" for k, v in one.details.items())]
            for row, one in zip(rows, entries, strict=True)
        ],
    )


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
    from hoster.ledger import Ledger

    with Ledger.open(_common.project().ledger_url) as ledger:
        found = ledger.trail.verify(anchor)
    sound = found.broken is None and found.anchored
    if as_json:
        _common.print_json({"sound": sound, **vars(found)})
    elif found.broken is not None:
        _common.say(f"Entry {found.broken} does not follow the one before it: somebody changed it.")
    elif not found.anchored:
        _common.say(f"Nothing in the trail has the digest {anchor}: it was rewritten, or cut.")
    else:
        _common.say(f"{found.entries} entries, each follows the one before. Digest: {found.head}")
    if not sound:
        sys.exit(ExitCode.POLICY)
