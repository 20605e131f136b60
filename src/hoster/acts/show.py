"""What is declared, and what is on record of one VPS."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from hoster.engine import pulumi_cli
from hoster.errors import ConfigurationError
from hoster.problems import near
from hoster.project import declarations

if TYPE_CHECKING:
    from collections.abc import Iterable

    from hoster.catalogue import Catalogue, Plan
    from hoster.incidents.situation import Situation
    from hoster.ledger import Ledger
    from hoster.ledger.audit import Entry
    from hoster.orders.declarations import Declarations, VpsDeclaration
    from hoster.orders.systems import Reinstall
    from hoster.project import Project


@dataclass(frozen=True)
class Shown:
    """A VPS with its plan, None where the catalogue has no such plan.

    ``deployed_plan`` is the plan's name that its stack last deployed, None where that was none, or
    was not asked.
    """

    vps: VpsDeclaration
    plan: Plan | None
    deployed_plan: str | None = None


@dataclass(frozen=True)
class Record:
    """What the ledger knows of a VPS: its state and why, its reinstalls, what happened."""

    situation: Situation
    history: tuple[Entry, ...]
    reinstalls: tuple[Reinstall, ...]


def show(
    project: Project, catalogue: Catalogue, name: str | None = None, *, deployed: bool = False
) -> list[Shown]:
    """Return the VPSs that are declared: of everybody, of the client *name*, or the one *name*.

    Where *deployed* is said each stack is asked, once.

    Raises:
        ConfigurationError: nothing is declared as *name*; near names are told.
        ToolError: Pulumi is missing or refused.
    """
    chosen = _chosen(declarations.read_all(project), name)
    plans = _deployed_plans(project, chosen) if deployed else {}
    return [Shown(vps, catalogue.plans.get(vps.plan), plans.get(vps.full_name)) for vps in chosen]


def record(ledger: Ledger, name: str) -> Record:
    """Return what the ledger knows of the VPS *name*."""
    history, reinstalls = ledger.trail.entries(name), ledger.reinstalls.all(name)
    return Record(ledger.measures.situation(name), tuple(history), tuple(reinstalls))


def _chosen(declared: Declarations, name: str | None) -> list[VpsDeclaration]:
    chosen = [vps for vps in declared if name in {None, vps.client, vps.full_name}]
    if name and not chosen:
        known = {vps.full_name for vps in declared} | {vps.client for vps in declared}
        raise ConfigurationError(f"nothing is declared as {name}{near(name, known)}")
    return chosen


def _deployed_plans(project: Project, some: Iterable[VpsDeclaration]) -> dict[str, str | None]:
    every = list(some)
    outputs = {
        client: pulumi_cli.stack_outputs(project, client).get("vps", {})
        for client in {vps.client for vps in every}
    }
    return {vps.full_name: outputs[vps.client].get(vps.name, {}).get("plan") for vps in every}
