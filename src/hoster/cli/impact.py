"""``hoster impact``: whom a change touches, and how."""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import rich_click as click

from hoster.cli import _common

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hoster.changes.impact import NodeRoom, Reached, Side

_COLUMNS = ("vps", "plan", "how", "EUR a month", "EUR until", "what changes")
_ROOM = ("node", "disk GiB", "RAM MiB", "vCPU", "Mbit/s")


@click.command()
@click.option(
    "--against", metavar="REF", required=True, help="The Git branch, tag or commit to compare with."
)
@click.option("--markdown", is_flag=True, help="For the comment of a pull request.")
@_common.as_json
def impact(against: str, markdown: bool, as_json: bool) -> None:
    """Say which VPSs a change touches: plan, live or with a reboot, price, room on the nodes.

    The price is that of the month and, of it, what falls on the days that are left of the month
    that is paid. A change of the catalogue lists every VPS that it reaches.

    \b
    Examples:
      hoster impact --against origin/main
      hoster impact --against origin/main --markdown
    """
    from hoster.changes import impact as rules

    if markdown:
        click.echo(in_markdown(against))
        return
    found, rooms = _compared(against)
    if as_json:
        month, pro_rata = rules.total(found)
        _common.print_json(
            {
                "vps": [asdict(one) for one in found],
                "nodes": [asdict(one) for one in rooms],
                "month_eur": month,
                "pro_rata_eur": pro_rata,
            }
        )
        return
    for columns, rows in _tables(found, rooms):
        if rows:
            _common.print_table(columns, rows)
    _common.say(_sums(found))


def in_markdown(against: str) -> str:
    """Return what the command says of the change since the ref *against*, in Markdown.

    Raises:
        ConfigurationError: there is no such ref, or what is declared is not valid.
    """
    found, rooms = _compared(against)
    parts = [f"**{_sums(found)}**", *(_table(*table) for table in _tables(found, rooms))]
    return "\n\n".join(part for part in parts if part)


def _compared(ref: str) -> tuple[list[Reached], list[NodeRoom]]:
    from hoster.changes import impact as rules

    old, new = _sides(ref)
    return rules.reached(old, new, datetime.now(UTC)), rules.rooms(old, new)


def _tables(
    found: Sequence[Reached], rooms: Sequence[NodeRoom]
) -> list[tuple[Sequence[str], list[list[str]]]]:
    return [(_COLUMNS, [_row(one) for one in found]), (_ROOM, [_room(one) for one in rooms])]


def _sums(found: Sequence[Reached]) -> str:
    from hoster.changes import impact as rules

    month, pro_rata = rules.total(found)
    vps = _common.counted(len(found), "VPS")
    return f"{vps}, {month:+} EUR a month, {pro_rata:+} EUR until their months end"


def _sides(ref: str) -> tuple[Side, Side]:
    """Return what *ref* says and what is declared now; what does not differ is read once."""
    from hoster.changes.impact import Side
    from hoster.project import git
    from hoster.project.declarations import read_sound

    project, catalogue = _common.project(), _common.catalogue()
    declared = {vps.full_name: vps for vps in read_sound(project)}
    before = git.before(project, ref)
    if before is None:
        return Side(catalogue, {}), Side(catalogue, {})
    same = {name: vps for name, vps in declared.items() if vps.client not in before.differing}
    was = {vps.full_name: vps for client in before.clients.values() for vps in client.vps}
    return Side(before.catalogue, same | was), Side(catalogue, declared)


def _row(one: Reached) -> list[str]:
    plan = one.new_plan or "none"
    if one.old_plan != one.new_plan:
        plan = f"{one.old_plan or 'none'} -> {plan}"
    return [
        one.vps,
        plan,
        one.how.value,
        f"{one.month_eur:+}",
        f"{one.pro_rata_eur:+} ({one.paid_until})",
        ", ".join(one.what),
    ]


def _room(one: NodeRoom) -> list[str]:
    def pair(field: str) -> str:
        before, after = getattr(one.before, field), getattr(one.after, field)
        shown = f"{before}" if before == after else f"{before} -> {after}"
        return f"{shown} of {getattr(one.capacity, field)}"

    return [one.node, *map(pair, ("disk_gib", "memory_mib", "vcpus", "guaranteed_mbit_s"))]


def _table(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """Return a table in Markdown; a client's name or a plan's holds nothing that it would take."""
    if not rows:
        return ""
    every = [columns, ["---"] * len(columns), *rows]
    return "\n".join(f"| {' | '.join(map(str, row))} |" for row in every)
