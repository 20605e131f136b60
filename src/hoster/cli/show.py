"""``hoster show``: what is declared."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import rich_click as click

from hoster.cli import _common

if TYPE_CHECKING:
    from hoster.catalogue import Catalogue
    from hoster.orders.declarations import VpsDeclaration


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
    from hoster.errors import ConfigurationError
    from hoster.problems import near
    from hoster.project.declarations import read_all

    declared = list(read_all(_common.project()))
    chosen = [vps for vps in declared if name in {None, vps.client, vps.full_name}]
    if name and not chosen:
        known = {vps.full_name for vps in declared} | {vps.client for vps in declared}
        raise ConfigurationError(f"nothing is declared as {name}{near(name, known)}")
    content = _common.catalogue()
    rows = [_row(vps, content) for vps in chosen]
    if deployed:
        _add_deployed(rows, {vps.client for vps in chosen})
    columns = list(rows[0]) if rows else ["name"]
    if name and name == chosen[0].full_name:
        rows[0] |= _record(name)
    if as_json:
        _common.print_json({"vps": rows})
        return
    _common.print_table(columns, [[row[column] for column in columns] for row in rows])
    if rows and "state" in rows[0]:
        _say_record(rows[0])


def _record(name: str) -> dict[str, Any]:
    """Return what the ledger knows of a VPS: its state, why, what can be done, what happened."""
    from hoster.ledger import Ledger

    with Ledger.open(_common.project().ledger_url) as ledger:
        situation, history = ledger.measures.situation(name), ledger.trail.entries(name)
        reinstalls = ledger.reinstalls.all(name)
    return {
        "state": situation.state.value,
        "measures": [
            {"measure": one.kind, "ground": one.ground, "stage": one.stage, "id": one.id}
            for one in situation.measures
        ],
        "systems": [
            {
                "image": one.image,
                "request": one.request,
                "stage": one.stage,
                "former_disk_until": one.erase_after if not one.erased_at else None,
            }
            for one in reinstalls
        ],
        "possible": [act.value for act in situation.possible()],
        "history": [
            {
                "at": one.at.isoformat(timespec="seconds"),
                "actor": one.actor,
                "kind": one.kind,
                "details": one.details,
            }
            for one in history
        ],
    }


def _say_record(row: dict[str, Any]) -> None:
    _common.say(f"{row['name']} is {row['state']}")
    for one in row["measures"]:
        _common.say(f"  {one['measure']} for {one['ground']}: {one['stage']}")
    for one in row["systems"]:
        _common.say(f"  reinstall with {one['image']} ({one['request']}): {one['stage']}")
    _common.say(f"Possible now: {', '.join(row['possible'])}. History: hoster audit.")


def _row(vps: VpsDeclaration, content: Catalogue) -> dict[str, Any]:
    from hoster.wire import names

    plan = content.plans.get(vps.plan)
    return {
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


def _add_deployed(rows: list[dict[str, Any]], clients: set[str]) -> None:
    from hoster.engine.pulumi_cli import stack_outputs

    outputs = {
        client: stack_outputs(_common.project(), client).get("vps", {}) for client in clients
    }
    for row in rows:
        client, _, vps = row["name"].partition("/")
        row["deployed_plan"] = outputs[client].get(vps, {}).get("plan")
