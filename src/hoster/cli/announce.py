"""``hoster announce``: clients are told of a maintenance, or of a security update to make."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import rich_click as click

from hoster.cli import _common

if TYPE_CHECKING:
    from collections.abc import Callable

    from hoster.ledger import Ledger, Told

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
    from hoster.ledger import Ledger

    with Ledger.open(_common.project().ledger_url) as ledger:
        found = ledger.announcements.all()
    rows = [
        {
            "id": one.id,
            "kind": one.kind.value,
            "about": one.about,
            "at": one.at.isoformat(timespec="minutes"),
            "until": one.until.isoformat(timespec="minutes") if one.until else None,
            "what": one.what,
            "vps": len(one.concerned),
            "left": one.left if one.kind == "update" else [],
        }
        for one in found
    ]
    if as_json:
        _common.print_json({"announcements": rows})
        return
    columns = ("id", "kind", "about", "at", "what", "vps", "left")
    _common.print_table(columns, [[_cell(row[name]) for name in columns] for row in rows])


@announce.command()
@click.option("--node", "nodes", multiple=True, required=True, help="May be repeated.")
@click.option("--start", type=click.DateTime(_WHEN), required=True)
@click.option("--hours", type=click.FloatRange(min=0, min_open=True), required=True)
@click.option("--what", default="", help="What is done, in words for clients.")
@_common.dry_run
@_common.as_json
def maintenance(
    nodes: tuple[str, ...],
    start: datetime,
    hours: float,
    what: str,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Tell every client with a VPS on these host nodes when they are worked on, and how long.

    \b
    Example:
      hoster announce maintenance --node paris-1 --start 2026-12-01T22:00 --hours 2
    """
    from hoster.clients.announcements import Kind, on_nodes
    from hoster.errors import ConfigurationError
    from hoster.problems import near
    from hoster.project.declarations import read_all

    content = _common.catalogue()
    for node in nodes:
        if node not in content.nodes:
            raise ConfigurationError(f"no host node {node}{near(node, content.nodes)}")
    vpss = on_nodes(read_all(_common.project()), nodes)
    at = _local(start)
    _told(
        lambda ledger, zone: ledger.announcements.announce(
            Kind.MAINTENANCE,
            ", ".join(sorted(set(nodes))),
            vpss,
            datetime.now(UTC),
            at=at,
            until=at + timedelta(hours=hours),
            what=what,
            timezone=zone,
        ),
        dry_run=dry_run,
        as_json=as_json,
    )


@announce.command()
@click.option("--image", required=True, type=_common.CatalogueName("images"))
@click.option("--due", type=click.DateTime(_WHEN), required=True, help="Until when to make it.")
@click.option("--what", required=True, help="Which update: a package, an advisory.")
@_common.dry_run
@_common.as_json
def update(image: str, due: datetime, what: str, dry_run: bool, as_json: bool) -> None:
    """Tell every client whose VPS runs an image that a security update is to be made (C7.3).

    \b
    Example:
      hoster announce update --image debian-12 --due 2026-12-10 --what "openssl, DSA-5999"
    """
    from hoster.clients.announcements import Kind, of_image
    from hoster.errors import ConfigurationError
    from hoster.problems import near
    from hoster.project.declarations import read_all

    images = _common.catalogue().images
    if image not in images:
        raise ConfigurationError(f"no image {image}{near(image, images)}")
    vpss = of_image(read_all(_common.project()), image)
    _told(
        lambda ledger, zone: ledger.announcements.announce(
            Kind.UPDATE,
            image,
            vpss,
            datetime.now(UTC),
            at=_local(due),
            what=what,
            timezone=zone,
        ),
        dry_run=dry_run,
        as_json=as_json,
    )


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
    now = datetime.now(UTC)
    _told(
        lambda ledger, zone: ledger.announcements.remind(
            number, now, today=now.astimezone(ZoneInfo(zone)).date(), timezone=zone
        ),
        dry_run=dry_run,
        as_json=as_json,
    )


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
    from hoster.ledger import Ledger

    with Ledger.open(_common.project().ledger_url) as ledger:
        new = ledger.announcements.settle(number, names, datetime.now(UTC))
    if as_json:
        _common.print_json({"changed": bool(new), "settled": new})
    else:
        _common.say(f"{len(new)} settled{'' if new else ' (no change)'}")


def _cell(value: object) -> object:
    return len(value) if isinstance(value, list) else value


def _local(when: datetime) -> datetime:
    return when.replace(tzinfo=ZoneInfo(_common.catalogue().policy.timezone))


def _told(tell: Callable[[Ledger, str], Told], *, dry_run: bool, as_json: bool) -> None:
    from hoster.ledger import Ledger
    from hoster.mail import outbox

    content = _common.catalogue()
    with Ledger.open(_common.project().ledger_url) as ledger:
        with ledger.together(dry_run=dry_run):
            told = tell(ledger, content.policy.timezone)
        if not dry_run:
            outbox.send_due(ledger, content.company, lambda: datetime.now(UTC))
    said: dict[str, Any] = {
        "changed": bool(told.clients),
        "announcement": None if dry_run else told.announcement.id,
        "clients": list(told.clients),
        "unknown": list(told.unknown),
        "vps": [one.vps for one in told.announcement.concerned],
        "left": told.announcement.left,
    }
    if as_json:
        _common.print_json(said)
        return
    would = "would be told" if dry_run else "told"
    _common.say(f"{len(told.clients)} clients {would}, of {len(said['vps'])} VPSs")
    for client in told.unknown:
        _common.say(f"no client {client} is known here: nobody was told")
