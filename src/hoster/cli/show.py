"""``hoster show``: what is declared."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import rich_click as click

from hoster.cli import _common

if TYPE_CHECKING:
    from hoster.acts.show import Record, Shown
    from hoster.ledger.audit import Entry
    from hoster.orders.systems import Reinstall
    from hoster.project import Project


@click.command()
@click.argument("name", required=False)
@click.option("--deployed", is_flag=True, help="Ask each stack what it last deployed, too.")
@_common.as_json
def show(name: str | None, deployed: bool, as_json: bool) -> None:
    """Show the declared VPSs: of everybody, of a client, or one (acme/web).

    Of one, also the measures against it, what can be done now, and (as JSON) what happened.

    \b
    Examples:
      hoster show
      hoster show acme
      hoster show acme/web --deployed --json
    """
    from hoster.acts import show as act

    project, catalogue = _common.project(), _common.catalogue()
    shown = act.show(project, catalogue, name, deployed=deployed)
    rows = [_row(one, deployed=deployed) for one in shown]
    columns = list(rows[0]) if rows else ["name"]
    record = _record(project, name) if name and name == shown[0].vps.full_name else None
    if as_json:
        _common.print_json({"vps": [rows[0] | _as_data(record)] if record else rows})
        return
    _common.print_table(columns, [[row[column] for column in columns] for row in rows])
    if name and record:
        _say_record(name, record)


def _record(project: Project, name: str) -> Record:
    from hoster.acts import show as act
    from hoster.ledger import Ledger

    with Ledger.open(project.ledger_url) as ledger:
        return act.record(ledger, name)


def _row(shown: Shown, *, deployed: bool) -> dict[str, Any]:
    from hoster.wire import names

    vps, plan = shown.vps, shown.plan
    row = {
        "name": vps.full_name,
        "plan": vps.plan,
        "vcpus": plan.vcpus if plan else None,
        "memory_mib": plan.memory_mib if plan else None,
        "disk_gib": plan.disk_gib if plan else None,
        "image": vps.image,
        "location": vps.location,
        "node": vps.node,
        "ipv4": str(vps.ipv4),
        "tap": names.tap_name(vps.ipv4),
        "mac": names.mac_address(vps.ipv4),
        "term_months": vps.term_months,
    }
    return row | ({"deployed_plan": shown.deployed_plan} if deployed else {})


def _as_data(record: Record) -> dict[str, Any]:
    return {
        "state": record.situation.state.value,
        "measures": [
            {"measure": one.kind, "ground": one.ground, "stage": one.stage, "id": one.id}
            for one in record.situation.measures
        ],
        "systems": [_system(one) for one in record.reinstalls],
        "possible": [act.value for act in record.situation.possible()],
        "history": [_entry(one) for one in record.history],
    }


def _system(reinstall: Reinstall) -> dict[str, Any]:
    return {
        "image": reinstall.image,
        "request": reinstall.request,
        "stage": reinstall.stage,
        "former_disk_until": None if reinstall.erased_at else reinstall.erase_after,
    }


def _entry(entry: Entry) -> dict[str, Any]:
    return {
        "at": entry.at.isoformat(timespec="seconds"),
        "actor": entry.actor,
        "kind": entry.kind,
        "details": entry.details,
    }


def _say_record(name: str, record: Record) -> None:
    _common.say(f"{name} is {record.situation.state.value}")
    for measure in record.situation.measures:
        _common.say(f"  {measure.kind} for {measure.ground}: {measure.stage}")
    for system in record.reinstalls:
        _common.say(f"  reinstall with {system.image} ({system.request}): {system.stage}")
    possible = ", ".join(act.value for act in record.situation.possible())
    _common.say(f"Possible now: {possible}. History: hoster audit.")
