"""``hoster announce``: clients are told of a maintenance, or of a security update to make."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import rich_click as click

from hoster.cli import _common

if TYPE_CHECKING:
    from hoster.acts.announce import Announced
    from hoster.clients.announcements import Announcement

_WHEN = ["%Y-%m-%d", "%Y-%m-%dT%H:%M"]


@click.group(invoke_without_command=True)
@_common.as_json
@click.pass_context
def announce(ctx: click.Context, as_json: bool) -> None:
    """List what was announced, and who still is to do what an update asks.

    Times are in the zone of `policy.timezone`.

    \b
    Examples:
      hoster announce
      hoster announce maintenance --node paris-1 --start 2026-12-01T22:00 --hours 2
      hoster announce update --image debian-12 --due 2026-12-10 --what "openssl, DSA-5999"
      hoster announce remind 4
      hoster announce settle 4 acme/web
    """
    if ctx.invoked_subcommand is not None:
        return
    with _common.ledger() as ledger:
        rows = [_row(one) for one in ledger.announcements.all()]
    if as_json:
        _common.print_json({"announcements": rows})
        return
    columns = ("id", "kind", "about", "at", "what", "vps", "left")
    _common.print_table(columns, [[_cell(row[name]) for name in columns] for row in rows])


def _row(one: Announcement) -> dict[str, Any]:
    return {
        "id": one.id,
        "kind": one.kind.value,
        "about": one.about,
        "at": one.at.isoformat(timespec="minutes"),
        "until": one.until.isoformat(timespec="minutes") if one.until else None,
        "what": one.what,
        "vps": len(one.concerned),
        "left": one.left if one.kind == "update" else [],
    }


def _cell(value: object) -> object:
    return len(value) if isinstance(value, list) else value


@announce.command()
@click.option("--node", "nodes", multiple=True, required=True, help="May be repeated.")
@click.option("--start", type=click.DateTime(_WHEN), required=True)
@click.option("--hours", type=click.FloatRange(min=0, min_open=True), required=True)
@click.option("--what", default="", help="What is done, in words for clients.")
@_common.dry_run
@_common.as_json
def maintenance(nodes: tuple[str, ...], as_json: bool, **options: Any) -> None:
    """Tell every client with a VPS on these host nodes when they are worked on, and how long.

    \b
    Example:
      hoster announce maintenance --node paris-1 --start 2026-12-01T22:00 --hours 2
    """
    from hoster.acts import announce as act

    project, catalogue = _common.project(), _common.catalogue()
    announced = _common.act(act.maintenance, project, catalogue, node=nodes, **options)
    _tell(announced, as_json=as_json)


@announce.command()
@click.option("--image", required=True, type=_common.CatalogueName("images"))
@click.option("--due", type=click.DateTime(_WHEN), required=True, help="Until when to make it.")
@click.option("--what", required=True, help="Which update: a package, an advisory.")
@_common.dry_run
@_common.as_json
def update(as_json: bool, **options: Any) -> None:
    """Tell every client whose VPS runs an image that a security update is to be made (C7.3).

    \b
    Example:
      hoster announce update --image debian-12 --due 2026-12-10 --what "openssl, DSA-5999"
    """
    from hoster.acts import announce as act

    project, catalogue = _common.project(), _common.catalogue()
    announced = _common.act(act.update, project, catalogue, **options)
    _tell(announced, as_json=as_json)


@announce.command()
@click.argument("number", type=int)
@_common.dry_run
@_common.as_json
def remind(number: int, dry_run: bool, as_json: bool) -> None:
    """Remind the clients whose VPSs have not made an update; at most once a day (C7.3).

    \b
    Example:
      hoster announce remind 4
    """
    from hoster.acts import announce as act

    announced = _common.act(act.remind, _common.catalogue(), number=number, dry_run=dry_run)
    _tell(announced, as_json=as_json)


@announce.command()
@click.argument("number", type=int)
@click.argument("names", nargs=-1, required=True, metavar="VPS...")
@_common.as_json
def settle(number: int, names: tuple[str, ...], as_json: bool) -> None:
    """Note that VPSs have made an update: their clients are reminded no more.

    \b
    Example:
      hoster announce settle 4 acme/web acme/db
    """
    with _common.ledger() as ledger:
        new = ledger.announcements.settle(number, names, _common.clock())
    if as_json:
        _common.print_json({"changed": bool(new), "settled": new})
    else:
        _common.say(f"{len(new)} settled{'' if new else ' (no change)'}")


def _tell(announced: Announced, *, as_json: bool) -> None:
    if as_json:
        _common.print_json(announced.as_json())
        return
    told = announced.told
    would = "would be told" if announced.dry_run else "told"
    vpss = len(told.announcement.concerned)
    _common.say(f"{len(told.clients)} clients {would}, of {vpss} VPSs")
    for remark in announced.remarks():
        _common.say(remark)
