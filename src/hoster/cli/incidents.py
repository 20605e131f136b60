"""``hoster incidents``: security incidents and the measures in force."""

from __future__ import annotations

import rich_click as click

from hoster.cli import _common


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
    from hoster.acts import incidents as act

    with _common.ledger() as ledger:
        found = act.listed(ledger, vps, everything=everything)
    rows = [one.as_json() for one in found]
    if as_json:
        _common.print_json({"measures": rows})
        return
    columns = ("vps", "measure", "ground", "severity", "stage", "since", "author", "evidence")
    _common.print_table(columns, [[row[name] or "" for name in columns] for row in rows])
