"""``hoster events``: what the host nodes told."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import rich_click as click

from hoster.cli import _common

if TYPE_CHECKING:
    from hoster.ledger import KeptEvent


@click.command()
@click.argument("subject", required=False, metavar="[VPS]")
@click.option("--kind", multiple=True, help="Only of this kind; may be repeated.")
@click.option("--node", help="Only what this host node told.")
@click.option("--limit", type=click.IntRange(min=1), default=100, show_default=True)
@_common.as_json
def events(
    subject: str | None, kind: tuple[str, ...], node: str | None, limit: int, as_json: bool
) -> None:
    """List what `hoster collect` fetched: the latest events, oldest first.

    docs/events.md lists the kinds; a VPS's volume of each ended cycle is in `cycle-ended`.

    \b
    Examples:
      hoster events acme/web
      hoster events --kind unknown-tap --kind spoof-refused --node paris-1
      hoster events --kind cycle-ended --json
    """
    with _common.ledger() as ledger:
        found = ledger.node_events.latest(subject=subject, kinds=kind, node=node, limit=limit)
    rows = [_row(one) for one in found]
    if as_json:
        _common.print_json({"events": rows})
        return
    columns = ("at", "node", "kind", "subject", "details")
    _common.print_table(columns, [[_cell(row[name]) for name in columns] for row in rows])


def _row(one: KeptEvent) -> dict[str, Any]:
    event = one.event
    return {
        "id": event.id,
        "node": one.node,
        "at": event.at.isoformat(timespec="seconds"),
        "kind": event.kind,
        "subject": event.subject,
        "details": event.details,
    }


def _cell(value: object) -> str:
    if not isinstance(value, dict):
        return str(value)
    return " ".join(f"{name}={said}" for name, said in value.items())
