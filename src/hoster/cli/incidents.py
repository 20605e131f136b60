"""``hoster incidents``: security incidents and the measures in force."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import rich_click as click

from hoster.cli import _common

if TYPE_CHECKING:
    from hoster.incidents.measures import Incident, Measure


@click.command()
@click.argument("vps", required=False, metavar="[VPS]")
@click.option("--all", "everything", is_flag=True, help="Closed ones and lifted ones, too.")
@_common.as_json
def incidents(vps: str | None, everything: bool, as_json: bool) -> None:
    """List the measures against VPSs with their incidents: why, by whom, since when, how far.

    \b
    Examples:
      hoster incidents
      hoster incidents acme/web --all --json
    """
    from hoster.ledger import Ledger

    with Ledger.open(_common.project().ledger_url) as ledger:
        measures = ledger.measures.all(vps, in_force=not everything)
        known = {one.id: one for one in ledger.incidents.all(vps)}
    rows = [_row(one, known.get(one.incident or 0)) for one in measures]
    if as_json:
        _common.print_json({"measures": rows})
        return
    columns = ("vps", "measure", "ground", "severity", "stage", "since", "author", "evidence")
    _common.print_table(columns, [[row[name] or "" for name in columns] for row in rows])


def _row(measure: Measure, incident: Incident | None) -> dict[str, Any]:
    return {
        "vps": measure.vps,
        "measure": measure.kind,
        "id": measure.id,
        "ground": measure.ground,
        "incident": measure.incident,
        "severity": incident.severity if incident else None,
        "evidence": incident.evidence if incident else measure.note,
        "reinstall": incident.reinstall if incident else False,
        "stage": measure.stage,
        "since": measure.wanted_at.isoformat(timespec="seconds"),
        "author": measure.author,
        "lifted": measure.lifted_at.isoformat(timespec="seconds") if measure.lifted_at else None,
        "lift_author": measure.lift_author,
        "lift_note": measure.lift_note,
    }
