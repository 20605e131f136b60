"""The proof of a client's contact details: asked for, and what follows where it does not come.

A client has at least 72 hours from the mail that asked for it; then its VPSs are suspended until
the proof comes (C7.1).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from hoster.errors import RuleError
from hoster.wire import names

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime

    from hoster.incidents.measures import Measure

GROUND = "identity"
"""What a suspension for an overdue proof is called (`hoster.incidents.measures.SUSPENSIONS`)."""


@dataclass(frozen=True)
class Demand:
    """A proof that was asked for; open until it came, or ops let go of it.

    ``told_at`` is when the mail server took the mail: a client that was not told is never late.
    """

    id: int
    client: str
    note: str
    hours: int
    author: str
    demanded_at: datetime
    told_at: datetime | None
    settled_at: datetime | None
    settled_by: str | None
    settlement: str | None

    @property
    def is_open(self) -> bool:
        """Whether the proof is still to come."""
        return self.settled_at is None

    @property
    def due_at(self) -> datetime | None:
        """Until when it is to come; None before the client was told."""
        return self.told_at + timedelta(hours=self.hours) if self.told_at else None

    def is_overdue(self, now: datetime) -> bool:
        """Whether it should have come by *now*."""
        return self.is_open and self.due_at is not None and self.due_at < now

    def stage(self, now: datetime) -> str:
        """Say how far it is at *now*."""
        if not self.is_open:
            return "settled"
        if self.due_at is None:
            return "not told yet"
        return "overdue" if self.is_overdue(now) else "asked for"


@dataclass(frozen=True)
class Due:
    """The VPSs to suspend for an overdue proof, and those to resume because it came."""

    suspend: tuple[str, ...]
    resume: tuple[str, ...]


def due(
    vpss: Iterable[str],
    demands: Sequence[Demand],
    measures: Iterable[Measure],
    now: datetime,
) -> Due:
    """Return what is to be done about *vpss*, given every demand and what is not lifted.

    What is in force already is left alone; what a run that was cut left behind is done again. A
    suspension is resumed for a proof that came after it, and not for one that came before.
    """
    overdue = {one.client for one in demands if one.is_overdue(now)}
    settled: dict[str, datetime] = {}
    for one in demands:
        if one.settled_at is not None:
            settled[one.client] = max(one.settled_at, settled.get(one.client, one.settled_at))
    pending = {one.client for one in demands if one.is_open}
    against = {one.vps: one for one in measures if (one.kind, one.ground) == ("suspend", GROUND)}
    suspend, resume = [], []
    for vps in vpss:
        client, measure = names.client_of(vps), against.get(vps)
        if measure is None or not measure.is_wanted:
            if client in overdue:
                suspend.append(vps)
            elif measure is not None:
                resume.append(vps)
        elif client not in pending and settled.get(client, measure.wanted_at) > measure.wanted_at:
            resume.append(vps)
        elif measure.in_force_at is None:
            suspend.append(vps)
    return Due(tuple(suspend), tuple(resume))


def require_overdue(vps: str, demands: Iterable[Demand], now: datetime) -> None:
    """See that *vps* may be suspended because its client's proof did not come (C7.1).

    Raises:
        RuleError: nobody asked for one that is overdue.
    """
    client = names.client_of(vps)
    mine = [one for one in demands if one.client == client and one.is_open]
    if any(one.is_overdue(now) for one in mine):
        return
    reason = f"{client} was asked for no proof that is still to come"
    for one in mine:
        reason = f"the mail that asks {client} for a proof has not gone out"
        if one.due_at:
            reason = f"{client} has until {one.due_at:%Y-%m-%d %H:%M} UTC to send its proof"
    raise RuleError(
        f"{vps} cannot be suspended for {GROUND}: {reason}",
        remedy=f"Ask for it, and wait until it is due: hoster proof demand {client}",
    )


def require_settled(vps: str, demands: Iterable[Demand]) -> None:
    """See that *vps* may be resumed: its client owes no proof (C7.1).

    Raises:
        RuleError: one is still to come.
    """
    client = names.client_of(vps)
    for one in demands:
        if one.client == client and one.is_open:
            raise RuleError(
                f"{vps} cannot be resumed for {GROUND}: the proof that {client} was asked for on "
                f"{one.demanded_at:%Y-%m-%d} has not come",
                remedy=f"When it came, or nothing is asked any more: hoster proof settle {client}",
            )
