"""Asked of contact details: asked for, settled, and enforced where they do not come (C7.1)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hoster.acts import measures
from hoster.acts.choice import Chosen, Names
from hoster.acts.reply import Reply
from hoster.clients import proofs
from hoster.mail import outbox
from hoster.project.declarations import read_all

if TYPE_CHECKING:
    from datetime import datetime

    from hoster.acts.reply import Clock
    from hoster.catalogue import Catalogue
    from hoster.clients.proofs import Demand
    from hoster.ledger import Ledger, Wanted
    from hoster.project import Project


@dataclass(frozen=True)
class Demanded:
    """A demand as it stands at an instant."""

    demand: Demand
    at: datetime

    def as_json(self) -> dict[str, Any]:
        """Return it for programs."""
        one = self.demand
        return {
            "client": one.client,
            "stage": one.stage(self.at),
            "demanded_at": one.demanded_at.isoformat(timespec="minutes"),
            "due_at": one.due_at.isoformat(timespec="minutes") if one.due_at else None,
            "note": one.note,
            "settled_at": one.settled_at.isoformat(timespec="minutes") if one.settled_at else None,
            "settlement": one.settlement,
        }


@dataclass(frozen=True)
class Asked(Reply):
    """The clients for whom an act was news, and what is still asked of those that it was for."""

    changed: Sequence[str]
    open: Sequence[Demanded]

    def as_json(self) -> dict[str, Any]:
        """Return it for programs."""
        return {"changed": list(self.changed), "open": [one.as_json() for one in self.open]}


def listed(
    ledger: Ledger, clock: Clock, *, overdue: bool = False, every: bool = False
) -> list[Demanded]:
    """Return what clients were asked for: what is open, what is *overdue*, or *every* demand."""
    now = clock()
    return [
        Demanded(one, now)
        for one in ledger.proofs.demands()
        if (one.is_open or (every and not overdue)) and (one.is_overdue(now) or not overdue)
    ]


def demand(
    catalogue: Catalogue,
    ledger: Ledger,
    clock: Clock,
    *,
    clients: Names,
    note: str = "",
    dry_run: bool = False,
) -> Asked:
    """Ask clients for a proof, by mail; not again where one is asked for already.

    Raises:
        ConfigurationError: one of them is not registered; nobody was asked.
    """
    policy, now = catalogue.policy, clock()

    def ask(client: str) -> bool:
        hours = policy.incidents.proof_hours
        return ledger.proofs.demand(client, note, now, hours=hours, timezone=policy.timezone)

    return _each(catalogue, ledger, clock, clients=clients, do=ask, dry_run=dry_run)


def settle(
    catalogue: Catalogue,
    ledger: Ledger,
    clock: Clock,
    *,
    clients: Names,
    note: str = "",
    dry_run: bool = False,
) -> Asked:
    """Note that clients have sent their proof, or are asked for it no more; they are told.

    Raises:
        ConfigurationError: one of them is not registered; nothing was noted.
        RuleError: one of them was never asked; nothing was noted.
    """
    now = clock()

    def close(client: str) -> bool:
        return ledger.proofs.settle(client, note, now)

    return _each(catalogue, ledger, clock, clients=clients, do=close, dry_run=dry_run)


def enforce(
    project: Project, ledger: Ledger, clock: Clock, *, dry_run: bool = False
) -> measures.Recorded:
    """Want the suspension of VPSs whose client's proof is overdue, its end where it came (C7.1)."""
    now = clock()
    node_of = {vps.full_name: vps.node for vps in read_all(project)}
    due = proofs.due(node_of, ledger.proofs.demands(), ledger.measures.all(in_force=True), now)

    def want(vps: str) -> Wanted:
        if vps in due.resume:
            return ledger.measures.resume(vps, proofs.GROUND, "the proof came", now)
        return ledger.measures.suspend(vps, proofs.GROUND, "", now)

    concerned = {vps: node_of[vps] for vps in (*due.suspend, *due.resume)}
    return measures.record(ledger, Chosen(concerned, by_name=False), want, dry_run=dry_run)


def _each(
    catalogue: Catalogue,
    ledger: Ledger,
    clock: Clock,
    *,
    clients: Names,
    do: Callable[[str], bool],
    dry_run: bool,
) -> Asked:
    """Do it for all clients or, where one of them cannot be, for none; send the mails."""
    with ledger.together(dry_run=dry_run):
        changed = [client for client in dict.fromkeys(clients) if do(client)]
    if not dry_run:
        outbox.send_due(ledger, catalogue.company, clock)
    return Asked(changed, [one for one in listed(ledger, clock) if one.demand.client in clients])
