"""``hoster impact``: whom a change touches, and how."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import rich_click as click

from hoster.cli import _common

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hoster.acts.compare import Comparison
    from hoster.changes.impact import NodeRoom, Reached

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
    from hoster.acts.compare import compare

    found = compare(_common.change(against), _common.clock)
    if markdown:
        click.echo(in_markdown(found))
    elif as_json:
        _common.print_json(asdict(found))
    else:
        for columns, rows in _tables(found):
            if rows:
                _common.print_table(columns, rows)
        _common.say(_sums(found))


def in_markdown(found: Comparison) -> str:
    """Return what the command says of a change in Markdown."""
    parts = [f"**{_sums(found)}**", *(_table(*table) for table in _tables(found))]
    return "\n\n".join(part for part in parts if part)


def _tables(found: Comparison) -> list[tuple[Sequence[str], list[list[str]]]]:
    return [
        (_COLUMNS, [_row(one) for one in found.vps]),
        (_ROOM, [_room(one) for one in found.nodes]),
    ]


def _sums(found: Comparison) -> str:
    vps = _common.counted(len(found.vps), "VPS")
    month, pro_rata = found.month_eur, found.pro_rata_eur
    return f"{vps}, {month:+} EUR a month, {pro_rata:+} EUR until their months end"


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
